"""What is seen in clips of the line: where the spot is and whether it is bright or dark, frame by frame; how it moves.

Two numbers say how well time holds together. The acceleration is the root mean square of the second difference of the
places: 0 for what rests or drifts, and for a place drawn anew in every frame several times the line's own spread. A
switch is a frame whose spot is bright where the one before was dark, or the reverse.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data.line import MOTIONS

FAINT = 0.3  # of full brightness: a frame whose strongest pixel is weaker has no spot
STILL, QUICK = 0.12, 0.8  # pixels a frame: what moves less rests, what drifts faster dashes
OFF = 0.35  # pixels, root mean square, from the law that a motion is named for


class Spots(NamedTuple):
    """places (n,F), pixels; lights (n,F), 1 bright, -1 dark; found (n,F), whether there is a spot at all."""

    places: Tensor
    lights: Tensor
    found: Tensor


def spots(clips: Tensor) -> Spots:
    """The spot of every frame: the centre of mass of its strongest pixel and three on either side. clips: (n,1,F,1,W).

    Example: `spots(sample(8, Generator()).clips).places`.
    """
    if clips.ndim != 5 or clips.shape[1] != 1 or clips.shape[3] != 1:
        raise ValueError(f"clips of the line are (n, 1, F, 1, W), got {tuple(clips.shape)}")
    x = clips[:, 0, :, 0]  # (n, F, W)
    strongest = x.abs().argmax(-1, keepdim=True)  # (n, F, 1)
    light = x.gather(-1, strongest).sign()
    where = torch.arange(float(x.shape[-1]), device=x.device)
    mass = (x * light).clamp(min=0) * ((where - strongest).abs() <= 3)
    places = (mass * where).sum(-1) / mass.sum(-1).clamp(min=1e-6)
    return Spots(places, light[..., 0], x.abs().amax(-1) > FAINT)


def acceleration(places: Tensor) -> Tensor:
    """Root mean square second difference of each clip, (n,), pixels a frame squared. places: (n,F), three or more.

    Example: `acceleration(spots(clips).places).mean()`.
    """
    if places.shape[-1] < 3:
        raise ValueError(f"{places.shape[-1]} frames: an acceleration takes three")
    return places.diff(n=2, dim=-1).square().mean(-1).sqrt()


def switches(lights: Tensor) -> Tensor:
    """How often the spot of each clip turns from bright to dark or back, (n,). lights: (n,F)."""
    return (lights.diff(dim=-1) != 0).sum(-1)


def named(places: Tensor) -> Tensor:
    """The motion of each clip as an index of MOTIONS, or -1 where none fits, (n,). places: (n,F), 8 frames or more.

    Each law is fitted by least squares, and the first that holds to OFF wins: a place; a line, slow or quick; two ends
    in turns; a speed that changes its sign.
    """
    n, frames = places.shape
    if frames < 8:
        raise ValueError(f"{frames} frames: it takes 8 to tell motions apart")
    t = torch.arange(float(frames), device=places.device)
    out = torch.full((n,), -1, device=places.device)

    def fitted(*columns: Tensor) -> tuple[Tensor, Tensor]:
        basis = torch.stack([torch.ones_like(t), *columns], 1)  # (F, C)
        values = torch.linalg.lstsq(basis, places.T).solution  # (C, n)
        return values, (basis @ values - places.T).square().mean(0).sqrt()

    line, off_line = fitted(t - t.mean())
    ends, off_ends = fitted(1 - 2 * (t % 2))
    kinks = [fitted((t - turn).abs()) for turn in torch.arange(2.0, frames - 2.5, 0.25).tolist()]
    off_kink, best = torch.stack([off for _, off in kinks]).min(0)  # (n,)
    kink = torch.stack([values[1].abs() for values, _ in kinks]).gather(0, best[None])[0]
    speed = line[1].abs()
    laws = {
        "bounces": (off_kink < OFF) & (kink > STILL),
        "shakes": (off_ends < OFF) & (ends[1].abs() > 0.7),
        "dashes": (off_line < OFF) & (speed >= QUICK),
        "drifts": (off_line < OFF) & (speed < QUICK),
        "rests": (off_line < OFF) & (speed < STILL),
    }
    for name, holds in laws.items():  # the simplest law comes last and wins
        out[holds] = MOTIONS.index(name)
    return out
