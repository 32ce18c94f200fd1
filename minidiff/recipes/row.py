"""What a row says of its model: numbers, and the functions that are its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from minidiff.train.batches import Batch
from minidiff.train.fit import Loss, denoising_loss

Metrics = dict[str, dict[str, Any]]  # name -> value, n, and where there is one an interval: low, high


def fixed(n: int | None) -> None:
    """ValueError for an n, in a measurement whose size is its own. Example: `fixed(None)`."""
    if n is not None:
        raise ValueError(f"n={n}: this model has a fixed evaluation; n is for models of images")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model. Three numbers stand for smoke, laptop and gpu.

    net: scale -> network. model: network -> what `load` returns, a denoiser made of it or the network itself.
    batches: (size, seed) -> batches for `fit`. loss: as `fit` takes it.
    measure: (model, n or None, folder for what an interruption should not lose) -> Metrics.
    draw: (model, n, steps, seed, label, w) -> samples (n, ...), or None for a model that has nothing to draw. reads:
    whether its label is a sentence; then `draw` takes frames and attention too. w: how much it is guided by default.
    frames: of one of its samples. pixels: how many numbers one frame of it has. shows: how many samples, of how
    many steps, `minidiff sample` makes unasked.
    finish: what is still measured into the network once it is trained, with averaged weights.
    begins: the row whose shipped weights a training begins with, as far as they reach (not at smoke scale).
    needs: names of rows whose shipped weights this one was made for; their hashes stand in its checkpoint.
    metric is compared with `target` in the direction of `better`, and counts from `n` samples on: what was measured on
    fewer is not shipped. budget: the largest file, in bytes. Example: `get("fashion-unet").batch`.
    """

    name: str
    about: str
    net: Callable[[str], nn.Module]
    model: Callable[[nn.Module], Any]
    batches: Callable[[int, int], Callable[[int], Batch]]
    measure: Callable[[Any, int | None, Path], Metrics]
    draw: Callable[..., Any] | None
    steps: tuple[int, int, int]
    metric: str
    target: float
    better: str  # "higher" or "lower"
    n: int
    budget: int
    loss: Loss = denoising_loss
    finish: Callable[[Any], None] | None = None
    begins: str | None = None
    reads: bool = False
    w: float = 1.0
    frames: int = 1
    pixels: int = 3 * 32 * 32
    shows: tuple[int, int] = (40, 50)
    needs: tuple[str, ...] = ()
    batch: tuple[int, int, int] = (64, 128, 512)
    lr: float = 1e-3
    ema: float = 0.999
    decay_from: float = 0.7
    weight_decay: float = 0.0
    seed: int = 0

    def meets(self, value: float) -> bool:
        """Whether a value of the metric reaches the target; NaN never does."""
        return value >= self.target if self.better == "higher" else value <= self.target
