"""Clips side by side: a contact sheet that everyone sees, a clip to play, and in a live notebook one slider for all."""

import textwrap
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from minidiff.course import animate, page, plots, widgets

GAP, HEAD = 6, 22  # pixels between clips, and above them for their labels


def reel(clips: Mapping[str, Tensor], *, alt: str, fps: float = 6, sheet: int = 6, flickers: bool = False) -> None:
    """Put labelled clips (3,F,H,W) in [-1, 1], all of one length, on the page.

    A contact sheet with a row for each clip and `sheet` of its frames; then all clips side by side as one video, which
    starts paused, and in a live notebook a slider over its frames. `flickers=True` warns above the video. Returns
    nothing. ValueError for clips of other shapes. Example: `reel({"true": clips[0], "fake": clips[1]}, alt="...")`.
    """
    alt = page.described(alt)
    shapes = {tuple(clip.shape) for clip in clips.values()}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 4 or shape[0] != 3 or 0 in shape:
        raise ValueError(f"clips have shapes {sorted(shapes)}: expected one (3, F, H, W) for all, and a clip at least")
    frames = shape[1]
    chosen = np.unique(np.linspace(0, frames - 1, min(sheet, frames)).round().astype(int))
    stills = [clip[:, i] for clip in clips.values() for i in chosen]
    titles = [f"frame {i + 1}" for i in chosen]
    names = [textwrap.fill(name, 16) for name in clips] if len(clips) > 1 else []
    page.emit_png(
        page.png(plots.image_grid(_stack(stills), len(chosen), titles=titles, rows=names)), f"Contact sheet: {alt}"
    )
    film = np.stack([side_by_side(clips, i) for i in range(frames)])
    animate.video(film, alt=alt, fps=fps, flickers=flickers)
    if page.live() and frames > 1:
        widgets.player(
            film, [f"Frame {i + 1} of {frames}" for i in range(frames)], "frame", round(1000 / fps), repeat=True
        )


def side_by_side(clips: Mapping[str, Tensor], i: int) -> np.ndarray:
    """Frame i of all clips, each under its label: uint8 (H, W, 3)."""
    frames = _stack([clip[:, i] for clip in clips.values()])
    scale = max(2, min(6, 640 // (len(frames) * frames.shape[-1])))
    pictures = plots.tile(frames, len(frames), scale, GAP)
    if len(clips) == 1:
        return pictures
    head = Image.new("RGB", (pictures.shape[1], HEAD), "white")
    pen, font, wide = ImageDraw.Draw(head), ImageFont.load_default(13), frames.shape[-1] * scale
    for n, name in enumerate(clips):
        while pen.textlength(name, font) > wide and len(name) > 1:
            name = name.removesuffix("…")[:-1] + "…"
        pen.text((n * (wide + GAP) + wide / 2, HEAD / 2), name, "black", font, anchor="mm")
    return np.concatenate([np.asarray(head), pictures])


def _stack(images: list[Tensor]) -> np.ndarray:
    return np.stack([plots.array(image) for image in images])
