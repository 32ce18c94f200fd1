"""The transformer against the U-Net at equal operations, its patches, and how it is told of the noise (chapter 13)."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from minidiff.data import fashion
from minidiff.nn.dit import PRESETS, DiT
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import generate
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.sweeps.images import held_out_loss
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.sweeps.unet import CLASSES, SHAPE, judged, seeded, steps_in
from minidiff.train import flops
from minidiff.train.batches import shuffled
from minidiff.train.fit import Loss, denoising_loss, fit, held_below, logit_normal

BATCH = 32
Make = Callable[[], nn.Module]


def transformer(patch: int = 4) -> DiT:
    """The network of `fashion-dit` with another patch. Example: `transformer(7)`."""
    return DiT(1, *PRESETS["laptop"], patch=patch, classes=CLASSES)


def asked(net: nn.Module, pred: str) -> tuple[Denoiser, Loss]:
    """The network as a denoiser of that row, and its loss, always in the space of flow."""
    loss = partial(denoising_loss, drop=0.1, levels=logit_normal, space="flow")
    if pred == "x0":
        loss = partial(loss, weight=held_below)
    return Denoiser(net, Linear(), pred, sd=fashion.SD), loss


def trained(make: Make, steps: int, seed: int, pred: str = "flow") -> Row:
    """A network for clothes trained for that many steps of 32 images, and judged: loss, samples, cost.

    The learning rate rises over the first tenth of the run and falls to 0 over the last 60%.
    """
    net, clock = seeded(make, seed), time.perf_counter()
    denoise, loss = asked(net, pred)
    ema = 1 - 1 / max(2.0, 0.1 * steps)
    data = shuffled(fashion.load("train"), BATCH, seed)
    *_, state = fit(
        denoise,
        data,
        steps,
        loss=loss,
        warmup=steps // 10,
        decay_from=0.4,
        ema=ema,
        seed=seed,
        every=max(1, steps // 20),
    )
    row: Row = {"training_seconds": time.perf_counter() - clock, "samples": state.samples}
    state.ema.copy_to(net)
    net.requires_grad_(False)
    row |= {"parameters": sum(p.numel() for p in net.parameters()), "macs": sum(flops.of(net, 1, 28, 28).values())}
    row["loss"] = held_out_loss(denoise, *(x[:1000] for x in fashion.load("test")))
    row |= judged(denoise, pick(smoke=80, laptop=1000), pick(smoke=2, laptop=20))
    return row | {"pixels": pack(generate(denoise, 10, (1, 28, 28), 20, seed=7, labels=torch.arange(10)))}


# --- race: equal operations -------------------------------------------------------------------------------------------

RIVALS: dict[str, Make] = {
    "U-Net": partial(UNet, 1, classes=CLASSES, **SHAPE),
    "U-Net with attention": partial(UNet, 1, classes=CLASSES, attention=(1, 2), **SHAPE),
    "DiT": transformer,
}
BUDGET = 5.4e12  # multiply-adds of a training: 30,000 images of the U-Net, forward and backward


def race(net: str, seed: int) -> Row:
    """One of RIVALS trained for BUDGET multiply-adds, a backward pass counted as two forward passes."""
    cost = 3 * sum(flops.of(RIVALS[net](), 1, 28, 28).values())
    return trained(RIVALS[net], pick(smoke=5, laptop=round(BUDGET / cost / BATCH)), seed)


RACE = Sweep(
    "U-Net, U-Net with attention, and DiT on clothes, trained for equally many operations",
    lambda: [{"net": name, "seed": seed} for seed in range(3) for name in RIVALS],
    race,
)


# --- patches ----------------------------------------------------------------------------------------------------------


def patches(pred: str, patch: int, seconds: int) -> Row:
    """The transformer with that many pixels a side of its patch, asked for a row, trained for that many seconds."""
    denoise, loss = asked(seeded(partial(transformer, patch), 0), pred)
    pace = fit(denoise, shuffled(fashion.load("train"), BATCH), 10**6, loss=loss, every=5, progress=False)
    row = trained(partial(transformer, patch), steps_in(seconds, pace, BATCH), 0, pred)
    del row["loss"]  # of another row, another loss
    return row | {"tokens": (28 // patch) ** 2}


PATCHES = Sweep(
    "the transformer with patches of four sizes, asked for flow and for x0, trained for equal seconds",
    lambda: [
        {"pred": pred, "patch": p, "seconds": s}
        for pred, s, sides in pick(
            smoke=(("flow", 1, (14, 7, 4, 2)),),
            laptop=(("flow", 20, (14, 7, 4, 2)), ("flow", 60, (14, 7, 4, 2)), ("x0", 60, (14, 7))),
        )
        for p in sides
    ],
    patches,
)


# --- modulation -------------------------------------------------------------------------------------------------------


def gates_open() -> DiT:
    """Modulated as ever, but every gate starts at 1: no block begins as the identity."""
    net = transformer(7)
    for block in net.layers():
        bias: Tensor = block.modulate.bias
        bias.data.view(6, -1)[[2, 5]] = 1
    return net


def told_the_class() -> DiT:
    """Modulated by the class alone: whatever the noise level, it hears the same."""
    net = transformer(7)

    def silent(module: nn.Module, inputs: tuple, out: Tensor) -> Tensor:
        return torch.zeros_like(out)

    net.level.register_forward_hook(silent)
    return net


def unmodulated(at_the_door: bool) -> DiT:
    """Blocks that are told nothing: level and class are added to the tokens at the door, or not at all.

    The layers that would have made the six numbers are still there, and hear zeros.
    """
    net = transformer(7)

    def enter(block: nn.Module, inputs: tuple) -> tuple:
        x, context, *rest = inputs
        return (x + context[:, :, None] if at_the_door else x, torch.zeros_like(context), *rest)

    def deaf(module: nn.Module, inputs: tuple) -> tuple:
        x, context, *rest = inputs
        return (x, torch.zeros_like(context), *rest)

    for i, block in enumerate(net.layers()):
        block.register_forward_pre_hook(deaf if i else enter)
    net.modulate.register_forward_pre_hook(lambda module, inputs: (torch.zeros_like(inputs[0]),))
    return net


TELLING: dict[str, Make] = {
    "adaLN-Zero": partial(transformer, 7),
    "adaLN, gates open": gates_open,
    "added to the tokens": partial(unmodulated, True),
    "only the class": told_the_class,
    "nothing": partial(unmodulated, False),
}


def modulation(told: str, seed: int) -> Row:
    """The transformer on 7x7 patches, told of noise level and class in one of the ways of TELLING, equal steps."""
    return trained(TELLING[told], pick(smoke=5, laptop=1000), seed)


MODULATION = Sweep(
    "five ways to tell a transformer noise level and class, or not, equal steps",
    lambda: [{"told": name, "seed": seed} for seed in range(2) for name in TELLING],
    modulation,
)
