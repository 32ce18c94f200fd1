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
#     slug: start
#     title: Start here
#     claim: Noise becomes things, one small guess at a time, and you will build every part that does it.
#     objectives:
#       - sample from a trained model and say what happened
#       - read the notation of the course
#       - use predict, check, hint and solution
#       - know which prerequisites to refresh
#     prerequisites: []
#     minutes_compute: 1
#     hours_learner: 0.75
#     memory_gb: 1
#     data: [toy]
#     weights: [fashion-unet, toybox-video]
#     exercises: [start.mix, start.unmix]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 00 · Start here
#
# **Noise becomes things, one small guess at a time, and you will build every part that does it.**
#
# `compute 1 min` · `you 0.75 h` · `memory 1 GB` · no GPU, no network
#
# Press Shift+Enter a few times, and look.

# %%
import torch
from torch import Generator

from minidiff import *
from minidiff.course.notebook import *
from minidiff.data.toy import two_peaks
from minidiff.nn.mlp import MLP

scale = start(needs="0.1")

# %% tags=["core"]
sentence = "a red circle bounces and a blue square drifts right"  # change it, and run the cell again
clips = generate("toybox-video", sentence, n=pick(smoke=1, laptop=3), steps=pick(smoke=2, laptop=20))

# %% tags=["core", "stage"]
reel(
    {f"clip {i + 1}": clip for i, clip in enumerate(clips)},
    alt=f"Clips of twelve frames, drawn by a network from the sentence: {sentence}.",
    mark=f"live: n = {len(clips)}, seed 0, not picked; shipped weights",
)

# %% [markdown]
# A sentence went in, and a film came out. Nobody drew it, and no line of the network says how a circle bounces: it was shown clips with captions, and found out. (It is small and knows a small world: eight colours, five shapes, one object or two that rest, drift or bounce. It errs, too, and you will count how often.) Chapter 14 builds what reads, chapters 16 and 17 what moves, and 18 puts them together.
#
# How does it draw anything at all? The secret is the same for still pictures, and easier to see there.

# %% tags=["core"]
denoise = load("fashion-unet")  # a small network that shipped with the course
schedule, steps = denoise.schedule, pick(smoke=6, laptop=30)  # `pick`: fewer steps where only a test runs
noise = prior(schedule, (pick(smoke=4, laptop=30), 1, 28, 28), Generator().manual_seed(0))  # pure noise

film = list(dpmpp_2m(denoise, noise, uniform_grid(steps)))  # from noise to pictures, step by step
images = film[-1][1]

# %% tags=["core", "stage"]
show(
    image_grid(images, columns=10),
    alt="A grid of small grey pictures of clothes, shoes and bags, drawn by the network. None of them is a photograph.",
    mark=f"live: n = {len(images)}, {steps} steps, seed 0; shipped weights (schedule `Linear`, row `flow`), see `minidiff recipes`",
)

# %% [markdown]
# Nobody photographed these clothes. A moment ago they were random numbers, and the only thing that was ever taught to the network that drew them is to *guess what is hidden under noise*. The code of the picture itself is folded away, here and everywhere: in Jupyter one click on the three dots opens it.
#
# How does a guesser become a painter? Step through it. On the left is the picture as it stands, on the right the network's guess of what it is going to be. Ask yourself: *when is it decided what the thing will be, and when is it decided what it looks like?*

# %% tags=["core", "stage"]
frames, labels = [], []
for t, x, x0_hat in film[:: max(1, steps // 15)]:
    pair = torch.cat([x[:4], x0_hat[:4]], dim=3)  # noisy beside guess, (4, 1, 28, 56)
    frames.append(tile(pair, columns=2, scale=4, gap=6))
    labels.append(f"t = {t:.2f}")
slideshow(
    frames,
    labels,
    alt="Four pairs of pictures. In each, the left half goes from static to a garment while the right half goes from a grey fog to the same garment, and gets there first.",
    mark=f"live: the same samples, {steps} steps",
)

# %% [markdown]
# At first the guess is fog: the average of everything it has ever seen. Then it leans towards one kind of thing. The details come last. You will meet this again in every chapter, first as a formula you can solve, later as a film with a bouncing ball in it.
#
# ## What this course is
#
# One path in one notation: from a single noisy number to a video model that remembers its characters. You write the idea of each chapter yourself, in five to fifteen lines, and compare them with the package `minidiff`, which is small enough to read. Whenever possible we compare with the *exact* answer, too. Where a well-known text gets something wrong, we run the wrong line and look at what it produces.
#
# Four things happen in every chapter. You **predict** before you see. You **build** the part that matters. You **measure**, beside something that ought to fail. You **play** with a control until you can say what it does. These are the chapters; each page ends with a link to the next.

# %% tags=["core", "stage"]
contents()

# %% [markdown]
# Tomorrow, start the course as you did today (`make course`): your pages are as you left them, with their pictures, and your answers and bets are kept. Controls wake up when the cells above them have run again: choose *Run > Run All Above Selected Cell*, then press Shift+Enter.
#
# ## The notation
#
# | symbol | meaning |
# |---|---|
# | `t` | the noise level, from 0 (data) to 1 (noise). Never the number of a frame |
# | `s` | the next, cleaner level: `s < t` |
# | `x0`, `eps`, `x_t` | data, unit Gaussian noise, and their mixture `x_t = alpha(t) x0 + sigma(t) eps` |
# | `x0_hat`, `eps_hat` | what the model believes they are |
# | `ell` | `log sigma − log alpha`: how noisy, as one number. What a network is told |
# | `B C F H W` | batch, channel, frame, height, width. Images `(B, C, H, W)` in [−1, 1] |
#
# Other texts turn time round, call the data `x_1` or `z`, or number the levels from 0 to 1,000. Here `t` is always as in this table; where an older text says "step 700 of 1,000", that is t = 0.7 of its schedule. More symbols are added when they are needed.
#
# The whole forward process fits in one picture. Drag `t`: *at which level would you no longer bet on what it is?*

# %% tags=["core", "stage"]
cleanest, eps = images[:10], torch.randn(images[:10].shape, generator=Generator().manual_seed(1))


def draw(t):
    level = torch.tensor(t)
    x_t = add_noise(schedule, cleanest, eps, level)  # alpha x0 + sigma eps
    return image_grid(x_t, columns=min(10, len(x_t)))


play(
    draw, t=(0.0, 1.0, 0.05, 0.5), alt=lambda t: f"Ten of the generated pictures mixed with noise at level t = {t:.2f}."
)

# %% [markdown]
# ## How to read a figure
#
# Under every picture stands a small line that says where its numbers come from. *Live* means that your machine has just computed it, from so many samples and these seeds; change the seed, run the cell again, and see what stays. *Recorded* means that it took longer than a notebook should, so a longer run wrote it down, with its device, date and seeds. *Exact* means that there is no luck in it.
#
# The colours keep their meaning through all chapters: blue is data, lilac is noise and what is drowned in it, orange is what a model or a method under study says, black and dashed is the exact answer, dark violet is a control that ought to fail, green is something to beat.
#
# And a rule of thumb for reading any share: measured on n samples, it is uncertain by about 1/√n. That is ten points at a hundred samples and one point at ten thousand.
#
# ## How exercises work
#
# An exercise is a function to fill in, with `check` under it. Here is the first, and it is the table's third row. Replace the line `raise NotImplementedError`, run the cell, and see the box turn blue.


# %% tags=["core"]
def mix(x0, eps, alpha, sigma):
    raise NotImplementedError  # your line: return x_t


check("start.mix", mix)

# %% [markdown]
# `check` runs your function on fresh random inputs and compares it with the package, so any way to write it passes. It knows the usual mistakes by name. Let us make one on purpose:


# %% tags=["core"]
def mix_by_mistake(x0, eps, alpha, sigma):
    return sigma * x0 + alpha * eps


check("start.mix", mix_by_mistake, counts=False)  # made on purpose: no try of yours

# %% [markdown]
# If you are stuck, `hint("start.mix")` gives a hint, and another one if you call it again; `solution("start.mix")` shows one answer. An unsolved exercise never stops a notebook: *Run All* always reaches the end. What you solved is kept in `work/progress.jsonl`, on your machine.
#
# One more, in the other direction. Somebody tells you the noise. Give the data back.


# %% tags=["core"]
def unmix(x_t, eps, alpha, sigma):
    raise NotImplementedError  # your line: return x0


check("start.unmix", unmix)

# %% [markdown]
# That line is worth a thought. *If you know the noise, you know the data*, and the other way round, as long as there is some of both. So a network may be asked for either one. Nobody tells it the noise, of course; it has to guess, and everything that follows is about living with guesses.
#
# ## The course in ten lines
#
# Below is a complete program: a source of data, a network, training, sampling. It runs in a few seconds because its data are single numbers: 70% of them near −1, 30% near +1. You are not meant to understand each word yet. Each gets its chapter:
#
# | word | what it is | where you build it |
# |---|---|---|
# | `MLP` | a small network | used only; larger ones from 05 on |
# | `Linear()` | how much signal and noise at each `t` | 01 |
# | `prior`, `heun`, `uniform_grid`, `last` | pure noise; a walk from it to data (`dpmpp_2m`, above, is another); the levels where it stops on its way; its end | 02, 06 |
# | `Denoiser`, `fit`, `fresh` | the network as a guesser (`sd` is the data's standard deviation); its training; an endless supply of data | 03 |
# | `"v"` | what exactly the network is asked | 04 |
# | `ema` | a running average of the network's weights, better than the last ones | 05 |

# %% tags=["core"]
source = two_peaks()
toy = Denoiser(MLP(dim=1, width=64, depth=2), Linear(), "v", sd=source.sd)
for state in fit(toy, fresh(source.sample, 256), steps=pick(smoke=50, laptop=800), lr=2e-3, every=100, decay_from=0.5):
    pass

with state.ema.applied(toy.net):
    start_from = prior(Linear(), (pick(smoke=100, laptop=4000), 1), Generator().manual_seed(2))
    x = last(heun(toy, start_from, uniform_grid(30)))

# %% tags=["core", "stage"]
xs = torch.linspace(-2.2, 2.2, 221)[:, None]
fig, ax = figure(height=2.4)
ax.hist(x[:, 0].clamp(-2.2, 2.2), bins=60, density=True, color=COLOURS["model"], alpha=0.6)
filled(ax, xs[:, 0], source.log_prob(xs).exp(), "exact", "the truth")
ax.set(xlabel="x0", yticks=[])
show(
    fig,
    alt="A histogram of generated numbers with a tall peak at -1 and a lower one at +1, under the dashed curve of the true density.",
    mark=f"live: n = {len(x):,}, {state.step} training steps, one seed",
)
left = (x < 0).float().mean().item()
say(
    f"Share of samples on the left: **{left:.1%}** (truth: 70%, n = {len(x):,}, so ±{1.96 * (0.21 / len(x)) ** 0.5:.1%} is luck)."
)

# %% [markdown]
# ## What you should bring
#
# Python, a little PyTorch, and the Gaussian distribution. Eight questions tell you whether to refresh anything. Answer first; the answers are one cell further down, most with a place to read; each opens when you have answered.

# %% tags=["core", "stage"]
QUESTIONS = {
    "sum": (
        "Independent noises with standard deviations 3 and 4 are added. The sum has standard deviation",
        ["7", "5", "12"],
    ),
    "scale": ("x has variance 4. Then x/2 has variance", ["2", "4", "1"]),
    "bayes": (
        "A rare event (1%) triggers an alarm surely; otherwise the alarm rings in 1% of cases. It rings. The event is",
        ["nearly certain", "about as likely as not", "still very unlikely"],
    ),
    "mean": (
        "The single number with the least mean squared error to a set of numbers is their",
        ["mean", "median", "most common value"],
    ),
}

# %% tags=["core", "stage"]
QUESTIONS |= {
    "gradient": ("The gradient of log N(x; m, s²) with respect to x is", ["(x − m)/s²", "−(x − m)²/2s²", "(m − x)/s²"]),
    "shape": (
        "a has shape (8, 1, 1, 1), b has shape (8, 3, 28, 28). Then a * b has shape",
        ["it is an error", "(8, 3, 28, 28)", "(8, 1, 1, 1)"],
    ),
    "autograd": ("After loss.backward(), the gradient of a weight w is in", ["w.grad", "loss.grad", "optimizer.grad"]),
    "softmax": (
        "Adding 5 to every input of a softmax changes its output",
        ["by a factor e⁵", "towards uniform", "not at all"],
    ),
}
for name, (question, options) in QUESTIONS.items():
    predict(f"start.{name}", question, options)

# %% [markdown]
# *Scroll on when you have answered all eight.*

# %% tags=["core", "stage"]
MML = "Deisenroth, Faisal, Ong: *Mathematics for Machine Learning*, 2020 (free online)"
TORCH = 'the PyTorch tutorials "Tensors" and "Automatic differentiation"'
reveal("start.sum", "5", f"Variances add: 9 + 16 = 25. Refresh: {MML}, section 6.4.")
reveal("start.scale", "1", f"Scaling by c multiplies the variance by c². {MML}, section 6.4.")
reveal(
    "start.bayes",
    "about as likely as not",
    f"0.01 against 0.99 x 0.01. Bayes' rule is most of chapter 02: {MML}, section 6.3.",
)
reveal(
    "start.mean",
    "mean",
    "The reason why denoisers return fog. Chapter 03 proves it; if it is new, try it with the numbers 0, 0, 1.",
)
reveal("start.gradient", "(m − x)/s²", f"It points from x to the centre. {MML}, sections 5.2 and 6.5.")
reveal("start.shape", "(8, 3, 28, 28)", f"Broadcasting. It is behind most silent errors in this field: {TORCH}.")
reveal("start.autograd", "w.grad", f"Each tensor keeps the gradient of its own. Refresh: {TORCH}.")
reveal(
    "start.softmax",
    "not at all",
    "Only differences count: the common factor e⁵ stands above and below the line. Five minutes with paper.",
)

# %% [markdown]
# Six or more right: go on. Fewer: spend an evening with the two sources, it will repay itself by chapter 02.
#
# ## The sealed envelope
#
# This course began with one popular article, *Understanding Diffusion Models: How Sora & Runway Generate Videos in 2025* (aivideo-detector.com, 2025). It is a good guide to what people believe about video models. Some of it is right. Below are twenty of its claims, most in its own words, each with what it means; you will meet all of them, one by one, in the chapters to come. Put a probability on each: how likely is it that the claim **holds when we measure it**? Your numbers stay on this machine, in your progress file, until the last chapter (still to be written) opens the envelope and draws *your* calibration curve: of the things you gave 80%, how many were so?

# %% tags=["core", "stage"]
CLAIMS = {
    '"1,000 small steps easier to reverse than 1 giant leap"': "to walk from noise to data, many small steps do better than one",
    'After 1,000 steps a picture is "indistinguishable from random noise"': "nobody could tell which picture it was",
    'A step back is "x_(t-1) = (x_t - predicted_noise) / √(1 - β_t)"': "this line, run a thousand times from noise, arrives at pictures",
    'The small random noise in each step back is there "for diversity"': "without it, pictures are right but more alike",
    '"Deterministic denoising" is an invention of 2025': "a way back that draws no random numbers was new in 2025",
    'Guidance gives "stronger adherence to text prompts"': "with the dial called guidance turned up, pictures fit their words better",
    'Latent diffusion is "10-100x faster, same quality"': "working on compressed pictures (latents) saves that much and costs nothing",
    'GANs are "prone to mode collapse"; diffusion is not': "the rival method, GAN, tends to make only a few kinds of things; diffusion makes all",
    'Diffusion is diverse because of "inherent randomness in sampling process"': "its variety comes from the random numbers it draws",
    "Videos made frame by frame, each on its own, flicker": "a video of separately made pictures is restless",
}

# %% tags=["core", "stage"]
CLAIMS |= {
    'Twenty seconds of 1080p in patches of 16 x 16 x 4 are "~1 million patches"': "cut into small blocks (patches), such a clip has about a million",
    '"~8x spatially, ~8x temporally = 64x total compression"': "8 times fewer numbers along each side, and along time, make 64 times fewer",
    'In a diffusion transformer, the "transformer determines high-level layout, diffusion model fills in realistic details"': "of the two, the network (a transformer) places things and the noise process paints them",
    '"One patch = small object part (eye, leaf, wheel)"': "the blocks that the network works on are parts of things",
    'Longer captions: "more detail = better generation quality"': "training on longer descriptions (captions) makes better pictures",
    'A memory of the scene gives "perfect consistency"': "a character that leaves and returns looks the same",
    "From watching, video models learn gravity": "things fall rightly in videos unlike those it was trained on",
    'Physics fails because the "model averages patterns"': "wrong motion is a mixture of motions that were seen",
    'Small details such as gear teeth are "lost in latent compression"': "they are gone before the model even starts",
    "A detector of generated video that works today will, at heart, keep working": "what gives fakes away does not change",
}
for number, (claim, words) in enumerate(CLAIMS.items(), 1):
    bet(f"envelope.{number:02}", f"{claim}. *In plain words: {words}.*")

# %% [markdown]
# ## What this does not show
#
# The pictures at the top are small, grey and sometimes strange. The *principle* of the large models is the same to the letter, and that is why we start where everything can be checked. How small is small? The file of the weights says it:

# %% tags=["core"]
from minidiff.recipes.run import shipped
from minidiff.train.checkpoint import read_header

header = read_header(shipped("fashion-unet"))
say(
    f"{header['parameters']:,} numbers, trained for {header['seconds'] / 60:.0f} minutes on a processor ({header['device']}). The network of Stable Diffusion XL has 2.6 billion (Podell and others, 2023, arXiv 2307.01952), **{2.6e9 / header['parameters']:,.0f} times** as many."
)

# %% [markdown]
# ## Is the machine fit?
#
# The doctor looks at versions, memory, the shipped files and their hashes, and trains a tiny model for five seconds. If something is wrong it says what to do. In a terminal: `make doctor`.

# %% tags=["core"]
from minidiff.course.doctor import doctor

status = doctor()

# %% [markdown]
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer"],
    [
        ["Pictures from noise", f"{len(images)}, in {steps} steps each"],
        ["Numbers from noise: share left of 0", f"{left:.1%} (truth 70%)"],
        ["Bets in the envelope", f"{sum(name.startswith('envelope.') for name in bets())} of {len(CLAIMS)}"],
        ["Is the machine fit?", "yes" if status == 0 else "not yet, see the remedies above"],
    ],
)

# %% [markdown]
# ## To read
#
# - Chieh-Hsin Lai, Yang Song, Dongjun Kim, Yuki Mitsufuji, Stefano Ermon: *The Principles of Diffusion Models*, 2025, arXiv 2510.21890. A book-length companion, for when you want the theorems.
# - Lilian Weng: *What are Diffusion Models?*, lilianweng.github.io, 2021. The classic overview; note how its symbols differ from ours.
# - Han Xiao, Kashif Rasul, Roland Vollgraf: *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*, 2017, arXiv 1708.07747. Where the clothes come from.
#
# **Next, chapter 01:** noise. It seems the dull half, and it has the first published mistake of this course in it.
