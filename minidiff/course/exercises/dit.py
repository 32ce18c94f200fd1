"""Exercises of chapter 13, `dit`."""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Generator, Tensor
from torch.nn import functional as F

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.nn.dit import modulated, patchify
from minidiff.predict import guide

# --- patchify --------------------------------------------------------------------------------------------------------


def _picture(generator: Generator) -> tuple:
    p, q, h, w = (int(torch.randint(2, 5, (), generator=generator)) for _ in range(4))
    q = p + 1 if q == p else q
    return normal(generator, 2, 3, p * h, q * (h + w)), p, q


def _cut(x: Tensor, p: int, q: int, order: str = "(p q c)", patches: str = "(h w)") -> Tensor:
    return rearrange(x, f"b c (h p) (w q) -> b {patches} {order}", p=p, q=q)


PATCHIFY = exercise(
    "dit.patchify",
    "Cut with two sides",
    1,
    15,
    inputs=_picture,
    reference=lambda x, p, q: patchify(x[:, :, None], (1, p, q))[:, 0],
    wrong={
        "channels first": (
            lambda x, p, q: _cut(x, p, q, "(c p q)"),
            "The numbers of a patch come channel by channel. Asked for was pixel by pixel: the channel is the last letter.",
        ),
        "columns first in a patch": (
            lambda x, p, q: _cut(x, p, q, "(q p c)"),
            "Inside each patch rows and columns are exchanged.",
        ),
        "patches column by column": (
            lambda x, p, q: _cut(x, p, q, patches="(w h)"),
            "The patches run down the columns. They should run along the rows, as one reads.",
        ),
        "stripes": (
            lambda x, p, q: rearrange(x, "b c (p h) (q w) -> b (h w) (p q c)", p=p, q=q),
            "Your patches are combs: every h-th row of the picture. Split (h p), with the pixel inside the patch last.",
        ),
        "no order": (
            lambda x, p, q: x.reshape(len(x), -1, p * q * x.shape[1]),
            "A reshape alone cuts the picture into lines, not into patches.",
        ),
    },
    hints=(
        "Split H into (h, p) and W into (w, q), then bring the letters into the order b, h, w, p, q, c.",
        '`rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=q)`, or reshape, permute(0, 2, 4, 3, 5, 1), reshape.',
    ),
    solution="""
def cut(x, p, q):
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // p, p, W // q, q).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(B, (H // p) * (W // q), p * q * C)
""",
)

# --- modulate --------------------------------------------------------------------------------------------------------

Part = Callable[[Tensor], Tensor]


def _knobs(generator: Generator) -> tuple:
    mix, up, down = normal(generator, 6, 6), normal(generator, 5, 5), normal(generator, 5, 5)

    def attention(x: Tensor) -> Tensor:
        return (mix.softmax(-1) @ x) ** 2

    def mlp(x: Tensor) -> Tensor:
        return F.relu(x @ up) @ down

    return normal(generator, 3, 6, 5) * 30 + 10, normal(generator, 3, 30), attention, mlp


def _block(x: Tensor, knobs: Tensor, attention: Part, mlp: Part, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Tensor:
    six = knobs[:, None].chunk(6, -1)
    shift, scale, gate, shift2, scale2, gate2 = (six[i] for i in order)
    x = x + gate * attention(modulated(x, shift, scale))
    return x + gate2 * mlp(modulated(x, shift2, scale2))


def _bare(x: Tensor, knobs: Tensor, attention: Part, mlp: Part, how: str) -> Tensor:
    shift, scale, gate, shift2, scale2, gate2 = knobs[:, None].chunk(6, -1)
    if how == "scale":
        x = x + gate * attention(F.layer_norm(x, x.shape[-1:], eps=1e-6) * scale + shift)
        return x + gate2 * mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6) * scale2 + shift2)
    if how == "norm":
        x = x + gate * attention(x * (1 + scale) + shift)
        return x + gate2 * mlp(x * (1 + scale2) + shift2)
    if how == "gates":
        x = x + attention(modulated(x, shift, scale))
        return x + mlp(modulated(x, shift2, scale2))
    if how == "sum":
        x = gate * attention(modulated(x, shift, scale))
        return gate2 * mlp(modulated(x, shift2, scale2))
    return x + gate * attention(modulated(x, shift, scale)) + gate2 * mlp(modulated(x, shift2, scale2))


def _sample_spread(x: Tensor, knobs: Tensor, attention: Part, mlp: Part) -> Tensor:
    shift, scale, gate, shift2, scale2, gate2 = knobs[:, None].chunk(6, -1)

    def norm(h: Tensor) -> Tensor:
        return (h - h.mean(-1, keepdim=True)) / h.std(-1, keepdim=True)

    x = x + gate * attention(norm(x) * (1 + scale) + shift)
    return x + gate2 * mlp(norm(x) * (1 + scale2) + shift2)


MODULATE = exercise(
    "dit.modulate",
    "Six knobs",
    2,
    20,
    inputs=_knobs,
    reference=_block,
    wrong={
        "scale without 1": (
            lambda *a: _bare(*a, how="scale"),
            "Times `scale`: then a fresh network, whose knobs are 0, hears nothing at all. It is 1 + scale.",
        ),
        "no norm": (lambda *a: _bare(*a, how="norm"), "The layer norm is missing: each token to mean 0 and spread 1."),
        "sample spread": (
            _sample_spread,
            "`std` divides by D - 1, a layer norm by D: `unbiased=False`, or F.layer_norm.",
        ),
        "no gates": (
            lambda *a: _bare(*a, how="gates"),
            "The gates are missing: each result is multiplied by its gate.",
        ),
        "no sum": (lambda *a: _bare(*a, how="sum"), "What came in is lost: the gated result is *added* to x."),
        "side by side": (
            lambda *a: _bare(*a, how="parallel"),
            "Your MLP reads what came in, not what attention has made of it. (Some networks do that; DiT does not.)",
        ),
        "scale before shift": (
            lambda *a: _block(*a, order=(1, 0, 2, 4, 3, 5)),
            "The order: shift, scale, gate, and again shift, scale, gate. Yours has the scale first.",
        ),
        "second before first": (
            lambda *a: _block(*a, order=(3, 4, 5, 0, 1, 2)),
            "The first three knobs belong to attention, the last three to the MLP.",
        ),
    },
    hints=(
        "`shift, scale, gate, shift2, scale2, gate2 = knobs[:, None].chunk(6, -1)`: each is (B, 1, D).",
        "`F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift` goes into attention.",
    ),
    solution="""
def block(x, knobs, attention, mlp):
    shift, scale, gate, shift2, scale2, gate2 = knobs[:, None].chunk(6, -1)
    norm = lambda h: torch.nn.functional.layer_norm(h, h.shape[-1:], eps=1e-6)
    x = x + gate * attention(norm(x) * (1 + scale) + shift)
    return x + gate2 * mlp(norm(x) * (1 + scale2) + shift2)
""",
)

# --- guide -----------------------------------------------------------------------------------------------------------


def _answers(generator: Generator) -> tuple:
    channels = 2 * int(torch.randint(4, 8, (), generator=generator))
    told, free = normal(generator, 2, 2, channels, 3, 2)
    return told, free, float(uniform(generator, 1.5, 6))


def _guided(told: Tensor, free: Tensor, w: float) -> Tensor:
    """Through the package: `guide` around a denoiser that has these two answers."""
    half = told.shape[1] // 2

    def denoise(x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return (told if cond[0] == 0 else free)[:, :half]

    eps = guide(denoise, w, null=1)(told, torch.tensor(0.5), torch.zeros(len(told), dtype=torch.long))
    return torch.cat([eps, told[:, half:]], 1)


def _halves(eps: Tensor, variance: Tensor) -> Tensor:
    return torch.cat([eps.chunk(2, 1)[0], variance.chunk(2, 1)[1]], 1)


def _some(told: Tensor, free: Tensor, w: float, channels: int) -> Tensor:
    guided = free + w * (told - free)
    return torch.cat([guided[:, :channels], told[:, channels:]], 1)


GUIDE = exercise(
    "dit.guide",
    "Guide all of it",
    2,
    20,
    inputs=_answers,
    reference=_guided,
    wrong={
        "three of four": (
            lambda told, free, w: _some(told, free, w, 3),
            "That is the published line: three channels, as if they were red, green, blue. These are latents, with C channels of eps: half of them all.",
        ),
        "variance too": (
            lambda told, free, w: _some(told, free, w, told.shape[1]),
            "You guided the variance as well. It is no direction in which to exaggerate: take it from the answer with the label.",
        ),
        "one channel": (lambda told, free, w: _some(told, free, w, 1), "Only the first channel was guided."),
        "variance of the free answer": (
            lambda told, free, w: _halves(free + w * (told - free), free),
            "The variance comes from the answer without a label; asked for was the one with it.",
        ),
        "the other convention": (
            lambda told, free, w: _halves(told + w * (told - free), told),
            "That is (1 + w) told - w free, the other published form (chapter 07). Here w = 1 is plain conditional.",
        ),
        "eps only": (
            lambda told, free, w: (free + w * (told - free)).chunk(2, 1)[0],
            "The variance is missing: return all 2 C channels.",
        ),
    },
    hints=(
        "`C = told.shape[1] // 2`, and never a 3.",
        "`free + w * (told - free)` for the first C channels, `told` for the rest, joined along axis 1.",
    ),
    solution="""
def guided(told, free, w):
    C = told.shape[1] // 2
    eps = free[:, :C] + w * (told[:, :C] - free[:, :C])
    return torch.cat([eps, told[:, C:]], 1)
""",
)

EXERCISES = (PATCHIFY, MODULATE, GUIDE)
