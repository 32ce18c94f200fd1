"""Where everything is at any time, in closed form: no integrator, so a path is exact at every frame and between frames.

A drift keeps its velocity and turns at the edges of the world. A bounce is one parabola after the other, each leaving
the floor at `restitution` times the speed at which the last one hit it. A collision is elastic, along the line of the
centres, with masses as the areas. An orbit is a circle. What passes behind a wall goes straight on while unseen.
"""

import math

import torch
from torch import Tensor

from minidiff.data.toybox.spec import FLOOR, MOTIONS, SHAPES, Spec

RESTS, DRIFTS, BOUNCES, COLLIDES, ORBITS, PASSES = range(len(MOTIONS))
HOPS = 16  # of a bounce that are followed; then the object lies on the floor


def rim(shape: Tensor, radius: Tensor) -> Tensor:
    """Distance of a shape's furthest point from its centre, where `radius` is that of the disc of equal area.

    Shapes of `SHAPES` by number, any size, -1 for no object. Example: `rim(tensor(1), tensor(1.0))`, a square's half
    diagonal, is 1.2533.
    """
    factors = []
    for corners, inner in SHAPES.values():  # area = factor^-2 * pi * rim^2
        area = corners * inner * math.sin(math.pi / corners) / math.pi if corners else 1 - inner**2
        factors.append(area**-0.5)
    return radius * torch.tensor([*factors, 0.0], device=radius.device, dtype=radius.dtype)[shape]


def reach(shape: Tensor, radius: Tensor) -> Tensor:
    """How far shapes reach sideways, up and down from their centre: (..., 3), from `shape` and `radius` (...)."""
    half = {0: (1, 1, 1), 4: (0.5**0.5,) * 3}  # by corners, in rims
    half |= {n: (math.cos(math.pi / (2 * n)), 1, math.cos(math.pi / n)) for n in (3, 5)}  # a corner points up
    table = [half[corners] for corners, _ in SHAPES.values()] + [(0, 0, 0)]
    factors = torch.tensor(table, device=radius.device, dtype=radius.dtype)
    return rim(shape, radius)[..., None] * factors[shape]


def camera(spec: Spec, t: Tensor) -> Tensor:
    """x of the picture's left edge in the world at times t (F,) or (B,F): (B,F). It pans until `turn`, then back."""
    t, turn = t.expand(len(spec), -1), spec.turn[:, None]
    return spec.pan[:, None] * torch.where(t > turn, 2 * turn - t, t)


def shots(spec: Spec, t: Tensor) -> tuple[Tensor, Tensor]:
    """Which shot times t (F,) or (B,F) belong to, 0 or 1, and the time since its first frame: (B,F) each."""
    t, cut = t.expand(len(spec), -1), spec.cut[:, None]
    second = (cut > 0) & (t >= cut)
    return second.long(), torch.where(second, t - cut, t)


def fold(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x reflected at low and high as often as it takes to lie between them."""
    room = (high - low).clamp(min=1e-6)
    return low + room - ((x - low) % (2 * room) - room).abs()


def hop(height: Tensor, speed: Tensor, gravity: Tensor, restitution: Tensor, t: Tensor) -> Tensor:
    """Height above the floor at time t >= 0 of what starts at `height` with `speed` upwards; all of one shape."""
    impact = (speed**2 + 2 * gravity * height).sqrt()  # speed at the first contact
    begin, out = torch.zeros_like(t), height + speed * t - gravity * t**2 / 2
    end = (speed + impact) / gravity
    for _ in range(HOPS):
        impact, begin, end = impact * restitution, end, end + 2 * impact * restitution / gravity
        since = t - begin
        out = torch.where(since > 0, impact * since - gravity * since**2 / 2, out)
    return torch.where(t > end, torch.zeros_like(out), out)


def collide(spec: Spec, start: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """Places (B,F,N,2) at times t (B,F) of objects that meet their `partner` once; the others go straight on.

    Elastic: along the line of centres the relative velocity turns round; masses are as the areas.
    """
    paired = spec.partner >= 0
    other = spec.partner.clamp(min=0)[..., None]  # (B, N, 1)
    side = reach(spec.shape, spec.radius)[..., 0]
    touch = side + side.gather(1, other[..., 0])
    apart, closing = (
        start.gather(1, other.expand_as(start)) - start,
        velocity.gather(1, other.expand_as(start)) - velocity,
    )
    a, b, c = (closing**2).sum(-1), (apart * closing).sum(-1), (apart**2).sum(-1) - touch**2
    root = b**2 - a * c
    meets = paired & (b < 0) & (root > 0) & (c > 0)
    when = torch.where(meets, (-b - root.clamp(min=0).sqrt()) / a.clamp(min=1e-12), torch.full_like(a, math.inf))
    at = torch.where(meets, when, torch.zeros_like(when))[..., None]
    normal = (apart + closing * at) / touch.clamp(min=1e-12)[..., None]  # (B, N, 2)
    mass = spec.radius**2
    share = 2 * mass.gather(1, other[..., 0]) / (mass + mass.gather(1, other[..., 0])).clamp(min=1e-12)
    kick = (share * (closing * normal).sum(-1))[..., None] * normal
    since = (t[..., None] - when[:, None]).clamp(min=0)  # (B, F, N)
    return start[:, None] + velocity[:, None] * t[..., None, None] + kick[:, None] * since[..., None]


def places(spec: Spec, t: Tensor | None = None) -> Tensor:
    """Centres of all objects in the world at times t, in frames, (F,) or (B,F): (B,F,N,2), x and y in heights.

    Without t: at every frame of the clip. Example: `places(spec)[0, :, 0]`, the path of the first object of clip 0.
    """
    t = torch.arange(spec.frames, device=spec.start.device) if t is None else t
    shot, t = shots(spec, t.to(spec.start))  # (B, F)
    kind = spec.motion[:, None, :, None]  # (B, 1, N, 1)
    sides = reach(spec.shape, spec.radius)[:, None]  # (B, 1, N, 3)
    both = [_shot(spec, s, t, kind, sides) for s in range(spec.start.shape[1])]
    return both[0] if not (spec.cut > 0).any() else torch.where(shot[..., None, None] > 0, both[1], both[0])


def _shot(spec: Spec, s: int, t: Tensor, kind: Tensor, sides: Tensor) -> Tensor:
    start, velocity = spec.start[:, s], spec.velocity[:, s]  # (B, N, 2)
    still, when = start[:, None].expand(-1, t.shape[1], -1, -1), t[..., None]  # (B, F, N, 2), (B, F, 1)
    straight = still + velocity[:, None] * when[..., None]
    x = fold(straight[..., 0], sides[..., 0], spec.aspect - sides[..., 0])
    x = torch.where((spec.pan != 0)[:, None, None], straight[..., 0], x)  # under a pan the world has no edges
    y = fold(straight[..., 1], sides[..., 1], FLOOR - sides[..., 2])
    ground = FLOOR - sides[..., 2]
    one = torch.ones_like(x)
    gravity, restitution = spec.gravity[:, None, None] * one, spec.restitution[:, None, None] * one
    height = (ground - still[..., 1]).clamp(min=0)
    high = ground - hop(height, -velocity[:, None, :, 1] * one, gravity, restitution, when * one)
    radius, phase, rate = spec.orbit[:, s, None].unbind(-1)  # (B, 1, N)
    angle = phase + rate * when
    circle = still + radius[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
    where = torch.where(kind == DRIFTS, torch.stack([x, y], -1), still)
    where = torch.where(kind == BOUNCES, torch.stack([x, high], -1), where)
    where = torch.where(kind == COLLIDES, collide(spec, start, velocity, t), where)
    where = torch.where(kind == ORBITS, circle, where)
    return torch.where(kind == PASSES, straight, where)
