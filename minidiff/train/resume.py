"""What makes a run survive: one atomic file, a log that never runs ahead of it, a Ctrl-C that waits for the step."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from minidiff.files import atomic_write
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError
from minidiff.train.ema import EMA


def save_state(path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA, header: dict[str, Any]) -> None:
    """Write everything a run is: float32 weights, AdamW's moments, the average, torch's random state, and `header`."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.weights.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"opt.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    tensors["rng"] = torch.get_rng_state()
    checkpoint.write(path, tensors, {"kind": "training state", **header})


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
    for name, value in ema.weights.items():
        value.copy_(part["ema."][name])
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part["opt."].items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["rng"])
    return header["step"], header["samples"], header.get("note", {})


def open_log(folder: Path, start: int) -> TextIO:
    """The JSON-lines log, open for appending, without what an interrupted run wrote after its last saved step."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.jsonl"
    kept = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            if json.loads(line)["step"] <= start:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # the half line of a killed run
    atomic_write(path, "".join(kept).encode())
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
