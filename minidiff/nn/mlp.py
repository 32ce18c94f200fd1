"""A small network for points in one or two dimensions."""

import torch
from torch import Tensor, nn

from minidiff.checks import whole
from minidiff.nn.layers import LabelEmbedding, NoiseEmbedding


class MLP(nn.Module):
    """A residual multilayer perceptron: `net(x (B,D), ell (B,), cond) -> y (B,D)`.

    dim: D. width, depth: of the hidden layers. classes: 0, or the number of class labels (label `classes` and None
    mean none). levels: False drops the noise level, the control of chapter 03. ValueError when x is not (B, dim), or
    for a cond without classes.
    Example: `MLP(dim=2)(torch.randn(8, 2), torch.zeros(8))` is (8, 2).
    """

    def __init__(self, dim: int, width: int = 128, depth: int = 3, classes: int = 0, levels: bool = True):
        super().__init__()
        for name, value, low in (("dim", dim, 1), ("width", width, 1), ("depth", depth, 0), ("classes", classes, 0)):
            whole(name, value, low, 2**20)
        self.dim = dim
        self.inp = nn.Linear(dim, width)
        self.level = NoiseEmbedding(width) if levels else None
        self.label = LabelEmbedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        self.out = nn.Linear(width, dim)

    def forward(self, x: Tensor, ell: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"this MLP takes points of shape (B, {self.dim}), got {tuple(x.shape)}")
        if ell.shape != (len(x),):
            raise ValueError(f"ell of shape {tuple(ell.shape)} for {len(x)} points: expected one level each, (B,)")
        context = x.new_zeros(())
        if self.level is not None:
            context = context + self.level(ell)  # (B, width)
        if self.label is not None:
            context = context + self.label(cond, len(x))  # (B, width)
        elif cond is not None:
            raise ValueError("this network was built without classes: it cannot be told cond")
        h = self.inp(x)
        for block in self.blocks:
            h = h + block(h + context)
        return self.out(torch.nn.functional.silu(h))
