"""Measurements over many settings, too long for a notebook: run once, shipped as `data/results/NAME.json`.

A sweep is a list of settings and a function that measures one of them. `minidiff evaluate NAME --record` runs what is
missing and writes the file; `recorded(NAME)` hands it to a notebook with the words that say where it comes from.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from minidiff.data import fashion
from minidiff.data.toy import Mixture
from minidiff.files import atomic_write, outputs, root
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import nearest, precision_recall
from minidiff.nn.mlp import MLP
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser, loss
from minidiff.recipes.draw import Sampler, generate
from minidiff.recipes.fashion import features
from minidiff.recipes.run import facts, load, revision
from minidiff.sample import ddim, dpmpp_2m, heun, last, prior
from minidiff.scale import pick, scale
from minidiff.schedule import Linear, uniform_grid
from minidiff.train.batches import Batch, fresh, shuffled
from minidiff.train.fit import denoising_loss, fit

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """`settings()` lists what to try, `measure(**setting)` returns the numbers of one.

    Example: `SWEEPS["calls"].settings()[0]`.
    """

    about: str
    settings: Callable[[], list[Row]]
    measure: Callable[..., Row]


# --- targets: what the network is asked, and where its error is counted (chapter 04) --------------------------------

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


# --- calls: quality against network calls (chapter 06) ----------------------------------------------------------------

SOLVERS: dict[str, Sampler] = {
    "ancestral": partial(ddim, eta=1.0),
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
}


def calls(sampler: str, calls: int) -> Row:
    """The unconditional clothes model with a sampler and a budget of network calls."""
    denoise, n = load("fashion-unet"), pick(smoke=80, laptop=1000)
    steps = (calls + 1) // 2 if sampler == "heun" else calls
    solver = SOLVERS[sampler]
    if sampler == "ancestral":
        solver = partial(ddim, eta=1.0, generator=Generator().manual_seed(1))
    images = generate(denoise, n, (1, 28, 28), steps, sampler=solver)
    return {"network_calls": 2 * steps - 1 if sampler == "heun" else steps} | quality(images)


def quality(images: Tensor) -> Row:
    """Frechet distance to the test images, precision and recall, with n."""
    real, n = fashion.load("test")[0][: pick(smoke=500, laptop=10_000)], len(images)
    fake_f, real_f = features(images), features(real)
    precision, recall = precision_recall(fake_f, real_f[:n])
    return {"frechet": frechet(fake_f, real_f), "precision": precision, "recall": recall, "n": n}


# --- data-size: when does a network copy? (chapter 05) ----------------------------------------------------------------


def data_size(images: int) -> Row:
    """A small U-Net at 14x14, trained on the first `images` of Fashion-MNIST: does it make new clothes, or old ones?"""
    train, test = fashion.load("train", 14)[0], fashion.load("test", 14)[0][: pick(smoke=80, laptop=1000)]
    pool, steps, n = train[:images], pick(smoke=5, laptop=2000), pick(smoke=50, laptop=500)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoise = Denoiser(UNet(1, 16, (1, 2, 2), 1), Linear(), "flow", fashion.SD)
    *_, state = fit(denoise, shuffled([pool], 64), steps, ema=0.998)
    with state.ema.applied(denoise.net):
        x = generate(denoise, n, (1, 14, 14), 25)
        seen, unseen = (held_out_loss(denoise, part) for part in (pool[:1000], test))
    near, held_out = nearest(x, pool)[0], nearest(test, pool)[0]
    return {
        "copied": float((near < held_out.quantile(0.01)).float().mean()),
        "nearest": float(near.median()),
        "nearest_held_out": float(held_out.median()),
        "loss_seen": seen,
        "loss_unseen": unseen,
        "steps": steps,
        "n": n,
    }


@torch.no_grad()
def held_out_loss(denoise: Denoiser, images: Tensor) -> float:
    """The mean loss over images (N,1,H,W), at levels and noises that are the same in every call."""
    generator = Generator().manual_seed(5)
    images = images.repeat(-(-1000 // len(images)), 1, 1, 1)
    return float(denoising_loss(denoise, (images,), generator)[0].mean())


# --- running them ---------------------------------------------------------------------------------------------------

SWEEPS = {
    "targets": Sweep(
        "what the network outputs x where its error is counted, on a flat sheet in many dimensions",
        targets_settings,
        targets,
    ),
    "calls": Sweep(
        "quality against network calls, four samplers",
        lambda: [{"sampler": name, "calls": k} for name in SOLVERS for k in (4, 6, 10, 20, 50)],
        calls,
    ),
    "data-size": Sweep(
        "copies against the number of training images",
        lambda: [{"images": n} for n in (100, 1000, 10_000, 60_000)],
        data_size,
    ),
}


def get(name: str) -> Sweep:
    """The sweep of that name; KeyError naming the known ones."""
    if name not in SWEEPS:
        raise KeyError(f"no sweep {name!r}; there are: {', '.join(SWEEPS)}")
    return SWEEPS[name]


def run(name: str) -> Iterator[Row]:
    """Measure every setting that is not measured yet; yields all rows, setting and numbers.

    What is done is kept in `outputs/sweeps` after each row: interrupted, the same call goes on, unless the code is of
    another revision by then.
    Example: `rows = list(run("calls"))`.
    """
    sweep, kept = get(name), unfinished(name)
    rows: list[Row] = json.loads(kept.read_text()) if kept.is_file() else []
    settings = sweep.settings()
    for setting in tqdm(settings, desc=name):
        row = next((row for row in rows if setting.items() <= row.items()), None)
        if row is None:
            row = setting | sweep.measure(**setting)
            rows.append(row)
            atomic_write(kept, json.dumps(rows).encode())
        yield row


def unfinished(name: str) -> Path:
    """Where the rows of a sweep are kept until all are there, for this scale and this revision of the code."""
    return outputs() / "sweeps" / f"{name}-{scale()}-{revision()}.json"


def record(name: str) -> Path:
    """Write a finished sweep to `data/results/NAME.json`, and forget its rows in `outputs`; ValueError at smoke."""
    if scale() == "smoke":
        raise ValueError(f"{name} was measured at smoke scale, which proves that the code runs, no more: not recorded")
    rows, path = list(run(name)), root() / "data" / "results" / f"{name}.json"
    facts_now = facts(f"minidiff evaluate {name} --record") | {"about": get(name).about, "scale": scale()}
    body = (
        json.dumps(facts_now, indent=1)[:-2] + ',\n "rows": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n ]\n}\n"
    )
    atomic_write(path, body.encode())
    unfinished(name).unlink()
    return path


@dataclass(frozen=True)
class Recorded:
    """A shipped sweep: its rows, and `mark`, the words that belong under a figure made of it."""

    rows: list[Row]
    mark: str

    def where(self, **setting: Any) -> list[Row]:
        """The rows with that setting. Example: `recorded("calls").where(sampler="heun")`."""
        found = [row for row in self.rows if setting.items() <= row.items()]
        if not found:
            raise ValueError(f"no row with {setting}; the first one is {self.rows[0]}")
        return found


def recorded(name: str) -> Recorded:
    """The shipped sweep NAME. Example: `recorded("targets").where(dim=128, pred="x0")[0]["in_mode"]`."""
    get(name)
    file = json.loads((root() / "data" / "results" / f"{name}.json").read_text())
    rows = file["rows"]
    sizes, seeds = sorted({row["n"] for row in rows}), len({row.get("seed", 0) for row in rows})
    n = ", ".join(f"{size:,}" for size in sizes)
    mark = f"recorded: {file['device']}, {file['date']}, n = {n} a point, {seeds} seed{'s' * (seeds > 1)}"
    return Recorded(rows, mark)
