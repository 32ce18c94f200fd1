"""What a clip of the Toybox is: a spec, from which everything that can be asked of the clip follows exactly.

Lengths are in heights of the picture and times in frames, so a spec knows no resolution: x runs from 0 to the aspect,
y from 0 (top) to 1 (bottom), the floor lies at `FLOOR`. Everything that is not an object is grey (sky, floor, wall,
shadow); every object has one of eight hues. So colour means object, and a program that measures can rely on it.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

COLOURS = {  # name: red, green, blue in [0, 1]; how far apart they are for colour-blind eyes is measured in the tests
    "red": (0.85, 0.29, 0.29),
    "orange": (1.0, 0.51, 0.0),
    "yellow": (1.0, 0.94, 0.53),
    "green": (0.0, 0.44, 0.0),
    "cyan": (0.24, 0.86, 1.0),
    "blue": (0.24, 0.45, 0.85),
    "purple": (0.34, 0.01, 0.54),
    "pink": (1.0, 0.46, 0.7),
}
SHAPES = {  # name: what `outline` needs; the distance of the boundary comes with it
    "circle": (0, 0.0),  # no corners, no hole
    "square": (4, 0.7071),  # corners; radius of a notch (here: of the middle of a side) over radius of a corner
    "triangle": (3, 0.5),
    "star": (5, 0.5),
    "ring": (0, 0.55),  # no corners; radius of the hole over radius of the rim
}
# Sizes and speeds are those of pictures as wide as high, or wider; a narrow picture has smaller ones: `unit`.
SIZES = {"small": 0.07, "medium": 0.095, "large": 0.125}  # radius of the disc of the same area: size tells no shape
MOTIONS = ("rests", "drifts", "bounces", "collides", "orbits", "passes")
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
TURNS = ("clockwise", "counterclockwise")
FLOOR = 0.88  # y of the floor
SHOTS = 2  # a clip has one shot, or two with a cut between them
WAVES = 5  # that the backdrop is a sum of
VOCABULARY = tuple((Path(__file__).parent / "vocabulary.txt").read_text().split())  # order fixed: weights depend on it


def unit(aspect: float) -> float:
    """By what sizes and speeds are multiplied: the shorter side of the picture, in heights."""
    return min(1.0, aspect)


class Batch:
    """What a dataclass of tensors with B in front can do: its length, some of it, another device."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def tensors(self) -> dict[str, Tensor]:
        """Every field that is a tensor, by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}  # pyright: ignore

    def __getitem__(self, index: Any) -> Self:
        """Some of the clips: `spec[3]` (still a batch, of one), `spec[:8]`, `spec[mask]`."""
        index = [index] if isinstance(index, int) else index
        return replace(self, **{name: value[index] for name, value in self.tensors().items()})  # pyright: ignore

    def put(self, index: Tensor, other: Self) -> Self:
        """The same with the clips at `index` (K,) replaced by the K of another."""
        new = {name: value.index_copy(0, index, getattr(other, name)) for name, value in self.tensors().items()}
        return replace(self, **new)  # pyright: ignore

    def to(self, device: Any) -> Self:
        """The same on another device."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})  # pyright: ignore


@dataclass
class Spec(Batch):
    """B clips of up to N objects: tensors, first dimension B, and two numbers that all share.

    Object: `shape colour motion` (B,N), long, places in the tables above, -1 = no object; `radius` (B,N) of the disc
    of the same area; `partner` (B,N), long, the object it collides with or orbits, else -1.
    Path, in each of S=2 shots: `start` (B,S,N,2), its place at the shot's first frame (of an orbit: the centre);
    `velocity` (B,S,N,2) a frame; `orbit` (B,S,N,3): radius, phase in radians, radians a frame.
    World: `gravity` (B,) a frame squared, `restitution` (B,); `wall` (B,2), its left and right edge, equal = no wall;
    `pan` (B,) of the camera a frame, `turn` (B,) the frame at which it turns back; `cut` (B,), long, first frame of
    the second shot, 0 = none; `light` (B,), tangent of its angle, `lit` (B,) bool, whether there are shadows;
    `grey` (B,S) of the backdrop and its `waves` (B,S,K,3): two wave numbers and a phase.
    Foreseen, and refused by `render` until they are drawn: `opacity teeth spin glyph becomes` (B,N), `mirror` (B,).
    """

    shape: Tensor
    colour: Tensor
    motion: Tensor
    radius: Tensor
    partner: Tensor
    start: Tensor
    velocity: Tensor
    orbit: Tensor
    gravity: Tensor
    restitution: Tensor
    wall: Tensor
    pan: Tensor
    turn: Tensor
    cut: Tensor
    light: Tensor
    lit: Tensor
    grey: Tensor
    waves: Tensor
    opacity: Tensor
    teeth: Tensor
    spin: Tensor
    glyph: Tensor
    becomes: Tensor
    mirror: Tensor
    frames: int = 12
    aspect: float = 1.0


LATER = {
    "opacity": 1.0,
    "teeth": 0,
    "spin": 0.0,
    "glyph": -1,
    "becomes": -1,
    "mirror": 0,
}  # fields not drawn yet: plain value


def check_shapes(spec: Spec) -> None:
    """ValueError naming the field whose shape is not that of the others: it would be broadcast."""
    b, n, s = len(spec.shape), spec.shape.shape[-1], 2
    objects, clips, paths = (
        "shape colour motion radius partner",
        "gravity restitution pan turn cut light lit",
        (b, s, n),
    )
    shapes = dict.fromkeys(objects.split(), (b, n)) | dict.fromkeys(clips.split(), (b,))
    shapes |= {"start": (*paths, 2), "velocity": (*paths, 2), "orbit": (*paths, 3), "wall": (b, 2), "grey": (b, s)}
    for name, shape in shapes.items():
        if (found := tuple(getattr(spec, name).shape)) != shape:
            raise ValueError(f"the spec's {name} has shape {found}: expected {shape}, for {b} clips of {n} objects")


def check(spec: Spec, height: int, width: int) -> None:
    """ValueError, naming the clip and the field, where a spec is none of this world or cannot be drawn at this size."""
    if min(height, width) < 16:
        raise ValueError(f"height={height}, width={width}: expected 16 pixels or more each, or no shape can be told")
    if spec.frames < 1:
        raise ValueError(f"frames={spec.frames}: expected 1 or more")
    check_shapes(spec)
    there = spec.shape >= 0
    wrong = [
        (name, ~value.isfinite())
        for name, value in spec.tensors().items()
        if value.is_floating_point() and name != "turn"
    ]
    tables = {"shape": SHAPES, "colour": COLOURS, "motion": MOTIONS}
    wrong += [
        (name, (getattr(spec, name) >= len(table)) | (getattr(spec, name) < 0) & there)
        for name, table in tables.items()
    ]
    wrong += [
        ("partner", (spec.partner < -1) | (spec.partner >= spec.shape.shape[1])),
        ("radius", there & ((spec.radius <= 0) | (spec.radius > 0.4))),
        ("gravity", spec.gravity <= 0),
        ("restitution", (spec.restitution < 0) | (spec.restitution > 1)),
        ("wall", spec.wall[:, 1] < spec.wall[:, 0]),
        ("grey", (spec.grey < 0) | (spec.grey > 1)),
        ("cut", (spec.cut < 0) | (spec.cut >= spec.frames)),
        ("turn", spec.turn.isnan()),
    ]
    for name, where in wrong:
        if where.any():
            clip = int(where.nonzero()[0, 0])
            raise ValueError(
                f"clip {clip} of the spec has {name} = {getattr(spec, name)[clip].tolist()}: not in this world"
            )
    for name, plain in LATER.items():
        if (getattr(spec, name) != plain).any():
            raise ValueError(f"the spec sets {name}: foreseen in the vocabulary, not drawn yet; leave it at {plain}")
