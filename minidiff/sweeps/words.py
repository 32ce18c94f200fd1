"""Four ways of telling a transformer the words of a caption: equal weights, the same stills (chapter 14)."""

import time
from functools import partial

import torch
from torch import Generator, Tensor

from minidiff.data import toybox
from minidiff.nn.text import TextDiT
from minidiff.predict import Denoiser
from minidiff.recipes.toybox import LOSS, PATCH, SD, WORLD, videos
from minidiff.recipes.words import DROP, TOKENS, W, asked_for, shares
from minidiff.scale import pick
from minidiff.schedule import Linear, add_noise
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.sweeps.unet import MOMENTS, at_moment
from minidiff.train import flops
from minidiff.train.batches import Batch, fresh, step_generator
from minidiff.train.fit import fit

WIDTHS = {"cross": 80, "joint": 64, "concatenation": 88, "modulation": 88}  # 0.91 to 0.99 million weights
DEPTH, HEADS, BATCH = 5, 2, 64
LEVELS = (0.7, 0.85, 0.95)  # of noise, for `gain`
LENGTH = 8  # words of the longest short caption of a still: "a red circle and a blue square" has 7


def reader(way: str, seed: int = 0) -> Denoiser:
    """A small denoiser of stills that is told words in one of WAYS. Example: `reader("joint")`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TextDiT(3, WIDTHS[way], DEPTH, HEADS, PATCH, len(toybox.VOCABULARY), way=way)
    return Denoiser(net, Linear(), "x0", SD)


def stills(n: int, generator: Generator, split: str = "train") -> Batch:
    """n stills (n,3,1,32,32) with short captions, colours and shapes, as word numbers (n,8)."""
    spec = toybox.sample(n, generator, WORLD, split, frames=1)
    return toybox.render(spec), TOKENS(toybox.captions(spec), LENGTH)


@torch.no_grad()
def gain(denoise: Denoiser, x: Tensor, ids: Tensor) -> tuple[float, float]:
    """How much of the error of x0_hat words save on stills under noise, as a share: the right ones, another still's."""
    errors = torch.zeros(3)
    for i, level in enumerate(LEVELS):
        eps = torch.randn(x.shape, generator=step_generator(3, i))
        t = torch.full((len(x),), level)
        x_t = add_noise(denoise.schedule, x, eps, t)
        errors += torch.stack([(denoise(x_t, t, told) - x).square().mean() for told in (None, ids, ids.roll(1, 0))])
    return float(1 - errors[1] / errors[0]), float(1 - errors[2] / errors[0])


def way(way: str, seed: int) -> Row:
    """One way, trained on equally many stills: cost, what words save, and how much of what they ask is drawn."""
    denoise, clock = reader(way, seed), time.perf_counter()
    steps, n = pick(smoke=4, laptop=1_500), pick(smoke=8, laptop=512)
    options = {"lr": 2e-3, "warmup": max(1, steps // 10), "decay_from": 0.5, "ema": 0.995 if steps > 100 else 0.5}
    options |= {"loss": partial(LOSS, drop=DROP), "every": max(1, steps // 20), "seed": seed}
    *_, state = fit(denoise, fresh(stills, BATCH, seed), steps, **options)
    row: Row = {"n": n, "training_seconds": time.perf_counter() - clock, "samples": state.samples}
    net = denoise.net
    state.ema.copy_to(net)
    net.requires_grad_(False)
    row |= {"parameters": sum(p.numel() for p in net.parameters())}
    row |= {"macs": sum(flops.of(net, 3, 32, 32, words=LENGTH).values())}
    x, ids = stills(n, Generator().manual_seed(31), "validation")
    row["gain"], row["wrong_gain"] = gain(denoise, x, ids)
    drawn = videos(denoise, n, pick(smoke=2, laptop=20), 5, 128, frames=1, labels=ids, w=W)
    found, _ = shares(drawn, [toybox.parse(sentence) for sentence in TOKENS.read(ids)])
    row |= {name: float(found[name].mean()) for name in ("colour", "shape", "binding", "count")}
    return row | {"pixels": pack(drawn[:8, :, 0])}


WAYS_SWEEP = Sweep(
    "four ways of telling a transformer the words of a caption, equal weights, equally many stills",
    lambda: [{"way": name, "seed": seed} for seed in range(2) for name in WIDTHS],
    way,
)


# --- what is learnt first ---------------------------------------------------------------------------------------------

ASKED = ("colour", "shape", "size", "place", "count", "binding")


@torch.no_grad()
def moment(moment: int) -> Row:
    """A moment of the training of `toybox-still`: shares of what captions ask that is drawn."""
    denoise, header = at_moment("toybox-still", moment)
    n = pick(smoke=8, laptop=384)
    _, sentences, scenes = asked_for(n, 21, "validation", 1)
    x = videos(denoise, n, pick(smoke=2, laptop=20), 21, 64, frames=1, labels=TOKENS(sentences), w=W)
    found, _ = shares(x, scenes)
    row: Row = {"n": n, "step": header["step"], "samples": header["samples"]}
    row |= {name: float(found[name].nanmean()) for name in ASKED}
    labels = TOKENS(["a red circle and a blue star"] * 6)
    return row | {
        "pixels": pack(videos(denoise, 6, pick(smoke=2, laptop=20), 4, frames=1, labels=labels, w=W)[:, :, 0])
    }


STATES_SWEEP = Sweep(
    "what a model that reads obeys, over its training: `minidiff train toybox-still` first",
    lambda: [{"moment": moment} for moment in MOMENTS[: pick(smoke=2, laptop=9)]],
    moment,
)
