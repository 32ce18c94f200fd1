"""Which law explains a track, and what the law's constants are.

Each law of the Toybox is fitted to the places of an object by least squares. A law with more constants always fits
better, so the one is taken that pays for its constants (Schwarz 1978, with a floor under the misfit: nobody's tracks
are exact). What remains, the distance from the law, is what a person sees as jitter.
"""

from dataclasses import dataclass, field

import numpy as np

from minidiff.data.toybox.spec import FLOOR, unit
from minidiff.data.toybox.world import SLOW
from minidiff.measure.tracks import Track, View

NOISE = 0.004  # heights: misfits below this are not told apart (an eighth of a pixel of a 32x32 clip)
WEIGHT = 0.002  # heights a frame squared: what falls less than this does not fall
EDGE = 0.2  # heights from an edge to the centre of what turns there, at most
BROKEN = 0.02  # heights: what is further from every law than this, root mean square, moves by none


@dataclass
class Law:
    """A law that was fitted: its name, its distance from the places (root mean square, heights), and its constants."""

    name: str
    off: float
    path: np.ndarray  # (K, 2) where it says the object is
    constants: int
    values: dict[str, float] = field(default_factory=dict)

    def cost(self, floor: float = NOISE) -> float:
        """What is compared: the misfit, and a price for each constant."""
        n = self.path.size
        return n * np.log(self.off**2 + floor**2) + self.constants * np.log(max(n, 2)) * 1.5


def solve(name: str, design: np.ndarray, wanted: np.ndarray, extra: int = 0, **values: float) -> tuple[Law, np.ndarray]:
    """Least squares of columns (R, C) on values (R, D): the law, and its coefficients (C, D)."""
    coefficients = np.linalg.lstsq(design, wanted, rcond=None)[0]
    path = design @ coefficients
    off = float(np.sqrt(np.mean(np.sum((path - wanted) ** 2, -1))))
    return Law(name, off, path, coefficients.size + extra, values), coefficients


def search(designs: np.ndarray, wanted: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, float]:
    """The best of G designs (G, R, C) for values (R, D): which, its coefficients (C, D), path (R, D) and misfit."""
    coefficients = np.linalg.pinv(designs) @ wanted  # (G, C, D)
    paths = designs @ coefficients  # (G, R, D)
    off = np.sqrt(np.mean(np.sum((paths - wanted) ** 2, -1), -1))  # (G,)
    best = int(off.argmin())
    return best, coefficients[best], paths[best], float(off[best])


def moments(t: np.ndarray) -> np.ndarray:
    """Times at which a velocity may change, (G,): a tenth of a frame apart, with a sighting or two on either side."""
    return np.arange(t[0] + 1, t[-1] - 0.9, 0.1)


def rests(t: np.ndarray, p: np.ndarray) -> Law:
    """It stays where it is."""
    return solve("rests", np.ones((len(t), 1)), p)[0]


def straight(t: np.ndarray, x: np.ndarray) -> tuple[Law, float]:
    """One coordinate (K,) that keeps its speed, or turns round once, as at an edge: its law and first velocity."""
    plain, c = solve("straight", np.stack([np.ones_like(t), t], 1), x[:, None])
    if plain.off > 2 * NOISE and len(when := moments(t)):
        after = np.abs(t - when[:, None])  # (G, K)
        best, turned, path, off = search(np.stack([np.ones_like(after), after], -1), x[:, None])
        if off < plain.off / 2:
            return Law("straight", off, path, 3, {"when": float(when[best])}), -float(turned[1, 0])
    return plain, float(c[1, 0])


def drifts(t: np.ndarray, p: np.ndarray) -> Law:
    """It keeps its velocity, `vx`, `vy`, or turns once at an edge, at time `when`."""
    (x, vx), (y, vy) = straight(t, p[:, 0]), straight(t, p[:, 1])
    path = np.concatenate([x.path, y.path], 1)
    turn = x.values | y.values
    return Law("drifts", float(np.hypot(x.off, y.off)), path, x.constants + y.constants, {"vx": vx, "vy": vy} | turn)


def orbits(t: np.ndarray, p: np.ndarray) -> Law | None:
    """It goes round a circle: `radius`, `rate` in radians a frame (positive is clockwise), centre `x`, `y`."""
    if len(t) < 5:
        return None
    flat = np.concatenate([p[:, 0], p[:, 1]])[:, None]  # (2K, 1)

    def designs(rates: np.ndarray) -> np.ndarray:
        # x = cx + a cos - b sin, y = cy + b cos + a sin: four constants for both coordinates
        cos, sin = np.cos(rates[:, None] * t), np.sin(rates[:, None] * t)
        one, zero = np.ones_like(cos), np.zeros_like(cos)
        return np.concatenate([np.stack([one, zero, cos, -sin], -1), np.stack([zero, one, sin, cos], -1)], 1)

    rates = np.concatenate([sign * np.linspace(0.25, 0.9, 27) for sign in (1, -1)])
    rates = rates[search(designs(rates), flat)[0]] + np.linspace(-0.03, 0.03, 31)
    best, c, path, off = search(designs(rates), flat)
    radius, (x, y) = float(np.hypot(c[2, 0], c[3, 0])), c[:2, 0]
    values = {"radius": radius, "rate": float(rates[best]), "x": float(x), "y": float(y)}
    law = Law("orbits", off * 2**0.5, path.reshape(2, -1).T, 5, values)  # off a place, not a coordinate
    return law if 0.05 < radius < 0.6 else None


def bounces(t: np.ndarray, p: np.ndarray) -> Law | None:
    """It falls and jumps: `g` (negative if it falls upwards), `restitution` if a contact was seen, `vx`, `contacts`."""
    down, up = falls(t, p), falls(t, p * [1, -1])
    if up is not None:
        up.path, up.values["g"] = up.path * [1, -1], -up.values["g"]
    return min((law for law in (down, up) if law is not None), key=Law.cost, default=None)


def falls(t: np.ndarray, p: np.ndarray) -> Law | None:
    """One parabola after the other, all of one `g`; between which frames each contact lies is tried out."""
    if len(t) < 4:
        return None
    y = p[:, 1]
    rising = np.diff(y) / np.diff(t)
    turns = [
        i for i in range(1, len(t) - 1) if rising[i - 1] > 0 and rising[i] < rising[i - 1] - 0.02 and rising[i] < 0.02
    ]
    turns = [i for n, i in enumerate(turns) if n == 0 or i - turns[n - 1] > 1][:5]
    best, found = None, None
    for choice in np.ndindex(*([2] * len(turns))):
        first = [0, *(i + c for i, c in zip(turns, choice, strict=True)), len(t)]  # where each parabola begins
        pieces = [slice(a, b) for a, b in zip(first[:-1], first[1:], strict=True)]
        if (
            min(piece.stop - piece.start for piece in pieces) < 2
            or max(piece.stop - piece.start for piece in pieces) < 4
        ):
            continue
        design = np.zeros((len(t), 1 + 2 * len(pieces)))
        design[:, 0] = t**2 / 2
        for k, piece in enumerate(pieces):
            design[piece, 1 + 2 * k], design[piece, 2 + 2 * k] = 1, t[piece]
        law, c = solve("bounces", design, y[:, None])
        if best is None or law.off < best.off:
            best, found = law, (c[:, 0], first[1:-1])
    if best is None or found is None:
        return None
    side, velocity = straight(t, p[:, 0])
    c, contacts = found
    path = np.stack([side.path[:, 0], best.path[:, 0]], 1)
    law = Law("bounces", float(np.hypot(best.off, side.off)), path, best.constants + side.constants + len(contacts))
    law.values |= {"g": float(c[0]), "vx": velocity, "contacts": float(len(contacts))}
    kept = []
    for k, i in enumerate(contacts):  # where two parabolas meet is the contact; the speeds there are those of impact
        (a0, b0), (a1, b1) = c[1 + 2 * k : 3 + 2 * k], c[3 + 2 * k : 5 + 2 * k]
        when = (a1 - a0) / (b0 - b1) if abs(b0 - b1) > 1e-9 else t[i]
        before, after = b0 + c[0] * when, b1 + c[0] * when
        long = min(i - ([0, *contacts][k]), ([*contacts, len(t)][k + 1]) - i) >= 3
        if before > 0.02 and long:
            kept.append(-after / before)
    if kept:
        law.values["restitution"] = float(np.mean(kept))
    return law


def breaks(t: np.ndarray, p: np.ndarray) -> Law | None:
    """Its velocity changes once, at time `when`: `vx vy` before, `wx wy` after. It does not leap there."""
    if not len(when := moments(t)):
        return None
    since = t - when[:, None]  # (G, K)
    best, c, path, off = search(np.stack([np.ones_like(since), since.clip(max=0), since.clip(min=0)], -1), p)
    speeds = {"vx": c[1, 0], "vy": c[1, 1], "wx": c[2, 0], "wy": c[2, 1]}
    return Law("breaks", off, path, 7, {k: float(v) for k, v in speeds.items()} | {"when": float(when[best])})


@dataclass
class Moves:
    """How one track moves: the law of each of its shots, where it fits best, and what follows."""

    name: str  # one of MOTIONS; "breaks" where the velocity changes once; or "unknown"
    laws: list[Law]  # one for each shot
    times: list[np.ndarray]  # frames since the shot began
    places: list[np.ndarray]  # (K, 2) in the world, heights

    @property
    def jitter(self) -> float:
        """Root mean square of the second difference of what the law leaves, heights a frame squared."""
        kicks = [np.diff(p - law.path, 2, axis=0) for p, law in zip(self.places, self.laws, strict=True) if len(p) > 2]
        kicks = np.concatenate([k for k in kicks if len(k)]) if any(len(k) for k in kicks) else np.zeros((1, 2))
        return float(np.sqrt(np.mean(np.sum(kicks**2, -1))))

    @property
    def speed(self) -> float:
        """Mean path length, heights a frame: the motion magnitude."""
        steps = [np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in self.places]
        spans = sum(t[-1] - t[0] for t in self.times if len(t) > 1)
        return float(sum(steps) / spans) if spans else 0.0

    def value(self, name: str) -> float:
        """The mean of a constant over the shots that have it, else nan."""
        found = [law.values[name] for law in self.laws if name in law.values]
        return float(np.mean(found)) if found else float("nan")

    @property
    def direction(self) -> str | None:
        """As a caption says it."""
        if self.name == "orbits":
            return "clockwise" if self.laws[0].values["rate"] > 0 else "counterclockwise"
        if self.name not in ("drifts", "bounces", "passes"):
            return None
        x, y = self.laws[0].values["vx"], self.laws[0].values.get("vy", 0.0)
        if self.name != "drifts" or abs(x) >= abs(y):
            return "right" if x > 0 else "left"
        return "down" if y > 0 else "up"

    def pace(self, aspect: float = 1.0) -> str | None:
        """ "slowly" or "quickly", of a drift in a picture so many heights wide."""
        fast = np.hypot(self.value("vx"), self.value("vy")) > 1.2 * SLOW[1] * unit(aspect)
        return ("quickly" if fast else "slowly") if self.name == "drifts" else None


def explain(view: View, track: Track) -> Moves:
    """The law of the Toybox that explains a track best, over all its shots; "unknown" where none comes near."""
    times, spots = [], []
    keep = track.good
    where = track.places + np.stack([view.camera[track.frames], np.zeros(len(track.frames))], 1)
    for shot in (0, 1) if view.cut else (0,):
        mine = keep & ((track.frames >= view.cut) == bool(shot)) if view.cut else keep
        if mine.sum() > 1:
            times.append((track.frames[mine] - (view.cut if shot else 0)).astype(float))
            spots.append(where[mine])
    if not spots:
        return Moves("unknown", [], [], [])
    hidden = view.wall and view.wall[0] > track.places[:, 0].min() and view.wall[1] < track.places[:, 0].max()
    options: dict[str, list[Law]] = {}
    for fit in (rests, drifts, bounces, orbits, breaks):
        found = [law for t, p in zip(times, spots, strict=True) if (law := fit(t, p)) is not None]
        if len(found) == len(spots) and not (
            fit is bounces and abs(np.mean([law.values["g"] for law in found])) < WEIGHT
        ):
            options[found[0].name] = found
    best = min(options, key=lambda name: sum(law.cost() for law in options[name]))
    laws = options[best]
    off = np.sqrt(np.mean([law.off**2 for law in laws]))
    if best == "drifts" and hidden:
        best = "passes"
    return Moves(best if off < BROKEN else "unknown", laws, times, spots)


def kinked(move: Moves) -> bool:
    """Whether its velocity changes once: that may be a collision, or an edge."""
    return move.name == "breaks" or (move.name == "drifts" and "when" in move.laws[0].values)


def at_edge(move: Moves, view: View) -> bool:
    """Whether it comes near an edge of the picture, as what turns there must."""
    (left, top), (right, bottom) = (np.array([f(p, axis=0) for p in move.places]).mean(0) for f in (np.min, np.max))
    return min(left, view.size[2] / view.size[1] - right, top, FLOOR - bottom) < EDGE
