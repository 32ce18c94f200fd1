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

from minidiff import Denoiser, Linear, ddim, fit, guide, heun, last, load, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import Mixture
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import precision_recall
from minidiff.measure.proportion import share
from minidiff.nn.mlp import MLP
from minidiff.recipes.fashion import features, guesses, shipped_classifier
from minidiff.sweeps.targets import PLANE
from minidiff.train.fit import denoising_loss

scale = start(needs="0.1")

# %% tags=["core"]
denoise, classifier = load("fashion-unet"), shipped_classifier()
steps = pick(smoke=2, laptop=20)


def draw(kinds, w, seed=0, interval=(0.0, 1.0)):
    noise = prior(denoise.schedule, (len(kinds), 1, 28, 28), Generator().manual_seed(seed))
    walk = ddim(guide(denoise, w, interval=interval), noise, uniform_grid(steps), cond=kinds)
    return last(walk).clamp(-1, 1)  # as they are seen


weights = (0.0, 1.0, 3.0, 8.0)
rows = {w: draw(torch.arange(10), w) for w in weights}

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat(list(rows.values())), columns=10, rows=["w = 0", "w = 1", "w = 3", "w = 8"]),
    alt="Four rows of ten samples from the same noise. Without label: kinds at random. With label: one kind a column. With larger weights: the same kinds again, at w = 8 with strong contrast.",
    mark=f"live: shipped weights, {steps} steps, seed 0",
)

# %% [markdown]
# Which row would you hang up? Many take `w = 3`. Nearly every model that turns words into pictures has, or once had, such a dial. What does it do to the *distribution*? We shall measure what it buys and what it costs, and put the usual explanation to the test.
#
# ## One network, two questions
#
# How does one get a network that can answer both with a label and without one? One could train two. It is simpler to train one and to hide the label now and then: a tenth of the time the network sees the **null label**, one number past the last kind, and has to cope. So it learns both averages: `E[x0 | x_t, kind]` and `E[x0 | x_t]`.
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


# %% tags=["core", "stage"]
x, t = torch.randn(10, 1, 28, 28, generator=Generator().manual_seed(5)), torch.tensor(0.7)
with torch.no_grad():
    yours, theirs = (f(x, t, torch.arange(10)) for f in (guided_by(denoise, 3.0, 10), guide(denoise, 3.0)))
say(f"Yours and the package's `guide(denoise, 3.0)` differ by {(yours - theirs).abs().max():.0e} on ten noisy points.")

# %% [markdown]
# Samplers ask a denoiser one question and never look inside, so nothing else has to change. And at a fixed `x_t` each row of chapter 04 is a number times `x0` plus a number times `x_t`. The second part drops out of the difference, so guiding `eps` or `v` instead is the same thing.
#
# Drag `w`, choose a kind. *What changes first, what changes last?*


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
# Chapter 05 left us with instruments: precision (is each sample plausible?), recall (is everything there?), the Fréchet distance (are the crowds alike?), and a classifier that can say whether it recognises what was asked for.

# %% tags=["core", "stage"]
predict(
    "guidance.cost", "At which w is the Fréchet distance to real pictures smallest?", ["0", "1", "2", "3", "5", "8"]
)

# %% tags=["core", "stage"]
kept = recorded("guidance")
ws = sorted({row["w"] for row in kept.rows})


def over_seeds(key, w, low=0.0):  # mean, and half a 95% interval from three seeds (Student's t, 2 degrees of freedom)
    values = torch.tensor([row[key] for row in kept.where(w=w, low=low)])
    return values.mean().item(), 4.303 * values.std().item() / len(values) ** 0.5


fig, (left, right) = figure(columns=2, height=2.7)
columns = {key: torch.tensor([over_seeds(key, w) for w in ws]).T for key in ("recognised", "precision", "recall")}
left.set(xlabel="guidance weight w", ylim=(0, 1.02), xlim=(-0.2, 11.5), title="shares")
lines(left, ws, {name: (v[0], v[1]) for name, v in columns.items()}, kinds=["baseline", "model", "data"])
values = torch.tensor([over_seeds("frechet", w) for w in ws]).T
right.set(
    xlabel="guidance weight w", ylim=(0, 1.1 * float(values[0].max())), xlim=(-0.2, 8.6), title="Fréchet distance"
)
lines(right, ws, {"": (values[0], values[1])}, kinds=["model"])
show(
    fig,
    alt="Left: three shares against the guidance weight, recognised, precision and recall. Right: the Fréchet distance against the guidance weight. Numbers follow in the table.",
    mark=kept.mark + "; bars: 95% interval from three sampling seeds",
)


# %% tags=["core", "stage"]
(test, kinds), (train, _) = fashion.load("test"), fashion.load("train")
m, cut = kept.rows[0]["n"], pick(smoke=600, laptop=10_000)
real, other = (features(x[:cut], classifier=classifier) for x in (test, train))
right_guess = guesses(classifier, test[:cut]) == kinds[:cut]
photographs = [
    f"{right_guess.float().mean():.1%}",
    *(f"{v:.2f}" for v in precision_recall(other[:m], real[:m])),
    f"{frechet(other[:m], real):.1f}",
]
rows = []
for w in ws:
    (hit, dh), *shares, (far, df) = (over_seeds(key, w) for key in ("recognised", "precision", "recall", "frechet"))
    rows.append(
        [f"{w:g}", f"{hit:.1%} ± {dh:.1%}", *(f"{v:.2f} ± {d:.2f}" for v, d in shares), f"{far:.1f} ± {df:.1f}"]
    )
table(["w", "recognised", "precision", "recall", "Fréchet distance"], [*rows, ["(photographs)", *photographs]])
lowest = ws[int(values[0].argmin())]
reveal(
    "guidance.cost",
    f"{lowest:g}",
    f"{values[0].min():.1f}; look at the intervals before you call its neighbours worse.",
)

# %% tags=["core", "stage"]
shirt = kinds[:cut] == 6
taken = torch.bincount(guesses(classifier, test[:cut][shirt]), minlength=10)
most = [k for k in taken.argsort(descending=True).tolist() if k != 6][:2]
say(
    f"Of **real** shirts the classifier recognises {taken[6] / shirt.sum():.0%} (n = {int(shirt.sum()):,}); it takes {taken[most[0]] / shirt.sum():.0%} for {fashion.NAMES[most[0]]}s and {taken[most[1]] / shirt.sum():.0%} for {fashion.NAMES[most[1]]}s."
)

# %% [markdown]
# So the label gets through, and variety is the price: at `w = 3` half of what there is in real clothes is gone, while each single picture is more plausible than before. As a copy of the world, nothing here beats the plain label. (That `w = 0` is worse has another reason: the null label had a tenth of the practice.)
#
# Now think about the classifier's verdict. That it recognises nearly all is no praise: real shirts are often taken for something else, and a model of *real* shirts ought to have that, too. Guidance draws caricatures, more typical than the kind is. That is precisely why it looks good in a gallery, where you see one picture at a time and never ask what is missing.
#
# ## Only in the middle
#
# Where on the walk does it help? For models of photographs, Kynkäänniemi and others (2024) propose: only in the middle. At the noisy end, where it is decided *which* shirt, exaggerating would pull every walk to the same few; at the clean end the kind is clear and there is nothing left to add. Is it so here? Our interval, 0.2 to 0.8, is a guess and not tuned; it saves a fifth of the calls.

# %% tags=["core", "stage"]
rows = []
for w in (3.0, 8.0):
    for low, where in ((0.0, "everywhere"), (0.2, "0.2 to 0.8")):
        numbers = [over_seeds(key, w, low) for key in ("recognised", "precision", "recall", "frechet")]
        texts = [f"{m:.0%} ± {100 * h:.0f}" for m, h in numbers[:1]] + [f"{m:.2f} ± {h:.2f}" for m, h in numbers[1:3]]
        rows.append([f"{w:g}", where, *texts, f"{numbers[3][0]:.1f} ± {numbers[3][1]:.1f}"])
table(["w", "levels t guided", "recognised", "precision", "recall", "Fréchet distance"], rows)
show(
    image_grid(
        torch.cat([draw(torch.arange(10), 8.0), draw(torch.arange(10), 8.0, interval=(0.2, 0.8))]),
        columns=10,
        rows=["everywhere", "0.2 to 0.8"],
    ),
    alt="Two rows of ten samples with weight 8 from the same noise: guided at all levels, and guided in the middle only.",
    mark=f"live: {steps} steps, seed 0; the table is {kept.mark}; ± half a 95% interval",
)

# %% tags=["core", "stage"]
for key, what in (("recall", "recall"), ("frechet", "distance")):
    pairs = zip(kept.where(w=8.0, low=0.2), kept.where(w=8.0, low=0.0), strict=True)  # same noise, seed by seed
    change = torch.tensor([inside[key] - everywhere[key] for inside, everywhere in pairs])
    half = 4.303 * change.std() / len(change) ** 0.5
    say(f"At w = 8, the middle only instead of everywhere changes the {what} by **{change.mean():+.2f} ± {half:.2f}**.")

# %% [markdown]
# A good bargain: nearly all of the obedience, for a fraction of the price. Exaggeration does most of its damage where there is hardly anything to see yet. Keep that in mind for the exact case below, where we shall see what goes wrong there.
#
# ## A published mistake: one name, two numbers
#
# The founding article gives the formula as
#
# > `predicted_noise = (1 + guidance_scale) · conditional_prediction − guidance_scale · unconditional_prediction`
#
# and files it under "2025 Innovations". The paper is from 2022, and its number is off by one from what most code calls so. Call the number in this formula `g` (the paper writes `w` for it, which is half of the trouble). Most code, and this course, count in `w = 1 + g`. Both are fine. Wrong is to take a number from one formula and put it into the other.
#
# One popular library for 3-D objects has *both*: an option `guidance_scale` which is `g` in one module and `w` in another. Users took it for a bug ([threestudio, issue 127](https://github.com/threestudio-project/threestudio/issues/127)); the answer was that for large values it makes little difference. At 7.5 that is nearly so. Where is it not?

# %% tags=["core"]
kinds_now = torch.arange(10).repeat(pick(smoke=1, laptop=20))


def recognised(w):
    return share(guesses(classifier, draw(kinds_now, w, seed=2)) == kinds_now)


hits = {w: recognised(w) for w in (0.0, 1.0, 2.0)}

# %% tags=["core", "stage"]
percent = {w: f"{v['value']:.0%} [{v['low']:.0%}, {v['high']:.0%}]" for w, v in hits.items()}
table(
    ["somebody types", "recognised, if the code counts in w", "if it counts in g"],
    [["0", percent[0.0], percent[1.0]], ["1", percent[1.0], percent[2.0]]],
)
say(f"<small>*live: n = {hits[1.0]['n']:,} each, {steps} steps, seed 2*</small>")

# %% [markdown]
# Zero is "ignore the label" in one code and "obey it" in the other. One question settles it: **what does 1 do?** If 1 is the plain label, the code counts in `w`. (Do not ask about 0: the most used library counts in `w`, but switches guidance off at or below 1, so that its 0 looks like the paper's.)
#
# ## What does it sample from?
#
# Here is the usual explanation. Call the kind `c`. By Tweedie's line (chapter 02) each answer gives a score, the gradient of a log density: one of `p(x|c)`, one of `p(x)`. By Bayes, `p(c|x)` is `p(x|c)/p(x)`, up to a constant; so the difference of the two is the gradient of `log p(c|x)`. With weight `w` one follows the gradient of
#
# $$\log\, p(x)\, p(c|x)^w,$$
#
# and the samples come from this sharpened density. It is the same as `p(x|c)^w p(x)^(1−w)`, and at `w = 1` it is `p(x|c)` itself. This is in many lectures, and in one dimension we can check it without a network: two kinds, both broad, overlapping. The exact answers with label and without are formulas, and so is the sharpened density.

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
    ["the same, up to the error of the steps", "further out than promised", "less far out than promised"],
)

# %% tags=["core"]
n_line, w_line = pick(smoke=500, laptop=20_000), 4.0
noise = prior(Linear(), (n_line, 1), Generator().manual_seed(3)).double()
labels = torch.ones(n_line, dtype=torch.long)
grid = uniform_grid(pick(smoke=10, laptop=300)).double()
got = {w: last(heun(guide(exact, w, null=2), noise, grid, cond=labels)) for w in (1.0, w_line)}
coarse = last(heun(guide(exact, w_line, null=2), noise, uniform_grid(pick(smoke=5, laptop=75)).double(), cond=labels))

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
reveal(
    "guidance.promise",
    "further out than promised" if x.mean() > m + 0.02 else "the same, up to the error of the steps",
    f"Promised mean {m:.2f} and std {s:.2f}; the samples have {x.mean():.3f} and {x.std():.2f}. It is not the steps: with a quarter of them the mean is {coarse.mean():.3f}.",
)

# %% [markdown]
# Where is the slip? The sharpened density is a statement about *clean* data. Noise it, and its score at level `t` is *not* the weighted sum of the noised scores: sharpening and blurring do not commute. Look at both at one level: the guided answer, and the exact denoiser of the sharpened density.

# %% tags=["core"]
level, at = torch.tensor(0.6, dtype=torch.float64), torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]
weight = promised(w_line)[None] * (-((at - 0.4 * line.T) ** 2) / (2 * 0.6**2)).exp()  # (points, line): Bayes
sharpened = (weight @ line) / weight.sum(1, keepdim=True)
ask = torch.ones(len(at), dtype=torch.long)
guided_here = guide(exact, w_line, null=2)(at, level, ask)
plain_here = exact(at, level, ask)

# %% tags=["core", "stage"]
fig, ax = figure(height=2.5)
ax.set(xlabel="x_t at t = 0.6", ylabel="x0_hat", xlim=(-2.5, 4.6), ylim=(-0.8, 4.0))
answers = {"guided": guided_here, "denoiser of p(x) p(c|x)^w": sharpened, "plain, w = 1": plain_here}
lines(ax, at[:, 0], {name: value[:, 0] for name, value in answers.items()}, kinds=["model", "exact", "data"])
show(
    fig,
    alt="Three curves of x0_hat against x_t at t = 0.6. The guided answer lies well above the exact denoiser of the sharpened density on the left, where the point looks like the other kind, and comes near it on the right.",
    mark="exact",
)

# %% [markdown]
# The clearest case is `t = 1`, where nothing is seen yet. The two answers are then the plain means, 0 without the label and 0.8 with it. So the guided answer is 4 × 0.8 = **3.2**, for every point, while the mean of the promised density is about 1.1. The walk sets out for the wrong place, is pulled back more and more as the point comes clear, and arrives before it has been pulled back all the way.
#
# So guidance does sample from something sharper, but not from *this* density; from none that anyone can write down in a line. There is work on what it does do (Bradley and Nakkiran, below). Until then, do not explain it by a formula that it does not obey.
#
# ## The control: a network that never practised
#
# Guidance needs an answer *without* label from a network that was trained to give one. What if nobody hid labels in training? The code runs just as well. Each label is a row in a table of numbers that the network learns (an *embedding*), and the row of the null label exists from the start, filled at random, trained or not. Two networks in the plane, four kinds, two spots each; one saw the null label in 15% of its training, the other never.

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
        right = (distance < 0.3) & ((spot % 4 == asked) | (w == 0))
        line_of += [f"{share(right)['value']:.1%}"]
    rows.append(line_of)
show(
    panels(clouds, kinds=["model"] * 3 + ["control"] * 3, marks=ring, limit=2.6, columns=3),
    alt="Six panels of points with crosses at eight spots on a circle. Labels hidden in training: with w = 0 the points gather at the spots and spread along the circle between them; with w = 1 they lie on the spots; with w = 3 they form short needles that point outwards from the spots. Never hidden: with w = 1 they lie on the spots; with w = 0 they form two smears off the spots; with w = 3 eight needles far outside.",
    mark=f"live: n = {marks:,} a panel, one training seed",
)
table(["in training", "in any spot, w = 0", "in a right spot, w = 1", "w = 3"], rows)

# %% [markdown]
# Look at the upper right panel first: needles that begin at the spots and point away from the middle. Further out and narrower: the overshoot of the exact case, by a trained network.
#
# Then the lower row. At `w = 1` the null label is never asked, so no test at `w = 1` can see that it was not practised. At `w = 0` the second network answers with a row of numbers that was never trained, and every difference from there points anywhere. The mistake is easily made where one person trains and another samples. The package asks the network for its null label, but whether it was *practised* this code cannot know. Draw at `w = 0` and look.
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
# Ten kinds of clothes are a poor stand-in for a sentence. With words, the network without guidance often ignores half of what was asked, and `w` is less a matter of taste than of being heard: chapter 14. Precision and recall are those of one small classifier's features, at one `n`. And the exact case has one dimension and two kinds; what becomes of the overshoot in many dimensions is disputed. That large pictures with a large `w` look burnt is seen daily; our one dimension does not explain it.
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
        ["Best Fréchet distance at", f"w = {lowest:g}", f"{values[0].min():.1f}; at w = 8 {values[0][-1]:.1f}"],
        [
            "Mean of guided samples, w = 4",
            f"{got[w_line].mean():.2f}",
            f"promised by p(x) p(c|x)^w: {moments(promised(w_line))[0]:.2f}",
        ],
        ["Null label never practised, w = 3", f"{rows[1][3]} in a right spot", f"practised: {rows[0][3]}"],
    ],
)

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Tim Salimans: *Classifier-Free Diffusion Guidance*, 2022, arXiv 2207.12598. Where the dial comes from.
# - Tuomas Kynkäänniemi, Miika Aittala, Tero Karras, Samuli Laine, Timo Aila, Jaakko Lehtinen: *Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models*, NeurIPS 2024, arXiv 2404.07724. Only in the middle.
# - Arwen Bradley, Preetum Nakkiran: *Classifier-Free Guidance is a Predictor-Corrector*, 2024, arXiv 2408.09000. What it does instead of what it is said to do.
#
# **Next, chapter 08** (still to be written; 09 can be read now)**:** the rival family of models, trained as a game of two, and what becomes of variety there.
