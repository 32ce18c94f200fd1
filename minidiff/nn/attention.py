"""Attention: every token looks at every other, and where they stand.

A token asks with a query, the others offer keys; the softmax of the products says how much of each one's value it
takes. Positions come in by turning queries and keys: the product of two turned vectors depends on how far apart they
stand, and on nothing else of where they are. Queries and keys are normalised first, so that no product grows without
bound while training goes on.
Sources: Vaswani et al. 2017, arXiv 1706.03762; rotary positions, Su et al. 2021, arXiv 2104.09864, over several axes as
in Heo et al. 2024, arXiv 2403.13298; QK-norm, Dehghani et al. 2023, arXiv 2302.05442.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def rotary(positions: Tensor, dim: int, base: float = 100.0) -> Tensor:
    """How far to turn each pair of features, as unit complex numbers (N, dim/2). positions: (N,3), frame, row, column.

    About a quarter of the pairs turns with the frame, the others with row and column, each pair at a speed of its own,
    from one radian a step down towards 1/base. Of the places of a query and a key, turned so, only the step from one to
    the other is left in their product. ValueError for an odd dim.
    Example: `rotary(grid(1, 7, 7), 32)` is (49, 16).
    """
    if dim % 2:
        raise ValueError(f"dim={dim}: pairs of features are turned, so expected an even number")
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
    wide = x if x.dtype == torch.float64 else x.float()  # there are no complex numbers of bfloat16
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))  # (..., N, D/2)
    return torch.view_as_real(pairs * by).flatten(-2).to(x.dtype)  # (..., N, D)


class Attention(nn.Module):
    """Every token asks (query), every token of the source offers (key) and hands over (value).

    x: (B,N,D); by: angles of `rotary` for queries and keys, (N, D/heads/2); source: (B,M,D), x itself if left out;
    mask: (B,M), True where a token of the source may be seen, or (B,N,M), or (B,heads,N,M) -> (B,N,D). ValueError for
    a width that the heads cannot share, or another mask.
    Example: `Attention(64, 4)(torch.randn(2, 9, 64))` is (2, 9, 64).
    """

    def __init__(self, width: int, heads: int, norm: bool = True):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width={width}, heads={heads}: the heads need equally many features each")
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_q, self.norm_k = (nn.RMSNorm(width // heads) if norm else nn.Identity() for _ in range(2))

    def asked(self, x: Tensor, by: Tensor | None, source: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B,heads,N,d), keys and values (B,heads,M,d), normalised and turned."""
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
        return q, k, v

    def forward(
        self, x: Tensor, by: Tensor | None = None, source: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        q, k, v = self.asked(x, by, source)
        y = average(q, k, v, None if mask is None else spread(mask))
        return self.out(rearrange(y, "b h n d -> b n (h d)"))

    def weights(
        self, x: Tensor, by: Tensor | None = None, source: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """How much of each value each token takes, (B,heads,N,M); every row sums to 1. Arguments as in a call."""
        q, k, _ = self.asked(x, by, source)
        score = q @ k.mT / q.shape[-1] ** 0.5  # (B, heads, N, M)
        return (score if mask is None else score.masked_fill(~spread(mask), -torch.inf)).softmax(-1).nan_to_num()


def average(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The values (B,heads,M,d) averaged by softmax of the products of queries and keys, (B,heads,N,d).

    torch's own, but for training in bfloat16 on a CPU: its backward pass there took half of a step (torch 2.13). A
    query that may see nothing gets 0 from torch's, and NaN from the other.
    """
    if q.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    score = q @ k.mT / q.shape[-1] ** 0.5  # (B, heads, N, M)
    return (score if mask is None else score.masked_fill(~mask, -torch.inf)).softmax(-1) @ v


def spread(mask: Tensor) -> Tensor:
    """A mask (B,M), (B,N,M) or (B,heads,N,M) as one of four axes."""
    if mask.dtype != torch.bool or mask.ndim not in (2, 3, 4):
        kind = f"{str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}"
        raise ValueError(f"mask: expected bool of shape (B, M), (B, N, M) or (B, heads, N, M), got {kind}")
    return mask[:, None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask


@contextmanager
def watched(
    net: nn.Module,
    cut: Tensor | None = None,
    where: Callable[[int], bool] = lambda i: True,
    crossing_only: bool = False,
) -> Iterator[list]:
    """Within it, the weights of every `Attention` of a network, in the order in which they are asked.

    cut: links that are cut, (B,N,N) or (B,heads,N,N), True for a query that may not see a key; where: in which layers,
    counted from 0, cross-attention left out; an encoder of text has layers too, and they come first. crossing_only:
    watch cross-attention alone, patches that look at words. ValueError for a network without attention, one of `Joint`
    blocks, or a cut of another size.
    Example: `with watched(net) as maps: net(x, ell)`, then `maps[0]` is (B,heads,N,N).
    """
    maps: list[Tensor] = []
    crossing = [layer.cross for layer in net.modules() if hasattr(layer, "cross")]
    layers = [layer for layer in net.modules() if isinstance(layer, Attention)]
    if any(hasattr(layer, "reader") for layer in net.modules()):
        raise ValueError("words and patches look at one another in one softmax here: there is no layer to watch alone")
    layers = [layer for layer in layers if layer in crossing] if crossing_only else layers
    selves = [layer for layer in layers if layer not in crossing]
    if not layers:
        raise ValueError(
            f"a {type(net).__name__} without {'cross-' * crossing_only}attention: there is nothing to watch"
        )

    def before(layer: nn.Module, args: tuple, told: dict) -> tuple[tuple, dict]:
        assert isinstance(layer, Attention)
        if cut is not None and layer in selves and where(selves.index(layer)):
            n = args[0].shape[1]
            if cut.ndim not in (3, 4) or cut.shape[-2:] != (n, n):
                raise ValueError(f"cut {tuple(cut.shape)}: here {n} tokens look at one another, so (..., {n}, {n})")
            told = told | {"mask": ~cut}
        maps.append(layer.weights(*args, **told).detach())
        return args, told

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
