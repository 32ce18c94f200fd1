"""From a clip to objects, and from objects to tracks. Nothing here is learned, and nothing here is ever a loss.

Everything that is no object is grey, so the part of a pixel that is not grey, its chroma, is `cover` times the chroma
of the object's colour: its direction says which colour, its length how much of the pixel. Connected pixels of one
colour are an object (scikit-image labels and measures them); its covered area gives the size, the mean place of the
cover the centre, and the drawn shape that lies closest to the cover the shape. Objects of one frame are joined to
those of the next where the last two say they should be (scipy's assignment): by place only, never by looks, so that an
object that changes its colour is one track with two colours and not two tracks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import find_objects, uniform_filter
from scipy.optimize import linear_sum_assignment
from skimage.measure import label
from skimage.segmentation import expand_labels
from torch import Tensor
from torch.nn.functional import conv2d

from minidiff.data.toybox.render import coverage, outline
from minidiff.data.toybox.spec import COLOURS, SHAPES, SIZES, unit
from minidiff.measure.scenery import Scenery, scenery

COVER = 0.35  # of a pixel, to count as part of an object
LEAST = 0.3  # of the area of a small object: what is less is no object
GATE = 0.2  # heights that an object may be from where it is expected, or from where it was
SOFT = (0.0, 0.5, 1.0, 1.5)  # spreads, in pixels, of the blurs under which a shape is looked for
MOST = 12  # objects that are followed in a frame, the largest; more are no world of this kind
PAD = 4  # empty rows between the frames of one tall image
_PALETTE = np.array(list(COLOURS.values())) - np.mean(list(COLOURS.values()), axis=1, keepdims=True)  # (8, 3), chroma
_LENGTH = np.linalg.norm(_PALETTE, axis=1)


@dataclass
class Track:
    """One object through a clip: K sightings, in order. Places are x and y in the picture, in heights."""

    frames: np.ndarray  # (K,) int
    places: np.ndarray  # (K, 2)
    radii: np.ndarray  # (K,), of the disc of the same area
    colours: np.ndarray  # (K,) int, places in COLOURS
    misfits: np.ndarray  # (K, 5), squared distance to each of SHAPES, over the area
    clear: np.ndarray  # (K,) bool: not at a wall
    whole: np.ndarray  # (K,) bool: nor at the edge of the picture

    @property
    def good(self) -> np.ndarray:
        """Which sightings to trust, (K,): the whole ones; where most are not, the clear ones; else all."""
        best = self.whole if 2 * self.whole.sum() > self.clear.sum() else self.clear
        return best if best.any() else np.ones_like(best)

    @property
    def colour(self) -> str:
        """The most frequent colour."""
        return tuple(COLOURS)[int(np.bincount(self.colours[self.good]).argmax())]

    @property
    def shape(self) -> str:
        """The shape that lies closest, over all sightings."""
        return tuple(SHAPES)[int(self.misfits[self.good].mean(0).argmin())]

    @property
    def radius(self) -> float:
        """The median radius, in heights."""
        return float(np.median(self.radii[self.good]))

    def size(self, aspect: float = 1.0) -> str:
        """The size that is nearest, in a picture so many heights wide."""
        return min(SIZES, key=lambda name: abs(SIZES[name] * unit(aspect) - self.radius))

    @property
    def switches(self) -> int:
        """How often the colour changes from one whole sighting to the next."""
        return int((np.diff(self.colours[self.good]) != 0).sum())


@dataclass
class View(Scenery):
    """What is seen in one clip: its scenery, tracks, and how many objects each of its F frames shows."""

    tracks: list[Track] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


def pixels(clips: Tensor) -> np.ndarray:
    """Clips (B,3,F,H,W) in [-1,1] as (B,F,H,W,3) in [0,1]. ValueError for another shape, or for what is no number."""
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape or min(clips.shape[-2:]) < 16:
        raise ValueError(f"clips have shape {tuple(clips.shape)}: expected (B, 3, F, H, W) with H and W of 16 or more")
    if not clips.isfinite().all():
        wrong = int((~clips.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"clip {wrong} has values that are not finite: nothing to measure")
    return ((clips.detach().float().cpu() + 1) / 2).permute(0, 2, 3, 4, 1).numpy()


def objects(frames: np.ndarray) -> dict[str, np.ndarray]:
    """All objects in frames (F,H,W,3): a table with one row for each, sorted by frame.

    Columns: frame, colour, x and y and radius in heights, cover of the own pixels, misfits (K,5), box (K,4) in pixels.
    """
    f, h, w, _ = frames.shape
    chroma = frames - frames.mean(-1, keepdims=True)
    near = uniform_filter(chroma, (0, 3, 3, 0))  # pyright: ignore  # a colour is decided by nine pixels, a cover by one
    colour = (near @ (_PALETTE / _LENGTH[:, None]).T).argmax(-1)  # (F, H, W)
    cover = (chroma * (_PALETTE / _LENGTH[:, None] ** 2)[colour]).sum(-1)
    classes = np.where(cover > COVER, colour + 1, 0)
    tall = np.pad(classes, ((0, 0), (PAD, 0), (0, 0))).reshape(f * (h + PAD), w)
    core = label(tall, connectivity=2)
    grown = expand_labels(core, 2.5)  # pyright: ignore  # their soft edges too
    chroma = np.pad(chroma, ((0, 0), (PAD, 0), (0, 0), (0, 0))).reshape(f * (h + PAD), w, 3)
    first = np.zeros(grown.max() + 1, int)
    first[grown[tall > 0]] = tall[tall > 0] - 1
    cover = ((chroma * (_PALETTE / _LENGTH[:, None] ** 2)[first[grown]]).sum(-1) * (grown > 0)).clip(0, 1)
    rows, columns = np.indices(grown.shape)
    area, row, x = (np.bincount(grown.ravel(), (cover * what).ravel())[1:] for what in (1, rows, columns))
    with np.errstate(invalid="ignore"):  # a region without cover has no centre, and is dropped below
        row, x = row / area, x / area
    bounds = [(a.start, b.start, a.stop, b.stop) for a, b in find_objects(core)]
    box = np.array(bounds, int).reshape(-1, 4)
    keep = area > LEAST * np.pi * (SIZES["small"] * unit(w / h)) ** 2 * h * h
    keep &= crowded(row // (h + PAD), area) < MOST
    number, area, row, x, box = np.flatnonzero(keep) + 1, area[keep], row[keep], x[keep], box[keep]
    frame = (row // (h + PAD)).astype(int)
    top = frame * (h + PAD) + PAD
    radius = np.sqrt(area / np.pi) / h
    box = box - np.stack([top, 0 * top, top, 0 * top], 1)
    return {
        "frame": frame,
        "colour": first[number],
        "x": (x + 0.5) / h,
        "y": (row - top + 0.5) / h,
        "radius": radius,
        "misfits": misfits(grown, cover, number, np.stack([row, x]), radius, h),
        "box": box,
    }


def crowded(frame: np.ndarray, area: np.ndarray) -> np.ndarray:
    """How many larger objects there are in the frame of each object, (K,)."""
    order = np.lexsort((-area, frame))
    first = np.searchsorted(frame[order], frame[order])
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - first
    return rank


def misfits(
    grown: np.ndarray, cover: np.ndarray, labels: np.ndarray, centres: np.ndarray, radius: np.ndarray, height: int
) -> np.ndarray:
    """How far each object's cover lies from each shape drawn in its place with its area: (K, 5), best of SOFT edges.

    labels (K,) as in grown, centres (2, K) row and column in its pixels.
    """
    row, x = centres
    out = np.zeros((len(labels), len(SHAPES)))
    if not len(labels):
        return out
    half = int(np.ceil(1.5 * radius.max() * height)) + 2
    grown, cover = (np.pad(image, half) for image in (grown, cover))
    steps = np.arange(-half, half + 1)
    for part in np.array_split(np.arange(len(labels)), -(-len(labels) // 512)):
        r, c = np.rint(row[part]).astype(int) + half, np.rint(x[part]).astype(int) + half
        window = (r[:, None, None] + steps[:, None], c[:, None, None] + steps)  # (K, P, P)
        own = torch.from_numpy(np.where(grown[window] == labels[part, None, None], cover[window], 0)).float()
        dy = torch.from_numpy(window[0] - half - row[part, None, None]).float() / height
        dx = torch.from_numpy(window[1] - half - x[part, None, None]).float() / height
        size = torch.from_numpy(radius[part]).float()[:, None, None]
        for shape in range(len(SHAPES)):
            drawn = coverage(outline(dx, dy, shape, size), 1 / height)
            near = torch.stack([((blurred(drawn, soft) - own) ** 2).sum((-1, -2)) for soft in SOFT])  # (4, K)
            out[part, shape] = near.amin(0) / own.sum((-1, -2)).clamp(min=1e-6)
    return out


def blurred(images: Tensor, spread: float) -> Tensor:
    """Images (K,P,P) under a Gaussian blur of this many pixels."""
    if not spread:
        return images
    x = torch.exp(-(torch.arange(-3.0, 4.0) ** 2) / (2 * spread**2))
    x = x / x.sum()
    return conv2d(conv2d(images[:, None], x.view(1, 1, 1, 7), padding="same"), x.view(1, 1, 7, 1), padding="same")[:, 0]


def follow(table: dict[str, np.ndarray], view: Scenery) -> list[Track]:
    """Objects joined to tracks: each goes where the last two sightings say, as far as GATE allows.

    Over a gap (a wall) the place is extrapolated and the gate widens; over a cut what looks alike is joined.
    """
    f, h, w = view.size
    box = table["box"]
    inside = (box[:, 1] > 0) & (box[:, 3] < w) & (box[:, 0] > 0) & (box[:, 2] < h)
    clear = np.ones_like(inside)  # not at a wall
    if view.wall:
        low, high = view.wall[0] * h - 0.5, view.wall[1] * h + 0.5
        clear = (box[:, 3] < low) | (box[:, 1] > high)
    tracks: list[list[int]] = []
    place = np.stack([table["x"], table["y"]], 1)

    def centre(track: list[int], i: int) -> np.ndarray:
        """Where the centre of sighting i is if it is this track's object: of a part at a wall, from its outer edge."""
        good = [k for k in track if clear[k]]
        if clear[i] or not good or not view.wall:
            return place[i]
        edge = 1 if place[i, 0] < sum(view.wall) / 2 else 3  # the side that the wall does not hide
        return np.array([place[good[-1], 0] + (box[i, edge] - box[good[-1], edge]) / h, place[i, 1]])

    def far(track: list[int], i: int) -> float:
        """How far sighting i is from where a track leads, or, if nearer, from where it was."""
        last, frames, step = track[-1], table["frame"], np.zeros(2)
        if len(track) > 1 and frames[last] - frames[track[-2]] <= 3:
            step = (centre(track, last) - centre(track, track[-2])) / (frames[last] - frames[track[-2]])
        here, there = centre(track, last), centre(track, i)
        ahead = np.linalg.norm(here + step * (frames[i] - frames[last]) - there)
        return float(min(ahead, np.linalg.norm(here - there) + 0.02))

    for frame in range(f):
        here = [int(i) for i in np.flatnonzero(table["frame"] == frame)]
        new_shot = bool(frame) and frame == view.cut
        if new_shot:
            here = join(tracks, here, lambda t, i: unlike(table, t[-1], i), np.inf)
        here = join([t for t in tracks if table["frame"][t[-1]] < frame and not new_shot], here, far, GATE)
        lost = [
            t for t in tracks if table["frame"][t[-1]] == frame - 1
        ]  # a leap is still one object, if it looks the same
        here = join(lost, here, lambda t, i: unlike(table, t[-1], i), 0.4)
        tracks += [[i] for i in here]
    colour, misfit, radius, whole = table["colour"], table["misfits"], table["radius"], clear & inside
    return [
        Track(table["frame"][t], place[t], radius[t], colour[t], misfit[t], clear[t], whole[t])
        for t in tracks
        if len(t) >= min(3, f)
    ]


def join(
    tracks: list[list[int]], sightings: list[int], cost: Callable[[list[int], int], float], limit: float
) -> list[int]:
    """Each sighting appended to the track that the cheapest assignment gives it; the sightings that are left over."""
    if not tracks or not sightings:
        return sightings
    table = np.array([[cost(t, i) for i in sightings] for t in tracks])
    pairs = [(r, c) for r, c in zip(*linear_sum_assignment(table), strict=True) if table[r, c] <= limit]
    for r, c in pairs:
        tracks[r].append(sightings[c])
    return [i for c, i in enumerate(sightings) if c not in {c for _, c in pairs}]


def unlike(table: dict[str, np.ndarray], one: int, other: int) -> float:
    """How little two sightings look alike: colour, then shape, then size."""
    shape = table["misfits"][[one, other]].argmin(1)
    size = abs(np.log(table["radius"][one] / table["radius"][other]))
    return float(table["colour"][one] != table["colour"][other]) + 0.5 * float(shape[0] != shape[1]) + min(size, 0.4)


def look(clips: Tensor) -> Iterator[View]:
    """What is seen in each of the clips (B,3,F,H,W), one after the other.

    Example: `[track.colour for track in next(look(render(spec))).tracks]`.
    """
    for frames in pixels(clips):
        view, table = View(**vars(scenery(frames))), objects(frames)
        view.counts = np.bincount(table["frame"], minlength=len(frames))
        view.tracks = follow(table, view)
        yield view


def count(view: View) -> int:
    """How many objects a clip has: the number that at least a quarter of its frames show, or more."""
    return int(np.sort(view.counts)[::-1][max(0, -(-len(view.counts) // 4) - 1)])
