"""One transformer for images and videos: DiT, with rotary positions over (frame, row, column).

An image is cut into patches, each patch becomes a token, every block lets the tokens look at one another (attention)
and then think alone (an MLP), and the tokens are glued together again. What a block does is steered by the noise level
and the class, in six numbers a feature (adaLN-Zero): shift and scale before attention and before the MLP, and a gate
after each that starts at 0, so that a fresh block is the identity.

A video is the same with frames, and an image is a video of one frame. The noise level may differ from frame to frame:
a clean frame among noisy ones is conditioning. Words come in one of four ways (`block`); reference images are clean
frames that stand before the first, marked as none of the clip's.
Sources: Peebles & Xie 2023, arXiv 2212.09748; cross-attention after PixArt-alpha, Chen et al. 2023, arXiv 2310.00426;
large patches, Li & He 2025, arXiv 2511.13720.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from minidiff.checks import whole
from minidiff.nn.attention import grid, rotary
from minidiff.nn.block import WAYS, Block, Joint, average, modulated
from minidiff.nn.layers import LabelEmbedding, NoiseEmbedding
from minidiff.nn.published import Timestep, sincos

ATTENTION = ("full", "factorised", "frame")
FURTHEST = 4.6  # the ell beyond which all levels are told as one: 99 parts of noise to one of picture, or the reverse
PRESETS = {  # width, depth, heads. S, B, L, XL: Peebles & Xie 2023, table 1
    "laptop": (128, 5, 4),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
}


class Condition(NamedTuple):
    """All that a network may be told besides the noise level, each part optional; a label alone may also stand alone.

    label: (B,), whole numbers. context: (B,L,E), tokens of a text, say. mask: (B,L), True where a token is real.
    references: (B,R,C,H,W), clean pictures of the size of a frame; their order counts.
    Example: `net(x, ell, Condition(context=words, mask=words_there))`.
    """

    label: Tensor | None = None
    context: Tensor | None = None
    mask: Tensor | None = None
    references: Tensor | None = None


def patchify(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """A video (B,C,F,H,W) as tokens (B, F/pf, H/ph * W/pw, pf*ph*pw*C): the numbers of one patch in one row.

    Example: `patchify(torch.randn(2, 3, 4, 32, 32), (1, 8, 8))` is (2, 4, 16, 192).
    """
    pf, ph, pw = patch
    return rearrange(x, "b c (f pf) (h ph) (w pw) -> b f (h w) (pf ph pw c)", pf=pf, ph=ph, pw=pw)


def unpatchify(tokens: Tensor, patch: tuple[int, int, int], rows: int) -> Tensor:
    """The inverse of `patchify`, (B,C,F,H,W); rows: H/ph, since the number of tokens alone tells no shape.

    Example: `unpatchify(patchify(x, (1, 2, 4)), (1, 2, 4), rows=x.shape[3] // 2)` is x.
    """
    pf, ph, pw = patch
    return rearrange(tokens, "b f (h w) (pf ph pw c) -> b c (f pf) (h ph) (w pw)", h=rows, pf=pf, ph=ph, pw=pw)


class DiT(nn.Module):
    """`net(x (B,C,H,W) or (B,C,F,H,W), ell (B,) or (B,F), cond) -> y`, of x's shape.

    channels: C. width, depth, heads: features of a token, blocks, heads of attention; see PRESETS. patch: pixels a
    token, p for p x p, or (pf, ph, pw). classes: 0, or the number of class labels (label `classes` and None mean none).
    context: 0, or the size E of the context tokens. attention: "full", "frame" (frames do not see one another) or
    "factorised" (blocks look over the frame and over time in turns). references: whether it can be shown some. way: how
    the context is told, one of WAYS (see `block`). places: tell tokens their row and column too, as it takes to be told
    "left": rotary positions tell distances alone.
    cond: labels (B,), or a `Condition`.
    published: the network of Peebles & Xie as its weights were published (see `nn.published`), for images; its answer
    has 2 C channels, of which y is the first half and `full` gives all. ValueError for sizes that are no multiple of
    the patch, and for levels, labels, masks or references of another shape.
    Example: `DiT(1, *PRESETS["laptop"], patch=4, classes=10)(torch.randn(2, 1, 28, 28), torch.zeros(2))`.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        patch: int | tuple[int, int, int] = 2,
        classes: int = 0,
        context: int = 0,
        attention: str = "full",
        references: bool = False,
        published: bool = False,
        way: str = "cross",
        places: bool = False,
    ):
        super().__init__()
        sides = (1, patch, patch) if isinstance(patch, int) else patch
        if not isinstance(sides, tuple) or len(sides) != 3 or any(not isinstance(p, int) or p < 1 for p in sides):
            raise ValueError(f"patch={patch}: expected a whole number of pixels, or (frames, rows, columns), from 1 up")
        self.patch: tuple[int, int, int] = sides
        whole("channels", channels, 1, 2**20)
        if depth < 1 + (attention == "factorised") or min(classes, context) < 0:
            raise ValueError(
                f"depth={depth}, classes={classes}, context={context}: expected 1 block or more (2, for frames and "
                "time in turns), and no negative number"
            )
        if heads < 1 or width % (2 * heads) or width // heads < 16:
            raise ValueError(f"width={width}, heads={heads}: each head needs an even number of features, 16 or more")
        if attention not in ATTENTION:
            raise ValueError(f"attention={attention!r}: expected one of {', '.join(ATTENTION)}")
        if way not in WAYS or (way in ("joint", "concatenation") and (attention != "full" or references)):
            raise ValueError(f"way={way!r}: expected one of {', '.join(WAYS)}; joint and concatenation need "
                             "attention='full' and no references")  # fmt: skip
        if places and (width % 4 or published):
            raise ValueError(f"places=True with width={width}, published={published}: expected a multiple of 4, and a "
                             "network that is not published, which has its own")  # fmt: skip
        if published and (self.patch[0] > 1 or context or references or attention != "full" or width % 4):
            raise ValueError(
                f"published=True with patch={patch}, context={context}, references={references}, "
                f"attention={attention!r}, width={width}: it is for images and labels, with a width that 4 divides"
            )
        if references and attention == "frame":
            raise ValueError("attention='frame' cannot see references: frames do not see one another")
        self.channels, self.heads, self.attention, self.published, self.way = channels, heads, attention, published, way
        pixels = self.patch[0] * self.patch[1] * self.patch[2]
        self.level = Timestep(width) if published else NoiseEmbedding(width, waves=64)
        self.label = LabelEmbedding(classes, width) if classes else None
        self.context = nn.Linear(context, width) if context else None
        self.always = nn.Parameter(torch.zeros(1, 1, width)) if context else None  # a word that is always there
        self.reference = nn.Parameter(torch.zeros(width)) if references else None  # "I am none of the frames"
        self.inp = nn.Linear(channels * pixels, width)
        self.place = nn.Linear(width, width, bias=False) if places else None
        over = ("frame", "time") if attention == "factorised" else (attention, attention)
        together = bool(context) and way in ("joint", "concatenation")
        self.blocks = nn.ModuleList(
            Joint(width, heads, own=way == "joint")
            if together
            else Block(width, heads, over[i % 2], cross=bool(context) and way == "cross", norm=not published)
            for i in range(depth)
        )
        self.modulate = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, channels * pixels * (1 + published))
        self.start()

    def start(self) -> None:
        """Set the weights to where training starts: every block the identity, and an answer of 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.02)
        closed = [self.out, self.modulate] + ([self.place] if self.place is not None else [])
        for block in (m for m in self.modules() if isinstance(m, Block)):
            closed += [block.modulate] + ([block.cross.out] if block.cross is not None else [])
        for linear in closed:
            nn.init.zeros_(linear.weight)

    def layers(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(self, x: Tensor, ell: Tensor, cond: Tensor | Condition | None = None) -> Tensor:
        return self.full(x, ell, cond)[:, : self.channels]

    def full(self, x: Tensor, ell: Tensor, cond: Tensor | Condition | None = None) -> Tensor:
        """All channels that the network has: C, or 2 C of a published one. Arguments as in a call."""
        told = cond if isinstance(cond, Condition) else Condition(label=cond)
        clip = x[:, :, None] if x.ndim == 4 else x  # (B, C, F, H, W)
        rows, columns = self.check(x, clip)
        level = self.levels(ell, clip)  # (B, 1 or F/pf, D)
        if self.label is None and told.label is not None:
            raise ValueError("this network was built without classes: it cannot be told labels")
        label = 0 if self.label is None else self.label(told.label, len(x))[:, None]  # (B, 1, D)
        words, mask = self.words(told, len(x))

        h = self.inp(patchify(clip, self.patch))  # (B, F/pf, N, D)
        there = 0 if self.place is None else self.place(sincos(rows, columns, h.shape[-1], h.device))  # (N, D)
        h = h + there
        first = 0
        if told.references is not None:
            shown = self.inp(patchify(self.shown(told.references, clip), self.patch)) + self.reference + there
            first, h = -shown.shape[1], torch.cat([shown, h], 1)  # (B, R + F/pf, N, D)
            clean = self.tell(torch.full_like(ell.flatten()[:1], -torch.inf))  # (1, D)
            level = level.expand(-1, h.shape[1] + first, -1)
            level = torch.cat([clean.expand(len(x), -first, -1), level], 1)  # (B, R + F/pf, D)
        pooled = 0 if words is None or self.way != "modulation" else average(words, mask)[:, None]  # (B, 1, D)
        context = F.silu(level + label + pooled)
        by = None
        if self.published:
            h = h + sincos(rows, columns, h.shape[-1], h.device)  # (N, D)
        else:
            where = grid(h.shape[1], rows, columns, first, h.device)
            by = rotary(where, h.shape[-1] // self.heads).unflatten(0, (h.shape[1], -1))  # (R + F/pf, N, D/heads/2)
        for block in self.layers():
            out = block(h, context, by, words, mask)
            h, words = out if isinstance(block, Joint) else (out, words)
        if first:  # the references have been looked at
            h, context = h[:, -first:], context[:, -first:]
        shift, scale = self.modulate(context)[:, :, None].chunk(2, -1)  # (B, 1 or F/pf, 1, D)
        y = unpatchify(self.out(modulated(h, shift, scale)), self.patch, rows)  # (B, C, F, H, W)
        return y[:, :, 0] if x.ndim == 4 else y

    def check(self, x: Tensor, clip: Tensor) -> tuple[int, int]:
        """ValueError for an x that cannot be cut into patches, else how many rows and columns of tokens it makes."""
        sizes = list(zip(clip.shape[2:], self.patch, strict=True)) if clip.ndim == 5 else [(0, 1)]
        if clip.ndim != 5 or x.shape[1] != self.channels or any(size < p or size % p for size, p in sizes):
            raise ValueError(
                f"this DiT takes images (B, {self.channels}, H, W) or videos (B, {self.channels}, F, H, W) whose "
                f"F, H, W are multiples of its patch {self.patch}, got {tuple(x.shape)}"
            )
        if self.published and x.ndim == 5:
            raise ValueError(f"published=True is for images (B, {self.channels}, H, W), got {tuple(x.shape)}")
        return sizes[1][0] // sizes[1][1], sizes[2][0] // sizes[2][1]

    def levels(self, ell: Tensor, clip: Tensor) -> Tensor:
        """The noise level as a vector, computed once a level: (B, 1, D), or (B, F/pf, D) where frames differ."""
        batch, _, frames = clip.shape[:3]
        if ell.shape not in ((batch,), (batch, frames)):
            raise ValueError(
                f"noise levels: expected one a sample, ({batch},), or one a frame, ({batch}, {frames}), "
                f"got {tuple(ell.shape)}"
            )
        ell = ell.reshape(batch, -1, self.patch[0] if ell.ndim == 2 else 1)  # (B, 1 or F/pf, pf or 1)
        if ell.shape[2] > 1 and (ell != ell[:, :, :1]).any():
            raise ValueError(f"noise levels differ between frames of one patch: {self.patch[0]} frames share a token")
        return self.tell(ell[:, :, 0].flatten()).unflatten(0, (batch, -1))

    def tell(self, ell: Tensor) -> Tensor:
        """Levels (n,) as vectors (n, D), those beyond FURTHEST as FURTHEST.

        A training sees next to nothing of them, and every sampler begins there: told ell = 10 for the first time, a
        network answered with pictures 15 times too bright.
        """
        return self.level(ell if self.published else ell.clamp(-FURTHEST, FURTHEST))

    def words(self, told: Condition, batch: int) -> tuple[Tensor | None, Tensor | None]:
        """The context with the word that is always there in front, (B, 1+L, D), and its mask, (B, 1+L) or None."""
        tokens, mask = told.context, told.mask
        if tokens is None and mask is not None:
            raise ValueError("a mask without a context: there are no tokens that it could hide")
        if self.context is None or self.always is None:
            if tokens is not None:
                raise ValueError("this network was built without a context (context=0): it cannot be told words")
            return None, None
        always = self.always.expand(batch, -1, -1)
        if tokens is None:
            return always, None
        size = self.context.in_features
        if tokens.ndim != 3 or tokens.shape[0] != batch or tokens.shape[2] != size:
            raise ValueError(f"context: expected ({batch}, L, {size}), got {tuple(tokens.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != tokens.shape[:2]):
            kind = f"{str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}"
            raise ValueError(
                f"mask: expected bool of shape {tuple(tokens.shape[:2])}, True for real tokens, got {kind}"
            )
        return torch.cat([always, self.context(tokens)], 1), None if mask is None else F.pad(mask, (1, 0), value=True)

    def shown(self, references: Tensor, clip: Tensor) -> Tensor:
        """Reference images (B,R,C,H,W) as a video (B,C,R*pf,H,W)."""
        if self.reference is None:
            raise ValueError("this network was built without references (references=False): it cannot be shown any")
        batch, channels, _, height, width = clip.shape
        if references.ndim != 5 or references.shape[:1] + references.shape[2:] != (batch, channels, height, width):
            want = f"({batch}, R, {channels}, {height}, {width})"
            raise ValueError(f"references: expected {want}, got {tuple(references.shape)}")
        return references.transpose(1, 2).repeat_interleave(self.patch[0], dim=2)
