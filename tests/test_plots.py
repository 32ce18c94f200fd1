"""Pictures, clips and widgets: described, crisp, small, and told apart by everyone."""

import base64
import io
import itertools
from types import SimpleNamespace
from typing import Any

import av
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from matplotlib.colors import to_rgb
from PIL import Image

from minidiff.bars import tqdm
from minidiff.course import animate, page, plots, reel, widgets
from minidiff.course.heat import heat

ALT = 'Two "humps" at -1 & 1 melt into one bell.'


@pytest.fixture
def outputs(monkeypatch):
    """What reaches the page, as (data, metadata); the page is static unless `outputs.live()` was called."""
    found = type("Outputs", (list,), {"live": lambda _: monkeypatch.delenv("MINIDIFF_STATIC")})()
    monkeypatch.setenv("MINIDIFF_STATIC", "1")
    monkeypatch.setattr(page, "shell", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw, metadata, display_id: found.append((data, metadata))
    )
    yield found
    assert not plt.get_fignums(), "a figure was left open: the notebook would print it a second time"


def bytes_of(data: dict) -> bytes:
    return base64.b64decode(data["image/png"])


def pixels_of(data: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(bytes_of(data))).convert("RGB"))


def curve(height: float = 2.0):
    fig, ax = plots.figure(height=height)
    plots.filled(ax, np.linspace(-3, 3, 50), np.exp(-(np.linspace(-3, 3, 50) ** 2)), "exact", "peak")
    return fig


# ---- the page --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alt, error", [(None, TypeError), (7, TypeError), ("", ValueError), ("  a   b ", ValueError)])
def test_a_picture_without_description_is_refused(alt, error, outputs):
    with pytest.raises(error, match="alt is .*say"):
        page.show(curve(), alt=alt)
    plt.close("all")
    with pytest.raises(TypeError, match="alt"):
        page.show(curve())  # type: ignore[call-arg]
    plt.close("all")
    assert outputs == []


def test_show_puts_one_picture_with_alt_text_on_the_page(outputs):
    assert page.show(curve(), alt=ALT) is None
    [(data, metadata)] = outputs
    assert set(data) == {"image/png", "text/plain"} and data["text/plain"] == ALT
    assert metadata["image/png"] == {"alt": ALT, "width": 700}
    assert pixels_of(data).shape == (400, 1400, 3)


def test_a_live_notebook_gets_the_alt_text_that_jupyterlab_reads(outputs):
    outputs.live()
    page.show(curve(), alt=ALT)
    assert 'alt="Two &quot;humps&quot; at -1 &amp; 1 melt into one bell."' in outputs[0][0]["text/html"]


def test_outside_a_notebook_nothing_is_printed(capsys):
    page.show(curve(), alt=ALT)
    assert capsys.readouterr() == ("", "") and not plt.get_fignums()


def test_show_names_what_is_no_figure():
    with pytest.raises(TypeError, match="is no matplotlib figure"):
        page.show(np.zeros(3), alt=ALT)  # type: ignore[arg-type]


def test_pictures_are_small():
    points = np.random.default_rng(0).normal(size=(2000, 2))
    busy = plots.panels([("one", points)] * 4)
    noise = plots.image_grid(torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(0)), 8)
    pictures = [page.png(fig) for fig in (curve(), busy, noise)]
    assert max(map(len, pictures)) < 80_000 and {Image.open(io.BytesIO(x)).mode for x in pictures} == {"P"}


# ---- the palette -----------------------------------------------------------------------------------------------

SIGHT = {  # Machado, Oliveira and Fernandes (2009), severity 1.0, on linear sRGB
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def linear(rgb) -> np.ndarray:
    rgb = np.array(rgb)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.array(XYZ) @ light.clip(1e-3, 1) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(rgb) -> float:
    return float(1.05 / (linear(rgb) @ XYZ[1] + 0.05))


def nearest(colours: dict[str, str]) -> float:
    """The smallest CIELAB distance of two colours over four kinds of sight."""
    return min(
        float(np.linalg.norm(lab(np.array(m) @ linear(to_rgb(a))) - lab(np.array(m) @ linear(to_rgb(b)))))
        for m in SIGHT.values()
        for a, b in itertools.combinations(colours.values(), 2)
    )


def test_colours_stay_apart_for_every_kind_of_sight():
    assert nearest(plots.COLOURS) > 30
    # The measure can fail: on a second orange, and on a well-known palette (Okabe and Ito's, with two greys).
    assert nearest(plots.COLOURS | {"baseline": "#C77F00"}) < 20
    assert nearest({c: c for c in ("#0072B2", "#8C8C8C", "#D55E00", "#1A1A1A", "#CC79A7", "#009E73")}) < 20


@pytest.mark.parametrize("kind", plots.COLOURS)
def test_colours_have_contrast_as_shapes_and_as_text(kind):
    assert contrast(to_rgb(plots.COLOURS[kind])) > 3 and contrast(plots.ink(kind)) > 4.5


def test_a_noise_level_has_a_colour_between_data_and_noise():
    assert np.allclose([plots.colour(0.0), plots.colour(1.0)], [plots.colour("data"), plots.colour("noise")])
    with pytest.raises(ValueError, match="no colour for 'dta': expected one of data, noise"):
        plots.colour("dta")


# ---- images ----------------------------------------------------------------------------------------------------


def test_tile_places_every_pixel():
    x = torch.linspace(-1, 1, 3 * 1 * 4 * 5).reshape(3, 1, 4, 5)
    page_ = plots.tile(x, columns=2, scale=3, gap=2)
    assert page_.shape == (4 * 3 * 2 + 2, 5 * 3 * 2 + 2, 3) and page_.dtype == np.uint8
    for n, i, j in itertools.product(range(3), range(4), range(5)):
        top, left = n // 2 * 14 + 3 * i, n % 2 * 17 + 3 * j
        block = page_[top : top + 3, left : left + 3]
        assert (block == round((float(x[n, 0, i, j]) + 1) * 127.5)).all()
    assert (page_[12:14] == 255).all() and (page_[14:, 17:] == 255).all()


def test_tile_keeps_colour_and_clips():
    x = np.zeros((1, 3, 1, 1))
    x[0, :, 0, 0] = -3, 0, 3
    assert plots.tile(x, 1).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (2, 2, 8, 8), (0, 1, 8, 8)])
def test_tile_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        plots.tile(np.zeros(shape), 2)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="2 of 4 values are not finite"):
        plots.tile(np.array([np.nan, np.inf, 0, 1]).reshape(1, 1, 2, 2), 1)


def test_image_grid_is_crisp_beside_its_labels():
    x = torch.rand(6, 1, 7, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fig = plots.image_grid(x, 3, titles=["a", "b", "c"], rows=["first", "second"], scale=4)
    tiles = plots.tile(x, 3, scale=8, gap=8)
    drawn = page.frame(fig)
    h, w, _ = tiles.shape
    assert (drawn[-h:, -w:] == tiles).all()
    assert (drawn[:-h, -w:] < 128).any() and (drawn[-h:, :-w] < 128).any()  # titles above, rows beside
    with pytest.raises(ValueError, match="2 titles and 0 rows for 3 columns, 2 rows"):
        plots.image_grid(x, 3, titles=["a", "b"])


def test_save_grid_writes_what_tile_makes(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (5, 3, 8, 8))
    path = plots.save_grid(x, tmp_path / "new" / "grid.png", columns=3, scale=2)
    assert (np.asarray(Image.open(path)) == plots.tile(x, 3, 2, gap=4)).all()


# ---- points and lines ------------------------------------------------------------------------------------------


def test_panels_share_limits_and_count_what_lies_outside():
    cloud = np.array([[0.0, 0], [1, 1], [5, 0], [0, -5]])
    fig = plots.panels([("near", cloud / 5), ("far", cloud), ("near", cloud / 5)], limit=2, columns=2)
    assert len(fig.axes) == 3 and {ax.get_xlim() + ax.get_ylim() for ax in fig.axes} == {(-2, 2, -2, 2)}
    assert [[text.get_text() for text in ax.texts] for ax in fig.axes] == [[], ["2 of 4 outside"], []]
    assert [np.shape(ax.collections[0].get_offsets())[0] for ax in fig.axes] == [4, 2, 4]
    plt.close("all")
    assert plots.panels([("all", cloud)]).axes[0].get_xlim()[1] > 5
    plt.close("all")
    with pytest.raises(ValueError, match=r"points have shape \(4, 3\)"):
        plots.panels([("flat", np.zeros((4, 3)))], limit=1)
    plt.close("all")


def test_lines_carry_their_names_apart_and_differ_without_colour():
    fig, ax = plots.figure()
    ax.set_ylim(0, 1)
    ends = {"a": 0.5, "b": 0.51, "c": 0.49, "model": 0.1}
    plots.lines(ax, [1, 2, 3], {name: (np.full(3, y), np.full(3, 0.05)) for name, y in ends.items()})
    fig.canvas.draw()
    labels = {text.get_text(): text for text in ax.texts}
    assert list(labels) == ["model", "c", "a", "b"]  # from the bottom up, as the lines end
    boxes = [labels[name].get_window_extent() for name in labels]
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    assert abs(labels["model"].xyann[1]) < 1e-6, "a label with room stays beside its line"
    looks = {(bar[0].get_marker(), bar[0].get_linestyle()) for bar in ax.containers}
    assert len(looks) == 4 and to_rgb(ax.containers[3][0].get_color()) == to_rgb(plots.COLOURS["model"])
    plt.close(fig)


# ---- clips -----------------------------------------------------------------------------------------------------


def ramp(count: int = 14, height: int = 33, width: int = 51) -> np.ndarray:
    """Frames that brighten from black to white, with odd sides."""
    grey = np.linspace(0, 255, count).round().astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def decoded(video: bytes) -> tuple[list[np.ndarray], tuple]:
    """The frames of a clip, and its codec, pixel format and rate."""
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        about = stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], about


def test_mp4_plays_every_frame_in_order_at_an_even_size():
    video = animate.mp4(ramp(), fps=7)
    assert video == animate.mp4(ramp(), fps=7)
    frames, stream = decoded(video)
    assert stream == ("h264", "yuv420p", 7)
    assert len(frames) == 14 and {frame.shape for frame in frames} == {(34, 52, 3)}
    assert np.abs(np.array([f.mean() for f in frames]) - ramp().mean(axis=(1, 2, 3))).max() < 6


@pytest.mark.parametrize("frames", [[], ramp() / 255, ramp()[..., 0], [ramp()[0], ramp(1, 8, 8)[0]]])
def test_clips_of_other_things_are_refused(frames):
    with pytest.raises(ValueError, match=r"expected uint8 \(T, H, W, 3\)"):
        animate.mp4(frames)


def test_animation_is_a_filmstrip_then_a_paused_clip(outputs):
    assert animate.animation(ramp(14, 40, 40), alt=ALT, flickers=True) is None
    (strip, metadata), (clip, _) = outputs
    assert metadata["image/png"]["alt"] == f"Filmstrip: {ALT}"
    brightness = pixels_of(strip)[60:200].mean(axis=(0, 2))
    assert brightness[100] < 20 and brightness[-100] > 240 and len(base64.b64decode(strip["image/png"])) < 80_000
    tag = clip["text/html"]
    assert tag.index("this clip flickers") < tag.index("<video controls muted loop") and "autoplay" not in tag
    assert f'aria-label="{page.html.escape(ALT)}"' in tag and f">{page.html.escape(ALT)}</video>" in tag
    video = base64.b64decode(tag.split("data:video/mp4;base64,")[1].split('"')[0])
    assert len(decoded(video)[0]) == 14
    poster = Image.open(io.BytesIO(base64.b64decode(tag.split("data:image/jpeg;base64,")[1].split('"')[0])))
    assert np.asarray(poster).max() < 5, "the poster is the first frame: play begins where it stands"
    # small clips are enlarged, and the browser's controls have room of their own
    assert 'width="560" style="max-width:100%;aspect-ratio:560/632;' in tag and "image-rendering:pixelated" in tag
    outputs.clear()
    animate.animation(ramp(), alt=ALT)
    assert "flickers" not in outputs[1][0]["text/html"]
    with pytest.raises(TypeError, match="alt"):
        animate.animation(ramp())  # type: ignore[call-arg]


def test_names_of_equal_curves_do_not_stand_on_one_another():
    fig, ax = plots.figure(height=1.5)
    x = np.linspace(-1, 1, 50)
    for i, kind in enumerate(("data", "exact", "model")):
        plots.filled(ax, x, np.exp(-8 * x**2) * (1 - 0.02 * i), kind, kind)
    plots.filled(ax, x, 0.4 * np.exp(-8 * x**2), "noise", "low")
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    plt.close(fig)


def test_bars_are_text_on_stdout_in_a_notebook_and_absent_on_a_page(monkeypatch, capsys):
    def run() -> tuple[str, str]:
        for _ in tqdm(range(3), desc="three"):
            pass
        return capsys.readouterr()

    out, err = run()
    assert out == "" and "three: 100%" in err
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=True))
    out, err = run()
    assert "three: 100%" in out and err == ""
    monkeypatch.setenv("MINIDIFF_STATIC", "1")
    assert run() == ("", "")


# ---- widgets ---------------------------------------------------------------------------------------------------


def draw(t: float, schedule: str):
    fig, ax = plots.figure(height=1.0)
    ax.axvspan(0, t, color="black")
    ax.set(xlim=(0, 1), title=schedule)
    return fig


CONTROLS = {"t": (0.0, 1.0, 0.25, 0.5), "schedule": ["cosine", "linear"]}


def test_without_a_live_kernel_play_is_one_picture_and_one_line(outputs):
    assert widgets.play(draw, alt=lambda t, schedule: f"{t:.0%} of the bar is black ({schedule}).", **CONTROLS) is None
    (picture, metadata), (line, _) = outputs
    assert metadata["image/png"]["alt"] == "50% of the bar is black (cosine)."
    assert pixels_of(picture).shape == (200, 1400, 3)
    assert line["text/plain"] == "Run this cell in Jupyter to move `t` and `schedule`." and "image/png" not in line


def test_clips_are_a_sheet_on_a_page_and_move_in_a_live_notebook(outputs):
    def clips(shade):
        return torch.linspace(-1, shade, 12)[None, None, :, None, None].expand(3, 3, 12, 8, 8)

    widgets.play(clips, alt="Three clips that grow lighter.", shade=(0.0, 1.0, 0.5, 1.0))
    (sheet, _), (line, _) = outputs
    assert line["text/plain"] == "Run this cell in Jupyter to move `shade`."
    fig = animate.sheet(clips(1.0))
    assert [text.get_text() for text in fig.axes[0].texts] == [f"frame {i}" for i in (1, 3, 5, 8, 10, 12)]
    assert page.png(fig) == bytes_of(sheet) and Image.open(io.BytesIO(bytes_of(sheet))).n_frames == 1
    outputs.live()
    widgets.play(clips, alt="Three clips that grow lighter.", shade=(0.0, 1.0, 0.5, 1.0))
    panel = panel_of(outputs)
    film = Image.open(io.BytesIO(panel.picture))
    assert film.n_frames == 12 and film.info["loop"] == 2
    film.seek(11)
    assert film.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert bytes_of(outputs[2][0]) == bytes_of(sheet)  # what a page without widgets shows
    move(panel, shade=0.0)
    film = Image.open(io.BytesIO(panel.picture))
    film.seek(11)
    assert film.n_frames == 12 and film.convert("RGB").getpixel((0, 0)) == (128, 128, 128)
    with pytest.raises(ValueError, match=r"shape \(3, 12, 8, 8\): expected \(n, 3, F, H, W\)"):
        widgets.play(lambda shade: clips(shade)[0], alt="One clip, not a batch of them.", shade=(0.0, 1.0, 0.5, 1.0))


@pytest.mark.parametrize(
    "control",
    [(0, 1), (0, 1, 0.1, 2), (1, 0, 0.1, 0.5), (0, 1, 0, 0), [], 3, "", (0, 1, 0.1, -1), (1, 1, 0.1, 1)],
)
def test_a_wrong_control_is_named(control, outputs):
    with pytest.raises(ValueError, match="control noise_level=.*expected \\(low, high, step, start\\)"):
        widgets.play(draw, alt=ALT, noise_level=control)
    with pytest.raises(ValueError, match="play needs a control"):
        widgets.play(draw, alt=ALT)


def panel_of(outputs: list) -> Any:
    """The last panel on the page."""
    return _instances[outputs[-1][0]["application/vnd.jupyter.widget-view+json"]["model_id"]]


def move(panel: Any, **values: Any) -> None:
    """Move controls as panel.js does."""
    assert set(values) <= set(panel.values)
    panel.values = panel.values | values


def test_a_live_play_redraws_keeps_pictures_and_tells_errors(outputs):
    outputs.live()
    calls = []

    def counted(t, schedule):
        calls.append(t)
        if t == 1:
            raise ArithmeticError("<t> is 1")
        return draw(t, schedule)

    widgets.play(counted, alt=lambda t, schedule: f"{t:.0%} of the bar is black ({schedule}).", **CONTROLS)
    (still, _), _ = outputs
    assert "50% of the bar is black (cosine)." in still["text/html"] and "image/png" in still
    panel = panel_of(outputs)
    assert f'data-still="{panel.still}"' in still[
        "text/html"
    ] and "Run the cells up to here to move <code>t</code>" in str(still)
    assert [spec["label"] for spec in panel.controls] == ["t", "schedule"] and "slow" not in panel.controls[0]
    first = panel.picture
    move(panel, t=0.25)
    assert panel.picture != first and panel.words == "25% of the bar is black (cosine)."
    move(panel, schedule=1)
    assert panel.words == "25% of the bar is black (linear)."
    move(panel, t=0.5, schedule=0)
    assert panel.picture == first and calls == [0.5, 0.25, 0.25], "a picture seen before is not drawn again"
    move(panel, t=1)  # a browser's 1.0
    assert panel.words == "draw(1.0, cosine) failed: ArithmeticError: <t> is 1" and panel.picture == first


def test_whole_numbers_make_a_slider_of_whole_numbers(outputs):
    outputs.live()
    widgets.play(lambda n_steps: draw(n_steps / 9, "x"), alt=ALT, n_steps=(1, 9, 1, 3))
    panel = panel_of(outputs)
    (spec,) = panel.controls
    assert (spec["label"], spec["digits"], spec["step"], panel.values) == ("n steps", 0, 1, {"n_steps": 3})
    assert [widgets.described("x", (0.0, 1.0, step, 0.5))["digits"] for step in (0.25, 0.1, 1.0)] == [2, 1, 0]
    assert widgets.described("x", (0.05, 1.0, 0.1, 0.5))["digits"] == 2


def test_slideshow_is_a_filmstrip_then_a_player_that_waits(outputs):
    labels = [f"frame {i}" for i in range(14)]
    widgets.slideshow(ramp(), labels, alt=ALT)
    assert [sorted(data) for data, _ in outputs] == [["image/png", "text/plain"], ["text/markdown", "text/plain"]]
    assert outputs[0][1]["image/png"]["alt"] == ALT and "all 14 pictures" in outputs[1][0]["text/plain"]
    outputs.live()
    widgets.slideshow(ramp(), labels, alt=ALT)
    panel = panel_of(outputs)
    (spec,) = panel.controls
    assert (spec["min"], spec["max"], spec["interval"], spec["repeat"]) == (0, 13, 250, False)
    assert panel.words == "Picture 1 of 14: frame 0"
    move(panel, step=13)
    assert panel.words == "Picture 14 of 14: frame 13"
    assert np.asarray(Image.open(io.BytesIO(panel.picture)).convert("RGB")).min() == 255
    with pytest.raises(ValueError, match="2 labels for 14 frames"):
        widgets.slideshow(ramp(), labels[:2], alt=ALT)
    plt.close("all")


def test_a_text_to_edit_redraws_when_it_is_done_and_says_what_is_wrong(outputs):
    def word(caption: str):
        if "cat" in caption:
            raise ValueError("unknown word 'cat'; the nearest known: at")
        return draw(len(caption) / 20, caption)

    outputs.live()
    widgets.play(word, alt=ALT, caption="a red circle")
    panel = panel_of(outputs)
    assert panel.controls[0]["kind"] == "text" and panel.values == {"caption": "a red circle"}
    first = panel.picture
    move(panel, caption="a blue square")
    assert panel.picture != first
    move(panel, caption="a cat")
    assert "unknown word 'cat'; the nearest known: at" in panel.words


def test_a_reel_is_a_contact_sheet_a_paused_video_and_one_slider_for_all(outputs):
    dark, light = -torch.ones(3, 9, 16, 16), torch.linspace(-1, 1, 9).view(1, 9, 1, 1).expand(3, 9, 16, 16)
    assert reel.reel({"dark": dark, "growing light": light}, alt=ALT) is None
    (sheet, metadata), (video, _) = outputs
    assert metadata["image/png"]["alt"] == f"Contact sheet: {ALT}"
    pixels = pixels_of(sheet)
    assert pixels[-40:, -40:].mean() > 240 and pixels[60:100, -40:].mean() < 20  # last frames: light below, dark above
    tag = video["text/html"]
    assert "<video controls muted loop" in tag and "autoplay" not in tag and "flickers" not in tag
    assert len(decoded(base64.b64decode(tag.split("data:video/mp4;base64,")[1].split('"')[0]))[0]) == 9
    outputs.clear()
    reel.reel({"one": light}, alt=ALT, flickers=True)
    assert "this clip flickers" in outputs[1][0]["text/html"]
    outputs.clear()
    outputs.live()
    reel.reel({"dark": dark, "growing light": light}, alt=ALT)
    panel = panel_of(outputs)
    (spec,) = panel.controls
    assert (spec["min"], spec["max"], spec["repeat"]) == (0, 8, True)
    move(panel, frame=8)
    assert panel.words == "Frame 9 of 9"
    outputs.clear()
    reel.reel({"a still": light[:, :1]}, alt=ALT)
    assert len(outputs) == 2  # nothing to slide over
    for wrong in ({}, {"a": dark, "b": light[:, :4]}, {"a": dark[:1]}, {"a": dark[:, :0]}):
        with pytest.raises(ValueError, match="expected one .3, F, H, W. for all"):
            reel.reel(wrong, alt=ALT)
    plt.close("all")


def test_heat_marks_the_tile_that_looks_and_the_tiles_it_looks_at():
    """Ink where all the weight is, the faded picture where there is none, a frame around tile 5 of 4 x 6."""
    picture, weights = torch.full((1, 8, 12), -1.0), torch.zeros(4, 6)
    weights[2, 3] = 0.2
    x = heat(picture, weights, at=5, enlarge=3)
    assert x.shape == (3, 24, 36)
    faded, ink = torch.full((3,), 0.2), torch.tensor(2 * np.asarray(plots.colour("model")) - 1).float()
    torch.testing.assert_close(x[:, 0, 0], faded)
    torch.testing.assert_close(x[:, 13, 19], 0.15 * faded + 0.85 * ink)
    black = torch.tensor(2 * np.asarray(plots.colour("exact")) - 1).float()
    for row, column, framed in ((0, 30, True), (5, 35, True), (2, 32, False), (0, 29, False), (6, 30, False)):
        assert torch.allclose(x[:, row, column], black) == framed
    assert heat(torch.zeros(3, 8, 12), weights, at=0).shape == (3, 8, 12)
    with pytest.raises(ValueError, match="4 x 5 over a picture 8 x 12"):
        heat(picture, torch.zeros(4, 5))
    with pytest.raises(ValueError, match="at=24: the tiles are 0..23"):
        heat(picture, weights, at=24)
    with pytest.raises(ValueError, match=r"\(4, 8, 12\)"):
        heat(torch.zeros(4, 8, 12), weights)


def test_a_few_coloured_dots_on_many_greys_keep_their_colours():
    """A median cut alone would paint red and blue dots grey; a picture without such dots stays small."""
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(120, 220, (300, 400, 1)), 3, axis=2) + rng.integers(-2, 3, (300, 400, 3))
    pixels = grey.astype(np.uint8)
    pixels[:, 300:] = 255
    dots = pixels.copy()
    for i, hue in enumerate([(217, 74, 74), (61, 115, 217), (255, 130, 0), (0, 112, 0)]):
        dots[20 + 60 * i : 30 + 60 * i, 50:60] = hue
    again = np.asarray(Image.open(io.BytesIO(page.small_png(dots))).convert("RGB")).astype(int)
    assert np.abs(again - dots).max() <= 40 and (again[:, 300:] == 255).all()
    assert Image.open(io.BytesIO(page.small_png(pixels))).mode == "P"
