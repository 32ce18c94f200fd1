"""Models of emoji: a denoiser brings its autoencoder along and refuses another; what measures them sees faults."""

import pytest
import torch
from torch import nn

from minidiff.data import emoji as pack
from minidiff.nn.unet import UNet
from minidiff.nn.vae import VAE
from minidiff.predict import Denoiser
from minidiff.recipes import emoji, latent
from minidiff.recipes import run as runs
from minidiff.recipes.row import Recipe
from minidiff.schedule import Linear
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A small autoencoder and a denoiser of its latents, both trained for ten steps and shipped in a folder."""
    few = pack.load("pairs", 16)
    a = emoji.autoencoder_row("a", "", lambda at: VAE(3, 2, 4, base=8), 1, 0.0, 10**6)
    vars(a)["batches"] = lambda size, seed: lambda step: (few.images[:size], few.style[:size])
    vars(a)["finish"] = lambda vae: vae.measure_scale([few.images])
    net = lambda at: UNet(2, 8, (1, 2), blocks=1, classes=4)  # noqa: E731
    load = lambda: runs.load("a")  # noqa: E731
    b = latent.denoiser_row("b", "", net, 1.0, "a", 1, 0.99, lambda size, seed: lambda step: (torch.randn(8, 2, 4, 4),))
    vars(b)["model"] = lambda net: Denoiser(net, Linear(), "flow", autoencoder=load())
    rows: dict[str, Recipe] = {"a": a, "b": b}
    monkeypatch.setattr(runs.recipes, "get", lambda name: rows[name])
    monkeypatch.setattr(runs, "shipped", lambda name: tmp_path / f"{name}.safetensors")
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path / "out"))
    return tmp_path, rows


def ship(folder, name, **settings):
    *_, path = runs.train(name, "smoke", settings)
    (folder / f"{name}.safetensors").write_bytes(path.read_bytes())


def test_a_denoiser_brings_its_autoencoder_and_refuses_another(two):
    folder, _ = two
    ship(folder, "a")
    ship(folder, "b")
    denoise = runs.load("b")
    assert isinstance(denoise.autoencoder, VAE)
    stamp = checkpoint.read_header(folder / "a.safetensors")["sha256"][:12]
    assert checkpoint.read_header(folder / "b.safetensors")["needs"] == {"a": stamp}
    x = latent.pictures(denoise, 3, calls=2)
    assert x.shape == (3, 3, 64, 64) and x.abs().max() <= 1
    tensors, header = checkpoint.read(folder / "a.safetensors")
    tensors["back.0.bias"] = tensors["back.0.bias"] + 1
    header.pop("sha256")
    checkpoint.write(folder / "a.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match=f"trained with a {stamp}, and here is a .*train b again"):
        runs.load("b")


def test_the_scale_is_measured_with_the_weights_that_ship(two):
    folder, _ = two
    ship(folder, "a")
    vae, few = runs.load("a"), pack.load("pairs", 16)
    z = vae.encode(few.images)
    assert z.mean((0, 2, 3)).abs().max() < 0.05 and (z.std((0, 2, 3)) - 1).abs().max() < 0.05  # 0.4%: bf16


def test_a_missing_autoencoder_is_named(two):
    folder, _ = two
    ship(folder, "a")
    ship(folder, "b")
    (folder / "a.safetensors").unlink()
    with pytest.raises(CheckpointError, match="a.safetensors"):
        runs.load("b")


def test_a_denoiser_and_an_autoencoder_that_are_no_pair_are_named():
    denoise = Denoiser(UNet(4, 8, (1, 2), classes=4), Linear(), autoencoder=VAE(3, 2, 8, base=8))
    with pytest.raises(ValueError, match="4 channels, its autoencoder latents of 2: not a pair"):
        latent.pictures(denoise, 2, calls=1)


def test_a_run_is_not_resumed_with_another_autoencoder(two):
    folder, _ = two
    ship(folder, "a")
    ship(folder, "b")
    tensors, header = checkpoint.read(folder / "a.safetensors")
    header.pop("sha256")
    checkpoint.write(folder / "a.safetensors", tensors | {"mean": tensors["mean"] + 1}, header)
    with pytest.raises(CheckpointError, match="needs"):
        list(runs.train("b", "smoke"))


def test_psnr_by_hand():
    x = torch.zeros(2, 3, 8, 8)
    off = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.02)])
    torch.testing.assert_close(emoji.psnr(x, x + off), torch.tensor([20.0, 40.0]))  # 10 log10(4 / 0.04) = 20
    assert (emoji.psnr(x + 1, x + 3) > 100).all()  # what is whiter than white is shown as white


class Blur(nn.Module):
    """An autoencoder that keeps the mean of each 8x8 pixels, at 10 bits a picture."""

    def encode(self, x):
        return nn.functional.avg_pool2d(x, 8)

    def decode(self, z):
        return nn.functional.interpolate(z, scale_factor=8)

    def bits(self, x):
        return torch.full((len(x),), 10.0)


def test_what_measures_an_autoencoder_sees_a_blur(tmp_path):
    perfect = Blur()
    perfect.encode = perfect.decode = lambda x: x  # type: ignore[method-assign]
    good, bad = (emoji.autoencoder_metrics(vae, None, tmp_path) for vae in (perfect, Blur()))
    assert (
        good["PSNR, held out"]["value"]
        > 90
        > 25
        > bad["PSNR, held out"]["value"]
        > bad["PSNR of a white square"]["value"]
    )
    assert good["same style as the original"]["value"] == good["same group as the original"]["value"] == 1
    assert bad["same style as the original"]["value"] < 0.9


def test_held_out_pictures_are_not_for_training():
    seen = {(int(s), int(c)) for s, c in zip(*pack.load()[1::2], strict=True)}
    unseen = {(int(s), int(c)) for s, c in zip(*emoji.held_out()[1::2], strict=True)}
    assert not seen & unseen
    latents, style = latent.latents()
    assert len(latents) == len(style) and latents.shape[1:] == (8, 8, 8)
    assert latents.std((0, 2, 3)).sub(1).abs().max() < 0.25
