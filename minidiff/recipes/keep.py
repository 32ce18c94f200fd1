"""What may ship and what is recorded: weights that are better than the shipped ones, and numbers with their facts."""

import json
import math
import time
from pathlib import Path

import torch

from minidiff import recipes
from minidiff.files import atomic_write, list_file, root
from minidiff.recipes import run
from minidiff.recipes.row import Metrics, Recipe
from minidiff.scale import scale
from minidiff.train import checkpoint


def worth(recipe: Recipe, metrics: Metrics) -> tuple[float, int]:
    """Value and n of the row's metric, if they may be kept: (value, n).

    ValueError at smoke scale, for a value that is not finite, and for fewer samples than the row demands.
    """
    if scale() == "smoke":
        raise ValueError("measured at smoke scale, which proves that the code runs, and nothing else: not kept")
    value, n = metrics[recipe.metric]["value"], metrics[recipe.metric]["n"]
    if not math.isfinite(value):
        raise ValueError(f"{recipe.metric} of {recipe.name} is {value}: not kept")
    if n < recipe.n:
        raise ValueError(f"{recipe.metric} was measured at n={n:,}, and counts from {recipe.n:,} on: not kept")
    return value, n


def ship(path: Path, metrics: Metrics) -> tuple[bool, str]:
    """Put a checkpoint among the shipped ones with `metrics` in its header; (done, reason). One as good stays.

    ValueError for smoke weights, a file over the row's byte budget, weights that are not finite, a metric that is not
    `worth` keeping, or one of another number of samples than the shipped file's.
    """
    tensors, header = checkpoint.read(path)
    if "scale" not in header or "recipe" not in header:
        raise ValueError(f"{path} does not say of what recipe and scale it is: not shipped")
    recipe = recipes.get(header["recipe"])
    if header["scale"] == "smoke":
        raise ValueError(f"{path} was trained at smoke scale, which proves that the code runs, no more: not shipped")
    if path.stat().st_size > recipe.budget:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes, the budget of {recipe.name} is {recipe.budget:,}")
    (value, n), target = worth(recipe, metrics), run.shipped(recipe.name)
    before = checkpoint.read_header(target)["metrics"].get(recipe.metric) if target.exists() else None
    if before is not None and math.isfinite(before["value"]):
        if n != before["n"]:
            raise ValueError(f"measured at n={n:,}, the shipped file at n={before['n']:,}: use -n {before['n']}")
        if value == before["value"] or (value > before["value"]) != (recipe.better == "higher"):
            better = f"{recipe.metric} {value:.4f} is not better than the shipped {before['value']:.4f}"
            return False, f"{better}: the shipped file stays"
    header.pop("sha256")
    checkpoint.write(target, tensors, header | {"metrics": metrics})
    list_file(target)
    return True, f"{recipe.metric} {value:.4f}: shipped as data/checkpoints/{target.name}"


def record(name: str, metrics: Metrics, command: str) -> Path:
    """Keep a measurement of the shipped weights: in their header, and as `data/results/NAME.json` with command,
    revision, device and date. ValueError for one that is not `worth` keeping."""
    worth(recipes.get(name), metrics)
    path, target = root() / "data" / "results" / f"{name}.json", run.shipped(name)
    tensors, header = checkpoint.read(target)
    header.pop("sha256")
    checkpoint.write(target, tensors, header | {"metrics": metrics})
    list_file(target)
    atomic_write(path, (json.dumps(facts(command) | {"metrics": metrics}, indent=1) + "\n").encode())
    return path


def facts(command: str, gpu: bool = False) -> dict[str, str]:
    """What a recorded number needs beside it: command, revision, device (gpu: one was used if there is one), date."""
    device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
    date = time.strftime("%Y-%m-%d")
    return {"command": command, "revision": run.revision(), "device": run.device_name(device), "date": date}
