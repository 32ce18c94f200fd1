"""Many samples from a denoiser: in batches, with a progress bar, and with nothing lost on an interruption."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Generator, Tensor

from minidiff.bars import tqdm
from minidiff.checks import nonfinite
from minidiff.files import atomic_write
from minidiff.measure.neighbours import nearest
from minidiff.predict import Denoise, guide
from minidiff.recipes.row import Metrics
from minidiff.sample import Steps, ddim, dpmpp_2m, prior
from minidiff.sample import last as final
from minidiff.schedule import Schedule, shifted, uniform_grid

Sampler = Callable[..., Steps]


def generate(
    denoise: Denoise,
    n: int,
    shape: tuple[int, ...],
    calls: int = 50,
    seed: int = 0,
    size: int = 250,
    *,
    labels: Tensor | None = None,
    w: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
    sampler: Sampler = dpmpp_2m,
    shift: float = 1.0,
    eta: float | None = None,
    folder: Path | None = None,
) -> Tensor:
    """n samples on a uniform grid of `calls` steps, (n, *shape), in batches of `size`; a progress bar after 3 seconds.

    labels: (n,) classes, or (n,L) word numbers, guided by w at the levels of `interval`. shift: of the grid, see
    `shifted`. eta: take `ddim` with that eta instead of the sampler, 1 for fresh noise at every step. folder: keeps
    every batch there and takes up what it finds, so an interrupted evaluation goes on where it stopped. Batch i starts
    from noise seeded by (seed, i): any part can be made again.
    Example: `generate(denoise, 500, (1, 28, 28), labels=torch.arange(500) % 10, w=2.0)`.
    """
    net, parts = getattr(denoise, "net", None), []
    device = next(net.parameters()).device if net is not None else torch.device("cpu")
    schedule: Schedule = getattr(denoise, "schedule")  # noqa: B009 (a function has no such field)
    if labels is None and w != 1:
        raise ValueError(f"w={w}: there is nothing to guide by without labels")
    guided = denoise if labels is None else guide(denoise, w, interval=interval)
    batches = range(0, n, size)
    words = f"{n} samples, {calls} steps each"
    with tqdm(total=len(batches) * calls, desc=words, unit="step", delay=3, leave=n > size) as bar:
        for i in batches:
            kept = folder / f"{i}-{min(i + size, n)}.safetensors" if folder else None
            if kept and (x := kept_batch(kept, (min(size, n - i), *shape))) is not None:
                parts.append(x)
                bar.update(calls)
                continue
            generator = Generator().manual_seed(seed * 100_003 + i)
            noise = prior(schedule, (min(size, n - i), *shape), generator)
            cond = None if labels is None else labels[i : i + size].to(device)
            steps = sampler if eta is None else partial(ddim, eta=eta, generator=generator)
            walk = steps(guided, noise.to(device), shifted(uniform_grid(calls), shift), cond=cond)
            x = final(counted(walk, bar)).cpu()
            if kept:
                atomic_write(kept, safetensors.torch.save({"x": x.contiguous()}))
            parts.append(x)
    return torch.cat(parts)


def counted(walk: Steps, bar: tqdm) -> Steps:
    """The steps of a sampler, each of which moves the bar on."""
    for step in walk:
        yield step
        bar.update()


def kept_batch(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The samples of a file that an interrupted evaluation left, None where there is none, or not such a one."""
    if not path.is_file() or path.stat().st_size > 4 * math.prod(shape) + 10_000:
        return None
    try:
        x = safetensors.torch.load(path.read_bytes())["x"]
    except (SafetensorError, KeyError):
        return None
    return x if tuple(x.shape) == shape and x.dtype == torch.float32 and not nonfinite(x) else None


def fifths(n: int) -> int:
    """A batch size that shows progress in about five steps. Example: `fifths(40)` is 8."""
    return max(1, min(250, -(-n // 5)))


def labels_of(denoise: Denoise, names: tuple[str, ...], n: int, label: str | None, w: float) -> Tensor | None:
    """The labels (n,) that `minidiff sample` asks for: one class by name or number, or all in turn; None without.

    ValueError for a word that is no class, and for a label or a w given to a network without classes.
    Example: `labels_of(denoise, fashion.NAMES, 40, "bag", 2.0)`.
    """
    null: int | None = getattr(denoise, "null", None)
    if null is None:
        if label is not None or w != 1:
            raise ValueError("this model knows no classes: it takes no prompt, and no w but 1")
        return None
    if label is None:
        return torch.arange(n) % null
    if label not in names and label not in map(str, range(len(names))):
        known = f"{', '.join(names)}, or 0 to {len(names) - 1}" if names else "none by name"
        raise ValueError(f"{label!r}: no such class; there are {known}")
    return torch.full((n,), names.index(label) if label in names else int(label))


def copying(fake: Tensor, real: Tensor, pool: Tensor) -> Metrics:
    """How near the nearest of the training images (pool) is, in pixel space, for samples and for held-out images.

    A model that copies has distances that no new image has: below the nearest 1% of the held-out ones, or near 0.
    Example: `copying(samples, test, train)["distance to the nearest training image, median"]`.
    """
    metrics: Metrics = {}
    near, held_out = nearest(fake, pool)[0], nearest(real, pool)[0]
    for name, at in (("smallest", 0.0), ("1% quantile", 0.01), ("median", 0.5)):
        for who, distance in (("", near), (", held-out", held_out)):
            value = {"value": float(distance.quantile(at)), "n": len(distance)}
            metrics[f"distance to the nearest training image, {name}{who}"] = value
    return metrics
