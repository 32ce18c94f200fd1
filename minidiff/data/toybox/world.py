"""Random specs within limits. A world begins small (`one`) and grows (`two`, `full`); some of it no training ever sees.

What a clip is about is drawn first, then places and speeds, again and again, until everything stays in the picture and
apart. What finds no room at all (three large stars that drift, say) is planned anew, with as many objects and the same
leading motion, so that these two are as frequent as the limits say; large shapes are a little rarer in crowds.
"""

import math

import torch
from torch import Generator, Tensor

from minidiff.checks import whole
from minidiff.data.toybox.motion import BOUNCES, COLLIDES, DRIFTS, ORBITS, PASSES, camera, places, reach, rim
from minidiff.data.toybox.plan import ANY, ROUNDS, SPLITS, WORLDS, Plan, World, random_plan
from minidiff.data.toybox.spec import DIRECTIONS, FLOOR, LATER, MOTIONS, SHOTS, SIZES, WAVES, Spec, unit

SLOW, QUICK = (0.014, 0.022), (0.030, 0.040)  # heights a frame
GRAVITY = (0.010, 0.015)  # heights a frame squared
GAP = 0.045  # between objects, at every frame: more than a pixel of a 32x32 clip
EDGE = 0.018  # by which a wall hides more than the object: half a pixel of a 32x32 clip
PLANS = 40  # rounds of planning anew that find room for nothing, before limits are called impossible
LONGEST = 16  # frames in which nothing leaves the picture or turns at its edge


def sample(
    n: int,
    generator: Generator,
    world: str | World = "full",
    split: str = "train",
    frames: int = 12,
    aspect: float = 1.0,
) -> Spec:
    """n random specs on the generator's device; `frames=1` gives stills. ValueError for limits that leave no room.

    `split`: train, validation (other specs, by their hash), or what training never shows: `pairs` (8 of 40 of colour
    and shape), `order`, `speed`, `size`, `gravity`, `count` (one object more), `length` (twice `frames`; what moves on
    may leave the picture after 16).
    Example: `render(sample(64, Generator().manual_seed(0), "two"))`.
    """
    asked(n, frames, aspect)
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: expected one of {', '.join(SPLITS)}")
    if not isinstance(world, World) and world not in WORLDS:
        raise ValueError(f"world={world!r}: expected one of {', '.join(WORLDS)}, or a World of your own limits")
    world = world if isinstance(world, World) else WORLDS[world]
    frames = 2 * frames if split == "length" else frames
    plan = random_plan(n, world, split, frames, generator)
    before, stuck = 0, 0
    while True:
        spec, left = settle(plan, generator, split, frames, aspect)
        if not len(left):
            return spec
        before, stuck = len(left), stuck + 1 if len(left) == before else 1
        if stuck == (PLANS if len(left) < 64 else PLANS // 10):
            what = sorted({MOTIONS[m] for m in plan.lead[left].tolist()})
            raise ValueError(
                f"no room for {' or '.join(what)} with up to {int((plan.shape[left] >= 0).sum(1).max())} objects in "
                f"{frames} frames of aspect {aspect:g}: allow fewer or smaller objects, or leave that motion out"
            )
        plan = plan.put(left, random_plan(len(left), world, split, frames, generator, like=plan[left]))


def asked(n: int, frames: int, aspect: float) -> None:
    """ValueError where these are not a number of clips, a number of frames, and a width in heights."""
    if type(n) is not int or n < 1 or type(frames) is not int or frames < 1:
        raise ValueError(f"n={n}, frames={frames}: expected whole numbers of 1 or more")
    if not 0.5 <= aspect <= 2:
        raise ValueError(f"aspect={aspect}: expected a width of 0.5 to 2 heights")
    whole("n", n, 1, 10**8)
    whole("frames", frames, 1, 10_000)


def settle(plan: Plan, generator: Generator, split: str, frames: int, aspect: float) -> tuple[Spec, Tensor]:
    """A spec for each plan, and which plans found no room.

    Places and speeds are drawn until all is in the picture, apart, and of the split.
    """
    todo, spec = torch.arange(len(plan), device=plan.shape.device), None
    for _ in range(ROUNDS * (8 if split == "validation" else 1)):
        tries = min(
            64, max(256, len(plan)) // len(todo) + 1
        )  # the fewer are left, the more often each is tried at once
        rows = todo.repeat_interleave(tries)
        drawn = draw(plan[rows], generator, split, frames, aspect)
        fit = fits(drawn, plan[rows]).reshape(-1, tries)
        if split in ("train", "validation"):
            fit &= (validation(drawn) == (split == "validation")).reshape(-1, tries)
        done = fit.any(1)
        chosen = drawn[torch.arange(len(todo), device=todo.device) * tries + fit.long().argmax(1)]
        spec = chosen if spec is None else spec.put(todo[done], chosen[done])
        todo = todo[~done]
        if not len(todo):
            break
    assert spec is not None
    return spec, todo


def validation(spec: Spec) -> Tensor:
    """Whether a spec belongs to the validation split, (B,): one in 16, by a hash of what its objects are and where."""
    places = (spec.start[:, 0] * 4096).round().long()  # (B, N, 2)
    mixed = torch.zeros_like(spec.shape[:, 0])
    for n in range(spec.shape.shape[1]):
        there = spec.shape[:, n] >= 0
        for part in (spec.shape[:, n], spec.colour[:, n], spec.motion[:, n], places[:, n, 0], places[:, n, 1]):
            mixed = torch.where(there, (mixed * 1_000_003 + part + 17) % 2_147_483_647, mixed)
    return mixed // 7 % 16 == 0


def draw(plan: Plan, generator: Generator, split: str, frames: int, aspect: float) -> Spec:
    """One random spec for each plan, which need not fit."""
    (b, n), device, last = plan.shape.shape, plan.shape.device, min(frames, LONGEST) - 1

    def u(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*(shape or (b, n)), generator=generator, device=device)

    def either(low: tuple[float, float], high: tuple[float, float], *shape: int) -> Tensor:
        return torch.where(u(0, 1, *shape) < 0.5, u(*low, *shape), u(*high, *shape))

    scale = unit(aspect)
    sizes = scale * torch.tensor([*SIZES.values(), 0.0], device=device)
    radius = sizes[plan.size] * u(0.96, 1.04)
    radius = radius if split != "size" else radius.sign() * scale * either((0.048, 0.055), (0.15, 0.165))
    gravity = u(*GRAVITY, b) if split != "gravity" else either((0.005, 0.007), (0.022, 0.03), b)
    sides = reach(plan.shape, radius)  # (B, N, 3)
    side, up, down = sides.unbind(-1)
    toward = torch.tensor([*DIRECTIONS.values(), (0, 0), (0, 0), (0, 0)], device=device)[plan.direction]  # (B, N, 2)
    speed = torch.where(plan.speed == 0, u(*SLOW), u(*QUICK))
    speed = speed if split != "speed" else torch.where(plan.speed == 0, u(0.006, 0.010), u(0.046, 0.054))
    speed = scale * torch.where(plan.motion == BOUNCES, u(0.012, 0.026), speed)
    hides = plan.motion == PASSES
    crossing = (torch.maximum(u(0.61, 0.66) * side, scale * u(0.036, 0.05)) * 11 / max(last, 1) * hides).amax(
        1, keepdim=True
    )
    speed = torch.where(hides, crossing, speed)
    moves = torch.isin(plan.motion, torch.tensor([DRIFTS, BOUNCES, PASSES], device=device))
    velocity = toward * (speed * moves)[..., None]
    pan = torch.tensor([0.0, -1.0, 1.0], device=device)[plan.pan] * scale * u(0.012, 0.020, b)
    drop = torch.where(
        plan.motion == BOUNCES,
        torch.minimum(gravity[:, None] * (u(0.48, 0.73) * min(last, 11)) ** 2 / 2, FLOOR - down - up),
        0 * side,
    )
    outer = rim(plan.shape, radius)
    hub = plan.partner.where(plan.motion == ORBITS, ANY)
    inner = torch.where(hub >= 0, outer + outer.gather(1, hub.clamp(min=0)) + GAP, 0.13 * scale + 0 * outer)
    orbit = torch.stack(
        [
            (inner + scale * u(0, 0.09))[:, None].expand(b, SHOTS, n),
            u(0, 2 * math.pi, b, SHOTS, n),
            u(0, 1, b, SHOTS, n),
        ],
        -1,
    )
    turning = 1.0 - 2.0 * (plan.direction == 5)
    orbit[..., 2] = turning[:, None] * 2 * math.pi / (10 + 6 * orbit[..., 2])
    room = orbit[:, 0, :, 0] * (
        plan.motion == ORBITS
    )  # that an orbit takes beyond the object itself, and its centre too
    room[:, 1:] += (room[:, :-1] + side[:, :-1] - side[:, 1:]).clamp(min=0) * (hub[:, :-1] >= 0)
    lane = torch.rand(b, SHOTS, n, generator=generator, device=device).argsort(2).argsort(2)  # what passes keeps to one
    start = u(0, 1, b, SHOTS, n, 2)
    lanes = (plan.shape >= 0).sum(1)[:, None, None]
    start[..., 1] = torch.where((plan.motion == PASSES)[:, None], (start[..., 1] + lane % lanes) / lanes, start[..., 1])
    col, row = plan.place % 3, plan.place.div(3, rounding_mode="floor")
    said = (plan.place != ANY) & (plan.motion != ORBITS)  # of an orbit this draws the centre
    for axis, (near, far, cell, edge, drift) in enumerate(
        [(side, aspect - side, col, aspect, pan), (up, FLOOR - down, row, 1.0, 0 * pan)]
    ):
        travel = (velocity[..., axis] * (plan.motion != BOUNCES if axis else 1) - drift[:, None]) * last
        low, high = near + room - travel.clamp(max=0), far - room - travel.clamp(min=0)
        if axis:
            low, high = (torch.where(plan.motion == BOUNCES, FLOOR - down - drop, bound) for bound in (low, high))
        low = torch.where(said, torch.maximum(low, cell * edge / 3), low)
        high = torch.where(said, torch.minimum(high, (cell + 1) * edge / 3), high)
        middle = (low + high) / 2
        low, high = torch.minimum(low, middle), torch.maximum(high, middle)  # an empty range becomes its middle
        start[..., axis] = low[:, None] + start[..., axis] * (high - low)[:, None]
    wall = torch.zeros(b, 2, device=device)
    if hides.any():
        width = ((2 * side + u(1.1, 1.6) * speed + 2 * EDGE) * hides).amax(1)
        wall[:, 0] = aspect / 2 + scale * u(-0.04, 0.04, b) - width / 2
        wall[:, 1] = wall[:, 0] + width
        wall = wall * hides.any(1, keepdim=True)
        halfway = wall.mean(1)[:, None] - velocity[..., 0] * (last / 2 + u(-0.25, 0.25))
        start[..., 0] = torch.where(hides[:, None], halfway[:, None], start[..., 0])
    for i in range(n - 1):
        if len(hit := (plan.partner[:, i] == i + 1).logical_and(plan.motion[:, i] == COLLIDES).nonzero()[:, 0]):
            start[hit, :, i : i + 2], velocity[hit, i : i + 2] = clash(plan[hit], i, side[hit], aspect, last, generator)
    for i in range(n - 1):
        around = (plan.partner[:, i] == i + 1) & (plan.motion[:, i] == ORBITS)
        start[around, :, i] = start[around, :, i + 1]
    start = torch.where((plan.cut > 0)[:, None, None, None], start, start[:, :1]) * (plan.shape >= 0)[:, None, :, None]
    waves = torch.stack([u(-3, 3, b, SHOTS, WAVES), u(-3, 3, b, SHOTS, WAVES), u(0, 2 * math.pi, b, SHOTS, WAVES)], -1)
    light = torch.tensor([0.0, 1.0, -1.0], device=device)[plan.light] * u(0.2, 0.55, b)
    cut = torch.where(plan.cut > 0, (u(0.4, 0.6, b) * frames).round(), 0 * pan).long()
    plain = {
        name: torch.full((b,) if name == "mirror" else (b, n), value, device=device) for name, value in LATER.items()
    }
    return Spec(plan.shape, plan.colour, plan.motion, radius, plan.partner, start, velocity[:, None].expand_as(start),
                orbit, gravity, u(0.75, 0.95, b), wall, pan, torch.full_like(pan, math.inf), cut, light, plan.light > 0,
                u(0.74, 0.86, b, SHOTS), waves, **plain, frames=frames, aspect=aspect)  # fmt: skip


def clash(plan: Plan, i: int, side: Tensor, aspect: float, last: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Starts (B,S,2,2) and velocities (B,2,2) of objects i and i+1 that meet in mid-clip, or before.

    They meet head on, at one height; two round ones may meet obliquely.
    """

    def u(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(plan), generator=generator, device=side.device)

    touch = side[:, i] + side[:, i + 1]
    round_ = torch.isin(plan.shape[:, i : i + 2], torch.tensor([0, 4], device=side.device)).all(1)  # disc, ring
    oblique = u(-0.5, 0.5) * touch * round_
    sign = torch.where(plan.direction[:, i] == 1, 1.0, -1.0)  # +1: object i comes from the left
    apart = torch.stack([sign * (touch**2 - oblique**2).sqrt(), oblique], -1)
    first = torch.stack([u(0.25, 0.75) * aspect, u(0.2, 0.75)], -1)
    fast, slow, none = unit(aspect) * u(0.022, 0.042), -unit(aspect) * u(0.012, 0.035), torch.zeros_like(sign)
    speeds = torch.stack([fast, torch.where(u(0, 1) < 0.3, none, slow)], 1) * sign[:, None]
    velocity = torch.stack([speeds, torch.zeros_like(speeds)], -1)
    when, place = (u(0.23, 0.6) * min(last, 11))[:, None], plan.place[:, i]
    cell = torch.stack([(place % 3 + u(0, 1)) * aspect / 3, (place.div(3, rounding_mode="floor") + u(0, 1)) / 3], -1)
    first = torch.where((place != ANY)[:, None], cell + velocity[:, 0] * when, first)  # from where it was said to start
    start = torch.stack([first, first + apart], 1) - velocity * when[:, None]  # together they are where they touch
    return start[:, None].expand(-1, SHOTS, -1, -1), velocity


def fits(spec: Spec, plan: Plan) -> Tensor:
    """Whether each clip keeps all objects in the picture, apart, hidden and seen long enough, and where it was said."""
    t = torch.arange(spec.frames, device=spec.start.device)
    edge, where = camera(spec, t.float())[..., None], places(spec, t)  # (B, F, 1), (B, F, N, 2)
    x, y = where[..., 0] - edge, where[..., 1]
    side, up, down = (s[:, None] for s in reach(spec.shape, spec.radius).unbind(-1))
    there, hides = (spec.shape >= 0)[:, None], (spec.motion == PASSES)[:, None]
    slack = 1e-4
    inside = (x >= side - slack) & (x <= spec.aspect - side + slack) & (y >= up - slack) & (y <= FLOOR - down + slack)
    early = t[:, None] < LONGEST
    good = (inside | ~there | ~early).flatten(1).all(1)
    outer = rim(spec.shape, spec.radius)
    for i in range(where.shape[2]):
        for j in range(i):
            gap = (where[:, :, i] - where[:, :, j]).norm(dim=-1) - (outer[:, i] + outer[:, j])[:, None] - GAP
            met = (spec.partner[:, i] == j) & (spec.motion[:, i] == COLLIDES)
            pair = there[:, 0, i] & there[:, 0, j] & ~met
            good &= ((gap > 0) | ~pair[:, None]).all(1)
    low, high = spec.wall[:, None, None, 0] - edge, spec.wall[:, None, None, 1] - edge
    before, after = (x + side < low).sum(1), (x - side > high).sum(1)  # frames in full view on either side
    hidden = ((x - side >= low + EDGE) & (x + side <= high - EDGE)).sum(1)
    good &= ((before >= 2) & (after >= 2) & (hidden >= 1) | ~hides[:, 0]).all(1)
    off = (x + side < low) | (x - side > high) | (spec.wall[:, 1] <= spec.wall[:, 0])[:, None, None]
    good &= (off | hides | ~there).flatten(1).all(1)  # a wall hides nothing else
    cell = (x[:, 0] / spec.aspect * 3).long().clamp(0, 2) + 3 * (y[:, 0] * 3).long().clamp(0, 2)
    return good & ((cell == plan.place) | (plan.place == ANY)).all(1)
