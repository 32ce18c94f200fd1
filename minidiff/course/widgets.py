"""Picture first, widget after: what a still cannot answer, the learner drags.

Without a live kernel (GitHub, a built page) a widget is its still picture. In a live notebook the same cell gives
that picture and, in its place while the kernel lives, a panel: controls that work by mouse and by keyboard (Tab to
a control, then the arrow keys). On the next day the panel is gone and the still picture is there again.
The front end holds back new values until the kernel is idle, so a slow drawing skips values instead of
queueing them, and each picture is kept, so dragging back costs nothing.
"""

import html
import secrets
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
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
    invitation = f"move {' and '.join(f'`{spaced(name)}`' for name in controls)}"
    if page.live():
        specs = [described(name, control) for name, control in controls.items()]

        def picture(*now: Any) -> tuple[bytes, str]:
            return drawn(*now)[1:]

        emit_panel(specs, picture, still, words, page.shown_width(moving), invitation, moving=moving)
    else:
        page.emit_png(still, words)
        invite(invitation)


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

    Live notebooks only. `interval` is in milliseconds a frame; `repeat` goes on from the first frame after the last.
    """

    @lru_cache(maxsize=512)
    def picture(i: int) -> tuple[bytes, str]:
        return page.small_png(clip[i]), words[i]

    spec = described(name, (0, len(clip) - 1, 1, 0)) | {"interval": interval, "repeat": repeat}
    emit_panel([spec], picture, b"", "", animate.clip_width(clip), "")


def invite(doing: str) -> None:
    """Say under a still picture what a live notebook would offer."""
    text = f"Run this cell in Jupyter to {doing}."
    page.emit({"text/markdown": f"*{text}*", "text/plain": text})


def spaced(name: str) -> str:
    """A control's name as people read it; short ones are symbols. Example: `spaced("noise_level") == "noise level"`."""
    return name if len(name) < 4 else name.replace("_", " ")


def described(name: str, control: Control) -> dict[str, Any]:
    """A `Control` in the words that panel.js reads. Example: `described("t", (0, 1, 0.5, 0))["kind"] == "slider"`."""
    about = {"name": name, "label": spaced(name)}
    if isinstance(control, str):  # redrawn when the learner presses Enter or leaves the field, not at every letter
        return about | {"kind": "text", "start": control}
    if isinstance(control, list):
        return about | {"kind": "menu", "options": [str(option) for option in control], "of": control, "start": 0}
    low, high, step, first = control
    kind = int if all(isinstance(x, int) for x in control) else float  # a browser's 1.0 arrives as 1
    digits = max(0, *(-int(Decimal(str(x)).normalize().as_tuple().exponent) for x in (low, step)))
    about |= {"kind": "slider", "min": low, "max": high, "step": step, "digits": digits}
    return about | {"start": first, "type": kind}


@cache
def panel_class() -> type:
    """The widget behind every control, made by the first that asks: only a live notebook imports what it needs."""
    import anywidget
    import traitlets

    class Panel(anywidget.AnyWidget):
        """Controls, and a picture with its description. `values` holds what they say: a number, a text, an index."""

        _esm = Path(__file__).with_name("panel.js").read_text(encoding="utf-8")
        _css = Path(__file__).with_name("panel.css").read_text(encoding="utf-8")
        controls = traitlets.List().tag(sync=True)
        values = traitlets.Dict().tag(sync=True)
        picture = traitlets.Bytes().tag(sync=True)
        words = traitlets.Unicode().tag(sync=True)
        width = traitlets.Int(0).tag(sync=True)
        drawn = traitlets.Int(0).tag(sync=True)  # how many pictures were asked for and came
        still = traitlets.Unicode().tag(sync=True)

    return Panel


def panel(specs: list[dict[str, Any]], changed: Callable[[Any], None], **traits: Any) -> Any:
    """A panel of controls that calls `changed(panel)` whenever one of them moves; not yet on the page."""
    shown = [{key: value for key, value in spec.items() if key not in ("of", "start", "type")} for spec in specs]
    made = panel_class()(controls=shown, values={spec["name"]: spec["start"] for spec in specs}, **traits)
    made.observe(lambda _: changed(made), names="values")
    return made


def emit_panel(
    specs: list[dict[str, Any]],
    picture: Callable[..., tuple[bytes, str]],
    still: bytes,
    words: str,
    width: int,
    invitation: str,
    moving: bytes | None = None,
) -> None:
    """Put the still picture on the page, and a panel over a picture of some width, which `picture(*values)` redraws.

    The still is an output of its own, seen where the panel does not live: on the next day, and by readers that show
    no widgets. No still (b"") where the page has it already. `moving` is in the panel at first, if given.
    """

    def redraw(self: Any) -> None:
        now = [self.values[spec["name"]] for spec in specs]
        now = [spec["of"][x] if "of" in spec else spec.get("type", str)(x) for spec, x in zip(specs, now, strict=True)]
        now = [round(x, 9) if isinstance(x, float) else x for x in now]
        try:
            image, text = picture(*now)
        except Exception as error:  # raised in a callback it would vanish into a log that learners never open
            image, text = self.picture, f"draw({', '.join(map(str, now))}) failed: {type(error).__name__}: {error}"
        with self.hold_sync():
            self.picture, self.words, self.drawn = image, text, self.drawn + 1

    first, told = (moving or still, words) if still else picture(*[spec["start"] for spec in specs])
    markup = page.img_tag(still, words) + invited(invitation) if still else ""
    bundle = page.png_bundle(still, words) if still else {"text/plain": told}
    emit_with_still(panel(specs, redraw, picture=first, words=told, width=width), markup, bundle)


def emit_with_still(self: Any, markup: str, bundle: dict[str, Any]) -> Callable[[str], None]:
    """Put `markup` on the page, which a living panel hides, and the panel, which JupyterLab hides when it is dead.

    Returns a function that changes the markup: what a saved page will show.
    """
    from IPython.display import update_display

    self.still = secrets.token_hex(4)
    dead = ".jp-OutputArea-child:has([data-still]) + .jp-OutputArea-child .jupyter-widgets:not(:has(*))"
    hidden = f"<style>{dead} {{ display: none }}</style>"

    def forms(markup: str) -> dict[str, Any]:
        return bundle | {"text/html": f'<div data-still="{self.still}">{markup}</div>{hidden}'}

    page.emit(forms(markup), display_id=self.still)
    view = self._repr_mimebundle_()[0] | {"text/plain": ""}  # its words would stand where no widget is shown
    page.emit(view)
    return lambda markup: update_display(forms(markup), raw=True, display_id=self.still)


def invited(doing: str) -> str:
    """`invite` as HTML."""
    parts = html.escape(f"Run the cells up to here to {doing}.").split("`")
    return "<p><em>" + "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)) + "</em></p>"
