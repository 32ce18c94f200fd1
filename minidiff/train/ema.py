"""The exponential moving average of the weights: what is sampled from and shipped.

After step k, `ema <- d_k ema + (1 - d_k) weights` with `d_k = min(decay, (1 + k) / (10 + k))`: the ramp forgets the
random start quickly. Source: Polyak & Juditsky 1992; in diffusion models since Ho et al. 2020 (arXiv 2006.11239).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from minidiff.checks import whole


class EMA:
    """Keeps float32 averages of a network's parameters. A network with other state (BatchNorm's) is a ValueError.

    ValueError for a decay outside [0, 1). Example: `ema = EMA(net, 0.999)`, then `ema.update(net, k)` after each step
    k = 0, 1, ..., and at the end `with ema.applied(net): sample(...)`.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay={decay}: expected 0 <= decay < 1")
        if other := sorted(net.state_dict().keys() - dict(net.named_parameters()).keys()):
            raise ValueError(f"{other[0]} is no parameter, and would not be averaged: use GroupNorm, not BatchNorm")
        self.decay = decay
        self.weights = {name: p.detach().float().clone() for name, p in net.named_parameters()}

    def refuse_other(self, net: nn.Module) -> None:
        """ValueError naming the first weight that a network has, or has not, or in another shape."""
        own, its = ({n: tuple(w.shape) for n, w in some} for some in (self.weights.items(), net.named_parameters()))
        if own != its:
            name = min(own.items() ^ its.items())[0]
            raise ValueError(f"{name}: shape {its.get(name)} in the network, {own.get(name)} in its average")

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """One step towards the current weights; `step` counts from 0. ValueError for another network's."""
        self.refuse_other(net)
        whole("step", step, 0, 10**12)
        decay = min(self.decay, (1 + step) / (10 + step))
        kept = [self.weights[name] for name, _ in net.named_parameters()]
        now = [p.detach().float() for p in net.parameters()]
        get_ema_multi_avg_fn(decay)(kept, now, step)  # one call for all of them

    @torch.no_grad()
    def copy_to(self, net: nn.Module) -> None:
        """Overwrite the network's weights by the averages. ValueError for another network."""
        self.refuse_other(net)
        for name, p in net.named_parameters():
            p.copy_(self.weights[name])

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[nn.Module]:
        """The network with averaged weights inside the block, and its own again after it."""
        kept: dict[str, Tensor] = {name: p.detach().clone() for name, p in net.named_parameters()}
        self.copy_to(net)
        try:
            yield net
        finally:
            with torch.no_grad():
                for name, p in net.named_parameters():
                    p.copy_(kept[name])
