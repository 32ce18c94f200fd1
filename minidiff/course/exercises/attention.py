"""Exercises of chapter 12, `attention`."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.nn import attention
from minidiff.train import flops

# --- attend ----------------------------------------------------------------------------------------------------------


def _tokens(generator: Generator) -> tuple:
    there = torch.tensor([True, False, True, True, False])[torch.randperm(5, generator=generator)]
    d = int(torch.randint(5, 12, (), generator=generator))
    return 2 * normal(generator, 3, d), 2 * normal(generator, 5, d), normal(generator, 5, 2), there


def _shares(query: Tensor, key: Tensor, there: Tensor, size: float, hide: float = -torch.inf) -> Tensor:
    return (query @ key.mT / size).masked_fill(~there, hide).softmax(-1)


ATTEND = exercise(
    "attention.attend",
    "Attend",
    1,
    15,
    inputs=_tokens,
    reference=lambda query, key, value, there: F.scaled_dot_product_attention(query, key, value, attn_mask=there),
    wrong={
        "no mask": (
            lambda query, key, value, there: (query @ key.mT / query.shape[1] ** 0.5).softmax(-1) @ value,
            "Tokens that are not there still get a share. Set their scores to minus infinity before the softmax.",
        ),
        "mask upside down": (
            lambda query, key, value, there: _shares(query, key, ~there, query.shape[1] ** 0.5) @ value,
            "You listened to the tokens that are *not* there: `masked_fill` fills where its mask is True, so ~there.",
        ),
        "zero score": (
            lambda query, key, value, there: _shares(query, key, there, query.shape[1] ** 0.5, 0.0) @ value,
            "A score of 0 is not a share of 0: exp(0) is 1. Minus infinity is what becomes 0.",
        ),
        "after the softmax": (
            lambda query, key, value, there: (query @ key.mT / query.shape[1] ** 0.5).softmax(-1) * there @ value,
            "You struck tokens out after the softmax: the shares that are left no longer sum to 1.",
        ),
        "not divided": (
            lambda query, key, value, there: _shares(query, key, there, 1.0) @ value,
            "The scores are not divided by the root of d: the shares are too sharp.",
        ),
        "divided by d": (
            lambda query, key, value, there: _shares(query, key, there, query.shape[1]) @ value,
            "Divided by d: it is the *root* of d, the spread of a product of random lists.",
        ),
        "softmax over queries": (
            lambda query, key, value, there: (
                (query @ key.mT / query.shape[1] ** 0.5).masked_fill(~there, -1e9).softmax(0) @ value
            ),
            "Your softmax runs over the queries. Each query shares out among the keys: the last axis.",
        ),
        "softmax over queries, minus infinity": (
            lambda query, key, value, there: (
                (query @ key.mT / query.shape[1] ** 0.5).masked_fill(~there, -torch.inf).softmax(0) @ value
            ),
            "Your softmax runs over the queries: a column of nothing but minus infinity becomes NaN. The axis is the last one.",
        ),
    },
    hints=(
        "Three steps: scores (N, M), softmax over the last axis, times value.",
        "`score.masked_fill(~there, -torch.inf)` before the softmax; `there` is one row, and holds for every query.",
    ),
    solution="""
def attend(query, key, value, there):
    score = query @ key.mT / query.shape[-1] ** 0.5
    return score.masked_fill(~there, -torch.inf).softmax(-1) @ value
""",
)

# --- turn ------------------------------------------------------------------------------------------------------------


def _hands(generator: Generator) -> tuple:
    return normal(generator, 5, 8), uniform(generator, 1, 9, 5), uniform(generator, 0.1, 1.5, 4)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    return attention.turn(x, torch.polar(torch.ones_like(angle), angle))


def _halves(x: Tensor, angle: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def _apart(x: Tensor) -> Tensor:
    return torch.cat([x[:, 0::2], x[:, 1::2]], -1)


TURN = exercise(
    "attention.turn",
    "Turn",
    2,
    20,
    inputs=_hands,
    reference=lambda x, place, speed: _turned(x, place[:, None] * speed),
    wrong={
        "backwards": (
            lambda x, place, speed: _turned(x, -place[:, None] * speed),
            "You turned the other way: (a, b) becomes (a cos - b sin, a sin + b cos).",
        ),
        "halves": (
            lambda x, place, speed: _halves(x, place[:, None] * speed),
            "You paired the first half with the second. Much code does; here the pairs are neighbours: x[:, 0::2], x[:, 1::2].",
        ),
        "halves at the end": (
            lambda x, place, speed: _apart(_turned(x, place[:, None] * speed)),
            "Turned rightly, but put together as two halves. The pairs are neighbours: stack along a new last axis, then flatten.",
        ),
        "one step": (
            lambda x, place, speed: _turned(x, torch.ones_like(place)[:, None] * speed),
            "Every token was turned by one step. The angle is place times speed.",
        ),
        "one speed": (
            lambda x, place, speed: _turned(x, place[:, None] * speed[:1].expand(4)),
            "All pairs turn at the first pair's speed. Each has its own.",
        ),
        "a reflection": (
            lambda x, place, speed: _turned(
                torch.stack([x[:, 1::2], x[:, 0::2]], -1).flatten(-2), place[:, None] * speed
            ),
            "The two numbers of each pair have changed places before turning.",
        ),
    },
    hints=(
        "`angle = place[:, None] * speed` is (N, d/2): one angle for each pair of each token.",
        "`torch.stack([first, second], -1).flatten(-2)` puts the pairs side by side again.",
    ),
    solution="""
def turn(x, place, speed):
    angle = place[:, None] * speed
    a, b = x[:, 0::2], x[:, 1::2]
    pairs = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
    return torch.stack(pairs, -1).flatten(-2)
""",
)

# --- crossover -------------------------------------------------------------------------------------------------------


def _sizes(generator: Generator) -> tuple:
    return int(torch.randint(8, 64, (), generator=generator)) * 16, int(torch.randint(2, 9, (), generator=generator))


def _crossover(width: int, m: int) -> float:
    """From the package's count at 1,000 tokens: the MLP there is 4 times as wide."""
    part = flops.dit(width, 1, 1000, 0)
    alone = part["queries, keys, values, output"] + part["MLP"] * m / 4
    return 1000 * alone / part["attention between tokens"]


CROSSOVER = exercise(
    "attention.crossover",
    "Where the square begins to hurt",
    2,
    15,
    inputs=_sizes,
    reference=_crossover,
    wrong={
        "MLP only": (
            lambda width, m: width * m,
            "The MLP alone costs 2 m D² a token. The four matrices of attention, 4 D², are work of a token alone too.",
        ),
        "projections only": (lambda width, m: 2 * width, "The MLP is missing: 2 m D² a token."),
        "scores only": (
            lambda width, m: 2 * width * (2 + m),
            "You counted the scores. Averaging the values costs as much again: together 2 N D a token.",
        ),
        "three matrices": (
            lambda width, m: width * (1.5 + m),
            "Queries, keys, values: and the matrix that mixes the heads' answers is a fourth.",
        ),
        "half an MLP": (
            lambda width, m: width * (2 + m / 2),
            "An MLP goes up and comes down again: two matrices of m D².",
        ),
        "for m = 4": (lambda width, m: 6 * width, "That is the answer for m = 4."),
    },
    hints=(
        "For one token: four D x D matrices, and D x mD up, mD x D down. Between tokens: N products and N parts of an average, of D numbers each.",
        "Set (4 + 2 m) D² equal to 2 N D.",
    ),
    solution="""
def crossover(width, m):
    return (2 + m) * width
""",
)

EXERCISES = (ATTEND, TURN, CROSSOVER)
