"""The blocks of the transformer, and the ways in which words reach the patches.

`Block` is steered by the noise level and may look at words on the side: cross-attention. `Joint` lets words and patches
look at one another in one attention, and words change on their way through the network too: with weights of their own
(as in Stable Diffusion 3), or with those of the patches, as if words were patches (concatenation). The fourth way needs
no block of its own: the mean of the words is added to what steers every block (modulation).
Sources: adaLN-Zero and concatenation, Peebles & Xie 2023, arXiv 2212.09748; cross-attention, Chen et al. 2023,
arXiv 2310.00426; joint attention, Esser et al. 2024, arXiv 2403.03206.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from minidiff.nn.attention import Attention
from minidiff.nn.attention import average as weigh

WAYS = ("cross", "joint", "concatenation", "modulation")


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B,F,N,D) brought to mean 0 and size 1 in each token, then (1 + scale) and shift, each (B, 1 or F, 1, D)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Block(nn.Module):
    """Attention, cross-attention where there is a context, and an MLP, each added to what came in.

    x: (B,F,N,D), context: (B, 1 or F, D), the noise level and the class -> (B,F,N,D).
    over: "full" (all tokens of the clip), "frame" (those of its own frame), "time" (those at its own place).
    """

    def __init__(self, width: int, heads: int, over: str, cross: bool = False, norm: bool = True):
        super().__init__()
        if over not in ("full", "frame", "time"):
            raise ValueError(f"over={over!r}: expected full, frame or time")
        self.over = over
        self.attention = Attention(width, heads, norm)
        self.cross = Attention(width, heads, norm) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width)

    def forward(
        self, x: Tensor, context: Tensor, by: Tensor | None, words: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulate(context)[:, :, None].chunk(6, -1)  # (B, 1 or F, 1, D)
        x = torch.addcmul(x, gate, self.look(modulated(x, shift, scale), by))
        if self.cross is not None and words is not None:
            flat = F.layer_norm(x, x.shape[-1:], eps=1e-6).flatten(1, 2)  # (B, F N, D)
            x = x + self.cross(flat, source=words, mask=mask).view_as(x)
        return torch.addcmul(x, gate2, self.mlp(modulated(x, shift2, scale2)))

    def look(self, x: Tensor, by: Tensor | None) -> Tensor:
        """Attention over the clip, over each frame or over each place. x: (B,F,N,D), by: (F,N,D/heads/2)."""
        b, f, n, _ = x.shape
        if self.over == "full":
            return self.attention(x.flatten(1, 2), None if by is None else by.flatten(0, 1)).view_as(x)
        if self.over == "frame":
            return self.attention(x.flatten(0, 1), None if by is None else by[0]).view_as(x)
        y = self.attention(rearrange(x, "b f n d -> (b n) f d"), None if by is None else by[:, 0])
        return rearrange(y, "(b n) f d -> b f n d", b=b)


class Joint(Block):
    """A block in which patches x (B,F,N,D) and words (B,L,D) look at one another, and both go on: (x, words).

    own: words have weights of their own; else those of the patches serve both. Other arguments as in `Block`.
    """

    def __init__(self, width: int, heads: int, own: bool, norm: bool = True):
        super().__init__(width, heads, "full", norm=norm)
        self.reader = Block(width, heads, "full", norm=norm) if own else None

    def forward(
        self, x: Tensor, context: Tensor, by: Tensor | None, words: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        assert words is not None  # a network with a context has a word that is always there
        sides = ((self, x, context), (self.reader or self, words[:, None], context.mean(1, keepdim=True)))
        knobs = [side.modulate(told)[:, :, None].chunk(6, -1) for side, _, told in sides]
        asked = []
        for (side, h, _), (shift, scale, *_), turns in zip(sides, knobs, (by, None), strict=True):
            angles = None if turns is None else turns.flatten(0, 1)
            asked.append(side.attention.asked(modulated(h, shift, scale).flatten(1, 2), angles, None))
        q, k, v = (torch.cat(pair, 2) for pair in zip(*asked, strict=True))  # (B, heads, F N + L, d)
        seen = None if mask is None else F.pad(mask, (x.shape[1] * x.shape[2], 0), value=True)[:, None, None]
        y = rearrange(weigh(q, k, v, seen), "b h n d -> b n (h d)")
        out = []
        for (side, h, _), knob, part in zip(
            sides, knobs, y.split([y.shape[1] - words.shape[1], words.shape[1]], 1), strict=True
        ):
            h = torch.addcmul(h, knob[2], side.attention.out(part).view_as(h))
            out.append(torch.addcmul(h, knob[5], side.mlp(modulated(h, knob[3], knob[4]))))
        return out[0], out[1][:, 0]


def average(words: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of the words (B,L,D) that are there, (B,D). mask: (B,L), or None where all are."""
    there = torch.ones_like(words[..., :1]) if mask is None else mask[..., None].to(words)
    return (words * there).sum(1) / there.sum(1)
