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
#     slug: forward
#     title: Noise
#     claim: A thousand small steps into noise are one jump, and how far it goes is one number.
#     objectives:
#       - derive the jump from the steps, and test that the two are equal in distribution
#       - read every schedule as one curve, its log signal-to-noise ratio
#       - say why a large image needs more noise than a small one, and how much more
#     prerequisites: [start]
#     minutes_compute: 1
#     hours_learner: 2
#     memory_gb: 1
#     data: [toy, fashion]
#     weights: []
#     exercises: [forward.one-jump, forward.broadcast, forward.compose-steps, forward.shift]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 01 · Noise
#
# **A thousand small steps into noise are one jump, and how far it goes is one number.**
#
# `compute 1 min` · `you 2 h` · `memory 1 GB` · everything on this page is computed live
#
# To build something that creates, we begin with something that destroys, the easy half of diffusion: four lines of code, and nothing in them is learned. (Small networks come later on this page, as judges.) But all that a model ever learns, it learns from what these four lines do to its data.
#
# Below are ten pieces of clothing. A thousand times, each pixel is made a little weaker and gets a little noise, in amounts from the table of DDPM (*denoising diffusion probabilistic models*, Ho and others, 2020), the paper that made this famous. Play it, pick one piece, and press pause when you can no longer tell what it is.

# %%
import math

import numpy as np
import torch
from IPython.display import Audio, display
from PIL import Image, ImageDraw
from torch import Generator, nn

from minidiff import VP, Betas, Cosine, Linear, expand, pick
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import two_peaks
from minidiff.measure.proportion import share

scale = start(needs="0.1")

# %% tags=["core"]
images, labels = fashion.load("test")
clothes = torch.stack([images[labels == k][0] for k in range(10)])  # (10, 1, 28, 28), one of each kind
betas = torch.linspace(1e-4, 0.02, 1000)  # DDPM's table: how much noise each step adds

x, generator = clothes, Generator().manual_seed(0)
film = {0: x}
for k, beta in enumerate(betas, 1):
    x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator)
    if k % 40 == 0:
        film[k] = x


# %% tags=["core", "stage"]
def with_words(picture, words):  # a line of text above a picture (H, W, 3)
    page = Image.new("RGB", (picture.shape[1], picture.shape[0] + 14), "white")
    page.paste(Image.fromarray(picture), (0, 14))
    ImageDraw.Draw(page).text((2, 1), words, fill="black")
    return np.asarray(page)


animation(
    [with_words(tile(x, 5, scale=2), f"step {k}") for k, x in film.items()],
    labels=[f"step {k}" for k in film],
    fps=5,
    alt="Two rows of five pieces of clothing dissolve into grey static: at step 200 they are grainy, at 400 only the large bright ones can be made out, from 600 on nothing can be seen.",
    mark="live: 10 test images of Fashion-MNIST, DDPM's 1,000 steps, seed 0",
)

# %% [markdown]
# Remember the number where you gave up; small networks will take a like test. And keep one question in mind: *is there anything left at step 1000?*
#
# ## One step
#
# The whole of it is one line, and the founding article of this course has it right:
#
# $$x_k = \sqrt{1-\beta_k}\;x_{k-1} + \sqrt{\beta_k}\;\epsilon_k$$
#
# `beta` is a small number, `eps` is Gaussian noise of variance 1. Why the square roots, and why shrink at all? Because variances of independent things add. If `x` has variance 1 before the step, it has `(1−β)·1 + β = 1` after it. Data of another variance drifts towards 1 and stays there. Without the shrinking, the noise would pile up over data that never gets weaker, and no end would be in sight.
#
# To see more than dots of grey, take the smallest data there is: single numbers, near −1 with probability 0.7 and near +1 with probability 0.3, each peak 0.2 wide. We noise them step by step.

# %% tags=["core"]
peaks, n = two_peaks(), pick(smoke=2000, laptop=20_000)
stops = (0, 50, 150, 400, 1000)


def walk(x, generator, shrink=True):
    chain = [x]
    for beta in betas:
        x = (1 - beta * shrink).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator)
        chain.append(x)
    return torch.stack(chain)  # (1001, n): where each number is after 0, 1, ..., 1000 steps


x0 = peaks.sample(n, Generator().manual_seed(1)).squeeze(1)
chain = walk(x0, Generator().manual_seed(2))
careless = walk(x0, Generator().manual_seed(2), shrink=False)

# %% tags=["core", "stage"]
table(
    ["after", *(f"{k} steps" for k in stops)],
    [
        ["standard deviation", *(f"{chain[k].std():.2f}" for k in stops)],
        ["without shrinking", *(f"{careless[k].std():.2f}" for k in stops)],
    ],
)

# %% [markdown]
# The first row goes to 1. The second has no reason to stop. (Chapter 04 has a use for it.)
#
# ## A thousand steps, one jump
#
# Training will ask for images at step 3, at step 720, at step 300, millions of times.

# %% tags=["core", "stage"]
predict(
    "forward.draws",
    "You want data as it is after 300 steps. How often must you draw random numbers for it?",
    ["300 times, once for each step", "17 times, about the square root of 300", "once"],
)

# %% [markdown]
# Write two steps in a row, and collect:
#
# $$x_2 = \sqrt{(1-\beta_1)(1-\beta_2)}\;x_0 \;+\; \underbrace{\sqrt{(1-\beta_2)\,\beta_1}\;\epsilon_1 + \sqrt{\beta_2}\;\epsilon_2}_{\text{a sum of two Gaussians}}$$
#
# The old noise was shrunk along with the data; new noise was added. A sum of independent Gaussians is a Gaussian whose variance is the sum: `(1−β₂)β₁ + β₂ = 1 − (1−β₁)(1−β₂)`. So two steps are one step, with a larger beta. Then three are, and a thousand. The signal is multiplied by `alpha`, the noise has size `sigma`:
#
# $$\alpha^2 = (1-\beta_1)(1-\beta_2)\cdots(1-\beta_k) \;=\; \bar\alpha_k, \qquad \sigma^2 = 1-\bar\alpha_k$$
#
# In this course a *schedule* is whatever gives `alpha(t)` and `sigma(t)`, where `t` runs from 0 (data) to 1 (noise); here `t = k/1000`. The forward process of every diffusion model is then the next cell. (`expand` only lines up shapes: one `t` for each image in a batch. Exercise 2 lets you write it.)


# %% tags=["core", "builds:schedule.add_noise"]
def add_noise(schedule, x0, eps, t):
    alpha = expand(schedule.alpha(t), x0)
    sigma = expand(schedule.sigma(t), x0)
    return alpha * x0 + sigma * eps


# %% tags=["core"]
alpha_bar = (1 - betas.double()).cumprod(0)  # (1000,): the product of all (1 - beta) so far

# %% tags=["core", "stage"]
t_all = torch.arange(1, 1001, dtype=torch.float64) / 1000
apart = (Betas().alpha(t_all) - alpha_bar.sqrt()).abs().max()
reveal(
    "forward.draws",
    "once",
    f"One draw, one line. `Betas()` of the package is this product: the two differ by {apart:.0e} at most.",
)

# %% [markdown]
# Distrust algebra. Below, the lilac shape is the numbers that *walked*, through every single step; the orange outline is numbers that *jumped*, from other data and with other noise; the dashed line is the exact density. For this data we know it: each noisy peak is a Gaussian around `alpha` times its centre, with variance `alpha²·0.2² + sigma²`.

# %% tags=["core"]
jumped = {}
generator = Generator().manual_seed(3)
for k in stops[1:]:
    fresh, eps = peaks.sample(n, generator).squeeze(1), torch.randn(n, generator=generator)
    jumped[k] = add_noise(Betas(), fresh, eps, torch.tensor(k / 1000))

# %% tags=["core", "stage"]
fig, axes = figure(columns=4, height=2.1)
xs, bins = torch.linspace(-3.2, 3.2, 321), torch.linspace(-3.2, 3.2, 61).tolist()
for ax, k in zip(axes, jumped, strict=True):
    t = torch.tensor(k / 1000)
    ax.hist(chain[k].tolist(), bins, density=True, color=COLOURS["noise"], alpha=0.5)
    ax.hist(jumped[k].tolist(), bins, density=True, color=COLOURS["model"], histtype="step")
    density = peaks.log_prob(xs[:, None], Betas().alpha(t), Betas().sigma(t)).exp()
    ax.plot(xs, density, color=COLOURS["exact"], dashes=(4, 2), linewidth=1)
    ax.set(title=f"after {k}", yticks=[], xlabel="x")
show(
    fig,
    alt="Four histograms, after 50, 150, 400 and 1,000 steps: two sharp peaks at -1 and +1 widen, move together, merge and end as one bell. Walked numbers, jumped numbers and the exact density coincide in each.",
    mark=f"live: n = {n:,} walked, {n:,} jumped, seeds 1 to 3; dashed: exact",
)

# %% [markdown]
# Looks equal. How would you *notice* if it were not? Sort both sets of numbers and draw, for each, the share that lies below x, as x goes from left to right. The largest gap between the two curves is the Kolmogorov–Smirnov distance. Two sets of n numbers from one and the same distribution have a gap too, by chance; above `1.95·√(2/n)` it comes once in a thousand tries. That is our alarm.
#
# And a test that never rings proves nothing. So a *control* must fail it: the plausible idea that if each step adds variance β, then k steps add the sum of the βs.


# %% tags=["core"]
def ks(a, b):
    a, b, both = a.sort().values, b.sort().values, torch.cat([a, b])
    below = [torch.searchsorted(group, both, right=True) / len(group) for group in (a, b)]
    return (below[0] - below[1]).abs().max().item()


# %% tags=["core", "stage"]
generator, rows, gaps, alarm = Generator().manual_seed(4), [], {}, 1.95 * (2 / n) ** 0.5
for k, jump in jumped.items():
    fresh, eps = peaks.sample(n, generator).squeeze(1), torch.randn(n, generator=generator)
    summed = alpha_bar[k - 1].sqrt().float() * fresh + betas[:k].sum().sqrt() * eps
    gaps[k] = ks(chain[k], jump), ks(chain[k], summed)
    moments = [f"{f(chain[k]):.3f} / {f(jump):.3f}" for f in (torch.mean, torch.std)]
    rows.append([k, *moments, *(f"{gap:.4f}" for gap in gaps[k])])
table(["steps", "mean, walk / jump", "std, walk / jump", "gap", "gap of the control"], rows)
say(f"Alarm at **{alarm:.4f}**, n = {n:,} each.")

# %% [markdown]
# Walk and jump cannot be told apart. The control rings, but late: while there is little noise, adding up is nearly right. That is how such a mistake survives in code that is tried on the first few steps only.
#
# One thing the jump does *not* give. Two jumps, to step 300 and to step 301, are not neighbours: each has its own noise. The walk is a path, the jumps are a cloud with the same outline at every step. Training only ever looks at one step at a time, so the cloud is enough.

# %% tags=["core", "stage"]
times, generator = torch.arange(0, 1001, 4), Generator().manual_seed(5)
cloud = add_noise(Betas(), peaks.sample(251, generator), torch.randn(251, 1, generator=generator), times / 1000)
fig, (left, right) = figure(columns=2, height=2.3)
low_middle_high = chain[0].argsort()[[n // 20, n // 2, -n // 10]]
for i, shade in zip(low_middle_high, (1.0, 0.75, 0.5), strict=True):
    left.plot(times, chain[times, i], linewidth=1, color=COLOURS["noise"], alpha=shade)
right.scatter(times, cloud, s=6, color=COLOURS["model"])
left.set(title="walk: three numbers, 1,000 steps", xlabel="step", ylabel="x", ylim=(-3.5, 3.5))
right.set(title="jump: every dot on its own", xlabel="step", ylim=(-3.5, 3.5))
show(
    fig,
    alt="Left, three jagged paths start near -1 or +1 and wander around 0. Right, a cloud of single dots with the same outline: two bands at first, one broad band later.",
    mark="live: seeds 1, 2 and 5",
)

# %% [markdown]
# ## One number for the noise
#
# DDPM's table is one schedule among many. The package has five; here are three, side by side. A warning about names: DDPM's is often called "linear" because its *betas* lie on a line. In this course `Linear` means that `alpha` and `sigma` themselves do; it is the schedule of flow models.
#
# | schedule | alpha | sigma |
# |---|---|---|
# | `Betas` (DDPM) | √ᾱ | √(1−ᾱ) |
# | `Cosine` | cos(πt/2) | sin(πt/2) |
# | `Linear` (flow) | 1 − t | t |

# %% tags=["core", "stage"]
SCHEDULES = {"DDPM": Betas(), "cosine": Cosine(), "flow": Linear()}
bag = clothes[8].expand(7, -1, -1, -1)
ts = torch.tensor([0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0])
eps = torch.randn(1, 1, 28, 28, generator=Generator().manual_seed(6)).expand(7, -1, -1, -1)
grid = [add_noise(s, bag, eps, ts) for s in SCHEDULES.values()]
show(
    image_grid(torch.cat(grid), 7, titles=[f"t = {t:g}" for t in ts.tolist()], rows=list(SCHEDULES)),
    alt="One bag under three schedules at seven noise levels. In DDPM's row it is gone by t = 0.6, where the cosine and flow rows still show it faintly; the flow row is paler in the middle.",
    mark="live: the same image and the same noise in every picture, seed 6",
)

# %% [markdown]
# The same `t` means something else in each row. So `t` is a poor name for how noisy an image is. What would be a good one? Only the *ratio* of signal to noise can matter, since multiplying an image by a constant changes nothing that is in it. And ratios want a logarithm:
#
# $$\ell = \log\sigma - \log\alpha$$
#
# It is minus half the "log-SNR" of the papers: −3 is nearly clean, 0 is as much noise as signal, +3 is nearly gone. Floor and clip only keep it finite at both ends. A network in this course is never told `t`. It is told `ell`.


# %% tags=["core", "builds:schedule.ell"]
def ell(schedule, t):
    alpha = schedule.alpha(t).clamp(min=1e-12)
    sigma = schedule.sigma(t).clamp(min=1e-12)
    return (sigma.log() - alpha.log()).clamp(-10, 10)


# %% [markdown]
# Now drag. Set `flow` to t = 0.5 and look at the clothes. Then change the schedule, and find the `t` that gives you *the same picture* back. What do the two have in common on the right?

# %% tags=["core", "stage"]
few = clothes[[8, 1, 6, 7]]
still = torch.randn(few.shape, generator=Generator().manual_seed(7))
line = torch.linspace(0.005, 0.995, 199)


def draw(schedule, t):
    fig, (left, right) = figure(columns=2, height=2.6)
    noisy = add_noise(SCHEDULES[schedule], few, still, torch.tensor(t))
    left.imshow(tile(noisy / noisy.std(), 2, scale=3))
    left.set(title=f"{schedule}, t = {t:.2f}", xticks=[], yticks=[])
    right.set(xlabel="t", ylabel="ell", xlim=(0, 1), ylim=(-6, 6))
    for (name, s), style in zip(SCHEDULES.items(), ("-", "--", ":"), strict=True):
        right.plot(line, ell(s, line), style, color=COLOURS["noise"], label=name)
    right.legend(loc="lower right")
    here = ell(SCHEDULES[schedule], torch.tensor(t)).item()
    right.plot(t, here, "o", markersize=9, color=COLOURS["exact"])
    right.axhline(here, color=COLOURS["exact"], linewidth=0.8)
    right.set_title(f"ell = {here:.2f}")
    return fig


play(
    draw,
    schedule=["flow", "DDPM", "cosine"],
    t=(0.02, 0.98, 0.01, 0.5),
    alt=lambda schedule, t: (
        f"Four pieces of clothing noised by {schedule} at t = {t:.2f}; beside them three rising curves of ell over t, with a dot at ell = {ell(SCHEDULES[schedule], torch.tensor(t)).item():.2f}."
    ),
)

# %% [markdown]
# Same `ell`, same picture. (We divide by the contrast, as every network in this course will.) Exactly the same? At each of a hundred values of `ell`, solve for the flow's `t` and for the cosine's, noise with the same `eps`, divide each by its `alpha`, and compare:

# %% tags=["core"]
levels = torch.linspace(-4, 4, 100, dtype=torch.float64)
t_flow, t_cosine = torch.sigmoid(levels), 2 / math.pi * levels.exp().atan()
x0, eps = few[:1].double().expand(100, -1, -1, -1), still[:1].double().expand(100, -1, -1, -1)
pair = [add_noise(s, x0, eps, t) / expand(s.alpha(t), x0) for s, t in ((Linear(), t_flow), (Cosine(), t_cosine))]
say(f"Largest difference of any pixel: **{(pair[0] - pair[1]).abs().max():.0e}**.")

# %% [markdown]
# So among schedules there is one way to destroy data, and a schedule is its *timetable*: how long to stay at which `ell`. Nothing else is in it. (There are other ways altogether, such as blurring, and models that learn to undo those: Bansal and others, *Cold Diffusion*, 2022, arXiv 2208.09392.)
#
# Nor does anything in `add_noise` know that `x0` is an image. Here is a tune: four lines for the sound, and our one line for the noise. Look at the second curve, then listen to it.

# %% tags=["core"]
rate, notes = 8000, (0, 4, 7, 12, 7, 4, 0)  # semitones above 220 Hz
seconds = torch.arange(int(0.3 * rate)) / rate
strings = [(2 * math.pi * 220 * 2 ** (k / 12) * seconds).sin() * (-4 * seconds).exp() for k in notes]
tune = torch.stack(strings) / torch.stack(strings).std()  # (7, samples), standard deviation 1
hiss = torch.randn(tune.shape, generator=Generator().manual_seed(8))
noisy = {t: add_noise(Linear(), tune, hiss, torch.tensor(t)) for t in (0.0, 0.75)}

# %% tags=["core", "stage"]
fig, axes = figure(columns=2, height=1.8)
for ax, (t, wave) in zip(axes, noisy.items(), strict=True):
    ax.plot(wave[0], linewidth=0.6, color=COLOURS["noise" if t else "data"])
    ax.set(title=f"t = {t:g}, the first note", xlabel="sample, 8,000 a second", yticks=[])
show(
    fig,
    alt="Left, a clean decaying tone. Right, the same at t = 0.75: static in which no wave can be seen.",
    mark="live: flow schedule, seed 8",
)
for wave in noisy.values():
    display(Audio(wave.flatten().numpy(), rate=rate))
loudest = [torch.fft.rfft(wave).abs().argmax(1) for wave in noisy.values()]
say(f"Loudest frequency of each note, clean against noisy: equal in **{(loudest[0] == loudest[1]).sum()} of 7**.")

# %% [markdown]
# (The players appear in Jupyter; some readers of this page strip them.) The eye sees static, the ear still hears the tune. The ear is not better, it *averages*: a note repeats its wave many times, and over the repetitions the noise cancels while the note adds up. The rest of this chapter is that thought.
#
# ## Large images survive
#
# Take trousers at 28 pixels a side; average 2×2 pixels and they are 14 a side, once more and they are 7. All three get the same noise per pixel, at the same `t`.

# %% tags=["core", "stage"]
predict(
    "forward.size",
    "The same trousers at 28 and at 7 pixels a side, same alpha, same sigma for every pixel. As t grows, which can be recognised longer?",
    ["the large one", "the small one", "both equally: each pixel is equally noisy"],
)

# %% tags=["core"]
SIZES = (28, 14, 7)
some_t = torch.tensor([0.0, 0.3, 0.5, 0.6, 0.7, 0.8])


def shrink(x, size):  # (B, 1, 28, 28) -> (B, 1, size, size)
    return nn.AvgPool2d(28 // size)(x)


rows = []
for size in SIZES:
    x0 = shrink(clothes[1:2], size).expand(6, -1, -1, -1)
    eps = torch.randn(1, 1, size, size, generator=Generator().manual_seed(9)).expand(6, -1, -1, -1)
    noisy = add_noise(Linear(), x0, eps, some_t)
    rows.append(nn.Upsample(28)(noisy / noisy.std((1, 2, 3), keepdim=True) / 1.5))  # larger dots, same pixels

# %% tags=["core", "stage"]
titles = [f"t = {t:g}" for t in some_t.tolist()]
show(
    image_grid(torch.cat(rows), 6, titles=titles, rows=[f"{size} px" for size in SIZES], scale=3),
    alt="Trousers at 28, 14 and 7 pixels under growing noise. At 28 pixels two legs can be followed to about t = 0.6, at 14 pixels to about 0.5, at 7 pixels hardly beyond 0.3.",
    mark="live: flow schedule, seed 9",
)

# %% [markdown]
# Your eye may have answered already. A number is better, so let a small network take the test: two hidden layers, the same for each size, trained here for a few seconds on noisy pictures of all levels, and told nothing but the pixels. (What a network is and how it learns: called here, explained in chapter 03. Here it only plays the part of your eye.) The *control*: at `t = 1` there is no signal at all in this schedule, so it must be right in one case of ten.


# %% tags=["core", "stage"]
def noisy_batch(x0, t, generator):
    x = add_noise(Linear(), x0, torch.randn(x0.shape, generator=generator), t)
    return x / expand(((1 - t) ** 2 / 2 + t**2).sqrt(), x0)  # about unit size at every level


# %% tags=["core", "stage"]
train = [v[: pick(smoke=2000, laptop=20_000)] for v in fashion.load("train")]
test = [v[: pick(smoke=500, laptop=5000)] for v in (images, labels)]


def train_eye(size, seed=0):
    x0, y, steps = shrink(train[0], size), train[1], pick(smoke=30, laptop=600)
    generator = Generator().manual_seed(seed)
    torch.manual_seed(seed)  # the initial weights
    layers = [nn.Flatten(), nn.Linear(size**2, 256), nn.SiLU(), nn.Linear(256, 128), nn.SiLU()]
    net = nn.Sequential(*layers, nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        i = torch.randint(len(x0), (128,), generator=generator)
        t = torch.sigmoid(7 * torch.rand(128, generator=generator) - 3)  # ell evenly from -3 to 4
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(noisy_batch(x0[i], t, generator)), y[i]).backward()
        optimizer.step()
    return net


# %% tags=["core", "stage"]
levels = torch.cat([torch.arange(-3, 4.1, 0.5), torch.tensor([torch.inf])])  # values of ell
t_test = torch.sigmoid(levels)  # t of the flow schedule; the last one is exactly 1


@torch.no_grad()
def accuracy(net, size):
    generator, x0 = Generator().manual_seed(10), shrink(test[0], size)
    right = [net(noisy_batch(x0, t, generator)).argmax(1) == test[1] for t in t_test]
    return torch.stack(right).double().mean(1)


# %% tags=["core", "stage"]
SEEDS = pick(smoke=2, laptop=5)
eyes = [(size, seed) for size in SIZES for seed in range(SEEDS)]
tries = {eye: accuracy(train_eye(*eye), eye[0]) for eye in tqdm(eyes)}
each = {size: torch.stack([tries[size, seed] for seed in range(SEEDS)]) for size in SIZES}  # (seeds, levels)
seen, tested, even = {size: each[size].mean(0) for size in SIZES}, len(test[1]), 6  # levels[6] is ell = 0


def curve(ax, x, size):
    low, mean, high = each[size].min(0).values, seen[size], each[size].max(0).values
    look = dict(marker={28: "o", 14: "s", 7: "D"}[size], color=COLOURS["model"], alpha={28: 1.0, 14: 0.7, 7: 0.4}[size])
    bars = torch.stack([mean - low, high - mean])[:, : len(x)]
    ax.errorbar(x, mean[: len(x)], bars, capsize=2.5, elinewidth=1, label=f"{size} px", **look)
    ax.legend(loc="upper right")


# %% tags=["core", "stage"]
fig, ax = figure(height=2.7)
ax.set(xlabel="t (flow schedule)", ylabel="recognised", xlim=(0, 1.02), ylim=(0, 0.95))
ax.axhline(0.1, color=COLOURS["exact"], dashes=(4, 2), linewidth=1)
ax.annotate("chance", (0.02, 0.12), fontsize=8.5)
for size in SIZES:
    curve(ax, t_test, size)
show(
    fig,
    alt="Share of test images recognised against t for three sizes. All fall from about 0.8 to chance, 0.1: the 7-pixel curve first, around t = 0.5, then the 14-pixel curve, around 0.7, and the 28-pixel curve last, around 0.8.",
    mark=f"live: mean, least and largest of {SEEDS} small networks a size (seeds 0 to {SEEDS - 1}), {tested:,} test images a point",
)
middle, end = ([f"{seen[size][i]:.0%}" for size in SIZES] for i in (even, -1))
reveal(
    "forward.size",
    "the large one",
    f"At t = 0.5, where alpha = sigma: {middle[0]} recognised at 28 px, {middle[1]} at 14, {middle[2]} at 7. At t = 1, the control: {', '.join(end)}.",
)

# %% [markdown]
# Each pixel *is* equally noisy; the large image just has more of them, and neighbours agree. Average 2×2 pixels of the noisy 28-pixel image. The signal becomes the 14-pixel image. The noise becomes the average of four independent draws, so its variance is a quarter and its size a half. **A noisy large image contains a small one with half the noise**, whether or not anybody looks for it.
#
# Half the noise at the same signal: `ell` falls by log 2 ≈ 0.69 with each halving of the side. That is a prediction with no free number in it. If coarse shape is what recognition rests on, then the three curves, drawn over `ell + log(28/size)`, must lie on one another.

# %% tags=["core", "stage"]
fig, (left, right) = figure(columns=2, height=2.7)
for size in SIZES:
    curve(left, levels[:-1], size)
    curve(right, levels[:-1] + math.log(28 / size), size)
left.set(title="as measured", xlabel="ell", ylabel="recognised", ylim=(0, 0.95), xlim=(-3.2, 5.6))
right.set(title="moved by what averaging predicts", xlabel="ell + log(28 / size)", ylim=(0, 0.95), xlim=(-3.2, 5.6))
show(
    fig,
    alt="Left, three falling curves of recognition over ell, evenly spaced. Right, moved by log 2 for each halving of the size, their falling parts coincide; at the left, where there is little noise, the larger sizes are higher.",
    mark=f"live: the same measurements, {SEEDS} networks a size, n = {tested:,} a point",
)


# %% tags=["core", "stage"]
def crossing(share, level):  # the ell at which a curve falls through a level
    i = int((share >= level).nonzero().max())
    return (levels[i] + 0.5 * (share[i] - level) / (share[i] - share[i + 1])).item()


shares = pick(smoke=(0.2,), laptop=(0.3, 0.4, 0.5, 0.6))
half = shares[len(shares) // 2]
by_seed = [[[crossing(each[size][i], s) for s in shares] for size in SIZES] for i in range(SEEDS)]
falls = torch.tensor(by_seed)  # (seeds, sizes, shares): the ell at which a network's curve falls through a share
shift = (falls[:, :-1] - falls[:, 1:]).mean(2)  # (seeds, 2): 28 to 14, and 14 to 7
table(
    ["halving", "mean shift of ell", *(f"network {i}" for i in range(SEEDS)), "predicted"],
    [
        [name, f"**{s.mean():.2f}**", *(f"{v:.2f}" for v in s), f"{math.log(2):.2f}"]
        for name, s in zip(("28 to 14 px", "14 to 7 px"), shift.T, strict=True)
    ],
)
lost = int((ell(Betas(), t_all) < falls[:, 0, shares.index(half)].mean()).sum())
say(
    f"Each shift is the mean over {len(shares)} heights. In the steps of the film at the top: at 28 pixels the networks are down to {half:.0%} by step **{lost}**. And you?"
)

# %% [markdown]
# Read the right picture honestly. From 28 to 14 pixels the five networks lie on both sides of log 2. A perfect eye would never be below: it could always average first. Where one of ours is a hair below, the luck of the test images is enough to explain it. From 14 to 7 all five lie above. A larger picture can do *better* than its average, and how much better is the worth of its details; at the left end, with little noise, it is plain.
#
# The consequence is practical. A timetable that suits small images is *too gentle* for large ones: at 512 pixels many of its levels would show a perfectly clear picture. So schedules are shifted with the resolution, by this very logarithm (Hoogeboom and others, 2023). Exercise 4 derives the formula.
#
# It also puts a question to the founding article. It describes a cat photo at step 500 as "very noisy, barely recognizable outline". In which size? Here are our trousers drawn large, each pixel a block of 16×16, so 448 pixels a side, at steps 500 and 700 of DDPM's table. To the right of each: the very same picture, averaged over the blocks.

# %% tags=["core", "stage"]
large = nn.Upsample(448)(clothes[1:2])
eps = torch.randn(large.shape, generator=Generator().manual_seed(11))
fig, axes = figure(columns=4, height=1.9)
for i, k in enumerate((500, 700)):
    noisy = add_noise(Betas(), large, eps, torch.tensor(k / 1000))
    for ax, picture in zip(axes[2 * i :], (noisy, nn.AvgPool2d(16)(noisy)), strict=False):
        ax.imshow(picture[0, 0] / picture.std() / 2, vmin=-1, vmax=1, interpolation="antialiased")
        ax.axis("off")
    axes[2 * i].set_title(f"step {k}, 448 px")
    axes[2 * i + 1].set_title("averaged to 28 px")
show(
    fig,
    alt="At step 500 the 448-pixel trousers shine through static, and averaged to 28 pixels they are nearly clean. At step 700 hardly a shadow is left in the static, and the average still shows them, speckled.",
    mark="live: DDPM's table, one image, seed 11",
)
late = ell(Betas(), torch.tensor(0.7))
near = (levels - (late - math.log(16))).abs().argmin()
say(
    f"Step 700: ell = {late:.2f}, and after averaging {late - math.log(16):.2f}. Near there (ell = {levels[near]:.1f}) our network recognised **{seen[28][near]:.0%}** at 28 px; at step 700 and 28 px (ell near {levels[(levels - late).abs().argmin()]:.1f}), {seen[28][(levels - late).abs().argmin()]:.0%}."
)

# %% [markdown]
# Step 700 of 1,000, and little of *these* trousers is lost: they were drawn in blocks, and each says the same thing 256 times. A photograph of that size has details finer than a block, which no averaging brings back; what survives step 700 in any picture is its coarse shape, as far as neighbours agree. How far does that go?
#
# ## A published mistake
#
# The article on its last step: "Step 1000 (Pure Noise): TV static … Original information destroyed … Indistinguishable from random noise". Most code agrees: it starts to sample from unit noise, "because" `x_1000` is unit noise. What does the table say?

# %% tags=["core"]
one = torch.tensor(1.0, dtype=torch.float64)
left_over = Betas().alpha(one) ** 2
say(
    f"`alpha_bar` at step 1000: **{left_over:.2e}**. The signal has {Betas().alpha(one) / Betas().sigma(one):.2%} of the size of the noise. `Cosine` and `Linear`: {Cosine().alpha(one):g} and {Linear().alpha(one):g}, exactly."
)

# %% [markdown]
# Not zero, but tiny. Does it matter? A test: somebody takes an image that is all white (+1) or all black (−1), noises it to step 1000, and hands you the static. You look at the mean of all pixels, and say "white" if it is positive.

# %% tags=["core", "stage"]
predict(
    "forward.pure-noise",
    "White or black, 512 x 512 pixels, at step 1000 of DDPM's table. How often are you right?",
    ["about 50%: it is noise", "about 60%", "more than 99%"],
)

# %% [markdown]
# The mean over a side of `d` pixels is `±alpha` plus noise of size `sigma/d`. So you are right with the probability that a unit Gaussian stays below `alpha·d/sigma`. That is the exact line below; the dots are real static, pixel by pixel.


# %% tags=["core"]
def told_apart(schedule, side, trials, generator):
    right = []
    for _ in range(trials):
        white = torch.rand((), generator=generator) < 0.5
        x0 = torch.full((1, 1, side, side), 1.0 if white else -1.0)
        x_1 = add_noise(schedule, x0, torch.randn(x0.shape, generator=generator), torch.tensor(1.0))
        right.append((x_1.mean() > 0) == white)
    return torch.stack(right)  # (trials,) bool


# %% tags=["core"]
trials, sides = pick(smoke=20, laptop=250), pick(smoke=(8, 28, 64), laptop=(16, 28, 64, 128, 256, 512))
tests = {"DDPM": Betas(), "flow": Linear()}
found = {
    name: [share(told_apart(s, side, trials, Generator().manual_seed(side))) for side in sides]
    for name, s in tests.items()
}
measured = {name: torch.tensor([f["value"] for f in fs]) for name, fs in found.items()}
half = {  # (2, sides): down to the lower and up to the upper end of a 95% Wilson interval
    name: torch.tensor([[f["value"] - f["low"], f["high"] - f["value"]] for f in fs]).T for name, fs in found.items()
}
leak = Betas().alpha(one) / Betas().sigma(one)  # signal over noise
exact = torch.special.ndtr(leak * torch.tensor(sides))

# %% tags=["core", "stage"]
fig, ax = figure(height=2.5)
ax.set(xscale="log", xticks=sides, xticklabels=sides, xlim=(sides[0] * 0.9, sides[-1] * 2.2), ylim=(0.35, 1.08))
ax.set(xlabel="pixels a side", ylabel="right")
ax.minorticks_off()
lines(
    ax,
    sides,
    {
        "DDPM, measured": (measured["DDPM"], half["DDPM"]),
        "DDPM, exact": exact,
        "flow: alpha(1) = 0": (measured["flow"], half["flow"]),
    },
    ["model", "exact", "control"],
)
show(
    fig,
    alt="Share of right answers against image side. With DDPM's table it rises from just above one half at 16 pixels to nearly 1 at 512, along the exact curve. With a schedule that reaches zero signal it stays at one half.",
    mark=f"live: {trials} images a point with 95% intervals",
)
reveal(
    "forward.pure-noise",
    "more than 99%",
    f"Exactly {torch.special.ndtr(512 * leak):.2%}. At 28 px it is {torch.special.ndtr(28 * leak):.0%}, and there the article is nearly right.",
)

# %% [markdown]
# The control is the flow schedule, whose `alpha(1)` is exactly 0: chance, at every size. So it is not the test that is clever, it is the table that leaks.
#
# What leaks is whatever many pixels agree on, mean brightness first, and whoever is trained on such static can learn to read it. Then, when a picture is to be made, the model is handed true noise, whose brightness is always medium, and it believes what it reads. Lin and others (2024) blame this for the inability of a famous model, Stable Diffusion, to paint a plain dark or plain white picture. Its table is another one; the square roots of its betas lie on a line:

# %% tags=["core", "stage"]
sd_betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
sd_alpha_bar = (1 - sd_betas).prod()
ends = {"DDPM": Betas(), "VP (DDPM, continuous)": VP(), "cosine": Cosine(), "flow": Linear()}
rows = [[name, s.alpha(one) / s.sigma(one)] for name, s in ends.items()]
rows.insert(1, ["Stable Diffusion 1 and 2", (sd_alpha_bar / (1 - sd_alpha_bar)).sqrt()])
table(
    ["schedule", "signal / noise at t = 1", "white or black, 28 px", "64 px", "512 px"],
    [[name, f"{r:.4f}", *(f"{torch.special.ndtr(r * d):.2%}" for d in (28, 64, 512))] for name, r in rows],
)

# %% [markdown]
# Stable Diffusion adds its noise not to pixels but to a compressed picture of 64×64 numbers, four of each; the column "64 px" is the one to read, if white and black lie as far apart there as here.
#
# The right sentence, then: *at step 1000 little is left of any single pixel; how much is left of the image depends on how many pixels agree.* And the right line, where it matters: a schedule whose `alpha(1)` is exactly 0. The price: at t = 1 the question "which noise was added?" tells a network nothing, and one has to ask it another question. That is chapter 04. (And bet 2 of your envelope has its evidence.)

# %% [markdown]
# ## Exercises
#
# `check` compares your function with the package on fresh random inputs. `hint("forward.one-jump")` helps, one hint at a time; `solution("forward.one-jump")` ends it.
#
# **1 · One jump, from the betas** (difficulty 1 of 3, 10 minutes). Given a table `betas` (K,) and `k` from 1 to K, take `x0` to where it is after k steps. Only `betas`, no schedule.


# %% tags=["core"]
def my_jump(x0, eps, betas, k):
    raise NotImplementedError  # your lines here: same shape as x0


check("forward.one-jump", my_jump)

# %% [markdown]
# **2 · A level for each image** (difficulty 1, 10 minutes). `alpha` and `sigma` are (B,), one for each image of a batch (B, C, H, W). Without `expand`. Beware: the answer that forgets something runs without an error when the sizes happen to be equal, and then every *column* gets its own level.


# %% tags=["core"]
def my_noisy_batch(x0, eps, alpha, sigma):
    raise NotImplementedError  # (B, C, H, W)


check("forward.broadcast", my_noisy_batch)

# %% [markdown]
# **3 · From noisy to noisier** (difficulty 2, 20 minutes). You hold `x_s`, at level s, and no `x0`. Take it to level t > s, with fresh unit noise `z`, so that it is distributed as if it had jumped from `x0`. Chapter 02 goes the other way.


# %% tags=["core"]
def my_onward(x_s, z, alpha_s, sigma_s, alpha_t, sigma_t):
    raise NotImplementedError


check("forward.compose-steps", my_onward)

# %% [markdown]
# **4 · The shifted timetable** (difficulty 2, 20 minutes). In the flow schedule an image of some size is at level `t`. An image `m` times as wide shall be equally destroyed: find its `t'`. (Average the large image down; which `ell` must it have?) Stable Diffusion 3 shifts by this line (Esser and others, 2024, arXiv 2403.03206).


# %% tags=["core"]
def my_shift(t, m):
    raise NotImplementedError  # same shape as t


check("forward.shift", my_shift)

# %% [markdown]
# ## What this does not show
#
# That the steps *can be undone*. Nothing here is learned, and a jump is no way back. Why small steps help on the return, though one jump serves on the way out, is chapter 02.
#
# The rule of log 2 is exact for what averaging keeps, and only for that: coarse shape in images whose neighbours agree. A texture that lives in single pixels would not shift at all. Our network is one family trained for seconds; a better eye would see a little more at every size. And Fashion-MNIST at 28 pixels is far from photographs, though the arithmetic does not know it.
#
# White against black is the easiest question of all, where every pixel gives the same answer; of a real image there leaks what its pixels have in common.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        [
            "Do 1,000 steps equal one jump?",
            f"gap {max(gap for gap, _ in gaps.values()):.4f} at most",
            f"alarm at {alarm:.4f}; control after 1,000: {gaps[1000][1]:.2f}",
        ],
        ["The same `ell` on two schedules", f"pixels differ by {(pair[0] - pair[1]).abs().max():.0e}", "0"],
        [
            "Halve the size: `ell` shifts by",
            f"{shift[:, 0].mean():.2f} ({shift[:, 0].min():.2f} to {shift[:, 0].max():.2f}), {shift[:, 1].mean():.2f}",
            f"log 2 = {math.log(2):.2f}",
        ],
        ["Recognised at t = 1", f"{seen[28][-1]:.1%}, {seen[14][-1]:.1%}, {seen[7][-1]:.1%}", "chance: 10%"],
        [
            f"White or black at step 1000, {sides[-1]} px",
            f"{measured['DDPM'][-1]:.1%} right",
            f"exact {exact[-1]:.2%}; control {measured['flow'][-1]:.0%}",
        ],
    ],
)

# %% [markdown]
# ## To read
#
# - Diederik Kingma, Tim Salimans, Ben Poole, Jonathan Ho: *Variational Diffusion Models*, NeurIPS 2021, arXiv 2107.00630. Where the log-SNR takes the place of time, and schedules turn out to be timetables.
# - Emiel Hoogeboom, Jonathan Heek, Tim Salimans: *simple diffusion: End-to-end diffusion for high resolution images*, ICML 2023, arXiv 2301.11093. The shift by resolution, from the same averaging argument.
# - Shanchuan Lin, Bingchen Liu, Jiashi Li, Xiao Yang: *Common Diffusion Noise Schedules and Sample Steps are Flawed*, WACV 2024, arXiv 2305.08891. The leak at step 1000, what it does to pictures, and how to mend it.
#
# **Next, chapter 02:** the way back. It needs to know one thing, the average of all data that could be behind a noisy point; and for a world as simple as our two peaks we can write that down.
