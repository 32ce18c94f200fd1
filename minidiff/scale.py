"""How big a run is: `smoke` proves that the code runs, `laptop` teaches, `gpu` ships.

`MINIDIFF_SCALE` decides; without it a machine with 40 GB of CUDA memory or more is `gpu`, any other `laptop`.
`pick` is the only way code asks, so every number that depends on the scale is visible where it is used.
"""

import os
from typing import TypeVar

SCALES = ("smoke", "laptop", "gpu")
T = TypeVar("T")


def scale() -> str:
    """The current scale, one of `SCALES`. ValueError for an unknown word in `MINIDIFF_SCALE`."""
    word = os.environ.get("MINIDIFF_SCALE", "")
    if not word:
        import torch

        big = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory >= 40e9
        return "gpu" if big else "laptop"
    if word not in SCALES:
        raise ValueError(f"MINIDIFF_SCALE is {word!r}; expected one of {', '.join(SCALES)}")
    return word


def pick(*, smoke: T, laptop: T, gpu: T | None = None) -> T:
    """The value for the current scale; `gpu` falls back to `laptop`. Example: `pick(smoke=5, laptop=2000)`."""
    return {"smoke": smoke, "laptop": laptop, "gpu": laptop if gpu is None else gpu}[scale()]
