"""Sources in one and two dimensions whose truth is known: density, score and denoiser in closed form.

Noise a Gaussian mixture and it stays one: if x0 is N(mu_k, s_k^2) with probability w_k, then `x_t = alpha x0 + sigma
eps` is N(alpha mu_k, alpha^2 s_k^2 + sigma^2) with the same w_k. Bayes' rule then gives, given x_t, the probability
r_k of each component and inside it the usual Gaussian posterior

    E[x0 | x_t, k] = mu_k + g_k (x_t - alpha mu_k),   g_k = alpha s_k^2 / (alpha^2 s_k^2 + sigma^2),
    var[x0 | x_t, k] = s_k^2 sigma^2 / (alpha^2 s_k^2 + sigma^2),

and the exact denoiser is the sum of r_k E[x0 | x_t, k]. A finite data set is the same thing with every s_k = 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from minidiff.checks import data, min_max, nonfinite, whole


def _column(value: Tensor | float, x: Tensor) -> Tensor:
    """A level of shape () or (B,) as (1,1) or (B,1), in x's dtype, which must be floating point."""
    data(x, "points")
    value = torch.as_tensor(value).to(x.dtype).to(x.device)
    if value.ndim > 1 or (value.ndim == 1 and len(value) != len(x)):
        raise ValueError(
            f"alpha or sigma of shape {tuple(value.shape)} for points {tuple(x.shape)}: expected () or (B,)"
        )
    if value.device.type == "cpu" and (ends := min_max(value)) and not (ends[0] >= 0 and ends[1] < math.inf):
        raise ValueError(f"alpha or sigma of {ends[0]:g} to {ends[1]:g}: expected finite numbers, 0 or more")
    return value.reshape(-1, 1)


def _points(x: Tensor, shape: tuple[int, ...]) -> None:
    """ValueError for points that are not (B, *shape), which torch would broadcast or flatten to fit."""
    if x.ndim < 1 or tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"points of shape {tuple(x.shape)}: expected (B, {', '.join(map(str, shape))}), as the source")


def _sound(x: Tensor) -> Tensor:
    """x if it is finite; else FloatingPointError: numbers beyond the range of their type went in."""
    if x.device.type == "cpu" and (bad := nonfinite(x)):
        raise FloatingPointError(f"{bad} of {x.numel()} values are NaN or infinite: use float64, or points nearer to 0")
    return x


@dataclass
class Mixture:
    """A mixture of round Gaussians. means (K,D); std: float or (K,); weights (K,), default equal.

    ValueError for shapes that do not fit, means that are not finite, a std that is not positive, and weights that are
    negative, NaN or do not sum to 1.
    Example: `Mixture(torch.tensor([[-1.0], [1.0]]), 0.1).sample(5)` has shape (5, 1).
    """

    means: Tensor
    std: float | Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.means.ndim != 2:
            raise ValueError(f"means of shape {tuple(self.means.shape)}: expected (K, D)")
        if not data(self.means, "means").isfinite().all() or not len(self.means):
            raise ValueError("means are NaN or infinite, or there are none: expected finite numbers")
        k = len(self.means)
        self.stds = torch.as_tensor(self.std, dtype=self.means.dtype).expand(k)  # (K,)
        if self.weights is None:
            self.weights = torch.full((k,), 1 / k, dtype=self.means.dtype)
        w = data(self.weights, "weights")
        if w.shape != (k,) or not (w >= 0).all() or not abs(float(w.sum()) - 1) <= 1e-4:
            raise ValueError(f"weights must have shape ({k},), be 0 or more and sum to 1, got {w.tolist()}")
        if not ((self.stds > 0) & self.stds.isfinite()).all():
            raise ValueError(f"std must be positive and finite, got {self.std}")

    @property
    def sd(self) -> float:
        """Root mean square over coordinates of the mixture's standard deviation: what `Denoiser` calls `sd`."""
        w = self._weights()[:, None]
        mean = (w * self.means).sum(0)
        return float((w * ((self.means - mean) ** 2 + self.stds[:, None] ** 2)).sum(0).mean().sqrt())

    def _weights(self) -> Tensor:
        assert self.weights is not None
        return self.weights

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n exact samples, (n, D). Example: `grid25().sample(1000, torch.Generator().manual_seed(0))`."""
        whole("n", n, 1, 2**31)
        k = torch.multinomial(self._weights(), n, replacement=True, generator=generator)  # (n,)
        eps = torch.randn((n, self.means.shape[1]), generator=generator, dtype=self.means.dtype)
        return self.means[k] + self.stds[k, None] * eps

    def parts(
        self, x_t: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The exact posterior of x0 given x_t: (r (B,K), means (B,K,D), stds (B,K)) of its components."""
        _points(x_t, self.means.shape[1:])
        alpha, sigma = _column(alpha, x_t), _column(sigma, x_t)  # (1|B, 1)
        means, var = self.means.to(x_t), self.stds.to(x_t) ** 2
        total = alpha**2 * var + sigma**2  # (1|B, K): variance of x_t in component k
        gap = x_t[:, None, :] - alpha[:, :, None] * means  # (B, K, D)
        log_r = self._weights().to(x_t).log() - gap.square().sum(-1) / (2 * total) - 0.5 * means.shape[1] * total.log()
        gain = alpha * var / total  # (1|B, K)
        posterior_std = (var * sigma**2 / total).sqrt().expand(len(x_t), -1)
        return log_r.softmax(1), means + gain[:, :, None] * gap, posterior_std

    def posterior_mean(self, x_t: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """`E[x0 | x_t]`, (B,D): the exact denoiser. alpha, sigma: () or (B,). Source: module docstring."""
        r, means, _ = self.parts(x_t, alpha, sigma)
        return _sound((r[:, :, None] * means).sum(1))

    def log_prob(self, x: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0) -> Tensor:
        """Log density of x_t at points x (B,D), (B,): of the data itself for the defaults."""
        _points(x, self.means.shape[1:])
        alpha, sigma = _column(alpha, x), _column(sigma, x)
        total = alpha**2 * self.stds.to(x) ** 2 + sigma**2
        gap = (x[:, None, :] - alpha[:, :, None] * self.means.to(x)).square().sum(-1)  # (B, K)
        log_n = -gap / (2 * total) - 0.5 * x.shape[1] * (2 * math.pi * total).log()
        return (self._weights().to(x).log() + log_n).logsumexp(1)

    def score(self, x: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0) -> Tensor:
        """The exact gradient of `log_prob` with respect to x, (B,D)."""
        r, _, _ = self.parts(x, alpha, sigma)
        alpha, sigma = _column(alpha, x), _column(sigma, x)
        total = alpha**2 * self.stds.to(x) ** 2 + sigma**2
        gap = x[:, None, :] - alpha[:, :, None] * self.means.to(x)
        return _sound(-(r / total)[:, :, None].mul(gap).sum(1))


@dataclass
class FiniteSet:
    """A finite data set as a source: every point equally likely. points (N, ...), any shape.

    Its exact denoiser is a softmax-weighted average of the whole set: as the noise vanishes, the nearest point.
    Use float64 where sigma is small. Example: `FiniteSet(swiss_roll(500)).posterior_mean(x_t, alpha, sigma)`.
    """

    points: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim < 2 or len(self.points) == 0:
            raise ValueError(f"points of shape {tuple(self.points.shape)}: expected (N, ...) with N >= 1")
        if not data(self.points, "points").isfinite().all():
            raise ValueError("points are NaN or infinite: expected finite numbers")

    @property
    def sd(self) -> float:
        """Root mean square deviation from the mean, over all coordinates."""
        return float((self.points - self.points.mean(0)).square().mean().sqrt())

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n draws with replacement, (n, ...)."""
        whole("n", n, 1, 2**31)
        return self.points[torch.randint(len(self.points), (n,), generator=generator)]

    def posterior_weights(self, x_t: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """How likely each point is to be the x0 behind each x_t, (B,N). Where sigma is 0: 1 for the nearest point."""
        _points(x_t, self.points.shape[1:])
        x, pool = x_t.flatten(1), self.points.to(x_t).flatten(1)  # (B, D), (N, D)
        alpha, sigma = _column(alpha, x), _column(sigma, x)
        distance2 = torch.cdist(x, alpha * pool) ** 2 if alpha.numel() == 1 else None
        if distance2 is None:
            distance2 = x.square().sum(1, True) - 2 * alpha * (x @ pool.T) + alpha**2 * pool.square().sum(1)
        distance2 = distance2 - distance2.min(1, keepdim=True).values
        return (-distance2 / (2 * sigma**2).clamp(min=torch.finfo(x.dtype).tiny)).softmax(1)

    def posterior_mean(self, x_t: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """`E[x0 | x_t]`, of x_t's shape: the exact denoiser of this data set. alpha, sigma: () or (B,)."""
        weights = self.posterior_weights(x_t, alpha, sigma)
        return _sound((weights @ self.points.to(x_t).flatten(1)).reshape(x_t.shape))


def grid25(spacing: float = 1.0, std: float = 0.05) -> Mixture:
    """25 narrow Gaussians on a 5x5 grid: the classic test of whether a sampler finds every mode.

    One of them is at the origin. Example: `grid25().means` is (25, 2).
    """
    ticks = spacing * torch.arange(-2.0, 3.0)
    return Mixture(torch.cartesian_prod(ticks, ticks), std)


def two_peaks(std: float = 0.2) -> Mixture:
    """A 1-D source with a big and a small peak, at -1 (weight 0.7) and +1 (weight 0.3).

    Example: `two_peaks().sample(5)` is (5, 1).
    """
    return Mixture(torch.tensor([[-1.0], [1.0]]), std, torch.tensor([0.7, 0.3]))


def swiss_roll(n: int = 1000, seed: int = 0) -> Tensor:
    """n points on a flat spiral, (n, 2), scaled into [-1, 1]; evenly spread along the arc.

    Example: `FiniteSet(swiss_roll(500))`. Source: Marsland 2009; in diffusion papers since Sohl-Dickstein 2015.
    """
    u = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    angle = 1.5 * math.pi * (1 + 8 * u).sqrt()  # from 1.5 pi to 4.5 pi; the arc's length grows as the angle squared
    return torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / (4.5 * math.pi)
