"""Proportions with the interval that they deserve."""

from typing import Any

from scipy.stats import binomtest
from torch import Tensor


def share(hits: Tensor) -> dict[str, Any]:
    """A proportion with its 95% Wilson interval, {value, n, low, high}. hits: (n,) bool, n >= 1.

    Unlike the usual plus-minus it stays inside [0, 1], at 0 and 100% too. Source: Wilson 1927, JASA 22.
    Example: `share(labels == guesses)["low"]`.
    """
    n, k = len(hits), int(hits.sum())
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return {"value": k / n, "n": n, "low": float(interval.low), "high": float(interval.high)}
