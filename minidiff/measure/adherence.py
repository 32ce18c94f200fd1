"""What a clip shows, in the words of a caption, and how far that is what was asked. Not learned, and never a loss.

Every figure is a share of what was asked: an object without a track fails everything that was asked of it. A figure
means something only beside its floor, the same figure of true clips.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from minidiff.checks import data, min_max
from minidiff.data.toybox.grammar import PLACES, Scene, Thing
from minidiff.data.toybox.motion import rim
from minidiff.data.toybox.render import outline
from minidiff.data.toybox.spec import FLOOR, SHAPES
from minidiff.measure.motion import BROKEN, Law, Moves, at_edge, breaks, explain, kinked
from minidiff.measure.tracks import Track, View, count, look

ATTRIBUTES = ("colour", "shape", "size", "motion", "direction", "speed", "place")
CLOSE = 0.06  # heights between two rims: nearer than this, two objects may have met
STEPS = 0.004  # heights a frame: a camera that moves less stands still
KICK = 0.004  # heights a frame: a velocity that changes less was not kicked
SHORT_FLOOR, SHORT = 24, 5  # pixels of height and frames below which light and motion cannot be told
DARK = 0.055  # of its brightness that the floor loses under a shadow, at least (no light: 0.05 at most, of 250 clips)


@dataclass
class Seen:
    """What is seen in a clip: its scene in words, and physics, in heights and frames; nan where there is nothing."""

    scene: Scene
    view: View
    moves: list[Moves]  # one for each track, and for each thing of the scene
    physics: dict[str, float] = field(default_factory=dict)


def gaps(one: Track, other: Track, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Frames in which both are seen, and the distance of their rims in each, heights."""
    frames, i, j = np.intersect1d(one.frames, other.frames, return_indices=True)
    apart = np.linalg.norm(one.places[i] - other.places[j], axis=1)
    rims = [float(rim(torch.tensor(tuple(SHAPES).index(x.shape)), torch.tensor(x.radius))) for x in (one, other)]
    return frames, apart - sum(rims)


def meetings(view: View, moves: list[Moves]) -> dict[tuple[int, int], dict[str, float]]:
    """Pairs of tracks that met: one velocity breaks while the two are close. Momentum, energy and restitution of each.

    `momentum`: change of the sum of mass times velocity over the sum of sizes before; masses as areas, as drawn.
    """
    met = {}
    for i, one in enumerate(view.tracks):
        for j in range(i):
            other = view.tracks[j]
            if not (kinked(moves[i]) or kinked(moves[j])) or view.cut or not (moves[i].times and moves[j].times):
                continue
            frames, gap = gaps(one, other, view)
            if not len(frames) or gap.min() > CLOSE:
                continue
            laws = [breaks(moves[k].times[0], moves[k].places[0]) for k in (i, j)]
            if any(law is None or law.off > BROKEN or kick(law) < KICK for law in laws):
                continue
            met[j, i] = impact([law for law in laws if law is not None], one.radius**2, other.radius**2)
    return met


def kick(law: Law) -> float:
    """By how much a velocity breaks."""
    return float(np.hypot(law.values["wx"] - law.values["vx"], law.values["wy"] - law.values["vy"]))


def impact(laws: list[Law], *masses: float) -> dict[str, float]:
    """Momentum and energy that a collision lost, as shares, and its restitution, from the laws of both objects."""
    before = [np.array([law.values["vx"], law.values["vy"]]) for law in laws]
    after = [np.array([law.values["wx"], law.values["wy"]]) for law in laws]
    size = sum(m * np.linalg.norm(v) for m, v in zip(masses, before, strict=True))
    change = sum(m * (w - v) for m, v, w in zip(masses, before, after, strict=True))
    energy = [sum(m * (v**2).sum() for m, v in zip(masses, vs, strict=True)) for vs in (before, after)]
    closing, leaving = before[0] - before[1], after[0] - after[1]
    return {
        "momentum": float(np.linalg.norm(change) / max(float(size), 1e-9)),
        "energy": float(energy[1] / max(float(energy[0]), 1e-9) - 1),
        "restitution": float(np.linalg.norm(leaving) / max(float(np.linalg.norm(closing)), 1e-9)),
    }


def overlap(view: View) -> float:
    """The largest share of the smaller of two objects that lies inside the other, as drawn, in any frame."""
    worst, grid = 0.0, (torch.arange(24) + 0.5) / 24 * 2 - 1
    for i, one in enumerate(view.tracks):
        for other in view.tracks[:i]:
            frames, gap = gaps(one, other, view)
            for f in frames[gap < 0]:
                small, large = sorted((one, other), key=lambda track: track.radius)
                a, b = (track.places[list(track.frames).index(f)] for track in (small, large))
                far = 1.6 * small.radius
                dx, dy = grid * far, grid[:, None] * far
                inside = [
                    outline(dx + x, dy + y, tuple(SHAPES).index(track.shape), torch.tensor(track.radius)) < 0
                    for track, (x, y) in ((small, (0.0, 0.0)), (large, tuple(a - b)))
                ]
                worst = max(worst, float((inside[0] & inside[1]).sum() / inside[0].sum().clamp(min=1)))
    return worst


def shadow(view: View) -> dict[str, float]:
    """The light, from the strip of floor: `tan` of its angle, `share` of objects that have a shadow where it says."""
    sight = [(f, *p) for track in view.tracks for f, p in zip(track.frames, track.places, strict=True)]
    none = {"tan": float("nan"), "share": 0.0}
    if not sight or not view.floor.size:
        return none
    frame, x, y = np.array(sight).T
    height = view.size[1]
    dark = view.floor.clip(-0.1, 0.4)  # (F, W)
    if view.wall:
        dark[:, max(0, int(view.wall[0] * height) - 1) : int(view.wall[1] * height) + 2] = 0
    angles = np.linspace(-0.7, 0.7, 141)
    at = (x[:, None] + (FLOOR - y)[:, None] * angles) * height - 0.5  # (K, A), pixels
    columns = np.arange(dark.shape[1])
    found = np.stack([np.interp(a, columns, dark[int(f)], 0, 0) for f, a in zip(frame, at, strict=True)])  # (K, A)
    tall = (FLOOR - y) > 0.2  # what stands on the floor says nothing of the angle
    score = found[tall].mean(0) if tall.any() else found.mean(0)
    best = int(score.argmax())
    inside = (at[:, best] > 0) & (at[:, best] < dark.shape[1] - 1)
    if score[best] < DARK or not inside.any():
        return none
    near = slice(max(0, best - 12), best + 13)
    weight = (score[near] - score[near].min()) ** 2
    return {
        "tan": float((angles[near] * weight).sum() / weight.sum()),
        "share": float((found[inside, best] > DARK).mean()),
    }


def place_of(track: Track, view: View) -> str:
    """Where a track is first, in the words of a caption."""
    x, y = track.places[0] * view.size[1] / np.array([view.size[2], view.size[1]])
    return PLACES[int(np.clip(x * 3, 0, 2)) + 3 * int(np.clip(y * 3, 0, 2))]


def read(view: View) -> Seen:
    """The scene and the physics of what is seen in one clip.

    Physics: `jitter` (root mean square of the second difference of what the law of motion leaves, over tracks) and
    `speed`, heights a frame; `switches` of colour along tracks; `leaps`, tracks that begin late or end early; `kept`,
    share of those behind a wall or over a cut that came out as they went in; `gravity`, `restitution`, `momentum`,
    `energy`; `overlap`; `light` and `shadows`; `fits`, the distance from the law.
    """
    f, h, w = view.size
    aspect = w / h
    moves = [explain(view, track) for track in view.tracks]
    met = meetings(view, moves)
    partner = {i: j for pair in met for i, j in (pair, pair[::-1])}
    for i, move in enumerate(moves):
        if i in partner:
            move.name = "collides"
        elif kinked(move):
            move.name = "drifts" if move.name == "drifts" and at_edge(move, view) else "unknown"
        if move.name == "orbits":
            middle = np.array([move.laws[0].values[axis] for axis in "xy"])
            inside = [
                j
                for j, m in enumerate(moves)
                if m.name == "rests" and np.linalg.norm(m.places[0].mean(0) - middle) < 0.05
            ]
            partner |= {i: inside[0]} if inside else {}
    order = sorted(range(len(moves)), key=lambda i: (partner.get(i, i), i not in partner))
    things = []
    for i in order:
        track, move = view.tracks[i], moves[i]
        what = move.name if f > 1 else None
        to = order.index(partner[i]) if i in partner and f > 1 else None
        look_, where = (track.colour, track.shape, track.size(aspect)), place_of(track, view)
        things.append(Thing(*look_, where, what, move.direction, move.pace(aspect), to))
    light, pan = shadow(view), np.diff(view.camera)
    side = "none" if np.isnan(light["tan"]) else "left" if light["tan"] > 0 else "right"
    still = not len(pan) or np.abs(np.median(pan)) < STEPS
    camera = "none" if still else "right" if np.median(pan) > 0 else "left"
    side = side if h >= SHORT_FLOOR else None
    scene = Scene(tuple(things), side, camera if f > 1 else None, view.cut > 0 if f > 1 else None)
    physics = {
        "jitter": root([m.jitter for m in moves]),
        "fits": root([law.off for m in moves for law in m.laws]),
        "speed": mean([m.speed for m in moves]),
        "switches": float(sum(track.switches for track in view.tracks)),
        "leaps": float(sum(leaps(track, f) for track in view.tracks)),
        "kept": mean([same for track in view.tracks for same in kept(track, view)]),
        "gravity": mean([m.value("g") for m in moves if m.name == "bounces"]),
        "restitution": mean([m.value("restitution") for m in moves if m.name == "bounces"]),
        "overlap": overlap(view),
        "light": light["tan"],
        "shadows": light["share"],
    }
    physics |= {name: mean([m[name] for m in met.values()]) for name in ("momentum", "energy")}
    return Seen(scene, view, [moves[i] for i in order], physics)


def leaps(track: Track, frames: int) -> int:
    """How often a track begins or ends in mid-clip and in mid-picture: 0 to 2."""
    inside = track.whole | ~track.clear  # a wall is no edge
    return int(track.frames[0] > 0 and inside[0]) + int(track.frames[-1] < frames - 1 and inside[-1])


def mean(values: Iterable[float]) -> float:
    """The mean of what is finite, else nan."""
    kept = [v for v in values if np.isfinite(v)]
    return float(np.mean(kept)) if kept else float("nan")


def root(values: Iterable[float]) -> float:
    """The root mean square of what is finite, else nan."""
    return mean([v**2 for v in values]) ** 0.5


def kept(track: Track, view: View) -> list[float]:
    """For each time the track was out of sight (behind a wall, over a cut): 1.0 if colour and shape came back."""
    out = []
    holes = [k for k in range(1, len(track.frames)) if view.wall and track.frames[k] - track.frames[k - 1] > 1]
    holes += [k for k in range(1, len(track.frames)) if view.cut and track.frames[k - 1] < view.cut <= track.frames[k]]
    for k in holes:
        parts = [part[track.good[part]] for part in (np.arange(k), np.arange(k, len(track.frames)))]
        if all(len(part) for part in parts):
            looks = [(np.bincount(track.colours[p]).argmax(), track.misfits[p].mean(0).argmin()) for p in parts]
            out.append(float(looks[0] == looks[1]))
    return out


def grade(seen: Seen, asked: Scene) -> dict[str, float]:
    """How far a clip shows what was asked, share by share; what was not said, or cannot be told, is not graded.

    `count`: the right number of objects. Each of ATTRIBUTES: the share of the words that were asked of it that are
    seen, whichever object has them. `binding`: the share of the objects asked for that are there with colour and shape
    together. None of these minds objects too many: `count` does, and `whole`, the share of objects, of those asked for
    or those there if they are more, that are right in all that was said. `light`, `camera`, `cut`: right or wrong.
    `tracks`: coverage, the share of objects that have a track at all.
    """
    things, there = asked.things, seen.scene.things
    brief = seen.view.size[0] < SHORT
    out = {
        "count": float(count(seen.view) == len(things)),
        "tracks": min(len(there), len(things)) / max(len(things), 1),
    }
    names = [name for name in ATTRIBUTES if not (brief and name in ("motion", "direction", "speed"))]
    for name in names:
        words = Counter(getattr(thing, name) for thing in things if getattr(thing, name) is not None)
        if words:
            found = Counter(getattr(thing, name) for thing in there)
            out[name] = sum((words & found).values()) / sum(words.values())
    out["binding"] = matched(things, there, ("colour", "shape"))
    out["whole"] = matched(things, there, names) * len(things) / max(len(things), len(there), 1)
    for name in ("light", "camera", "cut"):
        if getattr(asked, name) is not None and getattr(seen.scene, name) is not None:
            out[name] = float(getattr(asked, name) == getattr(seen.scene, name))
    return out


def matched(asked: Sequence[Thing], there: Sequence[Thing], names: Sequence[str]) -> float:
    """The share of the things asked for that are there, each once, in all that was said of these names."""
    if not asked or not there:
        return 0.0
    right = [[all(getattr(a, n) in (None, getattr(t, n)) for n in names) for t in there] for a in asked]
    rows, columns = linear_sum_assignment(right, maximize=True)
    return float(np.array(right)[rows, columns].sum()) / len(asked)


def watch(clips: Tensor) -> list[Seen]:
    """What is seen in clips (B,3,F,H,W) in [-1, 1]: scenes in words, tracks and physics.

    Example: `grade(watch(render(spec))[0], parse("a red circle drifts left"))["motion"]`.
    """
    ends = min_max(data(clips, "clips"))
    if ends and (ends[0] < -1.5 or ends[1] > 1.5):  # NaN is told with its clip, below
        raise ValueError(f"clips hold {ends[0]:g} to {ends[1]:g}: expected [-1, 1]; bytes become that by x / 127.5 - 1")
    return [read(view) for view in look(clips)]
