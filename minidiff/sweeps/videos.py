"""What `toybox-video` obeys: over its training, under more guidance, and where it fails and when (chapter 18)."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor

from minidiff.data import toybox
from minidiff.measure.adherence import Seen
from minidiff.measure.proportion import average, share
from minidiff.predict import guide
from minidiff.recipes.run import load
from minidiff.recipes.toybox import SHAPE, SHIFT, WORLD, physics, seen, videos
from minidiff.recipes.words import TOKENS, W, asked_for, distance, shares
from minidiff.sample import ddim, last, prior
from minidiff.scale import pick
from minidiff.schedule import shifted, uniform_grid
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.sweeps.unet import MOMENTS, at_moment

ASKED = ("colour", "shape", "size", "place", "motion", "direction", "speed", "count", "binding", "whole")
SENTENCE = "a red circle bounces and a blue star drifts right"


def frames_of(clips: Tensor) -> Tensor:
    """Clips (n,3,F,H,W) as pictures (n F,3,H,W), for `pack`. Example: `frames_of(torch.zeros(2, 3, 12, 32, 32))`."""
    return rearrange(clips, "n c f h w -> (n f) c h w")


def obeyed(x: Tensor, scenes: list[toybox.Scene]) -> tuple[Row, list[Seen]]:
    """Shares of what n scenes ask that clips (n,3,F,H,W) show, and how well they hold together."""
    found, views = shares(x, scenes)
    row: Row = {name: float(found[name].nanmean()) for name in ASKED}
    row |= {f"{name}_n": int(found[name].isfinite().sum()) for name in ASKED}  # how many asked for it
    held = physics(views)
    row |= {"hold": held["clips that hold together"]["value"]}
    row |= {"jitter": held["acceleration error"]["value"]}
    return row | {"frechet": distance(x)["value"], "n": len(x)}, views


@torch.no_grad()
def moment(moment: int) -> Row:
    """A moment of the training of `toybox-video`, measured on held-out captions; pixels: four clips of SENTENCE."""
    denoise, header = at_moment("toybox-video", moment)
    n, steps = pick(smoke=40, laptop=96), pick(smoke=2, laptop=20)
    _, sentences, scenes = asked_for(n, 21, "validation", SHAPE[1])
    row, _ = obeyed(videos(denoise, n, steps, 21, 64, frames=SHAPE[1], labels=TOKENS(sentences), w=W), scenes)
    x = videos(denoise, 4, steps, 4, frames=SHAPE[1], labels=TOKENS([SENTENCE] * 4), w=W)
    return row | {"step": header["step"], "samples": header["samples"], "pixels": pack(frames_of(x))}


STATES_SWEEP = Sweep(
    "what a model of clips that reads obeys, over its training: `minidiff train toybox-video` first",
    lambda: [{"moment": moment} for moment in MOMENTS[: pick(smoke=2, laptop=9)]],
    moment,
)


@torch.no_grad()
def sampled(w: float, steps: int) -> Row:
    """Held-out captions, drawn with a weight of guidance and a number of steps; pixels: four clips of SENTENCE."""
    denoise, n = load("toybox-video"), pick(smoke=40, laptop=96)
    _, sentences, scenes = asked_for(n, 25, "validation", SHAPE[1])
    row, views = obeyed(videos(denoise, n, steps, 25, 64, frames=SHAPE[1], labels=TOKENS(sentences), w=w), scenes)
    kinds = [thing.motion for one in views for thing in one.scene.things]
    row |= {f"seen_{name}": kinds.count(name) / max(1, len(kinds)) for name in (*WORLD.motions, "unknown")}
    x = videos(denoise, 4, steps, 4, frames=SHAPE[1], labels=TOKENS([SENTENCE] * 4), w=w)
    return row | {"pixels": pack(frames_of(x))}


def true_row() -> Row:
    """The same of true clips of these captions: the floor of every share, and the null of the distance."""
    spec, _, scenes = asked_for(pick(smoke=40, laptop=96), 25, "validation", SHAPE[1])
    row, views = obeyed(toybox.render(spec), scenes)
    kinds = [thing.motion for one in views for thing in one.scene.things]
    return row | {f"seen_{name}": kinds.count(name) / len(kinds) for name in (*WORLD.motions, "unknown")}


WEIGHTS = [(w, 20) for w in (1.0, 2.0, 3.0, 5.0, 8.0)] + [(3.0, steps) for steps in (10, 40)]
SAMPLING_SWEEP = Sweep(
    "clips of sentences by weight of guidance and number of steps; w = 0, 0 steps: true clips",
    lambda: (
        [{"w": w, "steps": pick(smoke=2, laptop=n)} for w, n in WEIGHTS[: pick(smoke=2, laptop=7)]]
        + [{"w": 0.0, "steps": 0}]
    ),
    lambda w, steps: sampled(w, steps) if steps else true_row(),
)


# --- what goes wrong, and when ----------------------------------------------------------------------------------------

KINDS = ("missing", "twice", "stranger", "vanishes", "recoloured", "touching", "unknown")


def wrongs(one: Seen, asked: toybox.Scene) -> dict[str, float]:
    """What is wrong in a clip, 0 or 1 each: an object missing; one of those asked for drawn twice; a stranger, of a
    colour and shape that nobody asked for; one that appears or vanishes in mid-clip, or changes its colour; objects
    that lie over one another; a motion that has no name.

    The sentence names colour and shape of every object. Example: `wrongs(watch(clips)[0], parse(sentence))`.
    """
    wanted = Counter((thing.colour, thing.shape) for thing in asked.things)
    there = Counter((thing.colour, thing.shape) for thing in one.scene.things)
    more = there - wanted
    return {
        "missing": float(bool(wanted - there)),
        "twice": float(any(look in wanted for look in more)),
        "stranger": float(any(look not in wanted for look in more)),
        "vanishes": float(one.physics["leaps"] > 0),
        "recoloured": float(one.physics["switches"] > 0),
        "touching": float(one.physics["overlap"] > 0),
        "unknown": float(any(move.name == "unknown" for move in one.moves)),
    }


def crowd(objects: int, n: int | None = None) -> tuple[toybox.Spec, list[str], list[toybox.Scene]]:
    """n held-out specs with so many objects, and their short captions, which say colours, shapes and motions."""
    world = replace(WORLD, objects=(objects, objects))
    n, generator = n or pick(smoke=8, laptop=256), Generator().manual_seed(26 + objects)
    spec = toybox.sample(n, generator, world, "validation", frames=SHAPE[1])
    sentences = toybox.captions(spec)
    return spec, sentences, [toybox.parse(sentence) for sentence in sentences]


@lru_cache(maxsize=1)
def walks(objects: int, w: float = W) -> tuple[Any, ...]:
    """Clips of `crowd`, all states on the way (1 + steps, n, 3, F, H, W), 400 MB, and the grid; the last is kept."""
    denoise, (_, sentences, _) = load("toybox-video"), crowd(objects)
    ids, grid = TOKENS(sentences), shifted(uniform_grid(pick(smoke=2, laptop=20)), SHIFT)
    states = []
    for i, part in enumerate(ids.split(64)):
        generator = Generator().manual_seed(31 + i)
        noise = prior(denoise.schedule, (len(part), *SHAPE), generator)
        steps = ddim(guide(denoise, w), noise, grid, eta=1.0, generator=generator, cond=part)
        states.append(torch.stack([noise, *(x for _, x, _ in steps)]).half())
    return torch.cat(states, 1), grid


@torch.no_grad()
def failures(objects: int) -> Row:
    """How many clips of captions with so many objects go wrong, and in what; "true" is the same of true clips.

    pixels: the first clip with each of KINDS, grey where there is none; `at_KIND`: which caption that is, or -1.
    """
    spec, _, scenes = crowd(objects)
    drawn = walks(objects)[0][-1].float().clamp(-1, 1)
    row: Row = {"n": len(scenes)}
    examples = torch.zeros(len(KINDS), *SHAPE)
    for who, clips in (("", drawn), ("true_", toybox.render(spec))):
        told = [wrongs(one, scene) for one, scene in zip(seen(clips), scenes, strict=True)]
        row |= {who + kind: sum(one[kind] for one in told) / len(told) for kind in KINDS}
        row[f"{who}none"] = sum(not any(one.values()) for one in told) / len(told)
        for i, kind in enumerate(KINDS if not who else ()):
            row[f"at_{kind}"] = next((j for j, one in enumerate(told) if one[kind]), -1)
            examples[i] = clips[row[f"at_{kind}"]] if row[f"at_{kind}"] >= 0 else examples[i]
    return row | {"pixels": pack(frames_of(examples))}


@torch.no_grad()
def doubles(w: float) -> Row:
    """The clips of `failures(2)` from the same noise under another guidance: how many go wrong, and in what."""
    _, _, scenes = crowd(2)
    told = [
        wrongs(one, scene) for one, scene in zip(seen(walks(2, w)[0][-1].float().clamp(-1, 1)), scenes, strict=True)
    ]
    return {"n": len(told)} | {kind: sum(one[kind] for one in told) / len(told) for kind in KINDS}


@torch.no_grad()
def again(step: int) -> Row:
    """Clips of two objects gone on with from a step of theirs, with other noise: how many still have what is wrong.

    Those that went wrong, in each of the kinds that are seen in the number of objects; and as many that went right.
    """
    denoise, (_, sentences, scenes) = load("toybox-video"), crowd(2)
    states, grid = walks(2)
    told = [wrongs(one, scene) for one, scene in zip(seen(states[-1].float().clamp(-1, 1)), scenes, strict=True)]
    wrong = [i for i, one in enumerate(told) if one["missing"] or one["twice"] or one["stranger"]]
    right = [i for i, one in enumerate(told) if not any(one.values())][: len(wrong)]
    copies, row = pick(smoke=1, laptop=2), {"n": 0, "failing": len(wrong)}
    for who, some in (("wrong", wrong), ("right", right)):
        index = torch.tensor(some, dtype=torch.long).repeat(copies)
        parts = []
        for i, part in enumerate(index.split(64) if some else ()):
            x, generator = states[step][part].float(), Generator().manual_seed(77 + i)
            cond = TOKENS(sentences)[part]
            parts.append(last(ddim(guide(denoise, W), x, grid[step:], eta=1.0, generator=generator, cond=cond)))
        views = seen(torch.cat(parts).clamp(-1, 1)) if parts else []
        found = [wrongs(one, scenes[i]) for one, i in zip(views, index.tolist(), strict=True)]
        bad = torch.tensor([float(one["missing"] or one["twice"] or one["stranger"]) for one in found])
        clip = bad.view(copies, -1).mean(0)  # a clip's copies are no independent clips
        told_of = average(clip) if clip.unique().numel() > 1 else share(clip > 0.5) if len(clip) else {"n": 0}
        row |= {f"{who}_{key}": value for key, value in told_of.items()}
    return row | {"n": row["wrong_n"] + row["right_n"]}


FAILURES_SWEEP = Sweep(
    "clips of sentences with one object and with two: what goes wrong, beside true clips",
    lambda: [{"objects": objects} for objects in (1, 2)],
    failures,
)
AGAIN_SWEEP = Sweep(
    "when it is decided that a clip goes wrong: gone on with from a step, with other noise",
    lambda: [{"step": step} for step in pick(smoke=(0, 1), laptop=(0, 1, 2, 3, 4, 6, 8, 12, 16))],
    again,
)
DOUBLES_SWEEP = Sweep(
    "the clips of two objects of video-failures, from the same noise, under less and more guidance",
    lambda: [{"w": w} for w in (1.0, 6.0)],
    doubles,
)
