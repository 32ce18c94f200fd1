"""Models of Fashion-MNIST: the classifier in whose features the course measures, and two networks that draw.

Every number about generated images stands beside what real images get.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.data import fashion
from minidiff.measure.frechet import frechet, report
from minidiff.measure.neighbours import precision_recall
from minidiff.measure.proportion import share
from minidiff.nn.classifier import Classifier
from minidiff.nn.dit import PRESETS, DiT
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import copying, fifths, generate, labels_of
from minidiff.recipes.row import Metrics, Recipe, fixed
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.train.batches import Batch, mirrored, shuffled
from minidiff.train.fit import denoising_loss, logit_normal

SHAPE = (1, 28, 28)


def classifier_loss(net: nn.Module, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
    """Cross-entropy of randomly mirrored images. batch: (images, labels) -> (B,), levels 0 (B,)."""
    images, labels = batch
    losses = F.cross_entropy(net(mirrored(images, generator)), labels, reduction="none", label_smoothing=0.05)
    return losses, torch.zeros_like(losses)


def shipped_classifier() -> Any:
    """The classifier that ships, whose features are the space of every Frechet distance in the course."""
    from minidiff.recipes.run import load  # `run` knows the rows, this one included

    return load("fashion-classifier")


@torch.no_grad()
def features(images: Tensor, size: int = 500, classifier: Any = None) -> Tensor:
    """Features of the shipped Fashion-MNIST classifier, (N, 64). images: (N,1,H,W) in [-1, 1]."""
    net = classifier or shipped_classifier()
    return torch.cat([net.features(part) for part in images.split(size)])


@torch.no_grad()
def classifier_metrics(net: Any, n: int | None, folder: Path) -> Metrics:
    """Accuracy on the Fashion-MNIST test images, with a majority vote's beside it."""
    fixed(n)
    images, labels = fashion.load("test")
    images, labels = images[: pick(smoke=200, laptop=10_000)], labels[: pick(smoke=200, laptop=10_000)]
    guess = torch.cat([net(part).argmax(1) for part in images.split(500)])
    return {"test accuracy": share(guess == labels), "always guessing one class": share(labels == labels.mode().values)}


def image_metrics(denoise: Denoiser, n: int | None, folder: Path | None) -> Metrics:
    """Samples (50 calls) against the 10,000 test images, every number beside what real images get.

    Frechet distance, its limit, and its ratio to that of test images with noise 0.05; precision and recall; how near
    the nearest training image is. With classes also: how often a sample is recognised as what was asked for, and the
    same at w=2 and 4. n: default 2,000, at which what ships was measured; folder: see `generate`. ValueError for an n
    that is too small or too large.
    """
    if n is not None and not 1_120 <= n <= 10_000:
        raise ValueError(f"n={n}: expected 1,120 (fewer say nothing about 64 features) to 10,000 (all test images)")
    n, calls = n or pick(smoke=80, laptop=2_000), pick(smoke=2, laptop=50)
    classes, net = denoise.null, shipped_classifier()
    cut = pick(smoke=500, laptop=10_000)
    (real, real_labels), (train, _) = ((a[:cut], b[:cut]) for a, b in map(fashion.load, ("test", "train")))
    labels = torch.arange(n) % classes if classes else None
    fakes = {}
    for w in (1.0, 2.0, 4.0) if classes else (1.0,):
        k = n if w == 1 else min(n, pick(smoke=n, laptop=1_200, gpu=n))  # two calls a step: dear on a laptop
        kept = folder and folder / f"w{w:g}-n{k}"
        fakes[w] = generate(denoise, k, SHAPE, calls, labels=None if labels is None else labels[:k], w=w, folder=kept)
    real_f, train_f = features(real, classifier=net), features(train, classifier=net)
    noisy = real + 0.05 * torch.randn(real.shape, generator=Generator().manual_seed(0))
    noisy_f = features(noisy, classifier=net)
    metrics: Metrics = {}
    for w, images in fakes.items():
        at, k, fake = "" if w == 1 else f", w={w:g}", len(images), features(images, classifier=net)
        value = frechet(fake, real_f)
        over = value / frechet(noisy_f[:k], real_f)
        metrics[f"Frechet distance over that of noise 0.05{at}"] = {"value": over, "n": k}
        metrics[f"Frechet distance{at}"] = {"value": value, "n": k}
        if w == 1 and k >= 16 * fake.shape[1] + 80:
            full = report(fake, real_f, train_f)
            limit = {"value": full.limit, "n": k, "low": full.low, "high": full.high}
            metrics["Frechet distance, extrapolated to n = infinity"] = limit
            metrics["Frechet distance, real against real"] = {"value": full.null, "n": k}
        precision, recall = precision_recall(fake, real_f[:k])
        metrics |= {f"precision{at}": {"value": precision, "n": k}, f"recall{at}": {"value": recall, "n": k}}
        if labels is not None:
            metrics[f"recognised as its class{at}"] = share(guesses(net, images) == labels[:k])
    precision, recall = precision_recall(train_f[:n], real_f[:n])
    metrics |= {"precision, real": {"value": precision, "n": n}, "recall, real": {"value": recall, "n": n}}
    if classes:
        metrics["recognised as its class, real"] = share(guesses(net, real) == real_labels)
    return metrics | copying(fakes[1.0], real[:n], fashion.load("train")[0][: pick(smoke=500, laptop=60_000)])


def guesses(net: Any, images: Tensor) -> Tensor:
    """The classifier's class of each image (N,1,28,28), (N,)."""
    return torch.cat([net(part).argmax(1) for part in images.split(500)])


def draw(denoise: Denoiser, n: int, steps: int, seed: int, label: str | None, w: float) -> Tensor:
    """n pictures of clothes, (n, 1, 28, 28)."""
    labels = labels_of(denoise, fashion.NAMES, n, label, w)
    return generate(denoise, n, SHAPE, steps, seed, fifths(n), labels=labels, w=w)


def classifier(at: str) -> nn.Module:
    """The network of `fashion-classifier` at a scale."""
    return Classifier(1, 10, base=8, features=16) if at == "smoke" else Classifier(1, 10)


def unet(at: str) -> nn.Module:
    """The network of `fashion-unet` at a scale."""
    base, mults = (8, (1, 1)) if at == "smoke" else (32, (1, 2, 3))
    return UNet(1, base, mults, blocks=1, classes=len(fashion.NAMES), patch=2)


def dit(at: str) -> nn.Module:
    """The network of `fashion-dit` at a scale: 4x4 pixels a token, 49 tokens."""
    width, depth, heads = (32, 2, 2) if at == "smoke" else PRESETS["laptop"]
    return DiT(1, width, depth, heads, patch=4, classes=len(fashion.NAMES))


UNET = Recipe(
    pixels=28 * 28,
    name="fashion-unet",
    about="draws clothes from noise: one of ten kinds, or whatever comes (label 10)",
    net=unet,
    model=lambda net: Denoiser(net, Linear(), "flow", sd=fashion.SD),
    batches=lambda size, seed: shuffled(fashion.load("train"), size, seed),
    loss=partial(denoising_loss, drop=0.1, levels=logit_normal),
    measure=image_metrics,
    draw=draw,
    steps=(10, 32_000, 40_000),
    batch=(32, 32, 256),
    metric="Frechet distance over that of noise 0.05",
    target=1.0,
    better="lower",
    n=2_000,
    budget=4_000_000,
    ema=0.9995,
    decay_from=0.4,
)
DIT = replace(
    UNET,
    name="fashion-dit",
    about="draws clothes from noise with a transformer: the row of fashion-unet, another network",
    net=dit,
)
ROWS = (
    Recipe(
        name="fashion-classifier",
        pixels=28 * 28,
        about="names the ten kinds of clothes; its features measure generated ones",
        net=classifier,
        model=lambda net: net,
        batches=lambda size, seed: shuffled(fashion.load("train"), size, seed),
        loss=classifier_loss,
        measure=classifier_metrics,
        draw=None,
        steps=(10, 4_000, 6_000),
        metric="test accuracy",
        target=0.92,
        better="higher",
        n=10_000,
        budget=1_000_000,
        weight_decay=0.05,
        lr=2e-3,
        decay_from=0.1,
        ema=0.998,
    ),
    UNET,
    DIT,
)
