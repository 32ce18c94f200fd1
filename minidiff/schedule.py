"""How data turns into noise: `x_t = alpha(t) x0 + sigma(t) eps`.

`t` is the noise level: 0 is data, 1 is noise. One chain of small steps, x_k = sqrt(1-beta_k) x_{k-1} + sqrt(beta_k)
eps_k, has a closed form. Gaussians add in variance, so after k steps

    alpha^2 = (1-beta_1) ... (1-beta_k)  ("alpha-bar"),     sigma^2 = 1 - alpha^2,

and a thousand steps are one jump. A schedule is nothing but the pair alpha(t), sigma(t). What a network needs to know
of it is one number, `ell = log sigma - log alpha`, minus half the log signal-to-noise ratio, on every schedule alike.

    schedule   alpha(t)                    sigma(t)         source
    Betas      DDPM's table at t = k/1000  sqrt(1-alpha^2)  Ho et al. 2020, arXiv 2006.11239
    Cosine     cos(pi t/2)                 sin(pi t/2)      after Nichol & Dhariwal 2021, arXiv 2102.09672
    Linear     1 - t                       t                Liu et al. 2022, arXiv 2209.03003; Lipman 2022, 2210.02747
    VP         exp(-integral of beta/2)    sqrt(1-alpha^2)  Song et al. 2020, arXiv 2011.13456
    Karras     1                           80 t             Karras et al. 2022, arXiv 2206.00364

Cosine is the plain curve, without the paper's offset and clipping. Every function takes `t` of shape (), (B,) or
(B,F) (F frames), or a float, and returns that shape. ValueError for a `t` outside [0, 1].
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minidiff.checks import data, level, number, same_shape, whole

ELL_MAX = 10.0
STEPS = 1_000_000  # the longest grid


def expand(value: Tensor | float, x: Tensor) -> Tensor:
    """Line up a level-shaped `value` with data `x`, so that the two can be multiplied.

    Shapes: () stays, (B,) becomes (B,1,...,1), (B,F) becomes (B,1,F,1,...) for x (B,C,F,...). The result has x's
    dtype and device. ValueError when B or F disagree with x, or when x holds whole numbers, as which every alpha
    between 0 and 1 is 0. Example: `expand(torch.rand(8), images) * images`.
    """
    data(x)
    value = torch.as_tensor(value)
    if value.is_complex():
        raise ValueError("a level is complex: expected real numbers")
    value = value.to(x.dtype).to(x.device)
    if value.ndim == 0:
        return value
    if value.ndim == 1 and x.ndim >= 1 and value.shape[0] == x.shape[0]:
        return value.reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    if value.ndim == 2 and x.ndim >= 3 and value.shape == (x.shape[0], x.shape[2]):
        return value.reshape(value.shape[0], 1, value.shape[1], *[1] * (x.ndim - 3))  # (B, 1, F, 1, ...)
    raise ValueError(
        f"a level of shape {tuple(value.shape)} does not fit data of shape {tuple(x.shape)}: "
        "expected (), (B,), or (B,F) with data (B,C,F,...)"
    )


@dataclass(frozen=True)
class Linear:
    """Straight lines, `alpha = 1-t`, `sigma = t`: rectified flow.

    Example: `Linear().alpha(torch.tensor(0.25))` is 0.75.
    """

    def alpha(self, t: Tensor | float) -> Tensor:
        return 1 - level(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return level(t)

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The time derivatives (alpha', sigma'), each of t's shape."""
        t = level(t)
        return -torch.ones_like(t), torch.ones_like(t)


@dataclass(frozen=True)
class Cosine:
    """A quarter circle: `alpha = cos(pi t/2)`, `sigma = sin(pi t/2)`, exactly 0 and 1 at the ends."""

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.sin(math.pi / 2 * (1 - level(t)))  # the sine of 0 is exactly 0; the cosine of pi/2 is not

    def sigma(self, t: Tensor | float) -> Tensor:
        return torch.sin(math.pi / 2 * level(t))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The time derivatives (alpha', sigma'), each of t's shape."""
        return -math.pi / 2 * self.sigma(t), math.pi / 2 * self.alpha(t)


@dataclass(frozen=True)
class VP:
    """DDPM's linear betas in continuous time: beta(t) = low + t (high - low). sigma' is infinite at t=0."""

    low: float = 0.1
    high: float = 20.0

    def __post_init__(self) -> None:
        number("high", self.high, 0, 1000, above=True)
        number("low", self.low, 0, self.high)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        t = level(t)
        return -0.25 * t**2 * (self.high - self.low) - 0.5 * t * self.low

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.exp(self.log_alpha(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The time derivatives (alpha', sigma'), each of t's shape; sigma' = -alpha alpha'/sigma."""
        t = level(t)
        alpha = self.alpha(t)
        d_alpha = -0.5 * (self.low + t * (self.high - self.low)) * alpha
        return d_alpha, -alpha * d_alpha / self.sigma(t)


@dataclass(frozen=True)
class Karras:
    """Noise is only added, never traded for signal: `alpha = 1`, `sigma = top t` (EDM's "variance exploding")."""

    top: float = 80.0

    def __post_init__(self) -> None:
        number("top", self.top, 0, 1e6, above=True)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(level(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.top * level(t)

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The time derivatives (alpha', sigma'), each of t's shape."""
        t = level(t)
        return torch.zeros_like(t), torch.full_like(t, self.top)


@dataclass(frozen=True)
class Betas:
    """DDPM's own table, exact at t = k/steps; between the knots `ell` is interpolated linearly.

    Below the first knot `ell` would run to minus infinity, so there sigma^2 grows linearly from 0 instead.
    Rates are those of the interpolation (at a knot: of the segment to its left), infinite for sigma at t=0.
    Example: `Betas().alpha(torch.tensor(1.0))` is 0.00635, not 0: DDPM never quite reaches pure noise.
    """

    steps: int = 1000
    low: float = 1e-4
    high: float = 0.02
    _ell: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole("steps", self.steps, 2, STEPS)
        number("high", self.high, 0, 1, above=True, below=True)
        number("low", self.low, 0, self.high, above=True)
        betas = torch.linspace(self.low, self.high, self.steps, dtype=torch.float64)
        log_alpha2 = torch.log1p(-betas).cumsum(0)
        sigma2 = -torch.expm1(log_alpha2)
        object.__setattr__(self, "_ell", 0.5 * (sigma2.log() - log_alpha2))  # (steps,): at t = 1/steps ... 1

    def ell_and_rate(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """`ell(t)` and its slope for t in (0, 1], each of t's shape."""
        t = level(t)
        table = self._ell.to(t.dtype).to(t.device)
        k = t * self.steps
        right = torch.ceil(k - 1e-4).long().clamp(2, self.steps)  # the segment (right-1, right]; knots are 1-based
        slope = table[right - 1] - table[right - 2]
        ell = table[right - 2] + (k - (right - 1)) * slope
        # below the first knot: sigma^2 = low * k
        sigma2 = (self.low * k).clamp(min=torch.finfo(t.dtype).tiny)
        first = k < 1
        ell = torch.where(first, 0.5 * (sigma2.log() - torch.log1p(-sigma2)), ell)
        slope = torch.where(first, 0.5 / k / (1 - sigma2), slope)
        return ell, slope * self.steps

    def alpha(self, t: Tensor | float) -> Tensor:
        t = level(t)
        return torch.where(t > 0, torch.sigmoid(-2 * self.ell_and_rate(t)[0]).sqrt(), torch.ones_like(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        t = level(t)
        return torch.where(t > 0, torch.sigmoid(2 * self.ell_and_rate(t)[0]).sqrt(), torch.zeros_like(t))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The time derivatives (alpha', sigma'): with alpha^2 = sigmoid(-2 ell), alpha' = -alpha sigma^2 ell'."""
        t = level(t)
        alpha, sigma, d_ell = self.alpha(t), self.sigma(t), self.ell_and_rate(t)[1]
        return -alpha * sigma**2 * d_ell, torch.where(t > 0, sigma * alpha**2 * d_ell, torch.inf)


Schedule = Linear | Cosine | VP | Karras | Betas


def ell(schedule: Schedule, t: Tensor | float) -> Tensor:
    """What a network is told of the noise, of t's shape: `log sigma - log alpha`, each floored, clipped to +-10."""
    floor = 1e-12
    log_ratio = schedule.sigma(t).clamp(min=floor).log() - schedule.alpha(t).clamp(min=floor).log()
    return log_ratio.clamp(-ELL_MAX, ELL_MAX)


def add_noise(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
    """The forward process in one jump: `x_t = alpha(t) x0 + sigma(t) eps`.

    x0, eps: (B, ...), same shape (else ValueError); t: (), (B,) or (B,F). Source: Ho et al. 2020, eq. 4.
    Example: `add_noise(Cosine(), x0, torch.randn_like(x0), torch.tensor(0.5))`.
    """
    data(same_shape(eps, x0, "eps", "and x0"), "eps")
    return expand(schedule.alpha(t), x0) * x0 + expand(schedule.sigma(t), x0) * eps


def uniform_grid(n: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Noise levels of n sampling steps: n+1 evenly spaced values from `start` to `end`, shape (n+1,), float64.

    ValueError for n < 1 and ends outside [0, 1].
    Example: `uniform_grid(4)` is [1, 0.75, 0.5, 0.25, 0]; `uniform_grid(4, 0.02, 1)` inverts.
    """
    whole("n", n, 1, STEPS)
    number("start", start, 0, 1)
    number("end", end, 0, 1)
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


def shifted(t: Tensor | float, by: float) -> Tensor:
    """Levels moved towards noise, of t's shape: on `Linear`, the noise of each is `by` times as large beside the data.

    What there is more of (pixels, frames) is still seen in noise that hides a small picture: what a clip is about is
    decided at higher levels, so train there and sample there. by=1 changes nothing; ValueError for by <= 0.
    Source: Esser et al. 2024, arXiv 2403.03206, eq. 23. Example: `shifted(uniform_grid(25), 3.0)`.
    """
    number("by", by, 1e-6, 1e6)  # 1 for no shift
    t = level(t)
    return by * t / (1 - t + by * t)


def rho_grid(n: int, rho: float = 7.0, low: float = 0.002 / 80, high: float = 1.0) -> Tensor:
    """EDM's spacing: n levels evenly spaced in t^(1/rho) from `high` to `low`, then 0; shape (n+1,), float64.

    With `Karras`, t = sigma/80, this is eq. 5 of Karras et al. 2022 (arXiv 2206.00364). ValueError for n < 2.
    Example: `rho_grid(18)` is the grid of EDM's CIFAR-10 results.
    """
    whole("n", n, 2, STEPS)  # one to `low`, one to 0
    number("rho", rho, 0, 1000, above=True)
    number("high", high, 0, 1, above=True)
    number("low", low, 0, high, above=True, below=True)
    if not low ** (1 / rho) > 0:
        raise ValueError(f"rho={rho}: levels down to {low:g} cannot be told from 0 so far from even; expected 1 to 10")
    ramp = torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=torch.float64) ** rho
    return torch.cat([ramp, ramp.new_zeros(1)])
