"""Which U-Net to train on two cores (arms at equal seconds), and what each of its parts is good for (chapter 05)."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minidiff.data import fashion
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import precision_recall
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import generate
from minidiff.recipes.fashion import features, guesses, shipped_classifier
from minidiff.recipes.run import settle
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.sweeps.row import Row, Sweep
from minidiff.train.batches import shuffled
from minidiff.train.ema import EMA
from minidiff.train.fit import denoising_loss, fit, logit_normal, uniform

CLASSES = len(fashion.NAMES)


def fresh_unet(seed: int = 0, **shape: Any) -> UNet:
    """A seeded U-Net for clothes with labels. Example: `fresh_unet(base=16, mults=(1, 2, 4), blocks=1)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(1, classes=CLASSES, **shape)
    settle(net, "cpu")
    return net


def clothes(net: nn.Module) -> Denoiser:
    """The network as the denoiser of the recipe: Linear, flow."""
    return Denoiser(net, Linear(), "flow", sd=fashion.SD)


def judged(denoise: Denoiser, n: int, calls: int, w: float = 1.0) -> Row:
    """n samples, one class after another: distance to the test images, precision, recall, recognised as asked."""
    labels, classifier = torch.arange(n) % CLASSES, shipped_classifier()
    images = generate(denoise, n, (1, 28, 28), calls, labels=labels, w=w)
    real = fashion.load("test")[0][: pick(smoke=500, laptop=10_000)]
    noisy = real[:n] + 0.05 * torch.randn(real[:n].shape, generator=Generator().manual_seed(0))
    fake_f, real_f, noisy_f = (features(x, classifier=classifier) for x in (images, real, noisy))
    precision, recall = precision_recall(fake_f, real_f[:n])
    value = frechet(fake_f, real_f)
    row = {"frechet": value, "over_noise": value / frechet(noisy_f, real_f), "precision": precision, "recall": recall}
    hits = guesses(classifier, images) == labels
    return row | {"recognised": float(hits.float().mean()), "n": n, "calls": calls}


def mflop(net: nn.Module) -> float:
    """Millions of floating-point operations of one image's forward pass, an addition and a multiplication being two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 28, 28), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops() / 1e6


# --- arms: equal seconds ----------------------------------------------------------------------------------------------

TODAY: dict[str, Any] = {"base": 16, "mults": (1, 2, 4), "blocks": 1}
ARMS: dict[str, tuple[dict[str, Any], Callable[[int, Generator], Tensor]]] = {  # name: network, how t is drawn
    "full size": (TODAY, uniform),
    "thin at full size": ({"base": 8, "mults": (1, 4, 8), "blocks": 1}, uniform),
    "2x2 pixels folded": ({"base": 32, "mults": (1, 2, 3), "blocks": 1, "patch": 2}, uniform),
    "2x2, logit-normal t": ({"base": 32, "mults": (1, 2, 3), "blocks": 1, "patch": 2}, logit_normal),
    "2x2, two sizes": ({"base": 48, "mults": (1, 2), "blocks": 1, "patch": 2}, uniform),
    "2x2, narrow": ({"base": 24, "mults": (1, 2, 4), "blocks": 1, "patch": 2}, uniform),
}
HORIZONS = (0.0, 0.01, 0.03, 0.1, 0.3)  # of the average of the weights, as shares of the run; 0 is no average


def arm(arm: str, seconds: int) -> Row:
    """One network trained for that many seconds, then judged; learning rate to 0 over the second half of the run.

    Every horizon of the average is kept beside the others in the same run (updated every fifth step).
    """
    (shape, levels), n = ARMS[arm], pick(smoke=80, laptop=1200)
    images, every = fashion.load("train"), 5
    step_loss = partial(denoising_loss, drop=0.1, levels=levels)
    pace = fit(clothes(fresh_unet(**shape)), shuffled(images, 128), 10**6, loss=step_loss, every=every, progress=False)
    next(pace)
    speed = sum(next(pace).samples_per_s for _ in range(pick(smoke=1, laptop=5))) / pick(smoke=1, laptop=5)
    del pace
    steps = max(every, int(seconds * speed / 128))
    net = fresh_unet(**shape)
    averages = {h: EMA(net, 1 - 1 / max(1.0, h * steps / every)) for h in HORIZONS}
    clock = time.perf_counter()
    run = fit(clothes(net), shuffled(images, 128), steps, loss=step_loss, decay_from=0.5, every=every)
    for state in run:
        for average in averages.values():
            average.update(net, state.step // every)
    row: Row = {"training_seconds": time.perf_counter() - clock, "steps": steps, "samples": 128 * steps}
    row |= {"parameters": sum(p.numel() for p in net.parameters()), "mflop": mflop(net)}
    denoise = clothes(net.eval().requires_grad_(False))
    for h, average in averages.items():
        if h == 0.1 or arm == "2x2 pixels folded":
            with average.applied(net):
                values = judged(denoise, n, pick(smoke=2, laptop=25))
            row |= values if h == 0.1 else {f"frechet_ema_{h:g}": values["frechet"]}
    return row


ARMS_SWEEP = Sweep(
    "U-Nets for clothes, trained for equal seconds on two cores",
    lambda: [{"arm": name, "seconds": pick(smoke=1, laptop=240)} for name in ARMS],
    arm,
)
