"""Fashion-MNIST: 70,000 grey pictures of clothes, 28x28, ten balanced classes (Xiao, Rasul, Vollgraf 2017).

The files in `data/fashion` are contact sheets: one PNG holds 10,000 images as 100 rows of 100 tiles, in the
original order, so that what ships can be looked at. A pixel p in 0..255 becomes p/127.5 - 1 in [-1, 1]; the
background, p = 0, is -1. Source, licence and hashes: `data/README.md`; the maker: `data/build/fashion.py`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from PIL import Image
from torch import Tensor

from minidiff.files import root, verify

NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SD = 0.706  # standard deviation of all training pixels in [-1, 1], at 28x28 (their mean is -0.428)
SHEETS = {"train": 6, "test": 1}  # of 10,000 images each


def tiles(sheet: np.ndarray) -> np.ndarray:
    """The images of a contact sheet, row by row: (R*28, C*28) -> (R*C, 28, 28). Example: `tiles(s)[0]`."""
    return rearrange(sheet, "(r h) (c w) -> (r c) h w", h=28, w=28)


@cache
def _read(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 1, 28, 28) and labels (N,) of one split, verified once per process."""
    sheets = []
    for number in range(SHEETS[split]):
        with Image.open(verify(folder / f"{split}-{number}.png")) as sheet:
            sheets.append(tiles(np.asarray(sheet)))
    images = torch.from_numpy(np.concatenate(sheets))[:, None]  # (N, 1, 28, 28)
    labels = torch.from_numpy(np.load(verify(folder / f"{split}-labels.npy")))
    return images, labels


def load(split: str = "train", size: int = 28) -> tuple[Tensor, Tensor]:
    """Images (N, 1, size, size), float32 in [-1, 1], and labels (N,), int64, indices into `NAMES`.

    `split` is "train" (N = 60,000) or "test" (10,000). `size` 14 and 7 are the means of 2x2 and 4x4 pixels.
    The tensors are the caller's own. Raises ValueError for another split or size, or a file whose sha256
    differs from `data/SHA256SUMS`; FileNotFoundError for a missing file.
    Example: `images, labels = load("test", size=14)`.
    """
    if split not in SHEETS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, SHEETS))}")
    if size not in (28, 14, 7):
        raise ValueError(f"size is {size!r}; expected 28, 14 or 7 (means over 1, 2x2 or 4x4 pixels)")
    pixels, labels = _read(root() / "data" / "fashion", split)
    images = pixels.float().div_(127.5).sub_(1)  # in place: one float copy of the training set is 188 MB
    if size < 28:
        images = reduce(images, "b c (h p) (w q) -> b c h w", "mean", h=size, w=size)
    return images, labels.long()
