"""A world of one dimension: a spot of light or of dark that moves along a line.

A clip of it is (1, F, 1, W), a video like any other, and looked at with time downwards it is a picture (F, W): what
drifts is a slanted stripe, what rests an upright one, and what flickers can be seen with the eye.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

MOTIONS = ("rests", "drifts", "dashes", "bounces", "shakes")
SPEEDS = {"drifts": (0.25, 0.6), "dashes": (1.0, 1.5), "bounces": (1.0, 1.5)}  # pixels a frame
SWING = (1.5, 2.5)  # pixels from the middle that what shakes is, to one side in one frame and to the other in the next
SPOT = 1.2  # pixels: the width of a spot, as the standard deviation of a Gaussian
MARGIN = 3.0  # pixels from an edge that a spot keeps


@dataclass(frozen=True)
class Line:
    """n clips (n,1,F,1,W) in [-1, 1]; where the spots are, (n,F), pixels; motions (n,); lights (n,), 1 bright, -1 dark.

    Example: `sample(8, Generator()).clips[0, 0, :, 0]` is a picture, time downwards.
    """

    clips: Tensor
    places: Tensor
    motions: Tensor
    lights: Tensor


def sample(n: int, generator: Generator, motions: tuple[str, ...] = MOTIONS, frames: int = 16, width: int = 32) -> Line:
    """n random clips; the spot of each is as likely bright as dark, and moves in one of `motions`, all as likely.

    rests; drifts and dashes at a constant speed, slow and quick; bounces, which turns once at an edge;
    shakes, which is left in one frame and right in the next. ValueError for unknown motions, no frames, and a
    line too short for a dash. Example: `sample(64, Generator().manual_seed(0), ("rests", "drifts")).clips`.
    """
    if isinstance(motions, str) or not motions or set(motions) - set(MOTIONS):
        raise ValueError(f"motions={motions!r}: expected some of {', '.join(MOTIONS)}")
    room = width - 1 - 2 * MARGIN
    longest = max([SPEEDS[m][1] for m in motions if m in SPEEDS], default=0) * (frames - 1)
    if n < 1 or frames < 1 or room < max(longest, 2 * SWING[1]):
        raise ValueError(
            f"n={n}, frames={frames}, width={width}: expected a clip, a frame and a line of more than "
            f"{max(longest, 2 * SWING[1]) + 1 + 2 * MARGIN:.0f} pixels, or the spot would leave it"
        )

    def u(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, generator=generator)

    t = torch.arange(float(frames))  # (F,)
    kind = torch.tensor([MOTIONS.index(m) for m in motions])[torch.randint(len(motions), (n,), generator=generator)]
    side = torch.randint(0, 2, (n, 1), generator=generator) * 2 - 1.0  # to the right, or to the left
    start, places = u(0, 1), torch.zeros(n, frames)
    for name in motions:
        if name == "rests":
            path = start * room + 0 * t
        elif name == "shakes":
            swing = u(*SWING)
            path = swing + start * (room - 2 * swing) + side * swing * (1 - 2 * (t % 2))
        else:
            speed = u(*SPEEDS[name])
            if name == "bounces":  # and the turn is well within the clip
                turn = u(0.25, 0.75) * (frames - 1)
                path = room - speed * (t - turn).abs()
                path = torch.where(side > 0, path, room - path)
            else:
                path = start * (room - speed * (frames - 1)) + speed * t
                path = torch.where(side > 0, path, room - path)
        places = torch.where(kind[:, None] == MOTIONS.index(name), path, places)
    places = MARGIN + places
    light = torch.randint(0, 2, (n,), generator=generator) * 2 - 1.0
    spots = torch.exp(-(((torch.arange(float(width)) - places[..., None]) / SPOT) ** 2) / 2)  # (n, F, W)
    return Line((light[:, None, None] * spots)[:, None, :, None], places, kind, light)
