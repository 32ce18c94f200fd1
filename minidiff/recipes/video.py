"""What measures and what shrinks clips of the Toybox: a classifier of motion, order and colour, and autoencoders.

The classifier's features are the space of the Frechet video distance. Networks that were trained to name things look at
single frames, and a distance in their features hardly minds what happens between frames; this one has to tell whether
the frames of a clip stand in their order.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.data import toybox
from minidiff.data.toybox.spec import COLOURS, MOTIONS, Spec
from minidiff.measure.adherence import grade, watch
from minidiff.measure.frechet import frechet
from minidiff.measure.proportion import average, share
from minidiff.nn.classifier import ClipClassifier
from minidiff.nn.vae import VAE, vae_loss
from minidiff.recipes.row import Metrics, Recipe, fixed
from minidiff.scale import pick
from minidiff.train.batches import Batch, fresh, step_generator

WORLD = toybox.WORLDS["two"]
HEADS = len(MOTIONS) + len(COLOURS) + 1  # which motions, which colours, and whether the frames stand in their order
BETA = 1e-4


def there(spec: Spec) -> Tensor:
    """Which motions and colours a clip has, (B, 6 + 8), as 0 and 1."""
    seen = spec.shape >= 0
    motions, colours = (
        torch.stack([((values == i) & seen).any(1) for i in range(count)], 1)
        for values, count in ((spec.motion, len(MOTIONS)), (spec.colour, len(COLOURS)))
    )
    return torch.cat([motions, colours], 1).float()


def shuffle(clips: Tensor, generator: Generator) -> Tensor:
    """Clips (B,C,F,H,W) with their frames in a random order, each its own."""
    order = torch.rand(len(clips), clips.shape[2], generator=generator).argsort(1)  # (B, F)
    return clips.gather(2, order[:, None, :, None, None].expand_as(clips))


def freeze(clips: Tensor) -> Tensor:
    """Clips (B,C,F,H,W) that stand still: the middle frame of each, as often as there were frames."""
    return clips[:, :, clips.shape[2] // 2, None].expand_as(clips).contiguous()


def recolour(clips: Tensor) -> Tensor:
    """Clips (B,3,F,H,W) with red, green and blue changed round; what is grey stays."""
    return clips.roll(1, 1)


def stands(clips: Tensor) -> Tensor:
    """Whether nothing moves in a clip, (B,): in whatever order its frames stand, they stand in theirs."""
    return (clips.diff(dim=2) == 0).flatten(1).all(1)


def labelled(size: int, seed: int) -> Any:
    """Batches for `fit`: clips, half of them shuffled, what is there, and whether the frames are in order (B,)."""

    def batch(step: int) -> Batch:
        generator = step_generator(seed + 1, step)
        spec = toybox.sample(size, generator, WORLD)
        clips, kept = toybox.render(spec), torch.rand(size, generator=generator) < 0.5
        kept |= stands(clips)
        return torch.where(kept[:, None, None, None, None], clips, shuffle(clips, generator)), there(spec), kept.float()

    return batch


def classifier_loss(net: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
    """Cross-entropy of what is there and of the order; of a shuffled clip only colours and order are asked."""
    clips, wanted, kept = batch
    scores, many = net(clips), len(MOTIONS)
    losses = F.binary_cross_entropy_with_logits(scores[:, :-1], wanted, reduction="none")  # (B, 14)
    order = F.binary_cross_entropy_with_logits(scores[:, -1], kept, reduction="none")
    return losses[:, :many].mean(1) * kept + losses[:, many:].mean(1) + order, torch.zeros_like(kept)


@torch.no_grad()
def features(clips: Tensor, classifier: Any = None) -> Tensor:
    """Features of the shipped classifier of clips, (N, 32), of clips (N,3,F,32,32)."""
    from minidiff.recipes.run import load  # `run` knows the rows, these included

    net = classifier or load("toybox-classifier")
    return torch.cat([net.features(part) for part in clips.split(250)])


def held_out(n: int, frames: int = 12, seed: int = 7) -> Spec:
    """n specs of the validation split, which no training has seen."""
    return toybox.sample(n, Generator().manual_seed(seed), WORLD, "validation", frames=frames)


@torch.no_grad()
def classifier_metrics(net: Any, n: int | None, folder: Path) -> Metrics:
    """How often order, motions and colours of held-out clips are told, with what a constant answer gets."""
    fixed(n)
    n, generator = pick(smoke=80, laptop=2_000), Generator().manual_seed(8)
    spec = held_out(n)
    clips, wanted, kept = toybox.render(spec), there(spec).bool(), torch.rand(n, generator=generator) < 0.5
    kept |= stands(clips)
    mixed = torch.where(kept[:, None, None, None, None], clips, shuffle(clips, generator))
    told, shuffled = (torch.cat([net(part) for part in x.split(250)]) > 0 for x in (clips, mixed))
    many = len(MOTIONS)
    usual = wanted[:, :many].float().mean(0) > 0.5
    metrics: Metrics = {
        "in order or shuffled, told": share(shuffled[:, -1] == kept),
        "all motions of a clip, told": share((told[:, :many] == wanted[:, :many]).all(1)),
        "all motions, always the same answer": share((usual == wanted[:, :many]).all(1)),
        "all colours of a clip, told": share((told[:, many:-1] == wanted[:, many:]).all(1)),
    }
    return metrics | self_test(clips, net)


def self_test(clips: Tensor, net: Any = None) -> Metrics:
    """The Frechet video distance of one half of these true clips from the other half, as it is (the null) and spoilt.

    Each spoil has to move it: `shuffle`, `freeze`, `recolour`. A distance that one of them does not move would not see
    it in generated clips. Example: `self_test(render(held_out(2_000)))["shuffled"]`.
    """
    real, other = clips.chunk(2)
    spoilt = {
        "shuffled": shuffle(other, Generator().manual_seed(0)),
        "frozen": freeze(other),
        "recoloured": recolour(other),
    }
    base = features(real, net)
    far = {name: frechet(features(x, net), base) for name, x in {"true clips": other, **spoilt}.items()}
    return {f"Frechet video distance, {name}": {"value": value, "n": len(other)} for name, value in far.items()}


# autoencoders

WORDS = ("colour", "shape", "motion", "direction", "speed")


@torch.no_grad()
def round_trip(vae: Any, clips: Tensor) -> Tensor:
    """Clips through an autoencoder and back, (N,3,F,H,W), in [-1, 1]."""
    return torch.cat([vae.decode(vae.encode(part)) for part in clips.split(50)]).clamp(-1, 1)


def graded(spec: Spec, clips: Tensor) -> Metrics:
    """What the verifier sees in clips of these specs: shares of words that are right, acceleration error, switches."""
    seen, scenes = watch(clips), toybox.describe(spec)
    grades = [grade(one, scene) for one, scene in zip(seen, scenes, strict=True)]
    found = {word: average(torch.tensor([g.get(word, float("nan")) for g in grades])) for word in WORDS}
    found["acceleration error"] = average(torch.tensor([one.physics["jitter"] for one in seen]))
    found["identity switches a clip"] = average(torch.tensor([one.physics["switches"] for one in seen]))
    return found


@torch.no_grad()
def autoencoder_metrics(vae: Any, n: int | None, folder: Path) -> Metrics:
    """What survives in held-out clips of 13 frames, with the verifier's floor on the clips as they are; their rate."""
    fixed(n)
    spec = held_out(pick(smoke=12, laptop=800), frames=13)
    clips = toybox.render(spec)
    again = round_trip(vae, clips)
    error = (again - clips).square().flatten(1).mean(1)
    metrics: Metrics = {"squared error": average(error)}
    metrics["bits a clip"] = average(torch.cat([vae.bits(part) for part in clips.split(50)]))
    metrics["numbers of a clip over numbers of its latent"] = {
        "value": clips[0].numel() / vae.encode(clips[:1]).numel(),
        "n": len(clips),
    }
    for who, x in (("", again), (", as they are", clips)):
        metrics |= {f"{name}{who}": value for name, value in graded(spec, x).items()}
    return metrics


def autoencoder_loss(vae: Any, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
    """`vae_loss`, of clips and in every fourth batch of their first frames alone, (B,), and zeros. batch: (clips,)."""
    alone = float(torch.rand((), generator=generator)) < 0.25
    losses = vae_loss(vae, batch[0][:, :, :1] if alone else batch[0], generator, BETA)
    return losses, torch.zeros_like(losses)


def clips13(n: int, generator: Generator) -> Tensor:
    """n clips (n,3,13,32,32) to train on: 1 + 12 frames, so that strides of 1, 2 and 4 fit."""
    return toybox.render(toybox.sample(n, generator, WORLD, frames=13))


def measure_scale(vae: Any) -> None:
    """Centre and scale the latents of a trained autoencoder by those of 200 training clips."""
    vae.measure_scale(clips13(pick(smoke=8, laptop=200), Generator().manual_seed(0)).split(50))


def endless(sample: Callable[[int, Generator], Tensor | Batch], size: int, seed: int) -> Callable[[int], Batch]:
    """Batches of clips, drawn as they are needed: where there is a GPU on it, and 16,384 clips (2.4 GB) at once."""
    gpu = torch.cuda.is_available()
    return fresh(sample, size, seed, "cuda" if gpu else "cpu", max(1, 16_384 // size) if gpu else 1)


def autoencoder(at: str, time: int) -> nn.Module:
    """The autoencoder with `time` frames a latent at a scale: 8x8 pixels to 16 numbers, whatever the stride."""
    return VAE(3, latent=16, down=8, base=8 if at == "smoke" else 48, patch=4, time=time)


def autoencoder_row(time: int) -> Recipe:
    """The row of one stride, 2 or 4: the other one differs in nothing but the layers that the longer one takes.

    Example: `autoencoder_row(4).net("smoke")`.
    """
    return Recipe(
        name=f"video-vae-{time}",
        about=f"clips of the Toybox as latents: 8x8 pixels and {time} frames to 16 numbers, the first frame alone",
        net=partial(autoencoder, time=time),
        model=lambda net: net,
        batches=partial(endless, clips13),
        loss=autoencoder_loss,
        finish=measure_scale,
        measure=autoencoder_metrics,
        draw=None,
        steps=(6, 6_000, 20_000),
        batch=(2, 16, 64),
        metric="shape",
        target=0.9,
        better="higher",
        n=800,
        budget=8_000_000,
        lr=2e-3,
        decay_from=0.5,
        ema=0.998,
    )


ROWS = (
    Recipe(
        name="toybox-classifier",
        about="tells motions, colours and the order of frames; its features measure generated clips",
        net=lambda at: ClipClassifier(3, HEADS, base=8 if at == "smoke" else 24),
        model=lambda net: net,
        batches=labelled,
        loss=classifier_loss,
        measure=classifier_metrics,
        draw=None,
        steps=(6, 2_000, 8_000),
        batch=(4, 32, 128),
        metric="in order or shuffled, told",
        target=0.95,
        better="higher",
        n=2_000,
        budget=1_500_000,
        weight_decay=0.05,
        decay_from=0.4,
        ema=0.998,
    ),
    autoencoder_row(2),
    autoencoder_row(4),
)
