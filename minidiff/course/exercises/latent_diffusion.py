"""Exercises of chapter 11, `latent-diffusion`."""

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.nn.vae import VAE
from minidiff.schedule import Linear, add_noise

# --- decode ----------------------------------------------------------------------------------------------------------


def _scaled_latents(generator: Generator) -> tuple:
    mean, scale = normal(generator, 4), uniform(generator, 0.2, 6, 4)
    return normal(generator, 3, 4, 2, 5), mean, scale


def _undone(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Through the package: what `VAE.decode` hands to its decoder."""
    vae = VAE(4, latent=4, down=2, base=8).double()
    vae.mean.copy_(mean)
    vae.scale.copy_(scale)
    vae.back = torch.nn.Identity()  # type: ignore[assignment]
    return vae.decode(z)


def _wide(v: Tensor) -> Tensor:
    return v.view(1, -1, 1, 1)


DECODE = exercise(
    "latent-diffusion.decode",
    "Before the decoder",
    1,
    10,
    inputs=_scaled_latents,
    reference=_undone,
    wrong={
        "again": (
            lambda z, mean, scale: (z - _wide(mean)) / _wide(scale),
            "You scaled once more. Before decoding it is *undone*: times the spread, plus the mean.",
        ),
        "order": (
            lambda z, mean, scale: (z + _wide(mean)) * _wide(scale),
            "The order: first times the spread, then plus the mean.",
        ),
        "nothing": (
            lambda z, mean, scale: z,
            "You changed nothing. The decoder was trained on raw latents: pale pictures are what comes of this.",
        ),
        "no mean": (lambda z, mean, scale: z * _wide(scale), "The mean is still missing."),
        "one number": (
            lambda z, mean, scale: z * scale.mean() + mean.mean(),
            "One number for all channels. Each has its own: `scale.view(1, -1, 1, 1)`.",
        ),
    },
    hints=("`encode` ends with (z - mean) / scale.", "`z * scale.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)`"),
    solution="""
def undo(z, mean, scale):
    return z * scale.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)
""",
)

# --- noise -----------------------------------------------------------------------------------------------------------


def _batch(generator: Generator) -> tuple:
    return normal(generator, 6, 4, 2, 2), normal(generator, 6, 4, 2, 2), uniform(generator, 0.05, 0.95, 6)


NOISE = exercise(
    "latent-diffusion.target",
    "Training in latents, one step of it",
    2,
    15,
    inputs=_batch,
    reference=lambda z, eps, t: torch.stack([add_noise(Linear(), z, eps, t), eps - z]),
    wrong={
        "turned": (
            lambda z, eps, t: torch.stack([add_noise(Linear(), z, eps, t), z - eps]),
            "Your target points from noise to data. In this course t = 1 is noise, so the rate of x_t along t is eps - z.",
        ),
        "noise as target": (
            lambda z, eps, t: torch.stack([add_noise(Linear(), z, eps, t), eps]),
            "eps is the row `eps`. For `flow` the target is the rate of x_t along t: eps - z.",
        ),
        "t turned": (
            lambda z, eps, t: torch.stack([add_noise(Linear(), z, eps, 1 - t), eps - z]),
            "t = 0 is data: the latent has the weight 1 - t, the noise t.",
        ),
        "only the input": (
            lambda z, eps, t: torch.stack([add_noise(Linear(), z, eps, t)] * 2),
            "The input is right. The second is what the network should answer.",
        ),
    },
    hints=(
        "Nothing is special about latents: chapter 04's row `flow` on the schedule `Linear`.",
        "`x_t = (1 - t) z + t eps`, with t as `t.view(-1, 1, 1, 1)`; its rate along t is `eps - z`.",
    ),
    solution="""
def step(z, eps, t):
    t = t.view(-1, 1, 1, 1)
    return torch.stack([(1 - t) * z + t * eps, eps - z])
""",
)

# --- break-even ------------------------------------------------------------------------------------------------------


def _bills(generator: Generator) -> tuple:
    return tuple(
        float(uniform(generator, low, high)) for low, high in ((500, 2000), (0.05, 0.2), (0.5, 2), (0.05, 0.3))
    )


def _break_even(vae_seconds: float, latent: float, pixel: float, decode: float) -> float:
    return vae_seconds / (pixel - latent - decode)


PAYS = exercise(
    "latent-diffusion.pays",
    "When does the autoencoder pay?",
    2,
    10,
    inputs=_bills,
    reference=_break_even,
    wrong={
        "decoder free": (
            lambda vae_seconds, latent, pixel, decode: vae_seconds / (pixel - latent),
            "You forgot that every picture made in latents must also be decoded.",
        ),
        "decoder added": (
            lambda vae_seconds, latent, pixel, decode: vae_seconds / (pixel - latent + decode),
            "The sign of `decode`: it makes latents dearer, so less is saved.",
        ),
        "per picture": (
            lambda vae_seconds, latent, pixel, decode: vae_seconds / pixel,
            "What is saved with each picture is the *difference* of the two costs.",
        ),
    },
    hints=("With n pictures: `vae_seconds + n (latent + decode)` against `n pixel`.", "Set them equal, solve for n."),
    solution="""
def pays(vae_seconds, latent, pixel, decode):
    return vae_seconds / (pixel - latent - decode)
""",
)

EXERCISES = [DECODE, NOISE, PAYS]
