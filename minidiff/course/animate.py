"""Moving pictures: a filmstrip that everyone sees, then a clip that starts paused.

A clip is H.264 in mp4 (PyAV), held in the page. Some readers strip video (GitHub), and a still tells most of the
story, so a filmstrip of a few frames comes first, an ordinary picture with the same description.
"""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from minidiff.course import page, plots
from minidiff.data.clips import encode

FILM, CONTROLS = 560, 72  # a small clip is enlarged up to this width; pixels below a clip for the browser's controls


def figure_frame(fig: Figure) -> np.ndarray:
    """A figure as a frame of a clip: uint8 (H, W, 3), closing the figure.

    Example: `animation([figure_frame(draw(t)) for t in grid], alt="...")`.
    """
    return page.frame(fig, dpi=page.SHOWN * 3 // 2)


def checked(frames: Any) -> np.ndarray:
    """Frames as one uint8 array (T, H, W, 3); ValueError where they are not, or where there are none."""
    shapes = {np.shape(frame) for frame in frames}
    clip = np.asarray(frames) if len(shapes) == 1 else np.empty(0)
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
        raise ValueError(
            f"frames have shapes {sorted(shapes)}: expected uint8 (T, H, W, 3) of one size, "
            "from figure_frame(fig) or plots.tile(images, columns, scale)"
        )
    return clip


def clip_width(clip: np.ndarray) -> int:
    """The width in pixels that frames (T, H, W, 3) take on the page: their own, or the page's."""
    return min(clip.shape[2], int(plots.WIDTH * page.SHOWN))


def mp4(frames: Any, fps: float = 12) -> bytes:
    """Frames (T, H, W, 3), uint8, as an H.264 mp4; an odd side is padded by one pixel (yuv420p halves both).

    The same frames give the same bytes. Example: `len(mp4(np.zeros((12, 64, 64, 3), np.uint8)))`.
    """
    return encode(checked(frames), ".mp4", round(fps), crf=28)


def filmstrip(frames: Any, labels: Sequence[str], count: int = 6) -> Figure:
    """`count` frames of uint8 (T, H, W, 3), evenly spread from first to last, each under its label."""
    clip = checked(frames)
    if len(labels) != len(clip):
        raise ValueError(f"{len(labels)} labels for {len(clip)} frames: expected one for each")
    chosen = np.unique(np.linspace(0, len(clip) - 1, min(count, len(clip))).round().astype(int))
    aspect = clip.shape[2] / clip.shape[1]
    columns = min(6 if aspect < 1.3 else 3, len(chosen))  # a wide frame is unreadable at a sixth of the page
    rows, wide = -(-len(chosen) // columns), min(plots.WIDTH / columns, 3.5)
    height = rows * (wide / aspect + 0.25)
    fig, axs = plt.subplots(rows, columns, figsize=(wide * columns, height), squeeze=False)
    for ax in axs.flat:
        ax.axis("off")
    for ax, i in zip(axs.flat, chosen, strict=False):
        ax.imshow(clip[i], interpolation="antialiased")
        ax.set_title(labels[i], fontsize=8.5, pad=3)
    return fig


def animation(
    frames: Any,
    *,
    alt: str,
    fps: float = 12,
    labels: Sequence[str] = (),
    poster: int = 0,
    flickers: bool = False,
) -> None:
    """Put a clip on the page: a filmstrip of six frames, then the clip, paused, on its `poster` frame (the first).

    `frames` is uint8 (T, H, W, 3), `labels` names each frame (default: seconds), `alt` says what happens.
    `flickers=True` says so above the clip. Returns nothing. Noise is what costs bytes: give grids of images
    at `scale=2` (100 kB or so), not larger.
    Example: `animation([tile(x, 8, scale=2) for x in xs], alt="Noise clears into 32 pieces of clothing.")`.
    """
    alt, clip = page.described(alt), checked(frames)
    labels = labels or [f"{i / fps:.1f} s" for i in range(len(clip))]
    page.emit_png(page.png(filmstrip(clip, labels)), f"Filmstrip: {alt}")
    video(clip, alt=alt, fps=fps, poster=poster, flickers=flickers)


def sheet(clips: Any, count: int = 6) -> Figure:
    """Clips (n,3,F,H,W) in [-1, 1], a row each, and `count` of their frames, evenly spread from first to last."""
    x = plots.array(clips)
    if x.ndim != 5:
        raise ValueError(f"clips have shape {x.shape}: expected (n, 3, F, H, W); one clip is clip[None]")
    chosen = np.unique(np.linspace(0, x.shape[2] - 1, min(count, x.shape[2])).round().astype(int))
    stills = x[:, :, chosen].swapaxes(1, 2).reshape(-1, x.shape[1], *x.shape[3:])
    return plots.image_grid(stills, len(chosen), titles=[f"frame {i + 1}" for i in chosen], scale=2)


def loop(clips: Any, fps: float = 6, times: int = 2) -> bytes:
    """Clips (n,3,F,H,W) in [-1, 1] side by side as an animated PNG that plays `times` times and stops.

    What moves longer than five seconds would need a button to stop it. Example: `loop(torch.zeros(2, 3, 12, 32, 32))`.
    """
    x, fine = plots.array(clips), page.DPI // page.SHOWN
    scale = max(1, min(4, int(plots.WIDTH * page.SHOWN) // (len(x) * (x.shape[-1] + 2)))) * fine
    frames = [Image.fromarray(plots.tile(x[:, :, i], len(x), scale, 4 * fine)) for i in range(x.shape[2])]
    buffer, pause = io.BytesIO(), round(1000 / fps)
    frames[0].save(buffer, "png", save_all=True, append_images=frames[1:], duration=pause, loop=times)
    return buffer.getvalue()


def video(frames: Any, *, alt: str, fps: float = 12, poster: int = 0, flickers: bool = False) -> None:
    """The clip alone, paused, without a filmstrip. Arguments as in `animation`."""
    alt, clip = page.described(alt), checked(frames)
    still = io.BytesIO()
    Image.fromarray(clip[poster]).save(still, "jpeg", quality=80, optimize=True)
    video, still = (base64.b64encode(x).decode() for x in (mp4(clip, fps), still.getvalue()))
    words, (high, wide) = html.escape(alt), clip.shape[1:3]
    shown = clip_width(clip) * max(1, FILM // wide)  # in whole pixels: small clips stay crisp
    # In a notebook that is not trusted, JupyterLab drops aria-label and keeps title: it names the clip too.
    markup = (
        f'<video controls muted loop playsinline preload="metadata" width="{shown}" '
        f'style="max-width:100%;aspect-ratio:{shown}/{round(high * shown / wide) + CONTROLS};object-fit:contain;'
        f'object-position:top{";image-rendering:pixelated" * (shown > wide)}" aria-label="{words}" title="{words}" '
        f'poster="data:image/jpeg;base64,{still}" '
        f'src="data:video/mp4;base64,{video}">{words}</video>'
    )
    warning = "<p><strong>Warning:</strong> this clip flickers. It starts only when you press play.</p>"
    page.emit({"text/html": warning * flickers + markup, "text/plain": f"[clip, {len(clip)} frames] {alt}"})
