"""What the network is asked, and where its error is counted (chapter 04)."""

from functools import partial

import torch
from torch import Generator, Tensor

from minidiff.data.toy import Mixture
from minidiff.nn.mlp import MLP
from minidiff.predict import Denoiser, loss
from minidiff.sample import heun, last, prior
from minidiff.scale import pick
from minidiff.schedule import Linear, uniform_grid
from minidiff.sweeps.row import Row, Sweep
from minidiff.train.batches import Batch, fresh
from minidiff.train.fit import fit

LEVELS = (0.02, 0.98)  # outside, a row or a weight of the table is singular


def ring(modes: int = 8) -> Tensor:
    """Points on a circle of radius 1.4, (modes, 2)."""
    angle = 2 * torch.pi * torch.arange(modes) / modes
    return 1.4 * torch.stack([angle.cos(), angle.sin()], 1)


PLANE = Mixture(ring(), 0.1)  # a drawing in the plane, of which we know everything


def sheet(dim: int, seed: int = 0) -> Tensor:
    """A frame (2, dim), how a flat sheet hangs in `dim` dimensions: `points @ sheet(dim)` is (N, dim).

    Its two rows are orthogonal, of length sqrt(dim / 2), so that a coordinate is as large there as in the plane.
    """
    return (dim / 2) ** 0.5 * torch.linalg.qr(torch.randn(dim, 2, generator=Generator().manual_seed(seed))).Q.T


def sheet_loss(
    denoise: Denoiser, batch: Batch, generator: Generator, space: str | None = None
) -> tuple[Tensor, Tensor]:
    """The usual loss, with t in `LEVELS`: losses and levels, (B,) each."""
    t = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * torch.rand(len(batch[0]), generator=generator)
    return loss(denoise, batch[0], torch.randn(batch[0].shape, generator=generator), t, space=space), t


def sheet_report(x: Tensor, frame: Tensor) -> Row:
    """Of samples (N, dim): root mean square distance from the sheet, and the share within 3 std of a mode in it.

    Distances are in units of the drawing, which is about 3 wide.
    """
    scale2 = frame[0].square().sum()
    flat = x @ frame.T / scale2  # (N, 2)
    off = ((x - flat @ frame).square().sum(1) / scale2).mean().sqrt()
    near = torch.cdist(flat, PLANE.means).min(1).values < 0.3
    return {"off_sheet": float(off), "in_mode": float(near.float().mean()), "n": len(x)}


def targets(pred: str, space: str, dim: int, width: int, seed: int) -> Row:
    """Train an MLP that outputs row `pred`, its loss in the space of row `space`; then 50 steps of Heun."""
    frame, schedule, steps = sheet(dim), Linear(), pick(smoke=5, laptop=1500)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        denoise = Denoiser(MLP(dim, width=width, depth=3), schedule, pred, PLANE.sd)
    draw = fresh(lambda n, generator: PLANE.sample(n, generator) @ frame, 256, seed)
    *_, state = fit(
        denoise,
        draw,
        steps,
        loss=partial(sheet_loss, space=space),
        decay_from=0.6,
        ema=0.998,
        seed=seed,
        progress=False,
    )
    noise = prior(schedule, (pick(smoke=50, laptop=2000), dim), Generator().manual_seed(100 + seed), LEVELS[1])
    with state.ema.applied(denoise.net):
        x = last(heun(denoise, noise, LEVELS[1] * uniform_grid(50)))
    return sheet_report(x, frame) | {"steps": steps}


def targets_settings() -> list[Row]:
    """Three outputs x three loss spaces x three dimensions x three seeds, and a wide network as the control."""
    rows, seeds = ("x0", "eps", "flow"), range(pick(smoke=1, laptop=3))
    table = [(pred, space, dim, 128) for dim in (2, 16, 128) for pred in rows for space in rows]
    wide = [(pred, pred, 128, 512) for pred in rows]
    keys = ("pred", "space", "dim", "width", "seed")
    return [dict(zip(keys, (*one, seed), strict=True)) for one in table + wide for seed in seeds]


SWEEP = Sweep(
    "what the network outputs x where its error is counted, on a flat sheet in many dimensions",
    targets_settings,
    targets,
)
