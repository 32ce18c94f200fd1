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


def _two_levels(generator: Generator) -> Inputs:
    alpha_t, sigma_t = levels(generator)
    return alpha_t, sigma_t, alpha_t + uniform(generator, 0.05, 0.3), sigma_t * uniform(generator, 0.3, 0.8)


def _pieces(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return beta, beta * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2


def _search(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> Tensor:
    """By another way: halve until Gaussian data is found for which Bayes gives x_s, given x_t, the variance beta."""
    beta, low = _pieces(alpha_t, sigma_t, alpha_s, sigma_s)[0], torch.full_like(alpha_t, 1e-6)
    high, spread = 1e12 * low, low
    for _ in range(200):
        spread = (low * high).sqrt()
        total_s, total_t = alpha_s**2 * spread + sigma_s**2, alpha_t**2 * spread + sigma_t**2
        enough = total_s - (alpha_t / alpha_s * total_s) ** 2 / total_t > beta
        low, high = torch.where(enough, low, spread), torch.where(enough, spread, high)
    return spread * sigma_t**2 / (alpha_t**2 * spread + sigma_t**2)


STEP = exercise(
    "ddpm-images.step-variance",
    "When is large right?",
    3,
    20,
    inputs=_two_levels,
    reference=_search,
    wrong={
        "not squared": (
            lambda *at: (_pieces(*at)[0] - _pieces(*at)[1]) / _pieces(*at)[2],
            "You divide by c. A variance that is multiplied by a number grows by its square.",
        ),
        "without the small": (
            lambda *at: _pieces(*at)[0] / _pieces(*at)[2] ** 2,
            "You forgot tau: a part of the variance is there even when `x0` is known. Take it off first.",
        ),
        "multiplied": (
            lambda *at: (_pieces(*at)[0] - _pieces(*at)[1]) * _pieces(*at)[2] ** 2,
            "You multiply by c squared. Solve `tau + c**2 * v = beta` for v.",
        ),
        "the variance of the data": (
            lambda at_, st, as_, ss: torch.ones_like(at_),
            "This is the variance of the *data*. v is what is left of it once `x_t` is seen.",
        ),
    },
    hints=(
        "The step's variance is `tau + c**2 * v`, and the large one is beta. Set them equal.",
        "`beta = sigma_t**2 - (alpha_t/alpha_s)**2 * sigma_s**2`, `c = alpha_s * beta / sigma_t**2`.",
        "`(beta - tau) / c**2`, with `tau = beta * sigma_s**2 / sigma_t**2`.",
    ),
    solution="""
def spread(alpha_t, sigma_t, alpha_s, sigma_s):
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    tau, c = beta * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2
    return (beta - tau) / c**2
""",
)

EXERCISES = [EMA_EXERCISE, FRECHET, PRECISION, STEP]
