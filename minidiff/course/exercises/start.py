"""Exercises of chapter 00, `start`: two warm-ups that show how checking works."""

from torch import Generator, Tensor

from minidiff.course.exercises import at, exercise, levels, normal
from minidiff.schedule import add_noise


def _inputs(generator: Generator) -> tuple[Tensor, ...]:
    return (normal(generator, 5, 3), normal(generator, 5, 3), *levels(generator))


def _mix(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return add_noise(at(alpha, sigma), x0, eps, alpha)


def _noisy(generator: Generator) -> tuple[Tensor, ...]:
    x0, eps, alpha, sigma = _inputs(generator)
    return _mix(x0, eps, alpha, sigma), eps, alpha, sigma


def _unmix(x_t: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return (x_t - sigma * eps) / alpha


MIX = exercise(
    "start.mix",
    "Noise something",
    1,
    2,
    inputs=_inputs,
    reference=_mix,
    wrong={
        "only added": (
            lambda x0, eps, a, s: x0 + s * eps,
            "You add the noise but keep the data at full strength. The data fades too: multiply `x0` by alpha.",
        ),
        "exchanged": (
            lambda x0, eps, a, s: s * x0 + a * eps,
            "alpha and sigma have changed places: alpha belongs to the data, sigma to the noise.",
        ),
        "squared": (
            lambda x0, eps, a, s: a**2 * x0 + s**2 * eps,
            "You use the variances. alpha and sigma multiply as they are.",
        ),
        "unit noise": (
            lambda x0, eps, a, s: a * x0 + eps,
            "Your noise has size 1 at every level. `eps` is unit noise; in the mixture it has the size sigma.",
        ),
        "sigma is 1 - alpha": (
            lambda x0, eps, a, s: a * x0 + (1 - a) * eps,
            "You put `1 - alpha` for sigma. That holds in one schedule only (`Linear`); here you are handed sigma, so use it.",
        ),
        "sigma from alpha": (
            lambda x0, eps, a, s: a * x0 + (1 - a**2).sqrt() * eps,
            "You compute sigma from alpha, as if their squares added up to one. Some schedules do that and some do not; here you are handed sigma.",
        ),
    },
    hints=("Two products and a sum.", "`alpha` goes with `x0`, `sigma` with `eps`."),
    solution="""
def mix(x0, eps, alpha, sigma):
    return alpha * x0 + sigma * eps
""",
)

UNMIX = exercise(
    "start.unmix",
    "Take the noise out again",
    1,
    3,
    inputs=_noisy,
    reference=_unmix,
    wrong={
        "not rescaled": (
            lambda x, eps, a, s: x - s * eps,
            "The noise is gone, but the data is still faded: divide by alpha.",
        ),
        "all of eps": (
            lambda x, eps, a, s: (x - eps) / a,
            "You take away `eps` at full size. Only `sigma * eps` was mixed in. (A published article makes this very slip; chapter 02 shows what comes of it.)",
        ),
        "divided too early": (
            lambda x, eps, a, s: x / a - s * eps,
            "You divide `x_t` by alpha and then subtract. The noise in `x_t` is divided along with it: subtract first, then divide all that is left.",
        ),
        "multiplied": (
            lambda x, eps, a, s: (x - s * eps) * a,
            "The last step goes the wrong way: fading multiplied by alpha, so undoing it divides.",
        ),
    },
    hints=("Solve `x_t = alpha * x0 + sigma * eps` for `x0`.",),
    solution="""
def unmix(x_t, eps, alpha, sigma):
    return (x_t - sigma * eps) / alpha
""",
)

EXERCISES = [MIX, UNMIX]
