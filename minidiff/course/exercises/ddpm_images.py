"""Exercises of chapter 05, `ddpm-images`."""

import torch
from torch import Generator, Tensor, nn

from minidiff.course.exercises import exercise, levels, normal, uniform
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import precision_recall
from minidiff.train.ema import EMA

Inputs = tuple[Tensor, ...]

# --- ema -------------------------------------------------------------------------------------------------------------


def _ema_inputs(generator: Generator) -> tuple:
    return normal(generator, 9, 4), float(uniform(generator, 0.5, 0.85))


def _ema(weights: Tensor, d: float) -> Tensor:
    """Through the package's class, at a step so late that its ramp is over."""
    net = nn.Linear(weights.shape[1], 1, bias=False)
    net.weight.data = weights[:1].float()
    average = EMA(net, d)
    for row in weights[1:]:
        net.weight.data = row[None].float()
        average.update(net, 10**6)
    return average.weights["weight"][0].double()


def _walk(start: Tensor, rows: Tensor, keep: float) -> Tensor:
    for row in rows:
        start = keep * start + (1 - keep) * row
    return start


EMA_EXERCISE = exercise(
    "ddpm-images.ema",
    "Weights with a memory",
    1,
    10,
    inputs=_ema_inputs,
    reference=_ema,
    wrong={
        "turned": (
            lambda w, d: _walk(w[0], w[1:], 1 - d),
            "You keep `1 - d` of the old average and take `d` of the new weights. A decay near 1 must mean a long memory.",
        ),
        "from zero": (
            lambda w, d: _walk(torch.zeros_like(w[0]), w, d),
            "You start from zero, so the average is too small until it has forgotten that. Start from the first weights.",
        ),
        "plain mean": (
            lambda w, d: w.mean(0),
            "This is the plain mean of all weights, the bad first ones included. Old weights must fade.",
        ),
        "last": (lambda w, d: w[-1], "These are the last weights: an average that remembers nothing."),
    },
    hints=(
        "Start with `average = weights[0]`. For each later row, move the average a little towards it.",
        "`average = d * average + (1 - d) * row`",
    ),
    solution="""
def ema(weights, d):
    average = weights[0]
    for row in weights[1:]:
        average = d * average + (1 - d) * row
    return average
""",
)

# --- frechet ---------------------------------------------------------------------------------------------------------


def _two_sets(generator: Generator) -> Inputs:
    x = normal(generator, 40) * uniform(generator, 0.5, 0.9) + uniform(generator, -1, -0.3)
    return x, normal(generator, 60) * uniform(generator, 1.1, 2.0) + uniform(generator, 0.3, 1)


def _gap(x: Tensor, y: Tensor) -> Tensor:
    return (x.mean() - y.mean()) ** 2


FRECHET = exercise(
    "ddpm-images.frechet",
    "The distance with one feature",
    2,
    10,
    inputs=_two_sets,
    reference=lambda x, y: frechet(x[:, None], y[:, None]),
    wrong={
        "means only": (
            _gap,
            "You compare the means only. A model that draws one average shirt over and over would get away with it.",
        ),
        "variances": (
            lambda x, y: _gap(x, y) + (x.var() - y.var()) ** 2,
            "You compare variances. In one dimension the formula boils down to the difference of standard deviations.",
        ),
        "root": (
            lambda x, y: (_gap(x, y) + (x.std() - y.std()) ** 2).sqrt(),
            "You took the root at the end. What papers call FID is the squared distance.",
        ),
        "sum of variances": (
            lambda x, y: _gap(x, y) + x.var() + y.var(),
            "The last term is missing: `2 sqrt(var_x var_y)` is taken off, and makes a square of the rest.",
        ),
    },
    hints=(
        "With one feature the covariance matrices are numbers: `var_x + var_y - 2 sqrt(var_x var_y)`. That is a square.",
        "`(mean_x - mean_y)**2 + (std_x - std_y)**2`",
    ),
    solution="""
def frechet_1d(x, y):
    return (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
""",
)

# --- precision -------------------------------------------------------------------------------------------------------


def _clouds(generator: Generator) -> tuple:
    return 0.9 * normal(generator, 60, 2) + 0.9, normal(generator, 50, 2), 3


def _inside(fake: Tensor, real: Tensor, radius: Tensor) -> Tensor:
    return (torch.cdist(fake, real) <= radius).any(1).double().mean()


def _radius(real: Tensor, k: int) -> Tensor:
    return torch.cdist(real, real).topk(k, largest=False).values[:, -1]


PRECISION = exercise(
    "ddpm-images.precision",
    "Is it plausible?",
    2,
    20,
    inputs=_clouds,
    reference=lambda fake, real, k: precision_recall(fake, real, k)[0],
    wrong={
        "recall": (
            lambda fake, real, k: _inside(real, fake, _radius(fake, k + 1)),
            "This is recall: real points in balls of generated ones. Precision asks whether generated points are near real ones.",
        ),
        "counts itself": (
            lambda fake, real, k: _inside(fake, real, _radius(real, k)),
            "Your balls reach to the neighbour before: the nearest of all real points to a real point is itself.",
        ),
        "balls of fakes": (
            lambda fake, real, k: _inside(fake, fake, _radius(fake, k + 1)),
            "Every generated point lies in its own ball. Draw the balls around the real points.",
        ),
        "nearest only": (
            lambda fake, real, k: (
                (torch.cdist(fake, real).min(1).values <= _radius(real, k + 1)[torch.cdist(fake, real).argmin(1)])
                .double()
                .mean()
            ),
            "You ask the ball of the nearest real point only. A point further off may have a ball that is large enough.",
        ),
    },
    hints=(
        "Distances between real points: `torch.cdist(real, real)`. In a sorted row, which entry is the k-th neighbour?",
        "`radius = torch.cdist(real, real).sort(1).values[:, k]`; entry 0 is the point itself.",
        "A generated point counts if `torch.cdist(fake, real) <= radius` holds anywhere in its row.",
    ),
    solution="""
def precision(fake, real, k):
    radius = torch.cdist(real, real).sort(1).values[:, k]                     # (M,)
    return (torch.cdist(fake, real) <= radius).any(1).double().mean()
""",
)

# --- the variance of a step ------------------------------------------------------------------------------------------


def _step_inputs(generator: Generator) -> Inputs:
    """Two levels, and the posterior variance v of unit-free Gaussian data at the noisier one."""
    alpha_t, sigma_t = levels(generator)
    alpha_s = alpha_t + uniform(generator, 0.05, 0.3)
    sigma_s = sigma_t * uniform(generator, 0.3, 0.8)
    spread = uniform(generator, 0.2, 2.0)
    return alpha_t, sigma_t, alpha_s, sigma_s, spread * sigma_t**2 / (alpha_t**2 * spread + sigma_t**2)


def _pieces(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return beta, beta * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2


def _best(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor, v: Tensor) -> Tensor:
    """By another way: Gaussian data that has this v; then x_s and x_t are jointly Gaussian, and Bayes is a quotient."""
    spread = v * sigma_t**2 / (sigma_t**2 - v * alpha_t**2)
    total_s, total_t = alpha_s**2 * spread + sigma_s**2, alpha_t**2 * spread + sigma_t**2
    return total_s - (alpha_t / alpha_s * total_s) ** 2 / total_t


STEP = exercise(
    "ddpm-images.step-variance",
    "How much noise is right?",
    3,
    20,
    inputs=_step_inputs,
    reference=_best,
    wrong={
        "small": (
            lambda at_, st, as_, ss, v: _pieces(at_, st, as_, ss)[1],
            "This is the fixed small variance: right if `x0` were known. It is not, its variance is v: that moves x_s too.",
        ),
        "large": (
            lambda at_, st, as_, ss, v: _pieces(at_, st, as_, ss)[0],
            "This is the fixed large variance, beta, whatever v is. It is right for one v only.",
        ),
        "not squared": (
            lambda at_, st, as_, ss, v: _pieces(at_, st, as_, ss)[1] + _pieces(at_, st, as_, ss)[2] * v,
            "The factor in front of `x0` must be squared: you add variances.",
        ),
        "whole alpha": (
            lambda at_, st, as_, ss, v: _pieces(at_, st, as_, ss)[1] + as_**2 * v,
            "In the step, `x0` is not multiplied by alpha_s alone: a part of x_s comes from x_t.",
        ),
        "without the small": (
            lambda at_, st, as_, ss, v: _pieces(at_, st, as_, ss)[2] ** 2 * v,
            "This is what not knowing `x0` adds. The step has noise of its own even when `x0` is known: the small variance.",
        ),
    },
    hints=(
        "If x0 were known, x_s given x_t would have the small variance, tau. Its mean is linear in x0: factor `c`.",
        "`beta = sigma_t**2 - (alpha_t/alpha_s)**2 * sigma_s**2`, `c = alpha_s * beta / sigma_t**2`.",
        "Law of total variance: `tau + c**2 * v`, with `tau = beta * sigma_s**2 / sigma_t**2`.",
    ),
    solution="""
def step_variance(alpha_t, sigma_t, alpha_s, sigma_s, v):
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    tau, c = beta * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2
    return tau + c**2 * v
""",
)

EXERCISES = [EMA_EXERCISE, FRECHET, PRECISION, STEP]
