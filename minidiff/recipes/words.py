"""Stills and clips of the Toybox from a sentence: one transformer that reads, in two rows.

A still is a clip of one frame, so both rows have one network, and stills teach it words twelve times as fast. It need
not learn to draw first: `toybox-still` begins with the weights of `toybox-full`, which draws clips and knows no word,
and `toybox-video` goes on from there with more clips. Half of the captions are short, half say sizes, places and speeds
too, each with a chance of its own.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Generator, Tensor

from minidiff.data import toybox
from minidiff.draws import on
from minidiff.measure.adherence import Seen, grade
from minidiff.measure.frechet import frechet
from minidiff.measure.proportion import average
from minidiff.nn.attention import watched
from minidiff.nn.text import TextDiT, Tokenizer
from minidiff.predict import Denoise, Denoiser
from minidiff.recipes.draw import fifths
from minidiff.recipes.row import Metrics, Recipe
from minidiff.recipes.toybox import LOSS, PATCH, SD, SHAPE, WORLD, network_size, physics, seen, videos
from minidiff.recipes.video import endless, features
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.threads import pool
from minidiff.train.batches import Batch, step_generator

GRADES = ("colour", "shape", "size", "place", "motion", "direction", "speed", "count", "binding", "whole")
LENGTH = 24  # words of the longest caption of this world
W = 3.0  # guidance of these models
EXAMPLES = (  # of stills, of clips
    ("a red circle", "a blue square and a yellow ring", "a large green triangle at the left", "a cyan star"),
    ("a red circle bounces", "a blue square drifts right", "a green ring rests and a pink circle bounces left"),
)
PART, AHEAD = 256, 10  # clips that one process plans at once, and batches that are planned before their turn
DROP = 0.1  # of the captions, so that guidance knows what no words look like
TOKENS = Tokenizer(toybox.VOCABULARY, LENGTH)


def said(scene: toybox.Scene, generator: Generator) -> str:
    """One caption of a scene: short, or with each word left out that may be, by a coin (a colour too)."""
    if float(torch.rand((), generator=generator)) < 0.5:
        return toybox.write(toybox.short(scene))
    return toybox.write(toybox.spoil(scene, generator, drop=0.5))


def told(n: int, generator: Generator, frames: int = 12, split: str = "train") -> Batch:
    """n clips (n,3,F,32,32) with a caption each, as word numbers (n,24). Example: `told(8, generator, frames=1)`."""
    spec = toybox.sample(n, generator, WORLD, split, frames=frames)
    return toybox.render(spec), written(spec, generator)


def written(spec: toybox.Spec, generator: Generator) -> Tensor:
    """A caption of each clip of a spec, as word numbers (n,24). Example: `written(spec, Generator())`."""
    coins = on("cpu", generator)
    return TOKENS([said(scene, coins) for scene in toybox.describe(spec)], LENGTH)


def planned(n: int, seed: int, frames: int) -> dict[str, Any]:
    """The fields of n specs as arrays, and "ids", their captions: the part of `told` that no GPU does faster."""
    generator = Generator().manual_seed(seed)
    spec = toybox.sample(n, generator, WORLD, frames=frames)
    return {name: value.numpy() for name, value in spec.tensors().items()} | {"ids": written(spec, generator).numpy()}


def ahead(size: int, seed: int, frames: int, device: str = "cuda") -> Callable[[int], Batch]:
    """What `told` gives, for a GPU that would wait: processes plan the batches to come, the device draws them."""
    waiting: dict[int, list[Future[dict[str, Any]]]] = {}

    def batch(step: int) -> Batch:
        for nth in range(step, step + AHEAD):
            if nth not in waiting:
                seeds = torch.randint(2**62, (-(-size // PART),), generator=step_generator(seed + 1, nth)).tolist()
                waiting[nth] = [pool().submit(planned, min(PART, size), one, frames) for one in seeds]
        parts = [future.result() for future in waiting.pop(step)]
        table = {name: torch.cat([torch.from_numpy(part[name]) for part in parts])[:size] for name in parts[0]}
        ids = table.pop("ids")
        return toybox.render(toybox.Spec(**table, frames=frames, aspect=1.0).to(device)), ids

    return batch


def mixed(size: int, seed: int, moving: int) -> Any:
    """Batches for `fit`: of six, `moving` are `size` clips, the others eight times as many stills (as much work)."""
    if torch.cuda.is_available():
        stills, clips = ahead(8 * size, seed, 1), ahead(size, seed + 500, 12)
    else:
        stills, clips = endless(partial(told, frames=1), 8 * size, seed), endless(told, size, seed + 500)

    def batch(step: int) -> Batch:
        nth, i = divmod(step, 6)  # each source is asked for its batches one after another: none is drawn in vain
        x, ids = clips(nth * moving + i) if i < moving else stills(nth * (6 - moving) + i - moving)
        longest = int((ids != 0).sum(1).max())
        return x, ids[:, : min(LENGTH, -(-longest // 8) * 8)]  # lengths of 8, 16 and 24: no more shapes to compile

    return batch


def dit(at: str) -> TextDiT:
    """The network of `toybox-full`, with an encoder of two blocks and cross-attention: 4.2 million weights."""
    return TextDiT(SHAPE[0], *network_size(at), PATCH, len(toybox.VOCABULARY))


def scene_of(sentence: str, moves: bool) -> toybox.Scene:
    """The scene that a sentence asks for. ValueError for what is no sentence, and for what these models never saw."""
    scene = toybox.parse(sentence)
    beyond = [f"{len(scene.things)} objects"] * (len(scene.things) > WORLD.objects[1])
    for thing in scene.things:
        beyond += [thing.size] if thing.size not in (None, *WORLD.sizes) else []
        beyond += [thing.motion] if thing.motion not in (None, *(WORLD.motions if moves else ())) else []
    beyond += ["light"] * (scene.light is not None) + ["the camera"] * (scene.camera is not None)
    beyond += ["a cut"] * bool(scene.cut)
    if beyond:
        knows = f"one or two objects, {' or '.join(WORLD.sizes)}" + f", that {', '.join(WORLD.motions)}" * moves
        still = "" if moves else "; what moves is for toybox-video"
        raise ValueError(f"{sentence!r}: this model never saw {beyond[0]}; it knows {knows}{still}")
    return scene


class Looks(NamedTuple):
    """Samples (n,...), their words, and where each word was looked at: (n,L,F,rows,columns), shares of attention."""

    samples: Tensor
    words: list[list[str]]
    heat: Tensor


def listening(denoise: Denoiser, heard: list[tuple[int, Tensor]]) -> Denoise:
    """The denoiser, which adds up how much patches looked at words: of each batch, calls and sum (n,L,F,rows,columns).

    A batch begins where a sampler does, at the highest level.
    """

    def listen(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        with watched(denoise.net, crossing_only=True) as maps:
            x0_hat = denoise(x_t, t, cond)
        if cond is not None and cond.any():
            side = x_t.shape[-1] // PATCH[2]
            heat = torch.stack([layer.mean(1) for layer in maps]).mean(0)[..., 1:]  # (n, F N, L), heads and layers
            heat = rearrange(heat, "n (f h w) l -> n l f h w", f=x_t.shape[2], w=side).cpu()
            if float(t.max()) == 1:
                heard.append((0, torch.zeros_like(heat)))
            heard[-1] = (heard[-1][0] + 1, heard[-1][1] + heat)
        return x0_hat

    for name in ("schedule", "net", "null"):
        setattr(listen, name, getattr(denoise, name))
    return listen


def draw(
    denoise: Denoiser, n: int, steps: int, seed: int, label: str | None, w: float, *,
    frames: int, attention: bool = False
) -> Tensor | Looks:  # fmt: skip
    """n stills (frames=1) (n,3,32,32) or clips (n,3,F,32,32) of a sentence; without one, of EXAMPLES in turn.

    attention: `Looks`, with a heat map for each word, the mean over steps, layers and heads. ValueError for a sentence
    that these models cannot know.
    """
    moves = frames > 1
    sentences = [EXAMPLES[moves][i % len(EXAMPLES[moves])] if label is None else label for i in range(n)]
    for sentence in dict.fromkeys(sentences):
        scene_of(sentence, moves)
    if attention and w == 0:
        raise ValueError("w=0 hears no words: there is no attention to them, take a w above 0")
    heard: list[tuple[int, Tensor]] = []
    size, listened = fifths(n), listening(denoise, heard) if attention else denoise
    x = videos(listened, n, steps, seed, size, frames=frames, labels=TOKENS(sentences), w=w)
    x = x if moves else x[:, :, 0]
    if not attention:
        return x
    heat = torch.cat([total / calls for calls, total in heard])
    return Looks(x, [TOKENS.words(sentence) for sentence in sentences], heat)


def shares(clips: Tensor, scenes: Sequence[toybox.Scene]) -> tuple[dict[str, Tensor], list[Seen]]:
    """How far each of n clips (n,3,F,H,W) shows what its scene asks, by attribute (n,), NaN where nothing was asked."""
    views = seen(clips)
    grades = [grade(one, scene) for one, scene in zip(views, scenes, strict=True)]
    return {word: torch.tensor([g.get(word, math.nan) for g in grades]) for word in GRADES}, views


def asked_for(n: int, seed: int, split: str, frames: int) -> tuple[toybox.Spec, list[str], list[toybox.Scene]]:
    """n random specs of a split, a caption of each, and the scenes that the captions ask for."""
    spec = toybox.sample(n, Generator().manual_seed(seed), WORLD, split, frames=frames)
    coins = Generator().manual_seed(seed + 10)
    sentences = [said(scene, coins) for scene in toybox.describe(spec)]
    return spec, sentences, [toybox.parse(sentence) for sentence in sentences]


@torch.no_grad()
def measure(denoise: Denoiser, n: int | None, folder: Path | None, *, frames: int) -> Metrics:
    """n captions of held-out scenes, drawn and graded by the verifier; ", true" is its floor, on true ones.

    A quarter as many scenes pair a colour and a shape as no training did. 20 steps, guidance W. n: default
    1,024; folder: see `generate`. ValueError for fewer than 400.
    """
    if n is not None and n < 400:
        raise ValueError(f"n={n}: expected 400 captions or more, or the shares say little")
    moves, metrics = frames > 1, {}
    n = n or pick(smoke=40 if moves else 8, laptop=1_024)
    for split, many, seed in (("validation", n, 21), ("pairs", max(2, n // 4), 22)):
        spec, sentences, scenes = asked_for(many, seed, split, frames)
        kept = folder / split if folder else None
        x = videos(denoise, many, pick(smoke=2, laptop=20), seed, 64, kept, frames, TOKENS(sentences, LENGTH), W)
        for who, clips in (("", x), (", true", toybox.render(spec))):
            found, views = shares(clips, scenes)
            if split == "pairs":
                metrics[f"binding, unseen pairs{who}"] = average(found["binding"])
                continue
            asked = {word: average(values) for word, values in found.items() if values.isfinite().any()}
            metrics |= {f"{word}{who}": value for word, value in asked.items()}
            two = torch.tensor([len(scene.things) == 2 for scene in scenes])
            for name, which in (("one object", ~two), ("two objects", two)):
                metrics[f"whole, {name}{who}"] = average(found["whole"][which])
            if moves:
                metrics |= {f"{word}{who}": value for word, value in physics(views).items() if value["n"]}
                metrics[f"Frechet video distance{who}"] = distance(clips)
    return metrics


def distance(clips: Tensor) -> dict[str, Any]:
    """The Frechet video distance of clips from as many true ones of these captions' world."""
    spec = toybox.sample(len(clips), Generator().manual_seed(23), WORLD, "validation", frames=clips.shape[2])
    return {"value": frechet(features(clips), features(toybox.render(spec))), "n": len(clips)}


def row(name: str, about: str, begins: str, frames: int, moving: int, steps: int, lr: float, target: float) -> Recipe:
    """The row of a model that reads; moving: how many of six batches are clips, frames: of what it draws."""
    return Recipe(
        name=name,
        about=about,
        net=dit,
        model=lambda net: Denoiser(net, Linear(), "x0", SD),
        batches=partial(mixed, moving=moving),
        loss=partial(LOSS, drop=DROP),
        begins=begins,
        steps=(6, steps, 3_700),  # nine minutes of an H200, which sixteen processor cores keep busy
        batch=(2, 32, 384),
        better="higher",
        budget=10_000_000,
        lr=lr,
        decay_from=0.5,
        measure=partial(measure, frames=frames),
        draw=partial(draw, frames=frames),
        reads=True,
        frames=frames,
        shows=(4, 20),
        w=W,
        metric="whole",
        target=target,
        n=1_024,
    )


ROWS = (
    row("toybox-still", "draws stills of the Toybox from a sentence", "toybox-full", 1, 1, 4_000, 1e-3, 0.85),
    row("toybox-video", "draws clips of the Toybox from a sentence", "toybox-still", 12, 4, 2_000, 6e-4, 0.75),
)
