"""Means of the loss, overall and by noise level, kept where they are computed."""

import torch
from torch import Tensor

LEVELS = 5  # the loss is also reported in this many equal bins of t


class Tally:
    """Means of the loss, overall and by noise level, kept on the device so that a step never waits for a number."""

    def __init__(self, device: torch.device):
        self.sums, self.counts = torch.zeros(2, LEVELS + 1, device=device)

    def add(self, losses: Tensor, t: Tensor) -> None:
        """Add losses (B,) at levels t (B,) or (B,F) (then the mean level counts)."""
        level = (t.flatten(1).mean(1) if t.ndim > 1 else t).mul(LEVELS).long().clamp(0, LEVELS - 1) + 1
        for index in (level, torch.zeros_like(level)):
            self.sums.scatter_add_(0, index, losses.float())
            self.counts.scatter_add_(0, index, torch.ones_like(losses, dtype=torch.float32))

    def finite(self) -> bool:
        """Whether every loss since the last `means` was finite."""
        return bool(self.sums.isfinite().all())

    def means(self) -> list[float]:
        """[overall, level 0, ..., level 4] since the last call; NaN where nothing was added."""
        values = (self.sums / self.counts).tolist()
        self.sums.zero_()
        self.counts.zero_()
        return values
