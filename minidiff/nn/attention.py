"""Attention: every token looks at every other, and where they stand.

A token asks with a query, the others offer keys; the softmax of the products says how much of each one's value it
takes. Positions come in by turning queries and keys: the product of two turned vectors depends on how far apart they
stand, and on nothing else of where they are. Queries and keys are normalised first, so that no product grows without
bound while training goes on.
Sources: Vaswani et al. 2017, arXiv 1706.03762; rotary positions, Su et al. 2021, arXiv 2104.09864, over several axes as
in Heo et al. 2024, arXiv 2403.13298; QK-norm, Dehghani et al. 2023, arXiv 2302.05442.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def rotary(positions: Tensor, dim: int, base: float = 100.0) -> Tensor:
    """How far to turn each pair of features, as unit complex numbers (N, dim/2). positions: (N,3), frame, row, column.

    A quarter of the pairs turns with the frame, the others with row and column, each pair at a speed of its own, from
    one radian a step down to 1/base. The product of a query and a key turned so depends on their distance only.
    Example: `rotary(grid(1, 7, 7), 32)` is (49, 16).
    """
    space = 3 * (dim // 2) // 8
    angles = []
    for axis, pairs in enumerate((dim // 2 - 2 * space, space, space)):
        speed = base ** (-torch.arange(pairs, device=positions.device) / pairs)
        angles.append(positions[:, axis, None] * speed)  # (N, pairs)
    angle = torch.cat(angles, 1)  # (N, dim/2)
    return torch.polar(torch.ones_like(angle), angle)


def grid(frames: int, rows: int, columns: int, first: int = 0, device: torch.device | None = None) -> Tensor:
    """Positions (frames*rows*columns, 3) of tokens in the order of `patchify`. Example: `grid(1, 7, 7)[-1]`."""
    ranges = ((first, first + frames), (0, rows), (0, columns))
    return torch.cartesian_prod(*(torch.arange(low, high, device=device) for low, high in ranges)).float()


def turn(x: Tensor, by: Tensor) -> Tensor:
    """Turn the pairs of features of x (..., N, D) by the angles of `rotary`, (N, D/2)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (..., N, D/2)
    return torch.view_as_real(pairs * by).flatten(-2).to(x.dtype)  # (..., N, D)


class Attention(nn.Module):
    """Every token asks (query), every token of the source offers (key) and hands over (value).

    x: (B,N,D); source: (B,M,D), x itself if left out; mask: (B,M), True where a token of the source may be seen;
    by: angles of `rotary` for queries and keys, (N, D/heads/2) -> (B,N,D).
    Example: `Attention(64, 4)(torch.randn(2, 9, 64))` is (2, 9, 64).
    """

    def __init__(self, width: int, heads: int, norm: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_q, self.norm_k = (nn.RMSNorm(width // heads) if norm else nn.Identity() for _ in range(2))

    def forward(
        self, x: Tensor, by: Tensor | None = None, source: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if source is None:
            q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        else:
            weight, bias, d = self.qkv.weight, self.qkv.bias, x.shape[-1]
            q = rearrange(F.linear(x, weight[:d], bias[:d]), "b n (h d) -> b h n d", h=self.heads)
            both = F.linear(source, weight[d:], bias[d:])  # (B, M, 2 D)
            k, v = rearrange(both, "b m (two h d) -> two b h m d", two=2, h=self.heads)
        q, k = self.norm_q(q), self.norm_k(k)
        if by is not None:
            q, k = turn(q, by), turn(k, by)
        seen = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, M)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(rearrange(y, "b h n d -> b n (h d)"))
