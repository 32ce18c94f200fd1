"""Exercises of chapter 00, `start`: two warm-ups that show how checking works."""

import torch
from torch import Generator, Tensor

from minidiff.course.check import Exercise, Wrong
from minidiff.schedule import Cosine, add_noise


def _inputs(generator: Generator) -> tuple[Tensor, ...]:
    t = 0.2 + 0.6 * torch.rand((), generator=generator, dtype=torch.float64)
    x0, eps = torch.randn((2, 5, 3), generator=generator, dtype=torch.float64)
    return x0, eps, Cosine().alpha(t), Cosine().sigma(t)


def _mix(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    t = 2 / torch.pi * torch.atan2(sigma, alpha)
    return add_noise(Cosine(), x0, eps, t)


def _noisy(generator: Generator) -> tuple[Tensor, ...]:
    x0, eps, alpha, sigma = _inputs(generator)
    return alpha * x0 + sigma * eps, eps, alpha, sigma


def _unmix(x_t: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return (x_t - sigma * eps) / alpha


MIX = Exercise(
    id="start.mix",
    title="Noise something",
    difficulty=1,
    minutes=2,
    reference=_mix,
    inputs=_inputs,
    wrong=(
        Wrong(
            "only added",
            lambda x0, eps, a, s: x0 + s * eps,
            "You add the noise but keep the data at full strength. The data fades too: multiply `x0` by alpha.",
        ),
        Wrong(
            "exchanged",
            lambda x0, eps, a, s: s * x0 + a * eps,
            "alpha and sigma have changed places: alpha belongs to the data, sigma to the noise.",
        ),
        Wrong(
            "squared",
            lambda x0, eps, a, s: a**2 * x0 + s**2 * eps,
            "You use the variances. alpha and sigma multiply as they are; their squares add up to one.",
        ),
    ),
    hints=("Two products and a sum.", "`alpha` goes with `x0`, `sigma` with `eps`."),
    solution="""
def mix(x0, eps, alpha, sigma):
    return alpha * x0 + sigma * eps
""",
)

UNMIX = Exercise(
    id="start.unmix",
    title="Take the noise out again",
    difficulty=1,
    minutes=3,
    reference=_unmix,
    inputs=_noisy,
    wrong=(
        Wrong(
            "not rescaled",
            lambda x, eps, a, s: x - s * eps,
            "The noise is gone, but the data is still faded: divide by alpha.",
        ),
        Wrong(
            "all of eps",
            lambda x, eps, a, s: (x - eps) / a,
            "You take away `eps` at full size. Only `sigma * eps` was mixed in. (A published article makes this very slip; chapter 02 shows what comes of it.)",
        ),
        Wrong(
            "multiplied",
            lambda x, eps, a, s: (x - s * eps) * a,
            "The last step goes the wrong way: fading multiplied by alpha, so undoing it divides.",
        ),
    ),
    hints=("Solve `x_t = alpha * x0 + sigma * eps` for `x0`.",),
    solution="""
def unmix(x_t, eps, alpha, sigma):
    return (x_t - sigma * eps) / alpha
""",
)

EXERCISES = [MIX, UNMIX]
