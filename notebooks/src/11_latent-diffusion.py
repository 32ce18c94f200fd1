# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   minidiff:
#     slug: latent-diffusion
#     title: Latent diffusion, or a race against the clock
#     claim: Diffuse in the small space, paint at the end, and send the bill for both.
#     objectives:
#       - train and sample a diffusion model in the latents of an autoencoder
#       - count operations and seconds instead of estimating them
#       - find the ceiling that an autoencoder puts over everything behind it
#       - say when a latent space is too small, and when it is too large
#     prerequisites: [autoencoders, guidance]
#     minutes_compute: 2
#     hours_learner: 3
#     memory_gb: 2
#     data: [emoji]
#     weights: [emoji-vae, emoji-latent, emoji-pixel, emoji-classifier]
#     exercises: [latent-diffusion.decode, latent-diffusion.target, latent-diffusion.pays]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 11 · Latent diffusion, or a race against the clock
#
# **Diffuse in the small space, paint at the end, and send the bill for both.**
#
# `compute 2 min` · `you 3 h` · `memory 2 GB` · pictures are live, the race and the table of spaces are recorded and marked so
#
# Two networks, with nearly as many weights, trained on the same emoji, on the same two processor cores. One makes pictures pixel by pixel. The other makes latents, which the autoencoder of chapter 10 turns into pictures. Four styles of drawing, four pictures each: latents on the left, pixels on the right.

# %%
import time
from functools import partial

import torch
from torch import Generator
from torch.utils.flop_counter import FlopCounterMode

from minidiff import dpmpp_2m, fit, guide, last, load, pick, prior, shuffled, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import emoji
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.latent import latents, pictures
from minidiff.recipes.run import shipped
from minidiff.schedule import Linear
from minidiff.sweeps.latent import CEILING, REAL
from minidiff.sweeps.row import unpack
from minidiff.train import checkpoint
from minidiff.train.fit import denoising_loss

scale = start(needs="0.1")

# %% tags=["core"]
rivals = {"latents": load("emoji-latent"), "pixels": load("emoji-pixel")}
vae, calls = rivals["latents"].autoencoder, pick(smoke=2, laptop=25)
styles = torch.arange(16) // 4
made, seconds = {}, {}
for name, denoise in rivals.items():
    pictures(denoise, 16, 1, labels=styles)  # to warm up
    clock = time.perf_counter()
    made[name] = pictures(denoise, 16, calls, seed=3, labels=styles)
    seconds[name] = time.perf_counter() - clock

# %% tags=["core", "stage"]
both = torch.cat([x.unflatten(0, (4, 4)) for x in made.values()], 1)  # (style, 4 latents and 4 pixels, 3, 64, 64)
show(
    image_grid(both.flatten(0, 1), columns=8, titles=["latents"] * 4 + ["pixels"] * 4, rows=list(emoji.STYLES)),
    alt="Four rows of eight emoji, one style a row: OpenMoji with black outlines, Noto, Twemoji in flat colours, Fluent with shading. The left four of each row were made in latents, the right four in pixels; the left ones are calmer and nearer to single objects.",
    mark=f"live: {calls} calls, seed 3",
)

# %% [markdown]
# Neither will be mistaken for an artist, after minutes on two cores and some 4,600 pictures to learn from. How far along is each? That is the subject of this chapter: what latents cost, what they buy, and what they can never reach.
#
# ## Nothing new, one floor lower
#
# Here is all that changes in training. Encode the pictures once, before it begins. Then do what chapter 05 did, with `(8, 8, 8)` for the shape. Schedule, row, loss, sampler: none of them ever asked what the numbers mean.

# %% tags=["core"]
z, style = latents()  # (N, 8, 8, 8) and (N,): the training pictures, encoded once
torch.manual_seed(0)
mine = Denoiser(UNet(8, base=32, mults=(1, 2), blocks=1, classes=4), Linear(), "flow")
clock, loss = time.perf_counter(), partial(denoising_loss, drop=0.1)
*_, state = fit(mine, shuffled([z, style], 32), pick(smoke=5, laptop=700), loss=loss, decay_from=0.3, ema=0.98)
state.ema.copy_to(mine.net)
took = time.perf_counter() - clock


# %% [markdown]
# And here is all that changes in sampling: one line at the end.


# %% tags=["core", "builds:recipes.latent.pictures"]
def draw(denoise, vae, labels, steps, seed):
    shape = (len(labels), vae.latent, 64 // vae.down, 64 // vae.down)
    noise = prior(denoise.schedule, shape, Generator().manual_seed(seed))
    z = last(dpmpp_2m(denoise, noise, uniform_grid(steps), cond=labels))  # (B, 8, 8, 8)
    return vae.decode(z).clamp(-1, 1)  # (B, 3, 64, 64)


# %% tags=["core", "stage"]
show(
    image_grid(draw(mine, vae, torch.arange(8) // 2, calls, seed=1), columns=8),
    alt="Eight pictures of the network that was trained a moment ago: coloured shapes on white with the beginnings of outlines.",
    mark=f"live: trained for {state.samples:,} latents just now, seed 1",
)
parameters = {name: sum(p.numel() for p in denoise.net.parameters()) for name, denoise in rivals.items()}
say(
    f"That was {sum(p.numel() for p in mine.net.parameters()):,} weights and {took:.0f} seconds. The shipped rivals have {parameters['latents']:,} (latents) and {parameters['pixels']:,} (pixels)."
)

# %% [markdown]
# The decoder has its own habits, and a denoiser knows only the latents of *one* autoencoder. Give it another with the same shape and out comes rubbish, without any error. So a denoiser's file names the autoencoder that it was trained with, by its hash, and `load` refuses any other.
#
# ## The race
#
# Fréchet distance in the features of our emoji classifier, against the 883 held-out pictures, along the training of both; every point is 500 samples of 15 calls. (Distances in these features have nothing to do with those of chapter 05.)

# %% tags=["core", "stage"]
predict(
    "latent-diffusion.race",
    "In what share of the pixel network's time does the latent network pass the distance at which the pixel network will end?",
    ["a tenth or less", "a third or less", "more", "never"],
)

# %% tags=["core"]
race = recorded("latent-race")
curve = {
    name: [(row["seconds"], row["frechet"]) for row in race.where(model=f"emoji-{name.rstrip('s')}")] for name in rivals
}
ceiling, real = (race.where(model=name)[0]["frechet"] for name in (CEILING, REAL))
paid = checkpoint.read_header(shipped("emoji-vae"))["seconds"]


# %% tags=["core", "stage"]
def plain_ticks(ax):  # 100 instead of ten to the second
    ax.set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    ax.set_yticks([], minor=True)


fig, ax = figure(height=3.0)
looks = {"latents": ("model", "o-"), "pixels": ("baseline", "s-")}
for name, points in curve.items():
    s, d = zip(*points, strict=True)
    ax.plot([v / 60 for v in s], d, looks[name][1], color=COLOURS[looks[name][0]], label=name)
s, d = zip(*curve["latents"], strict=True)
ax.plot([(v + paid) / 60 for v in s], d, "o--", color=COLOURS["model"], label="latents, autoencoder paid for")
for value, name in ((ceiling, "real pictures through the autoencoder"), (real, "real pictures")):
    ax.axhline(value, color=COLOURS["exact"], dashes=(4, 2) if value == ceiling else (1, 1), label=name)
ax.set(xlabel="minutes on two cores", ylabel="Fréchet distance", yscale="log", xlim=(0, None))
plain_ticks(ax)
ax.legend(frameon=False, fontsize=8)
show(
    fig,
    alt="Fréchet distance on a logarithmic axis against minutes of training. The curve of latents falls fast and ends well below that of pixels; the same curve moved to the right by the training time of the autoencoder starts after the pixel curve has ended. Two horizontal lines below: real pictures through the autoencoder, and real pictures.",
    mark=race.mark,
)

# %% tags=["core", "stage"]
table(
    ["", "weights", "samples seen", "minutes", "Fréchet distance", "style recognised"],
    [
        [name, f"{row['parameters']:,}", f"{row['samples']:,}", f"{row['seconds'] / 60:.1f}", f"{row['frechet']:.1f}", f"{row['style']:.0%}"]
        for name in rivals
        for row in race.where(model=f"emoji-{name.rstrip('s')}")[-1:]
    ]
    + [["real, through the autoencoder", "", "", "", f"{ceiling:.1f}", ""], ["real pictures", "", "", "", f"{real:.1f}", ""]],
)  # fmt: skip

# %% tags=["core", "stage"]
over, end = curve["pixels"][-1]
passed = next((s / over for s, d in curve["latents"] if d <= end), None)
verdict = "never" if passed is None else "a tenth or less" if passed <= 0.1 else "a third or less" if passed < 1 / 3 else "more"  # fmt: skip
of_latents, of_pixels = (race.where(model=f"emoji-{name}")[-1] for name in ("latent", "pixel"))
reveal("latent-diffusion.race", verdict, f"Pixels end at {end:.1f}, latents at {curve['latents'][-1][1]:.1f}.")
say(
    f"A minute shows the latent network {of_latents['samples'] / of_latents['seconds'] / (of_pixels['samples'] / of_pixels['seconds']):.1f} times as many pictures as the pixel network. But its autoencoder took **{paid / 60:.0f} minutes** to train, and it {of_latents['seconds'] / 60:.0f}."
)

# %% [markdown]
# So there are two readings of one figure, and both are right. *Given* an autoencoder, one curve. With its training on the bill, the dashed one. In practice an autoencoder is trained once and serves many models for years, so it is on nobody's bill; when you read that latents are so many times cheaper, ask whose bill it is on. (Exercise 3 does the sum.)
#
# ## Operations and seconds
#
# The founding article puts figures on this: "~100 billion" operations for a video in pixels, "~50 million" in latents. It gets both by multiplying the number of pixels, or of latent cells, by about 100 steps, as if a network spent one operation on each. Count instead: torch adds up the multiplications and additions of all convolutions and matrix products, which is nearly all of the work.


# %% tags=["core"]
def operations(net, *inputs):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*inputs)
    return counter.get_total_flops()  # one multiply-add counts as two


label, level = torch.zeros(1, dtype=torch.long), torch.zeros(1)
ops = {
    "latents": operations(rivals["latents"].net, torch.zeros(1, 8, 8, 8), level, label),
    "pixels": operations(rivals["pixels"].net, torch.zeros(1, 3, 64, 64), level, label),
    "the decoder, once": operations(vae.decode, torch.zeros(1, 8, 8, 8)),
}

# %% tags=["core", "stage"]
values = {"latents": 8 * 8 * 8, "pixels": 3 * 64 * 64}
rows = [
    [
        name,
        f"{values[name]:,}",
        f"{ops[name] / 1e6:,.0f} million",
        f"{ops[name] / values[name]:,.0f}",
        f"{seconds[name] / 16:.2f} s",
    ]
    for name in rivals
]
rows.append(["the decoder, once", "", f"{ops['the decoder, once'] / 1e6:,.0f} million", "", "(included)"])
table(["", "values", "operations a call", "for each value", f"a picture, {calls} calls"], rows)
say(
    f"In latents there are {values['pixels'] / values['latents']:.0f} times fewer values, {ops['pixels'] / ops['latents']:.1f} times fewer operations a call, and a picture took {seconds['pixels'] / seconds['latents']:.1f} times less time. The decoder costs as much as {ops['the decoder, once'] / ops['latents']:.1f} calls. <small>*live: 16 pictures each*</small>"
)  # fmt: skip

# %% [markdown]
# What is wrong with the article's figures is the price of a value. It is not one operation: at every position a convolution uses each of its weights once, so a value costs tens of thousands. The *ratio* is another matter. The same network on 64 times fewer positions would do 64 times less. Ours save less than that, because they differ: with equally many weights the latent one is wider (64 features against 40), and the pixel one folds 2×2 pixels at its door, which has already saved it a factor of four.
#
# And a picture pays for the decoder too: once, not at each step. That hardly matters at 25 calls and would matter much at one or two (models made to need so few: chapter 22).
#
# ## The ceiling
#
# Look at the two horizontal lines of the race again. Real pictures, sent through the autoencoder and back, are already at a distance from real pictures. A *perfect* diffusion model of these latents would arrive there: what the autoencoder cannot say, nobody behind it can. (In quality it is a ceiling; in a plot of distances it looks like a floor. And why are real pictures not at 0? They are 500 *training* pictures against held-out ones: other things, and finitely many.)

# %% tags=["core", "stage"]
few = [unpack(race.where(model=name)[0]["pixels"]) for name in (REAL, CEILING)]
best = unpack(race.where(model="emoji-latent")[-1]["pixels"])
show(
    image_grid(torch.cat([*few, best]), columns=8, rows=["real", "the same, through", "emoji-latent"]),
    alt="Three rows of eight emoji: training pictures; the same after the autoencoder, slightly soft; and samples of the latent model.",
    mark=race.mark,
)
gone = curve["latents"][-1][1] - ceiling
say(
    f"The latent model ends at {curve['latents'][-1][1]:.1f}. As bookkeeping (such distances do not strictly add): {real:.1f} is what real pictures get, {ceiling - real:.1f} more go in the autoencoder, and **{gone:.1f}** are the diffusion's. Of what can be improved, the autoencoder's share is {(ceiling - real) / (curve['latents'][-1][1] - real):.0%}. <small>*{race.mark}*</small>"
)

# %% [markdown]
# Always measure the ceiling first. If most of a model's distance is the autoencoder's, a larger diffusion model is money thrown away; if next to nothing is, a finer autoencoder would be.
#
# ## Too small, too large
#
# How large should the space be? Chapter 10 left us a ladder of autoencoders, with 4,096 numbers a picture down to 64. The same U-Net (the grid of 32×32 folded 2×2 at its door), the same seconds, in each of them:

# %% tags=["core", "stage"]
predict(
    "latent-diffusion.size",
    "In which space does the same network get nearest to real pictures in the same seconds?",
    ["32×32 cells, 4,096 numbers", "16×16 cells, 1,024", "8×8 cells, 256", "4×4 cells, 64"],
)

# %% tags=["core"]
spaces = recorded("latent-spaces")
ladder = [spaces.where(space=f"{f}x{f}")[0] for f in (2, 4, 8, 16)]
controls = [row for row in spaces.rows if row["space"].startswith("shipped")]

# %% tags=["core", "stage"]
fig, ax = figure(height=2.8)
sizes = [row["numbers"] for row in ladder]
ax.set(xscale="log", yscale="log", xlabel="numbers in the latent of a picture", ylabel="Fréchet distance")
ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
ax.set_xlim(50, 9000)
plain_ticks(ax)
series = {"model": [row["frechet"] for row in ladder], "ceiling": [row["ceiling"] for row in ladder]}
lines(ax, sizes[::-1], {name: values[::-1] for name, values in series.items()}, kinds=["model", "exact"])
show(
    fig,
    alt="Two curves against the size of the latent, both axes logarithmic: the ceiling of the autoencoder falls with more numbers, the distance of the trained model is smallest in between.",
    mark=spaces.mark + f"; {ladder[0]['seconds']} s of training each, two cores",
)
rows = [[row["space"].replace("x", "×"), f"{row['numbers']:,}", f"{row['samples']:,}", f"{row['psnr']:.1f}", f"{row['ceiling']:.1f}", f"{row['frechet']:.1f}"] for row in [*ladder, controls[0]]]  # fmt: skip
table(["pixels a cell", "numbers", "samples seen", "PSNR, dB", "ceiling", "model"], rows)
best_row = min(ladder, key=lambda row: row["frechet"])
answers = dict(zip((4096, 1024, 256, 64), ("32×32 cells, 4,096 numbers", "16×16 cells, 1,024", "8×8 cells, 256", "4×4 cells, 64"), strict=True))  # fmt: skip
reveal("latent-diffusion.size", answers[best_row["numbers"]], f"Distance {best_row['frechet']:.1f}, its ceiling {best_row['ceiling']:.1f}. The next best has {sorted(row['frechet'] for row in ladder)[1]:.1f}; with one training seed, what is within a tenth is a tie.")  # fmt: skip

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([unpack(row["pixels"]) for row in ladder]),
        columns=8,
        rows=[f"{row['numbers']:,} numbers" for row in ladder],
    ),
    alt="Four rows of eight samples, from the largest latent space to the smallest. Large: grainy scraps. In between: objects with outlines. Small: soft blobs in plausible colours.",
    mark=spaces.mark,
)

# %% [markdown]
# Two things pull. A small space has a low ceiling: what comes out is at best as good as its autoencoder. A large one has a high ceiling, and the diffusion has to learn by itself what a decoder could have known, at more cost a picture; so it stays far below. One would expect the best size to grow with the time that one trains. (The last line of the table is the shipped autoencoder, which is larger and was trained longer; it is not a rung.)
#
# ## The control: latents of the wrong width
#
# Chapter 10 claimed that latents have to be as wide as the noise. Here are the same latents, once as they are, once 5.5 times too wide (the raw spread of Stable Diffusion's), once ten times too narrow. Everything else is equal, the seed too; the seconds nearly so (steps were set beforehand, from the pace).

# %% tags=["core", "stage"]
table(
    ["latents", "samples seen", "Fréchet distance", "precision", "recall", "style recognised"],
    [[row["space"], f"{row['samples']:,}", f"{row['frechet']:.1f}", f"{row['precision']:.2f}", f"{row['recall']:.2f}", f"{row['style']:.0%}"] for row in controls],
)  # fmt: skip
show(
    image_grid(
        torch.cat([unpack(row["pixels"]) for row in controls]), columns=8, rows=["unit width", "5.5 ×", "0.1 ×"]
    ),
    alt="Three rows of eight samples: latents of unit width, too wide, too narrow.",
    mark=spaces.mark,
)

# %% tags=["core", "stage"]
unit, wide, narrow = (row["frechet"] for row in controls)
say(
    f"Too wide: **{wide / unit:.1f} times** the distance of unit width. Too narrow: **{narrow / unit:.1f} times**. <small>*one training seed each*</small>"
)

# %% [markdown]
# Too wide: at most levels the noise is too thin to hide anything, and nearly all is decided in the first steps from `t = 1`, which few batches practise. Too narrow: the latent drowns at once, and before the decoder sees it every error is magnified ten times. No error message in either case.
#
# ## Looking in along the way
#
# In pixels one could watch a picture come out of the noise. In latents there is little to recognise, but the decoder can be asked at any moment. Ask it about the noisy latent `x_t`, and about the guess `x0_hat`. *Drag, and look at the first steps: what does the decoder make of pure noise?*

# %% tags=["core"]
steps, labels = pick(smoke=3, laptop=12), torch.tensor([0, 2, 3])
noise = prior(Linear(), (3, 8, 8, 8), Generator().manual_seed(8))
walk = list(dpmpp_2m(guide(rivals["latents"], 2.0), noise, uniform_grid(steps), cond=labels))
states = [noise, *(x for _, x, _ in walk)]  # x_t at each level, and the guess that was made of it
guesses = [*(x0_hat for _, _, x0_hat in walk), walk[-1][1]]
film = [vae.decode(torch.cat(pair)).clamp(-1, 1) for pair in zip(states, guesses, strict=True)]

# %% tags=["core", "stage"]
slideshow(
    [tile(pair, columns=3, scale=2) for pair in film],
    [f"t = {float(t):.2f}: above x_t, below x0_hat" for t in uniform_grid(steps)],
    alt="A walk of three latents decoded at each step. Above, the noisy latent: a carpet of coloured scraps from which objects emerge late. Below, the guess: at first scraps as well, then pale shapes with more and more outline.",
    mark=f"live: shipped weights, {steps} steps, w = 2, seed 8",
)

# %% [markdown]
# Decoded noise is not grey haze but a carpet of scraps: the decoder paints whatever it is given in its own hand. The guess is the better window, and tools that show a preview decode it.
#
# ## A new picture of your own
#
# Seed, style and guidance weight (chapter 07):


# %% tags=["core", "stage"]
def four(style, w, seed):
    labels = torch.full((4,), emoji.STYLES.index(style))
    return image_grid(pictures(rivals["latents"], 4, pick(smoke=2, laptop=12), int(seed), labels=labels, w=w), columns=4, scale=2)  # fmt: skip


def in_words(style, w, seed):
    return f"Four samples in the style {style} with guidance weight {w:g}, seed {int(seed)}."


play(four, style=list(emoji.STYLES[::-1]), w=(1.0, 6.0, 0.5, 2.0), seed=(0, 30, 1, 5), alt=in_words)

# %% [markdown]
# ## Has it copied?
#
# With 4,600 pictures one must ask. For each sample, how far is the nearest training picture, in pixels reduced to 16×16? And for comparison: how far is it from a *held-out* picture? A copier's samples are much nearer to the training set than new pictures are.

# %% tags=["core", "stage"]
rows, before = [], "distance to the nearest training image, "  # quantiles of it
for name in ("emoji-latent", "emoji-pixel"):
    found = checkpoint.read_header(shipped(name))["metrics"]
    rows += [[name, *(f"{found[before + q + who]['value']:.2f}" for q in ("smallest", "1% quantile", "median") for who in ("", ", held-out"))]]  # fmt: skip
table(["", "smallest", "held out", "nearest 1%", "held out", "median", "held out"], rows)
header = checkpoint.read_header(shipped("emoji-latent"))
own, new = (header["metrics"][before + "median" + who]["value"] for who in ("", ", held-out"))
say(
    f"Half of the latent model's samples are further than {own:.1f} from every training picture; of held-out pictures, half are further than {new:.1f}. Far below that would be copying. (A held-out picture at distance 0 is no error of measurement: a few emoji have a twin under another name.)"
)
say(
    f"<small>*recorded: {header['device']}, {header['date']}, n = {header['metrics']['Frechet distance']['n']:,}*</small>"
)

# %% [markdown]
# ## Exercises
#
# **1 · Before the decoder** (difficulty 1 of 3, 10 minutes). `z` is `(B, c, h, w)`, scaled; `mean` and `scale` are `(c,)`. Give the raw latent that the decoder was trained on.


# %% tags=["core"]
def my_undo(z, mean, scale):
    raise NotImplementedError


check("latent-diffusion.decode", my_undo)

# %% [markdown]
# **2 · Training in latents, one step of it** (difficulty 2, 15 minutes). Latents and noise `(B, c, h, w)`, levels `(B,)`, schedule `Linear`, row `flow`. Stack what the network sees (before input scaling) and what it should answer.


# %% tags=["core"]
def my_step(z, eps, t):
    raise NotImplementedError


check("latent-diffusion.target", my_step)

# %% [markdown]
# **3 · When does the autoencoder pay?** (difficulty 2, 10 minutes). Training it took `vae_seconds`. A picture costs `pixel` seconds in pixels, and in latents `latent` seconds and `decode` more. After how many pictures are the bills equal?


# %% tags=["core"]
def my_pays(vae_seconds, latent, pixel, decode):
    raise NotImplementedError


check("latent-diffusion.pays", my_pays)

# %% [markdown]
# ## What this does not show
#
# Minutes on two cores for a network (the tables say how many), one training seed each: the race shows who is far ahead, not by how much to the digit. The pixel network was given folded pixels and no tricks: its data is not centred, and its noise levels are not shifted for a larger picture. There are good pixel models at large scale, and the gap closes where computing is plenty (Hoogeboom and others, below). The small autoencoders of the ladder were trained for minutes, so their ceilings are worse than such shapes can reach. Features of one small classifier judge it all. And the learning rate falls along each run, so an early point of a curve is not what a run of that length would have reached.
#
# ## What you measured

# %% tags=["core", "stage"]
last_of = {name: points[-1][1] for name, points in curve.items()}
table(
    ["question", "answer", "beside it"],
    [
        ["Fréchet distance at the end of training", f"latents {last_of['latents']:.1f}", f"pixels {last_of['pixels']:.1f}"],
        ["Ceiling of the autoencoder", f"{ceiling:.1f}", f"real pictures {real:.1f}"],
        ["Fewer values, fewer operations a call", f"{values['pixels'] / values['latents']:.0f} times, {ops['pixels'] / ops['latents']:.1f} times", "the article, for video: 2,033 for both"],
        ["Best latent space of the ladder", f"{best_row['numbers']:,} numbers: {best_row['frechet']:.1f}", f"largest {ladder[0]['frechet']:.1f}, smallest {ladder[-1]['frechet']:.1f}"],
        ["Latents 5.5 times too wide", f"{controls[1]['frechet']:.1f}", f"unit width {controls[0]['frechet']:.1f}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser, Björn Ommer: *High-Resolution Image Synthesis with Latent Diffusion Models*, CVPR 2022, arXiv 2112.10752. The paper; figure 6 compares spaces along training, at scale.
# - Sander Dieleman: *Generative modelling in latent space*, 2025, sander.ai. What a latent space is for, and what people want of it.
# - Emiel Hoogeboom, Thomas Mensink, Jonathan Heek, Kay Lamerigts, Ruiqi Gao, Tim Salimans: *Simpler Diffusion (SiD2): 1.5 FID on ImageNet512 with pixel-space diffusion*, CVPR 2025, arXiv 2410.19324. The other side: pixels, done well.
#
# **Next, chapter 12:** attention, for things that belong together though they are far apart.
