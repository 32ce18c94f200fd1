"""What a clip is about, before anything has a place: as numbers, so that a thousand clips are planned at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minidiff.data.toybox.motion import BOUNCES, COLLIDES, DRIFTS, ORBITS, PASSES, RESTS
from minidiff.data.toybox.spec import COLOURS, MOTIONS, SHAPES, SIZES, Batch

ANY = -1  # not said: drawn at random
ROUNDS = 20  # of drawing again what does not fit
SPLITS = ("train", "validation", "pairs", "order", "speed", "size", "gravity", "count", "length")


@dataclass
class Plan(Batch):
    """B clips of up to N objects, all long; -1 is "any", or no object where `shape` is -1.

    (B,N): `shape colour size motion` index the tables of `spec`; `direction` 0..3 DIRECTIONS, 4 and 5 TURNS; `speed`
    0 slow, 1 quick; `place` 0..8, rows of a 3x3 grid, where it is first; `partner` the other object, or -1 for none.
    (B,): `light` and `pan` 0 none, 1 from or to the left, 2 the right; `cut` 0 or 1.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    motion: Tensor
    direction: Tensor
    speed: Tensor
    place: Tensor
    partner: Tensor
    light: Tensor
    pan: Tensor
    cut: Tensor


@dataclass(frozen=True)
class World:
    """Limits: how many objects, of what kinds, and how often the light, the camera and the cutter are at work."""

    objects: tuple[int, int] = (1, 3)
    motions: Sequence[str] = MOTIONS
    colours: Sequence[str] = tuple(COLOURS)
    shapes: Sequence[str] = tuple(SHAPES)
    sizes: Sequence[str] = tuple(SIZES)
    lit: float = 0.5
    pans: float = 0.2  # of the clips in which nothing bounces, collides or passes
    cuts: float = 0.1  # of the same

    def __post_init__(self):
        for name, table in [("motions", MOTIONS), ("colours", COLOURS), ("shapes", SHAPES), ("sizes", SIZES)]:
            if not (chosen := getattr(self, name)) or set(chosen) - set(table):
                raise ValueError(f"{name}={chosen}: expected some of {', '.join(table)}")
        if not 1 <= self.objects[0] <= self.objects[1] <= min(4, len(self.colours)):
            raise ValueError(f"objects={self.objects}: expected 1 to 4, and no more than there are colours")

    def numbers(self, name: str) -> Tensor:
        """The allowed ones of a table, as numbers: `World().numbers("shapes")`."""
        tables = {"motions": MOTIONS, "colours": tuple(COLOURS), "shapes": tuple(SHAPES), "sizes": tuple(SIZES)}
        return torch.tensor(sorted(tables[name].index(x) for x in getattr(self, name)))


WORLDS = {
    "one": World((1, 1), ("rests", "drifts"), lit=0, pans=0, cuts=0),
    "two": World((1, 2), ("rests", "drifts", "bounces", "collides"), pans=0, cuts=0),
    "full": World(),
}


def held_pair(colour: Tensor, shape: Tensor) -> Tensor:
    """Whether no training clip has this shape in this colour: 8 of 40 pairs, one a colour (yellow: the star)."""
    return (3 * colour + 2) % len(SHAPES) == shape


def held_order(colour: Tensor) -> Tensor:
    """Whether the first two objects, colours (B,N), stand in an order that no training clip has (red before green)."""
    if colour.shape[1] < 2:
        return torch.zeros(len(colour), dtype=torch.bool, device=colour.device)
    return ((colour[:, 1] - colour[:, 0]) % len(COLOURS) == 3) & (colour[:, 1] >= 0)


def held(plan: Plan) -> Tensor:
    """Whether training is kept from what a clip is about, (B,): a held-out pair in it, or the held-out order."""
    return (held_pair(plan.colour, plan.shape) & (plan.shape >= 0)).any(1) | held_order(plan.colour)


def choose(options: Tensor, shape: Sequence[int], generator: Generator) -> Tensor:
    """Random ones of `options`, each as likely."""
    options = options.to(generator.device)
    return options[torch.randint(len(options), tuple(shape), generator=generator, device=generator.device)]


def looks(there: Tensor, world: World, split: str, generator: Generator) -> tuple[Tensor, Tensor]:
    """Colours, all different in a clip, and shapes for the objects `there` (B,N), as the split wants them."""
    colours, shapes = (world.numbers(x).to(there.device) for x in ("colours", "shapes"))
    colour, shape = torch.full(there.shape, ANY, device=there.device), torch.full(there.shape, ANY, device=there.device)
    todo = torch.arange(len(there), device=there.device)
    for _ in range(20 * ROUNDS):
        if not len(todo):
            return colour, shape
        order = torch.rand(len(todo), len(colours), generator=generator, device=there.device).argsort(1)
        new = colours[order[:, : there.shape[1]]].where(there[todo], ANY)
        form = choose(shapes, new.shape, generator).where(there[todo], ANY)
        pairs, order = held_pair(new, form) & there[todo], held_order(new)
        wanted_pairs = pairs[:, 0] & ~pairs[:, 1:].any(1) if split == "pairs" else ~pairs.any(1)
        fits = wanted_pairs & (order == (split == "order"))
        colour[todo[fits]], shape[todo[fits]] = new[fits], form[fits]
        todo = todo[~fits]
    raise ValueError(f"split {split!r} has no clip within {world}: it needs other colours, shapes or two objects")


def acts(there: Tensor, world: World, frames: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Motions and partners, (B,N), for the objects `there`.

    One motion of the world leads each clip. A collision takes two, an orbit may have another object in its middle, a
    wall hides all; where the leader leaves a choice, the rest rest, drift or bounce, whichever the world has.
    """
    count, motions, device = there.sum(1), world.numbers("motions"), there.device
    if frames == 1:
        motions = motions[:0]
    alone = [m for m in (RESTS, DRIFTS, BOUNCES) if m in motions] or [RESTS]
    partner = torch.full(there.shape, ANY, device=device)
    motion = choose(torch.tensor(alone), there.shape, generator)
    if len(motions):
        lead = choose(motions, there.shape[:1], generator)
        for kind, wrong in ((COLLIDES, count < 2), (ORBITS, count > 2)):
            others = motions[~torch.isin(motions, torch.tensor([COLLIDES, ORBITS]))]
            others = others if len(others) else torch.tensor([RESTS])
            lead = torch.where((lead == kind) & wrong, choose(others, lead.shape, generator), lead)
        motion[:, 0] = lead
        motion[:, 1:][(count > 2)[:, None].expand(-1, there.shape[1] - 1)] = alone[0]
        motion[lead == PASSES] = PASSES
        if there.shape[1] > 1:
            clash, circled = lead == COLLIDES, (lead == ORBITS) & (count == 2)
            motion[clash, 1], partner[clash, 0], partner[clash, 1] = COLLIDES, 1, 0
            motion[circled, 1], partner[circled, 0] = RESTS, 1
    return motion.where(there, ANY), partner


def random_plan(n: int, world: World, split: str, frames: int, generator: Generator) -> Plan:
    """n plans within a world's limits, on the generator's device."""
    low, high = world.objects if split != "count" else (world.objects[1] + 1, world.objects[1] + 1)
    low = max(low, min(2, high)) if split == "order" else low
    if high > 4:
        raise ValueError(f"split 'count' of a world of up to {world.objects[1]} objects: more than 4 have no room")
    device = generator.device
    count = torch.randint(low, high + 1, (n,), generator=generator, device=device)
    there = torch.arange(high, device=device) < count[:, None]
    colour, shape = looks(there, world, split, generator)
    motion, partner = acts(there, world, frames, generator)
    free = torch.full_like(colour, ANY)
    chance = torch.rand(3, n, generator=generator, device=device)
    side = torch.randint(1, 3, (2, n), generator=generator, device=device)
    calm = ~torch.isin(motion, torch.tensor([BOUNCES, COLLIDES, PASSES], device=device)).any(1) & (frames >= 8)
    cut = calm & (chance[1] < world.cuts)
    pan = calm & ~cut & (chance[2] < world.pans)
    light, pan = (chance[0] < world.lit) * side[0], pan * side[1]
    plan = Plan(shape, colour, free, motion, free, free, free, partner, light, pan, cut.long())
    return fill(plan, world, generator, frames)


def fill(plan: Plan, world: World, generator: Generator, frames: int) -> Plan:
    """The plan with every "any" of an object that is there drawn at random, but for its place, which may stay so."""
    there, full = plan.shape >= 0, {name: value.clone() for name, value in plan.tensors().items()}

    def draw(name: str, options: Tensor, where: Tensor) -> None:
        new = choose(options, there.shape, generator)
        full[name] = torch.where(there & (full[name] == ANY) & where, new, full[name])

    draw("motion", torch.tensor([RESTS] if frames == 1 else [RESTS, DRIFTS]), there)
    hub, circled = torch.zeros_like(there), (full["motion"] == ORBITS) & (full["partner"] >= 0)
    hub[:, 1:] = circled[:, :-1]  # the object in the middle of an orbit is the next one
    draw("size", torch.tensor([0]), circled | (full["motion"] == PASSES))  # or there is no room, nor time behind a wall
    draw("size", torch.tensor([0, 1]), hub)
    sizes = world.numbers("sizes")
    crowd = there & (there.sum(1, keepdim=True) > 2)
    draw("size", sizes[sizes < 2] if (sizes < 2).any() else sizes, crowd)
    draw("size", world.numbers("sizes"), there)
    level = torch.isin(full["motion"], torch.tensor([BOUNCES, COLLIDES, PASSES], device=there.device))
    draw("direction", torch.arange(4), full["motion"] == DRIFTS)
    draw("direction", torch.tensor([0, 1]), level)
    draw("direction", torch.tensor([4, 5]), full["motion"] == ORBITS)
    draw("speed", torch.tensor([0, 1]), torch.isin(full["motion"], torch.tensor([DRIFTS], device=there.device)))
    for one, two in ((0, 1), (1, 2), (2, 3)):  # who is met comes the other way
        if two < there.shape[1]:
            pair = (full["motion"][:, two] == COLLIDES) & (full["partner"][:, two] == one)
            full["direction"][pair, two] = 1 - full["direction"][pair, one]
    return Plan(**full)
