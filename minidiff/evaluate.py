"""What a trained row is worth: one function per kind of model, each with its n, an interval, and a control beside it.

`evaluate(NAME)` measures; `ship(path)` puts a checkpoint among the shipped ones, with its metrics in the header, if
it is the better one.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from scipy.stats import binomtest
from torch import Generator, Tensor
from tqdm.auto import tqdm

from minidiff import recipes
from minidiff.data import fashion, toy
from minidiff.files import atomic_write, outputs, root
from minidiff.measure.frechet import frechet, report
from minidiff.measure.modes import mode_report
from minidiff.measure.neighbours import nearest, precision_recall
from minidiff.predict import Denoiser, exact_denoiser, guide
from minidiff.sample import Steps, dpmpp_2m, heun, last, prior
from minidiff.scale import pick, scale
from minidiff.schedule import add_noise, uniform_grid
from minidiff.train import checkpoint

Metrics = dict[str, dict[str, Any]]
Sampler = Callable[..., Steps]


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
    denoise: Denoiser,
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
    folder: Path | None = None,
) -> Tensor:
    """n samples on a uniform grid of `calls` steps, (n, *shape), in batches of `size` with a progress bar.

    labels: (n,) classes, guided by w. folder: keeps every batch there and takes up what it finds, so an interrupted
    evaluation goes on where it stopped. Batch i starts from noise seeded by (seed, i): any part can be made again.
    Example: `generate(denoise, 500, (1, 28, 28), labels=torch.arange(500) % 10, w=2.0)`.
    """
    device, parts = next(denoise.net.parameters()).device, []
    guided = denoise if labels is None else guide(denoise, w, denoise.null, interval)
    for i in tqdm(range(0, n, size), desc=f"{n} samples, {calls} calls each", disable=n <= size):
        kept = folder / f"{i}-{min(i + size, n)}.safetensors" if folder else None
        if kept and (x := kept_batch(kept)) is not None:
            parts.append(x)
            continue
        noise = prior(denoise.schedule, (min(size, n - i), *shape), Generator().manual_seed(seed * 100_003 + i))
        cond = None if labels is None else labels[i : i + size].to(device)
        x = last(sampler(guided, noise.to(device), uniform_grid(calls), denoise.schedule, cond=cond)).cpu()
        if kept:
            atomic_write(kept, safetensors.torch.save({"x": x.contiguous()}))
        parts.append(x)
    return torch.cat(parts)


def kept_batch(path: Path) -> Tensor | None:
    """The samples of a file that an interrupted evaluation left, None where there is none or it is damaged."""
    try:
        return safetensors.torch.load(path.read_bytes())["x"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None


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


def image_metrics(denoise: Denoiser, n: int | None = None, folder: Path | None = None) -> Metrics:
    """Samples (50 calls) against the 10,000 test images, every number beside what real images get.

    Frechet distance, its limit, and its ratio to that of test images with noise 0.05; precision and recall; how near
    the nearest training image is. With classes also: how often a sample is recognised as what was asked for, and the
    same at w=2 and 4. n: default 2,000 at laptop scale, 10,000 at gpu; folder: see `generate`.
    """
    n, calls = n or pick(smoke=80, laptop=2_000, gpu=10_000), pick(smoke=2, laptop=50)
    classes, net = denoise.null, recipes.load("fashion-classifier")
    cut = pick(smoke=500, laptop=10_000)
    (real, real_labels), (train, _) = ((a[:cut], b[:cut]) for a, b in map(fashion.load, ("test", "train")))
    labels = torch.arange(n) % classes if classes else None
    fakes = {}
    for w in (1.0, 2.0, 4.0) if classes else (1.0,):
        k = n if w == 1 else min(n, pick(smoke=n, laptop=1_200, gpu=n))  # two calls a step: dear on a laptop
        kept = folder and folder / f"w{w:g}-n{k}"
        fakes[w] = generate(
            denoise, k, (1, 28, 28), calls, labels=None if labels is None else labels[:k], w=w, folder=kept
        )
    real_f, train_f = features(real, classifier=net), features(train, classifier=net)
    noisy = real + 0.05 * torch.randn(real.shape, generator=Generator().manual_seed(0))
    noisy_f = features(noisy, classifier=net)
    metrics: Metrics = {}
    for w, images in fakes.items():
        at, k, fake = "" if w == 1 else f", w={w:g}", len(images), features(images, classifier=net)
        value = frechet(fake, real_f)
        over = value / frechet(noisy_f[:k], real_f)
        metrics[f"Frechet distance over that of noise 0.05{at}"] = {"value": over, "n": k}
        metrics[f"Frechet distance{at}"] = {"value": value, "n": k}
        if w == 1 and k >= 16 * fake.shape[1] + 80:
            full = report(fake, real_f, train_f)
            limit = {"value": full.limit, "n": k, "low": full.low, "high": full.high}
            metrics["Frechet distance, extrapolated to n = infinity"] = limit
            metrics["Frechet distance, real against real"] = {"value": full.null, "n": k}
        precision, recall = precision_recall(fake, real_f[:k])
        metrics |= {f"precision{at}": {"value": precision, "n": k}, f"recall{at}": {"value": recall, "n": k}}
        if labels is not None:
            metrics[f"recognised as its class{at}"] = share(guesses(net, images) == labels[:k])
    precision, recall = precision_recall(train_f[:n], real_f[:n])
    metrics |= {"precision, real": {"value": precision, "n": n}, "recall, real": {"value": recall, "n": n}}
    if classes:
        metrics["recognised as its class, real"] = share(guesses(net, real) == real_labels)
    return metrics | copying(fakes[1.0], real[:n])


def guesses(net: Any, images: Tensor) -> Tensor:
    """The classifier's class of each image (N,1,28,28), (N,)."""
    return torch.cat([net(part).argmax(1) for part in images.split(500)])


def copying(fake: Tensor, real: Tensor) -> Metrics:
    """How near the nearest of the 60,000 training images is, in pixel space, for samples and for held-out images.

    A model that copies has distances that no new image has: below the nearest 1% of the held-out ones, or near 0.
    """
    pool, metrics = fashion.load("train")[0][: pick(smoke=500, laptop=60_000)], {}
    near, held_out = nearest(fake, pool)[0], nearest(real, pool)[0]
    for name, at in (("smallest", 0.0), ("1% quantile", 0.01), ("median", 0.5)):
        for who, distance in (("", near), (", held-out", held_out)):
            value = {"value": float(distance.quantile(at)), "n": len(distance)}
            metrics[f"distance to the nearest training image, {name}{who}"] = value
    return metrics


def evaluate(name: str, path: Path | str | None = None, n: int | None = None) -> Metrics:
    """All metrics of a row's checkpoint (default: the shipped one). Sizes follow the scale; n overrides it for images.

    Interrupted, the same call goes on with the samples it has. ValueError for an n where it has no meaning or is too
    small. Example: `evaluate("toy-mlp")`.
    """
    model, recipe = recipes.load(name, path), recipes.get(name)
    if n is not None and (recipe.data == "grid25" or recipe.kind == "classifier"):
        raise ValueError(f"n={n}: {name} has a fixed evaluation; n is for models of images")
    if n is not None and not 1_120 <= n <= 10_000:
        raise ValueError(f"n={n}: expected 1,120 (fewer say nothing about 64 features) to 10,000 (all test images)")
    if recipe.kind == "classifier":
        return classifier_metrics(model)
    if recipe.data == "grid25":
        return toy_metrics(model)
    mark = checkpoint.read_header(Path(path) if path else recipes.shipped(name))["sha256"][:12]
    folder = outputs() / "evaluations" / f"{name}-{mark}-{scale()}"
    metrics = image_metrics(model, n, folder)
    shutil.rmtree(folder)
    return metrics


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
        before = checkpoint.read_header(target)["metrics"][recipe.metric]
        old, n = before["value"], metrics[recipe.metric]["n"]
        if n != before["n"]:
            raise ValueError(
                f"measured at n={n}, the shipped file at n={before['n']}: compare at one n, --n {before['n']}"
            )
        if (value <= old) == (recipe.better == "higher"):
            return (
                False,
                f"{recipe.metric} {value:.4f} is not better than the shipped {old:.4f}: the shipped file stays",
            )
    header.pop("sha256")
    checkpoint.write(target, tensors, header | {"metrics": metrics})
    return True, f"{recipe.metric} {value:.4f}: shipped as data/checkpoints/{target.name}"


def record(name: str, metrics: Metrics, command: str) -> Path:
    """Keep a measurement of the shipped weights: in their header, and as `data/results/NAME.json` with command,
    revision, device and date."""
    path, shipped = root() / "data" / "results" / f"{name}.json", recipes.shipped(name)
    if scale() != "smoke":
        tensors, header = checkpoint.read(shipped)
        header.pop("sha256")
        checkpoint.write(shipped, tensors, header | {"metrics": metrics})
    atomic_write(path, (json.dumps(facts(command) | {"metrics": metrics}, indent=1) + "\n").encode())
    return path


def facts(command: str) -> dict[str, str]:
    """What a recorded number needs beside it: command, revision, device, date."""
    device, date = recipes.device_name(torch.device("cpu")), time.strftime("%Y-%m-%d")
    return {"command": command, "revision": recipes.revision(), "device": device, "date": date}
