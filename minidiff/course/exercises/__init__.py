"""The exercises, found by id: one module a chapter, each with `EXERCISES: list[Exercise]`."""

import difflib
from importlib import import_module

import torch
from torch import Generator, Tensor

from minidiff.course.check import Exercise

CHAPTERS = ("start", "forward", "reverse", "learned_denoiser", "targets")


def normal(generator: Generator, *shape: int) -> Tensor:
    """Unit Gaussian numbers in float64, the random inputs of most exercises. Example: `normal(generator, 5, 2)`."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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
