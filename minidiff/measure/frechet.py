"""Frechet distance between two sets of features, with what it takes to read the number.

Fit a Gaussian to each set. The Frechet (2-Wasserstein) distance of two Gaussians, squared, is

    FD = |mu_x - mu_y|^2 + tr(Sx + Sy - 2 (Sx Sy)^{1/2})                             (Dowson & Landau 1982)

Sx Sy is not symmetric, but it has the eigenvalues of A Sy A with A = Sx^{1/2}, which is symmetric and has no
negative ones. So tr (Sx Sy)^{1/2} = sum_i sqrt(lambda_i(A Sy A)): two symmetric eigenproblems.
With Inception features this is the "FID" (Heusel et al. 2017, arXiv 1706.08500).

Why one number is not enough. FD is a curved function of the estimated mu and S, so noise in these does not
average out: it pushes FD upwards. With n and m samples

    E[FD(n, m)] = FD_inf + b_x / n + b_y / m + O(1/n^2)              (Chong & Forsyth 2020, arXiv 1911.07023)

and b grows with the number of features D: two sets from the *same* distribution are apart by more than 0.
Splitting both sets into k parts multiplies both 1/n and 1/m by k. So average the FD of the k pairs of parts
for k = 1, 2, 4, 8 and fit a line in k: its value at k = 0 is the estimate of FD_inf.

Why no bootstrap. Drawing n of n samples with replacement is a second sampling step and adds the bias a second
time, so its interval lies around FD_inf + 2 b/n and often excludes FD(n), the number it was made for.
The jackknife below leaves out a tenth of both sets and repeats the whole extrapolation. That has no bias of
order 1/n at any size, so what differs between the ten repetitions is the spread alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

FOLDS = (1, 2, 4, 8)  # how many disjoint parts the sets are split into
BLOCKS = 10  # how many parts the jackknife leaves out, one at a time


class Limit(NamedTuple):
    """The distance at infinitely many samples, with its 95% interval `[low, high]`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrechetReport:
    """What `report` found. Print it, or read its fields; distances are in squared feature units."""

    value: float  # as measured, biased upwards
    n: int  # generated samples
    m: int  # real samples
    limit: float  # extrapolated to infinitely many samples
    low: float  # 95% interval of `limit`
    high: float
    null: float  # other real samples in place of the generated ones, at the same n and m (mean of the draws)

    def __str__(self) -> str:
        at = f"n={self.n}" if self.n == self.m else f"n={self.n}, m={self.m}"
        limit = f"limit {self.limit:.3g} [{self.low:.3g}, {self.high:.3g}]"
        return f"Frechet {self.value:.3g} at {at} ({limit}, real against real {self.null:.3g} at {at})"


def frechet(x: Tensor, y: Tensor) -> float:
    """Frechet distance between Gaussians fitted to features x (N, D) and y (M, D), computed in float64.

    Biased upwards by about 1/N + 1/M: compare it only with numbers at the same N and M, or use `report`.
    With N <= D a fitted covariance is singular and the number mostly bias, so that is an error.

    Raises ValueError for other shapes, different D, values that are not finite, and N or M <= D.
    Example: `frechet(torch.randn(1000, 8), torch.randn(1000, 8) + 1)` is 8, give or take 0.5.
    Source: Dowson & Landau 1982; Heusel et al. 2017, arXiv 1706.08500, eq. 6.
    """
    x, y = _features(x, y, per_feature=1, extra=1)
    return float(_distance(x, y))


def extrapolated(x: Tensor, y: Tensor, seed: int = 0) -> Limit:
    """The distance at infinitely many samples, and a 95% interval, from features x (N, D) and y (M, D).

    A line through the mean distance of k disjoint pairs of parts, k = 1, 2, 4, 8, read at k = 0; its spread
    by leaving out one block of ten (jackknife, t quantile). Rows are shuffled with `seed`, as blocks must be
    alike; up to 79 rows that do not fill the blocks are left out. The interval is not cut at 0: reaching
    below says that the sets cannot be told apart at this size. It covers the luck of sampling, not that of
    training, and it assumes independent rows: copies of a row (augmented, resampled) make it too narrow.

    Raises ValueError as `frechet`, and for N or M < 16 D + 80: the smallest part must outnumber the features.
    Example: `extrapolated(torch.randn(2000, 8), torch.randn(2000, 8) + 1)` is 8, give or take 0.4.
    Source: the extrapolation, Chong & Forsyth 2020, arXiv 1911.07023 (from redrawn, overlapping subsets and
    without an interval; disjoint parts and the jackknife are ours).
    """
    x, y = _features(x, y, per_feature=2 * max(FOLDS), extra=BLOCKS * max(FOLDS))
    x, y = _blocks(x, seed), _blocks(y, seed + 1)
    rest = [[i for i in range(BLOCKS) if i != left_out] for left_out in range(BLOCKS)]
    estimate = _intercept(x, y)
    again = torch.tensor([_intercept(x[kept], y[kept]) for kept in rest])
    spread = float(((BLOCKS - 1) * again.var(correction=0)).sqrt())
    half = float(stdtrit(BLOCKS - 1, 0.975)) * spread
    return Limit(estimate, estimate - half, estimate + half)


def report(fake: Tensor, real: Tensor, other_real: Tensor, seed: int = 0) -> FrechetReport:
    """All that should stand beside a distance. Features: fake (N, D), real (M, D), other_real (N or more, D).

    To use it honestly:
    - `real` and `other_real` share no image, and the generator saw nothing of `real`. The usual choice: the
      test set as `real`, the training set as `other_real`. The feature network has then seen one and not the
      other, so even the null need not vanish with more samples. The null is the mean over as many disjoint
      draws of N rows as `other_real` has.
    - Judge `value` against `null`, never against 0. A value at the null is as good as this number can show; a
      copier of the training set gets there too, so look at `neighbours.nearest` as well. Near the null luck
      alone may double or halve a value: the interval of `limit` tells whether there is a distance.
    - Compare two generators by `value` at the same n and m, or by `limit`. Numbers from other features, other
      image sizes or another `real` are not comparable at all.
    - The interval is about these samples. Another training seed is another generator: repeat for that.
    - The distance sees means and covariances only: sets that differ elsewhere can be at distance 0.

    Raises ValueError as `extrapolated`, and if other_real has fewer than N rows.
    Example: `print(report(features(samples), features(test), features(train)))` ->
    `Frechet 3.21 at n=10000 (limit 2.9 [2.6, 3.2], real against real 0.4 at n=10000)`
    """
    n, m = len(fake), len(real)
    if len(other_real) < n:
        raise ValueError(f"other_real has {len(other_real)} rows, fake {n}: the null needs as many, add or cut")
    limit = extrapolated(fake, real, seed)
    other, reference = _features(other_real, real, per_feature=1, extra=1)
    draws = other[_order(len(other), seed)[: len(other) // n * n]].reshape(-1, n, other.shape[1])  # (draws, N, D)
    null = float(_distance(draws, reference).mean())
    return FrechetReport(frechet(fake, real), n, m, *limit, null)


def _features(x: Tensor, y: Tensor, per_feature: int, extra: int) -> tuple[Tensor, Tensor]:
    """Both sets in float64 on the CPU (MPS has no float64); an error if they are not two sets of features."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"expected features (N, D) and (M, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    least = per_feature * x.shape[1] + extra
    for name, rows in (("first", x), ("second", y)):
        if len(rows) < least:
            raise ValueError(
                f"the {name} set has {len(rows)} samples of {x.shape[1]} features, expected at least {least}"
                " to fit covariances: use more samples or fewer features"
            )
        if not torch.isfinite(rows).all():
            raise ValueError(f"the {name} set holds nan or inf: look at the samples before measuring them")
    return x.detach().cpu().double(), y.detach().cpu().double()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (..., D) and unbiased covariance (..., D, D) of x (..., N, D)."""
    mean = x.mean(-2)
    centred = x - mean.unsqueeze(-2)
    return mean, centred.mT @ centred / (x.shape[-2] - 1)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Frechet distances (...) of x (..., N, D) and y (..., M, D), any number of pairs at once."""
    (mean_x, cov_x), (mean_y, cov_y) = _moments(x), _moments(y)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2) @ vectors.mT  # (..., D, D), Sx^{1/2}
    # clamp: rounding can leave an eigenvalue a hair below 0
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum(-1)
    traces = (cov_x + cov_y).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (mean_x - mean_y).square().sum(-1) + traces - 2 * cross


def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _blocks(x: Tensor, seed: int) -> Tensor:
    """x (N, D) shuffled and cut into ten blocks (10, n, D), n a multiple of 8.

    As n is a multiple of 8, leaving out a block takes a tenth from every part and moves no row to another
    part. Otherwise each repetition would reshuffle the parts, and the interval would count that as spread.
    """
    n = len(x) // (BLOCKS * max(FOLDS)) * max(FOLDS)
    return x[_order(len(x), seed)[: BLOCKS * n]].reshape(BLOCKS, n, -1)  # (10, n, D)


def _parts(blocks: Tensor, k: int) -> Tensor:
    """Blocks (B, n, D) as k disjoint parts (k, B n / k, D), part i being every k-th row from row i on."""
    return blocks.reshape(-1, k, blocks.shape[-1]).transpose(0, 1)


def _intercept(x: Tensor, y: Tensor) -> float:
    """Mean distance of k parts as a line in k, read at k = 0, of blocks (B, n, D) and (B, m, D)."""
    k = torch.tensor(FOLDS, dtype=torch.float64)
    distance = torch.stack([_distance(_parts(x, fold), _parts(y, fold)).mean() for fold in FOLDS])  # (4,)
    slope = ((k - k.mean()) * distance).sum() / (k - k.mean()).square().sum()
    return float(distance.mean() - slope * k.mean())
