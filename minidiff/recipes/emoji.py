"""Models of emoji: a classifier to measure with, and autoencoders.

What is measured is measured on held-out pictures, of which 20 of 883 have a near twin in training (`data/README.md`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.data import emoji
from minidiff.measure.proportion import share
from minidiff.nn.classifier import Classifier
from minidiff.nn.vae import VAE, vae_loss
from minidiff.recipes.row import Metrics, Recipe, fixed
from minidiff.scale import pick
from minidiff.train.batches import Batch, mirrored, shuffled

BETA = 1e-3  # weight of the KL: see nn/vae.py
RUNGS = (2, 4, 8, 16)  # downsampling of the four small autoencoders, 4 channels each


def held_out() -> emoji.Emoji:
    """Every picture that no model was trained on: concepts and pairs, 883 (40 at smoke scale)."""
    parts = [emoji.load(split) for split in ("concepts", "pairs")]
    whole = (torch.cat([part[i] for part in parts]) for i in range(4))
    few = torch.randperm(883, generator=Generator().manual_seed(0))[: pick(smoke=40, laptop=883)]
    return emoji.Emoji(*(field[few] for field in whole))


def loaded(name: str) -> Any:
    """What a row of this file names, from the weights that ship. Example: `loaded("emoji-vae")`."""
    from minidiff.recipes.run import load  # `run` knows the rows, these included

    return load(name)


# the classifier: four styles and seven groups, read from one vector of 32 features


def classifier_loss(net: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
    """Cross-entropy of style and of group, of mirrored and shifted pictures. batch: `Emoji` -> (B,), zeros (B,)."""
    images, style, group, _ = batch
    shift = torch.randint(-4, 5, (2,), generator=generator).tolist()
    scores = net(mirrored(images, generator).roll(shift, (2, 3)))  # the ground is white: what is rolled out is white
    losses = F.cross_entropy(scores[:, :4], style, reduction="none")
    losses = losses + F.cross_entropy(scores[:, 4:], group, reduction="none", label_smoothing=0.05)
    return losses, torch.zeros_like(losses)


@torch.no_grad()
def features(images: Tensor, classifier: Any = None) -> Tensor:
    """Features of the shipped emoji classifier, (N, 32), of pictures (N,3,64,64)."""
    net = classifier or loaded("emoji-classifier")
    return torch.cat([net.features(part) for part in images.split(250)])


@torch.no_grad()
def guesses(images: Tensor, classifier: Any = None) -> tuple[Tensor, Tensor]:
    """The classifier's style and group of each picture, (N,) each."""
    net = classifier or loaded("emoji-classifier")
    scores = torch.cat([net(part) for part in images.split(250)])  # (N, 4 + 7)
    return scores[:, :4].argmax(1), scores[:, 4:].argmax(1)


def classifier_metrics(net: Any, n: int | None, folder: Path) -> Metrics:
    """How often style and group of held-out pictures are named, with what guessing the largest group gets."""
    fixed(n)
    images, style, group, _ = held_out()
    styles, groups = guesses(images, net)
    metrics = {"group, held out": share(groups == group), "style, held out": share(styles == style)}
    return metrics | {"always guessing the largest group": share(group == group.mode().values)}


# autoencoders


def autoencoder_loss(vae: Any, batch: Batch, generator: Generator, beta: float = BETA) -> tuple[Tensor, Tensor]:
    """`vae_loss` of mirrored pictures. batch: (images, ...) -> (B,), zeros (B,)."""
    losses = vae_loss(vae, mirrored(batch[0], generator), generator, beta)
    return losses, torch.zeros_like(losses)


def measure_scale(vae: Any) -> None:
    """Mean and scale of the latents of the training pictures, into the autoencoder."""
    vae.measure_scale(emoji.load().images[: pick(smoke=64, laptop=4621)].split(250))


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in [-1, 1], in dB, (B,): 10 log10(2^2 / mean squared error)."""
    return 10 * torch.log10(4 / (x - x_hat.clamp(-1, 1)).square().flatten(1).mean(1).clamp(min=1e-10))


@torch.no_grad()
def round_trip(vae: Any, images: Tensor) -> Tensor:
    """Pictures through an autoencoder and back, (N,3,64,64), in [-1, 1]."""
    device = getattr(vae, "mean", images).device
    return torch.cat([vae.decode(vae.encode(part.to(device))).cpu() for part in images.split(100)]).clamp(-1, 1)


def autoencoder_metrics(vae: Any, n: int | None, folder: Path) -> Metrics:
    """Distortion, rate and what the classifier still sees, of held-out pictures through the autoencoder and back."""
    fixed(n)
    real, net = held_out(), loaded("emoji-classifier")
    x = round_trip(vae, real.images)
    m, before, after = len(x), guesses(real.images, net), guesses(x, net)
    quality, bits = psnr(real.images, x), torch.cat([vae.bits(part) for part in real.images.split(100)])
    half = float(1.96 * quality.std() / m**0.5)
    mean = float(quality.mean())
    white = float(psnr(real.images, torch.ones_like(x)).mean())
    return {
        "PSNR, held out": {"value": mean, "n": m, "low": mean - half, "high": mean + half},
        "PSNR of a white square": {"value": white, "n": m},
        "bits a picture": {"value": float(bits.mean()), "n": m},
        "same style as the original": share(before[0] == after[0]),
        "same group as the original": share(before[1] == after[1]),
    }


def classifier(at: str) -> nn.Module:
    """The network of `emoji-classifier` at a scale."""
    return Classifier(3, 4 + 7, base=8 if at == "smoke" else 32, features=32, size=64, patch=2)


def autoencoder(at: str) -> nn.Module:
    """The network of `emoji-vae` at a scale."""
    return VAE(3, 8, down=8, base=8 if at == "smoke" else 64, patch=4)


def rung(down: int, at: str) -> nn.Module:
    """The network of a small autoencoder that reduces pixels `down` times."""
    return VAE(3, 4, down, base=8 if at == "smoke" else 16)


def autoencoder_row(name: str, about: str, net: Any, steps: int, target: float, budget: int) -> Recipe:
    """The row of an autoencoder: all are trained and measured alike."""
    return Recipe(
        name=name,
        pixels=3 * 64 * 64,
        about=about,
        net=net,
        model=lambda net: net,
        batches=lambda size, seed: shuffled(emoji.load(), size, seed),
        loss=autoencoder_loss,
        finish=measure_scale,
        measure=autoencoder_metrics,
        draw=None,
        steps=(10, steps, 4 * steps),
        batch=(16, 16, 128),
        metric="PSNR, held out",
        target=target,
        better="higher",
        n=883,
        budget=budget,
        lr=2e-3,
        decay_from=0.4,
        ema=0.995,
    )


ROWS = (
    Recipe(
        name="emoji-classifier",
        pixels=3 * 64 * 64,
        about="names style and group of an emoji; its features measure generated ones",
        net=classifier,
        model=lambda net: net,
        batches=lambda size, seed: shuffled(emoji.load(), size, seed),
        loss=classifier_loss,
        measure=classifier_metrics,
        draw=None,
        steps=(10, 3_000, 4_000),
        batch=(32, 64, 256),
        metric="group, held out",
        target=0.6,
        better="higher",
        n=883,
        budget=1_000_000,
        weight_decay=0.05,
        lr=2e-3,
        decay_from=0.1,
        ema=0.998,
    ),
    autoencoder_row(
        "emoji-vae", "8x8 pixels as 8 numbers: emoji of 64x64 as 8x8x8, and back", autoencoder, 10_000, 26.0, 3_000_000
    ),
    *(
        autoencoder_row(
            f"emoji-vae-{f}",
            f"a small autoencoder, {f}x{f} pixels as 4 numbers",
            partial(rung, f),
            2_500,
            psnr_at,
            1_500_000,
        )
        for f, psnr_at in zip(RUNGS, (32.0, 25.0, 21.0, 17.0), strict=True)
    ),
)
