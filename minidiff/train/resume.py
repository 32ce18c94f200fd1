"""What makes a run survive: one atomic file, a log that never runs ahead of it, a Ctrl-C that waits for the step.

And what keeps it one run: a folder is trained in by one process at a time, and a state of another run is refused.
"""

import errno
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import filelock
import torch
from torch import Tensor, nn

from minidiff.checks import dtype, whole
from minidiff.files import atomic_write
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError
from minidiff.train.ema import EMA


def save_state(path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA, header: dict[str, Any]) -> None:
    """Write everything a run is: float32 weights, AdamW's moments, the average, and `header`."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"opt.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    idle = [name for i, (name, _) in enumerate(net.named_parameters()) if f"opt.{i}.step" not in tensors]
    checkpoint.write(path, tensors, {"kind": "training state", "idle": idle, **header})


def restore_state(
    path: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA,
    settings: dict[str, Any],
    identity: dict[str, Any],
) -> tuple[int, int, dict[str, Any]]:
    """Load a saved state in place; (step, samples, note). CheckpointError when it is damaged or of another run."""
    tensors, header = checkpoint.read(path)
    was, now = header | header.get("identity", {}), settings | identity
    keys = [*settings, *{**header.get("identity", {}), **identity}]
    other = [f"{key} {was.get(key)!r}, now {now.get(key)!r}" for key in keys if was.get(key) != now.get(key)]
    if header.get("kind") != "training state" or other:
        raise CheckpointError(
            f"{path} is of another run ({'; '.join(other) or 'not a training state'}): use another folder or remove it"
        )
    part = {p: {n[len(p) :]: v for n, v in tensors.items() if n.startswith(p)} for p in ("net.", "ema.", "opt.")}
    checkpoint.load_into(net, part["net."], str(path))
    try:
        step = whole("step", header.get("step"), 0, settings["steps"])
        samples = whole("samples", header.get("samples"), step, 2**62)
        averages = fitting(part["ema."], {name: value.shape for name, value in ema.weights.items()})
        if not isinstance(header.get("note", {}).get("earlier", []), list):
            raise ValueError("its note of earlier revisions is no list")
        slots = moments(part["opt."], dict(net.named_parameters()), header.get("idle", []), step)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is no state that a training saved ({error}): remove it, and train anew"
        ) from None
    for name, value in ema.weights.items():
        value.copy_(averages[name])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return step, samples, header.get("note", {})


def fitting(tensors: dict[str, Tensor], shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors if they have these names and shapes and are floating point; ValueError naming the first that is not.

    That all are finite is seen to where they are read.
    """
    for name in sorted(tensors.keys() | shapes.keys()):
        if name not in shapes or name not in tensors:
            raise ValueError(f"{name[:60]} is {'missing' if name in shapes else 'unexpected'}")
        if tensors[name].shape != shapes[name] or not tensors[name].is_floating_point():
            found = f"{dtype(tensors[name])} of shape {tuple(tensors[name].shape)}"
            raise ValueError(f"{name}: {found} where floating point of shape {tuple(shapes[name])} is expected")
    return tensors


def moments(
    tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter], idle: list[str], step: int
) -> dict[int, dict[str, Tensor]]:
    """AdamW's slots, by the number of their parameter; ValueError where one is missing, misshapen or negative.

    idle: the parameters that no step has reached, and that have none.
    """
    shapes: dict[str, torch.Size] = {}
    for i, (name, p) in enumerate(parameters.items()):
        if step > 0 and name not in idle:
            shapes |= {f"{i}.step": torch.Size([]), f"{i}.exp_avg": p.shape, f"{i}.exp_avg_sq": p.shape}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in fitting(tensors, shapes).items():
        index, slot = name.split(".")
        if (slot == "step" and not 0 < float(value) <= step) or (slot == "exp_avg_sq" and (value < 0).any()):
            raise ValueError(f"the optimizer's {name} is out of range")
        slots.setdefault(int(index), {})[slot] = value
    if step > 0 and not slots:
        raise ValueError("it holds nothing of the optimizer")
    return slots


@contextmanager
def held(folder: Path | None) -> Iterator[None]:
    """Inside the block the folder is this training's alone; BlockingIOError where another process trains in it.

    The system drops the lock when its process ends, however that happens, so what a killed run leaves behind hinders
    nobody: its half-written files are removed. `.pid` tells who it is.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock, pid = filelock.FileLock(folder / ".lock", fallback_to_soft=False), folder / ".pid"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        try:
            who = pid.read_text().strip() or "?"
        except OSError:  # it begins or ends just now
            who = "?"
        raise BlockingIOError(
            f"{folder} is being trained in by process {who}: wait for it, or stop it (Ctrl-C saves what it has)"
        ) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        lock = None  # a file system without locks
    try:
        for scratch in folder.glob(".*.tmp"):
            scratch.unlink(missing_ok=True)
        atomic_write(pid, f"{os.getpid()}\n".encode())
        yield
    finally:
        pid.unlink(missing_ok=True)
        if lock is not None:
            lock.release()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log that `fit` wrote; any other line, such as the half line of a killed run, is left out."""
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            numbers = [row[key] for key in ("step", "samples", "samples_per_s")]
            sound = all(type(n) in (int, float) and math.isfinite(n) and n > 0 for n in numbers)
            sound = sound and type(row["step"]) is int
        except (ValueError, RecursionError, TypeError, KeyError, OverflowError):
            continue
        if sound:
            yield row


def open_log(folder: Path, start: int) -> TextIO:
    """The JSON-lines log, open for appending, without what an interrupted run wrote after its last saved step."""
    path = folder / "log.jsonl"
    kept = {row["step"]: json.dumps(row) + "\n" for row in rows(path) if row["step"] <= start}
    atomic_write(path, "".join(kept.values()).encode())
    return open(path, "a")


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside the block Ctrl-C only sets a flag, which the yielded function reads: a step is never cut in half."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach only the main thread
        return
    hit = False

    def remember(signum: int, frame: object) -> None:
        nonlocal hit
        hit = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: hit
    finally:
        signal.signal(signal.SIGINT, before)
