"""Which U-Net to train on two cores (arms at equal seconds), and what each of its parts is good for (chapter 05)."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minidiff import recipes
from minidiff.data import fashion
from minidiff.files import outputs
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import generate
from minidiff.recipes.fashion import guesses, shipped_classifier
from minidiff.recipes.run import build, refuse_other, settle
from minidiff.scale import pick, scale
from minidiff.sweeps.images import held_out_loss, quality
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.train import checkpoint
from minidiff.train.batches import shuffled
from minidiff.train.ema import EMA
from minidiff.train.fit import State, denoising_loss, fit, logit_normal, uniform

CLASSES = len(fashion.NAMES)
Net = TypeVar("Net", bound=nn.Module)


def seeded(make: Callable[[], Net], seed: int = 0) -> Net:
    """A network whose weights start from a seed, settled on the CPU. Example: `seeded(lambda: UNet(1), 3)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
    settle(net, "cpu")
    return net


def fresh_unet(seed: int = 0, **shape: Any) -> UNet:
    """A seeded U-Net for clothes with labels. Example: `fresh_unet(base=16, mults=(1, 2, 4), blocks=1)`."""
    return seeded(partial(UNet, 1, classes=CLASSES, **shape), seed)


def clothes(net: nn.Module) -> Denoiser:
    """The network as the denoiser of the recipe `fashion-unet`."""
    return recipes.get("fashion-unet").model(net)


def judged(denoise: Denoiser, n: int, calls: int, w: float = 1.0) -> Row:
    """n samples, one class after another: `quality`, its distance over that of noise 0.05, recognised as asked."""
    labels = torch.arange(n) % CLASSES
    images = generate(denoise, n, (1, 28, 28), calls, labels=labels, w=w)
    real, row = fashion.load("test")[0][:n], quality(images)
    noisy = real + 0.05 * torch.randn(real.shape, generator=Generator().manual_seed(0))
    hits = guesses(shipped_classifier(), images) == labels
    row |= {"over_noise": row["frechet"] / quality(noisy)["frechet"], "recognised": float(hits.float().mean())}
    return row | {"calls": calls}


def steps_in(seconds: float, pace: Iterator[State], batch: int) -> int:
    """How many steps fit into that many seconds, by the pace of a few dozen of them after a warm-up."""
    next(pace)
    rounds = pick(smoke=1, laptop=5)
    speed = sum(next(pace).samples_per_s for _ in range(rounds)) / rounds
    return max(5, int(seconds * speed / batch))


def mflop(net: nn.Module) -> float:
    """Millions of floating-point operations of one image's forward pass, an addition and a multiplication being two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 28, 28), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops() / 1e6


# --- arms: equal seconds ----------------------------------------------------------------------------------------------

SHAPE: dict[str, Any] = {"base": 32, "mults": (1, 2, 3), "blocks": 1, "patch": 2}
Levels = Callable[[int, Generator], Tensor]
ARMS: dict[str, tuple[dict[str, Any], Levels, int]] = {  # name: network, how t is drawn, batch
    "full size": ({"base": 16, "mults": (1, 2, 4), "blocks": 1}, uniform, 128),
    "thin at full size": ({"base": 8, "mults": (1, 4, 8), "blocks": 1}, uniform, 128),
    "2x2 pixels folded": (SHAPE, uniform, 128),
    "2x2, logit-normal t": (SHAPE, logit_normal, 128),
    "2x2, batch 64": (SHAPE, uniform, 64),
    "2x2, batch 32, logit-normal t": (SHAPE, logit_normal, 32),
}
HORIZONS = (0.0, 0.01, 0.03, 0.1, 0.3)  # of the average of the weights, as shares of the run; 0 is no average


def arm(arm: str, seconds: int) -> Row:
    """One network trained for that many seconds, then judged; learning rate to 0 over the second half of the run.

    Every horizon of the average is kept beside the others in the same run (updated every fifth step).
    """
    (shape, levels, batch), n = ARMS[arm], pick(smoke=80, laptop=1200)
    data, every = shuffled(fashion.load("train"), batch), 5
    step_loss = partial(denoising_loss, drop=0.1, levels=levels)
    pace = fit(clothes(fresh_unet(**shape)), data, 10**6, loss=step_loss, every=every, progress=False)
    steps = steps_in(seconds, pace, batch)
    del pace
    net = fresh_unet(**shape)
    averages = {h: EMA(net, 1 - 1 / max(1.0, h * steps / every)) for h in HORIZONS}
    clock = time.perf_counter()
    run = fit(clothes(net), data, steps, loss=step_loss, decay_from=0.5, every=every)
    for state in run:
        for average in averages.values():
            average.update(net, state.step // every)
    row: Row = {"training_seconds": time.perf_counter() - clock, "steps": steps, "samples": batch * steps}
    row |= {"parameters": sum(p.numel() for p in net.parameters()), "mflop": mflop(net)}
    denoise = clothes(net.eval().requires_grad_(False))
    for h, average in averages.items():
        if h in (0.0, 0.1) or arm == "2x2 pixels folded":
            with average.applied(net):
                values = judged(denoise, n, pick(smoke=2, laptop=25))
            row |= values if h == 0.1 else {f"frechet_ema_{h:g}": values["frechet"]}
    return row


ARMS_SWEEP = Sweep(
    "U-Nets for clothes, trained for equal seconds on two cores",
    lambda: [{"arm": name, "seconds": pick(smoke=1, laptop=240)} for name in ARMS],
    arm,
)


# --- parts: leave one out (chapter 05) --------------------------------------------------------------------------------


def without_bridges(net: UNet) -> None:
    """The way up no longer sees the features of the way down."""
    here = net.mid[-1].conv2.out_channels  # type: ignore[union-attr]
    for block in net.up:

        def cut(module: nn.Module, inputs: tuple, here: Any = here) -> tuple:
            keep = torch.arange(inputs[0].shape[1]) < here
            return inputs[0] * keep[:, None, None], inputs[1]

        block.register_forward_pre_hook(cut)
        here = block.conv2.out_channels  # type: ignore[union-attr]


def without_halvings(net: UNet) -> None:
    """Every size is the largest size: more work, and no block sees further than its neighbours."""
    for conv in net.shrink:
        conv.stride = (1, 1)  # type: ignore[assignment]


class Silent(nn.Module):
    """Tells every sample the same: zeros in place of a noise level (B,)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, ell: Tensor) -> Tensor:
        return torch.zeros(len(ell), self.dim)


def without_level(net: UNet) -> None:
    """The network is not told how noisy its input is."""
    net.level = Silent(net.down[0].modulate.in_features)  # type: ignore[union-attr, assignment]


class Nothing(nn.Module):
    """What is added in place of a block's input: 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def without_sums(net: UNet) -> None:
    """A block's answer replaces its input in place of being added to it."""
    for block in (*net.down, *net.mid, *net.up):
        block.conv2.reset_parameters()  # type: ignore[union-attr, operator]
        block.skip = Nothing()


def without_norms(net: UNet) -> None:
    """Features keep whatever size they have."""
    for block in (*net.down, *net.mid, *net.up):
        block.norm1, block.norm2 = nn.Identity(), nn.Identity()
    net.out[0] = nn.Identity()


PARTS: dict[str, Callable[[UNet], Any]] = {
    "nothing left out": lambda net: None,
    "no bridges": without_bridges,
    "no halvings": without_halvings,
    "no noise level": without_level,
    "no residual sums": without_sums,
    "no normalisation": without_norms,
}


def part(part: str, seconds: int, seed: int) -> Row:
    """The U-Net without one of its parts, trained for that many seconds, judged, and ten samples to look at."""
    images, n, every = fashion.load("train"), pick(smoke=80, laptop=600), 5

    def fresh_run(steps: int) -> tuple[UNet, Any]:
        net = fresh_unet(seed, **SHAPE)
        PARTS[part](net)
        options = {"decay_from": 0.5, "ema": 0.99, "every": every, "seed": seed, "progress": steps < 10**6}
        return net, fit(clothes(net), shuffled(images, 64), steps, loss=partial(denoising_loss, drop=0.1), **options)

    net, run = fresh_run(steps_in(seconds, fresh_run(10**6)[1], 64))
    *_, state = run
    state.ema.copy_to(net)
    denoise = clothes(net.requires_grad_(False))
    loss = held_out_loss(denoise, *(x[:1000] for x in fashion.load("test")))
    row = judged(denoise, n, pick(smoke=2, laptop=20)) | {"loss": loss, "steps": state.step, "samples": state.samples}
    return row | {"pixels": pack(generate(denoise, 10, (1, 28, 28), 20, seed=7, labels=torch.arange(10)))}


PARTS_SWEEP = Sweep(
    "a small U-Net for clothes without one of its parts, trained for equal seconds",
    lambda: [
        {"part": name, "seconds": pick(smoke=1, laptop=45), "seed": seed}
        for name in PARTS
        for seed in range(1 + (name == "nothing left out"))
    ],
    part,
)


# --- states: a flat loss, and better samples (chapter 05) -------------------------------------------------------------

MOMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 200)  # of 200 in a run, kept by `minidiff train`


def at_moment(name: str, moment: int, prefix: str = "ema.") -> tuple[Denoiser, dict[str, Any]]:
    """A denoiser as it was at one of MOMENTS of its training, and what was kept of that; prefix "": raw weights.

    ValueError where the run is not there, or stopped before. Example: `at_moment("emoji-latent", 64)`.
    """
    folder = outputs() / "runs" / f"{name}-{scale()}" / "states"
    if not folder.is_dir():  # a run that began with other weights has a folder of its own; of several, the last
        begun = folder.parents[1].glob(f"{name}-{scale()}-from-*/states")
        folder = max(begun, key=lambda path: path.stat().st_mtime, default=folder)
    files = sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem))
    if len(files) <= MOMENTS.index(moment):
        raise ValueError(f"{folder} holds {len(files)} moments of a run: minidiff train {name} first")
    source = files[MOMENTS.index(moment)]
    tensors, header = checkpoint.read(source)
    refuse_other(recipes.get(name), header, source)
    denoise, net = build(recipes.get(name), scale())
    checkpoint.load_into(net, {key: tensors[prefix + key] for key in net.state_dict()}, folder.name)
    settle(net, "cpu").eval().requires_grad_(False)
    return denoise, header


def state(moment: int) -> Row:
    """A moment of the training of `fashion-unet`: held-out loss, and samples of the averaged and the raw weights."""
    _, header = at_moment("fashion-unet", moment)
    row: Row = {"step": header["step"], "samples": header["samples"], "training_loss": header["loss"]}
    for name, prefix in (("raw", ""), ("", "ema.")):
        denoise, _ = at_moment("fashion-unet", moment, prefix)
        values = judged(denoise, pick(smoke=80, laptop=600), pick(smoke=2, laptop=20))
        row |= values if not name else {f"frechet_{name}": values["frechet"]}
    row["loss"] = held_out_loss(denoise, *(x[:1000] for x in fashion.load("test")))
    return row | {"pixels": pack(generate(denoise, 20, (1, 28, 28), 20, seed=7, labels=torch.arange(20) % CLASSES))}


STATES_SWEEP = Sweep(
    "moments of the training of fashion-unet: loss, and samples of averaged and of raw weights",
    lambda: [{"moment": moment} for moment in MOMENTS[: pick(smoke=4, laptop=9)]],
    state,
)
