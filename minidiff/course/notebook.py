"""The stagecraft of a notebook, in one line: `from minidiff.course.notebook import *`.

Pictures, widgets, exercises, bets and tables. What the course teaches is never among them.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

import minidiff
from minidiff.bars import tqdm
from minidiff.course import animate, first, page, widgets
from minidiff.course import contents as ways
from minidiff.course import reel as reels
from minidiff.course.animate import figure_frame
from minidiff.course.check import check, hint, solution
from minidiff.course.plots import COLOURS, figure, filled, image_grid, lines, panels, scatter, tile
from minidiff.course.progress import bet, bets, predict, reveal, summary
from minidiff.sweeps import recorded
from minidiff.threads import free_cores

__all__ = [
    "COLOURS",
    "animation",
    "bet",
    "bets",
    "check",
    "contents",
    "figure",
    "figure_frame",
    "filled",
    "hint",
    "image_grid",
    "lines",
    "panels",
    "play",
]
__all__ += [
    "predict",
    "reel",
    "recorded",
    "reveal",
    "say",
    "scatter",
    "show",
    "slideshow",
    "solution",
    "start",
    "table",
    "tile",
    "tqdm",
]


def start(needs: str) -> str:
    """Open a notebook: check that minidiff is at least version `needs`, set torch's threads, return the scale.

    Torch gets the cores that nobody else uses just now (4 at most), unless OMP_NUM_THREADS says otherwise.

    RuntimeError naming both versions where minidiff is older. Example: `scale = start(needs="0.1")`.
    """
    import torch

    from minidiff.scale import scale

    have, want = (tuple(int(n) for n in version.split(".")[:2]) for version in (minidiff.__version__, needs))
    if have < want:
        raise RuntimeError(
            f"this notebook needs minidiff {needs}, you have {minidiff.__version__}: update the clone with 'git pull'"
        )
    first.install()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(4, free_cores()))
    return scale()


def say(text: str) -> None:
    """Print a sentence with measured numbers as Markdown. Example: `say(f"**{share:.0%}** of {n:,} samples")`."""
    page.emit({"text/markdown": text, "text/plain": text})


def _marked(mark: str) -> None:
    say(f"<small>*{mark}*</small>")


def show(fig: Figure, *, alt: str, mark: str) -> None:
    """Show a figure with its description, and under it what it is: `mark` begins with "live", "recorded" or "exact".

    ValueError for another mark. Example: `show(fig, alt="...", mark="live: n = 2,000, seed 0")`.
    """
    checked(mark)
    page.show(fig, alt=alt)
    _marked(mark)


def checked(mark: str) -> None:
    """ValueError unless the mark says where a figure comes from."""
    if not mark.startswith(("live", "recorded", "exact")):
        raise ValueError(f"mark={mark!r}: say 'live: n, seed', 'recorded: device, date, n, seeds', or 'exact'")


def animation(frames: Any, *, alt: str, mark: str, fps: float = 12, labels: Any = ()) -> None:
    """A filmstrip and a paused clip, marked like a figure. See `animate.animation`."""
    checked(mark)
    animate.animation(frames, alt=alt, fps=fps, labels=labels)
    _marked(mark)


def slideshow(frames: Any, labels: Any, *, alt: str, mark: str) -> None:
    """A filmstrip, and in a live notebook a slider over all frames, marked like a figure. See `widgets.slideshow`."""
    checked(mark)
    widgets.slideshow(frames, labels, alt=alt)
    _marked(mark)


def reel(clips: Mapping[str, Tensor], *, alt: str, mark: str, flickers: bool = False) -> None:
    """Clips side by side: contact sheet, video, and in a live notebook a slider, marked like a figure. See `reel`."""
    checked(mark)
    reels.reel(clips, alt=alt, flickers=flickers)
    _marked(mark)


def play(draw: Callable[..., Figure | Tensor], *, alt: str | Callable[..., str], **controls: widgets.Control) -> None:
    """A picture, or clips, with controls in a live notebook, marked "live". See `widgets.play`."""
    widgets.play(draw, alt=alt, **controls)
    _marked("live: computed as you drag")


def contents() -> None:
    """The course's pages, each a click away; in a live notebook with how many exercises of each are solved."""
    say(ways.table(ways.chapters(Path.cwd()), summary() if page.live() else None))


def table(header: list[str], rows: list[list[Any]]) -> None:
    """A Markdown table of measured values. Example: `table(["steps", "share"], [[10, "36%"], [50, "99%"]])`."""
    bar = "|" + "---|" * len(header)
    say("\n".join(["| " + " | ".join(header) + " |", bar, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]))
