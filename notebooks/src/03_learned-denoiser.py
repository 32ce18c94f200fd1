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
#     slug: learned-denoiser
#     title: The learned denoiser
#     claim: Ask a network which noise is in this point, punish squared errors, and it becomes the exact denoiser, the average of all answers.
#     objectives:
#       - write the training loop of a diffusion model by hand
#       - say why the loss stops above zero, and compute where
#       - tell the mean from a sample, and the total noise from a step's noise
#       - send a picture up to level t and back, and predict what returns
#     prerequisites: [reverse]
#     minutes_compute: 2
#     hours_learner: 2
#     memory_gb: 1
#     data: [toy, fashion]
#     weights: [toy-mlp, fashion-unet, fashion-classifier]
#     exercises: [learned-denoiser.loss, learned-denoiser.from-eps, learned-denoiser.irreducible, learned-denoiser.one-step]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 03 · The learned denoiser
#
# **Ask a network which noise is in this point, punish squared errors, and it becomes the exact denoiser, the average of all answers.**
#
# `compute 2 min` · `you 2 h` · `memory 1 GB` · small networks are trained live; those for pictures, and `toy-mlp`, are shipped
#
# Chapter 02 walked from noise to data with a formula. For all the clothes that there could be, nobody has one. Below, a network with shipped weights takes its place. The top row are eight pictures that it has never seen. In the second row they are drowned in noise, up to `t = 0.8`. Then the network is asked once (third row), and then sixteen times, in the small steps of chapter 02 (fourth row).

# %%
import torch
from torch import Generator

from minidiff import Betas, Denoiser, ddim, exact_denoiser, fit, fresh, last, load, pick, prior, solve, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.data.toy import grid25, two_peaks
from minidiff.measure.modes import mode_report
from minidiff.measure.proportion import share
from minidiff.nn.mlp import MLP
from minidiff.schedule import add_noise, ell
from minidiff.train.fit import denoising_loss

scale = start(needs="0.1")

# %% tags=["core"]
unet, (images, labels) = load("fashion-unet"), fashion.load("test")  # on the schedule `Linear`
eight = images[[next(i for i in range(20, 400) if labels[i] == kind) for kind in (9, 3, 1, 8, 2, 5, 7, 0)]]


def up_and_back(x0, t, seed):
    generator, level = Generator().manual_seed(seed), torch.tensor(t)
    x_t = add_noise(unet.schedule, x0, torch.randn(x0.shape, generator=generator), level)
    with torch.no_grad():
        once = unet(x_t, level)  # x0_hat: one call
    steps = ddim(unet, x_t, uniform_grid(round(20 * t), start=t), eta=1, generator=generator)
    return x_t, once, last(steps)


# %% tags=["core", "stage"]
rows = torch.cat([eight, *up_and_back(eight, 0.8, seed=0)])
show(
    image_grid(rows, columns=8, rows=["original", "t = 0.8", "one call", "16 calls"]),
    alt="Eight pieces of clothing; below them nearly pure noise; below that blurred, ghostly shapes of a shoe, a coat, trousers, a bag; in the last row sharp pictures of similar but not the same clothes.",
    mark="live: 8 test images, seed 0, shipped weights",
)

# %% [markdown]
# Two things are odd. Asked once, the network returns fog: not a shoe, but something like all shoes. Asked sixteen times, it returns crisp clothes, but *not the ones you put in*: look at the sneaker, second from the right. Both rows are the work of one network, and it was only ever asked one question.
#
# To see what it learned, we go back to where the right answer is known. (A word on levels. Two schedules meet in this chapter, and `t` means another thing on each. `fashion-unet` and `toy-mlp` live on `Linear`, and their question is the row `flow` of chapter 04. The networks that you train below live on DDPM's table and are asked for `eps`. Where it matters we give `ell` too.)
#
# ## A question with a known answer
#
# One number again: `x0` is near −1 with probability 0.7, near +1 with probability 0.3. Pretend that we do not know this and only have samples. The whole of training is a game between a dealer and a network:
#
# 1. The dealer draws `x0`, a level `t`, and noise `eps`, and mixes `x_t = alpha x0 + sigma eps`.
# 2. The network sees `x_t` and `t`. It must say which `eps` is in there.
# 3. It pays the squared error.
#
# Nobody computes a posterior, and nobody ever tells the network an average. Here is the payment. Two lines are housekeeping: the input is scaled to size 1 at every level (`sd` is the standard deviation of the data), and the level is told as `ell = log(sigma/alpha)`.

# %% tags=["core", "builds:predict.loss"]
schedule, source = Betas(), two_peaks()  # DDPM's table


def loss(net, x0, eps, t):  # x0, eps: (B, 1), t: (B,)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]  # (B, 1)
    x_t = alpha * x0 + sigma * eps
    scale = (alpha**2 * source.sd**2 + sigma**2).rsqrt()
    eps_hat = net(scale * x_t, ell(schedule, t))
    return ((eps_hat - eps) ** 2).mean(1)  # (B,)


# %% tags=["core", "stage"]
predict(
    "learned-denoiser.floor",
    "A network that always says 0 pays 1 on average. Train a good one for as long as you like. Its loss goes to",
    [
        "zero",
        "a floor above zero, the same for every network that sees x_t and t",
        "a floor above zero, and a larger network has a lower one",
    ],
)

# %% [markdown]
# And here is the training. There is no more to it, in this chapter or in a model that makes films.

# %% tags=["core"]
steps = pick(smoke=30, laptop=1000)
levels, line = (0.05, 0.2, 0.4), torch.linspace(-2, 2, 161)[:, None]
keep = sorted({round(10 * (steps / 10) ** (i / 17)) for i in range(18)})  # when to look
torch.manual_seed(0)  # the first weights
net = MLP(dim=1, width=64, depth=2)
by_hand = Denoiser(net, schedule, pred="eps", sd=source.sd)  # from eps_hat to x0_hat: exercise 2
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
generator, history, snapshots = Generator().manual_seed(1), [], {}

# %% tags=["core"]
for step in range(1, steps + 1):
    x0 = source.sample(256, generator)
    eps = torch.randn(x0.shape, generator=generator)
    t = torch.rand(256, generator=generator)
    error = loss(net, x0, eps, t).mean()
    optimizer.zero_grad()
    error.backward()
    optimizer.step()
    history.append(error.item())
    if step in keep:
        with torch.no_grad():
            snapshots[step] = [by_hand(line, torch.tensor(level)) for level in levels]

# %% [markdown]
# Watch it learn. Dashed is the exact denoiser of chapter 02, at three levels; orange is the network. Step through the film: *which level is learned first, which last?* And keep an eye on the loss above each picture: *what does it do while the curves still move?*

# %% tags=["core", "stage"]
exact = exact_denoiser(source, schedule)


def frame(step):
    fig, axes = figure(columns=3, height=1.5, width=3.4)
    for ax, level, learned in zip(axes, levels, snapshots[step], strict=True):
        ax.plot(line, learned, color=COLOURS["model"], linewidth=2.4)
        ax.plot(line, exact(line, torch.tensor(level)), color=COLOURS["exact"], dashes=(4, 2), linewidth=1.2)
        ax.set(title=f"t = {level}", xlim=(-2, 2), ylim=(-2.2, 2.2), xticks=[-1, 1], yticks=[-1, 1])
        ax.label_outer()
    return figure_frame(fig)


def recent(step):  # the mean loss of the last 50 steps
    last_ones = history[max(0, step - 50) : step]
    return sum(last_ones) / len(last_ones)


# %% tags=["core", "stage"]
slideshow(
    [frame(step) for step in snapshots],
    [f"step {step:,}, loss {recent(step):.2f}" for step in snapshots],
    alt="The network's x0_hat as a function of x_t, at three levels side by side, with the exact one dashed: first nearly straight lines, then bent ones, at last curves close to the dashed ones, at t = 0.05 almost a straight line with a bend in its middle, at 0.2 an S, at 0.4 a gentle slope.",
    mark=f"live: {steps:,} steps of 256 samples, seeds 0 and 1",
)

# %% [markdown]
# The loss falls within a few hundred steps and then hardly moves, while the curves go on moving. A loss that looks finished is not a network that is finished. To see the rest, we must know what the loss is made of.
#
# ## Why the loss does not go to zero
#
# At one and the same `x_t`, the dealer had many noises in hand: a large `eps` on a small `x0`, or the other way round. The network can give one answer only. Whatever it says, it pays for the spread of what it could not know. Let us charge three things on the same cards: the network's error, the *exact* denoiser's error, and the distance between the two.


# %% tags=["core"]
cards = pick(smoke=300, laptop=20000)


def bill(denoise, t, n=cards):
    generator, t = Generator().manual_seed(7), torch.tensor(t)
    x0 = source.sample(n, generator)
    eps = torch.randn(x0.shape, generator=generator)
    x_t, alpha, sigma = add_noise(schedule, x0, eps, t), schedule.alpha(t), schedule.sigma(t)
    with torch.no_grad():
        mine, best = ((x_t - alpha * guess(x_t, t)) / sigma for guess in (denoise, exact))  # eps_hat of both
    return torch.stack([(mine - eps) ** 2, (best - eps) ** 2, (mine - best) ** 2]).squeeze(2)  # (3, n)


# %% tags=["core", "stage"]
ts = [round(0.02 + 0.04 * i, 2) for i in range(25)]
bills = torch.stack([bill(by_hand, t) for t in ts])  # (levels, 3, n)
means, errors = bills.mean((0, 2)), bills.mean(0).std(1) / cards**0.5
reveal(
    "learned-denoiser.floor",
    "a floor above zero, the same for every network that sees x_t and t",
    f"The network pays {means[0]:.4f}. The exact denoiser itself pays **{means[1]:.4f} ± {errors[1]:.4f}** (standard error, n = {cards:,} at each of 25 levels).",
)
table(
    ["network's loss", "the floor: exact denoiser's loss", "distance², network to exact", "floor + distance²"],
    [[f"{v:.4f}" for v in (*means, means[1] + means[2])]],
)

# %% [markdown]
# The first number and the last agree. It is Pythagoras: what is left over after the best guess, `eps − E[eps | x_t]`, is unrelated to anything that can be computed from `x_t`, so the two squares add up.
#
# $$\underbrace{E\,|\hat\epsilon - \epsilon|^2}_{\text{loss}} \;=\; \underbrace{E\,|E[\epsilon|x_t] - \epsilon|^2}_{\text{floor}} \;+\; \underbrace{E\,|\hat\epsilon - E[\epsilon|x_t]|^2}_{\text{distance to the exact answer}}$$
#
# Read it from right to left and the chapter's claim falls out. No network can touch the floor. All that training can shrink is the distance to `E[eps | x_t]`, and so to the posterior mean `x0_hat`, which is the same belief in other units (exercise 2). **It is taught by samples and ends at their mean, without ever having seen one.** It also explains the bored loss curve: almost all of the number is floor.
#
# Where is the floor high? Think before you look: at `t` near 0, what could give away the noise?

# %% tags=["core", "stage"]
fig, (left, right) = figure(columns=2, height=2.5)
loss_by_t, floor_by_t, squared = bills.mean(2).T
left.plot(ts, loss_by_t, color=COLOURS["model"], marker="^", linewidth=0)
left.plot(ts, floor_by_t, color=COLOURS["exact"], dashes=(4, 2))
left.annotate("triangles: the network's loss\ndashes: the floor", (0.36, 0.78), fontsize=8.5)
left.set(xlabel="t", ylabel="loss", ylim=(0, 1.05))
right.plot(ts, squared.sqrt(), color=COLOURS["model"], marker="^")
right.set(xlabel="t", ylabel="distance in eps_hat (rms)", ylim=(0, None))
show(
    fig,
    alt="Left: the network's loss by level lies on the dashed floor, which starts near 1 at t = 0, falls, has a second, lower hump near t = 0.2 and ends at 0. Right: the distance to the exact answer is largest at small t.",
    mark=f"live: n = {cards:,} for each level, seed 7",
)

# %% [markdown]
# Near `t = 0` the noise is hidden inside the width of a peak, and nobody can name it. Near `t = 1` the point *is* the noise. The hump between is the choice between two peaks.
#
# ## `fit` is the same loop, with manners
#
# The package's loop is yours, plus four habits: clip large gradients, warm up the learning rate and let it fall at the end, keep a running average of the weights (`ema`), and save so that a killed run can go on. It is a generator, so you may look in while it trains. `denoising_loss` is the payment above.


# %% tags=["core"]
def trained(loss=denoising_loss, levels=True, seed=0):
    torch.manual_seed(seed)
    denoise = Denoiser(MLP(1, width=64, depth=2, levels=levels), schedule, pred="eps", sd=source.sd)
    deals = fresh(source.sample, 256, seed)  # step -> a batch that never returns
    habits = dict(lr=3e-3, decay_from=0.4, ema=0.99, every=200)
    for state in fit(denoise, deals, steps, loss=loss, **habits):
        pass  # look in here
    state.ema.copy_to(denoise.net)
    return denoise, state.loss


# %% tags=["core"]
fitted, honest_loss = trained()


def distance(denoise):
    return torch.stack([bill(denoise, t)[2].mean() for t in ts[::3]]).mean().sqrt().item()


say(
    f"Distance to the exact answer (root mean square, in `eps_hat`, over every third of the 25 levels): by hand **{distance(by_hand):.3f}**, with `fit` **{distance(fitted):.3f}**, after the same number of steps."
)

# %% [markdown]
# ## The mean is not a sample
#
# Is "mean" really the word? Stand at `x_t = 0`, exactly between the peaks, at `t = 0.2`. Below is everything that was ever behind such a point, collected from plain samples. Then change one word in the loss: absolute error instead of squared error, same network, same steps.


# %% tags=["core"]
def variant(noise=torch.randn, penalty=torch.square):
    def loss(denoise, batch, generator):
        (x0,) = batch
        t = torch.rand(len(x0), generator=generator)
        eps = noise(x0.shape, generator=generator)
        error = denoise.output(add_noise(schedule, x0, eps, t), t) - eps
        return penalty(error).mean(1), t

    return loss


absolute, _ = trained(variant(penalty=torch.abs))

# %% tags=["core"]
generator, t = Generator().manual_seed(8), torch.tensor(0.2)
x0 = source.sample(pick(smoke=20000, laptop=400000), generator)
near = add_noise(schedule, x0, torch.randn(x0.shape, generator=generator), t).abs() < 0.02
behind, here = x0[near], torch.zeros(1, 1)
with torch.no_grad():
    answers = {"squared": fitted(here, t).item(), "absolute": absolute(here, t).item()}

# %% tags=["core", "stage"]
fig, ax = figure(height=2.4)
counts, *_ = ax.hist(behind, bins=60, range=(-2, 2), color=COLOURS["data"], alpha=0.35)
for name, kind, height in (("squared", "model", 0.8), ("absolute", "control", 1.1)):
    ax.axvline(answers[name], color=COLOURS[kind])
    text = f" network, {name} error: {answers[name]:.2f}"
    ax.annotate(text, (answers[name], height * max(counts)), color=COLOURS[kind], fontsize=8.5)
ax.set(xlabel="x0 behind x_t = 0", yticks=[], ylim=(0, 1.25 * max(counts)))
show(
    fig,
    alt="Histogram of the x0 behind x_t = 0: a tall hill near -1 and a lower one near +1. The network with squared error answers at -0.4, where there are none; the one with absolute error answers inside the tall hill.",
    mark=f"live: t = 0.2 of DDPM's table (ell = {ell(schedule, t):.2f}); {len(behind):,} of {len(x0):,} samples fell within 0.02 of x_t = 0, seed 8",
)
say(
    f"Mean of those {len(behind):,}: **{behind.mean():.2f}**, median: **{behind.median():.2f}**, exact mean: {exact(here, t).item():.2f}."
)

# %% [markdown]
# Squared error finds the mean, absolute error the median. Neither is "a good guess at an `x0`"; each is a *summary*, chosen by the penalty. The median even looks like data. May one walk with it? Tweedie's line in chapter 02 turns the *mean* into the score, and no other summary. So let three denoisers walk from the same noise, fifty ancestral steps each:

# %% tags=["core", "stage"]
walkers, rows = {"exact mean": exact, "network, squared error": fitted, "network, absolute error": absolute}, []
for name, denoise in walkers.items():
    generator = Generator().manual_seed(4)
    start_at = prior(schedule, (pick(smoke=100, laptop=20_000), 1), generator)
    x = last(ddim(denoise, start_at, uniform_grid(50), eta=1, generator=generator))
    rows.append([name, f"{((x.abs() - 1).abs() < 0.6).float().mean():.1%}", f"{(x > 0).float().mean():.1%}"])
table(["denoiser", f"in a peak (n = {len(x):,})", "right of 0"], [*rows, ["(the data)", "99.7%", "30.0%"]])

# %% [markdown]
# The median walks, and every sample that it makes looks right. What it gets wrong is the *proportions*: at each fork the majority takes all, so the smaller peak gets too little. No single sample could show that; you have to count. (That the exact mean misses 30% a little, too, is the price of fifty steps.)
#
# ## A published mistake: what noise was added *at this step*?
#
# The founding article describes the network's job in these words:
#
# > At each reverse step, the neural network predicts: "What noise was added at this step?"
#
# and a few lines on, "The noise (ε) that was added to create x_t". These are two different noises. The second is the total, our `eps`. The first is the last small push, `z` in `x_t = √(1−β) x_before + √β z`. It sounds like a detail of wording. Let us ask both. We grade the answers by R², the share of the target's variance that they explain: 1 is perfect, 0 is as good as saying nothing.

# %% tags=["core", "stage"]
predict(
    "learned-denoiser.increment",
    "Suppose that the total noise is explained to about 80%, averaged over levels. For the noise of the last of up to 1,000 steps, the perfect answer explains",
    ["about 80% as well", "somewhere near 40%", "less than 5%"],
)


# %% tags=["core"]
betas = torch.linspace(1e-4, 0.02, 1000)


def last_push(n, generator, k=None):
    k = torch.randint(1, 1001, (n,), generator=generator) if k is None else torch.full((n,), k)
    x0, beta = source.sample(n, generator), betas[k - 1][:, None]
    before = add_noise(schedule, x0, torch.randn(x0.shape, generator=generator), (k - 1) / 1000)
    z = torch.randn(x0.shape, generator=generator)
    return (1 - beta).sqrt() * before + beta.sqrt() * z, k / 1000, z


def push_loss(denoise, batch, generator):
    x_t, t, z = last_push(len(batch[0]), generator)
    return (denoise.output(x_t, t) - z).square().mean(1), t


pushed, pushed_loss = trained(push_loss)

# %% [markdown]
# What would the *perfect* answer be? `x_t` knows about `z` only through the total noise, and of the total, `sigma eps`, the last push owns the piece `√β z`. So whatever one believes about `eps`, one believes about `z` in proportion: `E[z | x_t] = (√β / sigma) E[eps | x_t]`. It is the same function, only tiny: the target has size 1, the answer at most `√β / sigma`.


# %% tags=["core"]
def explained(k, n=2 * cards):
    x_t, t, z = last_push(n, Generator().manual_seed(k), k)
    alpha, sigma = schedule.alpha(t[0]), schedule.sigma(t[0])
    with torch.no_grad():
        best = (x_t - alpha * exact(x_t, t)) / sigma
        guesses = best * betas[k - 1].sqrt() / sigma, pushed.output(x_t, t)
    total = 1 - bill(fitted, k / 1000)[:2].mean(1)  # network, exact
    return [total[1], total[0], *(1 - (guess - z).square().mean() / z.square().mean() for guess in guesses)]


# %% tags=["core", "stage"]
ks = (50, 200, 400, 600, 800, 1000)
r2 = torch.tensor([explained(k) for k in ks])
head = ["t", "total noise: exact", "network", "last push: exact", "network"]
table(head, [[k / 1000, *(f"{v:.1%}" for v in row)] for k, row in zip(ks, r2, strict=True)])
reveal(
    "learned-denoiser.increment",
    "less than 5%",
    f"Averaged over these levels: total {r2[:, 0].mean():.0%}, last push **{r2[:, 2].mean():.1%}**, and the trained network explains {r2[:, 3].mean():.1%}. The rest of the target is pure chance.",
)

# %% [markdown]
# The question is not wrong, it is drowned out: the same lesson at a hundredth of the volume. Compare the last two columns. At high `t` the network does hear it, and explains nearly all that can be explained; at low `t` it hears little. And what it heard must be multiplied by `sigma/√β`, up to ten, to become a belief about `eps`. So must its errors.
#
# There is a fine coincidence. Take the article's step of chapter 02 in its charitable reading, and put the right `E[z | x_t]` into it: `(x_t − √β · (√β/sigma) eps_hat) / √(1−β)` is DDPM's mean, to the letter. That question and that step do belong together. But the article's own recipe, a page later, draws the total noise, as DDPM's algorithm 1 does.
#
# **And one that no error message shows.** The forward process of a public course notebook draws its noise with `torch.rand_like` instead of `torch.randn_like` (ACIDS-IRCAM, `diffusion_02_model.ipynb`; its repository's issue 1 has been open since 2021): numbers between 0 and 1, never negative, with a twelfth of the variance. We train that too. And, as a last control, a network that is not told `t`.

# %% tags=["core"]
uniform, uniform_loss = trained(variant(noise=torch.rand))
blind, blind_loss = trained(levels=False)


def from_push(x_t, t, cond=None):
    k = (1000 * t).round().long()
    eps_hat = schedule.sigma(t) / betas[k - 1].sqrt() * pushed.output(x_t, t)
    return solve("eps", schedule, x_t, t, eps_hat)[0]  # from eps_hat to x0_hat


# %% tags=["core"]
contestants = {"total noise": fitted, "last push": from_push, "torch.rand": uniform, "not told t": blind}
clouds = {}
for name, denoise in contestants.items():
    generator = Generator().manual_seed(4)
    start_at = prior(schedule, (pick(smoke=100, laptop=5000), 1), generator)
    clouds[name] = last(ddim(denoise, start_at, uniform_grid(50), schedule, eta=1, generator=generator))

# %% tags=["core", "stage"]
fig, axes = figure(columns=4, height=2.0)
kinds = ("model", "control", "control", "control")
for ax, kind, (name, x) in zip(axes, kinds, clouds.items(), strict=True):
    inside = ((x.abs() - 1).abs() < 0.6).float().mean()
    ax.hist(x.clamp(-3, 3), bins=60, range=(-3, 3), density=True, color=COLOURS[kind], alpha=0.45)
    ax.plot(line * 1.5, source.log_prob(line * 1.5).exp(), color=COLOURS["exact"], dashes=(4, 2), linewidth=1.2)
    ax.set(title=f"{name}\nin a peak {inside:.0%}\nright of 0: {(x > 0).float().mean():.0%}", yticks=[], ylim=(0, 1.9))
show(
    fig,
    alt="Four histograms of samples over the dashed density of the data. Total noise: two peaks in their places. Last push, torch.rand, and not told t: shapes that miss the two peaks or their weights.",
    mark=f"live: n = {len(x):,}, 50 steps, seed 4; beyond 3 is drawn at 3; truth: 99.7% in a peak, 30% right of 0",
)

# %% tags=["core", "stage"]
table(
    ["trained on", "distance to the exact answer", "loss at the end"],
    [
        ["total noise", f"{distance(fitted):.2f}", f"{honest_loss:.3f}"],
        ["last push", f"{distance(from_push):.2f}", f"{pushed_loss:.3f}"],
        ["torch.rand", f"{distance(uniform):.2f}", f"**{uniform_loss:.3f}**"],
        ["total noise, not told t", f"{distance(blind):.2f}", f"{blind_loss:.3f}"],
    ],
)

# %% [markdown]
# Same network, same number of steps, four lessons. The last push leaves a smear between the peaks. `torch.rand` wins on loss and loses on samples: it was an easier question, whose answer nobody needs, and no curve in your training log would tell. A loss can only be compared with its own floor. And without `t`? In one dimension `x_t = 0.8` may be clean data or pure noise, so the answer averages over both.
#
# ## From the line to the plane, and to pictures
#
# The shipped `toy-mlp` learned chapter 02's grid in this kind of loop, for longer, on the schedule `Linear` and asked for `flow`. Give it and the exact denoiser the *same* starting noise, and a sampler that adds none (`ddim` with `eta=0`): do they arrive at the same places?

# %% tags=["core"]
toy, modes = load("toy-mlp"), grid25()
start_at = prior(toy.schedule, (pick(smoke=250, laptop=2000), 2), Generator().manual_seed(5))
ends = [last(ddim(d, start_at, uniform_grid(50))) for d in (exact_denoiser(modes, toy.schedule), toy)]
same = ((ends[0] - ends[1]).norm(dim=1) < 0.25).float().mean().item()
reports = [mode_report(end, modes.means, 0.05) for end in ends]

# %% tags=["core", "stage"]
titles = [
    f"{name}: {r.covered}/25 modes, {r.share:.0%} in" for name, r in zip(("exact", "network"), reports, strict=True)
]
show(
    panels(list(zip(titles, ends, strict=True)), kinds=["exact", "model"], limit=2.6, columns=2),
    alt="Two five by five grids of dots, from the exact denoiser and from the network. The network's are a little less tight, with a few points between modes.",
    mark=f"live: n = {len(start_at):,}, 50 steps, seed 5, shipped weights",
)
say(f"**{same:.0%}** of the starting points end at the same place (within 0.25) with both.")

# %% [markdown]
# Network and formula are not just alike on average. They give the same answer at the same place, and so they send the same noise to the same mode.
#
# And for clothes? Of all that could exist we know nothing, but the network never saw those either. It saw 60,000 training pictures, and for *them* the formula is chapter 02's, with a picture in place of each peak and no width: each is as likely as its distance from `x_t` allows, and the mean is taken over all. Five lines.

# %% tags=["core", "builds:data.toy.FiniteSet.posterior_mean"]
train, kinds = (v[: pick(smoke=2000, laptop=60_000)] for v in fashion.load("train"))


def chances(x_t, alpha, sigma):  # (B, 1, 28, 28) -> (B, N): how likely each training picture is to be the x0
    squared = torch.cdist(x_t.flatten(1), alpha * train.flatten(1)) ** 2
    return torch.softmax(-squared / (2 * sigma**2), dim=1)


def exact_mean(x_t, alpha, sigma):  # E[x0 | x_t], of x_t's shape
    return (chances(x_t, alpha, sigma) @ train.flatten(1)).view_as(x_t)


# %% tags=["core"]
level = torch.tensor(0.8)
alpha, sigma = unet.schedule.alpha(level), unet.schedule.sigma(level)
drowned, fog, _ = up_and_back(eight, 0.8, seed=0)  # the pictures of the cold open
formula = exact_mean(drowned, alpha, sigma)

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([eight, fog, formula]), columns=8, rows=["original", "network", "formula"]),
    alt="Eight originals; below them the network's single answers, blurred ghosts; below those the exact means over the training pictures: much the same ghosts; the bag's is sharper, and in the sneaker's there is the outline of a shoe.",
    mark=f"live: t = 0.8 (ell = {ell(unet.schedule, level):.2f}), seed 0; formula: exact mean over {len(train):,} training pictures",
)


# %% tags=["core", "stage"]
def rms(a, b):
    return (a - b).square().mean((1, 2, 3)).sqrt()


near, far = rms(fog, formula), rms(fog, formula.roll(1, 0))
guess = torch.zeros(len(fashion.NAMES)).index_add(0, kinds, chances(drowned, alpha, sigma)[6])
top = ", ".join(f"{fashion.NAMES[k]} {guess[k]:.0%}" for k in guess.argsort(descending=True)[:4].tolist())
say(
    f"Distance from the network's answer to the formula's, a pixel, rms: **{near.mean():.2f}** ({near.min():.2f} to {near.max():.2f}, n = 8). To the formula's answer for its neighbour in the row, another kind, as a control: {far.mean():.2f}."
)
say(f"What the drowned sneaker was, by the formula: {top}; a sneaker {guess[7]:.0%}.")

# %% [markdown]
# **The fog is not a weak network. It is the right answer**, nearly: what all pictures that could be under this noise have in common. And the sneaker? Under *this* noise Bayes' rule itself puts a sandal first and a sneaker far behind. A network that returns a sandal did not fail to see; it saw what there was. (Other noise over the same sneaker tells another story. And where the two rows differ, the network has something left to learn: the formula still has the outline of a shoe.)
#
# One can also get there from the other side. If one call is the mean, then it must equal the average over many returns from that same `x_t`, each with fresh noise on its way.

# %% tags=["core"]
many = pick(smoke=6, laptop=64)
copies, grid = drowned[4:5].repeat(many, 1, 1, 1), uniform_grid(16, start=0.8)  # one pullover, drowned once
returns = last(ddim(unet, copies, grid, eta=1, generator=Generator().manual_seed(6)))

# %% tags=["core", "stage"]
row = torch.cat([eight[4:5], returns[:4], returns.mean(0, keepdim=True), fog[4:5]])
show(
    image_grid(row, columns=7, titles=["x0", *["a return"] * 4, f"mean of {many}", "one call"]),
    alt="A pullover, four different crisp returns from the same noisy picture, the blurred average of all returns, and the equally blurred single answer of the network.",
    mark=f"live: {many} returns from one x_t at t = 0.8, seeds 0 and 6",
)
gaps = [rms(returns[:k].mean(0, keepdim=True), fog[4:5]).item() for k in (1, 4, many)]
say(
    f"Distance of one return to the single call: {gaps[0]:.2f}. Of the mean of 4: {gaps[1]:.2f}. Of the mean of {many}: **{gaps[2]:.2f}**. For comparison, from that mean to a sneaker's single call: {rms(returns.mean(0, keepdim=True), fog[6:7]).item():.2f}."
)

# %% [markdown]
# The distance shrinks as the crowd grows. (Not to zero: sixteen steps are few, and no network is exact.) The fog is the average of all the crisp answers, and the sampler's small steps are the way to pick one of them.
#
# ## Up and back
#
# Now the other riddle: what returns? Noise erases small things first. Go up to `t`, and whatever is finer than that noise is forgotten; the way back invents it anew. A classifier (called, not explained yet) reads the label before and after.

# %% tags=["core", "stage"]
predict(
    "learned-denoiser.return",
    "Pictures of ten kinds, equally many of each, go up to t = 1 and come back in 20 steps. How often does one get the label that it left with?",
    ["nearly always", "about half of the time", "about one time in ten"],
)

# %% tags=["core"]
classifier, stops = load("fashion-classifier"), (0.3, 0.6, 0.8, 1.0)
each = pick(smoke=1, laptop=12)
chosen = torch.cat([(labels == kind).nonzero()[:, 0][100 : 100 + each] for kind in range(10)])
originals = images[chosen]
backs = [up_and_back(originals, t, seed=10 + i)[2] for i, t in enumerate(tqdm(stops))]
with torch.no_grad():
    before = classifier(originals).argmax(1)
    kept = [share(classifier(back).argmax(1) == before) for back in backs]  # with 95% Wilson intervals

# %% tags=["core", "stage"]
shown = torch.arange(8) * each  # the first of eight kinds
show(
    image_grid(
        torch.cat([originals[shown], *(back[shown] for back in backs)]),
        columns=8,
        rows=["original", *(f"t = {t}" for t in stops)],
    ),
    alt="Eight test images and what returns from four levels. From 0.3 the same items, slightly smoothed; from 0.6 the same kind with other details; from 0.8 half of them are another kind; from 1.0 what comes has nothing to do with what went.",
    mark="live: seeds 10 to 13, shipped weights",
)


# %% tags=["core", "stage"]
spread = torch.tensor([[k["value"] - k["low"], k["high"] - k["value"]] for k in kept]).T  # (2, stops)
fig, ax = figure(height=2.4)
ax.set(xlabel="t", ylabel="same label", xlim=(0.25, 1.2), ylim=(0, 1.05), xticks=stops)
lines(ax, stops, {"returned": ([k["value"] for k in kept], spread), "chance": [0.1] * 4}, kinds=["model", "control"])
show(
    fig,
    alt="Share of pictures that return with the label they left with, against t: high at 0.3, falling over 0.6 and 0.8, down to chance at t = 1.",
    mark=f"live: n = {len(originals)}, 95% Wilson intervals, shipped classifier",
)
reveal(
    "learned-denoiser.return",
    "about one time in ten",
    f"Measured {kept[-1]['value']:.0%} of {len(originals)} (95%: {kept[-1]['low']:.0%} to {kept[-1]['high']:.0%}). There are ten kinds, and from t = 1 nothing comes down but chance.",
)

# %% [markdown]
# The same item, a near item, another item. The noise level is a dial between copying and inventing, and a whole craft of editing pictures grew from it (chapter 19). The `t = 1` end is the control: had the label survived there, information would have leaked around the noise.
#
# ## Exercises
#
# As before: an unsolved stub does no harm, `hint("learned-denoiser.loss")` helps, `solution(...)` tells.
#
# **1 · The loss for pictures** (difficulty 1 of 3, 10 minutes). `x0` and `eps` are `(B, C, H, W)`, `alpha` and `sigma` are `(B,)`. `net` takes only the noisy pictures, without scaling. One number for each picture, `(B,)`: its mean squared error.


# %% tags=["core"]
def my_loss(net, x0, eps, alpha, sigma):
    raise NotImplementedError


check("learned-denoiser.loss", my_loss)

# %% [markdown]
# **2 · From the noise to the picture** (difficulty 1, 5 minutes). The network said `eps_hat`, `(B, C, H, W)`. What does it believe about `x0`?


# %% tags=["core"]
def my_from_eps(x_t, eps_hat, alpha, sigma):
    raise NotImplementedError


check("learned-denoiser.from-eps", my_from_eps)

# %% [markdown]
# **3 · The floor** (difficulty 3, 25 minutes). One number `x_t`, peaks at `means` `(K,)` of one width `std`, weights `(K,)`. What does the best answer to "which `eps`?" still pay at this very `x_t`? The law of total variance, and one change of units.


# %% tags=["core"]
def my_floor(x_t, alpha, sigma, means, std, weights):
    raise NotImplementedError


check("learned-denoiser.irreducible", my_floor)

# %% [markdown]
# **4 · All pushes but the last** (difficulty 2, 10 minutes). From the best belief about the total noise at step k to the best belief about the total noise one step earlier, as unit noise of *that* level. You have `eps_hat`, the last step's `beta`, and `alpha_bar`, the product of all `1 − beta` up to and including that step.


# %% tags=["core"]
def my_before(eps_hat, beta, alpha_bar):
    raise NotImplementedError


check("learned-denoiser.one-step", my_before)

# %% [markdown]
# ## What this does not show
#
# We knew the floor because we knew the data. For pictures it is unknown, and a training loss alone cannot say how far a network is from the exact denoiser. Worse: for a training set of 60,000 pictures the exact denoiser *is* known, and a sampler that uses it returns nothing but those 60,000. A network that reached it would be a copier. Why real networks stop short, luckily, is a question for chapter 05. That a network must be told `t` holds in one dimension with force; in a picture of 784 pixels the level can nearly be read off the grain. And the question "which `eps`?" was one choice among several: chapter 04.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["How low can the loss go?", f"network {means[0]:.3f}", f"exact denoiser {means[1]:.3f} ± {errors[1]:.3f}"],
        [
            "Distance to the exact answer",
            f"by hand {distance(by_hand):.3f}",
            f"`fit` {distance(fitted):.3f}; not told t {distance(blind):.2f}",
        ],
        ["Between two peaks it says", f"{answers['squared']:.2f}, the mean", f"{answers['absolute']:.2f}, the median"],
        [
            "Explained of the total noise",
            f"{r2[:, 1].mean():.0%}",
            f"of the last push: {r2[:, 3].mean():.1%} (perfect: {r2[:, 2].mean():.1%})",
        ],
        ["Same noise, same place (25 modes)", f"{same:.0%}", "exact denoiser"],
        ["One call to the exact mean of 60,000 pictures", f"{near.mean():.2f}", f"to a neighbour's: {far.mean():.2f}"],
        [f"Mean of {many} returns to one call", f"{gaps[2]:.2f}", f"one return: {gaps[0]:.2f}"],
        [
            "Label kept from t = " + ", ".join(map(str, stops)),
            ", ".join(f"{k['value']:.0%}" for k in kept),
            "chance: 10%",
        ],
    ],
)

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, arXiv 2006.11239. Algorithm 1 is the loop of this chapter; section 3.2 says why the total noise is asked.
# - Pascal Vincent: *A Connection Between Score Matching and Denoising Autoencoders*, Neural Computation 23 (2011), 1661–1674. The Pythagoras of this chapter, nine years before it drew pictures.
# - Chenlin Meng, Yutong He, Yang Song, Jiaming Song, Jiajun Wu, Jun-Yan Zhu, Stefano Ermon: *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations*, ICLR 2022, arXiv 2108.01073. Up and back, as a tool.
#
# **Next, chapter 04:** the same network and the same thirty seconds, asked another question: crisp sheet or fog.
