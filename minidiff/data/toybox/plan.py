"""What a clip is about, before anything has a place: as numbers, so that a thousand clips are planned at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minidiff.data.toybox.motion import BOUNCES, COLLIDES, DRIFTS, ORBITS, PASSES, RESTS
from minidiff.data.toybox.spec import COLOURS, MOTIONS, SHAPES, SIZES, Batch

ANY = -1  # not said: drawn at random
ROUNDS = 20  # of drawing again what does not fit
EVENT = 8  # frames that it takes to see a bounce, a collision, an orbit, a pan or a cut ...
LEAST = {DRIFTS: 2, PASSES: 12}  # ... and other motions
SPLITS = ("train", "validation", "pairs", "order", "speed", "size", "gravity", "count", "length")


@dataclass
class Plan(Batch):
    """B clips of up to N objects, all long; -1 is "any", or no object where `shape` is -1.

    (B,N): `shape colour size motion` index the tables of `spec`; `direction` 0..3 DIRECTIONS, 4 and 5 TURNS; `speed`
    0 slow, 1 quick; `place` 0..8, rows of a 3x3 grid, where it is first; `partner` the other object, or -1 for none.
    (B,): `light` and `pan` 0 none, 1 from or to the left, 2 the right; `cut` 0 or 1; `lead`, the motion that the clip
    is drawn for.
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
    lead: Tensor


@dataclass(frozen=True)
class World:
    """Limits: how many objects, of what kinds, and how often the light, the camera and the cutter are at work.

    Motions lead clips in equal shares where they can: a collision takes two objects, an orbit has one or two, four
    objects do not pass; a passage takes 12 frames, and in fewer than 8 all rest or drift. Sizes are in equal shares
    but where there would be no room: what passes or orbits another is small, what is orbited is not large, and of
    three or more objects one at most is large.
    """

    objects: tuple[int, int] = (1, 3)
    motions: Sequence[str] = MOTIONS
    colours: Sequence[str] = tuple(COLOURS)
    shapes: Sequence[str] = tuple(SHAPES)
    sizes: Sequence[str] = tuple(SIZES)
    lit: float = 0.5
    pans: float = 0.2  # of the clips of 8 frames or more in which nothing bounces, collides or passes
    cuts: float = 0.1  # of the same

    def __post_init__(self):
        for name, table in [("motions", MOTIONS), ("colours", COLOURS), ("shapes", SHAPES), ("sizes", SIZES)]:
            chosen = getattr(self, name)
            if isinstance(chosen, str) or not chosen or set(chosen) - set(table) or len(set(chosen)) < len(chosen):
                raise ValueError(f"{name}={chosen!r}: expected some of {', '.join(table)}, each once")
        ends = tuple(self.objects) if isinstance(self.objects, Sequence) else ()
        if len(ends) != 2 or not all(type(x) is int for x in ends) or not 1 <= ends[0] <= ends[1] <= 4:
            raise ValueError(f"objects={self.objects!r}: expected the smallest and the largest number, of 1 to 4")
        if ends[1] > len(self.colours):
            raise ValueError(
                f"objects={self.objects} with {len(self.colours)} colours: each object has a colour of its own"
            )
        for name in ("lit", "pans", "cuts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a probability")
        for number in range(ends[0], ends[1] + 1):
            if not self.possible(number, 12):
                raise ValueError(
                    f"motions={tuple(self.motions)}, sizes={tuple(self.sizes)}: with {number} objects none can "
                    "be; collides takes two or more, orbits one or two, passes one to three and small ones"
                )

    def possible(self, number: int, frames: int) -> list[int]:
        """The allowed motions, as numbers, for which there are objects, sizes and frames enough to lead a clip."""
        takes = {COLLIDES: number > 1, ORBITS: number < 3, PASSES: number < 4 and "small" in self.sizes}
        allowed = [m for m in self.numbers("motions").tolist() if takes.get(m, True)]
        return [m for m in allowed if m == RESTS or frames >= LEAST.get(m, EVENT)]

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
    """Whether a colour comes before the one three further on in the table (red before green), colours (B,N): (B,).

    No training clip and no training caption has it; the other way round is in both.
    """
    out = torch.zeros(len(colour), dtype=torch.bool, device=colour.device)
    for j in range(1, colour.shape[1]):
        for i in range(j):
            out |= ((colour[:, j] - colour[:, i]) % len(COLOURS) == 3) & (colour[:, j] >= 0)
    return out


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


def leads(there: Tensor, world: World, frames: int, generator: Generator) -> Tensor:
    """The motion that each clip is drawn for, (B,), of those that have objects and frames enough."""
    count = there.sum(1)
    lead = torch.full_like(count, RESTS)
    for number in range(1, there.shape[1] + 1):
        options = torch.tensor(world.possible(number, frames) or [RESTS])
        lead = torch.where(count == number, choose(options, count.shape, generator), lead)
    return lead


def acts(there: Tensor, lead: Tensor, world: World, frames: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Motions and partners, (B,N), for the objects `there` in clips that are drawn for `lead` (B,).

    Of two objects the other one rests, drifts or bounces, of three or more the others rest or drift, as far as the
    world allows. Who moves may be named first or last.
    """
    count, device = there.sum(1), there.device
    allowed = [m for m in (RESTS, DRIFTS, BOUNCES) if m in world.numbers("motions")] or [RESTS]
    allowed = [m for m in allowed if m == RESTS or frames >= LEAST.get(m, EVENT)]
    quiet = [m for m in allowed if m <= DRIFTS]
    motion = choose(torch.tensor(allowed or [RESTS]), there.shape, generator)
    motion = torch.where((count > 2)[:, None], choose(torch.tensor(quiet or [RESTS]), there.shape, generator), motion)
    partner = torch.full(there.shape, ANY, device=device)
    motion[:, 0] = lead
    motion[lead == PASSES] = PASSES
    if there.shape[1] > 1:
        clash, circled = lead == COLLIDES, (lead == ORBITS) & (count == 2)
        if "small" not in world.sizes:
            circled &= False
        motion[clash, 1], partner[clash, 0], partner[clash, 1] = COLLIDES, 1, 0
        motion[circled, 1], partner[circled, 0] = RESTS, 1
        coin = torch.rand(len(there), generator=generator, device=generator.device).to(device) < 0.5
        swap = coin & (count == 2) & (partner < 0).all(1)
        motion[swap, :2] = motion[swap, :2].flip(1)
        roll = coin & (count == there.shape[1]) & (count > 2)
        motion[roll] = motion[roll].roll(1, 1)
        partner[roll] = (partner[roll] + (partner[roll] >= 0)).roll(1, 1)
    return motion.where(there, ANY), partner


def random_plan(n: int, world: World, split: str, frames: int, generator: Generator, like: Plan | None = None) -> Plan:
    """n plans within a world's limits, on the generator's device; with as many objects and the same lead as `like`."""
    low, high = world.objects if split != "count" else (world.objects[1] + 1, world.objects[1] + 1)
    low = max(low, min(2, high)) if split == "order" else low
    needs = {"gravity": {"bounces"}, "speed": set(MOTIONS) - {"rests"}}.get(split)
    if needs is not None and not needs & set(world.motions):
        raise ValueError(
            f"split {split!r} of a world of {', '.join(world.motions)}: nothing in it has the held-out thing"
        )
    if high > min(4, len(world.colours)):
        raise ValueError(
            f"split 'count' of a world of up to {world.objects[1]} objects: {high} have no room, or no colours"
        )
    device = generator.device
    count = torch.randint(low, high + 1, (n,), generator=generator, device=device)
    there = torch.arange(high, device=device) < count[:, None] if like is None else like.shape >= 0
    colour, shape = looks(there, world, split, generator)
    lead = leads(there, world, frames, generator) if like is None else like.lead
    motion, partner = acts(there, lead, world, frames, generator)
    free = torch.full_like(colour, ANY)
    chance = torch.rand(3, n, generator=generator, device=device)
    side = torch.randint(1, 3, (2, n), generator=generator, device=device)
    calm = ~torch.isin(motion, torch.tensor([BOUNCES, COLLIDES, PASSES], device=device)).any(1) & (frames >= EVENT)
    cut = calm & (chance[1] < world.cuts)
    pan = calm & ~cut & (chance[2] < world.pans)
    light, pan = (chance[0] < world.lit) * side[0], pan * side[1]
    plan = Plan(shape, colour, free, motion, free, free, free, partner, light, pan, cut.long(), lead)
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
    sizes = world.numbers("sizes")
    lesser = sizes[sizes < 2] if (sizes < 2).any() else sizes
    may = torch.randint(there.shape[1], there.shape[:1], generator=generator, device=generator.device)  # be large
    crowd = (there.sum(1, keepdim=True) > 2) & (torch.arange(there.shape[1], device=there.device) != may[:, None])
    draw("size", lesser, hub | crowd)
    draw("size", sizes, there)
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
