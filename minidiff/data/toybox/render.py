"""Specs to clips: signed distances to pixels, any size, any device, nothing jagged.

One formula draws every shape. Fold the plane around the centre so that all corners fall on one another: a polygon or a
star is then a single edge, and a circle or a ring needs no fold at all. A pixel is covered by as much as the edge
leaves of it, so that the covered pixels of a shape add up to its area and their mean place is its centre. (Drawing by
signed distances is Inigo Quilez's art: iquilezles.org, "2D distance functions"; the fold here is our own.)
"""

import math

import torch
from torch import Tensor

from minidiff.checks import nonfinite
from minidiff.data.toybox.motion import camera, places, reach, rim, shots
from minidiff.data.toybox.spec import COLOURS, FLOOR, SHAPES, Spec, check

WALL, GROUND, SHADE = (
    0.33,
    0.86,
    0.62,
)  # grey of a wall; brightness of the floor, and of a shadow, against what it lies on
RIPPLE = 0.02  # height of each wave of the backdrop
THICK = 0.028  # half the thickness of a shadow
CHUNK, MANY = 16, 1024  # clips drawn at once: more does not fit a processor's cache; a GPU is kept busy by many


def outline(dx: Tensor, dy: Tensor, shape: int, radius: Tensor) -> Tensor:
    """Distance to the boundary, negative inside, of points (dx, dy) from the centre of a shape; all broadcast.

    `shape` is its number in `SHAPES`, `radius` that of the disc of the same area. Near a corner it is the distance to
    the line of the nearer edge. Example: in the middle of a disc, `outline(zero, zero, 0, one)` is -1.
    """
    (corners, inner), far = tuple(SHAPES.values())[shape], rim(torch.tensor(shape), radius)
    r = torch.hypot(dx, dy)
    if not corners:
        return torch.maximum(r - far, inner * far - r) if inner else r - far
    wedge = 2 * math.pi / corners
    turned = torch.atan2(dx, -dy) + (math.pi / 4 if corners == 4 else 0)  # 0 at a corner: up, or the square's diagonal
    angle = wedge / 2 - (turned % wedge - wedge / 2).abs()  # folded: 0 at a corner, wedge/2 in a notch
    out = (inner * math.sin(wedge / 2), 1 - inner * math.cos(wedge / 2))  # at a right angle to the edge
    return (out[0] * (r * angle.cos() - far) + out[1] * r * angle.sin()) / math.hypot(*out)


def coverage(distance: Tensor, pixel: float) -> Tensor:
    """How much of a pixel of this width lies inside, 0 to 1, from its centre's signed distance."""
    return (0.5 - distance / pixel).clamp(0, 1)


def backdrop(spec: Spec, x: Tensor, y: Tensor, shot: Tensor) -> Tensor:
    """Grey of sky and floor, (B,F,H,W), at x (B,F,W) in the world and y (H,): waves that stand still in the world."""
    batch = torch.arange(len(spec), device=shot.device)[:, None]
    kx, ky, phase = spec.waves[batch, shot].unbind(-1)  # (B, F, K)
    across = 2 * math.pi * kx[..., None] * x[:, :, None] + phase[..., None]  # (B, F, K, W)
    down = 2 * math.pi * ky[..., None] * y  # (B, F, K, H)
    waves = down.cos().mT @ across.cos() - down.sin().mT @ across.sin()  # (B, F, H, W)
    grey = spec.grey[batch, shot][..., None, None] + RIPPLE * waves
    return grey * (1 - (1 - GROUND) * coverage(FLOOR - y, float(y[1] - y[0]) if len(y) > 1 else 1.0)[:, None])


def render(spec: Spec, height: int = 32, width: int | None = None, at: Tensor | None = None) -> Tensor:
    """The clips of a spec: (B,3,F,H,W), float32 in [-1, 1]. The default width follows from the spec's aspect.

    `at` (B,F,N,2) draws the objects elsewhere than their motion says, to plant a mistake. ValueError for what is not
    in the world. Example: `render(sample(8, generator), 64)` is (8, 3, 12, 64, 64).
    """
    width = round(height * spec.aspect) if width is None else width
    check(spec, height, width)
    at = places(spec) if at is None else at
    wanted, bad = (len(spec), spec.frames, spec.shape.shape[1], 2), nonfinite(at)
    if tuple(at.shape) != wanted or bad:
        raise ValueError(f"at of shape {tuple(at.shape)}, {bad} values NaN or infinite: expected {wanted}, all finite")
    chunk = CHUNK if spec.start.device.type == "cpu" else MANY
    clips = torch.empty(len(spec), 3, spec.frames, height, width, device=at.device)
    for i in range(0, len(spec), chunk):
        clips[i : i + chunk] = _render(spec[i : i + chunk], height, width, at[i : i + chunk])
    return clips


def _render(spec: Spec, height: int, width: int, at: Tensor) -> Tensor:
    device, pixel = spec.start.device, 1 / height
    t = torch.arange(spec.frames, device=device, dtype=torch.float32)
    edge = camera(spec, t)  # (B, F)
    x = (torch.arange(width, device=device) + 0.5) * (spec.aspect / width) + edge[..., None]  # (B, F, W), in the world
    y = (torch.arange(height, device=device) + 0.5) * pixel
    grey = backdrop(spec, x, y, shots(spec, t)[0])
    side, floor = reach(spec.shape, spec.radius), FLOOR + (1 - FLOOR) / 2
    dx = x[:, :, None] - at[..., :1]  # (B, F, N, W)
    if spec.lit.any():
        lies = (FLOOR - at[..., 1]) * spec.light[:, None, None]  # from above the light comes, from left or right
        wide = (side[:, None, :, 0] * 0.9).clamp(min=1e-6)[..., None]
        ratio = ((dx - lies[..., None]) / wide)[..., None, :] ** 2 + (((y - floor) / THICK) ** 2)[:, None]
        there = (spec.lit[:, None] & (spec.shape >= 0))[:, None, :, None, None]
        dark = coverage((ratio.sqrt() - 1) * THICK, pixel) * there  # (B, F, N, H, W)
        grey = grey * (1 - (1 - SHADE) * dark.amax(2))
    clip = grey[:, None].expand(-1, 3, -1, -1, -1)
    cover = torch.zeros(*at.shape[:3], height, width, device=device)  # (B, F, N, H, W)
    dy = y[:, None] - at[..., 1, None, None]  # (B, F, N, H, 1)
    for shape in range(len(SHAPES)):
        b, n = (spec.shape == shape).nonzero(as_tuple=True)
        if len(b):
            radius = spec.radius[b, n][:, None, None, None]
            cover[b, :, n] = coverage(outline(dx[b, :, n, None], dy[b, :, n], shape, radius), pixel)
    palette = torch.tensor([*COLOURS.values(), (0, 0, 0)], device=device)
    for n in range(cover.shape[2]):
        paint = palette[spec.colour[:, n]][..., None, None, None]  # (B, 3, 1, 1, 1)
        clip = clip + cover[:, None, :, n] * (paint - clip)
    low, high = ((x - spec.wall[:, None, i, None]) for i in (0, 1))  # (B, F, W)
    wall = (coverage(-low, spec.aspect / width) - coverage(-high, spec.aspect / width))[:, None, :, None]
    return (clip + wall * (WALL - clip)) * 2 - 1
