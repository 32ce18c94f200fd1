"""Models of data in the plane, whose exact answer is known."""

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from minidiff.data.toy import grid25
from minidiff.measure.modes import mode_report
from minidiff.measure.proportion import share
from minidiff.nn.mlp import MLP
from minidiff.predict import Denoiser, exact_denoiser
from minidiff.recipes.draw import fifths, generate, labels_of
from minidiff.recipes.row import Metrics, Recipe, fixed
from minidiff.sample import heun, last, prior
from minidiff.scale import pick
from minidiff.schedule import Linear, add_noise, uniform_grid
from minidiff.train.batches import fresh


def net(at: str) -> nn.Module:
    """The network of `toy-mlp` at a scale."""
    return MLP(2, width=16, depth=1) if at == "smoke" else MLP(2, width=128, depth=3)


def measure(denoise: Denoiser, n: int | None, folder: Path) -> Metrics:
    """Share of samples inside a mode (heun, 50 steps), beside the exact denoiser's, and how far the two are apart."""
    fixed(n)
    source, n = grid25(), pick(smoke=500, laptop=10_000)
    exact = exact_denoiser(source, denoise.schedule)
    noise = prior(denoise.schedule, (n, 2), Generator().manual_seed(0))
    metrics: Metrics = {}
    for name, model in (("share in mode", denoise), ("share in mode, exact denoiser", exact)):
        x = last(heun(model, noise, uniform_grid(50)))
        near = torch.cdist(x, source.means).min(1).values < 3 * float(source.stds[0])
        metrics[name] = share(near) | {"modes": mode_report(x, source.means, float(source.stds[0])).covered}
    generator = Generator().manual_seed(1)
    x0, t = source.sample(n, generator), torch.rand(n, generator=generator)
    x_t = add_noise(denoise.schedule, x0, torch.randn(x0.shape, generator=generator), t)
    with torch.no_grad():
        gap = (denoise(x_t, t) - exact(x_t, t)).square().mean().sqrt()
    metrics["rms distance from the exact denoiser"] = {"value": float(gap), "n": n}
    return metrics


def draw(denoise: Denoiser, n: int, steps: int, seed: int, label: str | None, w: float) -> Tensor:
    """n points in the plane, (n, 2)."""
    labels = labels_of(denoise, (), n, label, w)
    return generate(denoise, n, (2,), steps, seed, fifths(n), labels=labels, w=w)


ROWS = (
    Recipe(
        name="toy-mlp",
        pixels=2,
        about="25 modes in the plane: chapter 03's network, beside its exact answer",
        net=net,
        model=lambda net: Denoiser(net, Linear(), "flow", sd=grid25().sd),
        batches=lambda size, seed: fresh(grid25().sample, size, seed),
        measure=measure,
        draw=draw,
        steps=(20, 12_000, 60_000),
        batch=(64, 512, 512),
        metric="share in mode",
        target=0.95,
        better="higher",
        n=10_000,
        budget=1_000_000,
    ),
)
