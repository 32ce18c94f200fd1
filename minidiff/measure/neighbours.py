"""Nearest neighbours: precision and recall of samples, and the training image nearest to each.

Draw around every real sample a ball that reaches to its k-th nearest real neighbour: the union of the balls
is an estimate of where real data can be. Likewise for the generated samples. Then

    precision = share of generated samples inside a ball of a real one      (is what it makes plausible?)
    recall    = share of real samples inside a ball of a generated one      (does it make all there is?)

A Frechet distance cannot tell blurred samples from missing classes. These two can.
Source: Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 2**24  # distances held at a time: 128 MB in float64


def precision_recall(fake: Tensor, real: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall, each in [0, 1], of features fake (N, D) against real (M, D).

    Balls shrink as a set grows, so the numbers depend on N and M: use N = M, and compare at equal sizes only.
    Even new samples of the very same distribution stay below 1: measure real against real beside it. One
    outlier has a large ball, and so hides misses around it.

    Raises ValueError for other shapes, different D, k < 1, k or fewer samples, values that are not finite.
    Example: samples of one of two equal modes far apart: `precision_recall(one, both)` is about (1, 0.5).
    Source: Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2, and k=3 as there.
    """
    _check(fake, real)
    if fake.ndim != 2:
        raise ValueError(f"expected features (N, D), got {tuple(fake.shape)}: flatten them first")
    if not 1 <= k < min(len(fake), len(real)):
        raise ValueError(f"k={k}, expected 1 or more and fewer than the {len(fake)} fake, {len(real)} real samples")
    fake, real = fake.detach().cpu().double(), real.detach().cpu().double()
    fake_radius, real_radius = _radius(fake, k), _radius(real, k)
    plausible = torch.zeros(len(fake), dtype=torch.bool)
    found = torch.zeros(len(real), dtype=torch.bool)
    for rows, d in _distances(fake, real):  # d (n, M)
        plausible[rows] = (d <= real_radius).any(1)
        found |= (d <= fake_radius[rows, None]).any(0)
    return float(plausible.double().mean()), float(found.double().mean())


def nearest(x: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (N,) to, and index (N,) of, the row of pool (M, ...) nearest to each row of x (N, ...).

    Euclidean over all of a row, in units of its values. For images: how far is each sample from the training
    set, and which image is it? Read it against held-out images, `nearest(test, train)`. Where two rows are
    as near to within float32, either may be named; the distance to the one named is exact.

    Raises ValueError if rows differ in shape, a set is empty or a value is not finite.
    Example: `nearest(samples, train)[0] < 1e-3` marks copies.
    """
    _check(x, pool)
    x, pool = x.detach().flatten(1).float(), pool.detach().flatten(1).float()
    distance, index = torch.empty_like(x[:, 0]), torch.empty(len(x), dtype=torch.long, device=x.device)
    for rows, d in _distances(x, pool):  # d (n, M)
        index[rows] = d.argmin(1)
        # cdist is fast but loses digits where a distance is small, so the winner's is taken again
        distance[rows] = torch.linalg.vector_norm(x[rows] - pool[index[rows]], dim=1)
    return distance, index


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim < 2 or x.shape[1:] != y.shape[1:] or 0 in (len(x), len(y)):
        raise ValueError(f"expected two sets of rows of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    for name, rows in (("first", x), ("second", y)):
        if not torch.isfinite(rows).all():
            raise ValueError(f"the {name} set holds nan or inf: look at the samples before measuring them")


def _distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances (n, M) from successive rows of x (N, D), named by a slice, to all of y (M, D)."""
    n = max(1, CHUNK // len(y))
    for start in range(0, len(x), n):
        rows = slice(start, start + n)
        yield rows, torch.cdist(x[rows], y)


def _radius(x: Tensor, k: int) -> Tensor:
    """Distance (N,) of each row of x to its k-th nearest other row; the nearest row of all is itself."""
    return torch.cat([d.topk(k + 1, largest=False).values[:, -1] for _, d in _distances(x, x)])
