"""The door through which every picture reaches the page, and where it is asked for its description.

Pictures are rendered at twice the size they are shown at, so they are sharp on today's screens, and saved
with at most 256 colours, so they are small.

The notebook format keeps alt text in an output's metadata, but JupyterLab 4 and nbconvert's default template
never read it there. So a live notebook gets an HTML form with `<img alt=...>` as well, and
`minidiff.course.build` writes the alt text into its HTML. Committed pages carry the PNG once, with its
metadata: GitHub shows it, and files stay small.
"""

import base64
import html
import io
import os
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI, SHOWN = 200, 100  # pixels of a PNG, and of the page, for each inch of a figure


def described(alt: str) -> str:
    """`alt` on one line, if it describes a picture.

    TypeError where it is no text, ValueError under 20 characters.
    Example: `described("Two humps melt into one.")`.
    """
    if not isinstance(alt, str):
        raise TypeError(f"alt is {alt!r}: say in a sentence what the picture shows, for those who cannot see it")
    alt = " ".join(alt.split())
    if len(alt) < 20:
        raise ValueError(f"alt is {alt!r}: say what the picture shows in 20 characters or more, values included")
    return alt


def png(fig: Figure) -> bytes:
    """The figure as a PNG at `DPI`, closing the figure. Example: `len(png(figure()[0]))`."""
    return small_png(frame(fig))


def frame(fig: Figure, dpi: int = DPI) -> np.ndarray:
    """The figure as uint8 pixels (H, W, 3), closing the figure. TypeError where it is no figure."""
    if not isinstance(fig, Figure):
        raise TypeError(f"{fig!r} is no matplotlib figure: begin with fig, ax = figure() and hand over fig")
    fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # savefig would lay the figure out twice
    plt.close(fig)
    return np.array(canvas.buffer_rgba())[..., :3]


def small_png(pixels: np.ndarray) -> bytes:
    """uint8 pixels (H, W, 3) as a PNG of 256 colours, not dithered (which would not compress).

    They are chosen by median cut, which gives many to what is common: a few red dots on shades of grey would lose
    theirs. Where it errs much in the worst thousandth of the pixels, an octree chooses, which keeps what is rare.
    """
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    small = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(small.convert("RGB")).astype(int) - pixels).max(-1)
    if np.quantile(error, 0.999) >= 40:
        small = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def shown_width(picture: bytes) -> int:
    """The width in pixels that a PNG made at `DPI` takes on the page."""
    return Image.open(io.BytesIO(picture)).width * SHOWN // DPI


def img_tag(picture: bytes, alt: str, source: str = "") -> str:
    """An HTML `<img>` with its alt text, never wider than the page: it holds the PNG, or names its file as `source`."""
    source = source or f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    size = f'width="{shown_width(picture)}" style="max-width:100%"'
    return f'<img alt="{html.escape(alt)}" {size} src="{source}">'


def shell() -> Any:
    """The IPython shell that runs this code, or None."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def live() -> bool:
    """Whether somebody sits at this notebook: a kernel runs it, not to build pages (`MINIDIFF_STATIC`)."""
    return hasattr(shell(), "kernel") and os.environ.get("MINIDIFF_STATIC") != "1"


def emit(data: dict[str, Any], metadata: dict[str, Any] | None = None, display_id: str | None = None) -> None:
    """Put one output on the page, in several forms (mime type -> content). Does nothing outside IPython.

    With `display_id`, IPython's `update_display` can change it later.
    """
    if shell() is not None:
        from IPython.display import display

        display(data, raw=True, metadata=metadata, display_id=display_id)


def png_bundle(picture: bytes, alt: str) -> dict[str, str]:
    """The forms of a picture: a PNG, its alt text, and in a live notebook an HTML `<img>` that joins them."""
    bundle = {"image/png": base64.b64encode(picture).decode(), "text/plain": alt}
    return bundle | ({"text/html": img_tag(picture, alt)} if live() else {})


def emit_png(picture: bytes, alt: str) -> None:
    """Put a PNG with its alt text on the page."""
    emit(png_bundle(picture, alt), {"image/png": {"alt": alt, "width": shown_width(picture)}})


def show(fig: Figure, *, alt: str) -> None:
    """Put a figure on the page with its description, and close it. `alt` says what is seen, with values.

    TypeError or ValueError where `alt` is missing or too short. Outside a notebook the figure is only closed.
    Returns nothing, so that a notebook does not print the figure twice.
    Example: `show(fig, alt="Two humps at -1 and 1 melt into one bell as t goes from 0 to 1.")`.
    """
    alt = described(alt)
    emit_png(png(fig), alt)
