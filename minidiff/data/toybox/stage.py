"""From specs to scenes and back; captions for training, honest or spoiled; pairs that differ in one thing."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Generator, Tensor

from minidiff.data.toybox.grammar import PLACES, SIDES, SPEEDS, Scene, Thing, parse, short, write
from minidiff.data.toybox.motion import camera, places
from minidiff.data.toybox.plan import ANY, EVENT, LEAST, Plan, World, fill
from minidiff.data.toybox.spec import COLOURS, DIRECTIONS, MOTIONS, SHAPES, SIZES, TURNS, Spec, unit
from minidiff.data.toybox.world import PLANS, SLOW, asked, settle

WAYS = (*DIRECTIONS, *TURNS)
WORDS = {"colour": tuple(COLOURS), "shape": tuple(SHAPES), "size": tuple(SIZES), "motion": MOTIONS, "direction": WAYS,
         "speed": SPEEDS, "place": PLACES}  # fmt: skip


def describe(spec: Spec) -> list[Scene]:
    """The scene of each clip of a spec, everything said. A still says nothing of motions, camera and cuts."""
    zero = torch.zeros(1, device=spec.start.device)
    first = places(spec, zero)[:, 0]  # (B, N, 2)
    col = ((first[..., 0] - camera(spec, zero)) / spec.aspect * 3).long().clamp(0, 2)
    scale = unit(spec.aspect)
    radii = scale * torch.tensor(list(SIZES.values()), device=zero.device)
    x, y = spec.velocity[:, 0].unbind(-1)
    straight = torch.where(x.abs() >= y.abs(), (x > 0).long(), 2 + (y > 0).long())
    turn = 4 + (spec.orbit[:, 0, :, 2] < 0).long()
    numbers = {
        "colour": spec.colour,
        "shape": spec.shape,
        "size": (spec.radius[..., None] - radii).abs().argmin(-1),
        "place": col + 3 * (first[..., 1] * 3).long().clamp(0, 2),
        "motion": spec.motion,
        "direction": torch.where(spec.motion == MOTIONS.index("orbits"), turn, straight),
        "speed": (spec.velocity[:, 0].norm(dim=-1) > 1.2 * SLOW[1] * scale).long(),
    }
    table = {name: value.tolist() for name, value in numbers.items()}
    partner, light, pan, cut = (v.tolist() for v in (spec.partner, spec.light * spec.lit, spec.pan, spec.cut))
    moves = spec.frames > 1
    scenes = []
    for b in range(len(spec)):
        things = []
        for i, shape in enumerate(table["shape"][b]):
            if shape < 0:
                continue
            said = {name: WORDS[name][value[b][i]] for name, value in table.items()}
            motion = said["motion"]
            if not moves or motion in ("rests", "collides"):
                said["direction"] = None
            if not moves or motion != "drifts":
                said["speed"] = None
            if not moves:
                said["motion"] = None
            met = partner[b][i] if moves and partner[b][i] >= 0 else None
            things.append(Thing(**said, partner=met))
        side, way = side_of(-light[b]), side_of(pan[b])
        scenes.append(Scene(tuple(things), side, way if moves else None, cut[b] > 0 if moves else None))
    return scenes


def side_of(number: float) -> str:
    """ "left", "right" or "none" for a number below, above or at 0."""
    return "none" if number == 0 else SIDES[int(number > 0)]


def captions(spec: Spec, long: bool = False) -> list[str]:
    """A caption for each clip. Example: `captions(sample(1, generator, "one"))` is `["a red circle drifts left"]`."""
    return [write(scene if long else short(scene)) for scene in describe(spec)]


def stage(
    scenes: str | Scene | Sequence[str | Scene], generator: Generator, frames: int = 12, aspect: float = 1.0
) -> Spec:
    """A random spec for each caption or scene, on the generator's device: what is not said is drawn at random.

    Held-out pairs are staged like any others. ValueError for what is no sentence or has no room in the picture.
    Example: `render(stage("a red circle bounces right", generator))`.
    """
    scenes = [scenes] if isinstance(scenes, str | Scene) else list(scenes)
    scenes = [parse(scene) if isinstance(scene, str) else scene for scene in scenes]
    asked(len(scenes), frames, aspect)
    for scene in scenes:
        known(scene, frames)
    n, device = max(len(scene.things) for scene in scenes), generator.device
    table = {f.name: torch.full((len(scenes), n), ANY) for f in fields(Thing)}
    for b, scene in enumerate(scenes):
        for i, thing in enumerate(scene.things):
            for name, value in table.items():
                if (word := getattr(thing, name)) is not None:
                    value[b, i] = word if name == "partner" else WORDS[name].index(word)
    there = table["shape"] != ANY
    for b, i in (there & (table["colour"] == ANY)).nonzero().tolist():
        free = [c for c in range(len(COLOURS)) if c not in table["colour"][b].tolist()]
        table["colour"][b, i] = free[int(torch.randint(len(free), (), generator=generator, device=device))]
    way = [
        torch.tensor([{"left": 1, "right": 2}.get(getattr(s, k) or "", 0) for s in scenes]) for k in ("light", "camera")
    ]
    cut = torch.tensor([int(bool(scene.cut)) for scene in scenes])
    said = Plan(**table, light=way[0], pan=way[1], cut=cut, lead=table["motion"][:, 0]).to(device)
    plan = fill(said, World(), generator, frames)
    for _ in range(PLANS):
        spec, left = settle(plan, generator, "any", frames, aspect)
        if not len(left):
            return spec
        other = fill(said[left], World(), generator, frames)  # another direction where none is said, say
        plan = plan.put(left, other)
    raise ValueError(f"no room in {frames} frames of aspect {aspect:g} for {write(scenes[int(left[0])])!r}: "
                     "ask for fewer, smaller or slower objects, or other places")  # fmt: skip


def known(scene: Scene, frames: int) -> None:
    """ValueError naming what is no word of this world, or what has no time to happen in so few frames."""
    if not 1 <= len(scene.things) <= 4:
        raise ValueError(f"the scene has {len(scene.things)} objects: expected 1 to 4")
    for i, thing in enumerate(scene.things):
        for name, words in WORDS.items():
            if (word := getattr(thing, name)) not in (*words, None) or (name == "shape" and word is None):
                raise ValueError(f"object {i} of the scene has {name} {word!r}: expected one of {', '.join(words)}")
        ways = {"drifts": tuple(DIRECTIONS), "bounces": SIDES, "passes": SIDES, "orbits": TURNS}
        if thing.motion is not None and thing.direction not in (*ways.get(thing.motion, ()), None):
            allowed = ", ".join(ways.get(thing.motion, ())) or "none"
            raise ValueError(
                f"object {i} of the scene {thing.motion}, with direction {thing.direction!r}: expected {allowed}"
            )
        if thing.motion == "collides" and thing.partner is None:
            raise ValueError(f"object {i} of the scene collides with nobody: give it a partner, the place of another")
        if thing.partner is not None and (type(thing.partner) is not int or thing.motion not in ("collides", "orbits")):
            raise ValueError(f"object {i} of the scene {thing.motion}, with partner {thing.partner!r}: expected None")
        if thing.partner is not None and not (abs(thing.partner - i) == 1 and 0 <= thing.partner < len(scene.things)):
            raise ValueError(f"object {i} of the scene has partner {thing.partner}: expected the one beside it")
        if thing.motion == "collides" and (other := scene.things[thing.partner or 0]).partner != i:
            raise ValueError(
                f"object {i} of the scene collides with one whose partner is {other.partner}: expected {i}"
            )
    for name, word in (("light", scene.light), ("camera", scene.camera)):
        if word not in (*SIDES, "none", None):
            raise ValueError(f"the scene has {name} {word!r}: expected one of left, right, none")
    if scene.cut not in (True, False, None):
        raise ValueError(f"the scene has cut {scene.cut!r}: expected True or False")
    motions = {thing.motion or "rests" for thing in scene.things} - {"rests"}
    takes = {name: LEAST.get(MOTIONS.index(name), EVENT) for name in sorted(motions)}
    takes |= {"a pan": EVENT} if scene.camera in SIDES else {}
    takes |= {"a cut": EVENT} if scene.cut else {}
    for name, least in takes.items():
        if frames < least:
            raise ValueError(f"frames={frames}: {name} takes {least} frames or more to be seen")
    if scene.cut and motions - {"orbits", "drifts"}:
        raise ValueError(
            f"{min(motions - {'orbits', 'drifts'})} and a cut: a shot is too short for it; leave one of them out"
        )


def spoil(scene: Scene, generator: Generator, drop: float = 0.0, wrong: float = 0.0) -> Scene:
    """A scene as a careless captioner tells it: each attribute unsaid with probability `drop`, else wrong with `wrong`.

    Shapes are never dropped (a noun is needed), partners never touched. Example: `write(spoil(scene, g, wrong=0.1))`.
    """
    if not (0 <= drop <= 1 and 0 <= wrong <= 1):
        raise ValueError(f"drop={drop}, wrong={wrong}: expected probabilities")

    def chance() -> float:
        return float(torch.rand((), generator=generator, device=generator.device))

    things = []
    for thing in scene.things:
        new = {}
        for name in ("colour", "shape", "size", "place", "direction", "speed"):
            word = getattr(thing, name)
            if word is None:
                continue
            if chance() < drop and name != "shape":
                new[name] = None
            elif chance() < wrong:
                alike = (
                    TURNS
                    if word in TURNS
                    else SIDES
                    if name == "direction" and thing.motion != "drifts"
                    else WORDS[name]
                )
                others = [w for w in alike if w != word and w not in (TURNS if word in DIRECTIONS else ())]
                new[name] = others[int(chance() * len(others))]
        things.append(replace(thing, **new))
    return replace(scene, things=tuple(things))


def counterfactual(spec: Spec, what: str) -> Spec:
    """The same clips with one thing changed, all else equal to the last number.

    `colour`: the objects' colours move on by one object (a single object takes the next colour); `light`: from the
    other side; `shape`: the next shape of the same area. What touches the floor or another object touches it with its
    new outline, so to keep the paths as well draw `render(counterfactual(spec, "shape"), at=places(spec))`.
    Example: `counterfactual(spec, "colour")`.
    """
    there = spec.shape >= 0
    if what == "light":
        return replace(spec, light=-spec.light)
    if what == "shape":
        return replace(spec, shape=torch.where(there, (spec.shape + 1) % len(SHAPES), spec.shape))
    if what != "colour":
        raise ValueError(f"what={what!r}: expected colour, shape or light")
    count = there.sum(1, keepdim=True)
    index = torch.arange(there.shape[1], device=there.device).expand_as(there)
    rolled = spec.colour.gather(1, torch.where(there, (index + 1) % count, index))
    alone: Tensor = (spec.colour + 1) % len(COLOURS)
    return replace(spec, colour=torch.where(there & (count == 1), alone, rolled))
