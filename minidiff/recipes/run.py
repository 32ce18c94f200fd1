"""Train, load and measure whatever a row names; `keep` ships it. Nothing here asks what kind of model it is.

`minidiff train NAME` trains a row, `minidiff evaluate NAME` measures it, `minidiff.load(NAME)` returns what it names.
"""

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minidiff import recipes
from minidiff.checks import fits, nonfinite, whole
from minidiff.files import outputs, root
from minidiff.recipes.row import Metrics, Recipe
from minidiff.scale import SCALES, scale
from minidiff.threads import close_pool, cores
from minidiff.train import checkpoint
from minidiff.train.fit import State, check_settings, diverged, fit
from minidiff.train.resume import rows

LEEWAY = 8  # how many times as large as a row's shipped file another checkpoint of it may be
SETTABLE = ("lr", "ema", "decay_from", "weight_decay", "seed")


def build(recipe: Recipe, at: str) -> tuple[Any, nn.Module]:
    """A fresh, seeded model of the row at a scale, and the network in it. Example: `build(get("toy-mlp"), "smoke")`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = recipe.net(at)
    return recipe.model(net), net


def settle(net: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to its device, in the layout of memory that is the faster one there, in place.

    For convolutions that is channels_last on a GPU and on two CPU threads or more (training the U-Net was 6 to 20%
    faster), and the plain layout on one thread (sampling was 14% faster). Example: `settle(net, "cpu")`.
    """
    images = all(p.ndim <= 4 for p in net.parameters())  # the layout is for two dimensions of space
    wide = images and (torch.device(device).type == "cuda" or torch.get_num_threads() > 1)
    layout = torch.channels_last if wide else torch.contiguous_format
    return net.to(device=device, memory_format=layout)  # type: ignore[call-overload]


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
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def configure(name: str, settings: dict[str, str] | None = None) -> Recipe:
    """The row with `--set key=value` applied; ValueError for an unknown key or a value of the wrong kind."""
    recipe = recipes.get(name)
    kinds = {f.name: type(getattr(recipe, f.name)) for f in fields(recipe) if f.name in SETTABLE}
    for key, text in (settings or {}).items():
        if key not in kinds:
            raise ValueError(f"--set {key}: unknown setting; there are steps, batch, {', '.join(kinds)}")
        try:
            recipe = replace(recipe, **{key: kinds[key](text)})
        except ValueError:
            expected = {"int": "a whole number", "float": "a number"}[kinds[key].__name__]
            raise ValueError(f"--set {key}={text}: expected {expected}") from None
        try:
            check_settings(**{key: getattr(recipe, key)})
        except ValueError as error:
            raise ValueError(f"--set {error}") from None
    return recipe


def has_bfloat16() -> bool:
    """Whether products in bfloat16 are an instruction of what trains: without it, a step of 2 s took minutes."""
    cpu = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.cuda.is_available() or cpu


def train(
    name: str,
    at: str | None = None,
    settings: dict[str, str] | None = None,
    compiled: bool = False,
    start: Path | str | None = None,
    bfloat16: bool = False,
) -> Iterator[State | Path]:
    """Train a row; yields the states of `fit`, and last the path of the checkpoint written into the run's folder.

    at: a scale, default the current one. settings: overrides: `steps`, `batch`, and those of `configure`. All cores
    work, unless OMP_NUM_THREADS says otherwise. A run interrupted in `outputs/runs/NAME-SCALE` is resumed; one that is
    finished is neither trained nor written again. compiled: with `torch.compile`, which takes a minute and a C++
    compiler, and saves a sixth of the time a step (a transformer of clips on two cores). bfloat16: see `fit`. start: a
    checkpoint of the row whose weights it goes on from, with a fresh optimizer and fresh batches, in a folder of its
    own, `NAME-SCALE-from-HASH`; its training is told in the header, and its samples and seconds are counted in. A row
    that `begins` with another one goes on from that one's shipped weights by itself.
    Example: `*_, path = train("toy-mlp", "smoke")`.
    """
    at = at or scale()
    if at not in SCALES:
        raise ValueError(f"unknown scale {at!r}: expected one of {', '.join(SCALES)}")
    if bfloat16 and not has_bfloat16():
        raise ValueError("bfloat16: this processor has no such products (AMX, or AVX-512 with bf16): leave it out")
    settings, sizes = dict(settings or {}), []
    for key in ("steps", "batch"):
        text = str(settings.pop(key, getattr(recipes.get(name), key)[SCALES.index(at)]))
        most = 10**9 if key == "steps" else 10**6
        if not re.fullmatch("[0-9]{1,12}", text) or not 1 <= int(text) <= most:
            raise ValueError(f"--set {key}={text}: expected a whole number from 1 to {most:,}")
        sizes.append(int(text))
    steps, batch = sizes
    recipe = configure(name, settings)
    fits(f"--set batch={batch:,}", batch * recipe.pixels * recipe.frames)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    model, net = build(recipe, at)
    earlier: dict[str, Any] = {}
    if recipe.begins and not start and at != "smoke":
        start = shipped(recipe.begins)
    if start:
        whose = checkpoint.read_header(Path(start)).get("recipe")
        whose = recipe.begins if recipe.begins and whose == recipe.begins else name
        tensors, earlier = checkpoint.read(Path(start), whose, largest=LEEWAY * recipe.budget)
        known = {"scale", "samples", "seconds"} <= earlier.keys()
        if not known or (at == "smoke" and earlier["scale"] != "smoke"):
            raise checkpoint.CheckpointError(
                f"{start} does not say how it was trained, or not at smoke scale, which has another network"
            )
        refuse_other(recipe, earlier, Path(start))
        if starts(earlier) >= checkpoint.DEEPEST:
            raise ValueError(f"{start} is the {starts(earlier)}th training in a row, each from the one before: no more")
        checkpoint.load_into(net, tensors, str(start), partly=whose != name)
        recipe = replace(recipe, seed=recipe.seed + 1000 * starts(earlier))  # other batches than those of its start
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settle(net, device)
    if compiled:
        for part in getattr(net, "layers", lambda: [net])():  # equal blocks are compiled once
            part.compile(dynamic=False)
    folder = outputs() / "runs" / (f"{name}-{at}" + (f"-from-{earlier['sha256'][:8]}" if earlier else ""))
    path, state_file = folder / f"{name}.safetensors", folder / "state.safetensors"
    needs: dict[str, Any] = {"needs": stamps(recipe)} if recipe.needs else {}
    options: dict[str, Any] = {key: getattr(recipe, key) for key in SETTABLE}
    options |= {"loss": recipe.loss, "every": max(1, steps // 200), "folder": folder}
    options |= {"identity": {"recipe": name, "scale": at, "batch": batch} | needs}
    options["identity"] |= {"start": earlier["sha256"]} if earlier else {}
    options |= {"note": {"revision": revision(), "device": device_name(device), "date": time.strftime("%Y-%m-%d")}}
    options["note"] |= ({"compiled": True} if compiled else {}) | ({"bfloat16": True} if bfloat16 else {})
    trained, source = False, recipe.batches(batch, recipe.seed)
    try:
        with closing(fit(model, source, steps, bfloat16=bfloat16, **options)) as states:
            for state in states:
                if not trained:
                    path.unlink(missing_ok=True)  # of an earlier run in this folder
                trained = True
                if ((nth := state.step // options["every"]) & (nth - 1)) == 0 or state.step == steps:
                    keep_state(folder / "states", net, state, needs, earlier.get("samples", 0))
                yield state
    finally:
        close_pool()  # what was planned for steps that do not come
    if trained or not sound(path, name, at):
        tensors, kept = checkpoint.read(state_file)
        weights = {n.removeprefix("ema."): v.bfloat16() for n, v in tensors.items() if n.startswith("ema.")}
        if any(map(nonfinite, weights.values())):  # finite, and beyond what bfloat16 holds
            raise diverged(steps, recipe.lr)
        if recipe.finish:
            checkpoint.load_into(net, weights, str(state_file))
            recipe.finish(net)
            weights = {n: v.bfloat16() for n, v in net.state_dict().items()}
        header = {**kept["note"], "recipe": name, "scale": at, **needs, "settings": settings, "steps": steps}
        header |= {"batch": batch, "samples": kept["samples"], "seconds": round(seconds(folder / "log.jsonl"))}
        if earlier:
            left = ("metrics", *needs, *(["recipe"] if whose == name else []))
            header["start"] = {key: value for key, value in earlier.items() if key not in left}
            header |= {key: header[key] + earlier[key] for key in ("samples", "seconds")}
        header |= {"parameters": sum(p.numel() for p in net.parameters()), "metrics": {}}
        checkpoint.write(path, weights, header)
    yield path


def sound(path: Path, name: str, at: str) -> bool:
    """Whether a file is there, whole, of this row and scale; if not it is written anew from the run's state."""
    try:
        return checkpoint.read(path, name)[1].get("scale") == at
    except checkpoint.CheckpointError:
        return False


def starts(header: dict[str, Any]) -> int:
    """How many trainings went into a checkpoint, each from the weights of the one before."""
    return 1 + starts(header["start"]) if "start" in header else 1


def keep_state(
    folder: Path, net: nn.Module, state: State, needs: dict[str, Any] | None = None, earlier: int = 0
) -> None:
    """Keep the weights of one moment of a run, raw and averaged, for a film of it: `folder/STEP.safetensors`.

    `train` does so at doubling steps and at the end. Example: `keep_state(Path("outputs/x"), net, state)`.
    """
    tensors = {name: p.detach().bfloat16().contiguous() for name, p in net.named_parameters()}
    tensors |= {f"ema.{name}": p.bfloat16().contiguous() for name, p in state.ema.weights.items()}
    header = {"recipe": "", "step": state.step, "samples": earlier + state.samples, "loss": state.loss}
    header |= needs or {}
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / f"{state.step}.safetensors", tensors, header)


def stamps(recipe: Recipe) -> dict[str, str]:
    """The first digits of the hash of each shipped file that a row needs. Example: `stamps(get("emoji-latent"))`."""
    return {name: checkpoint.read_header(shipped(name))["sha256"][:12] for name in recipe.needs}


def refuse_other(recipe: Recipe, header: dict[str, Any], source: Path) -> None:
    """CheckpointError if weights were made for other files than the shipped ones that their row needs."""
    for other, stamp in stamps(recipe).items():
        if (made_for := header.get("needs", {}).get(other)) != stamp:
            raise checkpoint.CheckpointError(
                f"{source} was trained with {other} {made_for}, and here is {other} {stamp}: it would speak another "
                f"language. Restore both with 'git checkout -- data', or train {recipe.name} again"
            )


def seconds(log: Path, until: float = math.inf) -> float:
    """Training time of a run up to a step, over all its interruptions, from its log."""
    total, before = 0.0, 0
    for row in rows(log):
        if row["step"] <= until:
            total += (row["samples"] - before) / row["samples_per_s"]
            before = row["samples"]
    return total


def shipped(name: str) -> Path:
    """Where the shipped weights of a row are, or would be: `data/checkpoints/NAME.safetensors`."""
    return root() / "data" / "checkpoints" / f"{recipes.get(name).name}.safetensors"


def load(name: str, path: Path | str | None = None, device: str | torch.device = "cpu") -> Any:
    """What the row names, ready to use, with shipped weights: a `Denoiser`, a `Classifier` or a `VAE`.

    A denoiser of latents has its autoencoder in `.autoencoder`. path: another checkpoint of the same row.
    CheckpointError when the file is missing, damaged, of another row, or was made for another autoencoder.
    Example: `denoise = load("fashion-unet"); noise = prior(denoise.schedule, (16, 1, 28, 28))`, and then
    `last(heun(denoise, noise, uniform_grid(20)))`.
    """
    recipe = recipes.get(name)
    source = Path(path) if path else shipped(name)
    tensors, header = checkpoint.read(source, name, largest=LEEWAY * recipe.budget)
    refuse_other(recipe, header, source)
    model, net = build(recipe, header.get("scale", "laptop"))
    checkpoint.load_into(net, tensors, str(source))
    settle(net, device).eval().requires_grad_(False)
    if isinstance(other := getattr(model, "autoencoder", None), nn.Module):
        settle(other, device)
    return model


def evaluate(name: str, path: Path | str | None = None, n: int | None = None) -> Metrics:
    """All metrics of a row's checkpoint (default: the shipped one). Sizes follow the scale; n overrides it for images.

    Interrupted, the same call goes on with the samples it has. ValueError for an n where it has no meaning or is too
    small. Example: `evaluate("toy-mlp")`.
    """
    if n is not None:
        row = recipes.get(name)
        fits(f"n={whole('n', n, 1, 1_000_000):,}", n * row.pixels * row.frames)
    mark = checkpoint.read_header(Path(path) if path else shipped(name))["sha256"][:12]
    folder = outputs() / "evaluations" / f"{name}-{mark}-{revision()}-{scale()}"
    metrics = recipes.get(name).measure(load(name, path), n, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return metrics
