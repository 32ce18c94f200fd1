"""Sweeps over models of clothes: what a network call buys (chapter 06), and when a network copies (chapter 05)."""

from functools import partial

import torch
from torch import Generator, Tensor

from minidiff.data import fashion
from minidiff.measure.frechet import frechet
from minidiff.measure.neighbours import nearest, precision_recall
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.recipes.draw import Sampler, generate
from minidiff.recipes.fashion import features
from minidiff.recipes.run import load
from minidiff.sample import ddim, dpmpp_2m, heun
from minidiff.scale import pick
from minidiff.schedule import Linear
from minidiff.sweeps.row import Row, Sweep
from minidiff.train.batches import shuffled
from minidiff.train.fit import denoising_loss, fit

SOLVERS: dict[str, Sampler] = {
    "ancestral": partial(ddim, eta=1.0),
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
}


def calls(sampler: str, calls: int) -> Row:
    """The unconditional clothes model with a sampler and a budget of network calls."""
    denoise, n = load("fashion-unet"), pick(smoke=80, laptop=1000)
    steps = (calls + 1) // 2 if sampler == "heun" else calls
    solver = SOLVERS[sampler]
    if sampler == "ancestral":
        solver = partial(ddim, eta=1.0, generator=Generator().manual_seed(1))
    images = generate(denoise, n, (1, 28, 28), steps, sampler=solver)
    return {"network_calls": 2 * steps - 1 if sampler == "heun" else steps} | quality(images)


def quality(images: Tensor) -> Row:
    """Frechet distance to the test images, precision and recall, with n."""
    real, n = fashion.load("test")[0][: pick(smoke=500, laptop=10_000)], len(images)
    fake_f, real_f = features(images), features(real)
    precision, recall = precision_recall(fake_f, real_f[:n])
    return {"frechet": frechet(fake_f, real_f), "precision": precision, "recall": recall, "n": n}


def data_size(images: int) -> Row:
    """A small U-Net at 14x14, trained on the first `images` of Fashion-MNIST: does it make new clothes, or old ones?"""
    train, test = fashion.load("train", 14)[0], fashion.load("test", 14)[0][: pick(smoke=80, laptop=1000)]
    pool, steps, n = train[:images], pick(smoke=5, laptop=2000), pick(smoke=50, laptop=500)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoise = Denoiser(UNet(1, 16, (1, 2, 2), 1), Linear(), "flow", fashion.SD)
    *_, state = fit(denoise, shuffled([pool], 64), steps, ema=0.998)
    with state.ema.applied(denoise.net):
        x = generate(denoise, n, (1, 14, 14), 25)
        seen, unseen = (held_out_loss(denoise, part) for part in (pool[:1000], test))
    near, held_out = nearest(x, pool)[0], nearest(test, pool)[0]
    return {
        "copied": float((near < held_out.quantile(0.01)).float().mean()),
        "nearest": float(near.median()),
        "nearest_held_out": float(held_out.median()),
        "loss_seen": seen,
        "loss_unseen": unseen,
        "steps": steps,
        "n": n,
    }


@torch.no_grad()
def held_out_loss(denoise: Denoiser, images: Tensor) -> float:
    """The mean loss over images (N,1,H,W), at levels and noises that are the same in every call."""
    generator = Generator().manual_seed(5)
    images = images.repeat(-(-1000 // len(images)), 1, 1, 1)
    return float(denoising_loss(denoise, (images,), generator)[0].mean())


CALLS = Sweep(
    "quality against network calls, four samplers",
    lambda: [{"sampler": name, "calls": k} for name in SOLVERS for k in (4, 6, 10, 20, 50)],
    calls,
)
DATA_SIZE = Sweep(
    "copies against the number of training images",
    lambda: [{"images": n} for n in (100, 1000, 10_000, 60_000)],
    data_size,
)
