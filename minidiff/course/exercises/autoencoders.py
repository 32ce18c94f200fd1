"""Exercises of chapter 10, `autoencoders`."""

import math

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.nn.vae import VAE

# --- draw ------------------------------------------------------------------------------------------------------------


def _posterior(generator: Generator) -> tuple:
    shape = (3, 2, 4, 5)
    return normal(generator, *shape), uniform(generator, -1.5, 0.5, *shape), normal(generator, *shape)


def _log_variance(generator: Generator) -> tuple:
    m, log_s, noise = _posterior(generator)
    return m, 2 * log_s, noise


def _drawn(m: Tensor, log_v: Tensor, noise: Tensor) -> Tensor:
    """Through the package, which counts in the logarithm of the spread."""
    return m + (log_v / 2).exp() * noise


DRAW = exercise(
    "autoencoders.draw",
    "A draw, from the other convention",
    1,
    10,
    inputs=_log_variance,
    reference=_drawn,
    wrong={
        "spread for variance": (
            lambda m, log_v, noise: m + log_v.exp() * noise,
            "`log_v.exp()` is the variance. The noise is multiplied by the spread, its square root.",
        ),
        "no exp": (
            lambda m, log_v, noise: m + log_v / 2 * noise,
            "You multiplied by the logarithm, which may be negative. The spread is `(log_v / 2).exp()`.",
        ),
        "mean only": (
            lambda m, log_v, noise: m,
            "You left out the noise. Then a latent number can hold any amount, and the KL counts what is not paid.",
        ),
        "noise only": (
            lambda m, log_v, noise: (log_v / 2).exp() * noise,
            "You left out the mean: nothing of the picture gets through.",
        ),
    },
    hints=("The spread is the square root of the variance: half the logarithm.", "`m + (log_v / 2).exp() * noise`"),
    solution="""
def draw(m, log_v, noise):
    return m + (log_v / 2).exp() * noise      # noise does not depend on the weights: gradients reach m and log_v
""",
)

# --- bits ------------------------------------------------------------------------------------------------------------


def _bits(m: Tensor, log_s: Tensor) -> Tensor:
    """Through the package: `VAE.bits` of an encoder that answers (m, log_s)."""
    vae = VAE(1, latent=1, down=2, base=8)
    vae.moments = lambda x: (m, log_s)  # type: ignore[method-assign]
    return vae.bits(m)


def _per_picture(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


BITS = exercise(
    "autoencoders.bits",
    "What a picture costs, in bits",
    2,
    15,
    inputs=lambda generator: _posterior(generator)[:2],
    reference=_bits,
    wrong={
        "nats": (
            lambda m, log_s: _per_picture((m**2 + (2 * log_s).exp() - 1) / 2 - log_s),
            "Right, but in nats: natural logarithms. Divide by log 2 to have bits.",
        ),
        "mean": (
            lambda m, log_s: ((m**2 + (2 * log_s).exp() - 1) / 2 - log_s).flatten(1).mean(1) / math.log(2),
            "You averaged over the latent numbers. The cost of a picture is their sum.",
        ),
        "whole batch": (
            lambda m, log_s: ((m**2 + (2 * log_s).exp() - 1) / 2 - log_s).sum() / math.log(2),
            "You summed over the batch, too. Each picture has its own cost: shape `(B,)`.",
        ),
        "spread for variance": (
            lambda m, log_s: _per_picture((m**2 + log_s.exp() - 1) / 2 - log_s) / math.log(2),
            "`s^2` is `(2 * log_s).exp()`; you have s.",
        ),
        "sign": (
            lambda m, log_s: _per_picture((m**2 + (2 * log_s).exp() - 1) / 2 + log_s) / math.log(2),
            "The sign of `log_s`: a *smaller* spread tells more and so costs more.",
        ),
    },
    hints=(
        "For each number `(m**2 + s**2 - 1) / 2 - log_s`, with `s**2 = (2 * log_s).exp()`.",
        "`.flatten(1).sum(1)` is the sum for each picture; divide by `math.log(2)`.",
    ),
    solution="""
def bits(m, log_s):
    kl = (m**2 + (2 * log_s).exp() - 1) / 2 - log_s       # (B, c, h, w), in nats
    return kl.flatten(1).sum(1) / math.log(2)             # (B,), in bits
""",
)

# --- count -----------------------------------------------------------------------------------------------------------


def _video(generator: Generator) -> tuple:
    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    time, space = (2 ** whole(1, 4) for _ in range(2))
    return whole(3, 9) * time + 1, whole(10, 40) * space + 1, whole(10, 40) * space + 1, time, space, 4 * whole(2, 5)


def _count(f: int, h: int, w: int, time: int, space: int, channels: int) -> Tensor:
    cells = math.ceil(f / time) * math.ceil(h / space) * math.ceil(w / space)
    return torch.tensor([f * h * w / cells, 3 * f * h * w / (channels * cells)])


def _floor(f: int, h: int, w: int, time: int, space: int, channels: int) -> Tensor:
    cells = (f // time) * (h // space) * (w // space)
    return torch.tensor([f * h * w / cells, 3 * f * h * w / (channels * cells)])


def _one_side(f: int, h: int, w: int, time: int, space: int, channels: int) -> Tensor:
    cells = math.ceil(f / time) * math.ceil(h / space) * w
    return torch.tensor([f * h * w / cells, 3 * f * h * w / (channels * cells)])


def _simple(f: int, h: int, w: int, time: int, space: int, channels: int) -> Tensor:
    return torch.tensor([time * space**2, 3 * time * space**2 / channels])


COUNT = exercise(
    "autoencoders.count",
    "How many times smaller?",
    2,
    15,
    inputs=_video,
    reference=_count,
    wrong={
        "cut": (
            _floor,
            "You rounded down: the last rows or frames are lost. A grid that covers all is padded: round up.",
        ),
        "no padding": (
            _simple,
            "You multiplied the factors. Sizes that they do not divide are padded, so the grid is a little larger: count it.",
        ),
        "no channels": (
            lambda *a: _count(*a)[:1].repeat(2),
            "The second ratio counts numbers: a pixel has 3 of them, a latent position `channels`.",
        ),
        "grey": (
            lambda *a: _count(*a) * torch.tensor([1, 1 / 3]),
            "A pixel has three numbers, red, green and blue.",
        ),
        "one side": (
            _one_side,
            "`space` divides height *and* width.",
        ),
    },
    hints=(
        "`math.ceil(h / space)` is the number of latent rows.",
        "pixels over positions, and 3 x pixels over channels x positions",
    ),
    solution="""
def count(f, h, w, time, space, channels):
    cells = math.ceil(f / time) * math.ceil(h / space) * math.ceil(w / space)
    return torch.tensor([f * h * w / cells, 3 * f * h * w / (channels * cells)])
""",
)

# --- scale -----------------------------------------------------------------------------------------------------------


def _raw_latents(generator: Generator) -> tuple:
    spread, mean = uniform(generator, 0.2, 6, 1, 4, 1, 1), uniform(generator, 1, 3, 1, 4, 1, 1)
    return (mean + spread * normal(generator, 30, 4, 3, 5),)


def _scaled(z: Tensor) -> Tensor:
    """Through the package: `VAE.measure_scale` and `encode`, of an encoder that answers z."""
    vae = VAE(4, latent=4, down=2, base=8).double()
    vae.moments = lambda x: (x, x)  # type: ignore[method-assign]
    vae.measure_scale([z])
    return vae.encode(z)


SCALE = exercise(
    "autoencoders.scale",
    "Latents as wide as their noise",
    1,
    10,
    inputs=_raw_latents,
    reference=_scaled,
    wrong={
        "one number": (
            lambda z: (z - z.mean()) / z.std(),
            "One mean and one spread for all channels. Channels differ; each needs its own.",
        ),
        "no mean": (
            lambda z: z / z.std((0, 2, 3), keepdim=True),
            "The spread is right, the mean is still there.",
        ),
        "variance": (
            lambda z: (z - z.mean((0, 2, 3), keepdim=True)) / z.var((0, 2, 3), keepdim=True),
            "You divided by the variance; it is the spread, its square root.",
        ),
        "each position": (
            lambda z: (z - z.mean(0, keepdim=True)) / z.std(0, keepdim=True),
            "You scaled each position by itself. A channel means the same everywhere in the picture: one number a channel.",
        ),
        "each picture": (
            lambda z: (z - z.mean((2, 3), keepdim=True)) / z.std((2, 3), keepdim=True),
            "You scaled each picture by itself: then a dark and a light one cannot be told apart, nor undone.",
        ),
    },
    hints=(
        "Over which axes? All but the channels: `(0, 2, 3)`.",
        "`keepdim=True` keeps the shape for the subtraction.",
    ),
    solution="""
def scale(z):
    return (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True)
""",
)

EXERCISES = [DRAW, BITS, COUNT, SCALE]
