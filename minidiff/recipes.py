"""One row per trained model: data, network, schedule, row, steps at each scale, target, byte budget.

`minidiff train NAME` trains a row, `minidiff evaluate NAME` measures it, `minidiff.load(NAME)` returns what the row
names.
`laptop` and `gpu` share one network, so a laptop can load what a GPU trained; `smoke` is a tiny one that only proves
the code runs.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.data import fashion, toy
from minidiff.files import outputs, root
from minidiff.nn.classifier import Classifier
from minidiff.nn.mlp import MLP
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.scale import SCALES, scale
from minidiff.schedule import Linear, Schedule
from minidiff.train import checkpoint
from minidiff.train.batches import Batch, fresh, shuffled
from minidiff.train.fit import State, denoising_loss, fit


@dataclass(frozen=True)
class Recipe:
    """A row. `net`: scale -> network. `steps`, `batch`: at smoke, laptop, gpu. `metric` is compared with `target` in
    the direction of `better`.

    `budget` is the largest allowed file in bytes. Example: `RECIPES["fashion-unet"].batch`.
    """

    name: str
    about: str
    kind: str  # "denoiser" or "classifier"
    data: str  # "grid25" or "fashion"
    net: Callable[[str], nn.Module]
    steps: tuple[int, int, int]
    metric: str
    target: float
    better: str  # "higher" or "lower"
    budget: int
    schedule: Schedule = Linear()
    pred: str = "flow"
    sd: float = 1.0
    batch: tuple[int, int, int] = (64, 128, 512)
    lr: float = 1e-3
    ema: float = 0.999
    decay_from: float = 0.7
    weight_decay: float = 0.0
    classes: int = 0  # labels that a denoiser is told, 0 for none
    drop: float = 0.0  # share of them hidden in training, so that the network also learns to do without
    seed: int = 0


def _unet(at: str, classes: int = 0) -> nn.Module:
    base, mults = (8, (1, 1)) if at == "smoke" else (16, (1, 2, 4))
    return UNet(1, base, mults, blocks=1, classes=classes)


ROWS = (
    Recipe(
        name="toy-mlp",
        about="25 modes in the plane: chapter 03's network, beside its exact answer",
        kind="denoiser",
        data="grid25",
        net=lambda at: MLP(2, width=16, depth=1) if at == "smoke" else MLP(2, width=128, depth=3),
        steps=(20, 12_000, 60_000),
        metric="share in mode",
        target=0.95,
        better="higher",
        budget=1_000_000,
        sd=toy.grid25().sd,
        batch=(64, 512, 512),
    ),
    Recipe(
        name="fashion-classifier",
        about="names the ten kinds of clothes; its features measure generated ones",
        kind="classifier",
        data="fashion",
        net=lambda at: Classifier(1, 10, base=8, features=16) if at == "smoke" else Classifier(1, 10),
        steps=(10, 4_000, 6_000),
        metric="test accuracy",
        target=0.92,
        better="higher",
        budget=1_000_000,
        weight_decay=0.05,
        lr=2e-3,
        decay_from=0.1,
        ema=0.998,
    ),
    Recipe(
        name="fashion-unet",
        about="draws clothes from noise, unconditionally",
        kind="denoiser",
        data="fashion",
        net=_unet,
        steps=(10, 4_500, 12_000),
        metric="Frechet distance over that of noise 0.05",
        target=1.0,
        better="lower",
        budget=4_000_000,
        sd=fashion.SD,
        ema=0.9995,
    ),
)
RECIPES = {row.name: row for row in ROWS}
SETTABLE = ("lr", "ema", "decay_from", "weight_decay", "drop", "seed")


def get(name: str) -> Recipe:
    """The row of that name; KeyError naming the known ones. Example: `get("toy-mlp").metric`."""
    if name not in RECIPES:
        raise KeyError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def build(recipe: Recipe, at: str) -> Any:
    """A fresh, seeded model of the row: a `Denoiser` or a `Classifier`. `at` is a scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = recipe.net(at)
    return Denoiser(net, recipe.schedule, recipe.pred, recipe.sd) if recipe.kind == "denoiser" else net


def batches(recipe: Recipe, size: int) -> Callable[[int], Batch]:
    """The row's training batches of `size` samples, as a function of the step."""
    if recipe.data == "grid25":
        return fresh(toy.grid25().sample, size, recipe.seed)
    images, labels = fashion.load("train")
    kept = (images, labels) if recipe.kind == "classifier" or recipe.classes else (images,)
    return shuffled(kept, size, recipe.seed)


def classifier_loss(net: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
    """Cross-entropy of randomly mirrored images. batch: (images, labels) -> (B,), levels 0 (B,)."""
    images, labels = batch
    flip = torch.rand(len(images), generator=generator).to(images) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    losses = F.cross_entropy(net(images), labels, reduction="none", label_smoothing=0.05)
    return losses, torch.zeros_like(losses)


def revision() -> str:
    """The code's revision for headers: `$MINIDIFF_REV`, else git's (with `-dirty`), else 'unknown'."""
    if rev := os.environ.get("MINIDIFF_REV"):
        return rev
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=root(), capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device: torch.device) -> str:
    """'cpu (2 threads)' or the GPU's name."""
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} ({torch.get_num_threads()} threads)"
    )


def configure(name: str, settings: dict[str, str] | None = None) -> Recipe:
    """The row with `--set key=value` applied; ValueError for an unknown key or a value of the wrong kind."""
    recipe = get(name)
    kinds = {f.name: type(getattr(recipe, f.name)) for f in fields(recipe) if f.name in SETTABLE}
    for key, text in (settings or {}).items():
        if key not in kinds:
            raise ValueError(f"--set {key}: unknown setting; there are steps, batch, {', '.join(kinds)}")
        try:
            recipe = replace(recipe, **{key: kinds[key](text)})
        except ValueError:
            raise ValueError(f"--set {key}={text}: expected {kinds[key].__name__}") from None
    return recipe


def train(name: str, at: str | None = None, settings: dict[str, str] | None = None) -> Iterator[State | Path]:
    """Train a row; yields the states of `fit`, and last the path of the checkpoint written into the run's folder.

    at: a scale, default the current one. settings: overrides: `steps`, `batch`, and those of `configure`. A run
    interrupted in `outputs/runs/NAME-SCALE` is resumed. Example: `*_, path = train("toy-mlp", "smoke")`.
    """
    at = at or scale()
    if at not in SCALES:
        raise ValueError(f"unknown scale {at!r}: expected one of {', '.join(SCALES)}")
    settings, sizes = dict(settings or {}), []
    for key in ("steps", "batch"):
        text = str(settings.pop(key, getattr(get(name), key)[SCALES.index(at)]))
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"--set {key}={text}: expected a whole number, 1 or more")
        sizes.append(int(text))
    steps, batch = sizes
    recipe, code = configure(name, settings), revision()
    model = build(recipe, at)
    net: nn.Module = getattr(model, "net", model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    folder = outputs() / "runs" / f"{name}-{at}"
    loss = classifier_loss if recipe.kind == "classifier" else partial(denoising_loss, drop=recipe.drop)
    options: dict[str, Any] = {key: getattr(recipe, key) for key in ("lr", "ema", "decay_from", "weight_decay", "seed")}
    yield from fit(
        model, batches(recipe, batch), steps, loss=loss, every=max(1, steps // 200), folder=folder, **options
    )
    state_file = folder / "state.safetensors"
    tensors, kept = checkpoint.read(state_file)  # also when the run had ended before
    weights = {n.removeprefix("ema."): v.bfloat16() for n, v in tensors.items() if n.startswith("ema.")}
    header = {
        "recipe": name,
        "scale": at,
        "settings": settings,
        "steps": steps,
        "batch": batch,
        "samples": kept["samples"],
        "seconds": round(seconds(folder / "log.jsonl")),
        "device": device_name(device),
        "revision": code,
        "date": time.strftime("%Y-%m-%d"),
        "parameters": sum(p.numel() for p in net.parameters()),
        "metrics": {},
    }
    path = folder / f"{name}.safetensors"
    checkpoint.write(path, weights, header)
    yield path


def seconds(log: Path) -> float:
    """Training time of a run, over all its interruptions, from its log."""
    total, before = 0.0, 0
    for line in log.read_text().splitlines():
        row = json.loads(line)
        total += (row["samples"] - before) / row["samples_per_s"]
        before = row["samples"]
    return total


def shipped(name: str) -> Path:
    """Where the shipped weights of a row are, or would be: `data/checkpoints/NAME.safetensors`."""
    return root() / "data" / "checkpoints" / f"{get(name).name}.safetensors"


def load(name: str, path: Path | str | None = None, device: str | torch.device = "cpu") -> Any:
    """What the row names, ready to use: a `Denoiser` (toy-mlp, fashion-unet) or a `Classifier`, with shipped weights.

    path: another checkpoint of the same row. CheckpointError when the file is missing, damaged or of another row.
    Example: `denoise = load("fashion-unet"); x = last(heun(denoise, prior(denoise.schedule, (16, 1, 28, 28)),
    uniform_grid(20), denoise.schedule))`.
    """
    recipe = get(name)
    source = Path(path) if path else shipped(name)
    tensors, header = checkpoint.read(source, name)
    model = build(recipe, header.get("scale", "laptop"))
    net: nn.Module = getattr(model, "net", model)
    checkpoint.load_into(net, tensors, str(source))
    net.to(device).eval().requires_grad_(False)
    return model
