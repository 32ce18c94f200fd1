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
#     slug: ddpm-images
#     title: Sixty thousand pictures
#     claim: A network that looks at pictures the way pictures are made learns to draw them, and the best score of all goes to a cheat.
#     objectives:
#       - build a U-Net from its parts, and say what each is good for
#       - read a training loss as a bound with other weights, and know why it goes flat
#       - judge samples by a distance, by precision and recall, and by the nearest training picture
#       - choose the noise of a step when steps are few
#     prerequisites: [targets]
#     minutes_compute: 3
#     hours_learner: 4
#     memory_gb: 2
#     data: [fashion, toy]
#     weights: [fashion-unet, fashion-classifier]
#     exercises: [ddpm-images.ema, ddpm-images.frechet, ddpm-images.precision, ddpm-images.step-variance]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 05 · Sixty thousand pictures
#
# **A network that looks at pictures the way pictures are made learns to draw them, and the best score of all goes to a cheat.**
#
# `compute 3 min` · `you 4 h` · `memory 2 GB` · samples are drawn live with shipped weights; training runs are recorded and marked so
#
# Below are five rows of ten. A column is a kind: t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot. Four rows came out of a network. **One row are photographs.** Take your time.

# %%
from functools import partial

import torch
from torch import Generator
from torch.nn import functional as F

from minidiff import Betas, Linear, ddim, dpmpp_2m, exact_denoiser, fit, fresh, last, load, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import FiniteSet, two_peaks
from minidiff.measure.neighbours import nearest, precision_recall
from minidiff.nn.mlp import MLP
from minidiff.recipes.fashion import features, shipped_classifier
from minidiff.sweeps.row import unpack

scale = start(needs="0.1")

# %% tags=["core"]
denoise, classifier = load("fashion-unet"), shipped_classifier()
(test, kinds), (train, _) = fashion.load("test"), fashion.load("train")


def draw(n, seed, steps=20):  # n pictures, one kind after another
    noise = prior(denoise.schedule, (n, 1, 28, 28), Generator().manual_seed(seed))
    return last(dpmpp_2m(denoise, noise, uniform_grid(steps), cond=torch.arange(n) % 10))


fakes = draw(40, seed=pick(smoke=3, laptop=3), steps=pick(smoke=2, laptop=30))
photos = torch.stack([test[kinds == kind][7] for kind in range(10)])

# %% tags=["core", "stage"]
order = torch.cat([fakes[:30], photos, fakes[30:]])
show(
    image_grid(order, columns=10, rows=["A", "B", "C", "D", "E"]),
    alt="Five rows of ten small grey pictures of clothes, one kind a column: t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot.",
    mark="live: 40 samples of `fashion-unet`, 30 steps, and 10 test pictures",
)
predict("ddpm-images.photographs", "Which row are photographs?", ["A", "B", "C", "D", "E"])

# %% [markdown]
# The answer comes in a while; first let us see what kind of network does this. The one of chapter 04 would not get far: a layer that mixes all 784 numbers with all others has no idea that two of them are neighbours. Shuffle the pixels of every picture in the same way, and it learns exactly as well. It sees no pictures at all.
#
# ## A network with eyes
#
# A *convolution* looks at a pixel and its eight neighbours, and does the same everywhere. That is how an edge is found, in whichever corner it lies. But it is short-sighted: to know that a sleeve needs a partner on the other side one has to see far. So the network goes *down*: it halves the picture, looks again, halves again. At a quarter of the size its nine pixels span half a shirt. Then it comes back *up* to full size, and here it would have forgotten where exactly the edge was, were it not for *bridges*: at every size the features of the way down are laid beside those of the way up. Drawn on paper, the thing looks like a U, hence **U-Net** (Ronneberger and others, 2015).
#
# On each floor works the same block. It is what you have to know by heart, for it comes back in every chapter with a network in it.


# %% tags=["core", "builds:nn.unet.ResBlock"]
def res_block(block, x, context):  # x (B, C, H, W); context (B, E): noise level and kind, as a vector
    h = block.conv1(F.silu(block.norm1(x)))
    scale, shift = block.modulate(context)[:, :, None, None].chunk(2, dim=1)  # 2 x (B, C, 1, 1)
    h = block.conv2(F.silu(block.norm2(h) * (1 + scale) + shift))
    return block.skip(x) + h


# %% [markdown]
# Four ideas in four lines. *Look* (`conv1`). *Listen*: the noise level turns some features up and others down, since what to look for under thick fog differs from what to look for under a haze. *Look again*. And *add*: the block does not replace its input, it corrects it. A fresh block corrects by zero, so that a deep stack starts as nothing at all and learns from there.
#
# The whole walk, with the layers of the shipped network. At the door every 2 x 2 pixels are folded into four channels, which saves three quarters of the work; at the exit they are unfolded.


# %% tags=["core", "builds:nn.unet.UNet"]
def walk(net, x, ell, kind):
    context = F.silu(net.level(ell) + net.label(kind, len(x)))  # (B, E)
    h = net.inp(F.pixel_unshuffle(x, net.patch))  # (B, 32, 14, 14)
    bridge = [h]
    for i, block in enumerate(net.down):  # 14 x 14, 7 x 7, 4 x 4
        h = res_block(block, h, context)
        bridge.append(h)
        if i < len(net.shrink):
            h = net.shrink[i](h)
            bridge.append(h)
    for block in net.mid:
        h = res_block(block, h, context)
    for i, block in enumerate(net.up):  # two blocks a floor, each with a bridge
        h = res_block(block, torch.cat([h, bridge.pop()], dim=1), context)
        if i % 2 and i // 2 < len(net.grow):
            size = bridge[-1].shape[-2:]
            h = net.grow[i // 2](F.interpolate(h, size=size))
    return F.pixel_shuffle(net.out(h), net.patch)  # (B, 1, 28, 28)


# %% tags=["core", "stage"]
x, level = torch.randn(10, 1, 28, 28, generator=Generator().manual_seed(0)), torch.zeros(10)
with torch.no_grad():
    gap = (walk(denoise.net, x, level, torch.arange(10)) - denoise.net(x, level, torch.arange(10))).abs().max()
say(
    f"Your walk and the package's differ by {gap:.0e}. The layers on it hold {sum(p.numel() for p in denoise.net.parameters()):,} numbers."
)

# %% [markdown]
# What is each part good for? Opinions are cheap, so we left them out, one at a time: no bridges; no halvings (every floor at the same size); no noise level; blocks that replace instead of correct; no normalisation. Each crippled network had the same seconds to learn, on the same two cores. Seconds and not steps, since a part that slows the network down has to earn its time.

# %% tags=["core", "stage"]
predict(
    "ddpm-images.part",
    "Which part do the samples miss most? (Ten short runs' worth of training is not much: look at order, not at beauty.)",
    ["the bridges", "the halvings", "the noise level", "the corrections (residual sums)", "the normalisation"],
)

# %% tags=["core", "stage"]
parts = recorded("unet-parts")
first = {row["part"]: row for row in parts.rows if row["seed"] == 0}
again = next(row for row in parts.rows if row["seed"] == 1)
show(
    image_grid(torch.cat([unpack(row["pixels"]) for row in first.values()]), columns=10, rows=list(first)),
    alt="Six rows of ten samples, one kind a column: the whole network, and networks without bridges, halvings, noise level, residual sums and normalisation.",
    mark=parts.mark + f"; {parts.rows[0]['seconds']} s of training each",
)
table(
    ["left out", "distance to real pictures", "recognised as asked", "samples it saw in its seconds"],
    [
        [name, f"{row['frechet']:.0f}", f"{row['recognised']:.0%}", f"{row['samples']:,}"]
        for name, row in {**first, "nothing, other seed": again}.items()
    ],
)
worst = max(first, key=lambda name: first[name]["frechet"])
answers = dict(
    zip(
        list(first)[1:],
        ["the bridges", "the halvings", "the noise level", "the corrections (residual sums)", "the normalisation"],
        strict=True,
    )
)
reveal("ddpm-images.part", answers[worst], f"By the distance, in this budget of seconds: {worst}.")

# %% [markdown]
# What "distance" means here we shall define in a moment; smaller is better, and the two rows with nothing left out differ by chance alone, so do not read anything into differences of that size. A word on the noise level: a network that is not told may still *see* how noisy its input is. For clean pictures on a black ground that is easy. What it loses is precision, not its bearings.
#
# ## What the loss is, and why it goes flat
#
# The founding paper of the field (Ho and others, 2020) derived a loss from a bound on the likelihood of the data, and then trained with a simpler one: the squared error of the noise, all levels alike. They called it `L_simple`. It is the same bound with other weights: in the currency of `eps`, the bound asks for a weight of `−½ d log(SNR)/dt` at level `t`, where SNR is `alpha²/sigma²` (Kingma and others, 2021). `L_simple` puts a 1 there.

# %% tags=["core"]
betas = Betas()  # DDPM's table
t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


def log_snr(t):
    return 2 * (betas.alpha(t) / betas.sigma(t)).log()


bound = -0.5 * (log_snr(t + 0.005) - log_snr(t - 0.005)) / 0.01  # the weight that the bound asks for, in eps


# %% tags=["core"]
@torch.no_grad()
def error_of_eps(level):  # at the level of `denoise` with the same SNR
    n = pick(smoke=20, laptop=300)
    ratio = (betas.sigma(level) / betas.alpha(level)).float()
    s = ratio / (1 + ratio)  # on the straight path
    eps = torch.randn(test[:n].shape, generator=Generator().manual_seed(1))
    x0_hat = denoise((1 - s) * test[:n] + s * eps, s, kinds[:n])
    return (1 - s) ** 2 * (x0_hat - test[:n]).square().mean() / s**2


errors = torch.stack([error_of_eps(level) for level in t[4::10]])

# %% tags=["core", "stage"]
fig, (left, right) = figure(columns=2, height=2.5)
left.set(yscale="log", xlabel="noise level t (DDPM's table)", title="weight of an error of eps", xlim=(0, 1.35))
lines(left, t, {"the bound": bound, "L_simple": torch.ones_like(bound)}, kinds=["exact", "model"])
shares = {"the bound": errors * bound[4::10], "L_simple": errors}
right.set(xlabel="noise level t (DDPM's table)", title="share of the whole loss, %", xlim=(0, 1.35))
lines(right, t[4::10], {k: 100 * v / v.sum() for k, v in shares.items()}, kinds=["exact", "model"])
show(
    fig,
    alt="Left: the bound's weight against the noise level on a logarithmic axis, highest at the clean end, with L_simple as a flat line at 1. Right: of the whole loss, the bound has most in the lowest level shown, while L_simple spreads over more levels.",
    mark=f"left: exact. Right: live, {pick(smoke=20, laptop=300)} test pictures at 10 levels",
)
say(
    f"Of the bound, **{shares['the bound'][0] / shares['the bound'].sum():.0%}** falls to the cleanest of the ten levels; of `L_simple`, {shares['L_simple'][0] / shares['L_simple'].sum():.0%}."
)

# %% [markdown]
# The bound cares most about the last haze: noise so thin that the eye does not see it, while bits are counted there. `L_simple` shifts the practice to the levels where it is decided what the thing *is*. That is why it makes better pictures and a worse code. (Our network was trained on the straight path, in the row `flow`, all levels alike; by chapter 04 this is one more set of weights and not another principle.)
#
# And now look at a training run as a whole. Nine moments of the run that made the shipped weights, each twice as late as the one before. Same noise, same kinds, at every moment. *When does the loss stop falling? When do the pictures stop getting better?*

# %% tags=["core", "stage"]
states = recorded("unet-states")
frames = [tile(unpack(row["pixels"]), columns=10, scale=2, gap=3) for row in states.rows]
slideshow(
    frames,
    [f"step {row['step']:,}, held-out loss {row['loss']:.3f}" for row in states.rows],
    alt="Twenty samples from the same noise at nine moments of training: grey fog, then blobs of the right outline, then clothes with speckles, then clean clothes.",
    mark=states.mark,
)

# %% tags=["core", "stage"]
steps = torch.tensor([row["step"] for row in states.rows])
fig, (left, right) = figure(columns=2, height=2.5)
left.set(xscale="log", xlabel="step", title="held-out loss", ylim=(0, None))
left.plot(steps, [row["loss"] for row in states.rows], color=COLOURS["model"], marker="^")
right.set(
    xscale="log", yscale="log", xlabel="step", title="distance to real pictures", xlim=(steps[0] / 1.5, steps[-1] * 25)
)
series = {"averaged weights": "frechet", "raw weights": "frechet_raw"}
lines(
    right,
    steps,
    {name: torch.tensor([row[key] for row in states.rows]) for name, key in series.items()},
    kinds=["model", "noise"],
)
show(
    fig,
    alt="Left: the held-out loss falls steeply in the first doublings and is nearly flat afterwards. Right: the distance of samples to real pictures, on logarithmic axes, goes on falling to the end, for averaged and for raw weights.",
    mark=states.mark,
)
late = [row for row in states.rows if row["moment"] >= 32]
say(
    f"From step {late[0]['step']:,} to the end the loss fell by **{1 - late[-1]['loss'] / late[0]['loss']:.0%}**, the distance by **{1 - late[-1]['frechet'] / late[0]['frechet']:.0%}**."
)

# %% [markdown]
# Chapter 03 told you why. Nearly all of the loss is floor: what nobody can know about the noise. The rest is the distance to the exact answer, and a small distance, walked twenty times, is the difference between a smudge and a shoe. **A flat loss is no reason to stop.**
#
# The second curve is about a habit from chapter 03, the running average of the weights (`ema`). Raw weights jitter with every batch. Early on the average lags behind, since it still remembers the ignorant start. Later it is the better of the two, as long as the learning rate is high. When the rate falls to zero at the end, as here, the raw weights come to rest by themselves and the two meet.
#
# ## How good are they? Three numbers and a trap
#
# Time to define that distance. We cannot compare pictures pixel by pixel, since no generated shoe has a partner among the real ones. We compare *crowds*. A classifier, trained to tell the ten kinds apart, turns each picture into 64 features. A crowd of pictures becomes a cloud in 64 dimensions; take its mean and covariance, and measure how far the two Gaussians are from each other. This is the **Frechet distance**. (With another network's features it is the "FID" of the papers.)


# %% tags=["core", "builds:measure.frechet.frechet"]
def frechet(x, y):  # features (N, D) and (M, D)
    x, y = x.double(), y.double()
    gap = (x.mean(0) - y.mean(0)).square().sum()
    cov_x, cov_y = x.T.cov(), y.T.cov()
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T  # cov_x to the power 1/2
    mixed = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()  # trace of (cov_x cov_y)^(1/2)
    return gap + cov_x.trace() + cov_y.trace() - 2 * mixed


# %% tags=["core"]
n, cut = pick(smoke=100, laptop=1200), pick(smoke=400, laptop=10_000)
many = draw(n, seed=11, steps=pick(smoke=2, laptop=16))
see = partial(features, classifier=classifier)
real, other = see(test[:cut]), see(train[:cut])
model_f = see(many)

# %% [markdown]
# A number without a scale says nothing. So first the *null*: how far are real pictures from other real pictures? It ought to be zero. Draw fewer and fewer of them:

# %% tags=["core", "stage"]
sizes = [80, 100] if n == 100 else [100, 200, 400, 800, 1200]
null = torch.stack([torch.stack([frechet(other[i * k : (i + 1) * k], real) for i in range(4)]) for k in sizes])
model = torch.stack([frechet(model_f[:k], real) for k in sizes])
fig, ax = figure(height=2.4)
ax.set(xlabel="number of pictures", ylabel="Frechet distance", ylim=(0, None), xlim=(0, 1.3 * sizes[-1]))
lines(ax, sizes, {"samples": model, "real pictures": (null.mean(1), null.std(1))}, kinds=["model", "data"])
show(
    fig,
    alt="Frechet distance to all test pictures against the number of pictures used. Both curves, the model's samples and other real pictures, fall as more pictures are used; real pictures come near 0 only with many.",
    mark=f"live: {cut:,} test pictures on the other side; real: mean and standard deviation of 4 draws",
)
say(
    f"Real pictures against real ones: **{null[0].mean():.1f}** with {sizes[0]} of them, **{null[-1].mean():.1f}** with {sizes[-1]:,}. The model's samples: {model[0]:.1f} and {model[-1]:.1f}."
)

# %% [markdown]
# The same crowd is "far" from itself when you draw few of it: every error in an estimated mean or covariance counts as distance, and errors never cancel. So a distance needs its `n` beside it and the null at the same `n`, and two distances at different `n` cannot be compared at all. The package's `report` draws the line to `n = infinity`, with an interval.
#
# A second weakness: one number cannot say *what* is wrong. Two others can. Around each real picture draw a ball in feature space that reaches to its third nearest real neighbour. **Precision**: which share of the samples lies in some ball? Are they plausible? **Recall** turns it round: which share of the real pictures lies in a ball around some sample? Is everything there? Take real pictures and ruin them. *What does each number notice?*


# %% tags=["core", "stage"]
@torch.no_grad()
def ruined(damage, strength):
    x, kind = train[20_000 : 20_000 + n], fashion.load("train")[1][20_000 : 20_000 + n]
    if damage == "noise":
        return x + 0.4 * strength * torch.randn(x.shape, generator=Generator().manual_seed(2))
    if damage == "blur":
        small = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), value=-1), 3, stride=1)
        return torch.lerp(x, small, strength)
    keep = round((1 - strength) * (n - 5)) + 5
    if damage == "few pictures, many times":
        return x[torch.arange(n) % keep]
    allowed = kind < 10 - round(9 * strength)  # kinds go missing
    return x[allowed][torch.arange(n) % int(allowed.sum())]


def judge(x):
    f = see(x)
    precision, recall = precision_recall(f, real[: len(f)])
    return {"Frechet distance": float(frechet(f, real)), "precision": precision, "recall": recall}


def picture(damage, strength):
    x = ruined(damage, strength)
    fig, (left, right) = figure(columns=2, height=1.9)
    left.imshow(tile(x[:12], columns=6, scale=4))
    left.axis("off")
    values = judge(x)
    right.barh(["precision", "recall"], [values["precision"], values["recall"]], color=COLOURS["model"])
    right.set(xlim=(0, 1), title=f"Frechet distance {values['Frechet distance']:.1f}")
    return fig


def words(damage, strength):
    return (
        f"Twelve ruined pictures ({damage}, strength {strength}) beside precision and recall as bars and the distance."
    )


damages = ["noise", "blur", "few pictures, many times", "kinds go missing"]
play(picture, damage=damages, strength=(0.0, 1.0, 0.25, 0.5), alt=words)

# %% [markdown]
# Noise and blur cost precision. Missing kinds leave precision where it was and cost recall. Few pictures, many times over, hardly move the precision either, and the distance only late. None of the three is a verdict; together they are a description.
#
# Here are four candidates for the same test. The shipped network. Test pictures' twins from the training set, blurred. The average picture of each kind. And an old acquaintance: chapter 02's exact denoiser, the *best possible* one, built from all 60,000 training pictures, with no network and no training. It walks like everyone else:

# %% tags=["core", "stage"]
predict(
    "ddpm-images.best-score",
    "Which has the best Frechet distance to the test pictures?",
    ["the shipped network", "blurred training pictures", "the exact denoiser of the training set"],
)

# %% tags=["core"]
pool = FiniteSet(train[: pick(smoke=500, laptop=60_000)])
perfect = exact_denoiser(pool, Linear())
start_here = prior(Linear(), (20, 1, 28, 28), Generator().manual_seed(5))
walked = last(ddim(perfect, start_here, uniform_grid(20)))
to_train, which = nearest(walked, pool.points)

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([walked[:10], pool.points[which[:10]]]), columns=10, rows=["it drew", "training set"]),
    alt="Ten pictures drawn by the exact denoiser of the training set; under each the nearest training picture: they are the same, pixel by pixel.",
    mark="live: exact denoiser of 60,000 pictures, 20 steps of DDIM, seed 5",
)
say(f"Largest distance of the {len(walked)} drawn pictures to a training picture: **{to_train.max():.4f}**.")

# %% [markdown]
# Of course. The exact minimiser of the loss, over everything that a function can be, knows 60,000 points and nothing between them. Every walk ends on one of them. It is a *copier*. (So we may spare ourselves the walks, and draw training pictures at random: that is what it does.) Now the scores.

# %% tags=["core"]
chosen = torch.randint(len(pool.points), (n,), generator=Generator().manual_seed(6))
blurred = F.avg_pool2d(F.pad(train[:n], (1, 1, 1, 1), value=-1), 3, stride=1)
candidates = {"the shipped network": many, "blurred training pictures": blurred, "the copier": pool.points[chosen]}
scores = {name: judge(x) for name, x in candidates.items()}
distances = {name: nearest(x, pool.points)[0] for name, x in candidates.items()}
distances["test pictures"] = nearest(test[:n], pool.points)[0]

# %% tags=["core", "stage"]
rows = [
    [name, *(f"{v:.1f}" if v > 1.01 else f"{v:.2f}" for v in s.values()), f"{distances[name].median():.1f}"]
    for name, s in scores.items()
]
null_row = judge(train[30_000 : 30_000 + n])
rows.append(["(real pictures)", *(f"{v:.2f}" for v in null_row.values()), f"{distances['test pictures'].median():.1f}"])
table(["", "Frechet distance", "precision", "recall", "median distance to the training set"], rows)
best = min(scores, key=lambda name: scores[name]["Frechet distance"])
reveal(
    "ddpm-images.best-score",
    "the exact denoiser of the training set",
    f"Best distance: {best}, and its precision and recall are those of real pictures. All at n = {n:,}.",
)

# %% [markdown]
# Three numbers, and a machine that makes nothing at all passes them with honours. They compare crowds, and the copier's crowd is real. Only one question gives it away, and it is not asked in most tables of results: **how near is the nearest training picture?** Beside it, always, the same for pictures that nobody has seen.

# %% tags=["core", "stage"]
fig, ax = figure(height=2.4)
edges = torch.linspace(0, 16, 65)
for name, kind in (("test pictures", "data"), ("the shipped network", "model"), ("the copier", "control")):
    counts = torch.histogram(distances[name], edges).hist
    filled(ax, (edges[1:] + edges[:-1]) / 2, counts / counts.max(), kind, name)
ax.set(xlabel="distance to the nearest training picture (pixels, Euclidean)", yticks=[], ylim=(0, 1.25))
show(
    fig,
    alt="Three histograms of the distance to the nearest training picture. The copier is a spike at 0. Test pictures and the network's samples are broad hills far from 0.",
    mark=f"live: n = {n:,} each, heights scaled to 1",
)
below = float((distances["the shipped network"] < distances["test pictures"].quantile(0.01)).float().mean())
say(
    f"Samples of the network nearer to the training set than 99% of test pictures are: **{below:.1%}** (1% would be chance)."
)

# %% [markdown]
# The network *could not* do what the perfect minimiser does: its weights do not hold 47 million pixels, and the U-Net's habits (look at neighbours, do the same everywhere) make it average over pictures that the formula keeps apart. What we call creativity is, so far, the failure to reach the optimum. And answer to the first bet: the photographs were row D.

# %% tags=["core", "stage"]
reveal("ddpm-images.photographs", "D", "A to C and E are samples. Did you look at the bags, or at the shoes?")

# %% [markdown]
# ## The noise of a step, when steps are few
#
# A last choice. The ancestral step of chapter 02 goes to a mean and adds noise. How much? The founding paper gives two answers and finds no difference, at 1,000 steps. The *small* variance is right if `x0` were known: `tau = beta (1 − alpha_bar_s)/(1 − alpha_bar_t)`. The *large* one is `beta`, right for data that is itself unit noise. Then came a third: let the network *learn* it, between the two (Nichol and Dhariwal, 2021). At 20 steps the choice matters. In our world of two peaks we know the exact answer, too: not knowing `x0` adds `c²` times its posterior variance (exercise 4).


# %% tags=["core"]
source, grid = two_peaks(), uniform_grid(20)
exact = exact_denoiser(source, betas)


def step_parts(t, s):  # -> beta, tau, c: the two fixed variances, and what stands before x0_hat
    shrink = betas.alpha(t) / betas.alpha(s)
    beta = betas.sigma(t) ** 2 - shrink**2 * betas.sigma(s) ** 2
    return beta, beta * betas.sigma(s) ** 2 / betas.sigma(t) ** 2, betas.alpha(s) * beta / betas.sigma(t) ** 2


def mean_of(x, t, s, x0_hat):
    beta, _, c = (p.reshape(-1, 1) for p in step_parts(t, s))
    shrink, ratio = betas.alpha(t) / betas.alpha(s), betas.sigma(s) ** 2 / betas.sigma(t) ** 2
    return c * x0_hat + (shrink * ratio).reshape(-1, 1) * x


# %% tags=["core"]
def variance_loss(model, batch, generator):  # the mean is exact; the network learns only how wide the step is
    (x0,) = batch
    i = torch.randint(0, 19, (len(x0),), generator=generator)  # not the last step, which adds no noise
    t, s = grid[i], grid[i + 1]
    beta, tau, _ = step_parts(t, s)
    x_s = betas.alpha(s)[:, None] * x0 + betas.sigma(s)[:, None] * torch.randn(x0.shape, generator=generator)
    x_t = (betas.alpha(t) / betas.alpha(s))[:, None] * x_s + beta.sqrt()[:, None] * torch.randn(
        x0.shape, generator=generator
    )
    v = model(x_t, 10 * t - 5)[:, 0].sigmoid()  # 0: small, 1: large, on a logarithmic scale
    log_var = v * beta.log() + (1 - v) * tau.log()
    missed = (x_s - mean_of(x_t, t, s, exact(x_t, t)))[:, 0] ** 2
    return 0.5 * (missed / log_var.exp() + log_var), t


torch.manual_seed(0)
spread_net = MLP(1, width=64, depth=2)
*_, state = fit(
    spread_net, fresh(source.sample, 512), pick(smoke=20, laptop=1500), loss=variance_loss, lr=3e-3, ema=0.99
)
state.ema.copy_to(spread_net)


# %% tags=["core"]
@torch.no_grad()
def few_steps(kind, last_noise=False):
    generator, n = Generator().manual_seed(9), pick(smoke=200, laptop=20_000)
    x = torch.randn(n, 1, generator=generator)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        beta, tau, c = step_parts(t, s)
        if kind == "learned":
            v = spread_net(x, (10 * t - 5).expand(n)).sigmoid()
            variance = (v * beta.log() + (1 - v) * tau.log()).exp()
        elif kind == "exact":
            chance, means, stds = source.parts(x, betas.alpha(t), betas.sigma(t))
            mean = (chance[:, :, None] * means).sum(1)
            spread = (chance * (means[:, :, 0] ** 2 + stds**2)).sum(1, keepdim=True) - mean**2
            variance = tau + c**2 * spread
        else:
            variance = tau if kind == "small" else beta
        x = mean_of(x, t, s, exact(x, t))
        if s > 0 or last_noise:
            x = x + variance.sqrt() * torch.randn(x.shape, generator=generator)
    return x


kinds_of_noise = ("small", "large", "learned", "exact")
ends = {kind: few_steps(kind) for kind in kinds_of_noise}
truth = source.sample(len(ends["small"]), Generator().manual_seed(10))

# %% tags=["core", "stage"]
fig, axes = figure(columns=4, height=1.9)
edges = torch.linspace(-2, 2, 81)
for ax, kind in zip(axes, kinds_of_noise, strict=True):
    bars = torch.histogram(ends[kind].flatten(), edges, density=True).hist
    at = (edges[1:] + edges[:-1]) / 2
    filled(ax, at, bars, "model")
    ax.plot(at, source.log_prob(at[:, None]).exp(), color=COLOURS["exact"], dashes=(4, 2), linewidth=1.2)
    ax.set(title=f"{kind} variance", yticks=[], ylim=(0, 1.6))
show(
    fig,
    alt="Four histograms of samples after 20 steps over the dashed true density of two peaks: with the small variance the peaks are too narrow, with the large one too wide, with the learned and the exact one they fit.",
    mark=f"live: exact mean, 20 steps on DDPM's table, n = {len(truth):,}, seed 9",
)


def off(x):  # how far the samples must be moved, on average, to become the true ones
    return (x.flatten().sort().values - truth.flatten().sort().values).abs().mean().item()


fresh_truth = source.sample(len(truth), Generator().manual_seed(12))
table(
    ["variance of a step", *kinds_of_noise, "(true samples again)"],
    [["distance to true samples", *(f"{off(ends[k]):.3f}" for k in kinds_of_noise), f"{off(fresh_truth):.3f}"]],
)

# %% [markdown]
# And on clothes, on DDPM's own table, to which our network moves without training (chapter 04):

# %% tags=["core", "stage"]
fixed = recorded("variance")
cells = {(row["large"], row["calls"]): row for row in fixed.rows}
names = {(0, 20): "small, 20", (1, 20): "large, 20", (0, 100): "small, 100", (1, 100): "large, 100"}
show(
    image_grid(torch.cat([unpack(cells[key]["pixels"]) for key in names]), columns=10, rows=list(names.values())),
    alt="Four rows of ten samples: small variance with 20 steps, large variance with 20 steps, and both with 100 steps.",
    mark=fixed.mark,
)
table(
    ["variance, steps", "Frechet distance", "precision", "recall"],
    [
        [names[k], f"{cells[k]['frechet']:.1f}", f"{cells[k]['precision']:.2f}", f"{cells[k]['recall']:.2f}"]
        for k in names
    ],
)

# %% [markdown]
# Few steps with the large variance leave the noise of one step in the picture that the next is too coarse to remove. With many steps both agree, since `beta` and `tau` do. The learned one costs a second output of the network; chapter 06 has a cheaper answer, which is to add no noise at all.
#
# ## A published mistake
#
# One of the most read annotated implementations of this paper draws noise in *every* step, the last one included (labml.ai's `p_sample`; the paper's algorithm 2 sets `z = 0` there). With 1,000 steps the noise left behind has a standard deviation of 0.01, about one grey level of 255: nobody sees it. Code that is wrong by an invisible amount is copied, and then someone takes 20 steps.

# %% tags=["core", "stage"]
noisy_end = few_steps("large", last_noise=True)
last_beta = step_parts(grid[-2], grid[-1])[0]
say(
    f"Large variance, 20 steps, noise in the last one too: distance to true samples **{off(noisy_end):.3f}** instead of {off(ends['large']):.3f}. The noise left in each sample has a standard deviation of {last_beta.sqrt():.3f}; with 1,000 steps it is {step_parts(torch.tensor(0.001), torch.tensor(0.0))[0].sqrt():.3f}."
)

# %% [markdown]
# ## Exercises
#
# **1 · Weights with a memory** (difficulty 1 of 3, 10 minutes). `weights` is `(K, D)`, one row a step. Start the average at the first row; then keep a share `d` of it at each step. Return the last average, `(D,)`.


# %% tags=["core"]
def my_ema(weights, d):
    raise NotImplementedError


check("ddpm-images.ema", my_ema)

# %% [markdown]
# **2 · The distance with one feature** (difficulty 2, 10 minutes). `x` is `(N,)`, `y` is `(M,)`: the features are single numbers. What is left of the formula? Use `.mean()` and `.std()` only.


# %% tags=["core"]
def my_frechet(x, y):
    raise NotImplementedError


check("ddpm-images.frechet", my_frechet)

# %% [markdown]
# **3 · Is it plausible?** (difficulty 2, 20 minutes). Precision: the share of `fake` `(N, D)` inside a ball around some row of `real` `(M, D)`, each ball reaching to that row's k-th nearest other real row.


# %% tags=["core"]
def my_precision(fake, real, k):
    raise NotImplementedError


check("ddpm-images.precision", my_precision)

# %% [markdown]
# **4 · How much noise is right?** (difficulty 3, 20 minutes). At `x_t`, the posterior of `x0` has variance `v`. What is the variance of `x_s`, given `x_t`, at the cleaner level? All are numbers; nothing is assumed about `alpha² + sigma²`.


# %% tags=["core"]
def my_step_variance(alpha_t, sigma_t, alpha_s, sigma_s, v):
    raise NotImplementedError


check("ddpm-images.step-variance", my_step_variance)

# %% [markdown]
# ## What this does not show
#
# Grey pictures of 28 x 28 pixels, and a network a thousand times smaller than those in use. The parts were left out in runs of less than a minute: what a part is worth in the end, a long run has to say. All distances live in the features of *one* small classifier, which has learned to tell ten kinds of clothes apart and is blind to whatever does not help with that. And the nearest picture by pixels is a crude detective: a copy that is shifted by two pixels gets past it.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        [
            "Distance of the network",
            f"{scores['the shipped network']['Frechet distance']:.1f}",
            f"real pictures {null_row['Frechet distance']:.1f}, n = {n:,}",
        ],
        ["Distance of the copier", f"{scores['the copier']['Frechet distance']:.1f}", "it makes nothing new"],
        [
            "Nearest training picture, median",
            f"{distances['the shipped network'].median():.1f}",
            f"test pictures {distances['test pictures'].median():.1f}",
        ],
        [
            "20 steps, small or large variance",
            f"{off(ends['small']):.3f}, {off(ends['large']):.3f}",
            f"learned {off(ends['learned']):.3f}, exact {off(ends['exact']):.3f}",
        ],
    ],
)

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, arXiv 2006.11239. The paper that made it work; you have now rebuilt all of it.
# - Tuomas Kynkaanniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen, Timo Aila: *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019, arXiv 1904.06991. The balls.
# - Mason Kamb, Surya Ganguli: *An Analytic Theory of Creativity in Convolutional Diffusion Models*, 2024, arXiv 2412.20292. Why a network that looks at neighbours cannot be the copier, and what it is instead.
#
# **Next, chapter 06:** the same network, a fifth of the calls.
