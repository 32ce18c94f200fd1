"""What makes `DiT(..., published=True)` the network of Peebles & Xie 2023 as its weights were published.

What differs from ours: positions are added to the tokens as sines and cosines, queries and keys are not normalised,
the noise level is a whole timestep of DDPM's table, told in twice as many waves, and the answer has twice the channels
(eps, then numbers for the variance). `from_official` gives the official tensors the names that they have here.
Source: arXiv 2212.09748; the table, Ho et al. 2020, arXiv 2006.11239.
"""

import math
import re

import torch
from torch import Tensor, nn


class Timestep(nn.Module):
    """The noise level `ell` (B,) as the nearest timestep 0..999 of DDPM's table, then waves and two linear layers.

    Example: `Timestep(384)(torch.zeros(8))` is (8, 384).
    """

    def __init__(self, dim: int, waves: int = 128):
        super().__init__()
        alpha_bar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
        table = (torch.log1p(-alpha_bar) - alpha_bar.log()) / 2  # ell at each timestep, rising
        self.register_buffer("between", ((table[1:] + table[:-1]) / 2).float(), persistent=False)
        freq = torch.exp(-math.log(10_000) * torch.arange(waves) / waves)
        self.register_buffer("freq", freq, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * waves, dim), nn.SiLU(), nn.Linear(dim, dim))

    def timestep(self, ell: Tensor) -> Tensor:
        """The whole number 0..999 whose level in DDPM's table is nearest to ell, (B,)."""
        between = self.get_buffer("between")
        return torch.searchsorted(between, ell.to(between.dtype).contiguous())

    def forward(self, ell: Tensor) -> Tensor:
        phase = self.timestep(ell)[:, None] * self.get_buffer("freq")  # (B, waves)
        return self.mlp(torch.cat([phase.cos(), phase.sin()], 1))  # (B, dim)


def sincos(rows: int, columns: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sine-cosine positions (rows*columns, dim): sines, then cosines, of the column, then of the row.

    Example: `sincos(16, 16, 1152)`.
    """
    speed = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row, column = (torch.arange(n)[:, None] * speed for n in (rows, columns))  # (rows, dim/4), (columns, dim/4)
    row, column = (torch.cat([phase.sin(), phase.cos()], 1) for phase in (row, column))  # (rows, dim/2), ...
    both = [column[None].expand(rows, -1, -1), row[:, None].expand(-1, columns, -1)]
    return torch.cat(both, 2).flatten(0, 1).float().to(device)  # (rows*columns, dim); not every device has float64


NAMES = {  # the official name's start -> ours
    "x_embedder.proj": "inp",
    "t_embedder": "level",
    "y_embedder.embedding_table": "label",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
    "final_layer.adaLN_modulation.1": "modulate",
    "final_layer.linear": "out",
    "adaLN_modulation.1": "modulate",
}


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an official DiT checkpoint under our names, for `DiT(4, ..., published=True).load_state_dict`.

    The first layer's numbers of a patch are re-ordered from channel first to channel last; the positions, which are
    no weights, are left out. ValueError where they are not the ones computed here, or where the names are others.
    Example: `net.load_state_dict(from_official(torch.load("DiT-XL-2-256x256.pt", weights_only=True)))`.
    """
    missing = [
        name for name in ("pos_embed", "x_embedder.proj.weight", "final_layer.linear.weight") if name not in state
    ]
    if missing:
        raise ValueError(f"not an official DiT checkpoint: {', '.join(missing)} missing among {len(state)} tensors")
    ours = {}
    for name, tensor in state.items():
        if name == "pos_embed":
            side = math.isqrt(tensor.shape[1])
            square = tensor.ndim == 3 and tensor.shape[1] == side**2 and tensor.shape[2] % 4 == 0
            if not square or not torch.allclose(
                tensor[0].float().cpu(), sincos(side, side, tensor.shape[2]), atol=1e-4
            ):
                raise ValueError(
                    f"pos_embed {tuple(tensor.shape)} is not the sine-cosine table of a {side} x {side} grid"
                )
            continue
        if name == "x_embedder.proj.weight":
            tensor = tensor.permute(0, 2, 3, 1).flatten(1)  # (D, C, p, p) -> (D, p p C)
        pattern = "|".join(map(re.escape, NAMES))
        ours[re.sub(rf"(^|(?<=\.))({pattern})(?=\.)", lambda found: NAMES[found[2]], name, count=1)] = tensor
    return ours
