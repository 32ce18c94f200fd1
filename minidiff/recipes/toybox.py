"""Denoisers of short clips of the Toybox, without words: one network with three fields of view, and the same data.

Patches of 8x8 pixels of one frame, so 192 tokens a clip. What tokens see is all that differs: those of their own frame,
frame and time in turns, or the whole clip. Every number about generated clips stands beside that of true ones.
"""

import math
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from minidiff.bars import tqdm
from minidiff.data import toybox
from minidiff.measure.adherence import Seen, watch
from minidiff.measure.frechet import frechet
from minidiff.measure.proportion import average, share
from minidiff.nn.dit import DiT
from minidiff.predict import Denoise, Denoiser
from minidiff.recipes.draw import fifths, generate, labels_of
from minidiff.recipes.row import Metrics, Recipe
from minidiff.recipes.video import endless, features
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.train.fit import denoising_loss, held_below, noisier

SHAPE = (3, 12, 32, 32)
PATCH = (1, 8, 8)
SD = 0.6  # root mean square of the clips: their grey is no zero
SHIFT = 6.0  # of the grid of sampling: most of its steps go where a clip is decided
LOSS = partial(denoising_loss, space="flow", weight=held_below, levels=noisier, apart=0.2)
WORLD = toybox.World((1, 2), ("rests", "drifts", "bounces"), sizes=("medium", "large"), lit=0, pans=0, cuts=0)


def clips(n: int, generator: Generator, split: str = "train") -> Tensor:
    """n clips (n,3,12,32,32) of the world of these models. Example: `clips(8, Generator().manual_seed(0))`."""
    return toybox.render(toybox.sample(n, generator, WORLD, split))


def network_size(at: str) -> tuple[int, int, int]:
    """Width, depth and heads of these networks at a scale; those that read have the same, to begin with their weights.

    More clips on a GPU, and the same network: a notebook samples it on a laptop. Example: `network_size("laptop")`.
    """
    return (32, 2, 2) if at == "smoke" else (160, 6, 4)


def dit(at: str, attention: str) -> nn.Module:
    """The network of these models: 2.9 million weights, whatever it may look at."""
    return DiT(SHAPE[0], *network_size(at), PATCH, attention=attention)


@torch.no_grad()
def videos(
    denoise: Denoise, n: int, calls: int, seed: int = 0, size: int = 50, folder: Path | None = None, frames: int = 12,
    labels: Tensor | None = None, w: float = 1.0
) -> Tensor:  # fmt: skip
    """n clips (n,3,F,32,32) in [-1, 1] from a denoiser, with fresh noise at every step (`ddim`, eta 1).

    These networks err, and fresh noise lets later steps mend what earlier ones did: without it (`dpmpp_2m`) their clips
    held together less well. With few steps, or too few at high noise, it also washes objects away: 30 calls, SHIFT.
    labels, w: for a denoiser that reads, the word numbers (n,L) of n captions, and the weight of guidance.
    Example: `videos(load("toybox-full"), 4, calls=30)`.
    """
    shape = (SHAPE[0], frames, *SHAPE[2:])
    x = generate(denoise, n, shape, calls, seed, size, labels=labels, w=w, shift=SHIFT, eta=1.0, folder=folder)
    return x.clamp(-1, 1)


def draw(denoise: Denoiser, n: int, steps: int, seed: int, label: str | None, w: float) -> Tensor:
    """n clips of the Toybox, (n, 3, 12, 32, 32)."""
    labels_of(denoise, (), n, label, w)
    return videos(denoise, n, steps, seed, fifths(n))


def seen(x: Tensor) -> list[Seen]:
    """What the verifier of the Toybox sees in many clips (n,3,F,H,W), with a progress bar."""
    return [one for part in tqdm(x.split(50), desc="watching", disable=len(x) <= 200) for one in watch(part)]


def physics(seen: list[Seen]) -> Metrics:
    """How well clips hold together, by what `seen` sees in them; what it counts is in `adherence.read`.

    A leap is a track that begins late or ends early in the middle of the picture; clips without switch or leap, and
    with an object, hold together. What cannot be followed over three frames has no acceleration and counts in no mean.
    """
    number = {name: torch.tensor([one.physics[name] for one in seen]) for name in ("jitter", "switches", "leaps")}
    things = torch.tensor([len(one.scene.things) for one in seen])
    return {
        "acceleration error": average(number["jitter"]),
        "identity switches a clip": average(number["switches"]),
        "clips with something to follow": share(number["jitter"].isfinite()),
        "clips that hold together": share((number["switches"] == 0) & (number["leaps"] == 0) & (things > 0)),
        "clips with one object or two": share((things == 1) | (things == 2)),
    }


def clip_metrics(denoise: Denoiser, n: int | None, folder: Path | None) -> Metrics:
    """Clips (30 calls) beside as many held-out ones: physics by the verifier, and the Frechet video distance.

    Acceleration error is in heights a frame squared (times 32 for pixels). The null is the distance of two sets of
    true clips. n: default 800; folder: see `generate`. ValueError for an n that is too small.
    """
    if n is not None and n < 600:
        raise ValueError(f"n={n}: expected 600 or more (fewer say nothing about 32 features)")
    n = n or pick(smoke=40, laptop=800)
    fakes = videos(denoise, n, pick(smoke=2, laptop=30), folder=folder)
    true, other = (clips(n, Generator().manual_seed(seed), "validation") for seed in (11, 12))
    here, there = physics(seen(fakes)), physics(seen(true))
    metrics = here | {f"{name}, true clips": value for name, value in there.items()}
    if here["acceleration error"]["n"]:
        over, floor = here["acceleration error"], there["acceleration error"]
        ratio = over["value"] / floor["value"]
        half = ratio * math.hypot(*((x["high"] - x["value"]) / x["value"] for x in (over, floor)))  # of both means
        interval = {"n": over["n"], "low": ratio - half, "high": ratio + half}
        metrics["acceleration error over that of true clips"] = {"value": ratio} | interval
    else:  # nothing that could be followed, in any clip
        del metrics["acceleration error"]
    fake, real, more = (features(x) for x in (fakes, true, other))
    metrics["Frechet video distance"] = {"value": frechet(fake, real), "n": n}
    metrics["Frechet video distance, true against true"] = {"value": frechet(more, real), "n": n}
    return metrics


def row(name: str, about: str, attention: str) -> Recipe:
    """The row of one arm: what it may look at is all that it does not share with the others."""
    return Recipe(
        name=name,
        about=about,
        net=partial(dit, attention=attention),
        model=lambda net: Denoiser(net, Linear(), "x0", SD),
        batches=partial(endless, clips),
        loss=LOSS,
        measure=clip_metrics,
        draw=draw,
        frames=SHAPE[1],
        steps=(6, 3_200, 20_000),
        batch=(2, 16, 128),
        metric="clips that hold together",
        target=0.9,
        better="higher",
        n=800,
        budget=8_000_000,
        ema=0.998,
        decay_from=0.5,
    )


ROWS = (
    row("toybox-full", "draws clips of the Toybox; all tokens of a clip see one another", "full"),
    row("toybox-factorised", "draws clips of the Toybox; tokens see their frame and their place in time", "factorised"),
    row("toybox-frames", "draws clips of the Toybox frame by frame: no frame sees another (the control)", "frame"),
)
