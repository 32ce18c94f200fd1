"""What the verifier of the Toybox gets right on true clips: the floor under every figure of later chapters."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor

from minidiff.data import clips as files
from minidiff.data.toybox import motion, sample
from minidiff.data.toybox.plan import World
from minidiff.data.toybox.render import render
from minidiff.data.toybox.spec import SHAPES
from minidiff.data.toybox.stage import describe
from minidiff.measure.adherence import ATTRIBUTES, grade, mean, read
from minidiff.measure.tracks import look
from minidiff.scale import pick
from minidiff.sweeps.row import Row, Sweep

SPOILS = ("clean", "blur", "noise", "h264")
RADII = (0.04, 0.05, 0.06, 0.07, 0.095, 0.125)  # heights; the last three are the world's sizes


def spoiled(clips: Tensor, how: str, generator: Generator) -> Tensor:
    """Clips (B,3,F,H,W) as they come: blurred by a pixel, noisy by 0.05 of the range, through H.264 at crf 23."""
    if how == "blur":
        return torch.from_numpy(gaussian_filter(clips.numpy(), (0, 0, 0, 1, 1)))
    if how == "noise":
        return clips + 0.1 * torch.randn(clips.shape, generator=generator)
    return torch.stack([h264(clip) for clip in clips]) if how == "h264" else clips


def h264(clip: Tensor, crf: int = 23) -> Tensor:
    """A clip (3,F,H,W) written as H.264 in yuv420p and read again."""
    with tempfile.TemporaryDirectory() as folder:
        return files.read(files.write(Path(folder) / "clip.mp4", clip, crf=crf)).frames


def floor(height: int, spoil: str) -> Row:
    """Shares of what is said of true clips that is seen, and what physics is found, for one size and one spoil.

    `centre` in pixels; `gravity` as a share, `restitution` and `angle` of the light (its tangent) as they are: medians
    of how far they are off where they were found, in the shares `fell`, `hopped` and `lit` of the clips that have them.
    """
    n, part = pick(smoke=12, laptop=1000), 50
    generator = Generator().manual_seed(90)
    grades, physics, centres, off = [], [], [], {"gravity": [], "restitution": [], "angle": []}
    for _ in range(0, n, part):
        spec = sample(min(part, n), generator)
        where, edge = motion.places(spec), motion.camera(spec, torch.arange(float(spec.frames)))
        views = look(spoiled(render(spec, height), spoil, generator))
        for clip, (view, scene) in enumerate(zip(views, describe(spec), strict=True)):
            seen = read(view)
            grades.append(grade(seen, scene))
            physics.append(seen.physics)
            truth = where[clip] - torch.stack([edge[clip], torch.zeros_like(edge[clip])], -1)[:, None]  # (F, N, 2)
            for track in view.tracks:
                gap = np.linalg.norm(truth[track.frames].numpy() - track.places[:, None], axis=-1)  # (K, N)
                centres += list(gap[track.whole][:, : len(scene.things)].min(1) * height)
            if any(thing.motion == "bounces" for thing in scene.things):
                off["gravity"].append(abs(seen.physics["gravity"] / float(spec.gravity[clip]) - 1))
                off["restitution"].append(abs(seen.physics["restitution"] - float(spec.restitution[clip])))
            if scene.light in ("left", "right"):
                off["angle"].append(abs(seen.physics["light"] - float(spec.light[clip])))
    names = ("count", "tracks", *ATTRIBUTES, "binding", "whole", "light", "camera", "cut")
    row: Row = {name: mean([g[name] for g in grades if name in g]) for name in names}
    row |= {
        k: mean([p[k] for p in physics])
        for k in ("jitter", "kept", "switches", "leaps", "overlap", "momentum", "energy")
    }
    row["centre"] = float(np.mean(centres))
    for name, share in {"gravity": "fell", "restitution": "hopped", "angle": "lit"}.items():
        found = [x for x in off[name] if np.isfinite(x)]
        row[name] = float(np.median(found)) if found else float("nan")
        row[share] = len(found) / max(len(off[name]), 1)
    return row | {"n": len(grades)}


def told_apart(height: int, spoil: str, radius: float) -> Row:
    """The share of single objects of one radius, in one frame, whose shape is right; and that are found at all.

    `margin`: how far off the true shape lies over how far off the nearest other one does, median; below 1 is right.
    """
    n = pick(smoke=20, laptop=1000)
    generator = Generator().manual_seed(91)
    spec = sample(n, generator, World((1, 1), lit=0), frames=1)
    spec = replace(spec, radius=torch.where(spec.shape >= 0, radius, 0.0))
    found, right, margins = [], [], []
    for view, shape in zip(
        look(spoiled(render(spec, height), spoil, generator)), spec.shape[:, 0].tolist(), strict=True
    ):
        found.append(len(view.tracks) == 1)
        right.append(found[-1] and view.tracks[0].shape == tuple(SHAPES)[shape])
        if found[-1]:
            misfits = view.tracks[0].misfits[0]
            margins.append(misfits[shape] / np.delete(misfits, shape).min())
    share = {"found": float(np.mean(found)), "shape": float(np.mean(right))}
    return share | {"margin": float(np.median(margins)) if margins else float("nan"), "n": n}


FLOORS = Sweep(
    "What the verifier gets right on true clips of the Toybox, at two sizes, clean, blurred, noisy, through H.264",
    lambda: [{"height": height, "spoil": spoil} for height in (32, 64) for spoil in SPOILS],
    floor,
)
SIZES_SWEEP = Sweep(
    "From which size on the five shapes are told apart in one frame",
    lambda: [{"height": h, "spoil": s, "radius": r} for h in (32, 64) for s in SPOILS for r in RADII],
    told_apart,
)
