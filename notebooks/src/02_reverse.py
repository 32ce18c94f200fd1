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
# Chapter 01 destroyed data; that was easy. This chapter brings it back, and there is no network in it. Nothing here is trained, nothing is approximate. Our data will be so simple that the perfect denoiser can be written in six lines, and so every picture below shows what diffusion *is*, not how well somebody trained it.
#
# Here is what we are going to build. Two thousand points of pure noise go in. They have no idea where the data lives.

# %%
import math

import torch
from torch import Generator

from minidiff import Betas, ddim, exact_denoiser, last, pick, prior, uniform_grid
from minidiff.course.notebook import *
from minidiff.data.toy import grid25, two_peaks
from minidiff.measure.modes import mode_report

scale = start(needs="0.1")

# %% tags=["core"]
schedule, source = Betas(), grid25()  # DDPM's schedule; 25 narrow modes on a 5 x 5 grid
denoise = exact_denoiser(source, schedule)  # x_t, t -> x0_hat, exact
n, film_steps = pick(smoke=200, laptop=2000), pick(smoke=10, laptop=50)
noise = prior(schedule, (n, 2), Generator().manual_seed(0))


# %% tags=["core", "stage"]
frames, labels, generator = [], [], Generator().manual_seed(1)
walk = ddim(denoise, noise, uniform_grid(film_steps), schedule, eta=1, generator=generator)
for i, (t, x, x0_hat) in enumerate(walk):
    if i % 2 == 1:
        items = [(f"the points, t = {t:.2f}", x), ("what the denoiser believes, x0_hat", x0_hat)]
        frames.append(figure_frame(panels(items, kinds=["model", "exact"], limit=3.2, columns=2)))
        labels.append(f"t = {t:.2f}")
animation(
    frames,
    labels=labels,
    fps=8,
    alt="A round cloud of 2,000 points draws together into 25 tight dots on a five by five grid; beside it the denoiser's beliefs begin as one blob in the middle and spread out to the grid earlier than the points do.",
    mark=f"live: n = {n:,}, {film_steps} steps, seeds 0 and 1",
)

# %% [markdown]
# Play it once and watch the right side. At the start every point is believed to be *the same thing*: the middle of the grid, where no data is. Then the belief splits, and splits again, and the points follow it home. By the end of this page you will have written both sides of that film.
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
# *Where inside the peak?* Between its centre and what `x_t` suggests, in proportion to how much of the spread is signal.
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
# Drag `x_t` and `t` below. The filled curve is the exact posterior of `x0`; the line is its mean, our six lines. Two questions a still picture cannot answer: *at which t does the belief stop being one hill?* And at `t = 0.3`, *how far do you have to pull `x_t` to change its mind?*

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
# The arrows below are that score on the 25-mode grid, at three levels. Noise blurs the landscape: at high t there is one wide hill, at low t there are twenty-five narrow ones. This is the reason to come down the levels *in order*. From far away, only the blurred landscape has anything to say about where to go.

# %% tags=["core", "stage"]
ticks = torch.linspace(-2.6, 2.6, 22)
field = torch.cartesian_prod(ticks, ticks)
fig, axes = figure(columns=3, height=2.6)
for ax, t in zip(axes, (0.5, 0.2, 0.05), strict=True):
    level = torch.tensor(t)
    arrow = score(field, denoise(field, level), schedule.alpha(level), schedule.sigma(level))
    arrow = arrow / arrow.norm(dim=1, keepdim=True) * arrow.norm(dim=1, keepdim=True).clamp(max=6) ** 0.5
    ax.quiver(*field.T, *arrow.T, color="#E57309", width=0.004, scale=50)
    ax.scatter(*(schedule.alpha(level) * source.means).T, s=10, marker="+", color="#191B1A")
    ax.set(title=f"t = {t}", aspect="equal", xticks=[], yticks=[])
show(
    fig,
    alt="Three fields of arrows with the 25 modes as crosses: at t = 0.5 all arrows point to the centre, at t = 0.2 they begin to bend towards rows of modes, at t = 0.05 every arrow points to its nearest mode.",
    mark="exact: lengths compressed so that all can be seen",
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
# How large is `tau`? Given `x0`, the level-s point has variance `sigma_s²`; having also seen `x_t`, which is a noisier copy of it, narrows that down. Two Gaussians, Bayes again (the exercise at the end does it), and out comes
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
# Read the last line of `step_back` once more, because everything later is a variation of it: *what I believe, plus what is left of the old noise, plus a little new noise*. At the very end `sigma_s` is 0, both noises vanish by themselves, and the point lands on `x0_hat`.
#
# Before two thousand points are let loose, follow a single number through twenty-four steps. The curve is everything that could still be true of it; the triangle is where it stands. *At which step does it make up its mind, and could it still have gone the other way one step earlier?*

# %% tags=["core", "stage"]
generator, x, frames, labels = Generator().manual_seed(5), torch.tensor([[-0.4]]), [], []
grid = uniform_grid(pick(smoke=6, laptop=24))
for t, s in zip(grid[:-1], grid[1:], strict=True):
    posterior, mean = believe(x.item(), t.item())
    fig, ax = figure(height=2.2)
    filled(ax, xs[:, 0], posterior / posterior.max(), "exact", "could be true")
    ax.plot(x.item(), 0, "^", color=COLOURS["model"], markersize=10, clip_on=False)
    ax.axvline(mean, color=COLOURS["model"], linewidth=1)
    ax.set(
        xlim=(-2.2, 2.2), ylim=(0, 1.25), yticks=[], xlabel=f"t = {t:.2f}:  x_t = {x.item():.2f},  x0_hat = {mean:.2f}"
    )
    frames.append(figure_frame(fig))
    labels.append(f"t = {t:.2f}")
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
# The founding article of this course says that a thousand small steps are easier than one giant leap. It is right, and here we can count. A sample is *in a mode* if it lies within three standard deviations of it; a mode is *covered* if it holds its fair share, or at least a tenth of it. Bet first.

# %% tags=["core", "stage"]
predict(
    "reverse.ten-steps",
    "Ten steps instead of a thousand, with the perfect denoiser. How many of the samples land in a mode?",
    ["fewer than 10%", "about a third", "about 90%"],
)

# %% tags=["core", "stage"]
counts = (1, 2, 5, 10, 20, 50)
clouds = {steps: sample(steps, seed=0) for steps in counts}
reports = {steps: mode_report(x, source.means, 0.05) for steps, x in clouds.items()}
items = [(f"{k} step{'s' * (k > 1)}: {r.covered}/25 modes, {r.share:.0%} in", clouds[k]) for k, r in reports.items()]
show(
    panels(items, kinds="model", limit=3.0, columns=3),
    alt="Six clouds. One step: a single dot in the centre. Two and five steps: a square blob without modes. Ten steps: 25 blurred spots. Twenty: clear spots. Fifty: 25 sharp dots.",
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
    alt="Share of samples in a mode against the number of steps: from chance level at 1 to 5 steps up to the level of exact samples at 50.",
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
# `step_back` draws from a Gaussian. Is the true step back Gaussian? For our two peaks we can write down the exact distribution of `x_s` given `x_t` (it is a mixture again) and lay the sampler's Gaussian over it.


# %% tags=["core"]
def true_step(x_t, t, s):
    alpha_t, sigma_t, alpha_s, sigma_s = (schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s))
    var_t, var_s = alpha_t**2 * std**2 + sigma_t**2, alpha_s**2 * std**2 + sigma_s**2
    ratio = alpha_t / alpha_s
    chance = torch.softmax(weights.log() - (x_t - alpha_t * means) ** 2 / (2 * var_t), dim=1)
    centre = alpha_s * means + ratio * var_s / var_t * (x_t - alpha_t * means)
    return (chance, centre, var_s - (ratio * var_s) ** 2 / var_t)  # weights, means and variance of x_s given x_t


def gaussian(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / (2 * math.pi * variance) ** 0.5


def compare(x_t, t, s):
    t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    chance, centre, variance = true_step(x_t, t, s)
    alpha_t, sigma_t, alpha_s, sigma_s = (schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s))
    tau = sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
    mean = step_back(x_t, posterior_mean(torch.tensor([[x_t]]), alpha_t, sigma_t), t, s, 0.0)
    return (chance * gaussian(xs, centre, variance)).sum(1), gaussian(xs, mean, tau).squeeze(1)


# %% tags=["core", "stage"]
fig, axes = figure(columns=3, height=2.2)
for ax, s in zip(axes, (0.02, 0.15, 0.24), strict=True):
    true, ours = compare(0.1, 0.25, s)
    distance = 0.5 * (true - ours).abs().sum().item() * 0.01
    filled(ax, xs[:, 0], true, "exact", "true step" * (s < 0.1))
    filled(ax, xs[:, 0], ours, "model", "our Gaussian" * (s < 0.1))
    ax.set(ylim=(0, 1.3 * max(true.max(), ours.max())), yticks=[], xlabel="x_s")
    ax.set_title(f"from t = 0.25 to s = {s}\ntotal variation {distance:.2f}")
show(
    fig,
    alt="True distribution of the step back beside the sampler's Gaussian. A large step: two peaks against one bump between them. A medium step: a broad shape against a narrower bump. A small step: the two curves coincide.",
    mark="exact: x_t = 0.1",
)

# %% [markdown]
# A long step has to decide between two peaks, and no single Gaussian can say "either here or there". A short step has nothing to decide: whichever peak it will be, the next small movement is nearly the same. *That* is what "small steps are easy" means. Each one is a question whose answer is a single hill.
#
# How fast does the error vanish? Errors of independent steps add up if they are measured as a divergence, `KL = ∫ p log(p/q)`, so that is what we plot.

# %% tags=["core"]
gaps = torch.tensor([0.16, 0.08, 0.04, 0.02, 0.01])
errors = []
for gap in gaps:
    p, q = compare(0.1, 0.25, 0.25 - gap.item())
    errors.append((p * (p / q).log()).nansum() * 0.01)
slope = ((errors[-1] / errors[-3]).log() / (gaps[-1] / gaps[-3]).log()).item()

# %% tags=["core", "stage"]
fig, ax = figure(height=2.2)
ax.set(xscale="log", yscale="log", xlabel="size of the step, t - s", ylabel="divergence of one step")
ax.set(xticks=gaps.tolist(), xticklabels=[f"{g:g}" for g in gaps])
ax.minorticks_off()
lines(ax, gaps.flip(0), {"": torch.stack(errors).flip(0)}, kinds=["model"])
show(
    fig,
    alt="On logarithmic axes the divergence of one step falls along a straight line as the step shrinks.",
    mark="exact: from t = 0.25, x_t = 0.1",
)
say(
    f"Slope at the small end: **{slope:.2f}**. Half the step, {2**slope:.1f} times less error in each. There are twice as many steps, so the whole walk errs {2**slope / 2:.1f} times less."
)

# %% [markdown]
# ## A published mistake
#
# The founding article gives the step back like this, and repeats it a thousand times:
#
# > `x_(t-1) = (x_t - predicted_noise) / √(1 - β_t)` … "Add small random noise (for diversity)"
#
# It looks plausible. The forward step multiplied by √(1−β) and added noise; so subtract the noise and divide. Try it with the *exact* noise, on 1,000 levels, beside three other readings. The second one is charitable: "the noise" might mean what this one step added, √β eps. The third is the right mean but leaves out the random part, since that is only "for diversity".

# %% tags=["core", "stage"]
predict(
    "reverse.noiseless",
    "The right formula, a perfect denoiser, 1,000 steps, but no fresh noise in any step. The samples",
    ["cover all modes, just a bit less evenly", "cover about half of the modes", "all fall into one point"],
)

# %% tags=["core"]
STEPS = {  # x, eps_hat, beta, sigma_t, z -> the next x
    "the article": lambda x, eps, beta, sigma, z: (x - eps) / (1 - beta).sqrt(),
    "charitable reading": lambda x, eps, beta, sigma, z: (x - beta.sqrt() * eps) / (1 - beta).sqrt(),
    "right mean, no noise": lambda x, eps, beta, sigma, z: (x - beta / sigma * eps) / (1 - beta).sqrt(),
    "right mean and noise (DDPM)": lambda x, eps, beta, sigma, z: (
        (x - beta / sigma * eps) / (1 - beta).sqrt() + beta.sqrt() * z
    ),
}

# %% tags=["core"]
betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
few = pick(smoke=50, laptop=500)


def thousand(step):
    generator = Generator().manual_seed(3)
    x, sizes = prior(schedule, (few, 2), generator).double(), []
    for k in range(1000, 0, -1):
        t = torch.tensor(k / 1000, dtype=torch.float64)
        eps_hat = (x - schedule.alpha(t) * denoise(x, t)) / schedule.sigma(t)
        z = torch.randn(x.shape, generator=generator) * (k > 1)  # no noise after the last step
        x = step(x, eps_hat, betas[k - 1], schedule.sigma(t), z)
        sizes.append(x.abs().max().item())
    return x, sizes


# %% tags=["core"]
ends, sizes = {}, {}
for name, step in tqdm(STEPS.items()):
    ends[name], sizes[name] = thousand(step)
ends["DDIM, no noise, other coefficients"] = last(
    ddim(denoise, prior(schedule, (few, 2), Generator().manual_seed(3)).double(), uniform_grid(1000), schedule)
)

# %% tags=["core", "stage"]
rows = []
for name, x in ends.items():
    result = mode_report(x, source.means, 0.05)
    rows.append(
        [
            name,
            f"{x.abs().max():.3g}",
            f"{result.covered} of 25",
            f"{result.share:.0%}",
            f"{x.std():.3g}" if x.abs().max() < 1e9 else "-",
        ]
    )
table(["step", "largest coordinate", "modes", "in a mode", "std (data: 1.41)"], rows)

# %% tags=["core", "stage"]
fig, ax = figure(height=2.6)
steps_done = torch.tensor([*range(0, 1000, 40), 999])
ax.set(
    yscale="log",
    xlabel="steps done",
    ylabel="largest coordinate",
    xlim=(0, 1330),
    ylim=(1e-30, 1e42),
    xticks=[0, 250, 500, 750, 1000],
)
lines(
    ax,
    steps_done,
    {name: torch.tensor(size)[steps_done].clamp(min=1e-30) for name, size in sizes.items()},
    kinds=["control", "noise", "baseline", "model"],
)
show(
    fig,
    alt="Largest coordinate against steps on a logarithmic axis: the article's step grows without bound by dozens of orders of magnitude, the charitable reading and the step without noise shrink towards zero, DDPM stays near 2.",
    mark=f"live: n = {few}, seed 3, exact denoiser",
)
lost = mode_report(ends["right mean, no noise"], source.means, 0.05)
reveal(
    "reverse.noiseless", "all fall into one point", f"{lost.covered} of 25 modes. Not less diverse: not diverse at all."
)

# %% [markdown]
# The article's line has a curious life. At first it takes away *all* the noise in every step, so the cloud shrinks to nothing within forty steps. Then, where sigma falls below ½, subtracting unit noise overshoots: what is left is multiplied by 1/sigma − 1, which is more than one, and rounding errors grow until they fill the screen. No better network could help; this one was perfect.
#
# And the third curve? The noise is not decoration. At each level, the points must be spread as the noisy data is spread at that level. The right mean pulls them together a little at every step, and the fresh noise pushes them apart by exactly as much. Leave it out and a thousand small contractions multiply to one point.
#
# The last row of the table prevents the wrong conclusion. DDIM uses no fresh noise either and covers everything. It keeps *all* of the old noise, `sigma_s eps_hat`, instead of a part of it. A sampler without randomness is possible, it just needs other coefficients. In the code it is the same function, `ddim(eta=0)`; what happens between `eta=0` and `eta=1` is a story for chapter 06.
#
# The right line, in the article's own letters, with ᾱ for the product of all (1−β) so far:
#
# > `x_(t-1) = (x_t − β_t/√(1−ᾱ_t) · predicted_noise) / √(1−β_t) + √β_t · z`

# %% [markdown]
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
        [
            "Is the score the denoiser in disguise?",
            f"differs by {(by_autograd - by_denoiser).abs().max():.0e}",
            "automatic differentiation",
        ],
        [
            "10 steps",
            f"{reports[10].covered} of 25 modes, {reports[10].share:.0%} in a mode",
            f"exact samples: {exact.share:.1%}",
        ],
        ["50 steps", f"{reports[50].covered} of 25 modes, {reports[50].share:.1%} in a mode", "a little too tight"],
        ["Halve a step: its error falls by", f"{2**slope:.1f} times", "a long step: two peaks against one"],
        [
            "The article's step",
            f"largest coordinate {ends['the article'].abs().max():.0e}",
            "DDPM: " + f"{ends['right mean and noise (DDPM)'].abs().max():.1f}",
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
