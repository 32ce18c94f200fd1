"""Exercises of chapter 02, `reverse`."""

import torch
from torch import Generator, Tensor

from minidiff import predict, sample
from minidiff.course.exercises import at, exercise, levels, normal, one_beta, uniform
from minidiff.data.toy import Mixture

Inputs = tuple[Tensor, ...]

# --- posterior mean ---------------------------------------------------------------------------------------


def _mean_inputs(generator: Generator) -> Inputs:
    weights = uniform(generator, 0.2, 1.2, 4)
    std = uniform(generator, 0.2, 0.5)
    return (normal(generator, 7, 2), *levels(generator), normal(generator, 4, 2), std, weights / weights.sum())


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


def _with_chances(chances):
    """The right answer, but for the chances: a function of the exponents (B, K) and the weights (K,)."""

    def answer(x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor) -> Tensor:
        _, inside, _ = Mixture(means, std, weights).parts(x_t, alpha, sigma)
        gap2 = (x_t[:, None] - alpha * means).square().sum(-1)
        return (chances(-gap2 / (2 * (alpha**2 * std**2 + sigma**2)), weights)[:, :, None] * inside).sum(1)

    return answer


def _likeliest(exponent: Tensor, weights: Tensor) -> Tensor:
    return torch.nn.functional.one_hot((weights.log() + exponent).argmax(1), len(weights)).to(weights)


POSTERIOR_MEAN = exercise(
    "reverse.posterior-mean",
    "The exact denoiser, in any dimension",
    2,
    20,
    inputs=_mean_inputs,
    reference=_mean_reference,
    wrong={
        "no shrink": (
            _no_shrink,
            "You average the centres of the modes. But each mode has a width: inside it the best guess lies between its centre and what `x_t` says.",
        ),
        "only sigma": (
            _only_sigma,
            "Your chances use the variance `sigma**2`. A noisy mode is wider: its own width, scaled by alpha, adds to the noise.",
        ),
        "no weights": (
            _no_weights,
            "You treat all modes as equally likely beforehand. Bayes' rule starts from `weights`.",
        ),
        "weights without log": (
            _with_chances(lambda e, w: torch.softmax(w + e, 1)),
            "You add `weights` to the exponents. A softmax multiplies what is added as a logarithm: `weights.log()`.",
        ),
        "softmax over the wrong axis": (
            _with_chances(lambda e, w: torch.softmax(w.log() + e, 0)),
            "Your softmax runs over the points of the batch (axis 0). For each point, the chances of its K modes must sum to 1: axis 1.",
        ),
        "hard choice": (
            _with_chances(_likeliest),
            "You pick the likeliest mode. The posterior mean averages over all of them, by their chances.",
        ),
    },
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
    return (normal(generator, 5, 3), normal(generator, 5, 3), *levels(generator))


def _from_score(x_t: Tensor, score: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """By linearity: `predict.score` is affine in x0_hat, so its values at 0 and 1 tell the rest."""
    at0, at1 = (predict.score(x_t, torch.full_like(x_t, v), alpha, sigma) for v in (0.0, 1.0))
    return (score - at0) / (at1 - at0)


SCORE = exercise(
    "reverse.score",
    "From the score back to the denoiser",
    1,
    5,
    inputs=_score_inputs,
    reference=_from_score,
    wrong={
        "downhill": (
            lambda x, g, a, s: (x - s**2 * g) / a,
            "The sign is turned: the score points uphill, from `x_t` towards the data, so one walks *with* it.",
        ),
        "one sigma": (
            lambda x, g, a, s: (x + s * g) / a,
            "You go a distance of `sigma` times the score. The score is a slope: it is divided by sigma twice.",
        ),
        "no alpha": (
            lambda x, g, a, s: x + s**2 * g,
            "This is `alpha * x0_hat`, where the data sits at level t. Divide it by alpha.",
        ),
        "divided too early": (
            lambda x, g, a, s: x / a + s**2 * g,
            "Solve for `alpha * x0_hat` first, then divide all of it by alpha.",
        ),
    },
    hints=(
        "Tweedie's line has three known things and one unknown in it. Solve it for `x0_hat`.",
        "Multiply by sigma squared, bring `x_t` to the other side, divide.",
    ),
    solution="""
def from_score(x_t, score, alpha, sigma):
    return (x_t + sigma**2 * score) / alpha
""",
)

# --- the article's step, mended ---------------------------------------------------------------------------


def _step_inputs(generator: Generator) -> Inputs:
    return (normal(generator, 6, 2), normal(generator, 6, 2), *one_beta(generator))


def _ddpm_mean(x_t: Tensor, eps_hat: Tensor, beta: Tensor, alpha_bar: Tensor) -> Tensor:
    """The posterior mean of x_s given x_t and x0_hat, as `sample.ddim` writes it with eta=1."""
    alpha_bar_s = alpha_bar / (1 - beta)
    x0_hat = (x_t - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
    tau = (1 - alpha_bar_s) * (1 - alpha_bar * (1 - alpha_bar_s) / (alpha_bar_s * (1 - alpha_bar)))
    schedule = at(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
    return alpha_bar_s.sqrt() * x0_hat + (1 - alpha_bar_s - tau).sqrt() * sample.eps_hat(schedule, x_t, beta, x0_hat)


FIX = exercise(
    "reverse.fix-the-article",
    "Mend the published line",
    2,
    15,
    inputs=_step_inputs,
    reference=_ddpm_mean,
    wrong={
        "as published": (
            lambda x, e, b, a: (x - e) / (1 - b).sqrt(),
            "This is the published line: it takes away all the noise at every step, and then divides.",
        ),
        "charitable": (
            lambda x, e, b, a: (x - b.sqrt() * e) / (1 - b).sqrt(),
            "This takes away as much noise as one step added. But `eps_hat` is the noise of all steps so far, scaled to unit size; a single step owns only a small share of it.",
        ),
        "all of the noise": (
            lambda x, e, b, a: (x - (1 - a).sqrt() * e) / (1 - b).sqrt(),
            "`sqrt(1 - alpha_bar) * eps_hat` is all the noise there is in `x_t`: nothing would be left of it after one step. Only beta's share of it goes.",
        ),
        "alpha_bar of the level before": (
            lambda x, e, b, a: (x - b / (1 - a / (1 - b)).sqrt() * e) / (1 - b).sqrt(),
            "Nearly: your `alpha_bar` is that of the level you step to. `eps_hat` is the noise in `x_t`, so `alpha_bar` is the product up to and including this step's `1 - beta`, as handed over.",
        ),
        "not rescaled": (
            lambda x, e, b, a: x - b / (1 - a).sqrt() * e,
            "The noise is right. The forward step also shrank the signal by `sqrt(1 - beta)`: undo that too.",
        ),
        "straight to x0": (
            lambda x, e, b, a: (x - (1 - a).sqrt() * e) / a.sqrt(),
            "This is `x0_hat`, all the way to the data in one go. One step back is asked.",
        ),
    },
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
    """Two levels of some schedule, t the noisier one, and the data's standard deviation."""
    alpha_s, sigma_s = uniform(generator, 0.7, 1.1), uniform(generator, 0.2, 0.6)
    alpha_t, sigma_t = alpha_s * uniform(generator, 0.4, 0.9), sigma_s * uniform(generator, 1.2, 2.5)
    return alpha_t, sigma_t, alpha_s, sigma_s, uniform(generator, 0.3, 1.5)


def _fresh(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor, sd: Tensor) -> Tensor:
    """By the package's exact posterior: noising x_s further is noising a Gaussian of its width."""
    at_s = (alpha_s**2 * sd**2 + sigma_s**2).sqrt()
    source = Mixture(torch.zeros(1, 1, dtype=torch.float64), at_s)
    ratio = alpha_t / alpha_s
    step = (sigma_t**2 - ratio**2 * sigma_s**2).sqrt()
    return source.parts(torch.zeros(1, 1, dtype=torch.float64), ratio, step)[2].square().squeeze()


def _tau(at: Tensor, st: Tensor, as_: Tensor, ss: Tensor) -> Tensor:
    return ss**2 * (1 - (at * ss / (as_ * st)) ** 2)


FRESH = exercise(
    "reverse.fresh-noise",
    "How much of the noise must be fresh?",
    3,
    25,
    inputs=_noise_inputs,
    reference=_fresh,
    wrong={
        "standard deviation": (
            lambda *a: _fresh(*a).sqrt(),
            "This is the standard deviation. The variance is asked.",
        ),
        "as if x0 were known": (
            lambda at, st, as_, ss, sd: _tau(at, st, as_, ss),
            "This is `tau`, the answer when `x0` is known. Here it is not: `x_s` is wider before `x_t` is seen, by `alpha_s**2 sd**2`.",
        ),
        "as if x0 were known, on a circle": (
            lambda at, st, as_, ss, sd: ss**2 * (1 - (at / as_) ** 2) / st**2,
            "This is `tau` as DDPM writes it, for a known `x0` and `alpha**2 + sigma**2 = 1`. Here `x0` is not known, and the levels are any two.",
        ),
        "as if the data had variance 1": (
            lambda at, st, as_, ss, sd: 1 - (at / as_) ** 2,
            "This is DDPM's beta: the answer when the data has `sd = 1` and `alpha**2 + sigma**2 = 1`.",
        ),
        "forward variance": (
            lambda at, st, as_, ss, sd: st**2 - (at / as_) ** 2 * ss**2,
            "This is the variance of the forward step from s to t. Going back you have seen where it arrived, so less is left open.",
        ),
        "1 - c for 1 - c**2": (
            lambda at, st, as_, ss, sd: (
                (as_**2 * sd**2 + ss**2) * (1 - at / as_ * ((as_**2 * sd**2 + ss**2) / (at**2 * sd**2 + st**2)).sqrt())
            ),
            "Nearly: with c the correlation of `x_s` and `x_t`, the share of the variance that stays open is `1 - c**2`, not `1 - c`.",
        ),
        "all of it": (
            lambda at, st, as_, ss, sd: as_**2 * sd**2 + ss**2,
            "This is the variance of `x_s` for one who has not seen `x_t`.",
        ),
    },
    hints=(
        "Before `x_t` is seen, `x_s` is Gaussian with variance `V_s = alpha_s**2 sd**2 + sigma_s**2`. Forward, `x_t = (alpha_t/alpha_s) x_s + noise` of variance `v = sigma_t**2 - (alpha_t/alpha_s)**2 sigma_s**2`.",
        "For Gaussians precisions add: `1/answer = 1/V_s + (alpha_t/alpha_s)**2 / v`.",
        "Try `sd = 0`: out comes the `tau` of `step_back`. Try `sd = 1` with `alpha**2 + sigma**2 = 1`: out comes beta.",
    ),
    solution="""
def fresh_noise(alpha_t, sigma_t, alpha_s, sigma_s, sd):
    ratio = alpha_t / alpha_s
    before = alpha_s**2 * sd**2 + sigma_s**2              # variance of x_s
    step = sigma_t**2 - ratio**2 * sigma_s**2             # variance of x_t given x_s
    return 1 / (1 / before + ratio**2 / step)
""",
)

EXERCISES = [POSTERIOR_MEAN, SCORE, FIX, FRESH]
