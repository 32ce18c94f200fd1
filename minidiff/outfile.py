"""The file that a command writes to: looked at before the work begins, and written whole or not at all."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidiff.course import plots
from minidiff.data.clips import encode
from minidiff.files import atomic_write, named


def refuse(path: Path, suffixes: Sequence[str]) -> Path:
    """A path to write to, or ValueError or OSError before any work is done: for its suffix, a folder, a file among its
    parents, a place that cannot be written to."""
    if path.suffix.lower() not in suffixes:
        more = f", or for clips {', '.join(suffixes[1:])}" if len(suffixes) > 1 else ""
        raise ValueError(f"-o {path}: expected a {suffixes[0]} file{more}")
    if path.is_dir():
        raise ValueError(f"-o {path}: this is a folder; name a file in it")
    if wrong := next((str(parent) for parent in path.parents if parent.exists() and not parent.is_dir()), None):
        raise ValueError(f"-o {path}: {wrong} is a file, not a folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"-o {path}: this is a device or a pipe; name a file")
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    with named(path), tempfile.TemporaryFile(dir=there):  # can be written there?
        return path


def picture(x: Any, path: Path, title: str) -> None:
    """Write samples: points (N, 2) as a scatter plot, images (N,C,H,W) as a grid, clips (N,C,F,H,W) as a film."""
    if x.ndim == 5:
        frames = [plots.tile(x[:, :, i], columns=min(5, len(x)), scale=4) for i in range(x.shape[2])]
        atomic_write(path, encode(np.stack(frames), path.suffix.lower(), fps=12))
        return
    made = io.BytesIO()
    if x.ndim == 2:
        plots.panels([(title, x)], limit=3).savefig(made)
    else:
        plots.save_grid(x, made, columns=min(10, len(x)))
    atomic_write(path, made.getvalue())
