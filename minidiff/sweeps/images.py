"""Sweeps over models of clothes: what a network call buys (chapter 06), and when a network copies (chapter 05)."""

from functools import cache, partial

import torch
from torch import Generator, Tensor

from minidiff.data import fashion
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import nearest, precision_recall
from minidiff.nn.unet import UNet
from minidiff.predict import Denoise, Denoiser, on_schedule
from minidiff.recipes.draw import Sampler, generate, labels_of
from minidiff.recipes.fashion import features, guesses, shipped_classifier
from minidiff.recipes.run import load
from minidiff.sample import Steps, ddim, dpmpp_2m, heun
from minidiff.scale import pick
from minidiff.schedule import Betas, Linear, Schedule
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.train.batches import shuffled
from minidiff.train.fit import denoising_loss, fit

SOLVERS: dict[str, Sampler] = {
    "ancestral": partial(ddim, eta=1.0),
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
}


def calls(sampler: str, calls: int) -> Row:
    """The clothes model, classes in equal parts, with a sampler and a budget of network calls."""
    denoise, n = load("fashion-unet"), pick(smoke=80, laptop=1000)
    steps = (calls + 1) // 2 if sampler == "heun" else calls
    solver = SOLVERS[sampler]
    if sampler == "ancestral":
        solver = partial(ddim, eta=1.0, generator=Generator().manual_seed(1))
    labels = labels_of(denoise, fashion.NAMES, n, None, 1.0)
    images = generate(denoise, n, (1, 28, 28), steps, labels=labels, sampler=solver)
    return {"network_calls": 2 * steps - 1 if sampler == "heun" else steps} | quality(images)


def ancestral(
    denoise: Denoise,
    x: Tensor,
    grid: Tensor,
    cond: Tensor | None = None,
    large: bool = False,
    generator: Generator | None = None,
) -> Steps:
    """DDPM's step with its fixed small variance, beta (1 - alpha_bar_s) / (1 - alpha_bar_t), or the large one, beta.

    The mean is the same; the last step adds no noise. Small is right for data that is one point, large for data that
    is unit noise (Ho et al. 2020, arXiv 2006.11239, section 3.2). grid: (N+1,), falling.
    Example: `last(ancestral(on_schedule(load("fashion-unet"), Betas()), x, uniform_grid(20), large=True))`.
    """
    schedule: Schedule = getattr(denoise, "schedule")  # noqa: B009 (a function has no such field)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        alpha_t, sigma_t, alpha_s, sigma_s = schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)
        x0_hat, shrink = denoise(x, t, cond), alpha_t / alpha_s
        beta = sigma_t**2 - shrink**2 * sigma_s**2
        x = (alpha_s * beta * x0_hat + shrink * sigma_s**2 * x) / sigma_t**2
        if s > 0:
            tau = (beta if large else beta * sigma_s**2 / sigma_t**2).sqrt()
            x = x + tau * torch.randn(x.shape, generator=generator)
        yield s, x, x0_hat


def variance(large: int, calls: int) -> Row:
    """The clothes model on DDPM's table, walked with one of the fixed variances."""
    denoise, n = on_schedule(load("fashion-unet"), Betas()), pick(smoke=80, laptop=600)
    labels = labels_of(denoise, fashion.NAMES, n, None, 1.0)
    walk = partial(ancestral, large=bool(large), generator=Generator().manual_seed(1))
    images = generate(denoise, n, (1, 28, 28), pick(smoke=2, laptop=calls), labels=labels, sampler=walk)
    return quality(images) | {"pixels": pack(images[:10])}


def guidance(w: float, low: float, high: float, seed: int) -> Row:
    """Classes in equal parts, guided by w at levels from low to high, 20 steps.

    DDIM, for a sampler that extrapolates from its last answer would stumble where guidance sets in. Pictures are
    clipped to [-1, 1], as they are seen.
    """
    denoise, n = load("fashion-unet"), pick(smoke=80, laptop=600)
    labels = torch.arange(n) % len(fashion.NAMES)
    calls, range_ = pick(smoke=2, laptop=20), (low, high)
    images = generate(denoise, n, (1, 28, 28), calls, seed, labels=labels, w=w, interval=range_, sampler=ddim).clamp(
        -1, 1
    )
    hits = guesses(shipped_classifier(), images) == labels
    return quality(images) | {"recognised": float(hits.float().mean())}


def guidance_settings() -> list[Row]:
    """Three seeds each: w everywhere, and two of them in the middle of the walk only."""
    everywhere = [(w, 0.0, 1.0) for w in (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)]
    middle = [(w, 0.2, 0.8) for w in (3.0, 8.0)]
    keys = ("w", "low", "high", "seed")
    return [dict(zip(keys, (*one, seed), strict=True)) for seed in range(3) for one in everywhere + middle]


@cache
def test_features(cut: int) -> Tensor:
    """Features of the first `cut` test images, (cut, 64): every judgement needs them, once is enough."""
    return features(fashion.load("test")[0][:cut])


def quality(images: Tensor) -> Row:
    """Frechet distance to the test images, precision and recall, with n."""
    real_f, fake_f, n = test_features(pick(smoke=500, laptop=10_000)), features(images), len(images)
    precision, recall = precision_recall(fake_f, real_f[:n])
    return {"frechet": frechet(fake_f, real_f), "precision": precision, "recall": recall, "n": n}


def data_size(images: int) -> Row:
    """A small U-Net at 14x14, trained on the first `images` of Fashion-MNIST: does it make new clothes, or old ones?"""
    train, test = fashion.load("train", 14)[0], fashion.load("test", 14)[0][: pick(smoke=80, laptop=1000)]
    pool, steps, n = train[:images], pick(smoke=5, laptop=1500), pick(smoke=50, laptop=500)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoise = Denoiser(UNet(1, 16, (1, 2, 2), 1), Linear(), "flow", fashion.SD)
    *_, state = fit(denoise, shuffled([pool], 64), steps, ema=0.998)
    with state.ema.applied(denoise.net):
        x = generate(denoise, n, (1, 14, 14), 25)
        seen, unseen = (held_out_loss(denoise, part) for part in (pool[:1000], test))
    near, held_out = nearest(x, pool)[0], nearest(test, pool)[0]
    return {
        "copied": float((near < held_out.quantile(0.01)).float().mean()),
        "nearest": float(near.median()),
        "nearest_held_out": float(held_out.median()),
        "loss_seen": seen,
        "loss_unseen": unseen,
        "steps": steps,
        "n": n,
    }


@torch.no_grad()
def held_out_loss(denoise: Denoiser, *batch: Tensor) -> float:
    """The mean loss over images (N,1,H,W), and labels (N,), at levels and noises that are the same in every call."""
    times = -(-1000 // len(batch[0]))
    batch = tuple(torch.cat([x] * times) for x in batch)
    return float(denoising_loss(denoise, batch, Generator().manual_seed(5))[0].mean())


CALLS = Sweep(
    "quality against network calls, four samplers",
    lambda: [{"sampler": name, "calls": k} for name in SOLVERS for k in (4, 6, 10, 20, 50)],
    calls,
)
DATA_SIZE = Sweep(
    "copies against the number of training images",
    lambda: [{"images": n} for n in (100, 1000, 10_000, 60_000)],
    data_size,
)
VARIANCE = Sweep(
    "fixed small and fixed large variance on DDPM's table, against the number of steps",
    lambda: [{"large": large, "calls": calls} for large in (0, 1) for calls in (20, 100)],
    variance,
)
GUIDANCE = Sweep(
    "fidelity and diversity against the guidance weight, at all levels and in the middle only",
    guidance_settings,
    guidance,
)
