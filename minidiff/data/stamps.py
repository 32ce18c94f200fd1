"""A colouring book: every page asks a question whose answer stands somewhere else on the page (chapter 12).

A page is 48x48 pixels, 8x8 tiles of 6x6. Six tiles carry a stamp: each of six shapes once, each in one of six colours.
A seventh carries one of the shapes in black: it wants to be painted in the colour of its twin, which may be anywhere.
Who does not see the twin can only guess: right once in six.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

SIDE, PATCH = 8, 6  # tiles a side, pixels a side of a tile
SHAPES = ("square", "disc", "cross", "diamond", "ring", "triangle")
COLOURS = {  # name: red, green, blue in [0, 1]
    "blue": (0.12, 0.28, 0.83),
    "orange": (0.90, 0.45, 0.04),
    "green": (0.20, 0.64, 0.42),
    "purple": (0.41, 0.14, 0.49),
    "yellow": (0.97, 0.80, 0.15),
    "pink": (0.95, 0.60, 0.72),
}


class Pages(NamedTuple):
    """images (N,3,48,48) in [-1, 1]; the tile that asks and its twin, 0..63, (N,) each; the answer, 0..5, (N,)."""

    images: Tensor
    asks: Tensor
    twin: Tensor
    answer: Tensor


def outlines() -> Tensor:
    """The shapes as masks, (6, 6, 6), True where there is ink. Example: `outlines()[0].sum()` is 16."""
    axis = torch.arange(PATCH) - (PATCH - 1) / 2
    y, x = axis[:, None].expand(PATCH, PATCH), axis.expand(PATCH, PATCH)
    r, cross = torch.hypot(x, y), (x.abs() < 1) | (y.abs() < 1)
    square, diamond = (x.abs() < 2) & (y.abs() < 2), x.abs() + y.abs() < 3.5
    return torch.stack([square, r < 3, cross, diamond, (r < 3) & (r > 1.5), (y > 2 * x.abs() - 2.6) & (y < 2)])


def pages(n: int, generator: Generator) -> Pages:
    """n random pages. ValueError for n below 1. Example: `pages(64, Generator().manual_seed(0)).images`."""
    if n < 1:
        raise ValueError(f"n={n}: expected 1 page or more")
    shapes, count, every = outlines(), len(SHAPES), torch.arange(n)
    shuffled = torch.rand(n, SIDE**2, generator=generator).argsort(1)
    place = shuffled[:, : count + 1]  # tiles of the six stamps and of the one that asks, (N, 7)
    colour = torch.randint(len(COLOURS), (n, count), generator=generator)
    asked = torch.randint(count, (n,), generator=generator)
    palette = 2 * torch.tensor([*COLOURS.values(), (0.08, 0.08, 0.08)]) - 1  # (7, 3)
    tiles = torch.ones(n, SIDE**2, 3, PATCH, PATCH)  # white
    for k in range(count + 1):
        shape = shapes[asked if k == count else k].expand(n, PATCH, PATCH)
        ink = palette[torch.full((n,), count) if k == count else colour[:, k]]  # (N, 3)
        tiles[every, place[:, k]] = torch.where(shape[:, None], ink[:, :, None, None], torch.ones(()))
    images = tiles.unflatten(1, (SIDE, SIDE)).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, SIDE * PATCH, SIDE * PATCH)
    return Pages(images, place[:, count], place[every, asked], colour[every, asked])
