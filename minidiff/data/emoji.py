"""Emoji: 1,376 concepts, each drawn in four styles, 64x64 RGB with English names. A full table: every style draws
every concept, so that what is drawn and how it is drawn can be told apart.

The files in `data/emoji` are a contact sheet for each style and `names.tsv`, one line a concept. A pixel p in 0..255
becomes p/127.5 - 1 in [-1, 1]; the ground is white, 1. Each style has its own licence: `data/README.md`; the maker:
`data/build/emoji.py`.
"""

import csv
import difflib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce
from PIL import Image
from torch import Tensor

from minidiff.files import root, verify

STYLES = ("openmoji", "noto", "twemoji", "fluent")
GROUPS = ("smiley", "person", "nature", "food", "place", "activity", "object")
COLUMNS = ("code", "name", "group", "subgroup", "held_out")
SPLITS = ("train", "concepts", "pairs")
SD = 0.5895  # standard deviation of all training values in [-1, 1], at 64x64 (their mean is 0.60)


class Emoji(NamedTuple):
    """Pictures with what is known of each. `style` indexes STYLES, `group` GROUPS, `concept` the rows of `table()`."""

    images: Tensor  # (N, 3, size, size), float32 in [-1, 1]
    style: Tensor  # (N,), int64, as the other two
    group: Tensor
    concept: Tensor


@cache
def _table(folder: Path) -> tuple[dict[str, str], ...]:
    text = verify(folder / "names.tsv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), delimiter="\t"))


@cache
def _read(folder: Path) -> Tensor:
    """All pictures, (styles, concepts, 3, 64, 64), uint8, verified once per process."""
    styles = []
    for style in STYLES:
        with Image.open(verify(folder / f"{style}.png")) as sheet:
            tiles = rearrange(np.asarray(sheet), "(r h) (c w) k -> (r c) k h w", h=64, w=64)
        styles.append(torch.from_numpy(tiles[: len(_table(folder))].copy()))
    return torch.stack(styles)


def _pictures(tiles: Tensor, size: int) -> Tensor:
    """Bytes (N, 3, 64, 64) as values in [-1, 1], (N, 3, size, size)."""
    if size not in (64, 32, 16):
        raise ValueError(f"size is {size!r}; expected 64, 32 or 16 (means over 1, 2x2 or 4x4 pixels)")
    images = tiles.float().div_(127.5).sub_(1)
    return images if size == 64 else reduce(images, "b c (h p) (w q) -> b c h w", "mean", h=size, w=size)


def table() -> tuple[dict[str, str], ...]:
    """The concepts, one dictionary each with the keys of COLUMNS. Example: `table()[0]["name"]` is "grinning face"."""
    return _table(root() / "data" / "emoji")


def concept(name: str) -> int:
    """The row of a name in `table()`; KeyError with the nearest names. Example: `concept("sunflower")`."""
    names = [row["name"] for row in table()]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=4) or [n for n in names if name in n][:4]
        raise KeyError(f"no emoji is named {name!r}" + (f"; the nearest: {', '.join(near)}" if near else ""))
    return names.index(name)


def load(split: str = "train", size: int = 64) -> Emoji:
    """The pictures of a split; size 32 and 16 are the means of 2x2 and 4x4 pixels.

    "train"; "concepts": held-out concepts, in all styles; "pairs": concepts of "train" in the one style in which
    "train" lacks them. A style's pictures stand together, in the order of `table()`. The tensors are the caller's own.
    Raises ValueError for another split or size, or a file whose sha256 differs from `data/SHA256SUMS`;
    FileNotFoundError for a missing one.
    Example: `images, style, group, concept = load("concepts", size=32)`.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, SPLITS))}")
    held_out = [row["held_out"] for row in table()]
    where = {  # style, what a concept's row says of its being held out -> whether the picture is in the split
        "train": lambda style, out: out not in ("concept", style),
        "concepts": lambda style, out: out == "concept",
        "pairs": lambda style, out: out == style,
    }[split]
    chosen = torch.tensor([[where(style, out) for out in held_out] for style in STYLES])  # (styles, concepts)
    style, which = chosen.nonzero().T  # (N,), (N,)
    images = _pictures(_read(root() / "data" / "emoji")[style, which], size)
    groups = torch.tensor([GROUPS.index(row["group"]) for row in table()])
    return Emoji(images, style, groups[which], which)


def pictures(name: str, size: int = 64) -> Tensor:
    """One concept in all styles, (4, 3, size, size) in [-1, 1]. Example: `pictures("sunflower")`."""
    return _pictures(_read(root() / "data" / "emoji")[:, concept(name)], size)
