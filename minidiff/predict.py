"""What a network is asked, and how its answer becomes `x0_hat`.

A prediction is a row `(a, b)`: the network outputs `y = a x0 + b eps`. With `x_t = alpha x0 + sigma eps` these are
two equations for two unknowns. One solve, with `det = alpha b - sigma a`, replaces every "predict this from that":

    x0_hat = (b x_t - sigma y) / det          eps_hat = (alpha y - a x_t) / det

    row    (a, b)                                       det                  where it is singular
    x0     (1, 0)                                       -sigma               t=0
    eps    (0, 1)                                       alpha                alpha=0 (t=1 of Linear and Cosine)
    v      (-sigma, alpha)                              alpha^2 + sigma^2    never
    flow   (alpha', sigma')                             alpha sigma' - sigma alpha'   where a rate is infinite
    edm    (sigma, -alpha sd^2) / (sd sqrt(V))          -sqrt(V) / sd        never;  V = alpha^2 sd^2 + sigma^2

An error in y is multiplied by |sigma/det| in x0_hat and by |alpha/det| in eps_hat. Squared errors convert at fixed
x_t by |dy|^2 = (det/sigma)^2 |dx0|^2, so a loss can be taken in another row's space than the network's own.
Sources: v, Salimans & Ho 2022 (arXiv 2202.00512); edm, Karras et al. 2022 (arXiv 2206.00364) generalised to any
alpha; prediction and loss space as two knobs, Li & He 2025 (arXiv 2511.13720).

A denoiser answers one question, `denoise(x_t, t, cond) -> x0_hat`. Samplers, guidance and inversion ask nothing else.
Those made here know their schedule (`denoise.schedule`), so that a sampler need not be told it and cannot be told
another one. Any function with that signature is a denoiser too; the sampler is then handed its schedule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from minidiff.checks import data, level, min_max, nonfinite, number, same_shape
from minidiff.schedule import Schedule, add_noise, ell, expand

ROWS = ("x0", "eps", "v", "flow", "edm")
Denoise = Callable[..., Tensor]


class HasPosteriorMean(Protocol):
    """Anything that knows the exact `E[x0 | x_t]`: `posterior_mean(x_t, alpha, sigma) -> x0_hat`."""

    def posterior_mean(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...


def row(pred: str, schedule: Schedule, t: Tensor | float, sd: float = 1.0) -> tuple[Tensor, Tensor]:
    """The pair (a, b) of `y = a x0 + b eps`, each of t's shape; `sd` is the data's standard deviation (edm only).

    ValueError for an unknown word. Example: `row("flow", Linear(), torch.tensor(0.3))` is (-1, 1): y = eps - x0.
    """
    t = level(t)
    number("sd", sd, 0, 1e12, above=True)
    if pred == "x0":
        return torch.ones_like(t), torch.zeros_like(t)
    if pred == "eps":
        return torch.zeros_like(t), torch.ones_like(t)
    if pred == "v":
        return -schedule.sigma(t), schedule.alpha(t)
    if pred == "flow":
        return schedule.rates(t)
    if pred == "edm":
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        scale = sd * torch.sqrt(alpha**2 * sd**2 + sigma**2)
        return sigma / scale, -alpha * sd**2 / scale
    raise ValueError(f"unknown prediction {pred!r}: expected one of {', '.join(ROWS)}")


def det(pred: str, schedule: Schedule, t: Tensor | float, sd: float = 1.0) -> Tensor:
    """The determinant `alpha b - sigma a` of the row at t, of t's shape: 0 where the row cannot be solved."""
    a, b = row(pred, schedule, t, sd)
    return schedule.alpha(t) * b - schedule.sigma(t) * a


def solve(
    pred: str, schedule: Schedule, x_t: Tensor, t: Tensor | float, y: Tensor, sd: float = 1.0
) -> tuple[Tensor, Tensor]:
    """From the network's `y` to `(x0_hat, eps_hat)`, both of x_t's shape.

    Raises ValueError where the row is singular, naming row, schedule and t, and for a y of another shape.
    Example: `x0_hat, eps_hat = solve("v", Cosine(), x_t, t, net(x_t))`.
    """
    data(same_shape(y, x_t, "y"), "y")
    t = level(t, wait=True)
    a, b = row(pred, schedule, t, sd)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d = alpha * b - sigma * a
    bad = ~torch.isfinite(d) | (d.abs() < 1e-9)
    if bad.any():
        where = t[bad].flatten()[0].item() if t.ndim else t.item()
        raise ValueError(
            f"the row {pred!r} is singular on {type(schedule).__name__} at t={where:g} (alpha b - sigma a is "
            f"{d[bad].flatten()[0].item() if t.ndim else d.item():g}): use another row there (v is never singular)"
        )
    c = [expand(v, x_t) for v in (b / d, sigma / d, alpha / d, a / d)]
    return c[0] * x_t - c[1] * y, c[2] * y - c[3] * x_t


def score(x_t: Tensor, x0_hat: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """The gradient of log p_t at x_t, from the posterior mean: `(alpha x0_hat - x_t) / sigma^2` (Tweedie's formula).

    alpha, sigma: (), (B,) or (B,F). ValueError for a sigma that is not above 0: without noise p_t is the data's own
    density, which no x0_hat tells. Source: Efron 2011, "Tweedie's formula and selection bias".
    Example: `score(x_t, denoise(x_t, t), schedule.alpha(t), schedule.sigma(t))`.
    """
    data(same_shape(x0_hat, x_t, "x0_hat"), "x0_hat")
    if (ends := min_max(torch.as_tensor(sigma))) and not ends[0] > 0:
        raise ValueError(f"sigma={ends[0]:g}: the score of noisy points needs a sigma above 0")
    found = (expand(alpha, x_t) * x0_hat - x_t) / expand(sigma, x_t) ** 2
    if bad := nonfinite(found):
        raise FloatingPointError(f"score: {bad} values NaN or infinite, from data, alpha or a sigma near 0")
    return found


@dataclass
class Denoiser:
    """A network, a schedule and a row make a denoiser: `denoise(x_t, t, cond=None) -> x0_hat`, of x_t's shape.

    The network sees `net(x_t / sqrt(alpha^2 sd^2 + sigma^2), ell, cond)`, never a schedule. `sd` is the data's
    standard deviation. autoencoder: for a denoiser of latents, what makes pictures of them, with `encode` and `decode`.
    Where sigma is exactly 0 the answer is `x_t / alpha`: nothing is hidden, whatever the row. Data of another type than
    the network's weights (float64, say) goes through it as theirs, and comes back as its own.
    Example: `denoise = Denoiser(MLP(dim=2), Linear(), "v"); x0_hat = denoise(x_t, torch.tensor(0.5))`.
    """

    net: torch.nn.Module
    schedule: Schedule
    pred: str = "v"
    sd: float = 1.0
    autoencoder: Any = None

    def __post_init__(self) -> None:
        if self.pred not in ROWS:
            raise ValueError(f"unknown prediction {self.pred!r}: expected one of {', '.join(ROWS)}")
        if not (math.isfinite(self.sd) and self.sd > 0):
            raise ValueError(f"sd={self.sd}: the data's standard deviation must be positive")

    @property
    def null(self) -> int | None:
        """What means "no label" or "no words", for `guide`; None where the network can be told neither."""
        return getattr(self.net, "null", getattr(getattr(self.net, "label", None), "null", None))

    def output(self, x_t: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """The network's raw answer y, with input scaling. t: (), (B,) or (B,F)."""
        t = level(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        scale = expand(torch.rsqrt(alpha**2 * self.sd**2 + sigma**2), x_t)
        told = ell(self.schedule, t).to(torch.float32).to(x_t.device)
        told = told.expand(x_t.shape[0]) if told.ndim == 0 else told
        own = self.own_dtype(x_t)
        y = self.net((scale * x_t).to(own), told, cond)
        return y if own == x_t.dtype else y.to(x_t.dtype)

    def own_dtype(self, x: Tensor) -> torch.dtype:
        """The type of the network's weights; x's own where it has none."""
        first = next(self.net.parameters(), None) if isinstance(self.net, torch.nn.Module) else None
        return x.dtype if first is None else first.dtype

    def __call__(self, x_t: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        t = level(t)  # `solve` looks at its values, wherever they are
        clean = self.schedule.sigma(t) == 0
        t_safe = torch.where(clean, 0.5, t)  # any regular level: the result is replaced below
        x0_hat, _ = solve(self.pred, self.schedule, x_t, t_safe, self.output(x_t, t, cond), self.sd)
        if not clean.any():
            return x0_hat
        return torch.where(expand(clean, x_t).bool(), x_t / expand(self.schedule.alpha(t), x_t), x0_hat)


def loss(
    denoise: Denoiser,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    cond: Tensor | None = None,
    space: str | None = None,
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The training loss of each sample, shape (B,): the mean squared error of y, in the space of row `space`.

    x0, eps: (B, ...); t: (), (B,) or (B,F). `space` defaults to the network's own row; another row multiplies the
    error by (det'/det)^2. `weight` is a function of t that multiplies it once more, level by level: a space is one
    such weight, any other can be written down. ValueError for a weight that is negative or not finite.
    Source: Ho et al. 2020, eq. 14 (space="eps" is L_simple); Kingma & Gao 2023, arXiv 2303.00848 (any weight).
    Example: `loss(denoise, x0, torch.randn_like(x0), torch.rand(len(x0)), weight=lambda t: 1 - t).mean().backward()`.
    """
    schedule, pred, sd = denoise.schedule, denoise.pred, denoise.sd
    if not hasattr(denoise, "pred"):
        raise ValueError(f"loss trains a Denoiser, a network with its schedule and row, not a {type(denoise).__name__}")
    who = "the network's answer"
    y_hat = data(same_shape(denoise.output(add_noise(schedule, x0, eps, t), t, cond), x0, who, "and x0"), who)
    a, b = row(pred, schedule, t, sd)
    if a.device.type == "cpu" and (nonfinite(a) or nonfinite(b)):
        raise ValueError(f"the row {pred!r} is infinite on {type(schedule).__name__} at a t of these: draw other t")
    error = (y_hat - (expand(a, x0) * x0 + expand(b, x0) * eps)) ** 2
    if space is not None and space != pred:
        ratio = det(space, schedule, t, sd) / det(pred, schedule, t, sd)
        if ratio.device.type == "cpu" and nonfinite(ratio):
            where = t[~ratio.isfinite()].flatten()[0] if t.ndim else t
            raise ValueError(
                f"space {space!r} weighs the row {pred!r} with infinity at t={float(where):g}: draw other t"
            )
        error = error * expand(ratio, x0) ** 2
    if weight is not None:
        factor = weight(t)
        if not torch.isfinite(factor).all() or (factor < 0).any():
            raise ValueError(f"a loss weight must be finite and not negative, got {factor.min():g} to {factor.max():g}")
        error = error * expand(factor, x0)
    return error.flatten(1).mean(1)  # (B,)


def on_schedule(denoise: Denoise, other: Schedule) -> Denoise:
    """A denoiser as one of another schedule: at each t of `other` it is asked at its own level of the same ell.

    Two schedules with the same sigma / alpha show the same picture at another brightness, so the point is rescaled
    and nothing is trained again. Source: Karras et al. 2022, arXiv 2206.00364, appendix B.
    Example: `ddim(on_schedule(load("fashion-unet"), Betas()), x, uniform_grid(20), eta=1)`.
    """
    own: Schedule | None = getattr(denoise, "schedule", None)
    if own is None:
        raise ValueError("this denoiser is a plain function, which knows no schedule: there is nothing to convert from")

    def there(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        t = level(t)
        wanted = ell(other, t.double())
        low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
        for _ in range(40):  # ell rises with t: halve until the level is found
            middle = (low + high) / 2
            below = ell(own, middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        s = ((low + high) / 2).to(t.dtype)
        size = torch.hypot(own.alpha(s), own.sigma(s)) / torch.hypot(other.alpha(t), other.sigma(t))
        return denoise(expand(size, x_t) * x_t, s, cond)

    for name, value in (("schedule", other), *((key, getattr(denoise, key, None)) for key in ("null", "net"))):
        setattr(there, name, value)
    return there


LARGEST_W = 1000.0


def guide(
    denoise: Denoise, w: float, null: Tensor | int | None = None, interval: tuple[float, float] = (0.0, 1.0)
) -> Denoise:
    """Classifier-free guidance: a denoiser around a denoiser, `uncond + w (cond - uncond)`.

    `null` is the label that stands for "no condition", by default the denoiser's own. w=1 is plain conditional
    sampling, w=0 unconditional; the other published form, (1+g) cond - g uncond, is w = 1+g. Every row is affine in y
    at fixed x_t, so guiding x0_hat, eps or v is the same. interval: the levels t (both ends included) at which to
    guide; elsewhere w is 1, which costs one call instead of two. ValueError for a w below 0, above 1000 or not a
    number, an interval outside [0, 1], or a denoiser without labels.
    Source: Ho & Salimans 2022, arXiv 2207.12598; the interval, Kynkaanniemi et al. 2024, arXiv 2404.07724.
    Example: `heun(guide(denoise, 3.0), x, grid, cond=labels)`.
    """
    if not 0 <= w <= LARGEST_W:  # also false for NaN
        raise ValueError(
            f"guidance weight w={w}: expected 0 (no condition), 1 (plain conditional), 2 to 10 (guided); "
            "a negative one flees the label, a huge one leaves the data"
        )
    null = getattr(denoise, "null", None) if null is None else null
    if null is None:
        raise ValueError("guidance needs a null label: this network was built without classes (else pass null=10, say)")
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"guidance interval {interval}: expected (low, high) with 0 <= low <= high <= 1")

    def guided(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if cond is None:
            raise ValueError("guidance needs a condition: pass cond=labels to the sampler")
        if not isinstance(cond, Tensor):
            raise ValueError(f"guidance knows what no label is, not what no {type(cond).__name__} is: pass cond=labels")
        t = level(t)
        here = (low <= t) & (t <= high)
        if w == 1 or not here.any():
            return denoise(x_t, t, cond)
        uncond = denoise(x_t, t, torch.as_tensor(null, device=cond.device).expand_as(cond))
        if w == 0 and here.all():
            return uncond
        plain = denoise(x_t, t, cond)
        same_shape(uncond, plain, "the answer without a condition", "and with one")
        return torch.where(expand(here, x_t).bool(), uncond + w * (plain - uncond), plain)

    setattr(guided, "schedule", getattr(denoise, "schedule", None))  # noqa: B010 (a function has no such field)
    setattr(guided, "null", null)  # noqa: B010
    return guided


def exact_denoiser(source: HasPosteriorMean, schedule: Schedule) -> Denoise:
    """The best possible denoiser of a known source, with no training: the posterior mean `E[x0 | x_t]`.

    `source` is `data.toy.Mixture` or `data.toy.FiniteSet`, which have no labels: ValueError for a `cond`.
    Example: `last(heun(exact_denoiser(grid25(), Linear()), x, uniform_grid(50)))`.
    """

    def denoise(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if cond is not None:
            raise ValueError("the exact denoiser of a source without labels cannot be told cond")
        return same_shape(source.posterior_mean(x_t, schedule.alpha(t), schedule.sigma(t)), x_t, "the posterior mean")

    setattr(denoise, "schedule", schedule)  # noqa: B010 (a function has no such field)
    return denoise
