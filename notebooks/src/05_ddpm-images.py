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
#     claim: A network that looks at pictures as pictures learns to draw them, and no single score can tell how well.
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
# **A network that looks at pictures as pictures learns to draw them, and no single score can tell how well.**
#
# `compute 3 min` · `you 4 h` · `memory 2 GB` · samples are drawn live with shipped weights; long training runs are recorded and marked so
#
# Below are five rows of ten. A column is a kind: t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot. Four rows came out of a network. **One row is photographs.** Take your time.

# %%
from functools import partial

import torch
from torch import Generator
from torch.nn import functional as F

from minidiff import Betas, Linear, ddim, dpmpp_2m, exact_denoiser, fit, fresh, last, load, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import FiniteSet, two_peaks
from minidiff.measure.frechet import frechet as distance_of
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
place = int(torch.randint(5, (), generator=Generator().manual_seed(15)))  # where the photographs go: no peeking

# %% tags=["core", "stage"]
order = torch.cat([fakes[: 10 * place], photos, fakes[10 * place :]])
show(
    image_grid(order, columns=10, rows=["A", "B", "C", "D", "E"]),
    alt="Five rows of ten small grey pictures of clothes, one kind a column: t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot.",
    mark="live: 40 samples of `fashion-unet`, 30 steps, and 10 test pictures",
)
predict("ddpm-images.photographs", "Which row are photographs?", ["A", "B", "C", "D", "E"])

# %% [markdown]
# The answer comes later; first let us see what kind of network does this. The one of chapter 04 would not get far: a layer that mixes all 784 numbers with all others has no idea that two of them are neighbours. Shuffle the pixels of every picture in the same way, and it learns exactly as well. It sees no pictures at all.
#
# ## A network with eyes
#
# A *convolution* looks at a pixel and its eight neighbours, and does the same everywhere. That is how an edge is found, in whichever corner it lies. But it is short-sighted: to know that a sleeve needs a partner on the other side one has to see far. So the network goes *down*: it halves the picture, looks again, halves again. At a quarter of the size its nine pixels span half a shirt. Then it comes back *up* to full size, and here it would have forgotten where exactly the edge was, were it not for *bridges*: at every size the features of the way down are laid beside those of the way up. Drawn on paper, the thing looks like a U, hence **U-Net** (Ronneberger and others, 2015).
#
# The same block works at every size. It is the thing to know by heart, for it comes back in every chapter with a network in it.


# %% tags=["core", "builds:nn.unet.ResBlock"]
def res_block(block, x, context):  # x (B, C, H, W); context (B, E): noise level and kind, as a vector
    h = block.conv1(F.silu(block.norm1(x)))
    scale, shift = block.modulate(context)[:, :, None, None].chunk(2, dim=1)  # 2 x (B, C, 1, 1)
    h = block.conv2(F.silu(block.norm2(h) * (1 + scale) + shift))
    return block.skip(x) + h


# %% [markdown]
# Four ideas in four lines. *Look* (`conv1`). *Listen*: the noise level, and by the same door the kind, turns some features up and others down, since what to look for under thick fog differs from what to look for under a haze. *Look again*. And *add*: the block does not replace its input, it corrects it. A fresh block corrects by zero, so that even a deep stack starts out simple and learns from there.
#
# The whole way through, with the layers of the shipped network. At the door every 2 x 2 pixels are folded into four channels, which saves three quarters of the work; at the exit they are unfolded.
#
# ```
# 14 x 14   ──────── bridges ────────►   14 x 14
#    7 x 7   ─────── bridges ───────►   7 x 7
#       4 x 4   ──── bridges ────►   4 x 4
#                    middle
# ```


# %% tags=["core", "builds:nn.unet.UNet"]
def through(net, x, ell, kind):
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
    for i, block in enumerate(net.up):  # two blocks a size, each with a bridge
        h = res_block(block, torch.cat([h, bridge.pop()], dim=1), context)
        if i % 2 and i // 2 < len(net.grow):
            size = bridge[-1].shape[-2:]
            h = net.grow[i // 2](F.interpolate(h, size=size))
    return F.pixel_shuffle(net.out(h), net.patch)  # (B, 1, 28, 28)


# %% tags=["core", "stage"]
x, level = torch.randn(10, 1, 28, 28, generator=Generator().manual_seed(0)), torch.zeros(10)
with torch.no_grad():
    gap = (through(denoise.net, x, level, torch.arange(10)) - denoise.net(x, level, torch.arange(10))).abs().max()
say(
    f"Your way through and the package's differ by {gap:.0e}. The layers on it hold {sum(p.numel() for p in denoise.net.parameters()):,} numbers."
)

# %% [markdown]
# What is each part good for? Opinions are cheap, so we left them out, one at a time: no bridges; no halvings (all at the same size); no noise level; blocks that replace instead of correct; no normalisation. Each crippled network had the same seconds to learn, on the same two cores. Seconds and not steps, since a part that slows the network down has to earn its time.

# %% tags=["core", "stage"]
predict(
    "ddpm-images.part",
    "Which part do the samples miss most? (Less than a minute of training is not much: look at the order, not at the beauty.)",
    ["the bridges", "the halvings", "the noise level", "the corrections (residual sums)", "the normalisation"],
)

# %% tags=["core", "stage"]
parts = recorded("unet-parts")
first = {row["part"]: row for row in parts.rows if row["seed"] == 0}
again = next(row for row in parts.rows if row["seed"] == 1)
show(
    image_grid(torch.cat([unpack(row["pixels"]) for row in first.values()]), columns=10, rows=list(first)),
    alt="Six rows of ten samples, one kind a column: the whole network, and networks without bridges, halvings, noise level, residual sums and normalisation.",
    mark=f"{parts.mark} for the whole network, one for the others; {parts.rows[0]['seconds']} s of training each",
)
table(
    ["left out", "distance to real pictures", "recognised as asked (by a classifier)", "samples it saw in its seconds"],
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
# What "distance" means here we shall define in a moment; smaller is better. The two rows with nothing left out differ by chance alone: a rough idea of what not to read anything into. Without halvings every block works at full size: the network got through a quarter of the pictures and sees no further than its windows. Without bridges it cannot say where exactly anything was.
#
# And the surprise: not being told the noise level made *no* difference here. A network can *see* how noisy its input is, and for pictures on a black ground that is easy. (Recent papers ask whether it need be told at all. At the levels where pictures get their last polish, in runs longer than this, it may yet matter.)
#
# ## What the loss is, and why it goes flat
#
# The DDPM paper (Ho and others, 2020) derived its loss from a bound: how many bits would it take, at most, to send someone a picture with this model, level by level, from noise to the last detail? Every level adds its share, the squared error of the noise times a weight. Then the authors dropped the weights, all levels alike, and called the result `L_simple`. Here are both:

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
    mark=f"exact (left); live (right): {pick(smoke=20, laptop=300)} test pictures at 10 levels, seed 1",
)
say(
    f"At t = {t[4]:.2f} the bound weighs an error **{bound[4] / bound[44]:.0f} times** as much as at t = {t[44]:.2f}, `L_simple` the same. Of the whole bound, {shares['the bound'][0] / shares['the bound'].sum():.0%} falls to the cleanest of the ten levels; of `L_simple`, {shares['L_simple'][0] / shares['L_simple'].sum():.0%}."
)

# %% [markdown]
# The left panel is what training feels: against the middle, `L_simple` weighs the last haze, noise so thin that the eye does not see it, many times less than the bound does. (In a formula: the bound's weight is `−½ d log(SNR)/dt`, with SNR `alpha²/sigma²`; Kingma and others, 2021.) The right panel is the code length: most of the bits of a picture are spent on what nobody looks at. Ho and others found that `L_simple` gives better pictures and longer codes. By chapter 04 it is the same loss with another emphasis, and so is ours: the straight path, the row `flow`, the middle levels seen more often than the ends.
#
# And now look at a training run as a whole. Nine moments of the run that made the shipped weights, each but the last twice as late as the one before. Same noise, same kinds, at every moment. *When does the loss stop falling? When do the pictures stop getting better?*

# %% tags=["core", "stage"]
states = recorded("unet-states")
frames = [tile(unpack(row["pixels"]), columns=10, scale=2, gap=3) for row in states.rows]
slideshow(
    frames,
    [f"step {row['step']:,}, held-out loss {row['loss']:.3f}" for row in states.rows],
    alt="Twenty samples from the same noise at nine moments of training: grey fog, then blobs of the right outline, then clothes with speckles, then clean clothes.",
    mark=states.mark + "; samples of the averaged weights",
)

# %% tags=["core", "stage"]
photo_f, test_f = (features(x[: pick(smoke=600, laptop=10_000)], classifier=classifier) for x in (train[:600], test))
at_best = distance_of(photo_f, test_f)  # what 600 photographs get
steps = torch.tensor([row["step"] for row in states.rows])
fig, (left, right) = figure(columns=2, height=2.5)
left.set(xscale="log", xlabel="step", title="held-out loss", ylim=(0, None))
left.plot(steps, [row["loss"] for row in states.rows], color=COLOURS["model"], marker="^")
right.set(xscale="log", yscale="log", xlabel="step", title="distance to real pictures", xlim=(100, steps[-1] * 60))
raw, averaged = (torch.tensor([row[key] for row in states.rows]) for key in ("frechet_raw", "frechet"))
lines(
    right,
    steps,
    {"raw weights": raw, "averaged weights": averaged, "photographs": torch.full_like(averaged, at_best)},
    kinds=["noise", "model", "exact"],
)
show(
    fig,
    alt="Left: the held-out loss falls steeply in the first doublings and is nearly flat afterwards. Right: the distance of samples to real pictures, on logarithmic axes, goes on falling to the end. Raw weights are far above averaged ones in the middle of the run and meet them at the end, a little above what photographs get.",
    mark=states.mark,
)
late = [row for row in states.rows if row["moment"] >= 32]
drop = 1 - late[-1]["loss"] / late[0]["loss"]
gap = [row["frechet"] - at_best for row in (late[0], late[-1])]
say(
    f"From step {late[0]['step']:,} to step {late[-1]['step']:,} the loss fell by **{drop:.0%}**. The distance fell from {late[0]['frechet']:.1f} to {late[-1]['frechet']:.1f}; as photographs get {at_best:.1f} at this n, the part that was the network's fault fell from {gap[0]:.1f} to {gap[1]:.1f}."
)

# %% [markdown]
# In chapter 03's toy, nearly all of the loss was floor: what nobody can know about the noise. Here we cannot compute the floor, but the curve looks the same. The rest is the distance to the exact answer, and a small distance, walked twenty times, is the difference between a smudge and a shoe. **A flat loss is no reason to stop.**
#
# The curve of the raw weights is about a habit from chapter 03, the running average (`ema`). Raw weights jitter with every batch, and the average smooths that, as long as the learning rate is high. When the rate falls to zero towards the end, as here, the raw weights come to rest by themselves, and the two curves meet.
#
# ## How good are they? Three numbers and a trap
#
# Time to define that distance. We cannot compare pictures pixel by pixel, since no generated shoe has a partner among the real ones. We compare *crowds*. A classifier, trained to tell the ten kinds apart, turns each picture into 64 features. A crowd of pictures becomes a cloud in 64 dimensions; take its mean and covariance, and measure how far the two Gaussians are from each other. This is the **Fréchet distance** (squared, to be exact; the papers drop the word). With another network's features it is the "FID" of the papers.


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
n, half = pick(smoke=100, laptop=1200), pick(smoke=400, laptop=5000)
many = draw(n, seed=11, steps=pick(smoke=2, laptop=16))
see = partial(features, classifier=classifier)
real, other = see(test[:half]), see(test[-half:])  # two crowds of real pictures that nobody has learned from
model_f = see(many)

# %% [markdown]
# A number without a scale says nothing. So first the *null*: how far are real pictures from other real pictures, half of the test set from the other half? It ought to be zero. Draw fewer and fewer of them:

# %% tags=["core", "stage"]
sizes = [80, 100] if n == 100 else [100, 200, 400, 800, 1200]
null = torch.stack([torch.stack([frechet(other[i * k : (i + 1) * k], real) for i in range(4)]) for k in sizes])
model = torch.stack([frechet(model_f[:k], real) for k in sizes])
fig, ax = figure(height=2.4)
top = 1.1 * float(null.mean(1).max())
ax.set(xlabel="number of pictures", ylabel="Fréchet distance", ylim=(0, top), xlim=(0, 1.3 * sizes[-1]))
lines(ax, sizes, {"samples": model, "real pictures": (null.mean(1), null.std(1))}, kinds=["model", "data"])
show(
    fig,
    alt="Fréchet distance to half of the test pictures against the number of pictures used. Both curves, the model's samples and other real pictures, fall as more pictures are used; real pictures come near 0 only with many.",
    mark=f"live: {half:,} test pictures on the other side; real: mean and standard deviation of 4 draws",
)
say(
    f"Real pictures against real ones: **{null[0].mean():.1f}** with {sizes[0]} of them, **{null[-1].mean():.1f}** with {sizes[-1]:,}. The model's samples: {model[0]:.1f} and {model[-1]:.1f}."
)

# %% [markdown]
# The same crowd is "far" from itself when you draw few of it: every error in an estimated mean or covariance counts as distance, and on average errors only add. So a distance needs its `n` beside it and the null at the same `n`, and two distances at different `n` cannot be compared at all. The package's `report` draws the line to `n = infinity`, with an interval.
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
    return {"distance": float(frechet(f, real)), "precision": precision, "recall": recall}


KEYS = {"distance": 1, "precision": 2, "recall": 2}  # and how many digits of each mean something


# %% tags=["core", "stage"]
def picture(damage, strength):
    x = ruined(damage, strength)
    fig, (left, right) = figure(columns=2, height=1.9)
    left.imshow(tile(x[:12], columns=6, scale=4))
    left.axis("off")
    values = judge(x)
    right.barh(["precision", "recall"], [values["precision"], values["recall"]], color=COLOURS["model"])
    right.set(xlim=(0, 1), title=f"Fréchet distance {values['distance']:.1f}")
    return fig


def words(damage, strength):
    return (
        f"Twelve ruined pictures ({damage}, strength {strength}) beside precision and recall as bars and the distance."
    )


damages = ["noise", "blur", "few pictures, many times", "kinds go missing"]
play(picture, damage=damages, strength=(0.0, 1.0, 0.25, 0.5), alt=words)

# %% [markdown]
# All four, unharmed and at full strength:

# %% tags=["core", "stage"]
ruins = {(damage, at): judge(ruined(damage, at)) for damage in damages for at in (0.0, 0.5, 1.0)}
table(
    ["damage", "Fréchet distance at 0, ½, 1", "precision", "recall"],
    [
        [damage, *(", ".join(f"{ruins[damage, at][key]:.{d}f}" for at in (0.0, 0.5, 1.0)) for key, d in KEYS.items())]
        for damage in damages
    ],
)

# %% [markdown]
# Each damage has its own signature. Noise and blur cost precision and recall alike. Where kinds go missing, or few pictures come many times, what there is remains plausible, and it is recall that falls. None of the three is a verdict; together they are a description.
#
# Here are three candidates for the same test. The shipped network. Real pictures from the training set, blurred over 3 x 3 pixels. And an old acquaintance: chapter 03's exact denoiser, for the training loss the *best possible* one, made of all 60,000 training pictures, with no network and no training. Like any denoiser it can be walked with:

# %% tags=["core", "stage"]
predict(
    "ddpm-images.best-score",
    "Which has the smallest Fréchet distance to the test pictures?",
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
# Of course. The exact minimiser of the training loss, over everything that a function can be, knows 60,000 points and nothing between them. Every walk ends on one of them. It is a *copier*. With steps enough it draws each as often as any other, so for the scores we spare ourselves the walks and draw training pictures at random.

# %% tags=["core"]
chosen = torch.randint(len(pool.points), (n,), generator=Generator().manual_seed(6))
blurred = F.avg_pool2d(F.pad(train[:n], (1, 1, 1, 1), value=-1), 3, stride=1)
candidates = {"the shipped network": many, "blurred training pictures": blurred, "the copier": pool.points[chosen]}
scores = {name: judge(x) for name, x in candidates.items()}
distances = {name: nearest(x, pool.points)[0] for name, x in candidates.items()}
fresh_photos = test[-n:]  # not among the pictures that the scores compare with
distances["test pictures"] = nearest(fresh_photos, pool.points)[0]

# %% tags=["core", "stage"]
null_row = judge(fresh_photos)
rows = [
    [name, *(f"{values[key]:.{digits}f}" for key, digits in KEYS.items()), f"{distances[name].median():.1f}"]
    for name, values in {**scores, "test pictures": null_row}.items()
]
table(["", "Fréchet distance", "precision", "recall", "median distance to the training set"], rows)
best, mine = min(scores, key=lambda name: scores[name]["distance"]), scores["the copier"]
reveal(
    "ddpm-images.best-score",
    {"the copier": "the exact denoiser of the training set"}.get(best, best),
    f"The copier has distance {mine['distance']:.1f}, precision {mine['precision']:.2f} and recall {mine['recall']:.2f}; fresh photographs have {null_row['distance']:.1f}, {null_row['precision']:.2f} and {null_row['recall']:.2f}. All at n = {n:,}.",
)

# %% [markdown]
# Three numbers, and a machine that makes nothing at all passes them with honours. They compare crowds, and the copier's crowd is real. Only one question gives it away, and it is not asked in most tables of results: **how near is the nearest training picture?** Beside it, always, the same for pictures that nobody has seen.

# %% tags=["core", "stage"]
fig, ax = figure(height=2.4)
edges = torch.linspace(0, 16, 65)
for name, kind in (("test pictures", "data"), ("the shipped network", "model"), ("the copier", "control")):
    counts = torch.histogram(distances[name], edges).hist
    top = 0.7 if name == "the shipped network" else 1.0
    filled(ax, (edges[1:] + edges[:-1]) / 2, top * counts / counts.max(), kind, name)
ax.set(
    xlabel="distance to the nearest training picture (Euclidean, pixel values from −1 to 1)", yticks=[], ylim=(0, 1.25)
)
show(
    fig,
    alt="Three histograms of the distance to the nearest training picture. The copier is a spike at 0. Test pictures and the network's samples are broad hills far from 0.",
    mark=f"live: n = {n:,} each, heights not to scale",
)
below = float((distances["the shipped network"] < distances["test pictures"].quantile(0.01)).float().mean())
say(
    f"Samples of the network nearer to the training set than 99% of test pictures are: **{below:.1%}** (1% would be chance)."
)

# %% [markdown]
# The network *did not* become what the perfect minimiser of its loss is. It has fewer weights than there are pixels to remember, it stopped early, and the U-Net's habits (look at neighbours, do the same everywhere) make it average over pictures that the formula keeps apart. What we call creativity is, so far, a failure to reach the optimum of the training loss. A smaller sister, given fewer pictures to remember:

# %% tags=["core", "stage"]
sizes_kept = recorded("data-size")
table(
    [
        "training pictures",
        "samples that are copies",
        "nearest training picture, median",
        "loss on training pictures",
        "on test pictures",
    ],
    [
        [
            f"{row['images']:,}",
            f"{row['copied']:.0%}",
            f"{row['nearest']:.1f} (test pictures: {row['nearest_held_out']:.1f})",
            f"{row['loss_seen']:.3f}",
            f"{row['loss_unseen']:.3f}",
        ]
        for row in sizes_kept.rows
    ],
)
say(
    f"<small>*{sizes_kept.mark}; a smaller U-Net on pictures of 14 x 14, {sizes_kept.rows[0]['steps']:,} steps each. A copy is nearer to a training picture than 99% of test pictures are, so 1% would be chance.*</small>"
)

# %% [markdown]
# Same network, same steps; only the number of pictures differs. Where it copies, the loss on training pictures falls below the loss on new ones, and that gap is the one alarm that a loss does give. And the answer to the first bet:

# %% tags=["core", "stage"]
reveal("ddpm-images.photographs", "ABCDE"[place], "The others are samples. What gave it away, or led you astray?")

# %% [markdown]
# ## The noise of a step, when steps are few
#
# A last choice. The ancestral step of chapter 02 goes to a mean and adds noise. How much? The DDPM paper gives two answers and finds no difference, at 1,000 steps. The *small* variance is right if `x0` were known: `tau = beta sigma_s²/sigma_t²`. The *large* one is `beta` itself, right for data that is unit noise. Here are both on DDPM's table, to which our network moves without training (chapter 04). Same seed, same kinds.

# %% tags=["core", "stage"]
predict(
    "ddpm-images.noise",
    "Twenty steps. Which one makes the better clothes?",
    ["the small variance", "the large variance", "no visible difference"],
)

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
    ["variance, steps", "Fréchet distance", "precision", "recall"],
    [
        [names[k], f"{cells[k]['frechet']:.1f}", f"{cells[k]['precision']:.2f}", f"{cells[k]['recall']:.2f}"]
        for k in names
    ],
)
better = "small" if cells[0, 20]["frechet"] < cells[1, 20]["frechet"] else "large"
reveal(
    "ddpm-images.noise",
    f"the {better} variance",
    f"Distance at 20 steps: small {cells[0, 20]['frechet']:.1f}, large {cells[1, 20]['frechet']:.1f}; at 100 steps {cells[0, 100]['frechet']:.1f} and {cells[1, 100]['frechet']:.1f}.",
)

# %% [markdown]
# With many steps the two differ little, and only near the clean end, where both are small. With few they differ everywhere, and neither is right: the truth depends on how well `x0` is known at this point. In the world of two peaks we can have all the answers. If `x0` has the posterior variance `v`, and `c` is the number before `x0_hat` in the step's mean, then the step has the variance `tau + c² v`.


# %% tags=["core"]
source, grid = two_peaks(), uniform_grid(20).float()
exact = exact_denoiser(source, betas)


def step_parts(t, s):  # -> beta, tau, c
    beta = betas.sigma(t) ** 2 - (betas.alpha(t) / betas.alpha(s)) ** 2 * betas.sigma(s) ** 2
    return beta, beta * betas.sigma(s) ** 2 / betas.sigma(t) ** 2, betas.alpha(s) * beta / betas.sigma(t) ** 2


def mean_of(x, t, s, x0_hat):
    c = step_parts(t, s)[2].reshape(-1, 1)
    shrink, ratio = betas.alpha(t) / betas.alpha(s), betas.sigma(s) ** 2 / betas.sigma(t) ** 2
    return c * x0_hat + (shrink * ratio).reshape(-1, 1) * x


# %% [markdown]
# And where nothing is known, the variance can be *learned* (Nichol and Dhariwal, 2021): a network names one between `tau` and `beta`, and pays `½ (miss²/variance + log variance)`. That payment is least where the variance is the mean squared miss.


# %% tags=["core"]
def between(v, beta, tau):  # v = 0: small, v = 1: large, on a logarithmic scale
    return (v * beta.log() + (1 - v) * tau.log()).exp()


def variance_loss(model, batch, generator):  # the mean is exact; the network learns only how wide the step is
    (x0,), i = batch, torch.randint(0, 19, (len(batch[0]),), generator=generator)  # not the last step
    t, s = grid[i], grid[i + 1]
    beta, tau, _ = step_parts(t, s)
    z1, z2 = (torch.randn(x0.shape, generator=generator) for _ in range(2))
    x_s = betas.alpha(s)[:, None] * x0 + betas.sigma(s)[:, None] * z1
    x_t = (betas.alpha(t) / betas.alpha(s))[:, None] * x_s + beta.sqrt()[:, None] * z2
    variance = between(model(x_t, 10 * t - 5)[:, 0].sigmoid(), beta, tau)
    miss = (x_s - mean_of(x_t, t, s, exact(x_t, t)))[:, 0]
    return 0.5 * (miss**2 / variance + variance.log()), t


torch.manual_seed(0)
net, batches = MLP(1, width=64, depth=2), fresh(source.sample, 512)
*_, state = fit(net, batches, pick(smoke=20, laptop=1500), loss=variance_loss, lr=3e-3, ema=0.99)
state.ema.copy_to(net)


# %% tags=["core"]
@torch.no_grad()
def few_steps(kind):  # 19 of 20 steps, down to the level s = 0.05
    generator, n = Generator().manual_seed(9), pick(smoke=200, laptop=20_000)
    x = torch.randn(n, 1, generator=generator)
    for t, s in zip(grid[:-2], grid[1:-1], strict=True):
        beta, tau, c = step_parts(t, s)
        if kind == "learned":
            variance = between(net(x, (10 * t - 5).expand(n)).sigmoid(), beta, tau)
        elif kind == "exact":
            chance, means, stds = source.parts(x, betas.alpha(t), betas.sigma(t))
            mean = (chance[:, :, None] * means).sum(1)
            spread = (chance * (means[:, :, 0] ** 2 + stds**2)).sum(1, keepdim=True) - mean**2  # v
            variance = tau + c**2 * spread
        else:
            variance = {"small": tau, "large": beta}[kind]
        x = mean_of(x, t, s, exact(x, t)) + variance.sqrt() * torch.randn(x.shape, generator=generator)
    return x


recipes = ("small", "large", "learned", "exact")
ends = {kind: few_steps(kind) for kind in recipes}

# %% tags=["core", "stage"]
low = grid[-2]
alpha, sigma = betas.alpha(low), betas.sigma(low)


def truth(seed):
    generator = Generator().manual_seed(seed)
    x0 = source.sample(len(ends["small"]), generator)
    return alpha * x0 + sigma * torch.randn(x0.shape, generator=generator)


def off(x, true):  # how far the samples must be moved, on average, to become the true ones
    return (x.flatten().sort().values - true.flatten().sort().values).abs().mean().item()


fig, axes = figure(columns=4, height=1.9)
edges = torch.linspace(-2, 2, 81)
for ax, kind in zip(axes, recipes, strict=True):
    at = (edges[1:] + edges[:-1]) / 2
    filled(ax, at, torch.histogram(ends[kind].flatten(), edges, density=True).hist, "model")
    ax.plot(at, source.log_prob(at[:, None], alpha, sigma).exp(), color=COLOURS["exact"], dashes=(4, 2), linewidth=1.2)
    ax.set(title=f"{kind} variance", yticks=[], ylim=(0, 1.5))
show(
    fig,
    alt="Four histograms of x_s at level 0.05 over the dashed true density of two peaks: small variance, peaks too narrow; large variance, peaks too wide; learned and exact variance, peaks of the right width.",
    mark=f"live: exact mean, 19 of 20 steps on DDPM's table, n = {len(ends['small']):,}, seed 9",
)

# %% tags=["core", "stage"]
table(
    ["variance of a step", *recipes, "(true ones again)"],
    [["distance to true points", *(f"{off(x, truth(10)):.3f}" for x in (*ends.values(), truth(12)))]],
)

# %% [markdown]
# Even the exact variance is not the whole truth, for the true step between two peaks has two humps and no Gaussian has. But it is the best that one number can do, and the learned one comes near it without knowing anything. It costs a second output of the network. Chapter 06 has a cheaper answer: add no noise at all.
#
# ## A published mistake
#
# One of the most read annotated implementations of this paper draws noise in *every* step, the last one included (labml.ai's `p_sample`; the paper's algorithm 2 sets `z = 0` there). With 1,000 steps the noise left behind has a standard deviation of 0.01, about one grey level of 255: nobody sees it. Code that is wrong by an invisible amount is copied, and then someone takes 20 steps.

# %% tags=["core", "stage"]
x, t, s = ends["exact"], grid[-2], grid[-1]
beta = step_parts(t, s)[0]
clean = mean_of(x, t, s, exact(x, t))
noisy_end = clean + beta.sqrt() * torch.randn(x.shape, generator=Generator().manual_seed(13))
fine = step_parts(torch.tensor(0.001), torch.tensor(0.0))[0].sqrt()
say(
    f"After 20 steps it leaves noise of standard deviation **{beta.sqrt():.3f}** in every sample (after 1,000: {fine:.3f}), on pictures {beta.sqrt() * 127.5:.0f} of 255 levels of grey. In the world of two peaks, where the right peak is 0.20 wide, the samples of it come out {noisy_end[clean > 0].std():.2f} wide."
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
# **4 · When is large right?** (difficulty 3, 20 minutes). For which posterior variance `v` of `x0` is the large variance exact? Give `v` as a number made of the four levels; nothing is assumed about `alpha² + sigma²`.


# %% tags=["core"]
def my_spread(alpha_t, sigma_t, alpha_s, sigma_s):
    raise NotImplementedError


check("ddpm-images.step-variance", my_spread)

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
            f"{scores['the shipped network']['distance']:.1f}",
            f"real pictures {null_row['distance']:.1f}, n = {n:,}",
        ],
        ["Distance of the copier", f"{scores['the copier']['distance']:.1f}", "it makes nothing new"],
        [
            "Nearest training picture, median",
            f"{distances['the shipped network'].median():.1f}",
            f"test pictures {distances['test pictures'].median():.1f}",
        ],
        [
            "20 steps, small or large variance",
            f"{off(ends['small'], truth(10)):.3f}, {off(ends['large'], truth(10)):.3f}",
            f"learned {off(ends['learned'], truth(10)):.3f}, exact {off(ends['exact'], truth(10)):.3f}",
        ],
    ],
)

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, arXiv 2006.11239. The paper that made it work; but for its attention layers (chapter 12) you have now rebuilt it.
# - Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen, Timo Aila: *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019, arXiv 1904.06991. The balls.
# - Mason Kamb, Surya Ganguli: *An Analytic Theory of Creativity in Convolutional Diffusion Models*, 2024, arXiv 2412.20292. Why a network that looks at neighbours cannot be the copier, and what it is instead.
#
# **Next, chapter 06** (still to be written; 07 can be read now)**:** the same network, a fifth of the calls.
