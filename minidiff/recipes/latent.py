"""Denoisers of emoji, of latents and of pixels, with as many weights; the class is the style.

A denoiser of latents brings its autoencoder along. Its checkpoint names the hash of the one that it was trained with,
and `load` refuses another.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.data import emoji
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import precision_recall
from minidiff.measure.proportion import share
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import copying, fifths, generate, labels_of
from minidiff.recipes.emoji import features, guesses, held_out, loaded, round_trip
from minidiff.recipes.row import Metrics, Recipe
from minidiff.scale import pick, scale
from minidiff.schedule import Linear
from minidiff.train.batches import shuffled
from minidiff.train.checkpoint import read_header
from minidiff.train.fit import denoising_loss, logit_normal

PIXELS = (3, 64, 64)


def latents(name: str = "emoji-vae") -> tuple[Tensor, Tensor]:
    """Latents (N,c,h,w) and styles (N,) of the training pictures, by a shipped autoencoder, once a file of it."""
    from minidiff.recipes.run import shipped

    return _latents(name, read_header(shipped(name))["sha256"], scale())


@cache
def _latents(name: str, sha256: str, at: str) -> tuple[Tensor, Tensor]:
    vae, (images, style, *_) = loaded(name), emoji.load()
    few = torch.randperm(len(images), generator=Generator().manual_seed(0))[: pick(smoke=64, laptop=len(images))]
    return torch.cat([vae.encode(part) for part in images[few].split(100)]), style[few]


@torch.no_grad()
def pictures(
    denoise: Denoiser,
    n: int,
    calls: int,
    seed: int = 0,
    size: int = 250,
    labels: Tensor | None = None,
    w: float = 1.0,
    folder: Path | None = None,
) -> Tensor:
    """n pictures (n,3,64,64) in [-1, 1] from a denoiser of pixels, or of latents through its autoencoder.

    Arguments as `generate` takes them. Example: `pictures(load("emoji-latent"), 8, calls=20)`.
    """
    vae, channels = denoise.autoencoder, getattr(denoise.net, "channels", None)
    if vae is not None and channels not in (None, vae.latent):
        raise ValueError(f"the denoiser has {channels} channels, its autoencoder latents of {vae.latent}: not a pair")
    shape = (vae.latent, 64 // vae.down, 64 // vae.down) if vae is not None else PIXELS
    device = next(denoise.net.parameters()).device
    x = generate(denoise, n, shape, calls, seed, size, labels=labels, w=w, folder=folder)
    return (x if vae is None else torch.cat([vae.decode(part.to(device)).cpu() for part in x.split(100)])).clamp(-1, 1)


def quality(x: Tensor, labels: Tensor | None = None) -> Metrics:
    """Pictures (n,3,64,64) against the 883 held-out ones: distance, precision, recall, style recognised."""
    real, net, n = held_out(), loaded("emoji-classifier"), len(x)
    fake, true = features(x, net), features(real.images, net)
    m = min(n, len(true))
    precision, recall = precision_recall(fake[:m], true[:m])
    metrics: Metrics = {
        "Frechet distance": {"value": frechet(fake, true), "n": n},
        "precision": {"value": precision, "n": m},
        "recall": {"value": recall, "n": m},
    }
    if labels is not None:
        metrics["drawn in the style asked for"] = share(guesses(x, net)[0] == labels)
    return metrics


def denoiser_metrics(denoise: Denoiser, n: int | None, folder: Path | None) -> Metrics:
    """Samples (25 calls, the styles in turn) against the held-out pictures, beside what other pictures get.

    Training pictures say how near two sets of real ones are; for a denoiser of latents, training pictures through the
    autoencoder and back are the best that it could do. n: default 1,000; folder: see `generate`.
    """
    if n is not None and not 500 <= n <= 4_600:
        raise ValueError(f"n={n}: expected 500 (fewer say little about 32 features) to 4,600 (all training pictures)")
    n = n or pick(smoke=40, laptop=1_000)
    labels = torch.arange(n) % 4
    x = pictures(denoise, n, pick(smoke=2, laptop=25), labels=labels, folder=folder)
    metrics = quality(x, labels)
    images = emoji.load().images
    train = images[torch.randperm(len(images), generator=Generator().manual_seed(1))[:n]]
    others = {"training pictures": train}
    if denoise.autoencoder is not None:
        others["training pictures through the autoencoder"] = round_trip(denoise.autoencoder, train)
    for who, other in others.items():
        metrics |= {f"{name}, {who}": value for name, value in quality(other).items()}
    real = held_out().images
    metrics["style recognised, real"] = share(guesses(real)[0] == held_out().style)
    small = [F.avg_pool2d(a, 4) for a in (x, real, images[: pick(smoke=200, laptop=len(images))])]
    return metrics | copying(*small)


def draw(denoise: Denoiser, n: int, steps: int, seed: int, label: str | None, w: float) -> Tensor:
    """n pictures of emoji, (n, 3, 64, 64)."""
    return pictures(denoise, n, steps, seed, fifths(n), labels_of(denoise, emoji.STYLES, n, label, w), w)


def latent_unet(at: str) -> nn.Module:
    """The network of `emoji-latent` at a scale."""
    return UNet(8, 8 if at == "smoke" else 64, (1, 2), blocks=1, classes=4)


def pixel_unet(at: str) -> nn.Module:
    """The network of `emoji-pixel` at a scale: as many weights as that of `emoji-latent`."""
    return UNet(3, 8 if at == "smoke" else 40, (1, 2, 3), blocks=1, classes=4, patch=2)


def denoiser_row(
    name: str, about: str, net: Any, sd: float, of: str | None, steps: int, ema: float, batches: Any
) -> Recipe:
    """The row of a denoiser of latents (of: its autoencoder) or of pixels: the same but for the space."""
    return Recipe(
        name=name,
        pixels=3 * 64 * 64,
        about=about,
        net=net,
        model=lambda net: Denoiser(net, Linear(), "flow", sd, autoencoder=loaded(of) if of else None),
        batches=batches,
        loss=partial(denoising_loss, drop=0.1, levels=logit_normal),
        needs=(of,) if of else (),
        measure=denoiser_metrics,
        draw=draw,
        steps=(10, steps, 4 * steps),
        batch=(16, 16, 256),
        metric="Frechet distance",
        target=25.0,  # training pictures themselves are at 16, and through the autoencoder at 18
        better="lower",
        n=1_000,
        budget=6_000_000,
        ema=ema,
        decay_from=0.4,
    )


ROWS = (
    denoiser_row(
        "emoji-latent",
        "draws emoji, as latents of emoji-vae",
        latent_unet,
        1.0,
        "emoji-vae",
        10_500,
        0.999,
        lambda size, seed: shuffled(latents(), size, seed),
    ),
    denoiser_row(
        "emoji-pixel",
        "draws emoji, in pixels: the rival of emoji-latent",
        pixel_unet,
        emoji.SD,
        None,
        2_100,
        0.995,
        lambda size, seed: shuffled(emoji.load()[:2], size, seed),
    ),
)
