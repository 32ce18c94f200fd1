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
#     slug: targets
#     title: What to ask the network
#     claim: Five questions have the same exact answer, yet a network answers one of them crisply and drowns in another.
#     objectives:
#       - write any prediction as a row (a, b) and solve it for the data and the noise
#       - say how much an error in the answer costs, at each level
#       - compute the lowest possible loss, and judge a training run by it
#       - tell what a network outputs from where its error is counted
#     prerequisites: [start, forward, reverse, learned-denoiser]
#     minutes_compute: 2
#     hours_learner: 3.5
#     memory_gb: 1
#     data: [toy]
#     weights: []
#     exercises: [targets.solve, targets.gain, targets.min-snr, targets.floor]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 04 · What to ask the network
#
# **Five questions have the same exact answer, yet a network answers one of them crisply and drowns in another.**
#
# `compute 2 min` · `you 3.5 h` · `memory 1 GB` · live, except one table marked as recorded
#
# In chapter 03 the network was asked for the noise. Why the noise? We could have asked for the clean data, or for a mixture of both. On paper it makes no difference: whoever knows one knows the other. Let us see about that.
#
# Here is a world with something in common with pictures. Every sample has 128 numbers, but they are not free: all samples lie on one flat sheet, and on the sheet they form eight spots. Photographs are like this. A million pixels, and nearly every way of choosing them is not a photograph.
#
# Two networks will learn it. Same layers, same data, same seed, same number of steps. In the code one word changes.

# %%
from functools import partial

import torch
from torch import Generator

from minidiff import Denoiser, Linear, exact_denoiser, fit, fresh, heun, last, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data.toy import two_peaks
from minidiff.nn.mlp import MLP
from minidiff.predict import det, row
from minidiff.schedule import VP, Cosine, Karras, rho_grid
from minidiff.sweeps.targets import LEVELS, PLANE, sheet, sheet_loss, sheet_report

scale = start(needs="0.1")

# %% tags=["core"]
schedule, dim = Linear(), 128
frame = sheet(dim)  # (2, 128): how the sheet hangs in the big space


def train(word, dim, steps, loss_in=None, seed=0):
    hang = sheet(dim)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        denoise = Denoiser(MLP(dim, width=128, depth=3), schedule, word, sd=PLANE.sd)
    draw = fresh(lambda n, generator: PLANE.sample(n, generator) @ hang, 256, seed)
    *_, state = fit(denoise, draw, steps, loss=partial(sheet_loss, space=loss_in), decay_from=0.6, ema=0.998, seed=seed)
    state.ema.copy_to(denoise.net)
    return denoise


steps, n = pick(smoke=10, laptop=1500), pick(smoke=100, laptop=2000)
nets = {word: train(word, dim, steps) for word in ("x0", "eps")}

# %% tags=["core", "stage"]
start_at = LEVELS[1]  # t = 0.98: all levels that we train and use lie between 0.02 and 0.98
noise = prior(schedule, (n, dim), Generator().manual_seed(1), start_at)
clouds = {word: last(heun(net, noise, start_at * uniform_grid(50))) for word, net in nets.items()}
on_sheet = {word: x @ frame.T / frame[0].square().sum() for word, x in clouds.items()}
items = [("the data", PLANE.sample(n, Generator().manual_seed(0))), ('asked for "x0"', on_sheet["x0"])]
show(
    panels([*items, ('asked for "eps"', on_sheet["eps"])], kinds=["data", "model", "model"], limit=2.4),
    alt="Three square panels, each looking straight at the sheet. The data: eight round spots on a circle. Asked for x0: eight spots on a circle, with a few stray points between them. Asked for eps: points scattered evenly over the panel without any structure, most of them outside it.",
    mark=f"live: n = {n:,}, {steps:,} training steps each, seed 0",
)

# %% [markdown]
# Crisp spots, or fog. And this is the friendly view, looking at the sheet from straight above. Sideways it is worse: how far are the samples from the sheet itself, on which all data lies?

# %% tags=["core", "stage"]
reports = {word: sheet_report(x, frame) for word, x in clouds.items()}
table(
    ["asked for", "distance from the sheet", "in a spot"],
    [[f'"{word}"', f"{r['off_sheet']:.3f}", f"{r['in_mode']:.0%}"] for word, r in reports.items()]
    + [["(the data)", "0.000", "98.9%"]],
)

# %% [markdown]
# The drawing is about three units wide. So the second network does not merely blur the picture: it leaves the sheet by many times the picture's size. By the end of this chapter you will be able to say why, and predict it before training anything.
#
# ## A question is a row
#
# Take everything a network was ever asked in this field. The clean data `x0`. The noise `eps`. Something called `v`. A velocity. A scaled mixture that goes by the name of its authors' initials. Each of these is a sum of data and noise with two known numbers:
#
# $$y = a\,x_0 + b\,\varepsilon$$
#
# | name | a | b | in words |
# |---|---|---|---|
# | `x0` | 1 | 0 | the data |
# | `eps` | 0 | 1 | the noise |
# | `v` | −sigma | alpha | the noise, minus the data, crosswise |
# | `flow` | alpha′ | sigma′ | which way the path moves: for the straight path, `eps − x0` |
# | `edm` | sigma/c | −alpha sd²/c | what a best straight-line guess leaves over, at size 1 |
#
# Here c is only there to make the size 1: `c = sd √(alpha² sd² + sigma²)`. And the noisy point is a sum of the same two, `x_t = alpha x0 + sigma eps`. Two equations, two unknowns. You solved these at school; the answer divides by the determinant, and these four lines replace every conversion formula of the literature:


# %% tags=["core", "builds:predict.solve"]
def solve(a, b, alpha, sigma, x_t, y):  # y = a x0 + b eps, x_t = alpha x0 + sigma eps
    det = alpha * b - sigma * a
    x0_hat = (b * x_t - sigma * y) / det
    eps_hat = (alpha * y - a * x_t) / det
    return x0_hat, eps_hat


# %% tags=["core", "stage"]
generator, rows = Generator().manual_seed(2), []
x0, eps = torch.randn(2, 500, 2, generator=generator, dtype=torch.float64)
for name in ("x0", "eps", "v", "flow", "edm"):
    worst = 0.0
    for path in (Linear(), Cosine(), VP()):
        t = torch.tensor(0.37, dtype=torch.float64)
        a, b = row(name, path, t, 1.4)
        alpha, sigma = path.alpha(t), path.sigma(t)
        back, _ = solve(a, b, alpha, sigma, alpha * x0 + sigma * eps, a * x0 + b * eps)
        worst = max(worst, (back - x0).abs().max().item())
    rows.append([f"`{name}`", f"{worst:.0e}"])
table(["row", "largest error in x0_hat, three schedules"], rows)

# %% [markdown]
# So on paper all five are one. Given a perfect answer to any of them, you have the data exactly. This is the sense in which textbooks say that the choice does not matter.
#
# ## Nobody is perfect
#
# A network's answer is a little wrong. Let it say `y + error` instead of `y` and push the error through `solve`. It arrives in `x0_hat` multiplied by `sigma/det`, and in `eps_hat` multiplied by `alpha/det`. That is all there is to it, but look at what these factors do.

# %% tags=["core", "stage"]
predict(
    "targets.amplified",
    "A network asked for eps is wrong by 0.01. The point is almost pure noise, t = 0.98 on the straight path. How wrong is its x0_hat?",
    ["about 0.01", "about 0.5", "less than 0.01: the noise is nearly all there is, so it is easy to find"],
)

# %% tags=["core", "stage"]
t = torch.linspace(0.02, 0.98, 97)
fig, axes = figure(columns=2, height=2.9)
for ax, top, title in zip(axes, (schedule.sigma(t), schedule.alpha(t)), ("into x0_hat", "into eps_hat"), strict=True):
    ax.set(yscale="log", xlabel="noise level t", title=f"an error of 1 goes {title}", ylim=(0.008, 120), xlim=(0, 1.3))
    names = {"x0": "x0", "eps": "eps", "flow": "flow", "edm": "edm"}
    gains = {name: (top / det(word, schedule, t, PLANE.sd)).abs() for word, name in names.items()}
    lines(ax, t, gains, kinds=["data", "noise", "model", "baseline"])
show(
    fig,
    alt="Two panels of error factors against the noise level on a logarithmic axis. Into x0_hat: the x0 row stays at 1, eps climbs from 0.02 to 49, flow and edm rise to about 1. Into eps_hat: x0 falls from 49 to 0.02, eps stays at 1, flow and edm fall from about 1.",
    mark="exact: straight path (Linear)",
)

# %% tags=["core", "stage"]
level = torch.tensor(0.98)
gain = (schedule.sigma(level) / det("eps", schedule, level)).abs().item()
x_t = schedule.alpha(level) * 0.5 + schedule.sigma(level) * 0.3
right, _ = solve(0.0, 1.0, schedule.alpha(level), schedule.sigma(level), x_t, torch.tensor(0.30))
wrong, _ = solve(0.0, 1.0, schedule.alpha(level), schedule.sigma(level), x_t, torch.tensor(0.31))
reveal(
    "targets.amplified",
    "about 0.5",
    f"The factor there is {gain:.0f}: an error of 0.01 in the noise moved x0_hat by {abs(wrong - right).item():.2f}. Most of x_t is noise, so a small slip in the noise is as large as everything else.",
)

# %% [markdown]
# Read the two panels together. **`x0` is safe where there is much noise, `eps` where there is little.** Each is a strong language in one half of the walk and a weak one in the other. `flow`, `v` and `edm` are compromises: their factors never pass about one. At the very end of the straight path, `t = 1`, the noise row cannot be solved at all, for there `x_t` *is* the noise, and saying so gives away nothing about the data. The package refuses:

# %% tags=["core"]
try:
    nets["eps"](torch.zeros(1, dim), torch.tensor(1.0))
except ValueError as refusal:
    say(f"`{refusal}`")

# %% [markdown]
# So much explains why our second network had a hard time at the start of its walk. It does not yet explain fog of *that* size. For this we need to know what could have been expected.
#
# ## Is my loss right?
#
# You start a training run, and after a minute the loss is 0.31. Is that good? Everyone who trains these models asks that, and most guess. In a world that we know, the question has an exact answer. The best possible network returns the average of all answers that fit. What it still pays is the spread of those answers, and that nobody can avoid:
#
# - in `x0`, the variance of the data given the noisy point, averaged over noisy points;
# - in any other row, the same number times `(det/sigma)²`, since at fixed `x_t` an error in `x0` is an error in `y`, times `det/sigma`.

# %% tags=["core"]
generator = Generator().manual_seed(3)
some = PLANE.sample(4000, generator)


def unavoidable(word, t):  # t: () -> the lowest possible mean loss of that row at level t
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x_t = alpha * some + sigma * torch.randn(some.shape, generator=Generator().manual_seed(4))
    chance, means, stds = PLANE.parts(x_t, alpha, sigma)  # (B, K), (B, K, 2), (B, K): the exact posterior
    mean = (chance[:, :, None] * means).sum(1, keepdim=True)
    spread = (chance[:, :, None] * ((means - mean) ** 2 + stds[:, :, None] ** 2)).sum(1)  # (B, 2)
    return spread.mean() * (det(word, schedule, t) / sigma) ** 2


# %% [markdown]
# Now four runs in the plane itself, two numbers a sample, no sheet. Three are honest and differ in the row. The fourth asks for `x0` too, but its author made a mistake that is easily made: the network is told the noise level of *another* sample of the batch. All four run without an error message.

# %% tags=["core", "stage"]
predict(
    "targets.which-loss",
    "You see the final losses of the four runs, and nothing else. Which one is broken?",
    ["the one with the highest loss", "the one with the lowest loss", "one cannot know without the floors"],
)


# %% tags=["core"]
def learn(word, steps, broken=False):
    def loss(denoise, batch, generator):
        if broken:  # the level that the network hears belongs to its neighbour
            denoise = Denoiser(lambda x, ell, cond: net(x, ell.roll(1)), schedule, word, PLANE.sd)
        return sheet_loss(denoise, batch, generator)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP(2, width=64, depth=2)
    denoise, draw = Denoiser(net, schedule, word, sd=PLANE.sd), fresh(PLANE.sample, 512)
    return [(s.step, s.loss) for s in fit(denoise, draw, steps, loss=loss, every=max(1, steps // 30), ema=0.99)]


runs = {"eps": "eps", "x0": "x0", "flow": "flow", "x0, broken": "x0"}
short = pick(smoke=8, laptop=900)
curves = {name: learn(word, short, "broken" in name) for name, word in runs.items()}
ts = torch.linspace(*LEVELS, 97)
floors = {name: torch.stack([unavoidable(word, t) for t in ts]).mean().item() for name, word in runs.items()}

# %% tags=["core", "stage"]
fig, axes = figure(columns=4, height=2.5)
for ax, (name, points) in zip(axes, curves.items(), strict=True):
    at, losses = zip(*points, strict=True)
    ax.axhline(floors[name], color=COLOURS["exact"], dashes=(4, 2), linewidth=1.2)
    ax.fill_between([0, short], 0, floors[name], color=COLOURS["exact"], alpha=0.06, linewidth=0)
    ax.plot(at, losses, color=COLOURS["control" if "broken" in name else "model"])
    ax.set(ylim=(0, 2.1), xlim=(0, short), xlabel="step", title=name, xticks=[0, short])
    ax.annotate(
        f"floor {floors[name]:.2f}", (short, floors[name]), (0, -11), textcoords="offset points", ha="right", fontsize=8
    )
axes[0].set_ylabel("training loss")
show(
    fig,
    alt="Four training curves, each with its floor as a dashed line over a shaded band that no network can enter. The three honest runs fall to their floors and stay just above them, at three different heights. The broken run stays well above the floor of its row.",
    mark=f"live: {short} steps of 512, one seed; floors exact up to n = 4,000 noisy points a level",
)
ends = {name: sum(loss for _, loss in points[-5:]) / 5 for name, points in curves.items()}

# %% tags=["core", "stage"]
table(
    ["run", "final loss", "floor", "above the floor"],
    [[k, f"{ends[k]:.3f}", f"{floors[k]:.3f}", f"{ends[k] / floors[k] - 1:+.0%}"] for k in runs],
)
reveal(
    "targets.which-loss",
    "one cannot know without the floors",
    f"The broken run ends at {ends['x0, broken']:.2f}, the honest flow at {ends['flow']:.2f}, and the honest x0 at {ends['x0']:.2f}. Heights of losses in different rows cannot be compared, and the broken run's looks like any other.",
)

# %% [markdown]
# This is worth keeping as a habit. A loss means nothing alone. It means something beside the loss of the exact denoiser; and where the data is too rich to know that, beside the loss of the *same* row, on the *same* levels, in a run that you trust. A loss **below** the floor is even better news for a detective: then the test data has leaked, or the loss is not what you think it is.
#
# ## Be the network
#
# You have read a lot about unavoidable error. Now pay it yourself. The world is one number again, near −1 with probability 0.7, near +1 with 0.3. You are given `x_t` and the level, as a network is. Drag `guess` to where you believe `x0` is. Your price is exact: the squared error, averaged over everything that could have been there. Set `answer` to *hidden*, pick a round, guess, and only then look. *Can you beat the floor in any round? In which rounds is it easy to get near it, and where does your hand want to choose a side?*

# %% tags=["core"]
peaks = two_peaks()
xs = torch.linspace(-2, 2, 401)[:, None]


def deal(round):
    generator = Generator().manual_seed(100 + round)
    t = 0.15 + 0.7 * torch.rand((), generator=generator)
    return t, schedule.alpha(t) * peaks.sample(1, generator) + schedule.sigma(t) * torch.randn(
        1, 1, generator=generator
    )


def price(round, guess):
    t, x_t = deal(round)
    chance, means, stds = peaks.parts(x_t, schedule.alpha(t), schedule.sigma(t))
    mean = (chance * means[..., 0]).sum().item()
    floor = (chance * ((means[..., 0] - mean) ** 2 + stds**2)).sum().item()
    return floor, (guess - mean) ** 2, mean  # unavoidable, avoidable


# %% tags=["core", "stage"]
def draw(round, guess, answer):
    t, x_t = deal(round)
    fig, ax = figure(height=2.3)
    filled(ax, xs[:, 0], peaks.log_prob(xs).exp(), "data")
    ax.text(1.0, 0.7, "where data is", color=COLOURS["data"], fontsize=8.5, ha="center")
    ax.plot(x_t.item(), 0, "^", color=COLOURS["noise"], markersize=10, clip_on=False)
    ax.axvline(guess, color=COLOURS["model"])
    title = f"round {round}: x_t = {x_t.item():.2f} at t = {t:.2f}; you say x0 = {guess:.2f}"
    if answer == "shown":
        log_p = peaks.log_prob(xs) - ((x_t - schedule.alpha(t) * xs) ** 2).squeeze(1) / (2 * schedule.sigma(t) ** 2)
        could = torch.softmax(log_p, 0) / 0.01
        filled(ax, xs[:, 0], could / could.max() * 1.6, "exact", "could be true")
        floor, extra, mean = price(round, guess)
        title += f"\nyou pay {floor + extra:.2f} on average: {floor:.2f} unavoidable + {extra:.2f} yours (best guess {mean:.2f})"
    ax.set(xlim=(-2, 2), ylim=(0, 2.1), yticks=[], xlabel="x0", title=title)
    return fig


def describe(round, guess, answer):
    floor, extra, mean = price(round, guess)
    known = f" You pay {floor + extra:.2f}, of which {floor:.2f} is unavoidable." if answer == "shown" else ""
    return f"Round {round}: the data's two peaks, the noisy point and your guess of {guess:.2f} as a line.{known}"


play(draw, round=(1, 12, 1, 8), guess=(-1.5, 1.5, 0.05, 1.0), answer=["shown", "hidden"], alt=describe)

# %% [markdown]
# Most people bet on a side. The network may not afford that: it is paid in squares, and a middling guess that is never right loses less than a bold one that is sometimes wrong. Fog is what honesty looks like in one call.
#
# ## Two knobs, not one
#
# Back to the sheet. We changed one word, but in truth two things changed with it: *what the network puts out*, and *in which units its error is counted*, for we paid each network in its own language. These are two separate knobs. A network may put out `x0` and still pay for the error of the `flow` that follows from it; the package's `loss(..., space="flow")` multiplies by the square of `det` over `det`, and nothing else.
#
# Three outputs times three currencies is nine networks, and we trained all nine, in spaces of three sizes. The drawing on the sheet is always the same.

# %% tags=["core", "stage"]
predict(
    "targets.two-knobs",
    "In 128 dimensions, which knob decides between crisp and fog?",
    ["the currency: where the error is counted", "the output: what the network says", "only the two together"],
)

# %% tags=["core", "stage"]
kept, words, dims = recorded("targets"), ("x0", "eps", "flow"), (2, 16, 128)


def cell(dim, pred, space, width=128, key="in_mode"):
    values = torch.tensor([r[key] for r in kept.where(dim=dim, pred=pred, space=space, width=width)])
    return values.mean().item(), values.std().item()


fig, axes = figure(columns=3, height=2.5)
for ax, dim_ in zip(axes, dims, strict=True):
    grid = [[cell(dim_, pred, space)[0] for space in words] for pred in words]
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=1.4)
    for i, pred in enumerate(words):
        for j, space in enumerate(words):
            mean, sd = cell(dim_, pred, space)
            ax.text(j, i, f"{mean:.0%}\n±{100 * sd:.0f}", ha="center", va="center", fontsize=8.5)
    ax.set(xticks=range(3), xticklabels=words, yticks=range(3), yticklabels=words, title=f"{dim_} dimensions")
    ax.set_xlabel("error counted in")
    ax.grid(False)
axes[0].set_ylabel("network says")
show(
    fig,
    alt="Three tables of nine cells, the share of samples in a spot. In 2 dimensions the x0 row is near 50% throughout, and in the eps and flow rows the column of eps is best, above 80%. In 16 dimensions x0 paid in x0 and flow paid in eps are best. In 128 dimensions x0 paid in x0 has 94%, flow at most 55%, and the eps row is near 0.",
    mark=kept.mark + "; mean ± standard deviation of the training seeds",
)

# %% tags=["core", "stage"]
best = {word: max(cell(128, word, space)[0] for space in words) for word in words}
away = {word: [cell(128, word, space, key="off_sheet")[0] for space in words] for word in words}
spans = {word: f"{min(a):.2g} to {max(a):.2g}" for word, a in away.items()}
reveal(
    "targets.two-knobs",
    "the output: what the network says",
    f"Off the sheet, over the three currencies: {spans['x0']} for a network that says x0, {spans['flow']} for flow, {spans['eps']} for eps.",
)
wide = {word: cell(128, word, word, 512) for word in words}
narrow = {word: cell(128, word, word, 128, "off_sheet")[0] for word in words}
broad = {word: cell(128, word, word, 512, "off_sheet")[0] for word in words}
table(
    ["network says (and pays in)", "off the sheet, 128 wide", "512 wide", "in a spot, 128 wide", "512 wide"],
    [[w, f"{narrow[w]:.2g}", f"{broad[w]:.2g}", f"{cell(128, w, w)[0]:.0%}", f"{wide[w][0]:.0%}"] for w in words],
)

# %% [markdown]
# The distances settle the bet: the output moves them by factors of thirty and of a thousand, the currency by two. Count what the network has to carry. To say `x0`, it must put out a point of the sheet: *two* numbers' worth, however many dimensions there are around. To say `eps`, it must put out 128 independent numbers, each of which it has just been given, and every one must come out unharmed, since `solve` multiplies what is missing by up to 49. Our network has 128 channels inside, and they are busy with other things. The control in the last table gives it four times as many: then even `eps` comes back to the sheet, though not to the spots.
#
# So the rule of thumb is not "predict the noise", nor "predict the data". It is: *ask for what a network of this size can say.* In the plane, where each can say everything, it is the `x0` network that draws the worst spots at its best: its slips are amplified where little noise is left. Large patches in narrow transformers cannot say the noise, and newer ones have gone back to asking for the data (Li and He, below, found this table on photographs).
#
# And the currency? It decides how well the spots are drawn, and there is no best one for all. In the plane the currency of `eps`, in which the clean levels are dear, doubles what an `eps` network gets from that of `x0`. An `x0` network gains nothing by it, and in 128 dimensions it loses most of its spots. The currency is a question of emphasis: which levels shall be practised. The output is a question of possibility.
#
# ## One network, every schedule
#
# A last consequence of looking at it as two equations. A network never sees a schedule. It sees a scaled point and `ell = log sigma − log alpha`. Two schedules that agree on `sigma/alpha` show it the *same picture* at another brightness. So a network trained on one can be used on any other: find the level with the same ratio, and rescale the point. For a network of the straight path, with `sigma/alpha = s/(1−s)`:


# %% tags=["core", "builds:predict.Denoiser"]
def on_another_schedule(denoise, other):  # denoise was trained on Linear
    def rescaled(x, t, cond=None):
        ratio = other.sigma(t) / other.alpha(t)
        s = ratio / (1 + ratio)  # Linear's level with the same sigma / alpha
        return denoise(x * (1 - s) / other.alpha(t), s, cond)

    return rescaled


# %% tags=["core"]
karras = Karras()  # alpha = 1, sigma up to 80: nothing is ever shrunk, noise is only added
x = 5 * torch.randn(300, 2, generator=Generator().manual_seed(5), dtype=torch.float64)
t = torch.tensor(0.01, dtype=torch.float64)  # sigma = 0.8
difference = (
    (on_another_schedule(exact_denoiser(PLANE, schedule), karras)(x, t) - exact_denoiser(PLANE, karras)(x, t))
    .abs()
    .max()
)
grid = rho_grid(18, low=0.0204 / 80, high=48 / 80)  # sigma from 48 to 0.02: the ratios of our t = 0.98 and 0.02
noise = prior(karras, (n, dim), Generator().manual_seed(7), grid[0].item())
moved = last(heun(on_another_schedule(nets["x0"], karras), noise, grid, karras))
there = sheet_report(moved, frame)
say(
    f"The exact denoisers of both schedules agree to **{difference:.0e}**. The network that was trained on the straight path, walked along EDM's schedule in {2 * 18 - 1} calls: **{there['in_mode']:.0%}** in a spot (on its own schedule, 99 calls: {reports['x0']['in_mode']:.0%}), {there['off_sheet']:.3f} off the sheet."
)

# %% [markdown]
# The schedule, then, is two choices that are often sold as one. In training it decides which levels are practised how often. In sampling it decides where the steps fall. It is not a property of the network, and papers that compare schedules by training a new network for each compare the practice.
#
# ## A published mistake
#
# A popular recipe for training caps the weight of easy levels: in `x0`'s currency, each level should weigh `min(SNR, 5)`, where SNR is `alpha²/sigma²` (Hang et al. 2023). Many networks are asked for `v`, so the weight must be converted. From October to December 2023 the training examples of the most used library had it as
#
# > `min(SNR + 1, 5) / (SNR + 1)`
#
# and shortly before that as `min(SNR, 5) / SNR + 1`. Both were merged as fixes, both trained without complaint, and images came out. You have the tool to see it in one line: an error in `v` is an error in `x0` times `det/sigma`, and for `v` on a variance-preserving schedule `det` is 1. What weight did `x0` really get?

# %% tags=["core", "stage"]
path, t = Cosine(), torch.linspace(0.02, 0.995, 196)
snr = (path.alpha(t) / path.sigma(t)) ** 2
weights = {
    "intended": snr.clamp(max=5) / (snr + 1),
    "first fix": snr.clamp(max=5) / snr + 1,
    "second fix": (snr + 1).clamp(max=5) / (snr + 1),
}
on_x0 = {name: weight * (det("v", path, t) / path.sigma(t)) ** 2 for name, weight in weights.items()}
fig, ax = figure(height=2.6)
ax.set(yscale="log", xlabel="noise level t (cosine)", ylabel="weight of an error in x0")
ax.set(xlim=(0, 1.18), ylim=(2e-5, 2e3))
lines(ax, t, on_x0, kinds=["exact", "control", "baseline"])
show(
    fig,
    alt="Weight of an error in x0 against the noise level. The intended curve is flat at 5 and then falls to zero near t = 1. The first published formula keeps rising towards t = 0 and levels off at 2 near t = 1; the second is flat at 5 and levels off at 1.",
    mark="exact",
)
late = (snr < 1).float().argmax().item()
say(
    f"At t = {t[-1]:.3f} the intended weight is **{on_x0['intended'][-1]:.4f}**, the second fix gives **{on_x0['second fix'][-1]:.2f}**, the first **{on_x0['first fix'][-1]:.2f}**. Both agree with the intention at t = {t[late]:.2f} within a factor of {max(on_x0[k][late] / on_x0['intended'][late] for k in ('first fix', 'second fix')):.1f}."
)

# %% [markdown]
# The first fix caps nothing. The second one caps, but where hardly anything is left of the data it weighs every error fully, although nobody can know `x0` there. Neither is a catastrophe, and so neither was noticed by looking at pictures. The thread that found it is a pleasure to read: [diffusers, issue 5654](https://github.com/huggingface/diffusers/issues/5654), after pull requests 5096 and 5238. Exercise 3 lets you derive the right one.
#
# ## Exercises
#
# **1 · Two answers, no point** (difficulty 1 of 3, 10 minutes). Two networks looked at the same point, which you do not see. One was asked in the row `(a, b)` and says `y`, the other in the row `(c, d)` and says `z`; `y` and `z` are `(B, D)`, the rest are numbers. What was `x0`, if both are right?


# %% tags=["core"]
def my_x0_hat(a, b, c, d, y, z):
    raise NotImplementedError


check("targets.solve", my_x0_hat)

# %% [markdown]
# **2 · The price of a slip** (difficulty 2, 10 minutes). The network's answer in row `(a, b)` has a root mean square error `r`. How large is the error of `eps_hat`? All are tensors of shape `(B,)`.


# %% tags=["core"]
def my_eps_error(a, b, alpha, sigma, r):
    raise NotImplementedError


check("targets.gain", my_eps_error)

# %% [markdown]
# **3 · Weigh it rightly** (difficulty 2, 20 minutes). In the currency of `x0` each level shall weigh `min(SNR, 5)`. Your loss is computed in `v`. Which weight must it get? `alpha` and `sigma` are `(B,)`, with `alpha² + sigma² = 1`.


# %% tags=["core"]
def my_v_weight(alpha, sigma):
    raise NotImplementedError


check("targets.min-snr", my_v_weight)

# %% [markdown]
# **4 · The floor of any row** (difficulty 3, 20 minutes). The exact posterior at one noisy point has chances `(K,)`, means `(K,)` and standard deviations `(K,)`. What does the best answer in row `(a, b)` still pay there?


# %% tags=["core"]
def my_floor(chance, means, stds, a, b, alpha, sigma):
    raise NotImplementedError


check("targets.floor", my_floor)

# %% [markdown]
# ## What this does not show
#
# A multilayer perceptron on a flat sheet is a caricature. Real data lies on something curved, with no clear number of dimensions, and the networks of chapter 05 have bridges that carry the noise past the bottleneck: for them, `eps` is much less of a burden. What the caricature keeps is the order of the argument: first what the network can say, then how its slips are amplified, then how levels are weighed. Nine cells with one width and one length of training are nine points, not a law; at ten times the steps some of them will move. And we had the floor because we had the truth. In chapter 05 there is no truth, and the loss will stop telling us much.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        [
            "One word changed, 128 dimensions",
            f"x0: {reports['x0']['in_mode']:.0%} in a spot",
            f"eps: {reports['eps']['in_mode']:.0%}, {reports['eps']['off_sheet']:.0f} off the sheet",
        ],
        ["An error of 0.01 in eps at t = 0.98", f"{abs(wrong - right).item():.2f} in x0_hat", f"factor {gain:.0f}"],
        [
            "Is the flow run's loss right?",
            f"{ends['flow'] / floors['flow'] - 1:+.0%} above its floor",
            f"told wrong levels: {ends['x0, broken'] / floors['x0, broken'] - 1:+.0%}",
        ],
        [
            "Output or currency, 128 dimensions?",
            f"x0 best {best['x0']:.0%}",
            f"eps best {best['eps']:.0%}, flow best {best['flow']:.0%}",
        ],
        ["Moved to another schedule", f"{there['in_mode']:.0%} in a spot", f"its own: {reports['x0']['in_mode']:.0%}"],
    ],
)

# %% [markdown]
# ## To read
#
# - Tim Salimans, Jonathan Ho: *Progressive Distillation for Fast Sampling of Diffusion Models*, ICLR 2022, arXiv 2202.00512. Where `v` comes from, and why a fragile language stops mattering only as long as steps are small.
# - Tero Karras, Miika Aittala, Timo Aila, Samuli Laine: *Elucidating the Design Space of Diffusion-Based Generative Models*, NeurIPS 2022, arXiv 2206.00364. Takes every choice apart; the last row of our table is theirs.
# - Tianhong Li, Kaiming He: *Back to Basics: Let Denoising Generative Models Denoise*, 2025, arXiv 2511.13720. The nine cells on photographs, and the sheet that gave us ours.
#
# **Next, chapter 05:** sixty thousand pictures of clothes. The points get 784 dimensions, the network gets eyes, and the loss gets stubborn.
