"""One look for every picture of the course: sizes, colours with meanings, images, clouds, densities, lines.

Importing this module applies the look (`style()`). Draw with matplotlib on `figure()`, hand over to
`show(fig, alt=...)`.

What is data is blue in every chapter (`COLOURS`). The six colours were searched for the largest smallest
distance in CIELAB (32) under normal, protanopic, deuteranopic and tritanopic sight (Machado, Oliveira and
Fernandes, IEEE TVCG 15(6), 2009); each has contrast 3:1 or more on white (WCAG 2.1, 1.4.11). Meaning still
never rests on colour alone: lines also differ by marker or dash, and carry their name at their end.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image
from scipy.optimize import isotonic_regression

from minidiff.course.page import DPI, SHOWN, show

__all__ = [
    "COLOURS",
    "figure",
    "filled",
    "image_grid",
    "lines",
    "panels",
    "save_grid",
    "scatter",
    "show",
    "tile",
]

COLOURS = {
    "data": "#1F48D4",  # x0: what is real
    "noise": "#9482A5",  # eps, and what is drowned in it
    "model": "#E57309",  # what a network, or a sampler under study, says
    "exact": "#191B1A",  # the truth, computed
    "control": "#68237E",  # what must fail
    "baseline": "#33A46B",  # what has to be beaten
}
Kind = str | float  # a key of COLOURS, or a noise level t: its colour runs from data (0) to noise (1)
MARKERS: dict[Kind, str] = dict(zip(COLOURS, "osD^vP", strict=True))
DASHES: dict[Kind, tuple] = {"exact": (4, 2), "control": (1, 1.2)}
WIDTH = 7.0  # inches; the page shows SHOWN pixels an inch


def style() -> None:
    """Apply the look to matplotlib's defaults. Called on import; call it again after using another style."""
    matplotlib.rcParams.update(
        {
            "figure.dpi": SHOWN,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "text.color": "#2B2D33",
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.titlepad": 7,
            "axes.labelcolor": "#2B2D33",
            "axes.edgecolor": "#9A9DA6",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=list(COLOURS.values())),
            "grid.color": "#ECEDF1",
            "grid.linewidth": 0.8,
            "xtick.color": "#5B5E68",
            "ytick.color": "#5B5E68",
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "xtick.minor.size": 0,
            "ytick.minor.size": 0,
            "lines.linewidth": 1.8,
            "lines.markersize": 4.5,
            "legend.frameon": False,
            "image.interpolation": "nearest",
            "image.cmap": "gray",
        }
    )


style()


def figure(rows: int = 1, columns: int = 1, height: float = 2.6, width: float = WIDTH) -> tuple[Figure, Any]:
    """A figure as wide as the page, `WIDTH` by `height` inches, with its axes (one, or an array of them).

    A frame of a film is also seen in a strip, at a third of the page: with width=3 its text stays legible there.
    Example: `fig, (left, right) = figure(columns=2)`.
    """
    return plt.subplots(rows, columns, figsize=(width, height))


def array(x: Any) -> np.ndarray:
    """A torch tensor (any device or dtype), or anything array-like, as float64 numpy of the same shape.

    ValueError where a value is not finite, for a picture of a NaN is an empty picture.
    Example: `array(torch.zeros(3)).dtype == np.float64`.
    """
    x = x.detach().cpu().double().numpy() if hasattr(x, "detach") else np.asarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{(~np.isfinite(x)).sum()} of {x.size} values are not finite: mend them, then draw")
    return x


def colour(kind: Kind) -> np.ndarray:
    """Red, green and blue in [0, 1] of a kind; ValueError for an unknown word.

    Example: `colour(0.0) == colour("data")`.
    """
    if isinstance(kind, str):
        if kind not in COLOURS:
            raise ValueError(f"no colour for {kind!r}: expected one of {', '.join(COLOURS)}, or a noise level t")
        return np.array(to_rgb(COLOURS[kind]))
    return (1 - kind) * colour("data") + kind * colour("noise")


def ink(kind: Kind) -> np.ndarray:
    """The colour of a kind, darkened until text in it has contrast 4.5:1 on white (WCAG 2.1, 1.4.3)."""
    rgb = colour(kind)
    while ((rgb**2.2) @ [0.2126, 0.7152, 0.0722] + 0.05) * 4.5 > 1.05:
        rgb = rgb * 0.95
    return rgb


def tile(images: Any, columns: int, scale: int = 1, gap: int = 2) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1], C of 1 or 3, as one uint8 picture (H', W', 3), row by row, on white.

    Each pixel becomes `scale` x `scale` pixels; `gap` is in pixels of the result. Values outside are clipped.
    ValueError for another shape. Example: `tile(np.zeros((5, 1, 8, 8)), columns=3).shape == (18, 28, 3)`.
    """
    x = array(images)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or x.size == 0:
        raise ValueError(f"images have shape {x.shape}: expected (N, C, H, W) with C of 1 or 3; one image is x[None]")
    if columns < 1 or scale < 1:
        raise ValueError(f"columns={columns}, scale={scale}: both must be 1 or more")
    x = np.rint((x.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    x = x.repeat(scale, axis=2).repeat(scale, axis=3).transpose(0, 2, 3, 1)  # (N, H, W, C)
    n, h, w, _ = x.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    page = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i in range(n):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        page[top : top + h, left : left + w] = x[i]
    return page


def save_grid(images: Any, path: Any, columns: int, scale: int = 2) -> Any:
    """Write images (N, C, H, W) in [-1, 1] as a PNG grid to a path or a file; return it. Folders are made as needed.

    Example: `save_grid(samples, "outputs/hello.png", columns=8)`.
    """
    if isinstance(path, str | Path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tile(images, columns, scale, gap=2 * scale)).save(path, "png", optimize=True)
    return path


def image_grid(
    images: Any,
    columns: int,
    *,
    titles: Sequence[str] = (),
    rows: Sequence[str] = (),
    scale: int | None = None,
) -> Figure:
    """Images (N, C, H, W) in [-1, 1] as a figure with crisp square pixels.

    `titles` name columns, `rows` name rows. `scale` is the side of a pixel on the page; left out, the grid
    fills the page, with pixels of 4 at most.
    Example: `show(image_grid(x, columns=8, titles=["t = 0", ...]), alt="...")`.
    """
    x = array(images)
    count = -(-len(x) // columns)
    if len(titles) not in (0, columns) or len(rows) not in (0, count):
        raise ValueError(f"{len(titles)} titles and {len(rows)} rows for {columns} columns, {count} rows of images")
    words = max((len(line) for row in rows for line in row.split("\n")), default=-2)
    left, top, gap, fine = words * 7 + 14, 20 * bool(titles), 4, DPI // SHOWN
    room = (WIDTH * SHOWN - left) / columns - gap
    page = tile(x, columns, (scale or max(1, min(4, int(room / x.shape[-1])))) * fine, gap * fine)
    h, w = page.shape[0] / fine, page.shape[1] / fine  # in pixels of the page
    fig = plt.figure(figsize=((left + w) / SHOWN, (top + h) / SHOWN), layout="none")
    ax = fig.add_axes((left / (left + w), 0.0, w / (left + w), h / (top + h)))
    ax.imshow(page, extent=(0, w, h, 0), interpolation="none")
    ax.axis("off")
    for i, title in enumerate(titles):
        ax.text((i + 0.5) * (w + gap) / columns - gap / 2, -6, title, ha="center", fontsize=8.5)
    for i, row in enumerate(rows):
        ax.text(-8, (i + 0.5) * (h + gap) / count - gap / 2, row, ha="right", va="center", fontsize=8.5)
    return fig


def scatter(ax: Axes, points: Any, kind: Kind = "data", marks: Any = None) -> None:
    """Samples (N, 2) as dots on bare, equal axes; `marks` (M, 2), the true modes say, are crosses.

    Example: `scatter(ax, x, "model", marks=means)`.
    """
    x = array(points)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"points have shape {x.shape}: expected (N, 2)")
    size = float(np.clip(4000 / max(len(x), 1), 1.5, 16))
    ax.scatter(x[:, 0], x[:, 1], s=size, color=colour(kind), alpha=0.55, linewidths=0)
    if marks is not None:
        ax.scatter(*array(marks).T, s=22, marker="+", color=COLOURS["exact"], linewidths=0.9)
    ax.set(aspect="equal", xticks=[], yticks=[], facecolor="#F6F7F9")
    ax.spines[:].set_visible(False)


def panels(
    items: Sequence[tuple[str, Any]],
    *,
    kinds: Sequence[Kind] | str = "model",
    marks: Any = None,
    limit: float | None = None,
    columns: int = 4,
) -> Figure:
    """Clouds `(title, points (N, 2))` side by side on one square [-limit, limit]^2; `kinds` for one or all.

    Without `limit` the square holds every point; with it, points outside are counted in their panel.
    Example: `show(panels([("data", x0), ("10 steps", x)], kinds=["data", "model"], marks=means), alt="...")`.
    """
    columns = min(columns, len(items))
    rows, clouds = -(-len(items) // columns), [array(points) for _, points in items]
    limit = limit or 1.05 * max(float(np.abs(cloud).max()) for cloud in clouds)
    fig, axs = figure(rows, columns, height=(WIDTH / columns + 0.25) * rows)
    for ax in np.ravel(axs)[len(items) :]:
        ax.remove()
    box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5}
    for i, (ax, (title, _), cloud) in enumerate(zip(np.ravel(axs), items, clouds, strict=False)):
        inside = (np.abs(cloud) <= limit).all(axis=1)
        scatter(ax, cloud[inside], kinds if isinstance(kinds, str) else kinds[i], marks)
        ax.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit))
        if outside := int((~inside).sum()):
            note = f"{outside:,} of {cloud.shape[0]:,} outside"
            ax.text(0.03, 0.03, note, transform=ax.transAxes, fontsize=7.5, bbox=box)
    return fig


def filled(ax: Axes, x: Any, density: Any, kind: Kind = "data", label: str = "", base: float = 0.0) -> None:
    """A density (N,) over x (N,) as a filled curve that stands on `base`, named above its peak.

    Example: `filled(ax, x, pdf, "exact", "exact density")`.
    """
    x, y = array(x), array(density) + base
    ax.fill_between(x, base, y, color=colour(kind), alpha=0.05 if kind == "exact" else 0.22, linewidth=0)
    ax.plot(x, y, color=colour(kind), dashes=DASHES.get(kind, (None, None)))
    at = (x[y.argmax()], y.max())
    wide, high = 0.25 * np.ptp(x), 0.15 * max(y.max(), 1e-9)
    named = [t.xy for t in ax.texts if isinstance(t, Annotation) and t.get_text()]
    near = [xy for xy in named if abs(xy[0] - at[0]) < wide and abs(xy[1] - at[1]) < high]
    up = 4 + 11 * len(near)  # above the names that are there
    ax.annotate(label, at, (0, up), textcoords="offset points", ha="center", color=ink(kind), fontsize=8.5)


def lines(ax: Axes, x: Any, series: Mapping[str, Any], kinds: Sequence[Kind] = ()) -> None:
    """Lines over x (N,), named at their right end: `{name: y (N,)}` or `{name: (y, error)}`.

    `error` is (N,), or (2, N) for below and above. `kinds` gives each line its meaning; without it a name that is a
    kind takes that colour, and the others take the rest in order (six lines at most). Set scales first: labels are
    kept apart as the axes stand.
    Example: `lines(ax, steps, {"DDIM": (mean, half_width), "Heun": heun}, kinds=["baseline", "model"])`.
    """
    x, ends, free = array(x), [], [kind for kind in COLOURS if kind not in series]
    for i, (name, values) in enumerate(series.items()):
        y, error = values if isinstance(values, tuple) else (values, None)
        kind = kinds[i] if kinds else name if name in COLOURS else free.pop(0)
        look = {"color": colour(kind), "dashes": DASHES.get(kind, (None, None))}
        bars = None if error is None else array(error)
        ax.errorbar(
            x,
            array(y),
            bars,
            capsize=2.5,
            elinewidth=1,
            marker=MARKERS.get(kind, "o") * (len(x) <= 30),
            **look,
        )
        ends.append((name, float(array(y)[-1]), ink(kind)))
    heights = ax.transData.transform([(x[-1], y) for _, y, _ in ends])[:, 1] * 72 / ax.figure.dpi  # points
    order, slots = np.argsort(heights), 11 * np.arange(len(ends))  # an 8.5-point label needs 11 points
    places = isotonic_regression(heights[order] - slots).x + slots  # the nearest places that are 11 points apart
    for i, place in zip(order, places, strict=True):
        name, y, dark = ends[i]
        text = {"textcoords": "offset points", "va": "center", "color": dark, "fontsize": 8.5}
        ax.annotate(name, (x[-1], y), (7, place - heights[i]), **text)
