"""Exercises of chapter 17, `spacetime-patches`."""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Generator, Tensor
from torch.nn import functional as F

from minidiff.course.exercises import exercise, normal
from minidiff.nn.dit import patchify
from minidiff.train.flops import tokens

# --- budget ----------------------------------------------------------------------------------------------------------

Sizes = tuple[int, int, int]


def _film(generator: Generator) -> tuple[int, tuple[int, int], Sizes, Sizes]:
    """Sizes of which nothing divides, so that every way to round differs."""

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    rows, columns, k = (2 * between(5, 12) + 1 for _ in range(3))  # latents: odd, so a half patch is padded
    place = (rows + 1) // 2 * ((columns + 1) // 2)  # tokens of a frame
    size = 8 * rows - between(1, 6), 8 * columns - between(1, 6)
    return k * place + between(1, place - 1), size, (2, 2, 2), (4, 8, 8)


def _longest(
    budget: int,
    size: tuple[int, int],
    patch: Sizes,
    down: Sizes,
    up: Callable[[float], int] = math.ceil,
    alone: int = 1,
    whole: bool = True,
) -> int:
    place = math.prod(up(up(s / d) / p) for s, d, p in zip(size, down[1:], patch[1:], strict=True))
    latents = budget // place * patch[0] if whole else int(budget / place * patch[0])
    return alone + (latents - alone) * down[0] if latents else 0


def _search(budget: int, size: tuple[int, int], patch: Sizes, down: Sizes) -> int:
    """By the package's count, one frame at a time."""
    frames = 0
    while tokens((frames + 1, *size), patch, down, causal=True) <= budget:
        frames += 1
    return frames


BUDGET = exercise(
    "spacetime-patches.budget",
    "A budget",
    2,
    20,
    inputs=_film,
    reference=_search,
    wrong={
        "no first frame": (
            lambda *a: _longest(*a, alone=0),
            "The first frame has a latent of its own: k + 1 latents hold 1 + 4 k frames here, and not 4 (k + 1).",
        ),
        "rounded down": (
            lambda *a: _longest(*a, up=math.floor),
            "Rows and columns that do not divide are padded, not thrown away: they round up, and cost tokens.",
        ),
        "one too many": (
            lambda *a: _search(*a) + 1,
            "One frame too many: with it the film needs another patch along time.",
        ),
        "latents": (
            lambda budget, size, patch, down: (_search(budget, size, patch, down) - 1) // down[0] + 1,
            "Those are latents along time. Asked for were frames: each latent but the first holds several.",
        ),
        "no patches along time": (
            lambda budget, size, patch, down: _search(budget, size, (1, *patch[1:]), down),
            "A token holds patch[0] latents along time.",
        ),
        "no padding of rows": (
            lambda budget, size, patch, down: _search(budget, (size[0] // 16 * 16, size[1]), patch, down),
            "Rows that do not fill a patch are padded: they round up, too.",
        ),
        "no autoencoder": (
            lambda budget, size, patch, down: _search(budget, size, patch, (down[0], 1, 1)),
            "You cut pixels. The autoencoder shrinks rows and columns first.",
        ),
    },
    hints=(
        "Tokens of one step along time: ceil(ceil(rows / down[1]) / patch[1]), times the same for columns.",
        "So many steps fit: budget // that. They hold steps * patch[0] latents, the first of one frame, the others of down[0].",
    ),
    solution="""
def longest(budget, size, patch, down):
    place = 1
    for side, d, p in zip(size, down[1:], patch[1:]):
        place *= math.ceil(math.ceil(side / d) / p)
    latents = budget // place * patch[0]
    return 1 + (latents - 1) * down[0] if latents else 0
""",
)

# --- cut -------------------------------------------------------------------------------------------------------------


def _clip(generator: Generator) -> tuple[Tensor, int, int]:
    p, pf = (int(torch.randint(2, 4, (), generator=generator)) for _ in range(2))
    return normal(generator, 2, 3, 2 * pf, 2 * p, 4 * p), pf, p


def _boxes(x: Tensor, pf: int, p: int, order: str = "(c pf p q)", places: str = "(f h w)") -> Tensor:
    return rearrange(x, f"b c (f pf) (h p) (w q) -> b {places} {order}", pf=pf, p=p, q=p)


def _channel_first(x: Tensor, pf: int, p: int) -> Tensor:
    """Through the package's patches, whose channel comes last."""
    tokens_ = patchify(x, (pf, p, p)).flatten(1, 2)  # (B, N, pf p p C)
    return tokens_.unflatten(-1, (-1, x.shape[1])).transpose(-1, -2).flatten(-2)


CUT = exercise(
    "spacetime-patches.cut",
    "Channel first",
    2,
    20,
    inputs=_clip,
    reference=_channel_first,
    wrong={
        "channel last": (
            lambda x, pf, p: _boxes(x, pf, p, "(pf p q c)"),
            "That is the order of this chapter, pixel by pixel. Asked for was channel by channel.",
        ),
        "time last": (
            lambda x, pf, p: _boxes(x, pf, p, "(c p q pf)"),
            "In each channel your time runs fastest. The frame comes before row and column.",
        ),
        "columns first": (
            lambda x, pf, p: _boxes(x, pf, p, "(c pf q p)"),
            "In each box rows and columns of pixels are exchanged.",
        ),
        "place by place": (
            lambda x, pf, p: _boxes(x, pf, p, places="(h w f)"),
            "Your list runs place by place, with all boxes of a place together. It should run frame by frame.",
        ),
        "down the columns": (
            lambda x, pf, p: _boxes(x, pf, p, places="(f w h)"),
            "Your boxes run down the columns. They should run along the rows, as one reads.",
        ),
        "combs": (
            lambda x, pf, p: rearrange(x, "b c (pf f) (h p) (w q) -> b (f h w) (c pf p q)", pf=pf, p=p, q=p),
            "Your boxes hold frames from all over the clip. Split (f pf), with the frame in the box last.",
        ),
        "no order": (
            lambda x, pf, p: x.reshape(len(x), -1, x.shape[1] * pf * p * p),
            "A reshape alone cuts the clip into lines.",
        ),
    },
    hints=(
        "Split F into (f, pf), H into (h, p), W into (w, q); then b, f, h, w in front, and c, pf, p, q behind.",
        '`rearrange(x, "b c (f pf) (h p) (w q) -> b (f h w) (c pf p q)", pf=pf, p=p, q=p)`.',
    ),
    solution="""
def cut(x, pf, p):
    B, C, F, H, W = x.shape
    x = x.reshape(B, C, F // pf, pf, H // p, p, W // p, p).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(B, -1, C * pf * p * p)
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
        "zeros before": (
            lambda x, w: _past(x, w, how="constant"),
            "Before the first frame you put zeros, a grey picture. Asked for was the first frame again.",
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

EXERCISES = (BUDGET, CUT, CAUSAL)
