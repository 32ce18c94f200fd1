"""Exercises of chapter 04, `targets`."""

import torch
from torch import Generator, Tensor

from minidiff import predict
from minidiff.course.exercises import exercise, levels, normal, uniform
from minidiff.data.toy import Mixture
from minidiff.schedule import Cosine

Inputs = tuple[Tensor, ...]


def _row(generator: Generator, *shape: int) -> Inputs:
    """a and b of opposite signs: with alpha, sigma > 0 the determinant is far from 0, above it or below."""
    sign = 1 - 2 * torch.randint(2, shape, generator=generator)
    return -sign * uniform(generator, 0.3, 1.3, *shape), sign * uniform(generator, 0.3, 1.3, *shape)


# --- solve -----------------------------------------------------------------------------------------------------------


def _solve_inputs(generator: Generator) -> Inputs:
    alpha, sigma = levels(generator)
    return (*_row(generator), alpha, sigma, normal(generator, 6, 3), normal(generator, 6, 3))


def _from_two(a: Tensor, b: Tensor, c: Tensor, d: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.linalg.solve(torch.stack([torch.stack([a, b]), torch.stack([c, d])]), torch.stack([y, z]).flatten(1))[
        0
    ].reshape(y.shape)


SOLVE = exercise(
    "targets.solve",
    "Two answers, no point",
    1,
    10,
    inputs=_solve_inputs,
    reference=_from_two,
    wrong={
        "turned": (
            lambda a, b, c, d, y, z: (b * z - d * y) / (a * d - b * c),
            "The sign is turned: this is minus `x0`. Compare the order in numerator and determinant.",
        ),
        "the noise": (
            lambda a, b, c, d, y, z: (a * z - c * y) / (a * d - b * c),
            "This is `eps`, the other unknown. To be rid of `eps`, multiply y by d and z by b.",
        ),
        "plus": (
            lambda a, b, c, d, y, z: (d * y - b * z) / (a * d + b * c),
            "The determinant of two equations is a difference of products: `a * d - b * c`.",
        ),
        "not divided": (
            lambda a, b, c, d, y, z: d * y - b * z,
            "The noise is gone. What stands in front of `x0` in this?",
        ),
    },
    hints=(
        "Two equations: `y = a x0 + b eps` and `z = c x0 + d eps`. Multiply each so that eps cancels.",
        "`d * y - b * z` holds no eps any more. What stands in front of x0 in it?",
    ),
    solution="""
def x0_hat(a, b, c, d, y, z):
    return (d * y - b * z) / (a * d - b * c)
""",
)

# --- gain ------------------------------------------------------------------------------------------------------------


def _gain_inputs(generator: Generator) -> Inputs:
    r = uniform(generator, 0.1, 1.1, 5)
    return (*_row(generator, 5), *levels(generator, 5), r)


GAIN = exercise(
    "targets.gain",
    "The price of a slip",
    2,
    10,
    inputs=_gain_inputs,
    reference=lambda a, b, al, s, r: al / (al * b - s * a).abs() * r,
    wrong={
        "into x0": (
            lambda a, b, al, s, r: s / (al * b - s * a).abs() * r,
            "This is the error of `x0_hat`. In `eps_hat` the answer y is multiplied by alpha, not by sigma.",
        ),
        "squared": (
            lambda a, b, al, s, r: (al / (al * b - s * a)) ** 2 * r,
            "You multiply by the square of the factor. That is right for squared errors; r is a root mean square.",
        ),
        "no absolute value": (
            lambda a, b, al, s, r: al / (al * b - s * a) * r,
            "The factor is right, but its sign is not asked: an error's size is never negative.",
        ),
        "not divided": (
            lambda a, b, al, s, r: al * r,
            "alpha is only the numerator of the factor. `solve` also divides by the determinant.",
        ),
        "from x0": (
            lambda a, b, al, s, r: al / s * r,
            "This is the factor of the row `x0`. Which factor has the row `(a, b)`?",
        ),
    },
    hints=(
        "`eps_hat = (alpha y - a x_t) / det`. Put `y + error` for y: what is added to `eps_hat`?",
        "`alpha / det` times the error. An error's size has no sign: take the absolute value.",
    ),
    solution="""
def eps_error(a, b, alpha, sigma, r):
    return alpha / (alpha * b - sigma * a).abs() * r
""",
)

# --- min-SNR in v ----------------------------------------------------------------------------------------------------


def _snr_inputs(generator: Generator) -> Inputs:
    angle = torch.linspace(0.1, 1.5, 9, dtype=torch.float64) + 0.05 * torch.rand(9, generator=generator)
    return angle.cos(), angle.sin()


def _v_weight(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Through the package: the weight of x0 at the level with this alpha, by the squared ratio of determinants."""
    schedule, t = Cosine(), torch.atan2(sigma, alpha) * 2 / torch.pi
    ratio = predict.det("x0", schedule, t) / predict.det("v", schedule, t)
    return (alpha / sigma).square().clamp(max=5) * ratio**2


MIN_SNR = exercise(
    "targets.min-snr",
    "Weigh it rightly",
    2,
    20,
    inputs=_snr_inputs,
    reference=_v_weight,
    wrong={
        "in x0": (
            lambda a, s: (a / s).square().clamp(max=5),
            "This is the weight in the currency of `x0`. An error in v is larger than one in `x0` by det/sigma.",
        ),
        "in eps": (
            lambda a, s: (a / s).square().clamp(max=5) / (a / s) ** 2,
            "This is the weight for a loss in `eps`. For v the determinant is another one.",
        ),
        "first published": (
            lambda a, s: (a / s).square().clamp(max=5) / (a / s) ** 2 + 1,
            "This is the first published formula: the weight of `eps`, plus one. Draw its effect on x0 near t = 0.",
        ),
        "second published": (
            lambda a, s: ((a / s).square() + 1).clamp(max=5) / ((a / s) ** 2 + 1),
            "This is the second published formula. The denominator is right; the cap belongs to SNR itself.",
        ),
    },
    hints=(
        "At fixed `x_t`: |error in v|² = (det/sigma)² |error in x0|². What is det for v, when alpha² + sigma² = 1?",
        "det = 1, so one unit of squared error in `x0` is 1/sigma² units in v. The weight of v is smaller by sigma².",
    ),
    solution="""
def v_weight(alpha, sigma):
    return (alpha / sigma).square().clamp(max=5) * sigma**2      # = min(SNR, 5) / (SNR + 1)
""",
)

# --- the floor of a row ----------------------------------------------------------------------------------------------


def _floor_inputs(generator: Generator) -> Inputs:
    chance = torch.softmax(normal(generator, 4), 0)
    stds = uniform(generator, 0.1, 1.1, 4)
    return (chance, normal(generator, 4), stds, *_row(generator), *levels(generator))


def _floor(chance: Tensor, means: Tensor, stds: Tensor, a: Tensor, b: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    source = Mixture(means[:, None], stds, chance / chance.sum())
    return source.sd**2 * ((alpha * b - sigma * a) / sigma) ** 2


def _with(spread, factor):
    return lambda c, m, s, a, b, al, si: spread(c, m, s) * factor(a, b, al, si)


def _spread(c: Tensor, m: Tensor, s: Tensor) -> Tensor:
    return (c * (m**2 + s**2)).sum() - (c * m).sum() ** 2


FLOOR = exercise(
    "targets.floor",
    "The floor of any row",
    3,
    20,
    inputs=_floor_inputs,
    reference=_floor,
    wrong={
        "in x0": (
            _with(_spread, lambda a, b, al, si: 1.0),
            "This is the floor in `x0`. In row (a, b) an error is larger by det/sigma, and a squared one by its square.",
        ),
        "uncentred": (
            _with(lambda c, m, s: (c * (m**2 + s**2)).sum(), lambda a, b, al, si: ((al * b - si * a) / si) ** 2),
            "You average `x0**2` and do not take off the square of the mean. The best answer is the mean, not zero.",
        ),
        "not squared": (
            _with(_spread, lambda a, b, al, si: ((al * b - si * a) / si).abs()),
            "You multiply a variance by det/sigma. Variances take the square of a factor.",
        ),
        "only between": (
            _with(
                lambda c, m, s: (c * m**2).sum() - (c * m).sum() ** 2,
                lambda a, b, al, si: ((al * b - si * a) / si) ** 2,
            ),
            "You count the spread between the components and forget the spread inside each, `stds`.",
        ),
        "only inside": (
            _with(lambda c, m, s: (c * s**2).sum(), lambda a, b, al, si: ((al * b - si * a) / si) ** 2),
            "You count the spread inside the components. One also does not know which component it is.",
        ),
        "upside down": (
            _with(_spread, lambda a, b, al, si: (si / (al * b - si * a)) ** 2),
            "The factor is upside down: sigma/det leads from y to `x0`; here the way goes from `x0` to y.",
        ),
    },
    hints=(
        "First the variance of `x0`: the law of total variance, inside the components plus between their means.",
        "`(chance * (means**2 + stds**2)).sum() - (chance * means).sum()**2`.",
        "Then change the currency: multiply by `((alpha * b - sigma * a) / sigma)**2`.",
    ),
    solution="""
def floor(chance, means, stds, a, b, alpha, sigma):
    spread = (chance * (means**2 + stds**2)).sum() - (chance * means).sum() ** 2
    return spread * ((alpha * b - sigma * a) / sigma) ** 2
""",
)

EXERCISES = [SOLVE, GAIN, MIN_SNR, FLOOR]
