"""The exercises of the course, one module a chapter; `check`, `hint` and `solution` find them here by id.

A module draws random inputs, hands them to the package for the right answer, and lists the wrong answers that people
give, each with what to say to it. `exercise` is the frame they share; the draws that several chapters need stand here.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Generator, Tensor

from minidiff.course.check import Exercise, Wrong

CHAPTERS = (
    "start",
    "forward",
    "reverse",
    "learned_denoiser",
    "targets",
    "ddpm_images",
    "guidance",
    "gradable_world",
    "autoencoders",
    "latent_diffusion",
    "attention",
    "dit",
    "words",
    "flicker",
    "spacetime_patches",
    "text_to_video",
)


def exercise(
    id: str,
    title: str,
    difficulty: int,
    minutes: int,
    *,
    inputs: Callable[[Generator], tuple],
    reference: Callable[..., Any],
    wrong: dict[str, tuple[Callable[..., Any], str]],
    hints: tuple[str, ...],
    solution: str,
) -> Exercise:
    """An `Exercise` of usual tolerance, its known wrong answers as `{name: (function, message)}`."""
    known = tuple(Wrong(name, fn, message) for name, (fn, message) in wrong.items())
    return Exercise(id, title, difficulty, minutes, reference, inputs, known, hints, solution)


def normal(generator: Generator, *shape: int) -> Tensor:
    """Unit Gaussian numbers in float64, the random inputs of most exercises. Example: `normal(generator, 5, 2)`."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers between low and high, float64. Example: `uniform(generator, 0.1, 0.9, 5)`."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def levels(generator: Generator, *shape: int) -> tuple[Tensor, Tensor]:
    """alpha and sigma at random, drawn apart: nothing may lean on alpha^2 + sigma^2 = 1, or on alpha + sigma = 1.

    Example: `alpha, sigma = levels(generator, 5)`.
    """
    return uniform(generator, 0.35, 0.95, *shape), uniform(generator, 0.3, 1.3, *shape)


def one_beta(generator: Generator) -> tuple[Tensor, Tensor]:
    """A step's beta, and alpha_bar after that step: the product of all 1 - beta, this one included."""
    beta = uniform(generator, 0.01, 0.11)
    return beta, uniform(generator, 0.2, 0.8) * (1 - beta)


@dataclass(frozen=True)
class _At:
    level: tuple[Tensor, Tensor]

    def alpha(self, t: Tensor) -> Tensor:
        return self.level[0]

    def sigma(self, t: Tensor) -> Tensor:
        return self.level[1]


def at(alpha: Tensor, sigma: Tensor) -> Any:
    """A schedule that is at one level, whatever t: the package's functions at any alpha and sigma.

    Example: `add_noise(at(alpha, sigma), x0, eps, t)`.
    """
    return _At((alpha, sigma))


def all_exercises() -> list[Exercise]:
    """Every exercise of the course, in the order of the chapters."""
    return [item for name in CHAPTERS for item in import_module(f"{__name__}.{name}").EXERCISES]


def get(id: str) -> Exercise:
    """The exercise of that id; LookupError names the nearest. Example: `get("forward.one-jump")`."""
    known = {item.id: item for item in all_exercises()}
    if id not in known:
        near = difflib.get_close_matches(id, known, n=3, cutoff=0.4) or sorted(known)
        raise LookupError(f"no exercise {id!r}; the nearest ids are {', '.join(near)}")
    return known[id]
