"""All that is grey in a clip: wall, cut, the way of the camera, and the strip of floor where the shadows lie."""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import uniform_filter

from minidiff.data.toybox.render import WALL
from minidiff.data.toybox.spec import FLOOR

STILL = 0.05  # heights: a camera that never goes further stands still


@dataclass
class Scenery:
    """What a clip shows besides its objects; lengths in heights."""

    size: tuple[int, int, int]  # F, H, W
    wall: tuple[float, float] | None = None  # its left and right edge
    cut: int = 0  # first frame of the second shot, 0 = none
    camera: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (F,) x of the picture in the world
    floor: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (F, W) share of its brightness that is lost


def scenery(frames: np.ndarray) -> Scenery:
    """What is grey in frames (F,H,W,3) with values in [0, 1]. Example: `scenery(frames).cut`."""
    f, h, w, _ = frames.shape
    seen = Scenery((f, h, w), camera=np.zeros(f))
    grey = frames.mean(-1)
    chroma = np.abs(frames - grey[..., None]).max(-1)
    tinge = np.abs(uniform_filter(frames - grey[..., None], (0, 5, 5, 0))).max(-1)  # pyright: ignore
    near = tinge > max(0.02, 4 * float(np.median(tinge)))  # an object, or within two pixels of one
    sky = slice(0, int(FLOOR * h) - 1)
    profile = np.median(grey[:, sky], axis=(0, 1))  # (W,)
    light = float(np.median(grey[:, sky]))
    dark = profile < (light + WALL) / 2 if light > WALL + 0.2 else np.zeros(w, bool)
    if dark.any():
        share = ((light - profile) / (light - WALL)).clip(0, 1)
        first, last = np.flatnonzero(dark)[[0, -1]]
        left = first + 1 - share[first] - (share[first - 1] if first else 0)
        right = last + share[last] + (share[last + 1] if last + 1 < w else 0)
        seen.wall = (left / h, right / h)
        near |= uniform_filter(dark.astype(float), 3) > 0
    smooth = uniform_filter(grey, (0, 7, 7))[:, sky]  # pyright: ignore
    both = ~near[1:, sky] & ~near[:-1, sky]
    change = smooth[1:] - smooth[:-1]
    change = np.abs(change - change.mean((1, 2), keepdims=True))  # brighter all over is no cut
    steps = np.array([np.median(c[b]) if b.any() else 0.0 for c, b in zip(change, both, strict=True)])
    if f > 2 and steps.max() > 2 * np.median(steps) + 0.012:
        seen.cut = int(steps.argmax()) + 1
    smooth = uniform_filter(grey, (0, 5, 5))[:, sky]  # pyright: ignore
    free = uniform_filter(near.astype(float), (0, 5, 9))[:, sky] < 0.01  # pyright: ignore  # ... nor where it may shift to
    both = free[1:] & free[:-1]
    moves = np.array([0.0 if t + 1 == seen.cut else shift(smooth[t], smooth[t + 1], both[t]) / h for t in range(f - 1)])
    camera = np.concatenate([[0.0], np.cumsum(moves)])
    if np.abs(camera).max() > STILL:
        seen.camera = camera
    y, clean = (np.arange(h) + 0.5) / h, np.ma.array(grey, mask=chroma > 0.1)
    below = clean[:, y > 0.97].mean(1)  # floor without shadows: they lie between FLOOR and here
    seen.floor = (1 - clean[:, (y > 0.91) & (y < 0.97)].mean(1) / np.maximum(below, 1e-3)).filled(0)
    return seen


def shift(one: np.ndarray, other: np.ndarray, free: np.ndarray) -> float:
    """By how many pixels the camera moved right between two grey pictures, from the places that are free.

    Gauss-Newton on the squared difference (Lucas & Kanade 1981), along x only; 0 where nothing can be compared.
    """
    inner = free[:, 3:-3]
    if inner.sum() < 20:
        return 0.0
    last, moved = one.shape[1] - 1, 0.0
    for _ in range(6):
        at = np.clip(np.arange(last + 1) - moved, 0, last)
        left_of = np.minimum(at.astype(int), last - 1)
        there = other[:, left_of] + (at - left_of) * (other[:, left_of + 1] - other[:, left_of])  # between two pixels
        slope, left = ((there[:, 4:-2] - there[:, 2:-4]) / 2)[inner], (one - there)[:, 3:-3][inner]
        slope = slope - slope.mean()  # brighter all over is no motion
        power = float((slope**2).sum())
        if power < 1e-8:
            return 0.0
        moved = float(np.clip(moved - (slope * left).sum() / power, -3, 3))
    return moved
