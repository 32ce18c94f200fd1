"""Clips of the line: three attention masks (chapter 16), and patches of one, two and four frames (chapter 17).

Everything but what is compared is the same: weights, clips seen, their order, seeds, sampler.
"""

import time
from functools import partial

import torch
from torch import Generator, Tensor

from minidiff.data.line import MOTIONS, Line, sample
from minidiff.measure.line import acceleration, named, spots, switches
from minidiff.nn.dit import DiT
from minidiff.predict import Denoiser
from minidiff.recipes.draw import generate
from minidiff.scale import pick
from minidiff.schedule import Linear, add_noise
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.train.batches import fresh, step_generator
from minidiff.train.fit import denoising_loss, fit, held_below, noisier

SHAPE, SD, SHIFT = (1, 16, 1, 32), 0.35, 3.0
LEVELS = (0.5, 0.65, 0.8)  # of noise, for `missed`
QUIET = ("rests", "drifts")
PATCHES = {1: (1, 1, 8), 2: (2, 1, 4), 4: (4, 1, 2)}  # frames, rows, pixels: eight numbers and 64 tokens, always
WIDTH, DEPTH, HEADS, BATCH = 48, 4, 3, 64
ATTENTION = ("frame", "factorised", "full")


def denoiser(attention: str = "full", patch: int = 1, classes: int = 0, seed: int = 0, heads: int = HEADS) -> Denoiser:
    """A small denoiser for clips of the line, 180,000 weights. Example: `denoiser("frame")`.

    heads: with one, that has all features, places are told more finely than with three. What is drawn accelerated half
    as much after 1,500 steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DiT(1, WIDTH, DEPTH, heads, PATCHES[patch], classes=classes, attention=attention)
    return Denoiser(net, Linear(), "x0", SD)


def learn(denoise: Denoiser, motions: tuple[str, ...], steps: int, seed: int = 0, batch: int = BATCH) -> float:
    """Train it on fresh clips of these motions, told which one if it has classes; the loss at the end."""

    def labelled(step: int) -> tuple[Tensor, ...]:
        line = sample(batch, step_generator(seed + 1, step), motions, SHAPE[1], SHAPE[3])
        return line.clips, line.motions

    plain = fresh(lambda n, generator: sample(n, generator, motions, SHAPE[1], SHAPE[3]).clips, batch, seed)
    loss = partial(denoising_loss, space="flow", weight=held_below, levels=noisier)
    *_, state = fit(
        denoise,
        plain if denoise.null is None else labelled,
        steps,
        loss=loss,
        lr=2e-3,
        warmup=max(1, steps // 10),
        decay_from=0.5,
        ema=0.99 if steps > 100 else 0.5,
        seed=seed,
        every=max(1, steps // 10),
    )
    state.ema.copy_to(denoise.net)
    return state.loss


def masks(attention: str, seed: int) -> Row:
    """How well clips hold together, by a network with that mask; and true clips, at as many (the floor).

    `lawful`: the share of clips with a spot in every frame that rests or drifts. `found`: of frames with a spot.
    """
    n, steps = pick(smoke=20, laptop=1000), pick(smoke=3, laptop=500)
    denoise, clock = denoiser(attention, seed=seed), time.perf_counter()
    loss = learn(denoise, QUIET, steps, seed)
    seconds = time.perf_counter() - clock
    x = generate(denoise, n, SHAPE, 25, seed, size=250, shift=SHIFT)
    seen, true = (spots(clips) for clips in (x, sample(n, Generator().manual_seed(seed), QUIET).clips))
    wanted = torch.tensor([MOTIONS.index(motion) for motion in QUIET])
    lawful, lawful_true = ((torch.isin(named(s.places), wanted) & s.found.all(1)).float().mean() for s in (seen, true))
    return {
        "n": n,
        "acceleration": float(acceleration(seen.places).mean()),
        "acceleration, true": float(acceleration(true.places).mean()),
        "switches": float(switches(seen.lights).float().mean()),
        "switches, true": float(switches(true.lights).float().mean()),
        "lawful": float(lawful),
        "lawful, true": float(lawful_true),
        "found": float(seen.found.float().mean()),
        "loss": loss,
        "samples": steps * BATCH,
        "training_seconds": seconds,
        "pixels": pack(x[:12, :, :, 0]),
    }


@torch.no_grad()
def missed(denoise: Denoiser, line: Line, seed: int = 0) -> Tensor:
    """What a denoiser does not recover of clips under noise, over what there is of them: one number a motion, (5,).

    |x0_hat - x0|^2 over |x0|^2, at the levels of LEVELS; 1 for one that answers with grey. No sample is drawn, so it
    tells networks apart that draw badly. Example: `missed(denoiser(classes=5), sample(100, Generator()))`.
    """
    device = next(denoise.net.parameters()).device
    eps = torch.randn(line.clips.shape, generator=Generator().manual_seed(seed))
    lost = torch.zeros(len(MOTIONS))
    for t in LEVELS:
        x_t = add_noise(denoise.schedule, line.clips, eps, torch.full((len(eps),), t))
        there = [x.to(device) for x in (x_t, torch.full((len(eps),), t), line.motions)]
        gap = (denoise(*there).cpu() - line.clips).square().flatten(1).sum(1)
        whole = line.clips.square().flatten(1).sum(1)
        lost += torch.stack(
            [gap[line.motions == i].sum() / whole[line.motions == i].sum() for i in range(len(MOTIONS))]
        )
    return lost / len(LEVELS)


def patches(patch: int, seed: int) -> Row:
    """For patches of that many frames: what is not recovered of each motion, and how often it is drawn when asked for.

    `missed, MOTION`: see `missed`, held-out clips. MOTION: the share of drawn clips that move so.
    """
    n, steps, batch = pick(smoke=40, laptop=1000), pick(smoke=3, laptop=6_000), BATCH // 2
    denoise = denoiser(patch=patch, classes=len(MOTIONS), seed=seed, heads=1)
    denoise.net.to("cuda" if torch.cuda.is_available() else "cpu")
    loss = learn(denoise, MOTIONS, steps, seed, batch)
    row: Row = {"n": n, "tokens": SHAPE[1] * SHAPE[3] // 8, "loss": loss, "samples": steps * batch}
    lost = missed(denoise, sample(n, Generator().manual_seed(10_000 + seed), MOTIONS, SHAPE[1], SHAPE[3]), seed)
    row |= {f"missed, {motion}": float(lost[i]) for i, motion in enumerate(MOTIONS)}
    asked = torch.arange(n) % len(MOTIONS)
    x = generate(denoise, n, SHAPE, 25, seed, size=250, labels=asked, shift=SHIFT, eta=1.0)
    seen = spots(x)
    right = (named(seen.places) == asked) & seen.found.all(1)
    row |= {motion: float(right[asked == i].float().mean()) for i, motion in enumerate(MOTIONS)}
    row["found"] = float(seen.found.float().mean())
    row["switches"] = float(switches(seen.lights).float().mean())
    return row | {"pixels": pack(x[: 2 * len(MOTIONS), :, :, 0])}


MASKS = Sweep(
    "Clips of the line by networks whose patches see their frame, frame and time in turns, or the whole clip",
    lambda: [{"attention": attention, "seed": seed} for attention in ATTENTION for seed in range(2)],
    masks,
)
PATCHES_SWEEP = Sweep(
    "Five motions on the line, for patches of one, two and four frames that hold as many numbers",
    lambda: [{"patch": patch, "seed": seed} for patch in PATCHES for seed in range(2)],
    patches,
    gpu=True,
)
