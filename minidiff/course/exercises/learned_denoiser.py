"""Exercises of chapter 03, `learned-denoiser`."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import at, exercise, levels, normal, one_beta, uniform
from minidiff.data.toy import Mixture
from minidiff.predict import solve
from minidiff.schedule import add_noise, expand

Inputs = tuple
Net = Callable[[Tensor], Tensor]

# --- the loss ---------------------------------------------------------------------------------------------


class _Net:
    """A small fixed function in place of a network, the same for reference and answer."""

    def __init__(self, gain: float):
        self.gain = gain

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(self.gain * x) + 0.1


def _loss_inputs(generator: Generator) -> Inputs:
    net = _Net(0.5 + torch.rand((), generator=generator).item())
    x0, eps = normal(generator, 5, 2, 3, 4), normal(generator, 5, 2, 3, 4)
    return (net, x0, eps, *levels(generator, 5))


def _noisy(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return add_noise(at(alpha, sigma), x0, eps, alpha)


def _errors(net: Net, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return (net(_noisy(x0, eps, alpha, sigma)) - eps).square().flatten(1)


def _loss(net: Net, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return _errors(net, x0, eps, alpha, sigma).mean(1)


LOSS = exercise(
    "learned-denoiser.loss",
    "The loss for pictures",
    1,
    10,
    inputs=_loss_inputs,
    reference=_loss,
    wrong={
        "against x0": (
            lambda net, x, e, a, s: (net(_noisy(x, e, a, s)) - x).square().flatten(1).mean(1),
            "You compare the answer with `x0`. The network is asked for the noise, `eps`.",
        ),
        "variances": (
            lambda net, x, e, a, s: _loss(net, x, e, a.square(), s.square()),
            "You mix with `alpha**2` and `sigma**2`. These are variances; the pictures themselves are multiplied by `alpha` and `sigma`.",
        ),
        "unit noise": (
            lambda net, x, e, a, s: (net(expand(a, x) * x + e) - e).square().flatten(1).mean(1),
            "You mix in noise of size 1 at every level. In `x_t` it has the size sigma.",
        ),
        "sum": (
            lambda *q: _errors(*q).sum(1),
            "You add up the squared errors of a picture. With their mean, the loss does not grow with the number of pixels.",
        ),
        "one number": (
            lambda *q: _errors(*q).mean(),
            "You average over the batch as well. Keep one number for each picture: only then can the loss be told apart by level.",
        ),
        "scaled target": (
            lambda net, x, e, a, s: (net(_noisy(x, e, a, s)) - expand(s, x) * e).square().flatten(1).mean(1),
            "Your target is `sigma * eps`, the noise as it sits in the picture. The network is asked for the unit noise `eps`, so that the question has one size at all levels.",
        ),
    },
    hints=(
        "`alpha` is `(B,)`, the pictures are `(B, C, H, W)`: write `alpha[:, None, None, None]`.",
        "Mix, `x_t = alpha x0 + sigma eps`; ask, `net(x_t)`; compare with `eps`.",
        "`.flatten(1).mean(1)` averages over everything but the batch.",
    ),
    solution="""
def loss(net, x0, eps, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]   # (B, 1, 1, 1)
    error = net(alpha * x0 + sigma * eps) - eps                             # (B, C, H, W)
    return error.square().flatten(1).mean(1)                                # (B,)
""",
)

# --- x0_hat from eps_hat ----------------------------------------------------------------------------------


def _from_inputs(generator: Generator) -> Inputs:
    return (normal(generator, 5, 2, 3, 4), normal(generator, 5, 2, 3, 4), *levels(generator, 5))


def _from_eps(x_t: Tensor, eps_hat: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return solve("eps", at(alpha, sigma), x_t, alpha, eps_hat)[0]


FROM_EPS = exercise(
    "learned-denoiser.from-eps",
    "From the noise to the picture",
    1,
    5,
    inputs=_from_inputs,
    reference=_from_eps,
    wrong={
        "unit noise": (
            lambda x, e, a, s: (x - e) / expand(a, x),
            "You subtract noise of size 1. In `x_t` it has the size `sigma`.",
        ),
        "faded": (
            lambda x, e, a, s: x - expand(s, x) * e,
            "The noise is gone, but the picture is still faded: `x_t` holds `alpha * x0`, not `x0`.",
        ),
        "divided too early": (
            lambda x, e, a, s: x / expand(a, x) - expand(s, x) * e,
            "You divide `x_t` by alpha, but not the noise in it. Subtract first, then divide all that is left.",
        ),
        "score": (
            lambda x, e, a, s: (x + expand(s, x) * e) / expand(a, x),
            "You add the noise once more. Solve `x_t = alpha x0 + sigma eps` for `x0`.",
        ),
    },
    hints=(
        "Solve `x_t = alpha x0 + sigma eps` for `x0`.",
        "`alpha` and `sigma` are `(B,)`: line them up with `[:, None, None, None]`.",
    ),
    solution="""
def from_eps(x_t, eps_hat, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    return (x_t - sigma * eps_hat) / alpha
""",
)

# --- the floor --------------------------------------------------------------------------------------------


def _floor_inputs(generator: Generator) -> Inputs:
    weights, std = uniform(generator, 0.2, 1.2, 3), uniform(generator, 0.2, 0.5)
    return (0.5 * normal(generator), *levels(generator), normal(generator, 3), std, weights / weights.sum())


def _parts(
    x_t: Tensor, alpha: Tensor, sigma: Tensor, means: Tensor, std: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Within, between, and mean: the variance inside the peaks, that of their centres, and the posterior mean."""
    r, centres, stds = Mixture(means[:, None], std, weights).parts(x_t.reshape(1, 1), alpha, sigma)
    r, centres, stds = r[0], centres[0, :, 0], stds[0]
    mean = (r * centres).sum()
    return (r * stds.square()).sum(), (r * (centres - mean).square()).sum(), mean


def _floor(*inputs: Tensor) -> Tensor:
    within, between, _ = _parts(*inputs)
    return _gain(inputs) * (within + between)


def _gain(inputs: tuple[Tensor, ...]) -> Tensor:
    _, alpha, sigma, *_ = inputs
    return (alpha / sigma).square()


FLOOR = exercise(
    "learned-denoiser.irreducible",
    "The floor",
    3,
    25,
    inputs=_floor_inputs,
    reference=_floor,
    wrong={
        "only within": (
            lambda *q: _gain(q) * _parts(*q)[0],
            "You count the width inside the peaks. But it is not known either *which* peak it was: the spread of their centres is missing.",
        ),
        "only between": (
            lambda *q: _gain(q) * _parts(*q)[1],
            "You count the doubt between the peaks. Inside a peak `x0` is not known exactly either: add the posterior variance of each.",
        ),
        "units of x0": (
            lambda *q: _floor(*q) / _gain(q),
            "This is the variance of `x0` given `x_t`, and it is right. The question was about `eps`, in its own units: at fixed `x_t`, how much does `eps` move when `x0` moves?",
        ),
        "not centred": (
            lambda *q: _floor(*q) + _gain(q) * _parts(*q)[2].square(),
            "You averaged `x0**2` without taking off the square of the mean. The best answer is not zero, it is the mean.",
        ),
        "uncentred noise": (
            lambda *q: _floor(*q) + ((q[0] - q[1] * _parts(*q)[2]) / q[2]).square(),
            "This is the mean of `eps**2`: what an answer of 0 pays. The best answer is the mean of `eps`, and it pays only the spread around that.",
        ),
        "gain not squared": (
            lambda *q: _floor(*q) / _gain(q).sqrt(),
            "A factor in `eps` counts squared in a variance: `(alpha/sigma)**2`.",
        ),
    },
    hints=(
        "The chances `r_k` and the means `m_k` inside each peak are those of chapter 02. New is the variance inside a peak: `std**2 * sigma**2 / (alpha**2 std**2 + sigma**2)`.",
        "Total variance of `x0`: the mean of the variances, plus the variance of the means, `sum r_k (m_k - m)**2` with `m = sum r_k m_k`.",
        "At fixed `x_t`, `eps = (x_t - alpha x0)/sigma`. So its variance is `(alpha/sigma)**2` times that of `x0`.",
    ),
    solution="""
def floor(x_t, alpha, sigma, means, std, weights):
    total = alpha**2 * std**2 + sigma**2
    gap = x_t - alpha * means                                           # (K,)
    r = torch.softmax(weights.log() - gap**2 / (2 * total), 0)          # (K,)
    centres = means + alpha * std**2 / total * gap                      # (K,)
    mean = (r * centres).sum()
    variance = std**2 * sigma**2 / total + (r * (centres - mean)**2).sum()
    return (alpha / sigma)**2 * variance
""",
)

# --- before the last push ---------------------------------------------------------------------------------


def _push_inputs(generator: Generator) -> Inputs:
    return (normal(generator, 6, 2), *one_beta(generator))


def _before(eps_hat: Tensor, beta: Tensor, alpha_bar: Tensor) -> Tensor:
    return ((1 - beta - alpha_bar) / (1 - alpha_bar)).sqrt() * eps_hat


PUSH = exercise(
    "learned-denoiser.one-step",
    "All pushes but the last",
    2,
    10,
    inputs=_push_inputs,
    reference=_before,
    wrong={
        "the same noise": (
            lambda e, b, a: e.clone(),
            "You take the noise before the push for the noise after it. They are nearly the same, and not quite: a part of the total belongs to the last push.",
        ),
        "the last push": (
            lambda e, b, a: (b / (1 - a)).sqrt() * e,
            "This is the belief about the last push `z`, as on the page. Asked is everything before it.",
        ),
        "what is left over": (
            lambda e, b, a: (1 - (b / (1 - a)).sqrt()) * e,
            "You take the push's factor off from 1. Sizes do not add like that; the *squares* of the two factors add up to 1.",
        ),
        "not shrunk by the push": (
            lambda e, b, a: ((1 - a / (1 - b)) / (1 - a)).sqrt() * e,
            "Nearly: the push also shrank the old noise, by `sqrt(1 - beta)`, before it became a part of the total.",
        ),
        "share of the variance": (
            lambda e, b, a: (1 - b - a) / (1 - a) * e,
            "This is the old noise's share of the *variance*. The belief goes with the square root of it.",
        ),
    },
    hints=(
        "Write the total as a sum: `sigma eps = sqrt(1 - beta) sigma_before eps_before + sqrt(beta) z`, with `sigma**2 = 1 - alpha_bar`.",
        "For two jointly Gaussian numbers of variance 1, the best guess of one is their correlation times the other. Here it is the factor in front of `eps_before`, divided by sigma.",
        "`sigma_before**2 = 1 - alpha_bar / (1 - beta)`. Multiplied by `1 - beta` it gets simple.",
    ),
    solution="""
def before(eps_hat, beta, alpha_bar):
    return ((1 - beta - alpha_bar) / (1 - alpha_bar)).sqrt() * eps_hat
""",
)

EXERCISES = [LOSS, FROM_EPS, FLOOR, PUSH]
