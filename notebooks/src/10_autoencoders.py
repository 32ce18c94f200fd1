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
#     slug: autoencoders
#     title: Autoencoders, or a picture in a few hundred numbers
#     claim: Send a picture through a narrow place, pay for every bit that gets through, and look at what does not survive.
#     objectives:
#       - write the loss of a variational autoencoder and say what each of its two terms pays for
#       - do compression arithmetic that holds, and find the slip in a published one
#       - read a rate-distortion curve, and say what dies first along it
#       - say why latents are scaled before anything is diffused
#     prerequisites: [ddpm-images]
#     minutes_compute: 2
#     hours_learner: 3
#     memory_gb: 2
#     data: [emoji]
#     weights: [emoji-vae, emoji-vae-2, emoji-vae-4, emoji-vae-8, emoji-vae-16, emoji-classifier, emoji-latent]
#     exercises: [autoencoders.draw, autoencoders.bits, autoencoders.count, autoencoders.scale]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 10 · Autoencoders, or a picture in a few hundred numbers
#
# **Send a picture through a narrow place, pay for every bit that gets through, and look at what does not survive.**
#
# `compute 2 min` · `you 3 h` · `memory 2 GB` · small networks train before your eyes, the large ones are shipped; all pictures are live
#
# From here on the course has colour. Below are emoji, drawn by four groups of artists. All eight are *held out*: no network here was trained on these things. The first row is as drawn, 12,288 numbers a picture. The second row went through a place that is 512 numbers wide, the third through one of 64.

# %%
import io
import math

import torch
from PIL import Image
from torch import Generator
from torch.nn import functional as F

from minidiff import add_noise, fit, load, pick, shuffled
from minidiff.course.notebook import *
from minidiff.data import emoji
from minidiff.nn.vae import VAE
from minidiff.recipes.emoji import RUNGS, guesses, held_out, psnr, round_trip
from minidiff.recipes.latent import pictures
from minidiff.schedule import Linear

scale = start(needs="0.1")

# %% tags=["core"]
vae, coarse = load("emoji-vae"), load("emoji-vae-16")
names = ["shark", "hot pepper", "hotel", "alarm clock", "woman singer", "jar", "smiling face with halo", "crocodile"]
drawn = torch.stack([emoji.pictures(name)[i % 4] for i, name in enumerate(names)])
through = [round_trip(net, drawn) for net in (vae, coarse)]

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([drawn, *through]), columns=8, rows=["as drawn", "512 numbers", "64 numbers"]),
    alt="Three rows of eight emoji. As drawn; after 512 numbers, the same pictures with softened lines; after 64 numbers, blurred patches of the right colour in the right place.",
    mark="live: shipped weights, held-out pictures",
)

# %% [markdown]
# Why would anyone do this? Chapter 05 spent nearly an hour of computing on small grey pictures. Colour at 64×64 is sixteen times the numbers, and a second of it, 24 frames, 376 times. But most of these numbers say nothing that you would miss. So: squeeze first, then diffuse in the small space, then paint. That is *latent* diffusion, and it is the next chapter. This one looks closely at the squeeze, because whatever is lost here no diffusion will bring back.
#
# ## The narrow place
#
# An **autoencoder** is two networks. The encoder makes of the picture a small grid with a few numbers in each cell, the **latent**; the decoder paints a picture from it. In ours each cell stands for 8×8 pixels and has 8 numbers: `(8, 8, 8)` for `(3, 64, 64)`.
#
# The encoder does not answer with the numbers themselves. For each it gives a mean `m` and the logarithm of a spread `s` (so that `s` is positive), and what goes on is a *draw*. The randomness comes in from outside, as `m + s · noise`, so that gradients flow through `m` and `s` as through any sum and product; this is known as the *reparameterization trick*.

# %% tags=["core"]
with torch.no_grad():
    m, log_s = vae.moments(drawn)  # (8, 8, 8, 8) each: picture, channel, row, column
    noise = torch.randn(m.shape, generator=Generator().manual_seed(0))
    painted = vae.back(m + log_s.exp() * noise)  # (8, 3, 64, 64)

# %% tags=["core", "stage"]
channels = vae.encode(drawn).div(3)[:, :, None]  # (8, 8, 1, 8, 8)
grey = F.interpolate(channels.flatten(0, 1), scale_factor=8).reshape(8, 8, 1, 64, 64).expand(-1, -1, 3, -1, -1)
rows = torch.cat([drawn[:, None], grey, painted[:, None]], 1)[:4]  # (4, 10, 3, 64, 64)
show(
    image_grid(rows.flatten(0, 1), columns=10, titles=["drawn", *(f"channel {i + 1}" for i in range(8)), "painted"]),
    alt="Four pictures, one a row: as drawn, the eight channels of the latent as coarse grey grids, and the picture painted from a draw.",
    mark="live: shipped weights, held-out pictures; grey is 0",
)

# %% [markdown]
# Look along a row: eight coarse maps of one picture. The bow of the pepper runs through most of them. Nobody asked for that: a convolution looks at its surroundings, so what is at the top left of the picture ends up at the top left of the grid.
#
# Why the draw? Because without it nothing would say *how* narrow the place is. A number with no noise can hold any amount: one could write a whole book into the digits of one. With noise of spread `s`, values closer together than `s` cannot be told apart, and what a number can tell is about log₂ of how many `s` fit into its range. So the noise sets the price. What does a draw tell that the receiver did not know? If all that he expects beforehand is a unit normal number (the **prior**), it is the Kullback-Leibler divergence,
#
# $$\mathrm{KL} = \tfrac12\,(m^2 + s^2 - 1) - \log s,$$
#
# summed over the latent: 0 if the encoder answers with the prior itself, more the further `m` goes out and the finer `s` is. Divided by log 2 it is in bits. (Averaged over pictures it is at least the information that gets through; the excess is what the prior does not know, for instance that neighbouring cells agree.)
#
# A **variational autoencoder** (Kingma and Welling, 2013) is trained to lose little and to tell little. Here is its whole loss, with a price `beta` for the second (Higgins and others, 2017; the original is `beta = 2v` for a decoder that expects errors of variance `v`, and minus the loss is then a lower bound on the log likelihood, up to constants):


# %% tags=["core", "builds:nn.vae.vae_loss"]
def loss(vae, x, beta, generator):
    m, log_s = vae.moments(x)  # (B, c, h, w) each
    noise = torch.randn(m.shape, generator=generator)
    x_hat = vae.back(m + log_s.exp() * noise)  # (B, C, H, W)
    lost = (x - x_hat).square().flatten(1).mean(1)  # (B,), per pixel value
    told = ((m**2 + (2 * log_s).exp() - 1) / 2 - log_s).flatten(1).sum(1)  # (B,), in nats
    return lost + beta * told / x[0].numel()


# %% [markdown]
# ## Three prices
#
# Train it before your eyes, on the same pictures at 16×16, three times: nearly free (`beta` a millionth, about what Stable Diffusion's autoencoder pays), a price like that of our shipped ones, and a steep one. A number is worth having while it explains more than `beta`/2 of squared error, summed over the picture. The latent is 4×4 cells of 4 numbers, 64 in all.

# %% tags=["core"]
small, unseen = emoji.load("train", size=16), emoji.load("concepts", size=16).images
prices = {"1e-6": 1e-6, "0.001": 1e-3, "3": 3.0}


def learn(beta):
    torch.manual_seed(0)
    net = VAE(3, latent=4, down=4, base=32)
    bill = lambda net, batch, generator: (loss(net, batch[0], beta, generator), torch.zeros(len(batch[0])))  # noqa: E731
    steps = pick(smoke=5, laptop=500)
    *_, state = fit(net, shuffled([small.images], 64), steps, loss=bill, lr=2e-3, decay_from=0.5, ema=0.98)
    state.ema.copy_to(net)
    net.measure_scale(small.images.split(500))
    return net


# %% tags=["core", "stage"]
predict(
    "autoencoders.price",
    "At the steep price, how many of the 64 latent numbers still tell anything about the picture (a tenth of a bit or more)?",
    ["more than 40", "10 to 40", "fewer than 10"],
)

# %% tags=["core"]
nets = {name: learn(beta) for name, beta in prices.items()}


@torch.no_grad()
def bits_each(net, x):  # the bits that each latent number tells, mean over pictures, (c, h, w)
    m, log_s = net.moments(x)
    return (((m**2 + (2 * log_s).exp() - 1) / 2 - log_s) / math.log(2)).mean(0)


@torch.no_grad()
def drawn_from(net, x):  # what is painted from a draw, as its bits were paid for
    parts = [net(part, Generator().manual_seed(i))[0] for i, part in enumerate(x.split(60))]
    return torch.cat(parts).clamp(-1, 1)


# %% tags=["core", "stage"]
pure, rows, table_rows = torch.randn(8, 4, 4, 4, generator=Generator().manual_seed(1)), [unseen[::90][:8]], []
for name, net in nets.items():
    each, back = bits_each(net, unseen), drawn_from(net, unseen)
    alive = int((each > 0.1).sum())
    quality = psnr(unseen, back).mean()
    table_rows.append([name, f"{quality:.1f} dB", f"{each.sum():.0f}", f"{alive} of {each.numel()}"])
    with torch.no_grad():
        rows += [back[::90][:8], net.back(pure)]
names_of_rows = ["as drawn", *(f"{what}, β = {name}" for name in prices for what in ("through", "noise"))]
show(
    image_grid(torch.cat(rows), columns=8, rows=names_of_rows, scale=4),
    alt="Seven rows of eight small pictures. As drawn; then for each price the pictures through the autoencoder, and noise decoded. The dearer the bits, the softer what gets through and the calmer what noise becomes.",
    mark=f"live: {pick(smoke=5, laptop=500)} steps each, one training seed, held-out concepts",
)
table(["beta", "PSNR, held out", "bits a picture", "numbers that tell 0.1 bit or more"], table_rows)
reveal(
    "autoencoders.price",
    "more than 40" if alive > 40 else "fewer than 10" if alive < 10 else "10 to 40",
    f"{alive} of 64. Where a number does not earn its price, the encoder answers with the prior, and the decoder learns not to listen.",
)

# %% [markdown]
# (**PSNR**, peak signal-to-noise ratio, is the squared error on a logarithmic scale, 10 log₁₀(4 / mean squared error), where 4 is the largest squared error of a value in [−1, 1]. Ten decibels more are a tenth of the squared error; 6 are half the typical error.)
#
# Numbers that tell nothing have a name, *posterior collapse*: telling nothing is free, and painting an average costs only so much. At the other end hardly anything is paid, and much is told. (If the two cheap prices look alike: 500 steps are too few to find a use for cheap bits.)
#
# ## Alone it is a poor generator
#
# By its first promise a variational autoencoder *is* a generator: if the latents were distributed as the prior, then unit noise, decoded, would be a new picture. The lower row of each pair above shows how it keeps that promise. What about the large one, with its 512 numbers? First row: unit noise, decoded.
#
# The trouble is that all latents together are not distributed as the prior. Neighbouring cells of a real latent agree with each other, and noise knows nothing of that. So fit a better prior to the latents of real pictures. Second row: one large Gaussian, with the right mean for each of the 512 numbers and the right covariance for each pair. Third row: the prior that chapter 11 will train, which is a diffusion model (*called, not explained yet*, though you could guess all of it).

# %% tags=["core"]
train = emoji.load().images
few = torch.randperm(len(train), generator=Generator().manual_seed(2))[: pick(smoke=64, laptop=1500)]
z = torch.cat([vae.encode(part) for part in train[few].split(100)]).flatten(1)  # (N, 512)
centred = z - z.mean(0)
covariance = centred.T @ centred / (len(z) - 1) + 1e-3 * torch.eye(z.shape[1])
unit = torch.randn(8, z.shape[1], generator=Generator().manual_seed(3))
gaussian = z.mean(0) + unit @ torch.linalg.cholesky(covariance).T

# %% tags=["core", "stage"]
with_diffusion = pictures(load("emoji-latent"), 8, calls=pick(smoke=2, laptop=30), seed=4, labels=torch.arange(8) % 4)
with torch.no_grad():  # unit noise is the prior of raw latents, so it goes to the decoder as it is
    three = [vae.back(unit.reshape(8, 8, 8, 8)).clamp(-1, 1), vae.decode(gaussian.reshape(8, 8, 8, 8))]
show(
    image_grid(torch.cat([*three, with_diffusion]), columns=8, rows=["unit noise", "one Gaussian", "diffusion"]),
    alt="Three rows of eight decoded draws of three priors: unit noise, a carpet of small coloured scraps; one Gaussian with covariance; and the diffusion model of chapter 11.",
    mark="live: shipped weights; one Gaussian fitted to training latents",
)

# %% [markdown]
# One Gaussian knows averages and pairs: where ink tends to be, and which colours go together. Outlines are not a matter of pairs. Hold on to the division of labour that you see here: the decoder knows how small pieces *look*; the prior has to know how they *go together*.
#
# ## Compression arithmetic
#
# Now for the numbers. Our latent has 512 where the picture has 12,288: 24 times fewer. It stands on 64 cells where the picture has 4,096 pixels: 64 times fewer. Both ratios are called "the compression", and in video there is a third direction to get lost in.

# %% tags=["core", "stage"]
predict(
    "autoencoders.ratio",
    "A video autoencoder reduces height, width and time 8 times each. How many pixels stand behind one latent cell?",
    ["24", "64", "512", "2,048"],
)


# %% tags=["core", "stage"]
def count(frames, height, width, time, space, channels):
    cells = math.ceil(frames / time) * math.ceil(height / space) * math.ceil(width / space)
    pixels = frames * height * width
    return cells, pixels / cells, 3 * pixels / (channels * cells)  # cells, pixels a cell, numbers to a number


# %% [markdown]
# ### A published mistake: 64 times, or 2,000 times?
#
# The article that this course began with (chapter 00) describes Sora's autoencoder. In one section a raw video of 1920×1080×480 becomes "e.g., 120×68×60", and the line under it says
#
# > Compression ratio: ~8x spatially, ~8x temporally = 64x total compression
#
# Another section divides 995,328,000 by the 489,600 cells of the same grid and finds "2,000x reduction in data". They cannot both be right. Let the calculator say:

# %% tags=["core", "stage"]
hd = (480, 1080, 1920)
cases = {
    "8× in time, 8× in space": (8, 8, 16),
    "8× in time, 16× in space": (8, 16, 16),
    "the same, 4 channels": (8, 16, 4),
}
rows = []
for name, (time, space, channels) in cases.items():
    cells, positions, numbers = count(*hd, time, space, channels)
    rows.append([name, channels, f"{cells:,}", f"{positions:,.0f}", f"{numbers:,.0f}"])
table(["1920×1080, 480 frames", "channels", "cells", "pixels a cell", "numbers: times fewer"], rows)
reveal("autoencoders.ratio", "512", "8 × 8 × 8: width *and* height *and* time. 64 is right for a still picture.")

# %% [markdown]
# First, "8x spatially, 8x temporally" is 512, not 64: space has two directions. Second, 120×68×60 is not 8 in space at all; it is **16**, which gives the 2,033 that the other section rounds to 2,000. Third, even that is a ratio of *positions*: a pixel has three numbers, and a latent cell has several too. The article's grid has no channels. Many published video autoencoders have 16 of them, others from 4 to 128; with 16 the data shrinks 381 times. (We do not know Sora's. Nobody outside does.)
#
# Fourth, a number is not a bit. A colour value in a file has 8 bits, a latent number as many as it has paid for. To compare compressions, count bits.
#
# ## Rate against distortion
#
# **Rate** is what the latent tells, in bits a picture. **Distortion** is what is lost. Here are our five autoencoders: the shipped one, and a ladder of four small ones with 4 numbers for each 2×2, 4×4, 8×8 and 16×16 pixels. Beside them stand two old acquaintances that nobody trained: JPEG (1992) and WebP (2010), at six quality settings. (A raw picture has 12,288 × 8 = 98,304 bits.)

# %% tags=["core"]
held = held_out().images[: pick(smoke=8, laptop=240)]
ladder = {f"{f}×{f}": load(f"emoji-vae-{f}") for f in RUNGS}
seen = {name: drawn_from(net, held) for name, net in [*ladder.items(), ("shipped", vae)]}
rate = {name: torch.cat([net.bits(part) for part in held.split(60)]).mean().item() for name, net in ladder.items()}
rate["shipped"] = torch.cat([vae.bits(part) for part in held.split(60)]).mean().item()
quality = {name: psnr(held, back).mean().item() for name, back in seen.items()}


def codec(images, form, setting):  # bits a picture and PSNR of a codec that Pillow knows
    bits, good = [], []
    for x in images:
        file = io.BytesIO()
        Image.fromarray(tile(x[None], columns=1)).save(file, form, quality=setting)
        back = torch.frombuffer(bytearray(Image.open(file).convert("RGB").tobytes()), dtype=torch.uint8)
        back = back.reshape(64, 64, 3).permute(2, 0, 1)
        bits.append(8 * len(file.getvalue()))
        good.append(psnr(x[None], back[None] / 127.5 - 1))
    return sum(bits) / len(bits), torch.cat(good).mean().item()


# %% tags=["core", "stage"]
settings = pick(smoke=(50,), laptop=(1, 5, 20, 50, 80, 95))
codecs = {form: [codec(held[::4], form, q) for q in settings] for form in ("WEBP", "JPEG")}
fig, ax = figure(height=3.2)
ax.set(xlabel="bits a picture", ylabel="PSNR, dB", xscale="log", ylim=(10, 42))
for name in seen:
    kind = "model" if name == "shipped" else "data"
    ax.plot(rate[name], quality[name], "o", color=COLOURS[kind])
    ax.annotate(name, (rate[name], quality[name]), (6, -10), textcoords="offset points", fontsize=8.5)
for form, dashes in (("WEBP", (4, 2)), ("JPEG", (1, 1))):
    bits, good = zip(*codecs[form], strict=True)
    ax.plot(bits, good, color=COLOURS["control"], marker=".", dashes=dashes, label=form.replace("WEBP", "WebP"))
ax.legend(frameon=False)
show(
    fig,
    alt="PSNR against bits a picture on a logarithmic axis. Five points for autoencoders, four of them a ladder from few bits and low quality to many bits and high quality, and the curves of WebP and JPEG.",
    mark=f"live: shipped weights, n = {len(held)} held-out pictures (codecs: {len(held[::4])})",
)

# %% tags=["core", "stage"]
rows = [[name, f"{rate[name]:,.0f}", f"{quality[name]:.1f}"] for name in seen]
rows += [[f"{form}, setting {q}", f"{b:,.0f}", f"{g:.1f}"] for form in codecs for q, (b, g) in zip(settings, codecs[form], strict=True) if q in (1, 50)]  # fmt: skip
table(["", "bits a picture", "PSNR, dB"], rows)

# %% tags=["core", "stage"]
bits, good = (torch.tensor(v, dtype=torch.float64) for v in zip(*codecs["WEBP"], strict=True))
for name in seen:
    if bits[0] < rate[name] < bits[-1]:
        k = int((bits < rate[name]).sum())
        share = (math.log(rate[name]) - bits[k - 1].log()) / (bits[k].log() - bits[k - 1].log())
        theirs = good[k - 1] + share * (good[k] - good[k - 1])
        say(f"At the {rate[name]:,.0f} bits of {name}, WebP has {theirs:.1f} dB and the autoencoder {quality[name]:.1f}.")  # fmt: skip

# %% [markdown]
# Each rung of the ladder has a quarter of the numbers of the one before. An autoencoder trained on emoji need not say that the ground is white, or that there are outlines: its decoder knows. A codec must, and it has a header to write besides. Where bits are plenty, decades of people's craft are hard to beat with minutes of training.
#
# (Fair warnings. The rate of an autoencoder is what an ideal coder would need; a real one adds a little. The codecs are counted by their files, of which the header is a few hundred bits for WebP and some thousands for JPEG. The weights of the decoder are not counted, and they know nothing but emoji. And the small autoencoders were trained for minutes: their points can surely be improved.)
#
# ## What dies?
#
# A decibel does not say *what* was lost. Cut the error into bands, as an ear does: coarse patches first, then shapes, then lines, then the finest grain. How much of each band of the picture is still there? That is 1 minus the energy of the error over the energy of the picture, in each band: 1 is perfect, and below 0 it would be better to paint nothing. Once for brightness, once for colour, which is what remains of red, green and blue when brightness is taken away.

# %% tags=["core"]
edges = (1, 2, 4, 8, 16, 32)  # waves across the picture; each band is twice as fine as the one before
fy, fx = torch.meshgrid(torch.fft.fftfreq(64) * 64, torch.fft.fftfreq(64) * 64, indexing="ij")
waves = torch.hypot(fx, fy)


def kept_share(x, x_hat):  # 1 - energy of the error / energy of the picture, in each band
    power = lambda a: torch.fft.fft2(a).abs().square().sum((0, 1))  # noqa: E731
    lost, whole = power(x - x_hat), power(x)
    bands = [(waves >= low) & (waves < high) for low, high in zip(edges, edges[1:], strict=False)]
    return [1 - (lost[band].sum() / whole[band].sum()).item() for band in bands]


brightness = lambda x: x.mean(1, keepdim=True)  # noqa: E731
colour = lambda x: x - brightness(x)  # noqa: E731

# %% tags=["core", "stage"]
predict(
    "autoencoders.dies",
    "At 16×16 pixels a cell, in the second band (2 to 4 waves across the picture): of which is a larger share still there?",
    ["brightness", "colour", "the same to within 3 points"],
)

# %% tags=["core", "stage"]
order = ["2×2", "4×4", "shipped", "8×8", "16×16"]
shares = {
    what: {name: kept_share(of(held), of(seen[name])) for name in order}
    for what, of in (("brightness", brightness), ("colour", colour))
}
fig, axes = figure(columns=2, height=2.7)
for ax, (what, curves) in zip(axes, shares.items(), strict=True):
    ax.set(title=what, ylim=(-0.05, 1.05), xlim=(-0.2, 5.3), xlabel="waves across the picture")
    ax.set_xticks(range(5), ["1-2", "2-4", "4-8", "8-16", "16-32"])
    lines(ax, range(5), curves, kinds=[0.0, 0.25, "model", 0.6, 1.0])
axes[0].set_ylabel("share still there")
show(
    fig,
    alt="Two panels, brightness and colour: the share of each frequency band still there, for five autoencoders. Five curves a panel, over bands from coarse to fine.",
    mark=f"live: n = {len(held)} held-out pictures",
)

# %% tags=["core", "stage"]
light, tint = shares["brightness"]["16×16"][1], shares["colour"]["16×16"][1]
verdict = "the same to within 3 points" if abs(light - tint) <= 0.03 else "colour" if tint > light else "brightness"
reveal("autoencoders.dies", verdict, f"Brightness keeps {light:.0%}, colour {tint:.0%}.")

# %% [markdown]
# Fine colour dies before fine brightness. Television and JPEG do the same on purpose, because eyes hardly notice; here nobody asked for it, and squared error alone brought it about.
#
# And what would someone notice who looks at the pictures? Our someone is a small classifier that names the style and the group of an emoji (smiley, person, food and so on). It is not always right; so we ask whether it says the *same* of the picture before and after.

# %% tags=["core", "stage"]
before, rows = guesses(held), []
for name in order:
    after = guesses(seen[name])
    same = [(a == b).float().mean().item() for a, b in zip(before, after, strict=True)]
    rows.append([name, f"{rate[name]:,.0f}", *(f"{share:.0%}" for share in same)])
grey_only = guesses(brightness(held).expand(-1, 3, -1, -1))
same = [(a == b).float().mean().item() for a, b in zip(before, grey_only, strict=True)]
rows.append(["(control: colour removed)", "", *(f"{share:.0%}" for share in same)])
rows.append(["(control: another picture)", "", *(f"{(a == a.roll(1)).float().mean():.0%}" for a in before)])
table(["autoencoder", "bits a picture", "same style", "same group"], rows)
say(f"<small>*live: n = {len(held)} held-out pictures; a share of 90% is known to about 4 points*</small>")

# %% [markdown]
# What lives in a few thin lines is at risk: letters, the teeth of a gear, the look in an eye. (Did you see the eyes in the first figure?) Keep this in mind when a model cannot write or count, and test it before you blame the diffusion: encode a real picture, decode it, look. What is missing then was lost here.
#
# ## Cut and paste
#
# If a cell of the latent stands for its place in the picture, then latents can be cut. Take the left part of one and the right part of another, and decode. *Where does the seam go? Does the decoder heal it?*


# %% tags=["core"]
def halves(a, b, cut):  # latents (1, 8, 8, 8): the first `cut` columns of a, the rest of b
    return torch.cat([a[..., :cut], b[..., cut:]], 3)


# %% tags=["core", "stage"]
THINGS = ["crocodile", "sunflower", "shark", "hotel", "rocket", "woman singer", "slice of pizza", "grinning face"]


def swapped(left, right, style, cut):
    number = emoji.STYLES.index(style)
    a, b = (emoji.pictures(name)[number : number + 1] for name in (left, right))
    both = vae.decode(halves(vae.encode(a), vae.encode(b), int(cut)))
    pasted = torch.cat([a[..., : 8 * int(cut)], b[..., 8 * int(cut) :]], 3)
    return image_grid(torch.cat([a, b, pasted, both]), columns=4, titles=["left", "right", "pixels pasted", "latents pasted"], scale=2)  # fmt: skip


def in_words(left, right, style, cut):
    return f"Left part of {left}, right part of {right}, style {style}: each alone, the pixels pasted, and the latents pasted and decoded, with {int(cut)} of 8 columns from the left."


play(
    swapped, left=THINGS, right=THINGS[1:] + THINGS[:1], style=list(emoji.STYLES[::-1]), cut=(0, 8, 1, 4), alt=in_words
)

# %% [markdown]
# Each half keeps its place: what a convolution computes is mostly local. Mostly, for a decoder of a few layers on a small grid reaches far, and its norms look at the whole picture, so that far-away colours may shift a little. That is why large pictures can be decoded tile by tile, with overlap, and why faint edges may remain.
#
# ## Why latents are scaled
#
# One thing remains to be done before anything is diffused here. A diffusion model mixes data with *unit* noise, and the schedule takes for granted that the data is about as wide. Pixels in [−1, 1] are. The KL pulls latents towards that width, as hard as `beta` pays. A millionth hardly pulls: Stable Diffusion's have a spread of 5.5, hence the famous number 0.18215 by which they are multiplied. Ours paid a thousand times more:

# %% tags=["core"]
with torch.no_grad():
    raw = torch.cat([vae.moments(part)[0] for part in train[few][:400].split(100)])  # means, as the encoder gives them
widths = raw.std((0, 2, 3))  # (8,)
ready = (raw - vae.mean.view(1, -1, 1, 1)) / vae.scale.view(1, -1, 1, 1)  # what `vae.encode` returns

# %% tags=["core", "stage"]
channel_rows = [
    ["raw: mean", *(f"{v:.2f}" for v in raw.mean((0, 2, 3)))],
    ["raw: spread", *(f"{v:.2f}" for v in widths)],
]
channel_rows += [["scaled: spread", *(f"{v:.2f}" for v in ready.std((0, 2, 3)))]]
table(["channel", *map(str, range(1, 9))], channel_rows)
spreads = ", ".join(f"{net.scale.mean():.2f} (beta {name})" for name, net in nets.items())
say(f"And the mean spread of the three that you trained above, in too few steps to wander far: {spreads}.")

# %% [markdown]
# To see what goes wrong, noise the latents and decode at once. First as they should be; then as they are from an encoder with the spread of Stable Diffusion's; then from one whose latents are ten times too small.

# %% tags=["core"]
grid = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 0.95])
z0 = vae.encode(emoji.pictures("sunflower")[3:]).expand(len(grid), -1, -1, -1)
eps = torch.randn(z0.shape, generator=Generator().manual_seed(5))


def at_width(width):  # the latents are `width` times as wide as the noise; what the decoder shows at each level
    x_t = add_noise(Linear(), width * z0, eps, grid)
    return vae.decode(x_t / width / (1 - grid).view(-1, 1, 1, 1)).clamp(-1, 1)


# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([at_width(1.0), at_width(5.5), at_width(0.1)]),
        columns=6,
        titles=[f"t = {t:g}" for t in grid],
        rows=["unit spread", "5.5, unscaled", "0.1, unscaled"],
    ),
    alt="Three rows of a sunflower with growing noise in its latent, decoded. At unit spread it dissolves gradually. At spread 5.5 it stays much longer, at 0.1 it is gone early.",
    mark="live: shipped weights, seed 5; each x_t is divided by alpha before decoding",
)

# %% [markdown]
# All three are the same data and the same schedule. In the middle row most levels ask for little: the network learns to copy its input, and what decides the picture is crammed into about the last fifth of the way (noise and data are equally strong at t = 5.5/6.5 = 0.85). In the lower row nearly every level asks the impossible. Neither breaks; both train badly, and nobody tells you. In the words of chapter 01, data `k` times as wide is another schedule, `ell` shifted by −log `k`. (Chapter 11 trains the control.) So mean and spread of each channel are measured once, **stored with the weights**, and applied by `encode` and `decode`. Not a constant in somebody's code: forgetting to divide by 0.18215 is a common mistake, and shows as pale, flat pictures.
#
# ## Exercises
#
# **1 · A draw, from the other convention** (difficulty 1 of 3, 10 minutes). Many encoders answer with the logarithm of the *variance*. From mean, `log_v` and unit noise, all `(B, c, h, w)`: the latent that goes on.


# %% tags=["core"]
def my_draw(m, log_v, noise):
    raise NotImplementedError


check("autoencoders.draw", my_draw)

# %% [markdown]
# **2 · What a picture costs, in bits** (difficulty 2, 15 minutes). From `m` and `log_s`, `(B, c, h, w)`: the cost of each picture, `(B,)`.


# %% tags=["core"]
def my_bits(m, log_s):
    raise NotImplementedError


check("autoencoders.bits", my_bits)

# %% [markdown]
# **3 · How many times smaller?** (difficulty 2, 15 minutes). A video of `f` frames of `h` × `w` pixels, an autoencoder that reduces `time` and `space` times and gives `channels` numbers a cell; sizes that do not divide are padded. Return a tensor of two: pixels to a cell, and numbers to a number.


# %% tags=["core"]
def my_count(f, h, w, time, space, channels):
    raise NotImplementedError


check("autoencoders.count", my_count)

# %% [markdown]
# **4 · Latents as wide as their noise** (difficulty 1, 10 minutes). `z` is `(N, c, h, w)`. Give each channel mean 0 and spread 1.


# %% tags=["core"]
def my_scale(z):
    raise NotImplementedError


check("autoencoders.scale", my_scale)

# %% [markdown]
# ## What this does not show
#
# Published autoencoders add two things to the loss: a distance in the features of a network (*perceptual*; `vae_loss` takes one), and a critic that tells real from painted (chapter 08, to come). They buy crisp grain that is *plausible* instead of grain that is *right*: the pictures look better and the PSNR falls. Ours has neither, so it blurs where it does not know. Emoji on white are an easy world: much of each picture is ground that costs nothing. The frequency bands leave out the average colour and the finest diagonal waves. And the classifier, whose opinion we asked, is a small one.
#
# ## What you measured

# %% tags=["core", "stage"]
white = psnr(held, torch.ones_like(held)).mean()
table(
    ["question", "answer", "beside it"],
    [
        ["PSNR of the shipped autoencoder, held out", f"{quality['shipped']:.1f} dB at {rate['shipped']:,.0f} bits", f"a white square: {white:.1f} dB at 0 bits"],
        ["PSNR of 64 numbers", f"{quality['16×16']:.1f} dB", f"of 4,096: {quality['2×2']:.1f} dB"],
        ["WebP at quality 1", f"{codecs['WEBP'][0][1]:.1f} dB at {codecs['WEBP'][0][0]:,.0f} bits", "no training at all"],
        ["Numbers alive at the steep price", f"{alive} of 64", f"usual price: {table_rows[1][3]}"],
        ["Latent cells of the article's video", f"{count(*hd, 8, 16, 16)[1]:,.0f} pixels each", "the article: 64, and 2,000"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Diederik P. Kingma, Max Welling: *Auto-Encoding Variational Bayes*, 2013, arXiv 1312.6114. The draw, and the loss.
# - Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser, Björn Ommer: *High-Resolution Image Synthesis with Latent Diffusion Models*, CVPR 2022, arXiv 2112.10752. Section 3.1 and appendices D.1 and G: a small price, and scaling.
# - Irina Higgins and others: *beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework*, ICLR 2017. The price.
# - Johannes Ballé, Valero Laparra, Eero P. Simoncelli: *End-to-end Optimized Image Compression*, ICLR 2017, arXiv 1611.01704. Rate and distortion, with a real coder at the end.
#
# **Next, chapter 11:** diffusion moves into the latent. Two networks with equally many weights race against the clock, one in pixels and one in here.
