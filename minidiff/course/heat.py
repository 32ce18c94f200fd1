"""Weights of attention over a picture: where a patch looks."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minidiff.course.plots import colour


def heat(image: Tensor, weights: Tensor, at: int | None = None, enlarge: int = 1, kind: str = "model") -> Tensor:
    """A picture (C,H,W) in [-1, 1], faded, with weights (h,w) over it, the largest in full colour; (3, H', W').

    at: the number of the tile that looks, framed in the colour of the exact. enlarge: how many pixels one becomes.
    ValueError for weights whose sides do not divide those of the picture.
    Example: `image_grid(heat(page, maps[0][0, 1, 27].view(8, 8), at=27, enlarge=4)[None], columns=1, scale=1)`.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or weights.ndim != 2 or enlarge < 1:
        shapes = f"{tuple(image.shape)}, {tuple(weights.shape)}, enlarge={enlarge}"
        raise ValueError(f"expected a picture (1 or 3, H, W), weights (h, w) and enlarge of 1 or more, got {shapes}")
    (_, height, width), (rows, columns) = image.shape, weights.shape
    if height % rows or width % columns:
        raise ValueError(f"weights {rows} x {columns} over a picture {height} x {width}: tiles would be cut")
    if at is not None and not 0 <= at < rows * columns:
        raise ValueError(f"at={at}: the tiles are 0..{rows * columns - 1}")
    faded = 0.6 + 0.4 * image.clamp(-1, 1).expand(3, -1, -1)  # (3, H, W)
    share = (weights / weights.max().clamp_min(1e-12))[None, None]
    ink = torch.tensor(2 * np.asarray(colour(kind)) - 1).float()[:, None, None]
    spread = F.interpolate(share.float(), size=(height, width))[0]  # (1, H, W)
    x = torch.lerp(faded, ink.expand_as(faded), 0.85 * spread)
    x = x.repeat_interleave(enlarge, 1).repeat_interleave(enlarge, 2)
    if at is not None:
        h, w = enlarge * height // rows, enlarge * width // columns
        top, left = at // columns * h, at % columns * w
        frame = torch.ones(h, w, dtype=torch.bool)
        thick = max(1, enlarge // 2)
        frame[thick:-thick, thick:-thick] = False
        black: Any = 2 * np.asarray(colour("exact")) - 1
        x[:, top : top + h, left : left + w][:, frame] = torch.tensor(black).float()[:, None]
    return x
