"""Exercises of chapter 02, `reverse`."""

import torch
from torch import Generator, Tensor

from minidiff import predict
from minidiff.course.check import Exercise, Wrong
from minidiff.course.exercises import normal
from minidiff.data.toy import Mixture

Inputs = tuple[Tensor, ...]


def _levels(generator: Generator) -> Inputs:
    """alpha, sigma, of a variance-preserving schedule at a random level."""
    angle = 0.3 + torch.rand((), generator=generator, dtype=torch.float64)
    return angle.cos(), angle.sin()


# --- posterior mean ---------------------------------------------------------------------------------------


def _mean_inputs(generator: Generator) -> Inputs:
    weights = torch.rand(4, generator=generator, dtype=torch.float64) + 0.2
    std = 0.2 + 0.3 * torch.rand((), generator=generator, dtype=torch.float64)
    return (normal(generator, 7, 2), *_levels(generator), normal(generator, 4, 2), std, weights / weights.sum())


def _mean_reference(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
    return Mixture(means, std, weights).posterior_mean(x_t, alpha, sigma)


def _chances(x_t: Tensor, alpha: Tensor, means: Tensor, variance: Tensor, weights: Tensor) -> Tensor:
    gap2 = (x_t[:, None] - alpha * means).square().sum(-1)
    return torch.softmax(weights.log() - gap2 / (2 * variance), 1)


def _no_shrink(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
    return _chances(x_t, alpha, means, alpha**2 * std**2 + sigma**2, weights) @ means


def _only_sigma(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    chance = _chances(x_t, alpha, means, sigma**2, weights)
    return (chance[..., None] * (means + gain * (x_t[:, None] - alpha * means))).sum(1)


def _no_weights(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
    return _mean_reference(x_t, alpha, sigma, means, std, torch.full_like(weights, 1 / len(weights)))


def _hard_choice(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
    r, inside, _ = Mixture(means, std, weights).parts(x_t, alpha, sigma)
    return inside[torch.arange(len(x_t)), r.argmax(1)]


POSTERIOR_MEAN = Exercise(
    id="reverse.posterior-mean",
    title="The exact denoiser, in any dimension",
    difficulty=2,
    minutes=20,
    reference=_mean_reference,
    inputs=_mean_inputs,
    wrong=(
        Wrong(
            "no shrink",
            _no_shrink,
            "You average the centres of the modes. But each mode has a width: inside it the best guess lies between its centre and what `x_t` says.",
        ),
        Wrong(
            "only sigma",
            _only_sigma,
            "Your chances use the variance `sigma**2`. A noisy mode is wider: its own width, scaled by alpha, adds to the noise.",
        ),
        Wrong(
            "no weights",
            _no_weights,
            "You treat all modes as equally likely beforehand. Bayes' rule starts from `weights`.",
        ),
        Wrong(
            "hard choice",
            _hard_choice,
            "You pick the likeliest mode. The posterior mean averages over all of them, by their chances.",
        ),
    ),
    hints=(
        "Start with one mode: what is the variance of `x_t` around `alpha * mean`? Two independent things add up.",
        "The chance of mode k is a softmax over k of `weights.log() - |x_t - alpha mean_k|**2 / (2 variance)`.",
        "Inside mode k the best guess is `mean_k + alpha * std**2 / variance * (x_t - alpha * mean_k)`. Average these by the chances.",
    ),
    solution="""
def posterior_mean(x_t, alpha, sigma, means, std, weights):
    variance = alpha**2 * std**2 + sigma**2
    gap = x_t[:, None, :] - alpha * means                                              # (B, K, D)
    chance = torch.softmax(weights.log() - gap.square().sum(-1) / (2 * variance), 1)   # (B, K)
    inside = means + alpha * std**2 / variance * gap                                   # (B, K, D)
    return (chance[:, :, None] * inside).sum(1)                                        # (B, D)
""",
)

# --- score ------------------------------------------------------------------------------------------------


def _score_inputs(generator: Generator) -> Inputs:
    return (normal(generator, 5, 3), normal(generator, 5, 3), *_levels(generator))


SCORE = Exercise(
    id="reverse.score",
    title="The score from the denoiser",
    difficulty=1,
    minutes=5,
    reference=predict.score,
    inputs=_score_inputs,
    wrong=(
        Wrong(
            "downhill",
            lambda x, x0, a, s: (x - a * x0) / s**2,
            "The sign is turned: the score points uphill, from `x_t` towards where the data says it should be.",
        ),
        Wrong(
            "one sigma",
            lambda x, x0, a, s: (a * x0 - x) / s,
            "You divide by sigma once. That is minus the noise, `-eps_hat`; the score divides by sigma twice.",
        ),
        Wrong(
            "no alpha",
            lambda x, x0, a, s: (x0 - x) / s**2,
            "You compare `x_t` with `x0_hat` itself. At level t the data sits at `alpha * x0_hat`.",
        ),
    ),
    hints=(
        "If only one x0 were possible, `x_t` would be Gaussian around `alpha * x0`. What is the gradient of its log density?",
        "It is `(alpha * x0 - x_t) / sigma**2`. With many possible x0, average it.",
    ),
    solution="""
def score(x_t, x0_hat, alpha, sigma):
    return (alpha * x0_hat - x_t) / sigma**2
""",
)

# --- the article's step, mended ---------------------------------------------------------------------------


def _step_inputs(generator: Generator) -> Inputs:
    beta = 0.01 + 0.1 * torch.rand((), generator=generator, dtype=torch.float64)
    before = 0.2 + 0.6 * torch.rand((), generator=generator, dtype=torch.float64)
    return normal(generator, 6, 2), normal(generator, 6, 2), beta, before * (1 - beta)


def _ddpm_mean(x_t: Tensor, eps_hat: Tensor, beta: Tensor, alpha_bar: Tensor) -> Tensor:
    """The posterior mean of x_s given x_t and x0_hat, as `sample.ddim` writes it with eta=1."""
    alpha_bar_s = alpha_bar / (1 - beta)
    x0_hat = (x_t - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
    tau = (1 - alpha_bar_s) * (1 - alpha_bar * (1 - alpha_bar_s) / (alpha_bar_s * (1 - alpha_bar)))
    return alpha_bar_s.sqrt() * x0_hat + (1 - alpha_bar_s - tau).sqrt() * eps_hat


FIX = Exercise(
    id="reverse.fix-the-article",
    title="Mend the published line",
    difficulty=2,
    minutes=15,
    reference=_ddpm_mean,
    inputs=_step_inputs,
    wrong=(
        Wrong(
            "as published",
            lambda x, e, b, a: (x - e) / (1 - b).sqrt(),
            "This is the published line: it takes away all the noise at every step, and then divides.",
        ),
        Wrong(
            "charitable",
            lambda x, e, b, a: (x - b.sqrt() * e) / (1 - b).sqrt(),
            "This takes away as much noise as one step added. But `eps_hat` is the noise of all steps so far, scaled to unit size; a single step owns only a small share of it.",
        ),
        Wrong(
            "not rescaled",
            lambda x, e, b, a: x - b / (1 - a).sqrt() * e,
            "The noise is right. The forward step also shrank the signal by `sqrt(1 - beta)`: undo that too.",
        ),
        Wrong(
            "straight to x0",
            lambda x, e, b, a: (x - (1 - a).sqrt() * e) / a.sqrt(),
            "This is `x0_hat`, all the way to the data in one go. One step back is asked.",
        ),
    ),
    hints=(
        "Write `x0_hat` from `x_t` and `eps_hat`, put it into the step back of this chapter, without its random part, and collect terms.",
        "The result has the shape `(x_t - c * eps_hat) / sqrt(1 - beta)`. Only c is to be found.",
        "c is beta, divided by the size of the noise in `x_t`, which is `sqrt(1 - alpha_bar)`.",
    ),
    solution="""
def ddpm_mean(x_t, eps_hat, beta, alpha_bar):
    return (x_t - beta / (1 - alpha_bar).sqrt() * eps_hat) / (1 - beta).sqrt()
""",
)

# --- how much fresh noise ---------------------------------------------------------------------------------


def _noise_inputs(generator: Generator) -> Inputs:
    low, high = torch.rand(2, generator=generator, dtype=torch.float64).sort().values * 1.2 + 0.1
    return high.cos(), high.sin(), low.cos(), low.sin()


def _tau(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> Tensor:
    return sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)


FRESH = Exercise(
    id="reverse.fresh-noise",
    title="How much of the noise must be fresh?",
    difficulty=3,
    minutes=25,
    reference=_tau,
    inputs=_noise_inputs,
    wrong=(
        Wrong(
            "standard deviation", lambda *a: _tau(*a).sqrt(), "This is the standard deviation. The variance is asked."
        ),
        Wrong(
            "forward variance",
            lambda at, st, as_, ss: st**2 - (at / as_) ** 2 * ss**2,
            "This is the variance of the forward step from s to t. Going back you also know `x0`, so less is left open.",
        ),
        Wrong(
            "all of it",
            lambda at, st, as_, ss: ss**2,
            "With all noise fresh you would forget `x_t` altogether: only `x0` would be kept.",
        ),
    ),
    hints=(
        "Forward, `x_t = (alpha_t/alpha_s) x_s + noise` of variance `v = sigma_t**2 - (alpha_t/alpha_s)**2 sigma_s**2`.",
        "Given x0, `x_s` has variance `sigma_s**2`; seeing `x_t` narrows that. For Gaussians precisions add: `1/tau = 1/sigma_s**2 + (alpha_t/alpha_s)**2 / v`.",
        "Multiply out: `tau = sigma_s**2 * v / sigma_t**2`.",
    ),
    solution="""
def fresh_noise(alpha_t, sigma_t, alpha_s, sigma_s):
    step = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return sigma_s**2 * step / sigma_t**2
""",
)

EXERCISES = [POSTERIOR_MEAN, SCORE, FIX, FRESH]
