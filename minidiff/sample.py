"""From noise to data: four samplers, each one short loop over a grid of noise levels.

A step goes from level t to the next level s. All four split the noisy `x_t` into what the denoiser believes,
`x0_hat`, and what is left, `eps_hat = (x_t - alpha x0_hat) / sigma`, and recombine the two at s:

    ddim      x_s = alpha_s x0_hat + sqrt(sigma_s^2 - eta^2 tau) eps_hat + eta sqrt(tau) z,
              tau = sigma_s^2 (1 - (alpha_t sigma_s / (alpha_s sigma_t))^2):
              eta=1 is DDPM's ancestral step, eta=0 adds no noise
    euler     x_s = x_t + (s - t) u,  the velocity u = alpha' x0_hat + sigma' eps_hat of the probability-flow ODE
    heun      the same, with the mean of the velocities at both ends (the last step, to sigma=0, is Euler's)
    dpmpp_2m  ddim in which x0_hat is extrapolated from the last two denoiser calls, in log-SNR

The grid decides everything else: shape (N+1,) for all samples alike, (N+1,B) for a level each, (N+1,B,F) for a level
per frame. Where s = t a token keeps its value. A grid that runs upwards from a small t inverts (eta=0).

All are called alike, `heun(denoise, x, grid)`. The denoiser knows its schedule; a plain function does not, and is
handed one, `heun(function, x, grid, schedule)`. A schedule that is not the denoiser's is refused: the walk would look
well and end elsewhere (32% of the points in a mode instead of 98%, seen).
Each sampler is a generator that yields `(s, x_s, x0_hat)` after every step: `last(ddim(...))` is the sample.
Sources: Song et al. 2020 (arXiv 2010.02502); Karras et al. 2022 (arXiv 2206.00364), algorithm 1; Lu et al. 2022
(arXiv 2211.01095), algorithm 2.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from minidiff.checks import data, nonfinite, number, same_shape
from minidiff.predict import Denoise
from minidiff.schedule import Schedule, expand

Steps = Iterator[tuple[Tensor, Tensor, Tensor]]


def prior(schedule: Schedule, shape: tuple[int, ...], generator: Generator | None = None, t: float = 1.0) -> Tensor:
    """Where sampling starts: `sigma(t) eps`, float32, of `shape`.

    Example: `prior(Cosine(), (16, 2), torch.Generator().manual_seed(0))`.
    """
    return float(schedule.sigma(torch.as_tensor(t, dtype=torch.float64))) * torch.randn(shape, generator=generator)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Noises between a and b (B, ...) on the arc, not on the chord: share 0 is a, 1 is b. Returns (B, ...).

    Independent noises in many dimensions are nearly orthogonal and of nearly one length. The chord's middle has only
    0.71 of that length, a place where no noise is; the arc keeps it. ValueError where shapes differ.
    Source: Shoemake 1985 (for rotations); White 2016, arXiv 1609.04468 (for latent noise).
    Example: `last(ddim(denoise, slerp(a, b, 0.5), grid))`.
    """
    if a.shape != b.shape:
        raise ValueError(f"slerp between shapes {tuple(a.shape)} and {tuple(b.shape)}: they must be equal")
    number("share", share, 0, 1)
    data(b, "b")
    flat_a, flat_b = data(a).flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b)
    angle = expand(cosine.clamp(-1, 1).acos().clamp(min=1e-6), a)  # (B, 1, ...)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def last(steps: Steps) -> Tensor:
    """Run a sampler to its end and return the final x. Example: `x = last(heun(denoise, noise, uniform_grid(20)))`."""
    final = None
    for _, x, _ in steps:
        final = x
    if final is None:
        raise ValueError("the sampler has no step left to make: a generator runs once, call the sampler again")
    return final


def own_schedule(denoise: Denoise, schedule: Schedule | None) -> Schedule:
    """The schedule to walk on: the denoiser's own, or for a plain function the one handed over.

    ValueError where there is none, or two different ones. Example: `own_schedule(Denoiser(net, Linear()), None)`.
    """
    while hasattr(denoise, "func"):  # functools.partial hides what it wraps
        denoise = getattr(denoise, "func")  # noqa: B009 (a Callable has no such field)
    own = getattr(denoise, "schedule", None)
    found = schedule if own is None else own
    if found is not None and (isinstance(found, type) or not hasattr(found, "sigma")):
        raise ValueError(f"{found!r} is no schedule: expected Linear(), Cosine(), VP(), Karras() or Betas()")
    if found is None:
        raise ValueError("this denoiser is a plain function, which knows no schedule: heun(denoise, x, grid, schedule)")
    if schedule is not None and schedule != found:
        raise ValueError(f"the denoiser lives on {own}, the sampler was told {schedule}: leave the schedule out")
    return found


def check_grid(grid: Tensor, x: Tensor, schedule: Schedule) -> Tensor:
    """Return the grid if a sampler can run on it; else ValueError that names what is wrong and where."""
    grid = torch.as_tensor(grid)
    if grid.is_complex():
        raise ValueError("the grid holds complex numbers: expected noise levels, real numbers in [0, 1]")
    grid = grid if grid.is_floating_point() else grid.double()
    if grid.ndim not in (1, 2, 3) or len(grid) < 2:
        raise ValueError(f"grid of shape {tuple(grid.shape)}: expected (N+1,), (N+1,B) or (N+1,B,F) with N >= 1")
    if not torch.isfinite(grid).all() or grid.min() < 0 or grid.max() > 1:
        raise ValueError(f"grid values must lie in [0, 1], got {grid.min().item():g} to {grid.max().item():g}")
    expand(grid[0], x)  # raises where B or F do not fit
    moves = grid.diff(dim=0)
    if (moves > 0).any() and (moves < 0).any():
        raise ValueError(
            "grid is not monotone: it rises in one place and falls in another; sort it, or invert separately"
        )
    if (moves > 0).any() and (schedule.sigma(grid[:-1])[moves > 0] == 0).any():
        raise ValueError("a rising grid must start above t=0, where there is no noise to scale up: start at 0.01, say")
    return grid


def answer(denoise: Denoise, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    """What the denoiser says of x, of x's shape and type; ValueError for another shape, which would be broadcast, and
    for one that overwrites x, which the step still needs."""
    before = None if x.is_inference() else x._version
    x0_hat = data(same_shape(denoise(x, t, cond), x, "the denoiser's answer"), "the denoiser's answer").to(x.dtype)
    if before is not None and x._version != before:
        raise ValueError("the denoiser overwrites its x_t: let it make a new tensor, x * a in place of x *= a")
    return x0_hat


def keep(new: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """`new` where the level moved, the old x where s = t (clean frames, say)."""
    held = s == t
    return torch.where(expand(held, x).bool(), x, new) if held.any() else new


def pairs(grid: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """The steps of a grid: from t to s, and whether it is the last. Example: `list(pairs(uniform_grid(2)))`."""
    for i, (t, s) in enumerate(zip(grid[:-1], grid[1:], strict=True), 2):
        yield t, s, i == len(grid)


def landed(x: Tensor, s: Tensor, end: bool) -> Tensor:
    """x if a step ended in finite numbers; else FloatingPointError that says where. On a GPU at the end only."""
    if (end or x.device.type == "cpu") and (bad := nonfinite(x)):
        where = f"{bad} of {x.numel()} values are NaN or infinite at t={float(s.max()):g}"
        raise FloatingPointError(f"sampling: {where}: look at what the denoiser answers there, and at its weights")
    return x


def eps_hat(schedule: Schedule, x: Tensor, t: Tensor, x0_hat: Tensor) -> Tensor:
    """The noise that `x0_hat` leaves unexplained: `(x - alpha x0_hat) / sigma`. NaN where sigma is 0 (see `keep`)."""
    return (x - expand(schedule.alpha(t), x) * x0_hat) / expand(schedule.sigma(t), x)


@torch.no_grad()
def ddim(
    denoise: Denoise,
    x: Tensor,
    grid: Tensor,
    schedule: Schedule | None = None,
    cond: Tensor | None = None,
    eta: float = 0.0,
    generator: Generator | None = None,
) -> Steps:
    """DDIM; `eta=1` is DDPM's ancestral sampler, `eta=0` deterministic. x: (B, ...); yields `(s, x_s, x0_hat)`.

    ValueError for an eta outside [0, 1] or a rising grid with eta > 0. Source: Song et al. 2020, eq. 12 and 16.
    Example: `last(ddim(denoise, prior(denoise.schedule, (16, 2)), uniform_grid(50), eta=1))`.
    """
    schedule = own_schedule(denoise, schedule)
    grid = check_grid(grid, x, schedule)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: expected 0 (deterministic) to 1 (DDPM)")
    if eta > 0 and (grid.diff(dim=0) > 0).any():
        raise ValueError(f"eta={eta} on a rising grid: inversion is deterministic, use eta=0")
    for t, s, end in pairs(grid):
        x0_hat = answer(denoise, x, t, cond)
        alpha_t, sigma_t, alpha_s, sigma_s = schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)
        new = expand(alpha_s, x) * x0_hat
        if eta == 0:
            new = new + expand(sigma_s, x) * eps_hat(schedule, x, t, x0_hat)
        else:
            tau = (sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)).clamp(min=0)
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=_device(generator, x)).to(x.device)
            new = new + expand((sigma_s**2 - eta**2 * tau).sqrt(), x) * eps_hat(schedule, x, t, x0_hat)
            new = new + expand(eta * tau.sqrt(), x) * z
        x = keep(new, x, t, s)
        yield s, landed(x, s, end), x0_hat


def _device(generator: Generator | None, x: Tensor) -> torch.device:
    return x.device if generator is None else generator.device


def velocity(schedule: Schedule, x: Tensor, t: Tensor, x0_hat: Tensor) -> Tensor:
    """dx/dt of the probability-flow ODE: `alpha' x0_hat + sigma' eps_hat`, of x's shape."""
    d_alpha, d_sigma = schedule.rates(t)
    return expand(d_alpha, x) * x0_hat + expand(d_sigma, x) * eps_hat(schedule, x, t, x0_hat)


@torch.no_grad()
def euler(
    denoise: Denoise, x: Tensor, grid: Tensor, schedule: Schedule | None = None, cond: Tensor | None = None
) -> Steps:
    """Euler's method on the probability-flow ODE, order 1. x: (B, ...); yields `(s, x_s, x0_hat)`.

    With `Linear` this is how rectified flow samples. Example: `last(euler(denoise, x, uniform_grid(50)))`.
    """
    schedule = own_schedule(denoise, schedule)
    grid = check_grid(grid, x, schedule)
    for t, s, end in pairs(grid):
        x0_hat = answer(denoise, x, t, cond)
        x = keep(x + expand(s - t, x) * velocity(schedule, x, t, x0_hat), x, t, s)
        yield s, landed(x, s, end), x0_hat


@torch.no_grad()
def heun(
    denoise: Denoise, x: Tensor, grid: Tensor, schedule: Schedule | None = None, cond: Tensor | None = None
) -> Steps:
    """Heun's method, order 2: two denoiser calls a step, one where it ends at sigma=0. Yields `(s, x_s, x0_hat)`.

    With `Karras` and `rho_grid` this is EDM's deterministic sampler. Source: Karras et al. 2022, algorithm 1.
    Example: `last(heun(denoise, x, rho_grid(18)))` makes 35 calls.
    """
    schedule = own_schedule(denoise, schedule)
    grid = check_grid(grid, x, schedule)
    for t, s, end in pairs(grid):
        x0_hat = answer(denoise, x, t, cond)
        u_t = velocity(schedule, x, t, x0_hat)
        step = expand(s - t, x)
        new = keep(x + step * u_t, x, t, s)
        noisy = (schedule.sigma(s) > 0) & (s != t)
        if noisy.any():
            u_s = velocity(schedule, new, s, answer(denoise, new, s, cond))
            new = torch.where(expand(noisy, x).bool(), x + step * (u_t + u_s) / 2, new)
        x = new
        yield s, landed(x, s, end), x0_hat


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise, x: Tensor, grid: Tensor, schedule: Schedule | None = None, cond: Tensor | None = None
) -> Steps:
    """DPM-Solver++(2M), order 2 at one call a step: x0_hat is extrapolated along log-SNR. Yields `(s, x_s, x0_hat)`.

    The first step, and a step to sigma=0, are of order 1. Source: Lu et al. 2022 (arXiv 2211.01095), algorithm 2.
    Example: `last(dpmpp_2m(denoise, x, uniform_grid(20)))`.
    """
    schedule = own_schedule(denoise, schedule)
    grid = check_grid(grid, x, schedule)
    before = h_before = torch.zeros(())  # the previous x0_hat and log-SNR step, token by token
    for i, (t, s, end) in enumerate(pairs(grid)):
        x0_hat = answer(denoise, x, t, cond)
        alpha_t, sigma_t, alpha_s, sigma_s = schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)
        moved = s != t
        h = (alpha_s / sigma_s).log() - (alpha_t / sigma_t).log()  # infinite where alpha_t or sigma_s is 0
        # Extrapolation weight h / (2 h_before); 0 (order 1) without a past or at an infinite step
        gain = 0.5 * h / h_before if i else torch.zeros_like(h)
        gain = torch.where(torch.isfinite(h) & torch.isfinite(gain), gain, 0.0)
        guess = x0_hat + expand(gain, x) * (x0_hat - before) if i else x0_hat
        ratio = sigma_s / sigma_t
        x_new = expand(ratio, x) * x + expand(alpha_s - alpha_t * ratio, x) * guess
        before = x0_hat if not i else torch.where(expand(moved, x).bool(), x0_hat, before)
        h_before = torch.where(moved, h, h_before)
        x = keep(x_new, x, t, s)
        yield s, landed(x, s, end), x0_hat
