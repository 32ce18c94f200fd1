"""What the maths asks of its input, each question in one place, so that nothing wrong is called right.

A level of 1.5, a NaN or a denoiser whose answer is broadcast would all end in a picture, only not the right one. Every
check raises an error that names the value and what was expected. They are cheap beside what they guard: a level on the
CPU is looked at in a microsecond. To look at a number on a GPU means to wait for it, so values there are looked at only
where the caller waits anyway, or at the end.
"""

import math
import numbers
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SEEDS = 2**31 - 1  # the largest seed


def dtype(x: Tensor) -> str:
    """The name of a tensor's type, without "torch.". Example: `dtype(torch.zeros(2))` is "float32"."""
    return str(x.dtype).removeprefix("torch.")


def min_max(x: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value, NaN if there is one; None of an empty tensor, and inside `torch.vmap`.

    Example: `min_max(torch.tensor([2.0, 1.0]))` is (1.0, 2.0).
    """
    try:
        if x.numel() <= 1:
            return (value := float(x), value) if x.numel() else None
        low, high = torch.aminmax(x.detach())
        return float(low), float(high)
    except RuntimeError:  # vmap hides the values
        return None


def level(t: Tensor | float, wait: bool = False) -> Tensor:
    """A noise level as a floating-point tensor of t's shape; ValueError for a value outside [0, 1] or NaN.

    wait: look at values on a GPU too. Example: `level(0.25)` is a tensor of shape ().
    """
    if not isinstance(t, Tensor):
        try:
            t = torch.as_tensor(t)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"t={t!r}: expected a noise level, a number or a tensor of numbers in [0, 1]") from None
    if t.is_complex():
        raise ValueError("t is complex: expected a noise level, a real number in [0, 1]")
    if not t.is_floating_point():
        t = t.float()
    if (wait or t.device.type == "cpu") and (ends := min_max(t)) and not (ends[0] >= 0 and ends[1] <= 1):
        where = f"{ends[0]:g}" if t.numel() == 1 else f"{ends[0]:g} to {ends[1]:g}"
        raise ValueError(f"t={where}: noise levels lie in [0, 1], 0 is data and 1 is noise (step k of n is t = k/n)")
    return t


def data(x: Tensor, what: str = "data") -> Tensor:
    """x if it holds floating-point numbers; else ValueError: among whole numbers every alpha below 1 is 0."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{what} is a {type(x).__name__}: expected a torch.Tensor of floating point")
    if not x.is_floating_point():
        raise ValueError(
            f"{what} of dtype {dtype(x)}: expected floating point, for images in [-1, 1]; "
            "bytes become that by x.float() / 127.5 - 1"
        )
    return x


def same_shape(answer: Tensor, x: Tensor, what: str, other: str = "and x_t") -> Tensor:
    """The answer if it has x's shape; ValueError else: what is broadcast gives numbers, and wrong ones."""
    if not isinstance(answer, Tensor):
        raise ValueError(f"{what} is a {type(answer).__name__}: expected a torch.Tensor of shape {tuple(x.shape)}")
    if answer.shape != x.shape:
        raise ValueError(f"{what} has shape {tuple(answer.shape)} {other} {tuple(x.shape)}: they must be equal")
    return answer


def nonfinite(x: Tensor) -> int:
    """How many values are NaN or infinite; one quick pass where none is. Example: `nonfinite(torch.zeros(3))` is 0."""
    total = min_max(x.detach().sum())
    return 0 if total is None or math.isfinite(total[0]) else int((~x.isfinite()).sum())


def number(name: str, value: Any, low: float, high: float, above: bool = False, below: bool = False) -> float:
    """A finite number from `low` to `high` (above, below: without that end), else ValueError with the range.

    Example: `number("lr", 1e-3, 0, 1, above=True)`.
    """
    given = isinstance(value, numbers.Real) or (isinstance(value, Tensor) and value.ndim == 0)
    try:
        x = float(value) if given and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number of 400 digits
        x = math.inf
    if not (math.isfinite(x) and (low < x if above else low <= x) and (x < high if below else x <= high)):
        lowest = f"above {low:g}" if above else f"from {low:g}"
        highest = "" if high == math.inf else f" to below {high:g}" if below else f" to {high:g}"
        raise ValueError(f"{name}={value!r}: expected a finite number {lowest}{highest}")
    return x


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number within bounds, else ValueError. Example: `whole("n", 4, 1, 100)`."""
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not fits or not low <= int(value) <= high:
        raise ValueError(f"{name}={value!r}: expected a whole number from {low} to {high:,}")
    return int(value)


def fits(what: str, many: float, copies: int = 3) -> None:
    """ValueError if that many float32 numbers, so many times over, are more than the memory that is free just now.

    Example: `fits("n=4", 4 * 3072)`.
    """
    try:
        import psutil
    except ImportError:
        return
    needed, free = 4 * many * copies / 2**30, psutil.virtual_memory().available / 2**30
    own = Path("/sys/fs/cgroup")  # of a container, which may have less than its computer
    try:
        most, used = ((own / name).read_text().strip() for name in ("memory.max", "memory.current"))
        free = min(free, (int(most) - int(used)) / 2**30) if most != "max" else free
    except (OSError, ValueError):
        pass
    if needed > free:
        raise ValueError(
            f"{what} would not fit into memory: it needs about {needed:,.1f} GB, and {free:.1f} GB are free; "
            "ask for fewer at a time"
        )
