"""Modes of a toy mixture: how many does a sampler cover, and what share of its samples lands in one?

A sample is *in* its nearest mode if it lies within `radius` standard deviations of it. For exact samples of a
mode in D dimensions, squared distance over std^2 is chi-squared, so the share that lands in a mode is

    P(chi2_D <= radius^2) = gammainc(D / 2, radius^2 / 2),   in two dimensions   1 - exp(-radius^2 / 2)

which is 98.9% at radius 3. A mode is *covered* if it holds a tenth of its even share: N / (10 K) of N samples
in K modes, rounded down, and one at least. So a stray sample among thousands covers nothing, while exact
samples cover everything: at 10 samples a mode, about one set in a thousand misses one of 25; at 20, none.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModeReport:
    """What `mode_report` found. Print it, or read its fields."""

    covered: int  # modes that hold `least` samples or more
    total: int  # modes there are
    share: float  # of all samples, those that lie in a mode
    expected: float  # the same for exact samples
    counts: tuple[int, ...]  # samples in each mode
    least: int  # samples that make a mode covered
    n: int  # samples

    def __str__(self) -> str:
        return (
            f"{self.covered} of {self.total} modes covered (at least {self.least} of {self.n} samples each),"
            f" {self.share:.1%} of samples in a mode (exact samples: {self.expected:.1%})"
        )


def mode_report(x: Tensor, means: Tensor, std: float, radius: float = 3.0) -> ModeReport:
    """Modes covered and share in mode of samples x (N, D), for modes at means (K, D), of one std and weight.

    Use N >= 10 K: with fewer, even exact samples may miss a mode. `expected` is exact for modes far apart and
    a lower bound where they overlap.

    Raises ValueError for other shapes, no samples, values that are not finite, std or radius <= 0.
    Example: `print(mode_report(torch.randn(1000, 2), torch.zeros(1, 2), std=1.0))` -> `1 of 1 modes covered
    (at least 100 of 1000 samples each), 98.7% of samples in a mode (exact samples: 98.9%)`
    """
    if x.ndim != 2 or means.ndim != 2 or x.shape[1] != means.shape[1] or 0 in (len(x), len(means)):
        raise ValueError(f"expected x (N, D) and means (K, D), got {tuple(x.shape)} and {tuple(means.shape)}")
    if not (0 < std < math.inf and 0 < radius < math.inf and x.shape[1]):
        raise ValueError(f"std={std}, radius={radius}, D={x.shape[1]}: all must be above 0, and finite")
    x, means = x.detach().cpu().double(), means.detach().cpu().double()
    bad = int((~x.isfinite()).any(1).sum())
    if bad or not means.isfinite().all():
        raise ValueError(f"{bad} of {len(x)} samples, or a mean, hold nan or inf: did the sampler diverge?")
    distance, mode = torch.cdist(x, means).min(dim=1)  # (N,), (N,)
    counts = torch.bincount(mode[distance <= radius * std], minlength=len(means))  # (K,)
    least = max(1, len(x) // (10 * len(means)))
    half_d, half_r2 = torch.tensor([x.shape[1] / 2, radius**2 / 2], dtype=torch.float64)
    return ModeReport(
        covered=int((counts >= least).sum()),
        total=len(means),
        share=int(counts.sum()) / len(x),
        expected=float(torch.special.gammainc(half_d, half_r2)),
        counts=tuple(counts.tolist()),
        least=least,
        n=len(x),
    )
