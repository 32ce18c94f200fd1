"""Latents against pixels, and latents of every size: what chapter 11 shows and cannot measure while you wait."""

import time
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minidiff.data import emoji
from minidiff.files import outputs
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.emoji import RUNGS, held_out, loaded, psnr, round_trip
from minidiff.recipes.latent import latents, pictures, quality
from minidiff.recipes.run import seconds as seconds_of_run
from minidiff.scale import pick, scale
from minidiff.schedule import Linear
from minidiff.sweeps.row import Row, Sweep, pack
from minidiff.sweeps.unet import at_moment, seeded, steps_in
from minidiff.train.batches import shuffled
from minidiff.train.fit import denoising_loss, fit, logit_normal

RIVALS = ("emoji-latent", "emoji-pixel")
CEILING, REAL = "through the autoencoder", "training pictures"  # the best that a denoiser of latents could do, and data


def gflop(denoise: Denoiser) -> float:
    """Billions of operations of the network's call on one picture, in convolutions and matrix products; a multiply-add
    is two."""
    vae = denoise.autoencoder
    shape = (3, 64, 64) if vae is None else (vae.latent, 64 // vae.down, 64 // vae.down)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoise.net(torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops() / 1e9


def judged(denoise: Denoiser, n: int, calls: int) -> Row:
    """n pictures, the styles in turn, by `quality`; and the first eight of them."""
    labels = torch.arange(n) % 4
    x = pictures(denoise, n, calls, labels=labels)
    return numbers(x, labels) | {"calls": calls, "pixels": pack(x[:8])}


def numbers(x: Tensor, labels: Tensor | None = None) -> Row:
    """`quality` without the intervals, as a row of a sweep."""
    names = {"Frechet distance": "frechet", "drawn in the style asked for": "style"}
    return {"n": len(x)} | {names.get(k, k): v["value"] for k, v in quality(x, labels).items()}


# --- race: two networks with equally many weights, against the clock --------------------------------------------------


def race(model: str, moment: int) -> Row:
    """A moment of the training of a rival; or training pictures, as they are or through the autoencoder."""
    n = pick(smoke=40, laptop=500)
    if model not in RIVALS:
        images = emoji.load().images
        x = images[torch.randperm(len(images), generator=Generator().manual_seed(1))[:n]]
        x = round_trip(loaded("emoji-vae"), x) if model == CEILING else x
        return numbers(x) | {"pixels": pack(x[:8])}
    denoise, header = at_moment(model, moment)
    log = outputs() / "runs" / f"{model}-{scale()}" / "log.jsonl"
    row: Row = {"samples": header["samples"], "seconds": seconds_of_run(log, header["step"])}
    row |= {"parameters": sum(p.numel() for p in denoise.net.parameters()), "gflop": gflop(denoise)}
    return row | judged(denoise, n, pick(smoke=2, laptop=15))


RACE = Sweep(
    "emoji-latent and emoji-pixel along their training: equally many weights, the same seconds",
    lambda: (
        [{"model": REAL, "moment": 0}, {"model": CEILING, "moment": 0}]
        + [{"model": m, "moment": k} for m in RIVALS for k in pick(smoke=(1,), laptop=(8, 32, 128, 200))]
    ),
    race,
)


# --- spaces: latents too small, too large, and of the wrong width -----------------------------------------------------

SPACES: dict[str, tuple[str, float]] = {  # name: autoencoder, factor on its (scaled) latents
    **{f"{f}x{f}": (f"emoji-vae-{f}", 1.0) for f in RUNGS},
    "shipped": ("emoji-vae", 1.0),
    "shipped, 5.5 times too wide": ("emoji-vae", 5.5),
    "shipped, 10 times too narrow": ("emoji-vae", 0.1),
}


class Widened(nn.Module):
    """An autoencoder whose latents are `factor` times as wide as they should be. Example: `Widened(vae, 5.5)`."""

    def __init__(self, vae: Any, factor: float):
        super().__init__()
        self.vae, self.factor, self.latent, self.down = vae, factor, vae.latent, vae.down

    def decode(self, z: Tensor) -> Tensor:
        return self.vae.decode(z / self.factor)


def space(space: str, seconds: int) -> Row:
    """The same U-Net trained for that many seconds in one latent space, then judged; beside its ceiling.

    Grids of 32x32 are folded 2x2 at the door. The learning rate falls to 0 over the second half of the run.
    """
    name, factor = SPACES[space]
    vae, n = loaded(name), pick(smoke=40, laptop=500)
    z, style = latents(name)
    data = shuffled([factor * z, style], 16)
    loss = partial(denoising_loss, drop=0.1, levels=logit_normal)

    def fresh() -> Denoiser:
        base, patch = pick(smoke=8, laptop=64), 2 if vae.down == 2 else 1
        net = seeded(partial(UNet, vae.latent, base, (1, 2), blocks=1, classes=4, patch=patch))
        return Denoiser(net, Linear(), "flow", autoencoder=Widened(vae, factor))

    pace = fit(fresh(), data, 10**6, loss=loss, every=5, progress=False)
    steps = steps_in(seconds, pace, 16)
    del pace
    denoise = fresh()
    clock = time.perf_counter()
    ema = 1 - 1 / max(2.0, 0.1 * steps)
    *_, state = fit(denoise, data, steps, loss=loss, decay_from=0.5, ema=ema, every=max(1, steps // 20))
    row: Row = {"training_seconds": time.perf_counter() - clock, "samples": 16 * steps, "gflop": gflop(denoise)}
    state.ema.copy_to(denoise.net)
    denoise.net.eval().requires_grad_(False)
    images = emoji.load().images
    train = images[torch.randperm(len(images), generator=Generator().manual_seed(1))[:n]]
    real = held_out().images
    row |= {
        "ceiling": numbers(round_trip(vae, train))["frechet"],
        "psnr": float(psnr(real, round_trip(vae, real)).mean()),
    }
    row |= {"numbers": int(z[0].numel()), "factor": factor}
    return row | judged(denoise, n, pick(smoke=2, laptop=15))


SPACES_SWEEP = Sweep(
    "one U-Net, the same seconds, in latent spaces of five sizes, and of the wrong width",
    lambda: [{"space": name, "seconds": pick(smoke=1, laptop=45)} for name in SPACES],
    space,
)
