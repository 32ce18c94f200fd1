"""Picture first, widget after: what a still cannot answer, the learner drags.

Without a live kernel (GitHub, a built page) a widget is its still picture. In a live notebook the same cell
gives that picture and controls that work by mouse and by keyboard (Tab to a control, then the arrow keys).
The front end holds back new values until the kernel is idle, so a slow drawing skips values instead of
queueing them, and each picture is kept, so dragging back costs nothing.
"""

import html
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minidiff.course import animate, page

Control = tuple[float, float, float, float] | list | str
"""`(low, high, step, start)` for a slider, `[first, ...]` for a menu that starts at its first, or a text to edit."""


def start(name: str, control: Control) -> Any:
    """The value at which a control starts. ValueError naming the control where it has no form of `Control`.

    Example: `start("t", (0, 1, 0.05, 0.5)) == 0.5`.
    """
    if isinstance(control, str) and control:
        return control
    if isinstance(control, list) and control:
        return control[0]
    if isinstance(control, tuple) and len(control) == 4:
        low, high, step, first = control
        if low < high and step > 0 and low <= first <= high:
            return first
    raise ValueError(
        f"control {name}={control!r}: expected (low, high, step, start) with low <= start <= high and "
        "step > 0, a list of options, or a text"
    )


def play(draw: Callable[..., Figure | Tensor], *, alt: str | Callable[..., str], **controls: Control) -> None:
    """Show `draw(**values)` at the start values; in a live notebook redraw it as the learner moves controls.

    draw: gives a figure, or clips (n,3,F,H,W), which are a sheet of frames on a page and move in a live notebook.
    `alt` describes the picture, as text or as a function of the same values. A control is
    `(low, high, step, start)`, `[option, ...]` or a text to edit; underscores in its name are shown as spaces.
    Returns nothing.
    Example: `play(draw, alt="...", t=(0.0, 1.0, 0.02, 0.5), schedule=["cosine", "linear"])`.
    """
    if not controls:
        raise ValueError("play needs a control, such as t=(0.0, 1.0, 0.05, 0.5) or schedule=['cosine', 'linear']")
    values = {name: start(name, control) for name, control in controls.items()}

    @lru_cache(maxsize=512)
    def drawn(*now: Any) -> tuple[bytes, bytes, str]:
        named = dict(zip(controls, now, strict=True))
        words = page.described(alt(**named) if callable(alt) else alt)
        what = draw(**named)
        if isinstance(what, Figure):
            return (picture := page.png(what)), picture, words
        return page.png(animate.sheet(what)), animate.loop(what), words

    still, moving, words = drawn(*values.values())
    if page.live():
        inputs = [slider(name, control) for name, control in controls.items()]
        emit_widget(inputs, lambda *now: drawn(*now)[1:], still, words, page.shown_width(moving), moving=moving)
    else:
        page.emit_png(still, words)
        invite(f"move {' and '.join(f'`{spaced(name)}`' for name in controls)}")


def slideshow(frames: Any, labels: Sequence[str], *, alt: str, stills: int = 6) -> None:
    """Show `stills` of the frames, uint8 (T, H, W, 3); in a live notebook a slider and play button over all.

    `labels` names each frame; `alt` describes the sequence. It does not start by itself. Returns nothing.
    Example: `slideshow(frames, [f"t = {t:.2f}" for t in grid], alt="Twenty steps from noise to two moons.")`.
    """
    alt, clip = page.described(alt), animate.checked(frames)
    page.emit_png(page.png(animate.filmstrip(clip, labels, stills)), alt)
    if not page.live():
        return invite(f"step through all {len(clip)} pictures")
    player(clip, [f"Picture {i + 1} of {len(clip)}: {label}" for i, label in enumerate(labels)], "step")


def player(clip: np.ndarray, words: Sequence[str], name: str, interval: int = 250, repeat: bool = False) -> None:
    """A slider called `name` and a play button over frames, uint8 (T, H, W, 3), described by `words`; it waits.

    Live notebooks only. `interval` is in milliseconds a frame; `repeat` offers to start over.
    """
    import ipywidgets

    @lru_cache(maxsize=512)
    def picture(i: int) -> tuple[bytes, str]:
        return page.small_png(clip[i]), words[i]

    step = slider(name, (0, len(clip) - 1, 1, 0))
    button = ipywidgets.Play(min=0, max=len(clip) - 1, interval=interval, show_repeat=repeat)
    ipywidgets.jslink((button, "value"), (step, "value"))
    emit_widget([step], picture, *picture(0), animate.clip_width(clip), beside=[button])


def invite(doing: str) -> None:
    """Say under a still picture what a live notebook would offer."""
    text = f"Run this cell in Jupyter to {doing}."
    page.emit({"text/markdown": f"*{text}*", "text/plain": text})


def spaced(name: str) -> str:
    """A control's name as people read it; short ones are symbols. Example: `spaced("noise_level") == "noise level"`."""
    return name if len(name) < 4 else name.replace("_", " ")


def slider(name: str, control: Control) -> Any:
    """The ipywidgets control of a `Control`, with its visible label."""
    import ipywidgets

    look = {"description": spaced(name), "style": {"description_width": "initial"}}
    if isinstance(control, str):  # redrawn when the learner presses Enter or leaves the field, not at every letter
        return ipywidgets.Text(value=control, continuous_update=False, layout={"width": "100%"}, **look)
    if isinstance(control, list):
        return ipywidgets.Dropdown(options=control, value=control[0], **look)
    low, high, step, first = control
    if all(isinstance(x, int) for x in control):
        return ipywidgets.IntSlider(first, low, high, step, **look)
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return ipywidgets.FloatSlider(first, min=low, max=high, step=step, readout_format=f".{digits}f", **look)


def emit_widget(
    inputs: list,
    picture: Callable[..., tuple[bytes, str]],
    still: bytes,
    words: str,
    width: int,
    beside: Sequence = (),
    moving: bytes | None = None,
) -> None:
    """Put one output on the page: controls over a picture of some width, which `picture(*values)` redraws.

    The same output holds the still picture for readers that show no widgets; `moving` is there at first, if given.
    """
    import ipywidgets

    image = ipywidgets.Image(value=moving or still, format="png", width=width)
    image.layout.max_width = "100%"
    caption = ipywidgets.HTML()

    def say(text: str) -> None:
        # A live region: screen readers speak the new description, and everyone sees an error of draw().
        caption.value = f'<div role="status" style="color:#5B5E68;line-height:1.35">{html.escape(text)}</div>'

    def redraw(_: Any = None) -> None:
        now = [round(x.value, 9) if isinstance(x.value, float) else x.value for x in inputs]
        try:
            image.value, text = picture(*now)
        except Exception as error:  # raised in a callback it would vanish into a log that learners never open
            text = f"draw({', '.join(map(str, now))}) failed: {type(error).__name__}: {error}"
        say(text)

    say(words)
    for control in inputs:
        control.observe(redraw, names="value")
    box = ipywidgets.VBox([ipywidgets.HBox([*beside, *inputs], layout={"flex_flow": "row wrap"}), image, caption])
    bundle = (box._repr_mimebundle_() or {}) | page.png_bundle(still, words)
    page.emit(bundle, {"image/png": {"alt": words, "width": width}})
