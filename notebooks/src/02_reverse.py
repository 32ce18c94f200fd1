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
#     slug: reverse
#     title: The way back
#     claim: Whoever knows the average data behind a noisy point can walk from noise to data, in small random steps.
#     objectives:
#       - compute the exact posterior of a mixture and its mean
#       - read the score off a denoiser
#       - derive and code the ancestral step
#       - say why steps must be small, and what the fresh noise is for
#     prerequisites: [start, forward]
#     minutes_compute: 1
#     hours_learner: 2
#     memory_gb: 1
#     data: [toy]
#     weights: []
#     exercises: [reverse.posterior-mean, reverse.score, reverse.fix-the-article, reverse.fresh-noise]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 02 · The way back
#
# **Whoever knows the average data behind a noisy point can walk from noise to data, in small random steps.**
#
# `compute 1 min` · `you 2 h` · `memory 1 GB` · everything on this page is computed live
#
# Chapter 01 destroyed data; that was easy. This chapter brings it back, and there is no network in it. Nothing here is trained, and the denoiser is exact. Our data will be so simple that the perfect denoiser can be written in six lines, and so every picture below shows what diffusion *is*, not how well somebody trained it.
#
# Here is what we are going to build. Two thousand points of pure noise go in. They have no idea where the data lives.

# %%
import math

import torch
from torch import Generator

from minidiff import Betas, ddim, ell, exact_denoiser, last, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data.toy import grid25, two_peaks
from minidiff.measure.modes import mode_report

scale = start(needs="0.1")

# %% tags=["core"]
schedule, source = Betas(), grid25()  # DDPM's schedule; 25 narrow modes on a 5 x 5 grid
denoise = exact_denoiser(source, schedule)  # x_t, t -> x0_hat, exact
n, film_steps = pick(smoke=200, laptop=2000), pick(smoke=10, laptop=50)
noise = prior(schedule, (n, 2), Generator().manual_seed(0))

# `ddim(eta=1)` is the sampler of DDPM, which this chapter builds; what other values of eta do is for chapter 06
film = list(ddim(denoise, noise, uniform_grid(film_steps), eta=1, generator=Generator().manual_seed(1)))

# %% tags=["core", "stage"]
frames, labels = [], []
for t, x, x0_hat in film[1::2]:
    fig, axes = figure(columns=2, height=1.65, width=3.0)
    for ax, kind, title, cloud in zip(axes, ("model", "exact"), ("points", "beliefs"), (x, x0_hat), strict=True):
        scatter(ax, cloud, kind)
        ax.set(title=title, xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    frames.append(figure_frame(fig))
    labels.append(f"t = {t:.2f}")
animation(
    frames,
    labels=labels,
    fps=8,
    alt="Left, a round cloud of points draws together into 25 tight dots on a five by five grid. Right, the denoiser's beliefs begin as one small blob in the middle and spread out to the grid earlier than the points do.",
    mark=f"live: n = {n:,}, {film_steps} steps, seeds 0 and 1",
)

# %% [markdown]
# Play it once and watch the right side, where each point's `x0_hat` is drawn. At the start every point is believed to be *the same thing*, the average of all data, which is the middle of the grid. (That there is a mode in that very place is chance; an average need not be anything.) Then the belief spreads, fills a square, and breaks into modes, and the points follow it home. By the end of this page you will have written both sides of that film.
#
# ## One noisy number
#
# Take the smallest world there is: a number. Nature draws `x0` near −1 with probability 0.7 and near +1 with probability 0.3. Then chapter 01 happens to it: `x_t = alpha x0 + sigma eps`. You are handed `x_t = 0.2` at a level where signal and noise are about equal. **Where was `x0`?**

# %% tags=["core", "stage"]
predict(
    "reverse.where-was-it",
    "x_t = 0.2, slightly on the positive side. Before noise, -1 was more than twice as likely as +1. The best single guess of x0 (least squared error) is",
    [
        "close to +1: x_t is positive",
        "close to -1: it is the likelier peak",
        "somewhere between, where no data is at all",
    ],
)

# %% [markdown]
# Bayes' rule answers it, and for Gaussians it answers in closed form. There are only two things to know.
#
# *Which peak?* Around peak k, `x_t` is Gaussian with mean `alpha mean_k` and variance `alpha² std² + sigma²`: the peak's own width, scaled, plus the noise. The chance of each peak is its weight times that density, normalised: a softmax.
#
# *Where inside the peak?* At its centre, corrected by a part of the gap `x_t − alpha mean_k`. Which part? A straight-line guess multiplies what is seen by covariance over variance. The gap is `alpha (x0 − mean_k) + sigma eps`, so its covariance with `x0` is `alpha std²`, and its variance is the one above.
#
# Six lines, then:

# %% tags=["core", "builds:data.toy.Mixture.posterior_mean"]
peaks = two_peaks()
means, weights, std = peaks.means.T, peaks.weights, 0.2  # means: (1, K)


def posterior_mean(x_t, alpha, sigma):  # x_t: (B, 1)
    spread = alpha**2 * std**2 + sigma**2  # variance of x_t around each noisy peak
    gap = x_t - alpha * means  # (B, K)
    chance = torch.softmax(weights.log() - gap**2 / (2 * spread), dim=1)  # (B, K), which peak?
    inside = means + alpha * std**2 / spread * gap  # (B, K), where in it?
    return (chance * inside).sum(1, keepdim=True)  # (B, 1)


# %% tags=["core", "stage"]
level = torch.tensor(0.25)
guess = posterior_mean(torch.tensor([[0.2]]), schedule.alpha(level), schedule.sigma(level)).item()
reveal(
    "reverse.where-was-it",
    "somewhere between, where no data is at all",
    f"The posterior mean is {guess:.2f}. No x0 ever was there, and still it is the best guess: it loses least on average.",
)

# %% [markdown]
# That is the first surprise of diffusion, and the most important one. **The best denoiser does not return data.** It returns the average of everything that could have been there. Averages of clothes are fog; averages of −1 and +1 are somewhere near 0.
#
# Drag `x_t` and `t` below. The dashed curve is the exact posterior of `x0`, beside the data in blue; the line is its mean, our six lines. Two questions a still picture cannot answer: *at which t does the belief stop being one hill?* And at `t = 0.3`, *how far do you have to pull `x_t` to change its mind?*

# %% tags=["core"]
xs = torch.linspace(-2.2, 2.2, 441)[:, None]


def believe(x_t, t):
    level, x_now = torch.tensor(t), torch.tensor([[x_t]])
    alpha, sigma = schedule.alpha(level), schedule.sigma(level)
    # Bayes: p(x0 | x_t) is proportional to p(x0) p(x_t | x0)
    log_p = peaks.log_prob(xs) - ((x_now - alpha * xs) ** 2).squeeze(1) / (2 * sigma**2)
    posterior = torch.softmax(log_p, 0) / 0.01
    return posterior, posterior_mean(x_now, alpha, sigma).item()


# %% tags=["core", "stage"]
def draw(x_t, t):
    posterior, mean = believe(x_t, t)
    fig, ax = figure(height=2.4)
    filled(ax, xs[:, 0], peaks.log_prob(xs).exp(), "data", "data")
    filled(ax, xs[:, 0], posterior, "exact", "posterior")
    ax.axvline(mean, color="#E57309")
    ax.annotate(f" x0_hat = {mean:.2f}", (mean, 0.92 * posterior.max()), color="#A04F00", fontsize=8.5)
    ax.set(xlabel="x0", yticks=[], xlim=(-2.2, 2.2), title=f"x_t = {x_t:.2f} at t = {t:.2f}")
    return fig


play(
    draw,
    x_t=(-2.0, 2.0, 0.05, 0.2),
    t=(0.05, 0.95, 0.05, 0.25),
    alt=lambda x_t, t: (
        f"Exact posterior of x0 for x_t = {x_t:.2f} at t = {t:.2f}, over the data's two peaks at -1 and +1, with the posterior mean marked."
    ),
)

# %% [markdown]
# ## From the mean to a direction
#
# A point on a hillside wants to know which way is up. At level t the noisy data has a density `p_t`, and the gradient of its logarithm, called the **score**, points to where the crowd is. We could differentiate. We need not: the denoiser already knows.
#
# If only one `x0` were possible, `x_t` would be Gaussian around `alpha x0`, and its score `(alpha x0 − x_t)/sigma²`. With many possible `x0` the scores average, by exactly the chances of Bayes' rule. And the average of the `x0` *is* `x0_hat`:
#
# $$\nabla \log p_t(x_t) \;=\; \frac{\alpha\,\hat x_0 - x_t}{\sigma^2}$$
#
# Two names for one thing, then: *denoising* and *climbing the density*. This one line (Tweedie's formula) is why a network that was only taught to clean images can be used to make them. Let us not believe it, but compare it with automatic differentiation of the exact log density.


# %% tags=["core", "builds:predict.score"]
def score(x_t, x0_hat, alpha, sigma):
    return (alpha * x0_hat - x_t) / sigma**2


# %% tags=["core"]
level = torch.tensor(0.2)
alpha, sigma = schedule.alpha(level), schedule.sigma(level)
points = (4 * torch.rand(500, 2, generator=Generator().manual_seed(2)) - 2).requires_grad_()
(by_autograd,) = torch.autograd.grad(source.log_prob(points, alpha, sigma).sum(), points)
by_denoiser = score(points, denoise(points, level), alpha, sigma)
say(
    f"Largest difference between the two, over 500 points: **{(by_autograd - by_denoiser).abs().max():.1e}** (scores up to {by_autograd.abs().max():.0f})."
)

# %% [markdown]
# The arrows below are that score on the 25-mode grid, at three levels. Noise blurs the landscape: at high t there is one wide hill, at low t there are twenty-five narrow ones. This is the reason to come down the levels *in order*. A sharp landscape knows only the nearest mode; the blurred one knows where all of them are.

# %% tags=["core", "stage"]
ticks = torch.linspace(-2.6, 2.6, 22)
field = torch.cartesian_prod(ticks, ticks)
fig, axes = figure(columns=3, height=2.6)
for ax, t in zip(axes, (0.5, 0.2, 0.05), strict=True):
    level = torch.tensor(t)
    arrow = score(field, denoise(field, level), schedule.alpha(level), schedule.sigma(level))
    size = arrow.norm(dim=1, keepdim=True)
    arrow = arrow / size * (0.4 + 0.6 * size / size.max())  # the shortest is 0.4 of the longest: all can be seen
    ax.quiver(*field.T, *arrow.T, color=COLOURS["model"], width=0.006, scale=22)
    ax.scatter(*(schedule.alpha(level) * source.means).T, s=10, marker="+", color="#191B1A")
    ax.set(title=f"t = {t}", aspect="equal", xticks=[], yticks=[])
show(
    fig,
    alt="Three fields of arrows with the 25 modes as black dots: at t = 0.5 all arrows point to the centre, at t = 0.2 they begin to bend towards rows of modes, at t = 0.05 every arrow points to its nearest mode.",
    mark="exact: directions; lengths compressed, so that all can be seen",
)

# %% [markdown]
# ## One step back
#
# Now the step itself. We stand at `x_t` and want a point at the slightly cleaner level `s < t`. Suppose for a moment that we knew `x0`. Then a good `x_s` would be `alpha_s x0` plus noise of size `sigma_s`. But which noise? We may not simply draw it afresh, since we have already seen `x_t`, which contains the noise of level t. Some of it is still there at level s. So:
#
# - keep a part of the **old noise**, `eps_hat = (x_t − alpha_t x0)/sigma_t`,
# - draw the rest **fresh**, with variance `tau`,
# - so that together they have variance `sigma_s²`.
#
# How large is `tau`? Given `x0`, the level-s point has variance `sigma_s²`. Then `x_t` has been seen as well, which is `ratio · x_s` plus fresh noise of variance `v = sigma_t² − ratio² sigma_s²`, with `ratio = alpha_t/alpha_s` (exercise 3 of chapter 01). For Gaussians, what is known adds up as one over variance: `1/tau = 1/sigma_s² + ratio²/v`. Multiply out:
#
# $$\tau = \sigma_s^2\left(1 - \Big(\frac{\alpha_t\,\sigma_s}{\alpha_s\,\sigma_t}\Big)^{2}\right).$$
#
# We do not know `x0`. We know `x0_hat`. The whole of DDPM is to use it in place of the truth, for one small step, and then to ask again.


# %% tags=["core", "builds:sample.ddim"]
def step_back(x, x0_hat, t, s, z):
    alpha_t, sigma_t, alpha_s, sigma_s = (schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s))
    tau = sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)  # variance that must be fresh
    eps_hat = (x - alpha_t * x0_hat) / sigma_t  # the old noise
    return alpha_s * x0_hat + (sigma_s**2 - tau).sqrt() * eps_hat + tau.sqrt() * z


def sample(steps, seed, n=n):
    generator = Generator().manual_seed(seed)
    x, grid = prior(schedule, (n, 2), generator).double(), uniform_grid(steps)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        x = step_back(x, denoise(x, t), t, s, torch.randn(x.shape, generator=generator))
    return x


# %% [markdown]
# This walk is called *ancestral sampling*: each point is drawn from its parent, a level noisier. Read the last line of `step_back` once more, because everything later is a variation of it: *what I believe, plus what is left of the old noise, plus a little new noise*. At the very end `sigma_s` is 0, both noises vanish by themselves, and the point lands on `x0_hat`.
#
# Before two thousand points are let loose, follow a single number through twenty-four steps. The dashed curve is everything that could still be true of it, the line the mean of that, the triangle where it stands. *At which step does it make up its mind, and could it still have gone the other way one step earlier?*

# %% tags=["core", "stage"]
generator, x, frames, labels = Generator().manual_seed(5), torch.tensor([[0.7]]), [], []
grid = uniform_grid(pick(smoke=6, laptop=24))
for t, s in zip(grid[:-1], grid[1:], strict=True):
    posterior, mean = believe(x.item(), t.item())
    fig, ax = figure(height=1.7, width=3.0)
    filled(ax, xs[:, 0], posterior / posterior.max(), "exact")
    ax.plot(x.clamp(-2.2, 2.2).item(), 0, "^", color=COLOURS["noise"], markersize=10, clip_on=False)
    ax.axvline(mean, color=COLOURS["model"])
    ax.set(xlim=(-2.2, 2.2), ylim=(0, 1.1), xticks=[-1, 1], yticks=[])
    frames.append(figure_frame(fig))
    labels.append(f"t = {t:.2f}: x_t = {x.item():.2f}, x0_hat = {mean:.2f}")
    x = step_back(x, torch.tensor([[mean]]), t, s, torch.randn(1, 1, generator=generator)).float()

# %% tags=["core", "stage"]
slideshow(
    frames,
    labels,
    alt="One number on its way back. At high t the posterior shows both peaks and the mean lies between them; then one peak shrinks, the other takes over, and the point settles in it.",
    mark="live: one point, seed 5",
)

# %% [markdown]
# ## How many steps?
#
# The founding article of this course says that a thousand small steps are easier than one giant leap. It is right, and here we can count. A sample is *in a mode* if it lies within three standard deviations of it; a mode is *covered* if it holds at least a tenth of its fair share. Bet first.

# %% tags=["core", "stage"]
predict(
    "reverse.ten-steps",
    "Ten steps instead of a thousand, with the perfect denoiser. How many of the samples land in a mode?",
    ["fewer than 10%", "about a third", "about 90%"],
)

# %% tags=["core"]
counts = (1, 2, 5, 10, 20, 50)
clouds = {steps: sample(steps, seed=0) for steps in counts}
reports = {steps: mode_report(x, source.means, 0.05) for steps, x in clouds.items()}

# %% tags=["core", "stage"]
items = [(f"{k} step{'s' * (k > 1)}: {r.covered}/25 modes, {r.share:.0%} in", clouds[k]) for k, r in reports.items()]
show(
    panels(items, kinds="model", limit=3.0, columns=3),
    alt="Six clouds. One step: a single dot in the centre. Two steps: a round blob. Five: a square one, without modes. Ten steps: a lattice of lines with blurred spots where they cross. Twenty: clear spots, a few lines. Fifty: 25 sharp dots.",
    mark=f"live: n = {n:,}, seed 0",
)


# %% tags=["core"]
def share(steps, seed):
    x = sample(steps, seed, n=pick(smoke=100, laptop=1000))
    return mode_report(x, source.means, 0.05).share


shares = torch.tensor([[share(steps, seed) for steps in counts] for seed in range(1, 4)])
exact = mode_report(source.sample(n, Generator().manual_seed(9)), source.means, 0.05)

# %% tags=["core", "stage"]
fig, ax = figure(height=2.5)
ax.set(
    xscale="log",
    xticks=counts,
    xticklabels=counts,
    xlabel="steps",
    ylabel="share in a mode",
    xlim=(0.9, 90),
    ylim=(-0.05, 1.1),
)
lines(
    ax,
    counts,
    {"ancestral": (shares.mean(0), shares.std(0)), "exact samples": [exact.share] * len(counts)},
    kinds=["model", "exact"],
)
show(
    fig,
    alt="Share of samples in a mode against the number of steps: 1 at one step, below 0.1 at two and five, a third at ten, and up to the level of exact samples at 50.",
    mark=f"live: mean and standard deviation of 3 seeds, n = {pick(smoke=100, laptop=1000):,} each",
)
# %% tags=["core", "stage"]
reveal(
    "reverse.ten-steps",
    "about a third",
    f"Measured: {reports[10].share:.0%} of {n:,} samples, while {reports[10].covered} of 25 modes are covered. It knows where to go long before it can stop there.",
)

# %% [markdown]
# Two things in that picture deserve a pause.
#
# **One step scores well, and is useless.** All samples sit on one point, the mean of the data, which happens to be the middle mode of the grid: 100% "in a mode", 1 of 25 covered. A quality number alone can be won by a model that always says the same thing. We will always show two.
#
# **Fifty steps score *better* than the truth.** Exact samples are in a mode 98.9% of the time, for that is what three standard deviations mean in the plane. A share above that says the dots are too tight. Large steps underestimate the spread inside each mode, and only many steps repair it:


# %% tags=["core", "stage"]
def width_in_mode(x):
    gap = torch.cdist(x.double(), source.means.double()).min(1)
    inside = gap.values < 0.15
    return (gap.values[inside] ** 2).mean().div(2).sqrt().item()


rows = [["exact samples", f"{exact.share:.1%}", f"{width_in_mode(source.sample(n, Generator().manual_seed(9))):.4f}"]]
for steps in (50, pick(smoke=60, laptop=200)):
    x = sample(steps, seed=0, n=pick(smoke=100, laptop=1000))
    rows.append([f"{steps} steps", f"{mode_report(x, source.means, 0.05).share:.1%}", f"{width_in_mode(x):.4f}"])
table(["", "in a mode", "width of a mode"], rows)

# %% [markdown]
# ## Why the steps must be small
#
# `step_back` draws from a Gaussian. Is the true step back Gaussian? For our two peaks Bayes' rule tells: before `x_t` is seen, `x_s` has the noisy density of level s, which we know; and `x_t` is `ratio · x_s` plus noise of variance `v`. Multiply the two, over a fine row of values of `x_s`, and make the sum one.


# %% tags=["core"]
fine = torch.linspace(-6, 6, 1201, dtype=torch.float64)  # values of x_s, 0.01 apart
exact_peaks = type(peaks)(peaks.means.double(), std, peaks.weights.double())


def true_step(x_t, t, s):  # x_t: (B, 1) -> log p(x_s | x_t) over `fine`, (B, 1201)
    ratio = schedule.alpha(t) / schedule.alpha(s)
    v = schedule.sigma(t) ** 2 - ratio**2 * schedule.sigma(s) ** 2
    before = exact_peaks.log_prob(fine[:, None], schedule.alpha(s), schedule.sigma(s))  # (1201,)
    return torch.log_softmax(before - (x_t - ratio * fine) ** 2 / (2 * v), dim=1) - math.log(0.01)


def our_step(x_t, t, s):  # the same for the Gaussian that `step_back` draws from
    x0_hat = exact_peaks.posterior_mean(x_t, schedule.alpha(t), schedule.sigma(t))
    mean, one_sigma = (step_back(x_t, x0_hat, t, s, z) for z in (0.0, 1.0))
    return torch.distributions.Normal(mean, one_sigma - mean).log_prob(fine)


# %% tags=["core", "stage"]
fig, axes = figure(columns=3, height=2.2)
here, t = torch.tensor([[0.1]], dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)
for ax, s in zip(axes, (0.02, 0.15, 0.24), strict=True):
    true, ours = (step(here, t, torch.tensor(s, dtype=torch.float64))[0].exp() for step in (true_step, our_step))
    distance = 0.5 * (true - ours).abs().sum().item() * 0.01
    filled(ax, fine, true, "exact", "true step" * (s < 0.1))
    filled(ax, fine, ours, "model", "our Gaussian" * (s < 0.1))
    ax.set(ylim=(0, 1.3 * max(true.max(), ours.max())), xlim=(-2.2, 2.2), yticks=[], xlabel="x_s")
    ax.set_title(f"from t = 0.25 to s = {s}\n{distance:.0%} misplaced")
show(
    fig,
    alt="True distribution of the step back beside the sampler's Gaussian. A large step: two peaks against one bump between them. A medium step: a broad shape against a narrower bump. A small step: the two curves coincide.",
    mark="exact: x_t = 0.1; misplaced: the share of probability that would have to be moved (total variation)",
)

# %% [markdown]
# A long step has to decide between two peaks, and no single Gaussian can say "either here or there". A short step has nothing to decide: whichever peak it will be, the next small movement is nearly the same. *That* is what "small steps are easy" means. Each one is a question whose answer is a single hill.
#
# But there are more of them. Does the whole walk get better? There is a measure made for this, the divergence `KL = ∫ p log(p/q)` between the true step p and ours, q. For a walk it obeys a chain rule: the divergence of the whole path is the *sum* of what its steps are expected to add, each averaged over where the true walk stands. Nothing need be independent. So we can compute the sum, with no sampling at all. (The last jump, to level 0, is left out: it lands on a point, which has no density.)

# %% tags=["core", "stage"]
predict(
    "reverse.sum",
    "20, 40, 80 equal steps from t = 1 to 0, with the perfect denoiser. The divergence of the whole path, up to its last stop at t = 1/N,",
    ["falls to a quarter", "falls to a half", "does not fall at all"],
)


# %% tags=["core"]
def divergence_of_steps(grid):  # (N+1,) levels -> (N-1,): what each step adds, the last jump left out
    x_t, added = torch.linspace(-4.5, 4.5, 121, dtype=torch.float64)[:, None], []
    for t, s in zip(grid[:-2], grid[1:-1], strict=True):
        p, q = true_step(x_t, t, s), our_step(x_t, t, s)
        kl = (p.exp() * (p - q)).nansum(1) * 0.01  # (121,): from each x_t
        added.append((kl * exact_peaks.log_prob(x_t, schedule.alpha(t), schedule.sigma(t)).exp()).sum() * 0.075)
    return torch.stack(added)


def even_in_ell(n):  # from 1 to 1/n like uniform_grid(n), but in equal steps of ell; then 0
    levels = torch.linspace(1e-4, 1, 20001, dtype=torch.float64)
    wanted = torch.linspace(ell(schedule, levels[-1]), ell(schedule, torch.tensor(1 / n)).item(), n)
    nearest = torch.searchsorted(ell(schedule, levels), wanted).clamp(max=20000)
    return torch.cat([levels[nearest], torch.zeros(1)])


# %% tags=["core", "stage"]
grid_sizes = pick(smoke=(5, 10), laptop=(20, 40, 80))
grids = {"equal steps in t": uniform_grid, "equal steps in ell": even_in_ell}
added = {name: {n: divergence_of_steps(make(n)) for n in grid_sizes} for name, make in grids.items()}
sums = {name: {n: steps.sum().item() for n, steps in by_n.items()} for name, by_n in added.items()}
early = {
    low: [added["equal steps in t"][n][uniform_grid(n)[1:-1] >= low - 1e-4].sum().item() for n in grid_sizes]
    for low in (0.1, 0.05)
}
table(
    ["divergence of the path", *(f"{n} steps" for n in grid_sizes)],
    [
        ["equal steps in t", *(f"**{v:.2f}**" for v in sums["equal steps in t"].values())],
        *[[f"... of this, the steps down to t = {low}", *(f"{v:.2f}" for v in vs)] for low, vs in early.items()],
        ["equal steps in ell, to the same last level", *(f"**{v:.2f}**" for v in sums["equal steps in ell"].values())],
    ],
)

# %% tags=["core", "stage"]
fig, axes = figure(columns=2, height=2.4)
finest, top = grid_sizes[-1], max(steps.max().item() for by_n in added.values() for steps in by_n.values())
for ax, (name, make) in zip(axes, grids.items(), strict=True):
    for count, kind in ((grid_sizes[0], "baseline"), (finest, "model")):
        at = [ell(schedule, s).item() for s in make(count)[1:-1]]
        ax.plot(at, added[name][count], color=COLOURS[kind], marker="o" if kind == "model" else "P")
        ax.annotate(
            f"{count} steps", (at[-1], added[name][count][-1]), (5, 3), textcoords="offset points", fontsize=8.5
        )
    ax.set(title=name, xlabel="ell where the step ends (noise: right, data: left)", ylim=(-0.01, 1.15 * top))
axes[0].set_ylabel("divergence added")
show(
    fig,
    alt="Two panels of what each step adds, against ell. Equal steps in t: nothing at high noise, and a steep rise at the data's end, which comes later and is higher with more steps. Equal steps in ell: a low hump for 20 steps, and hardly anything for 80.",
    mark="exact, on a grid of 121 by 1,201 points",
)
first, final = grid_sizes[0], grid_sizes[-1]
reveal(
    "reverse.sum",
    "does not fall at all",
    f"From {sums['equal steps in t'][first]:.2f} with {first} steps to {sums['equal steps in t'][final]:.2f} with {final}. On the other grid it falls, from {sums['equal steps in ell'][first]:.2f} to {sums['equal steps in ell'][final]:.2f}.",
)

# %% [markdown]
# So the slogan needs its fine print. Down to any fixed level smaller steps do pay: the table's middle rows fall by more than half with each doubling. But a finer grid also goes further before its last jump, and there, at the data's end, equal steps in `t` are not small. From t = 2/N to 1/N the noise still shrinks by a factor of nearly two, and the more steps there are, the deeper those lie inside the width of a peak, where `tau`, made for a known `x0`, is too small a variance. (The same `tau` made our dots too tight.) Small means small *in `ell`*, the log of noise over signal. Steps that are equal there all shrink, and the whole sum falls. Which is why samplers choose their grids with care (chapter 06).
#
# ## A published mistake
#
# The founding article gives the step back like this, and repeats it a thousand times:
#
# > `x_(t-1) = (x_t - predicted_noise) / √(1 - β_t)` … "Add small random noise (for diversity)"
#
# It looks plausible. The forward step multiplied by √(1−β) and added noise; so subtract the noise, divide, and shake a little. Try it with the *exact* noise, on 1,000 levels, and √β z as the small noise. Beside it, four others: a charitable reading, which subtracts no more than one step adds, √β eps; our `step_back` without its random part, if that is only "for diversity"; `step_back` whole; and DDIM (*denoising diffusion implicit models*, Song and others, 2020), for afterwards.

# %% tags=["core", "stage"]
predict(
    "reverse.noiseless",
    "The right mean, a perfect denoiser, 1,000 steps, but no fresh noise in any step. The samples",
    ["cover all modes, just a bit less evenly", "cover about half of the modes", "all fall into one point"],
)

# %% tags=["core"]
betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
STEPS = {  # x, eps_hat, k, z -> the next x
    "the article": lambda x, eps, k, z: (x - eps) / (1 - betas[k - 1]).sqrt() + small(k) * z,
    "charitable reading": lambda x, eps, k, z: (
        (x - betas[k - 1].sqrt() * eps) / (1 - betas[k - 1]).sqrt() + small(k) * z
    ),
    "step_back, no noise": lambda x, eps, k, z: step_back(x, *believed(x, eps, k), 0.0),
    "step_back (DDPM)": lambda x, eps, k, z: step_back(x, *believed(x, eps, k), z),
}
few = pick(smoke=50, laptop=500)


def small(k):  # the size of the small noise; none after the last step
    return betas[k - 1].sqrt() * (k > 1)


def believed(x, eps, k):  # x0_hat and the two levels of step k
    t, s = torch.tensor([k, k - 1], dtype=torch.float64) / 1000
    return (x - schedule.sigma(t) * eps) / schedule.alpha(t), t, s


def thousand(step):
    generator = Generator().manual_seed(3)
    x, sizes = prior(schedule, (few, 2), generator).double(), []
    for k in range(1000, 0, -1):
        t = torch.tensor(k / 1000, dtype=torch.float64)
        eps_hat = (x - schedule.alpha(t) * denoise(x, t)) / schedule.sigma(t)
        x = step(x, eps_hat, k, torch.randn(x.shape, generator=generator))
        sizes.append(x.abs().max().item())
    return x, sizes


# %% tags=["core"]
ends, sizes = {}, {}
for name, step in tqdm(STEPS.items()):
    ends[name], sizes[name] = thousand(step)
start_at = prior(schedule, (few, 2), Generator().manual_seed(3)).double()
ends["DDIM, no noise, other coefficients"] = last(ddim(denoise, start_at, uniform_grid(1000)))

# %% tags=["core", "stage"]
rows = []
for name, x in ends.items():
    result, near = mode_report(x, source.means, 0.05), x.abs().max() < 1e9
    spread = f"{x.std():.3g}" if near else "-"
    rows.append([name, f"{x.abs().max():.3g}", f"{result.covered} of 25", f"{result.share:.0%}", spread])
table(["step", "largest coordinate", "modes", "in a mode", "std (data: 1.41)"], rows)


# %% tags=["core", "stage"]
def multiplier(t):  # by what the article's step multiplies a small x, at level t
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    tiny = torch.tensor([[1e-6, 0.0]], dtype=torch.float64)
    believes = denoise(tiny, t)[0, 0] / 1e-6  # how much of a small x the denoiser believes
    k = int((1000 * t).round())
    return ((1 - (1 - alpha * believes) / sigma) / (1 - betas[k - 1]).sqrt()).item()


ks = torch.arange(1000, 9, -1)
factors = torch.tensor([multiplier(k / 1000) for k in ks.double()]).abs()
turn = int(ks[(factors > 1).nonzero()[0]])  # counting down from 1000, the first step that lets rounding errors grow

# %% tags=["core", "stage"]
fig, (left, right) = figure(columns=2, height=2.5)
left.set(yscale="log", ylim=(1e-4, 20), xlim=(0, 1000), xlabel="steps done", ylabel="largest coordinate")
names = {"the article": "control", "charitable reading": "noise", "step_back, no noise": "baseline"}
for name, kind in (names | {"step_back (DDPM)": "model"}).items():
    done = torch.arange(0, 1000, 10)
    left.plot(done, torch.tensor(sizes[name])[done].clamp(min=1e-30), color=COLOURS[kind])
for text, where, kind in (
    ("DDPM", (620, 4.5), "model"),
    ("no fresh noise", (330, 0.03), "baseline"),
    ("charitable reading", (330, 1.3), "noise"),
    ("the article", (60, 0.15), "control"),
):
    left.annotate(text, where, color=COLOURS[kind], fontsize=8.5)
right.plot(1000 - ks, factors, color=COLOURS["control"])
right.axhline(1, color=COLOURS["exact"], dashes=(4, 2), linewidth=1)
right.set(yscale="log", xlabel="steps done", title="the article's step multiplies a small x by ±")
show(
    fig,
    alt="Left, largest coordinate against steps on a logarithmic axis: DDPM and the charitable reading stay between 1 and 6; the step without noise sinks to about 0.001; the article's step drops to about 0.4 at once, stays below 1 and near step 930 leaves through the top. Right, the size of the article's multiplier: it climbs from 0.0001 to just below 1, dips, crosses 1 near the end and rises steeply.",
    mark=f"live: n = {few}, seed 3, exact denoiser; right: exact",
)

# %% tags=["core", "stage"]
lost = mode_report(ends["step_back, no noise"], source.means, 0.05)
reveal(
    "reverse.noiseless", "all fall into one point", f"{lost.covered} of 25 modes. Not less diverse: not diverse at all."
)
say(
    f"The article's multiplier exceeds 1 in size after {1000 - turn} steps, at step {turn} of the table, where sigma is **{schedule.sigma(torch.tensor(turn / 1000)):.3f}**. (Where the curve dips, it changes its sign.)"
)

# %% [markdown]
# The article's line has a curious life. It takes away *all* the noise in every step, so what is left is little more than the last small shake. Near the data, where sigma is small, it subtracts a multiple of what is there: the factor passes 1, and whatever is there grows until it fills the screen. The denoiser is perfect; it is the step. The charitable reading still subtracts too much. It survives, but pulled inwards: the outer modes are lost. (To another question, what noise came in *at this step*, the same line would be the right answer. Chapter 03 asks it.)
#
# And the third row? The noise is not decoration. At each level, the points must be spread as the noisy data is spread at that level. The right mean alone leaves them closer together than that, and the fresh noise makes up the difference. Leave it out and a thousand small shortfalls multiply to one point.
#
# The last row prevents the wrong conclusion. DDIM uses no fresh noise either and covers everything. It keeps *all* of the old noise, `sigma_s eps_hat`, instead of a part of it. A sampler without randomness is possible, it just needs other coefficients: in the code `ddim(eta=0)`, the default.
#
# How much fresh noise, exactly? The DDPM paper offers two sizes, our `tau` and the larger `β` of the forward step; exercise 4 finds the data for which each is right. With a thousand steps it hardly matters:

# %% tags=["core", "stage"]
k = torch.tensor([2, 10, 100, 1000])
t, s = k.double() / 1000, (k.double() - 1) / 1000
tau = schedule.sigma(s) ** 2 * (
    1 - (schedule.alpha(t) * schedule.sigma(s) / schedule.alpha(s) / schedule.sigma(t)) ** 2
)
table(["step", *map(str, k.tolist())], [["tau / β", *(f"{v:.3f}" for v in tau / betas[k - 1])]])

# %% [markdown]
# The right mean, in the article's own letters, is one line too. Exercise 3 is to find it.
#
# ## Exercises
#
# Each takes tensors and returns a tensor. `check` compares your function with the package on fresh random inputs; where you fall for a known mistake, it tells you which. An unsolved stub does no harm.
#
# **1 · The exact denoiser, in any dimension** (difficulty 2 of 3, 20 minutes). Above, `x_t` was a number and all peaks shared the notebook's globals. Write it for points `(B, D)`, centres `(K, D)`, one `std` and weights `(K,)`.


# %% tags=["core"]
def my_posterior_mean(x_t, alpha, sigma, means, std, weights):
    raise NotImplementedError  # your lines here: (B, D)


check("reverse.posterior-mean", my_posterior_mean)

# %% [markdown]
# Stuck? Run `hint("reverse.posterior-mean")` as often as it helps, and `solution("reverse.posterior-mean")` at the end.
#
# **2 · From the score back to the denoiser** (difficulty 1, 5 minutes). Somebody hands you the score at `x_t`, from automatic differentiation, say. What does the denoiser believe there?


# %% tags=["core"]
def my_x0_hat(x_t, score, alpha, sigma):
    raise NotImplementedError


check("reverse.score", my_x0_hat)

# %% [markdown]
# **3 · Mend the published line** (difficulty 2, 15 minutes). Only the mean, without the random part, in the article's letters: `beta` of the step that is undone, and `alpha_bar`, the product of all `1 − beta` up to and including that step. Put `x0_hat` into `step_back` and collect terms.


# %% tags=["core"]
def my_ddpm_mean(x_t, eps_hat, beta, alpha_bar):
    raise NotImplementedError


check("reverse.fix-the-article", my_ddpm_mean)

# %% [markdown]
# **4 · How much of the noise must be fresh?** (difficulty 3, 25 minutes). `tau` belongs to a known `x0`. Now `x0` is not known; it is Gaussian with mean 0 and standard deviation `sd`. So `x_s` has variance `alpha_s² sd² + sigma_s²`, and `x_t` is `(alpha_t/alpha_s) x_s` plus fresh noise. What is the variance of `x_s` once `x_t` has been seen? (Then look at `sd = 0`, and at `sd = 1` where `alpha² + sigma² = 1`: two old acquaintances.)


# %% tags=["core"]
def my_fresh_noise(alpha_t, sigma_t, alpha_s, sigma_s, sd):
    raise NotImplementedError


check("reverse.fresh-noise", my_fresh_noise)

# %% [markdown]
# ## What this does not show
#
# We could write the denoiser down because we knew the data: twenty-five Gaussians. Nobody knows the density of photographs. What carries over is the *shape* of the argument. A sampler asks only for `x0_hat`, and does not care whether a formula or a network answers. The cost carries over too, one call per step. What does not carry over is the ease of counting modes; in chapter 05 that becomes a research question. And in two dimensions every mode is near every other. In the 784 dimensions of a small image, pure noise never comes near the data, and the walk is longer.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Score and denoiser differ by", f"{(by_autograd - by_denoiser).abs().max():.0e}", "automatic differentiation"],
        [
            "10 steps",
            f"{reports[10].covered} of 25 modes, {reports[10].share:.0%} in",
            f"exact samples: {exact.share:.1%}",
        ],
        ["50 steps", f"{reports[50].covered} of 25 modes, {reports[50].share:.1%} in a mode", "a little too tight"],
        [
            f"Divergence of the path, {first} to {final} steps",
            f"{sums['equal steps in t'][first]:.2f} to {sums['equal steps in t'][final]:.2f}, equal steps in t",
            f"{sums['equal steps in ell'][first]:.2f} to {sums['equal steps in ell'][final]:.2f}, equal in ell",
        ],
        [
            "The article's step",
            f"largest coordinate {ends['the article'].abs().max():.0e}",
            f"DDPM: {ends['step_back (DDPM)'].abs().max():.1f}",
        ],
        ["No fresh noise", f"{lost.covered} of 25 modes", "DDIM: " + rows[-1][2]],
    ],
)

# %% [markdown]
# ## To read
#
# - Jascha Sohl-Dickstein, Eric Weiss, Niru Maheswaranathan, Surya Ganguli: *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, ICML 2015, arXiv 1503.03585. Where the idea of learning to reverse a diffusion begins, with a swiss roll.
# - Jonathan Ho, Ajay Jain, Pieter Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, arXiv 2006.11239. Equations 6 and 7 are `step_back`; algorithm 2 is `sample`.
# - Bradley Efron: *Tweedie's Formula and Selection Bias*, Journal of the American Statistical Association 106 (2011), 1602–1614. The one-line identity of this chapter, from people who never thought of images.
#
# **Next, chapter 03:** the formula goes, a network comes. It sees only samples, and learns the very same denoiser; we can watch how close it gets, because here we know the answer.
