"""Exercises of chapter 17, `spacetime-patches`."""

import math

import torch
from einops import rearrange
from torch import Generator, Tensor
from torch.nn import functional as F

from minidiff.course.exercises import exercise, normal
from minidiff.nn.dit import patchify
from minidiff.train.flops import tokens

# --- count -----------------------------------------------------------------------------------------------------------

Sizes = tuple[int, int, int]


def _film(generator: Generator) -> tuple[Sizes, Sizes, Sizes]:
    """Sizes of which nothing divides, so that every way to round differs."""

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    down, patch = (4, 8, 8), (2, 2, 2)
    k, rows, columns = 2 * between(5, 12), *(2 * between(5, 12) + 1 for _ in range(2))
    frames = 4 * k + 1 - between(1, 2)  # an odd number of latents on every axis, of which the last is not full
    return (frames, 8 * rows - between(1, 6), 8 * columns - between(1, 6)), patch, down


def _ceil(clip: Sizes, patch: Sizes, down: Sizes, alone: int = 1) -> int:
    frames = alone + math.ceil((clip[0] - alone) / down[0])
    sizes = (frames, math.ceil(clip[1] / down[1]), math.ceil(clip[2] / down[2]))
    return math.prod(math.ceil(size / p) for size, p in zip(sizes, patch, strict=True))


def _floor(clip: Sizes, patch: Sizes, down: Sizes) -> int:
    sizes = (1 + (clip[0] - 1) // down[0], clip[1] // down[1], clip[2] // down[2])
    return math.prod(size // p for size, p in zip(sizes, patch, strict=True))


COUNT = exercise(
    "spacetime-patches.count",
    "Count",
    1,
    15,
    inputs=_film,
    reference=lambda clip, patch, down: tokens(clip, patch, down, causal=True),
    wrong={
        "no first frame": (
            lambda clip, patch, down: _ceil(clip, patch, down, alone=0),
            "The first frame has a latent of its own: 1 + ceil((frames - 1) / down).",
        ),
        "rounded down": (_floor, "What does not divide is padded, not thrown away: round up, every time."),
        "no patches": (
            lambda clip, patch, down: _ceil(clip, (1, 1, 1), down),
            "Those are the latents; a token is a patch of them.",
        ),
        "no autoencoder": (
            lambda clip, patch, down: _ceil(clip, patch, (1, 1, 1)),
            "You cut pixels. The autoencoder shrinks the clip first.",
        ),
        "one side": (
            lambda clip, patch, down: _ceil(clip, patch, (down[0], down[1], 1)),
            "Columns shrink as well.",
        ),
        "one padding for all": (
            lambda clip, patch, down: math.ceil(math.prod(clip) / math.prod(patch) / math.prod(down)),
            "You divided the number of pixels. Each axis is padded by itself, so each is rounded up by itself.",
        ),
    },
    hints=(
        "Latents first: 1 + ceil((frames - 1) / down[0]), ceil(rows / down[1]), ceil(columns / down[2]).",
        "Then ceil(latents / patch) on each axis, and the product.",
    ),
    solution="""
def count(clip, patch, down):
    frames = 1 + math.ceil((clip[0] - 1) / down[0])
    sizes = frames, math.ceil(clip[1] / down[1]), math.ceil(clip[2] / down[2])
    return math.prod(math.ceil(size / p) for size, p in zip(sizes, patch))
""",
)

# --- cut -------------------------------------------------------------------------------------------------------------


def _clip(generator: Generator) -> tuple[Tensor, int]:
    p, f = (int(torch.randint(2, 4, (), generator=generator)) for _ in range(2))
    return normal(generator, 2, 3, f + 2, 2 * p, 4 * p), p


def _tubes(x: Tensor, p: int, order: str = "(f p q c)", places: str = "(h w)") -> Tensor:
    return rearrange(x, f"b c f (h p) (w q) -> b {places} {order}", p=p, q=p)


CUT = exercise(
    "spacetime-patches.cut",
    "Cut, time first",
    2,
    20,
    inputs=_clip,
    reference=lambda x, p: patchify(x, (x.shape[2], p, p))[:, 0],
    wrong={
        "channels first": (
            lambda x, p: _tubes(x, p, "(c f p q)"),
            "Each tube runs channel by channel; the channel is the last letter.",
        ),
        "time last": (
            lambda x, p: _tubes(x, p, "(p q f c)"),
            "In each tube time runs faster than the pixels. The first of its numbers are the patch of frame 0, then that of frame 1.",
        ),
        "columns first": (lambda x, p: _tubes(x, p, "(f q p c)"), "Rows and columns of pixels are exchanged."),
        "places column by column": (lambda x, p: _tubes(x, p, places="(w h)"), "The places run down the columns."),
        "frame by frame": (
            lambda x, p: rearrange(x, "b c f (h p) (w q) -> b (f h w) (p q c)", p=p, q=p),
            "Those are patches of single frames. A tube holds its place in all frames.",
        ),
        "no order": (
            lambda x, p: x.reshape(len(x), -1, x.shape[1] * x.shape[2] * p * p),
            "A reshape alone cuts the clip into lines.",
        ),
    },
    hints=(
        "Split H into (h, p) and W into (w, q); then b, h, w in front, and f, p, q, c behind.",
        '`rearrange(x, "b c f (h p) (w q) -> b (h w) (f p q c)", p=p, q=p)`.',
    ),
    solution="""
def tubes(x, p):
    B, C, F, H, W = x.shape
    x = x.reshape(B, C, F, H // p, p, W // p, p).permute(0, 3, 5, 2, 4, 6, 1)
    return x.reshape(B, (H // p) * (W // p), F * p * p * C)
""",
)

# --- causal ----------------------------------------------------------------------------------------------------------


def _series(generator: Generator) -> tuple[Tensor, Tensor]:
    frames, taps = int(torch.randint(5, 9, (), generator=generator)), int(torch.randint(3, 5, (), generator=generator))
    return 2 + normal(generator, 2, frames), 0.3 + normal(generator, taps)


def _past(x: Tensor, weight: Tensor, before: int | None = None, how: str = "replicate") -> Tensor:
    k = len(weight)
    before = k - 1 if before is None else before
    padded = F.pad(x[:, None], (before, k - 1 - before), mode=how)
    return F.conv1d(padded, weight[None, None])[:, 0]


def _loop(x: Tensor, weight: Tensor) -> Tensor:
    """Frame by frame, by the definition: sum over k of weight[K-1-k] x[f-k], with x[0] before the first frame."""
    taps = range(len(weight))
    return torch.stack(
        [sum(weight[len(weight) - 1 - k] * x[:, max(0, f - k)] for k in taps) for f in range(x.shape[1])],  # type: ignore[misc]
        1,
    )


CAUSAL = exercise(
    "spacetime-patches.causal",
    "Never ahead",
    2,
    20,
    inputs=_series,
    reference=_loop,
    wrong={
        "centred": (
            lambda x, w: _past(x, w, (len(w) - 1) // 2),
            "Your frames look ahead: pad on the side of the past only, by K - 1.",
        ),
        "ahead": (lambda x, w: _past(x, w, 0), "You padded the future: your frames see nothing but what is to come."),
        "black before": (
            lambda x, w: _past(x, w, how="constant"),
            "Before the first frame you put zeros, a black picture. Asked for was the first frame again.",
        ),
        "turned round": (
            lambda x, w: _past(x, w.flip(0)),
            "Your present has the first weight. It is to have the last one. (torch's conv does not turn its weights round.)",
        ),
        "mirrored": (
            lambda x, w: _past(x, w, how="reflect"),
            "Before the first frame you put the film backwards. Asked for was the first frame, again and again.",
        ),
        "cut short": (
            lambda x, w: F.conv1d(x[:, None], w[None, None])[:, 0],
            "Nothing was padded, and K - 1 frames are missing.",
        ),
    },
    hints=(
        "`torch.nn.functional.pad(x[:, None], (K - 1, 0), mode='replicate')` puts the first frame K - 1 times in front.",
        "Then `torch.nn.functional.conv1d(padded, weight[None, None])[:, 0]`.",
    ),
    solution="""
def past(x, weight):
    before = x[:, :1].expand(-1, len(weight) - 1)
    padded = torch.cat([before, x], 1)
    return padded.unfold(1, len(weight), 1) @ weight
""",
)

EXERCISES = (COUNT, CUT, CAUSAL)
