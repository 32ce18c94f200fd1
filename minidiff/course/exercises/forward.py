"""Exercises of chapter 01, `forward`."""

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import at, exercise, levels, normal, uniform
from minidiff.schedule import add_noise

Inputs = tuple[Tensor, ...]

# --- one jump ---------------------------------------------------------------------------------------------


def _jump_inputs(generator: Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    betas = uniform(generator, 0.02, 0.12, 9)
    k = int(torch.randint(3, 9, (), generator=generator))  # never the first or the last: neighbours exist
    return normal(generator, 5, 2), normal(generator, 5, 2), betas, k


def _jump_by(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def _product(betas: Tensor, k: int) -> Tensor:
    return (1 - betas[:k]).prod()


def _same_noise(x0: Tensor, eps: Tensor, betas: Tensor, k: int) -> Tensor:
    x = x0
    for beta in betas[:k]:
        x = (1 - beta).sqrt() * x + beta.sqrt() * eps
    return x


ONE_JUMP = exercise(
    "forward.one-jump",
    "One jump, from the betas",
    1,
    10,
    inputs=_jump_inputs,
    reference=lambda x0, eps, betas, k: _jump_by(x0, eps, _product(betas, k)),
    wrong={
        "one step too many": (
            lambda x, e, b, k: _jump_by(x, e, _product(b, k + 1)),
            "You take k+1 steps. `betas[:k]` holds the first k; Python counts from 0.",
        ),
        "one step too few": (
            lambda x, e, b, k: _jump_by(x, e, _product(b, k - 1)),
            "You take k-1 steps. After k steps all of `betas[:k]` have acted.",
        ),
        "last step only": (
            lambda x, e, b, k: _jump_by(x, e, 1 - b[k - 1]),
            "This is the k-th step alone, taken from `x0`. All steps before it count too.",
        ),
        "sum of betas": (
            lambda x, e, b, k: _jump_by(x, e, 1 - b[:k].sum()),
            "You add the betas up. But every step also shrinks the noise that is already there: multiply the `(1 - beta)`.",
        ),
        "no root": (
            lambda x, e, b, k: _product(b, k) * x + (1 - _product(b, k)) * e,
            "The product is `alpha**2`, and one minus it a variance. Data and noise are multiplied by their square roots.",
        ),
        "sigma is 1 - alpha": (
            lambda x, e, b, k: _product(b, k).sqrt() * x + (1 - _product(b, k).sqrt()) * e,
            "You put `1 - alpha` for the size of the noise. Variances add up to 1 here, not sizes: `sigma**2 = 1 - alpha**2`.",
        ),
        "the same noise at every step": (
            _same_noise,
            "You walk, with the same `eps` at every step. Then the noises no longer add as strangers do, in variance, but line up: each step has its own noise, and the sum of them is one Gaussian.",
        ),
        "unit noise": (
            lambda x, e, b, k: _product(b, k).sqrt() * x + e,
            "Your noise has size 1. It has size 1 only where nothing is left of the data: its variance is `1 - alpha_bar`.",
        ),
    },
    hints=(
        "After one step, `x0` is multiplied by `sqrt(1 - beta_1)`. By what after two?",
        "`alpha_bar = (1 - betas[:k]).prod()` is the square of the factor of `x0`.",
        "Unit variance stays unit variance, so the noise has variance `1 - alpha_bar`.",
    ),
    solution="""
def one_jump(x0, eps, betas, k):
    alpha_bar = (1 - betas[:k]).prod()
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
""",
)

# --- broadcasting -----------------------------------------------------------------------------------------


def _batch_inputs(generator: Generator) -> Inputs:
    """All sizes equal on purpose: this is where a missing reshape makes no error."""
    return (normal(generator, 3, 3, 3, 3), normal(generator, 3, 3, 3, 3), *levels(generator, 3))


def _batch(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return add_noise(at(alpha, sigma), x0, eps, alpha)


BROADCAST = exercise(
    "forward.broadcast",
    "A level for each image",
    1,
    10,
    inputs=_batch_inputs,
    reference=_batch,
    wrong={
        "columns": (
            lambda x, e, a, s: a * x + s * e,
            "No error, and wrong: torch lines up shapes from the right, so your (B,) became the *width*, and each column has its own level. Here B and W are equal; otherwise it would have stopped.",
        ),
        "rows": (
            lambda x, e, a, s: a[:, None] * x + s[:, None] * e,
            "(B, 1) lines up with (H, W): each row has its own level. For (B, C, H, W) three more axes are needed, not one.",
        ),
        "channels": (
            lambda x, e, a, s: a[:, None, None] * x + s[:, None, None] * e,
            "(B, 1, 1) lines up with (C, H, W): each channel has its own level. One more axis is missing.",
        ),
        "first level for all": (
            lambda x, e, a, s: a[0] * x + s[0] * e,
            "You use the first level for the whole batch. Each image has its own.",
        ),
        "mean level": (
            lambda x, e, a, s: a.mean() * x + s.mean() * e,
            "You use one average level for the whole batch. Each image has its own.",
        ),
        "unit noise": (
            lambda x, e, a, s: a[:, None, None, None] * x + e,
            "The shapes are right. But your noise has size 1 at every level: multiply `eps` by sigma.",
        ),
        "noise not reshaped": (
            lambda x, e, a, s: a[:, None, None, None] * x + s * e,
            "`alpha` is right; `sigma` needs the same shape.",
        ),
    },
    hints=(
        "torch lines up shapes from the right. With x0 of shape (B, C, H, W), what must the shape of alpha be?",
        "(B, 1, 1, 1): `alpha.reshape(-1, 1, 1, 1)`, or `alpha[:, None, None, None]`.",
    ),
    solution="""
def noisy_batch(x0, eps, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]  # (B, 1, 1, 1)
    return alpha * x0 + sigma * eps
""",
)

# --- from level s to level t ------------------------------------------------------------------------------


def _onward_inputs(generator: Generator) -> Inputs:
    """Two levels of some schedule, t the noisier one; alpha and sigma fall and grow on their own."""
    alpha_s, sigma_s = uniform(generator, 0.7, 1.1), uniform(generator, 0.2, 0.6)
    alpha_t, sigma_t = alpha_s * uniform(generator, 0.4, 0.9), sigma_s * uniform(generator, 1.2, 2.5)
    return normal(generator, 5, 2), normal(generator, 5, 2), alpha_s, sigma_s, alpha_t, sigma_t


def _onward(x_s: Tensor, z: Tensor, alpha_s: Tensor, sigma_s: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> Tensor:
    ratio = alpha_t / alpha_s
    return ratio * x_s + (sigma_t**2 - ratio**2 * sigma_s**2).sqrt() * z


COMPOSE = exercise(
    "forward.compose-steps",
    "From noisy to noisier",
    2,
    20,
    inputs=_onward_inputs,
    reference=_onward,
    wrong={
        "as if clean": (
            lambda x, z, as_, ss, at, st: at * x + st * z,
            "You treat `x_s` as clean data. Its signal has already been shrunk to `alpha_s`, and it holds noise.",
        ),
        "all noise fresh": (
            lambda x, z, as_, ss, at, st: at / as_ * x + st * z,
            "The signal is right. But `x_s` brings noise along; with fresh noise of the full size `sigma_t` there is too much.",
        ),
        "old noise not shrunk": (
            lambda x, z, as_, ss, at, st: at / as_ * x + (st**2 - ss**2).sqrt() * z,
            "Nearly: you forget that multiplying by `alpha_t/alpha_s` shrinks the old noise too.",
        ),
        "as if on a circle": (
            lambda x, z, as_, ss, at, st: at / as_ * x + (1 - (at / as_) ** 2).sqrt() * z,
            "This is DDPM's step, whose beta is `1 - (alpha_t/alpha_s)**2`. It is right only where `alpha**2 + sigma**2 = 1` at both levels; here they are any two levels.",
        ),
        "ratio not squared": (
            lambda x, z, as_, ss, at, st: at / as_ * x + (st**2 - at / as_ * ss**2).abs().sqrt() * z,
            "Nearly: multiplying by `alpha_t/alpha_s` multiplies a variance by the *square* of that.",
        ),
        "sizes, not variances": (
            lambda x, z, as_, ss, at, st: at / as_ * x + (st - at / as_ * ss) * z,
            "Sizes of independent noises do not add, their squares do.",
        ),
        "signal not shrunk": (
            lambda x, z, as_, ss, at, st: x + (st**2 - ss**2).abs().sqrt() * z,
            "Only noise is added here. The signal must fall from `alpha_s` to `alpha_t` as well.",
        ),
    },
    hints=(
        "By which factor must `x_s` be multiplied so that its signal goes from `alpha_s` to `alpha_t`?",
        "That factor shrinks the old noise too, to the variance `(alpha_t/alpha_s)**2 * sigma_s**2`.",
        "The fresh noise fills up what is missing to `sigma_t**2`.",
    ),
    solution="""
def onward(x_s, z, alpha_s, sigma_s, alpha_t, sigma_t):
    ratio = alpha_t / alpha_s
    return ratio * x_s + (sigma_t**2 - ratio**2 * sigma_s**2).sqrt() * z
""",
)

# --- the shifted timetable --------------------------------------------------------------------------------


def _shift_inputs(generator: Generator) -> tuple[Tensor, float]:
    return uniform(generator, 0.05, 0.95, 7), float(uniform(generator, 2, 8))


def _shift(t: Tensor, m: float) -> Tensor:
    return m * t / (1 + (m - 1) * t)


SHIFT = exercise(
    "forward.shift",
    "The shifted timetable",
    2,
    20,
    inputs=_shift_inputs,
    reference=_shift,
    wrong={
        "wrong way": (
            lambda t, m: _shift(t, 1 / m),
            "This is *less* noise. A larger image must get more noise to be equally destroyed.",
        ),
        "pixels, not sides": (
            lambda t, m: _shift(t, m * m),
            "You shift by the number of pixels, m*m. Averaging m*m draws makes noise smaller by the square root of that, m.",
        ),
        "root of the side": (
            lambda t, m: _shift(t, m**0.5),
            "An image m times as *wide* has m*m times as many pixels. The root of that is m, not the root of m.",
        ),
        "t times m": (
            lambda t, m: m * t,
            "You multiply `t`, which soon exceeds 1. Multiply the ratio sigma/alpha = t/(1 - t), then solve for the new t.",
        ),
        "the ratio itself": (
            lambda t, m: m * t / (1 - t),
            "This is the new ratio sigma/alpha. Solve `t'/(1 - t') = ratio` for t'.",
        ),
    },
    hints=(
        "Averaged down m-fold, the large image has noise of size `sigma'/m` at the same signal. The ratio sigma/alpha must then be that of the small image.",
        "So `t'/(1 - t') = m * t/(1 - t)`. Solve for t'.",
    ),
    solution="""
def shift(t, m):
    return m * t / (1 + (m - 1) * t)
""",
)

EXERCISES = [ONE_JUMP, BROADCAST, COMPOSE, SHIFT]
