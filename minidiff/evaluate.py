"""What a trained row is worth: one function per kind of model, each with its n, an interval, and a control beside it.

`evaluate(NAME)` measures; `ship(path)` puts a checkpoint among the shipped ones, with its metrics in the header, if
it is the better one.
"""

import json
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Generator, Tensor
from tqdm.auto import tqdm

from minidiff import recipes
from minidiff.data import fashion, toy
from minidiff.files import atomic_write, root
from minidiff.measure.frechet import frechet, report
from minidiff.measure.modes import mode_report
from minidiff.measure.neighbours import precision_recall
from minidiff.predict import Denoiser, exact_denoiser
from minidiff.sample import dpmpp_2m, heun, last, prior
from minidiff.scale import pick
from minidiff.schedule import add_noise, uniform_grid
from minidiff.train import checkpoint

Metrics = dict[str, dict[str, Any]]


def share(hits: Tensor) -> dict[str, Any]:
    """A proportion with its 95% Wilson interval. hits: (n,) bool. Example: `share(labels == guesses)["low"]`."""
    n, k = len(hits), int(hits.sum())
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return {"value": k / n, "n": n, "low": float(interval.low), "high": float(interval.high)}


@torch.no_grad()
def features(images: Tensor, size: int = 500, classifier: Any = None) -> Tensor:
    """Features of the shipped Fashion-MNIST classifier, (N, 64). images: (N,1,H,W) in [-1, 1]."""
    net = classifier or recipes.load("fashion-classifier")
    return torch.cat([net.features(part) for part in images.split(size)])


def generate(
    denoise: Denoiser, n: int, shape: tuple[int, ...], calls: int = 50, seed: int = 0, size: int = 250
) -> Tensor:
    """n samples by DPM-Solver++(2M) with `calls` network calls each, (n, *shape), in batches with a progress bar.

    Batch i starts from noise seeded by (seed, i), so any part can be made again. Example: `generate(denoise, 500,
    (1, 28, 28))`.
    """
    parts = []
    device = next(denoise.net.parameters()).device
    for i in tqdm(range(0, n, size), desc=f"{n} samples, {calls} calls each", disable=n <= size):
        noise = prior(denoise.schedule, (min(size, n - i), *shape), Generator().manual_seed(seed * 100_003 + i)).to(
            device
        )
        parts.append(last(dpmpp_2m(denoise, noise, uniform_grid(calls), denoise.schedule)).cpu())
    return torch.cat(parts)


def toy_metrics(denoise: Denoiser) -> Metrics:
    """Share of samples inside a mode (heun, 50 steps), beside the exact denoiser's, and the network's distance from
    it."""
    source, n = toy.grid25(), pick(smoke=500, laptop=10_000)
    exact = exact_denoiser(source, denoise.schedule)
    noise = prior(denoise.schedule, (n, 2), Generator().manual_seed(0))
    metrics: Metrics = {}
    for name, model in (("share in mode", denoise), ("share in mode, exact denoiser", exact)):
        x = last(heun(model, noise, uniform_grid(50), denoise.schedule))
        near = torch.cdist(x, source.means).min(1).values < 3 * float(source.stds[0])
        metrics[name] = share(near) | {"modes": mode_report(x, source.means, float(source.stds[0])).covered}
    generator = Generator().manual_seed(1)
    x0, t = source.sample(n, generator), torch.rand(n, generator=generator)
    x_t = add_noise(denoise.schedule, x0, torch.randn(x0.shape, generator=generator), t)
    with torch.no_grad():
        gap = (denoise(x_t, t) - exact(x_t, t)).square().mean().sqrt()
    metrics["rms distance from the exact denoiser"] = {"value": float(gap), "n": n}
    return metrics


@torch.no_grad()
def classifier_metrics(net: Any) -> Metrics:
    """Accuracy on the Fashion-MNIST test images, with a majority vote's beside it."""
    images, labels = fashion.load("test")
    images, labels = images[: pick(smoke=200, laptop=10_000)], labels[: pick(smoke=200, laptop=10_000)]
    guess = torch.cat([net(part).argmax(1) for part in images.split(500)])
    return {"test accuracy": share(guess == labels), "always guessing one class": share(labels == labels.mode().values)}


def image_metrics(denoise: Denoiser) -> Metrics:
    """Frechet distance of samples from the test images, over that of test images with noise 0.05; precision and
    recall.

    The second to compare with is real against real: training images against test images at the same n.
    """
    n = pick(smoke=80, laptop=2_000, gpu=10_000)
    net = recipes.load("fashion-classifier")
    real, train = (fashion.load(split)[0][: pick(smoke=500, laptop=10_000)] for split in ("test", "train"))
    fake = features(generate(denoise, n, (1, 28, 28), calls=pick(smoke=2, laptop=50)), classifier=net)
    real_f, train_f = features(real, classifier=net), features(train, classifier=net)
    noisy = real + 0.05 * torch.randn(real.shape, generator=Generator().manual_seed(0))
    noise_distance = frechet(features(noisy, classifier=net)[:n], real_f)
    metrics: Metrics = {}
    if n >= 10 * fake.shape[1]:
        full = report(fake, real_f, train_f)
        metrics["Frechet distance"] = {"value": full.value, "n": n}
        limit = {"value": full.limit, "n": n, "low": full.low, "high": full.high}
        metrics["Frechet distance, extrapolated to n = infinity"] = limit
        metrics["Frechet distance, real against real"] = {"value": full.null, "n": n}
    value = frechet(fake, real_f) / noise_distance
    metrics["Frechet distance over that of noise 0.05"] = {"value": value, "n": n}
    precision, recall = precision_recall(fake, real_f[:n])
    return metrics | {"precision": {"value": precision, "n": n}, "recall": {"value": recall, "n": n}}


def evaluate(name: str, path: Path | str | None = None) -> Metrics:
    """All metrics of a row's checkpoint (default: the shipped one). Sizes follow the scale. Example:
    `evaluate("toy-mlp")`."""
    model, recipe = recipes.load(name, path), recipes.get(name)
    if recipe.kind == "classifier":
        return classifier_metrics(model)
    return toy_metrics(model) if recipe.data == "grid25" else image_metrics(model)


def meets(recipe: recipes.Recipe, value: float) -> bool:
    """Whether a value of the row's metric reaches its target."""
    return value >= recipe.target if recipe.better == "higher" else value <= recipe.target


def ship(path: Path, metrics: Metrics) -> tuple[bool, str]:
    """Put a checkpoint among the shipped ones with `metrics` in its header; (done, reason). A better shipped file
    stays.

    ValueError for smoke weights, or a file over the row's byte budget.
    """
    tensors, header = checkpoint.read(path)
    recipe = recipes.get(header["recipe"])
    if header["scale"] == "smoke":
        raise ValueError(
            f"{path} was trained at smoke scale, which proves that the code runs and nothing else: not shipped"
        )
    if path.stat().st_size > recipe.budget:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes, the budget of {recipe.name} is {recipe.budget:,}")
    value, target = metrics[recipe.metric]["value"], recipes.shipped(recipe.name)
    if target.exists():
        old = checkpoint.read_header(target)["metrics"][recipe.metric]["value"]
        if (value <= old) == (recipe.better == "higher"):
            return (
                False,
                f"{recipe.metric} {value:.4f} is not better than the shipped {old:.4f}: the shipped file stays",
            )
    header.pop("sha256")
    checkpoint.write(target, tensors, header | {"metrics": metrics})
    return True, f"{recipe.metric} {value:.4f}: shipped as data/checkpoints/{target.name}"


def record(name: str, metrics: Metrics, command: str) -> Path:
    """Write a measurement of the shipped weights to `data/results/NAME.json`, with its command, revision and
    device."""
    path = root() / "data" / "results" / f"{name}.json"
    facts = {"command": command, "revision": recipes.revision(), "device": recipes.device_name(torch.device("cpu"))}
    atomic_write(path, (json.dumps(facts | {"metrics": metrics}, indent=1) + "\n").encode())
    return path
