"""Proportions and means with the interval that they deserve."""

import math
from typing import Any

from scipy.special import stdtrit
from scipy.stats import binomtest
from torch import Tensor


def share(hits: Tensor) -> dict[str, Any]:
    """A proportion with its 95% Wilson interval, {value, n, low, high}. hits: (n,) bool, n >= 1.

    Unlike the usual plus-minus it stays inside [0, 1], at 0 and 100% too. Source: Wilson 1927, JASA 22.
    Example: `share(labels == guesses)["low"]`.
    """
    if hits.ndim != 1 or not len(hits) or not ((hits == 0) | (hits == 1)).all():
        raise ValueError(f"hits of shape {tuple(hits.shape)}: expected (n,), each true or false, n of 1 or more")
    n, k = len(hits), int(hits.sum())
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return {"value": k / n, "n": n, "low": float(interval.low), "high": float(interval.high)}


def average(values: Tensor) -> dict[str, Any]:
    """A mean with its 95% interval of Student's t, {value, n, low, high}; what is not finite is left out. values: (n,).

    Example: `average(torch.randn(100))["low"]`.
    """
    if values.ndim != 1 or values.is_complex():
        raise ValueError(f"values of shape {tuple(values.shape)}, {values.dtype}: expected real numbers (n,)")
    kept = values[values.isfinite()].double()
    n, value = len(kept), float(kept.mean()) if len(kept) else math.nan
    half = float(stdtrit(n - 1, 0.975) * kept.std()) / math.sqrt(n) if n > 1 else math.nan
    return {"value": value, "n": n, "low": value - half, "high": value + half}
