"""Layers that several networks share."""

import math

import torch
from torch import Tensor, nn


class NoiseEmbedding(nn.Module):
    """The noise level `ell` (B,), roughly in [-10, 10], as a vector (B, dim): waves, then two linear layers.

    Sines and cosines of periods from about 0.5 to 64 make neighbouring levels look alike and distant ones not.
    Source: after Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
    Example: `NoiseEmbedding(64)(torch.zeros(8))` is (8, 64).
    """

    def __init__(self, dim: int, waves: int = 16):
        super().__init__()
        self.register_buffer("freq", 2 * math.pi / torch.logspace(-1, 6, waves, base=2), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * waves, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, ell: Tensor) -> Tensor:
        phase = ell[:, None] * self.get_buffer("freq")  # (B, waves)
        waves = torch.cat([phase.sin(), phase.cos()], 1)  # (B, 2 waves)
        own = next((p.dtype for p in self.parameters()), waves.dtype)
        return self.mlp(waves.to(own))  # (B, dim)


class LabelEmbedding(nn.Embedding):
    """A class label as a vector, with one more row for "no label": label `classes`, the null label, and so is `None`.

    ValueError for a label outside 0..classes, not a whole number, or not one for each sample.
    Example: `LabelEmbedding(10, 64)(torch.tensor([3, 10]), 2)` is (2, 64).
    """

    def __init__(self, classes: int, dim: int):
        super().__init__(classes + 1, dim)
        self.null = classes

    def forward(self, label: Tensor | None, batch: int) -> Tensor:  # type: ignore[override]
        if label is None:
            label = torch.full((batch,), self.null, device=self.weight.device)
        if label.dtype not in (torch.int64, torch.int32) or label.shape != (batch,):
            kind = f"{str(label.dtype).removeprefix('torch.')} of shape {tuple(label.shape)}"
            raise ValueError(f"class labels must be whole numbers of shape ({batch},), got {kind}")
        if label.device.type == "cpu" and label.numel() and not 0 <= int(label.min()) <= int(label.max()) <= self.null:
            raise ValueError(
                f"class labels must lie in 0..{self.null - 1} ({self.null} for none), "
                f"got {int(label.min())}..{int(label.max())}"
            )
        return super().forward(label)
