"""Measurements over many settings, too long for a notebook: run once, shipped as `data/results/NAME.json`.

A sweep is a list of settings and a function that measures one of them. `minidiff evaluate NAME --record` runs what is
missing and writes the file; `recorded(NAME)` hands it to a notebook with the words that say where it comes from.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minidiff.bars import tqdm
from minidiff.files import atomic_write, outputs, root
from minidiff.recipes.keep import facts
from minidiff.recipes.run import revision
from minidiff.scale import scale
from minidiff.sweeps import dit, images, latent, line, targets, toybox, unet, videos, words
from minidiff.sweeps.row import Row, Sweep

SWEEPS = {
    "targets": targets.SWEEP,
    "unet-arms": unet.ARMS_SWEEP,
    "unet-parts": unet.PARTS_SWEEP,
    "unet-states": unet.STATES_SWEEP,
    "variance": images.VARIANCE,
    "guidance": images.GUIDANCE,
    "data-size": images.DATA_SIZE,
    "calls": images.CALLS,
    "latent-race": latent.RACE,
    "latent-spaces": latent.SPACES_SWEEP,
    "dit-race": dit.RACE,
    "dit-patches": dit.PATCHES,
    "dit-modulation": dit.MODULATION,
    "line-masks": line.MASKS,
    "line-patches": line.PATCHES_SWEEP,
    "toybox-floors": toybox.FLOORS,
    "toybox-sizes": toybox.SIZES_SWEEP,
    "text-ways": words.WAYS_SWEEP,
    "text-states": words.STATES_SWEEP,
    "video-states": videos.STATES_SWEEP,
    "video-sampling": videos.SAMPLING_SWEEP,
    "video-failures": videos.FAILURES_SWEEP,
    "video-again": videos.AGAIN_SWEEP,
    "video-doubles": videos.DOUBLES_SWEEP,
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
    rows, settings = kept_rows(kept), sweep.settings()
    for setting in tqdm(settings, desc=name):
        row = next((row for row in rows if setting.items() < row.items()), None)
        if row is None:
            row = setting | sweep.measure(**setting)
            rows.append(row)
            atomic_write(kept, json.dumps(rows).encode())
        yield row


def kept_rows(path: Path) -> list[Row]:
    """The rows of an interrupted sweep; none of a file that is damaged, which is measured anew."""
    try:
        rows = json.loads(path.read_bytes()) if path.is_file() else []
    except (ValueError, RecursionError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def unfinished(name: str) -> Path:
    """Where the rows of a sweep are kept until all are there, for this scale and this revision of the code."""
    device = "-cuda" if get(name).gpu and torch.cuda.is_available() else ""
    return outputs() / "sweeps" / f"{name}-{scale()}-{revision()}{device}.json"


def record(name: str) -> Path:
    """Write a finished sweep to `data/results/NAME.json`, and forget its rows in `outputs`; ValueError at smoke."""
    if scale() == "smoke":
        raise ValueError(f"{name} was measured at smoke scale, which proves that the code runs, no more: not recorded")
    rows, path = list(run(name)), root() / "data" / "results" / f"{name}.json"
    facts_now = facts(f"minidiff evaluate {name} --record", get(name).gpu) | {
        "about": get(name).about,
        "scale": scale(),
    }
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
