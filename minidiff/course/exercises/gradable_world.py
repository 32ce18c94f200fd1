"""Exercises of chapter 09, `gradable-world`."""

from collections import Counter

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.data.toybox.grammar import Thing
from minidiff.data.toybox.render import coverage, outline
from minidiff.measure.adherence import matched
from minidiff.measure.motion import falls

# --- centre ----------------------------------------------------------------------------------------------------------


def _cover(generator: Generator) -> tuple[Tensor]:
    """One shape, cut by the edge of the picture or not, as the share of each pixel that it covers: (H, W)."""
    height, width = 16, int(torch.randint(20, 28, (), generator=generator))
    shape = int(torch.randint(5, (), generator=generator))
    x, y = uniform(generator, 5, width - 5), uniform(generator, 5, height - 5)
    across, down = torch.arange(width) + 0.5 - x, (torch.arange(height) + 0.5 - y)[:, None]
    return (coverage(outline(across, down, shape, uniform(generator, 2.2, 3.2)), 1.0),)


def _centre(cover: Tensor, half: float = 0.5) -> Tensor:
    y, x = torch.meshgrid(*(torch.arange(n, dtype=cover.dtype) + half for n in cover.shape), indexing="ij")
    return torch.stack([(cover * x).sum(), (cover * y).sum()]) / cover.sum()


CENTRE = exercise(
    "gradable-world.centre",
    "Where is it?",
    1,
    10,
    inputs=_cover,
    reference=_centre,
    wrong={
        "pixels are points": (
            lambda cover: _centre(cover, 0.0),
            "Half a pixel too far up and left: pixel 0 reaches from 0 to 1, so its middle lies at 0.5.",
        ),
        "yes or no": (
            lambda cover: _centre((cover > 0.5).to(cover.dtype)),
            "You counted pixels as covered or not. The shares at the edge are what makes the centre exact to a few hundredths of a pixel: weigh each pixel by its cover.",
        ),
        "row first": (
            lambda cover: _centre(cover).flip(0),
            "Row and column have changed places: x runs along the second axis, and comes first in the answer.",
        ),
        "whole picture": (
            lambda cover: _centre(torch.ones_like(cover)),
            "That is the middle of the picture, whatever is in it.",
        ),
        "not divided": (
            lambda cover: _centre(cover) * cover.sum() / cover.numel(),
            "A weighted mean is divided by the sum of the weights, not by the number of pixels.",
        ),
    },
    hints=(
        "x of every pixel's middle is `torch.arange(W) + 0.5`; weigh it by the cover, divide by the sum of the cover.",
        "`(cover * x).sum() / cover.sum()` for x (W,), and the same with y (H, 1).",
    ),
    solution="""
def centre(cover):
    height, width = cover.shape
    x = torch.arange(width) + 0.5
    y = (torch.arange(height) + 0.5)[:, None]
    return torch.stack([(cover * x).sum(), (cover * y).sum()]) / cover.sum()
""",
)

# --- gravity ---------------------------------------------------------------------------------------------------------


def _fall(generator: Generator) -> tuple[Tensor]:
    t = torch.arange(int(torch.randint(5, 9, (), generator=generator)), dtype=torch.float64)
    g, up = uniform(generator, 0.008, 0.02), uniform(generator, 0.0, 0.01)
    return (0.1 + g * t**2 / 2 - up * t + 1e-4 * normal(generator, len(t)),)


def _gravity(y: Tensor) -> Tensor:
    t = torch.arange(len(y), dtype=y.dtype)
    law = falls(t.numpy(), torch.stack([0 * y, y], 1).numpy())
    assert law is not None
    return torch.tensor(law.values["g"], dtype=y.dtype)


def _polynomial(y: Tensor) -> Tensor:
    t = torch.arange(len(y), dtype=y.dtype)
    return torch.linalg.lstsq(torch.stack([t**0, t, t**2], 1), y[:, None]).solution[:, 0]


GRAVITY = exercise(
    "gradable-world.gravity",
    "Measure gravity",
    2,
    15,
    inputs=_fall,
    reference=_gravity,
    wrong={
        "half": (lambda y: _polynomial(y)[2], "That is g/2: a fall is y = y0 + v t + g t²/2."),
        "upwards": (lambda y: -2 * _polynomial(y)[2], "The sign: y points down here, so what falls has a positive g."),
        "velocity": (
            lambda y: _polynomial(y)[1],
            "That is the velocity at the start, the number before t. g is in the number before t².",
        ),
        "through the start": (
            lambda y: 2 * ((y - y[0]) * torch.arange(len(y)) ** 2).sum() / (torch.arange(len(y)) ** 4).sum(),
            "You fitted g t²/2 alone, as if it started at rest. It may be thrown: leave its first place and velocity free.",
        ),
        "three frames": (
            lambda y: y[0] - 2 * y[1] + y[2],
            "The second difference of three frames is g, but with their whole noise. Fit one parabola to all frames.",
        ),
        "mean of second differences": (
            lambda y: y.diff(n=2).mean(),
            "The mean of second differences uses only the two frames at each end (the rest cancels!). Fit one parabola to all frames.",
        ),
    },
    hints=(
        "Least squares: the columns 1, t and t²/2, so that the last coefficient is g itself.",
        "`torch.linalg.lstsq(columns, y[:, None]).solution[2, 0]`.",
    ),
    solution="""
def gravity(y):
    t = torch.arange(len(y), dtype=y.dtype)
    columns = torch.stack([torch.ones_like(t), t, t**2 / 2], 1)
    return torch.linalg.lstsq(columns, y[:, None]).solution[2, 0]
""",
)

# --- binding ---------------------------------------------------------------------------------------------------------

Pairs = list[tuple[str, str]]


def _lists(generator: Generator) -> tuple[Pairs, Pairs]:
    """Two of a pair, two of another and one of a third are asked for; one of the second is missing, the third has another shape."""

    def shuffled(words: list) -> list:
        return [words[i] for i in torch.randperm(len(words), generator=generator).tolist()]

    colours, shapes = shuffled(["red", "green", "blue", "pink"]), shuffled(["circle", "square", "star", "ring"])
    one, two, three = list(zip(colours, shapes, strict=True))[:3]
    asked, there = shuffled([one, one, two, two, three]), [one, one, two, (three[0], shapes[3])]
    seen = shuffled(there)
    while sum(a == b for a, b in zip(asked, seen, strict=False)) == 3:
        seen = shuffled(there)
    return asked, seen


def _bound(asked: Pairs, seen: Pairs) -> float:
    one, other = ([Thing(colour, shape) for colour, shape in pairs] for pairs in (asked, seen))
    return matched(tuple(one), tuple(other), ("colour", "shape"))


def _apart(asked: Pairs, seen: Pairs) -> float:
    words = [(Counter(pair[k] for pair in asked), Counter(pair[k] for pair in seen)) for k in (0, 1)]
    return sum(sum((one & other).values()) for one, other in words) / (2 * len(asked))


BINDING = exercise(
    "gradable-world.binding",
    "Who wears what?",
    2,
    15,
    inputs=_lists,
    reference=_bound,
    wrong={
        "colours and shapes apart": (
            _apart,
            "Red circle and blue square for blue circle and red square is full marks with you. Compare pairs, not colours and shapes.",
        ),
        "each as often as it likes": (
            lambda asked, seen: sum(pair in seen for pair in asked) / len(asked),
            "One red circle may stand for one red circle only: two were asked for, one is there.",
        ),
        "of what is seen": (
            lambda asked, seen: sum((Counter(asked) & Counter(seen)).values()) / len(seen),
            "Divide by what was *asked*. That there is more than was asked is the business of the count.",
        ),
        "in order": (
            lambda asked, seen: sum(a == b for a, b in zip(asked, seen, strict=False)) / len(asked),
            "A clip has no first and second object: find each pair wherever it is.",
        ),
        "as a set": (
            lambda asked, seen: len(set(asked) & set(seen)) / len(asked),
            "A set holds everything once: two red circles asked for and seen are two, not one.",
        ),
        "all or nothing": (
            lambda asked, seen: float(not Counter(asked) - Counter(seen)),
            "You answer whether all is there. The share is asked for.",
        ),
    },
    hints=(
        "`collections.Counter` counts what is in a list, and `&` of two counts keeps the smaller number of each.",
        "`sum((Counter(asked) & Counter(seen)).values())` is how many pairs are there.",
    ),
    solution="""
from collections import Counter


def binding(asked, seen):
    there = Counter(asked) & Counter(seen)
    return sum(there.values()) / len(asked)
""",
)

EXERCISES = (CENTRE, GRAVITY, BINDING)
