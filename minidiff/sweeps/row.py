"""What a sweep is: settings to try, and a function that measures one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """`settings()` lists what to try, `measure(**setting)` returns the numbers of one.

    Example: `SWEEPS["calls"].settings()[0]`.
    """

    about: str
    settings: Callable[[], list[Row]]
    measure: Callable[..., Row]
