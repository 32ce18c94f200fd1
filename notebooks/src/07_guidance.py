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
#     slug: guidance
#     title: Guidance, or saying it louder
#     claim: Ask one network twice, once with the label and once without, and go further in the direction of the difference.
#     objectives:
#       - train one network that can answer with a label and without
#       - write guidance as a denoiser around a denoiser, in both published conventions
#       - measure what a guidance weight buys, and what it costs
#       - say which distribution guidance does not sample from
#     prerequisites: [ddpm-images]
#     minutes_compute: 2
#     hours_learner: 3
#     memory_gb: 1
#     data: [fashion, toy]
#     weights: [fashion-unet, fashion-classifier]
#     exercises: [guidance.drop, guidance.convention, guidance.interval, guidance.tilt]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 07 · Guidance, or saying it louder
#
# **Ask one network twice, once with the label and once without, and go further in the direction of the difference.**
#
# `compute 2 min` · `you 3 h` · `memory 1 GB` · pictures and toy networks are live, the large table is recorded and marked so
#
# All four rows below start from the same noise and come from the same weights. In the first, the network is told nothing. In the second it is told the kind. In the third and fourth we exaggerate what it was told, by a factor called `w`.

# %%
from functools import partial

import torch
from torch import Generator

from minidiff import Denoiser, Linear, fit, guide, heun, last, load, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import Mixture
from minidiff.measure.proportion import share
from minidiff.nn.mlp import MLP
from minidiff.recipes.fashion import guesses, shipped_classifier
from minidiff.sample import dpmpp_2m
from minidiff.sweeps.targets import PLANE
from minidiff.train.fit import denoising_loss

scale = start(needs="0.1")

# %% tags=["core"]
denoise, classifier = load("fashion-unet"), shipped_classifier()
steps = pick(smoke=2, laptop=16)


def draw(kinds, w, seed=0, interval=(0.0, 1.0)):
    noise = prior(denoise.schedule, (len(kinds), 1, 28, 28), Generator().manual_seed(seed))
    return last(dpmpp_2m(guide(denoise, w, interval=interval), noise, uniform_grid(steps), cond=kinds))


weights = (0.0, 1.0, 3.0, 8.0)
rows = {w: draw(torch.arange(10), w) for w in weights}

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat(list(rows.values())), columns=10, rows=["w = 0", "w = 1", "w = 3", "w = 8"]),
    alt="Four rows of ten samples from the same noise. Without label: kinds at random. With label: one kind a column. With larger weights: the same kinds, cleaner and more typical, at last harsh, with strong contrast.",
    mark=f"live: shipped weights, {steps} steps, seed 0",
)

# %% [markdown]
# `w = 3` looks best to most eyes. Is it? It is the most used trick in the whole field: every model that turns words into pictures ships with a slider for it. Few of those who use it can say what it does to the distribution, and the usual explanation is wrong. We shall measure both.
#
# ## One network, two questions
#
# How does one get a network that answers with a label *and* without? One could train two. It is simpler to train one and to hide the label now and then: a tenth of the time the network sees the **null label**, one number past the last kind, and has to cope. So it learns both averages: `E[x0 | x_t, kind]` and `E[x0 | x_t]`.
#
# In the package this is `denoising_loss(..., drop=0.1)`, and in code it is one line, which is exercise 1. All else stays as it was in chapter 05.
#
# ## Guidance is a denoiser around a denoiser
#
# Now ask both questions at the same noisy point. The two answers differ by what the label *adds*. Take this difference and go `w` times as far:
#
# $$\hat x_0 = \hat x_0^{\,\text{none}} + w\,(\hat x_0^{\,\text{label}} - \hat x_0^{\,\text{none}})$$
#
# With `w = 0` the label is ignored, with `w = 1` it is obeyed, beyond that it is exaggerated. (Ho and Salimans, 2022; "classifier-free", because an earlier method asked a separate classifier where to go.)


# %% tags=["core", "builds:predict.guide"]
def guided_by(denoise, w, null):
    def guided(x_t, t, cond):
        none = denoise(x_t, t, torch.full_like(cond, null))
        told = denoise(x_t, t, cond)
        return none + w * (told - none)

    guided.schedule = denoise.schedule
    return guided


# %% [markdown]
# Samplers ask a denoiser one question and never look inside, so nothing else has to change. And since every row of chapter 04 is a sum of `x0` and `x_t`, guiding `eps` or `v` instead is the same thing.
#
# Drag `w`, choose a kind. *Where does it get better, where does it get the same? At which `w` do all twenty look alike?*


# %% tags=["core", "stage"]
def picture(kind, w):
    number = fashion.NAMES.index(kind)
    x = draw(torch.full((20,), number), w, seed=1)
    hits = int((guesses(classifier, x) == number).sum())
    fig, ax = figure(height=2.2)
    ax.imshow(tile(x, columns=10, scale=4))
    ax.set_title(f"w = {w:g}: the classifier of chapter 05 recognises {hits} of 20")
    ax.axis("off")
    return fig


def words(kind, w):
    return f"Twenty samples of the kind {kind} with guidance weight {w:g}."


play(picture, kind=["shirt", *(name for name in fashion.NAMES if name != "shirt")], w=(0.0, 10.0, 0.5, 2.0), alt=words)

# %% [markdown]
# ## What it buys, and what it costs
#
# Chapter 05 left us with instruments: precision (is each sample plausible?), recall (is everything there?), the Frechet distance (are the crowds alike?), and a classifier that can say whether it recognises what was asked for.

# %% tags=["core", "stage"]
predict(
    "guidance.cost",
    "From w = 1 to w = 8, one of these falls steeply. Which?",
    ["precision", "recall", "how often the kind is recognised"],
)

# %% tags=["core", "stage"]
kept = recorded("guidance")
ws = sorted({row["w"] for row in kept.rows})


def over_seeds(key, w, low=0.0):  # mean, and half a 95% interval from three seeds (Student's t, 2 degrees of freedom)
    values = torch.tensor([row[key] for row in kept.where(w=w, low=low)])
    return values.mean().item(), 4.303 * values.std().item() / len(values) ** 0.5


fig, (left, right) = figure(columns=2, height=2.7)
series = {"recognised": "recognised", "precision": "precision", "recall": "recall"}
columns = {name: torch.tensor([over_seeds(key, w) for w in ws]).T for name, key in series.items()}
left.set(xlabel="guidance weight w", ylim=(0, 1.02), xlim=(-0.2, 11.5), title="shares")
lines(left, ws, {name: (v[0], v[1]) for name, v in columns.items()}, kinds=["baseline", "model", "data"])
values = torch.tensor([over_seeds("frechet", w) for w in ws]).T
right.set(
    xlabel="guidance weight w", ylim=(0, 1.1 * float(values[0].max())), xlim=(-0.2, 8.6), title="Frechet distance"
)
lines(right, ws, {"": (values[0], values[1])}, kinds=["model"])
show(
    fig,
    alt="Left: against the guidance weight, the share of recognised samples rises to nearly 1, precision rises and levels off, recall falls. Right: the Frechet distance has its lowest point at a small weight and rises on both sides.",
    mark=kept.mark + "; bars: 95% interval from three sampling seeds",
)

# %% tags=["core", "stage"]
fall = {name: v[0][ws.index(1.0)] - v[0][-1] for name, v in columns.items()}
steepest = max(fall, key=lambda name: fall[name])
reveal(
    "guidance.cost",
    {"recall": "recall", "precision": "precision", "recognised": "how often the kind is recognised"}[steepest],
    f"From w = 1 to w = 8: recall {columns['recall'][0][ws.index(1.0)]:.2f} to {columns['recall'][0][-1]:.2f}, precision {columns['precision'][0][ws.index(1.0)]:.2f} to {columns['precision'][0][-1]:.2f}, recognised {columns['recognised'][0][ws.index(1.0)]:.0%} to {columns['recognised'][0][-1]:.0%}.",
)
(test, kinds) = fashion.load("test")
real_hits = share(guesses(classifier, test[: pick(smoke=100, laptop=5000)]) == kinds[: pick(smoke=100, laptop=5000)])
lowest = ws[int(values[0].argmin())]
say(
    f"The distance is lowest at w = **{lowest:g}**. Of real test pictures the classifier recognises {real_hits['value']:.1%} [{real_hits['low']:.1%}, {real_hits['high']:.1%}]: a model that scores *higher* draws kinds more typical than kinds are."
)

# %% [markdown]
# So the label gets through, and variety is the price. Read the last number once more. A classifier that recognises 100% of the shirts is no praise: real shirts are often mistaken for t-shirts and coats, and a model of *real* shirts ought to be, too. Guidance draws caricatures. That is precisely why it looks good in a gallery, where you see one picture at a time and never ask what is missing.
#
# ## Only in the middle
#
# Where on the walk does it help? At the noisy end, where it is decided *which* shirt, exaggerating pulls every walk to the same few shirts. At the clean end the kind is clear and there is nothing left to add. So guide only in between (Kynkaanniemi and others, 2024), and save a third of the calls:

# %% tags=["core", "stage"]
rows = []
for w in (3.0, 8.0):
    for low, where in ((0.0, "everywhere"), (0.2, "0.2 to 0.8")):
        numbers = [over_seeds(key, w, low) for key in ("recognised", "precision", "recall", "frechet")]
        texts = [f"{m:.0%} ± {100 * h:.0f}" for m, h in numbers[:1]] + [f"{m:.2f} ± {h:.2f}" for m, h in numbers[1:3]]
        rows.append([f"{w:g}", where, *texts, f"{numbers[3][0]:.1f} ± {numbers[3][1]:.1f}"])
table(["w", "levels t guided", "recognised", "precision", "recall", "Frechet distance"], rows)
show(
    image_grid(
        torch.cat([draw(torch.arange(10), 8.0), draw(torch.arange(10), 8.0, interval=(0.2, 0.8))]),
        columns=10,
        rows=["everywhere", "0.2 to 0.8"],
    ),
    alt="Two rows of ten samples with weight 8 from the same noise: guided at all levels, harsh and simple; guided in the middle only, softer and with more detail.",
    mark=f"table: {kept.mark}; pictures live, {steps} steps, seed 0",
)

# %% [markdown]
# ## A published mistake: one slider, two zeros
#
# The founding article gives the formula as
#
# > `predicted_noise = (1 + guidance_scale) · conditional_prediction − guidance_scale · unconditional_prediction`
#
# That is the convention of the original paper; call its number `g`. Most code, and this course, use `w = 1 + g`. Both are right. Wrong is to take a number from one and put it into the other, and this happens all the time: in one popular library for making 3-D objects the default of 7.5 was taken over from models that count in `w`, and put into the formula that counts in `g` ([threestudio, issue 127](https://github.com/threestudio-project/threestudio/issues/127)). Nobody saw it, because 7.5 and 8.5 look alike. Where would you see it?

# %% tags=["core"]
kinds_now = torch.arange(10).repeat(pick(smoke=1, laptop=20))


def recognised(w):
    return share(guesses(classifier, draw(kinds_now, w, seed=2)) == kinds_now)


mixed_up = {1.0: "w = 1, meant: plain label", 2.0: "put into the other formula: w = 2"}
hits = {w: recognised(w) for w in (0.0, 1.0, 2.0)}

# %% tags=["core", "stage"]
table(
    ["somebody asks for", "in w", "in g", "recognised"],
    [
        ["no label", "0", "−1", f"{hits[0.0]['value']:.0%}"],
        ["the label, no exaggeration", "1", "0", f"{hits[1.0]['value']:.0%}"],
        ["a little exaggeration", "2", "1", f"{hits[2.0]['value']:.0%}"],
    ],
)
say(
    f"n = {hits[1.0]['n']:,} each. At `0`, one convention ignores the label ({hits[0.0]['value']:.0%} are right by chance) and the other obeys it ({hits[1.0]['value']:.0%}); at `1`, one obeys and the other exaggerates. At 7.5 they are one step of 13% apart."
)

# %% [markdown]
# Two questions settle it for any code: *what does 0 do?* and *what does 1 do?* If 1 is the plain label, it counts in `w`.
#
# ## What does it sample from?
#
# Here is the usual explanation. The network's answers are scores, gradients of log densities. The difference of the two is the gradient of `log p(c | x)`, by Bayes. So with weight `w` one follows the gradient of
#
# $$\log\, p(x)\, p(c|x)^w,$$
#
# and the samples come from this sharpened density. It is in many lectures. In one dimension we can check it without a network: two kinds, both broad, overlapping. The exact answers with label and without are formulas, and so is the sharpened density.

# %% tags=["core"]
whole = Mixture(torch.tensor([[-0.8], [0.8]], dtype=torch.float64), 0.7)
mine = Mixture(torch.tensor([[0.8]], dtype=torch.float64), 0.7)  # the kind that we ask for
line = torch.linspace(-5, 7, 2401, dtype=torch.float64)[:, None]


def exact(x_t, t, cond=None):  # label 1: mine; label 2: none
    alpha, sigma = Linear().alpha(t), Linear().sigma(t)
    one, all_ = (source.posterior_mean(x_t, alpha, sigma) for source in (mine, whole))
    return torch.where((cond == 1)[:, None], one, all_)


exact.schedule = Linear()


def promised(w):  # p(x) p(c|x)^w on the line: p(x|c)^w p(x)^(1-w), normalised
    log_p = w * mine.log_prob(line) + (1 - w) * whole.log_prob(line)
    return torch.softmax(log_p, 0) / (line[1, 0] - line[0, 0])


# %% tags=["core", "stage"]
predict(
    "guidance.promise",
    "Guided with w = 4, exact denoisers, very many steps. The samples are, compared with the promised density,",
    ["the same, up to the error of the steps", "further out and narrower", "further out and wider"],
)

# %% tags=["core"]
n_line, w_line = pick(smoke=500, laptop=20_000), 4.0
noise = prior(Linear(), (n_line, 1), Generator().manual_seed(3)).double()
labels = torch.ones(n_line, dtype=torch.long)
grid = uniform_grid(pick(smoke=10, laptop=300)).double()
got = {w: last(heun(guide(exact, w, null=2), noise, grid, cond=labels)) for w in (1.0, w_line)}

# %% tags=["core", "stage"]
fig, axes = figure(columns=2, height=2.5)
edges = torch.linspace(-2, 5, 141, dtype=torch.float64)
for ax, w in zip(axes, got, strict=True):
    bars = torch.histogram(got[w].flatten(), edges, density=True).hist
    filled(ax, (edges[1:] + edges[:-1]) / 2, bars, "model")
    ax.plot(line, promised(w), color=COLOURS["exact"], dashes=(4, 2))
    ax.set(title=f"w = {w:g}", xlim=(-2, 5), yticks=[], xlabel="x0")
show(
    fig,
    alt="Two histograms of guided samples with the promised density as a dashed line. At w = 1 they agree. At w = 4 the histogram stands further to the right than the dashed line, and is narrower.",
    mark=f"live: exact denoisers, {len(grid) - 1} steps of Heun, n = {n_line:,}; dashed: exact p(x) p(c|x)^w",
)


# %% tags=["core", "stage"]
def moments(density):
    p = density / density.sum()
    mean = (p * line[:, 0]).sum()
    return mean.item(), (p * (line[:, 0] - mean) ** 2).sum().sqrt().item()


rows = []
for w, x in got.items():
    (m, s), error = moments(promised(w)), (x.std() / n_line**0.5).item()
    rows.append([f"{w:g}", f"{m:.3f}", f"{x.mean():.3f} ± {1.96 * error:.3f}", f"{s:.3f}", f"{x.std():.3f}"])
table(["w", "mean promised", "mean of samples", "std promised", "std of samples"], rows)
(m, s), x = moments(promised(w_line)), got[w_line]
out = "narrower" if x.std() < s else "wider"
reveal(
    "guidance.promise",
    f"further out and {out}" if x.mean() > m + 0.02 else "the same, up to the error of the steps",
    f"Promised mean {m:.2f} and std {s:.2f}; the samples have {x.mean():.2f} and {x.std():.2f}. Smaller steps do not mend it.",
)

# %% [markdown]
# Where is the slip? The sharpened density is a statement about *clean* data. Noise it, and its score at level `t` is *not* the sum of the noised scores: to sharpen and to blur do not commute. Look at both at one level: the guided answer, and the exact denoiser of the sharpened density.

# %% tags=["core"]
level, at = torch.tensor(0.6, dtype=torch.float64), torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]
weight = promised(w_line)[None] * (-((at - 0.4 * line.T) ** 2) / (2 * 0.6**2)).exp()  # (points, line): Bayes
sharpened = (weight @ line) / weight.sum(1, keepdim=True)
ask = torch.ones(len(at), dtype=torch.long)
guided_here = guide(exact, w_line, null=2)(at, level, ask)
plain_here = exact(at, level, ask)

# %% tags=["core", "stage"]
fig, ax = figure(height=2.5)
ax.set(xlabel="x_t at t = 0.6", ylabel="x0_hat", xlim=(-2.5, 4.6))
answers = {"guided": guided_here, "denoiser of p(x) p(c|x)^w": sharpened, "plain, w = 1": plain_here}
lines(ax, at[:, 0], {name: value[:, 0] for name, value in answers.items()}, kinds=["model", "exact", "data"])
show(
    fig,
    alt="Three curves of x0_hat against x_t at t = 0.6. The guided answer lies well above the exact denoiser of the sharpened density on the left, where the two kinds compete, and meets it on the right.",
    mark="exact",
)

# %% [markdown]
# The guided answer pushes hardest where the point looks like the *other* kind. Each push is a correction that the sharpened density would not have made so early, and nothing later takes it back. So guidance is not sampling from a sharper distribution. It is a way of walking which ends, usefully, in typical places. There is work on what it does instead (Bradley and Nakkiran, below); in the meantime, one should not say what it does in formulas that it does not follow.
#
# ## The control: a network that never practised
#
# Guidance needs an answer *without* label from a network that was trained to give one. What if nobody hid labels in training? The code runs just as well: the null label is a row of numbers in an embedding, and rows exist from the start. Two networks in the plane, four kinds, two spots each; one saw the null label in 15% of its training, the other never.

# %% tags=["core"]
ring = PLANE.means  # eight spots; kind = spot modulo 4, so that a kind is two opposite spots


def labelled(n, generator):
    spot = torch.randint(8, (n,), generator=generator)
    return ring[spot] + 0.1 * torch.randn(n, 2, generator=generator), spot % 4


def learn(drop):
    torch.manual_seed(0)
    model = Denoiser(MLP(2, width=64, depth=3, classes=4), Linear(), "flow", sd=PLANE.sd)
    loss = partial(denoising_loss, drop=drop)
    *_, state = fit(
        model,
        lambda step: labelled(256, Generator().manual_seed(step)),
        pick(smoke=20, laptop=2500),
        loss=loss,
        lr=2e-3,
        decay_from=0.5,
        ema=0.99,
    )
    state.ema.copy_to(model.net)
    return model


nets = {"labels hidden in 15%": learn(0.15), "never hidden": learn(0.0)}

# %% tags=["core", "stage"]
clouds, marks = [], pick(smoke=100, laptop=2000)
asked, rows = torch.arange(marks) % 4, []
for name, net in nets.items():
    line_of = [name]
    for w in (0.0, 1.0, 3.0):
        noise = prior(Linear(), (marks, 2), Generator().manual_seed(4))
        x = last(heun(guide(net, w), noise, uniform_grid(pick(smoke=4, laptop=40)), cond=asked))
        clouds.append((f"{name}, w = {w:g}", x))
        distance, spot = torch.cdist(x, ring).min(1)
        line_of += [f"{share(distance < 0.3)['value']:.1%}"]
    rows.append(line_of)
show(
    panels(clouds, kinds=["model"] * 3 + ["control"] * 3, marks=ring, limit=2.6, columns=3),
    alt="Six panels of points with crosses at eight spots. Labels hidden in training: with w = 0, 1 and 3 the points lie on the spots. Never hidden: with w = 1 they lie on the spots, with w = 0 and w = 3 they are scattered off them.",
    mark=f"live: n = {marks:,} a panel, one training seed",
)
table(["in training", "in a spot, w = 0", "w = 1", "w = 3"], rows)

# %% [markdown]
# With `w = 1` the two are equally good, and no test of the ordinary kind tells them apart. At `w = 0` the second answers with a row of numbers that was never trained, and from there every difference points somewhere. On the way to a video model this mistake is common: guidance is switched on by someone other than who trained. The package therefore asks the network for its null label, but whether it was *practised* no code can know. Draw at `w = 0` and look.
#
# ## Exercises
#
# **1 · Hide a tenth of the labels** (difficulty 1 of 3, 10 minutes). `label` is `(B,)`; `u` is `(B,)`, uniform in [0, 1]. Where `u < p`, the label becomes `null`.


# %% tags=["core"]
def my_hide(label, u, p, null):
    raise NotImplementedError


check("guidance.drop", my_hide)

# %% [markdown]
# **2 · The other formula** (difficulty 1, 10 minutes). The paper's convention: `g = 0` is the plain label, and larger values exaggerate. `cond` and `uncond` are `(B, D)`.


# %% tags=["core"]
def my_guided(cond, uncond, g):
    raise NotImplementedError


check("guidance.convention", my_guided)

# %% [markdown]
# **3 · Only in the middle** (difficulty 2, 10 minutes). Guide by `w` (our convention) where `low <= t <= high`, and obey the plain label elsewhere. `t` is `(B,)`.


# %% tags=["core"]
def my_interval(cond, uncond, t, w, low, high):
    raise NotImplementedError


check("guidance.interval", my_interval)

# %% [markdown]
# **4 · What is promised** (difficulty 3, 20 minutes). All data is Gaussian with mean 0 and standard deviation `S`; the kind that we ask for is Gaussian with mean `m` and standard deviation `s < S`. Give mean and standard deviation of `p(x) p(c|x)^w`, stacked in one tensor `(2,)`.


# %% tags=["core"]
def my_promise(m, s, S, w):
    raise NotImplementedError


check("guidance.tilt", my_promise)

# %% [markdown]
# ## What this does not show
#
# Ten kinds of clothes are a poor stand-in for a sentence. With words, the network without guidance often ignores half of what was asked, and `w` is less a matter of taste than of being heard: chapter 14. Precision and recall are those of one small classifier's features, at one `n`. And the exact case has one dimension and two kinds; in many dimensions the overshoot goes into contrast and colour, which is why large pictures made with a large `w` look burnt.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        [
            "Recall from w = 1 to w = 8",
            f"{columns['recall'][0][ws.index(1.0)]:.2f} to {columns['recall'][0][-1]:.2f}",
            f"recognised {columns['recognised'][0][ws.index(1.0)]:.0%} to {columns['recognised'][0][-1]:.0%}",
        ],
        ["Best Frechet distance at", f"w = {lowest:g}", f"{values[0].min():.1f}; at w = 8 {values[0][-1]:.1f}"],
        [
            "Mean of guided samples, w = 4",
            f"{got[w_line].mean():.2f}",
            f"promised by p(x) p(c|x)^w: {moments(promised(w_line))[0]:.2f}",
        ],
        ["Null label never practised, w = 3", f"{rows[1][3]} in a spot", f"practised: {rows[0][3]}"],
    ],
)

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Tim Salimans: *Classifier-Free Diffusion Guidance*, 2022, arXiv 2207.12598. Five pages, and the slider of every image model.
# - Tuomas Kynkaanniemi, Miika Aittala, Tero Karras, Samuli Laine, Timo Aila, Jaakko Lehtinen: *Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models*, NeurIPS 2024, arXiv 2404.07724. Only in the middle.
# - Arwen Bradley, Preetum Nakkiran: *Classifier-Free Guidance is a Predictor-Corrector*, 2024, arXiv 2408.09000. What it does instead of what it is said to do.
#
# **Next, chapter 08:** the rival family of models, trained as a game of two, and what becomes of variety there.
