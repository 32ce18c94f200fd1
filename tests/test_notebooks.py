"""Notebooks: they run, they keep the contract, they equal their sources, and what they build equals the package."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
import torch
from torch import Generator

from minidiff import predict, sample, schedule
from minidiff.course.contract import problems
from minidiff.course.exercises import all_exercises
from minidiff.data import toybox
from minidiff.data.toy import FiniteSet, two_peaks
from minidiff.data.toybox import spec
from minidiff.files import root
from minidiff.measure import frechet as frechet_module
from minidiff.measure.tracks import objects, pixels
from minidiff.nn import attention
from minidiff.nn.attention import Attention
from minidiff.nn.dit import Block, patchify
from minidiff.nn.mlp import MLP
from minidiff.nn.text import TextDiT
from minidiff.nn.unet import ResBlock, UNet
from minidiff.nn.vae import VAE, Past, vae_loss
from minidiff.recipes import latent
from minidiff.recipes import toybox as toybox_recipes
from minidiff.train.flops import tokens

FOLDER = root() / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
SOURCES = sorted((FOLDER / "src").glob("[0-9][0-9]_*.py"))
# Metrics and terms that a chapter may only use from the one that explains them
TERMS = {"frechet": 5, "guidance": 7, "attention": 12, "u-net": 5, "latent": 10}


def test_each_source_has_its_notebook():
    assert [p.stem for p in NOTEBOOKS] == [p.stem for p in SOURCES] and len(NOTEBOOKS) >= 4


def test_sources_and_notebooks_are_the_same_and_the_map_is_current():
    done = subprocess.run(
        [sys.executable, "-m", "minidiff.course.build", "--check"], cwd=root(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_contract(path):
    assert problems(nbformat.read(path, 4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_badges_exercises_and_seconds_agree_with_the_metadata(path):
    nb = nbformat.read(path, 4)
    about, text = nb.metadata["minidiff"], "\n".join(c.source for c in nb.cells)
    for badge in (
        f"compute {about['minutes_compute']:g} min",
        f"you {about['hours_learner']:g} h",
        f"memory {about['memory_gb']:g} GB",
    ):
        assert f"`{badge}`" in text, badge
    assert all(f'check("{id}"' in text for id in about["exercises"])
    assert {e.id for e in all_exercises() if e.id.split(".")[0] == about["slug"]} == set(about["exercises"])
    assert about["scale"] == "laptop" and about["seconds"] < 180


def test_notebooks_run_under_nbval_two_at_a_time(tmp_path):
    """Every cell of every notebook runs at smoke scale; on an idle machine in under 25 s a notebook."""

    def run(path: Path) -> subprocess.CompletedProcess:
        env = os.environ | {"MINIDIFF_SCALE": "smoke", "MINIDIFF_PROGRESS": str(tmp_path / path.stem)}
        words = ["-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", str(path)]
        return subprocess.run([sys.executable, *words], cwd=FOLDER, env=env, capture_output=True, text=True)

    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(NOTEBOOKS, pool.map(run, NOTEBOOKS), strict=True))
    failed = {p.stem: r.stdout[-3000:] + r.stderr[-500:] for p, r in runs.items() if r.returncode}
    assert not failed, "\n".join(f"{name}:\n{text}" for name, text in failed.items())


# --- cells that build what the package has ---------------------------------------------------------------------


def close(a: Any, b: Any) -> bool:
    return torch.allclose(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=1e-5, atol=1e-6)


def step_back(space: dict) -> bool:
    """Chapter 02's step against `ddim(eta=1)` with the same noise, and its loop against the sampler."""
    s, denoise = space["schedule"], space["denoise"]
    x = sample.prior(s, (50, 2), torch.Generator().manual_seed(0)).double()
    grid = torch.tensor([0.7, 0.6], dtype=torch.float64)
    (_, there, x0_hat), *_ = sample.ddim(denoise, x, grid, s, eta=1, generator=torch.Generator().manual_seed(1))
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return close(space["step_back"](x, x0_hat, grid[0], grid[1], z), there)


def posterior_mean(space: dict) -> bool:
    x = torch.linspace(-2, 2, 21)[:, None]
    return close(space["posterior_mean"](x, 0.6, 0.8), two_peaks().posterior_mean(x, 0.6, 0.8))


def score(space: dict) -> bool:
    x, x0 = torch.randn(2, 9, 3)
    return close(
        space["score"](x, x0, torch.tensor(0.6), torch.tensor(0.8)),
        predict.score(x, x0, torch.tensor(0.6), torch.tensor(0.8)),
    )


def add_noise(space: dict) -> bool:
    """Chapter 01's one jump, with a level for each image."""
    x0, eps, t = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5), torch.rand(3)
    return close(space["add_noise"](schedule.Cosine(), x0, eps, t), schedule.add_noise(schedule.Cosine(), x0, eps, t))


def ell(space: dict) -> bool:
    t = torch.linspace(0.01, 0.99, 50)
    return all(close(space["ell"](s, t), schedule.ell(s, t)) for s in (schedule.Linear(), schedule.Betas()))


def loss(space: dict) -> bool:
    """Chapter 03's loss of the noise, against the package's for the row eps."""
    torch.manual_seed(0)
    net, source = MLP(1, width=16, depth=1), two_peaks()
    x0, eps, t = source.sample(40), torch.randn(40, 1), torch.rand(40)
    denoise = predict.Denoiser(net, schedule.Betas(), "eps", sd=source.sd)
    return close(space["loss"](net, x0, eps, t).detach(), predict.loss(denoise, x0, eps, t).detach())


def exact_mean(space: dict) -> bool:
    """Chapter 03's mean over the training pictures, against the package's exact denoiser of a finite set."""
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    theirs = FiniteSet(space["train"]).posterior_mean(x, 0.2, 0.8)
    return bool(torch.allclose(space["exact_mean"](x, 0.2, 0.8), theirs, atol=1e-3))


def solve(space: dict) -> bool:
    """Chapter 04's two equations against the package, for a row with a level for all."""
    x_t, y = torch.randn(2, 9, 3, dtype=torch.float64)
    t, s = torch.tensor(0.3, dtype=torch.float64), schedule.Cosine()
    got = space["solve"](*predict.row("v", s, t), s.alpha(t), s.sigma(t), x_t, y)
    return all(close(a, b) for a, b in zip(got, predict.solve("v", s, x_t, t, y), strict=True))


def on_another_schedule(space: dict) -> bool:
    """One network on two schedules: rescaled, or told the other schedule from the start."""
    torch.manual_seed(0)
    net, x = MLP(2, width=16, depth=1), torch.randn(9, 2)
    t = torch.linspace(0.05, 0.9, 9)
    ours = space["on_another_schedule"](predict.Denoiser(net, schedule.Linear(), "x0"), schedule.Cosine())
    theirs = predict.Denoiser(net, schedule.Cosine(), "x0")
    return close(torch.cat([ours(x[i : i + 1], t[i]) for i in range(9)]).detach(), theirs(x, t).detach())


def stirred(net: torch.nn.Module) -> torch.nn.Module:
    """A network off its start, where zeroed layers hide what lies behind them."""
    for i, p in enumerate(net.parameters()):
        p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
    return net.requires_grad_(False)


def res_block(space: dict) -> bool:
    """Chapter 05's block against the package's, where the number of features changes."""
    block, x, context = stirred(ResBlock(8, 16, 6)), torch.randn(3, 8, 5, 7), torch.randn(3, 6)
    return close(space["res_block"](block, x, context), block(x, context))


def walk(space: dict) -> bool:
    """Chapter 05's way through a U-Net of three sizes."""
    net = stirred(UNet(2, 8, (1, 2, 3), 1, classes=4, patch=2))
    x, level, kind = torch.randn(3, 2, 12, 20), torch.tensor([-3.0, 0.0, 2.0]), torch.tensor([0, 3, 4])
    return bool(torch.allclose(space["through"](net, x, level, kind), net(x, level, kind), atol=1e-4))


def frechet(space: dict) -> bool:
    x, y = torch.randn(40, 5), 0.3 + 1.4 * torch.randn(60, 5) @ torch.randn(5, 5)
    return close(space["frechet"](x, y), frechet_module.frechet(x, y))


def guided_by(space: dict) -> bool:
    """Chapter 07's guidance against the package's, at three weights."""

    def denoise(x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        return x_t * (1 + cond[:, None])

    setattr(denoise, "schedule", schedule.Linear())  # noqa: B010
    x, t, cond = torch.randn(5, 2), torch.tensor(0.4), torch.arange(5) % 3
    ours, theirs = (
        [f(denoise, w, 3)(x, t, cond) for w in (0.0, 1.0, 2.5)] for f in (space["guided_by"], predict.guide)
    )
    return all(close(a, b) for a, b in zip(ours, theirs, strict=True))


def vae_bill(space: dict) -> bool:
    """Chapter 10's loss against the package's, from the same noise."""
    net, x = stirred(VAE(3, 2, 4, base=8)), torch.randn(3, 3, 8, 12)
    ours = space["loss"](net, x, 0.3, torch.Generator().manual_seed(5))
    return close(ours, vae_loss(net, x, torch.Generator().manual_seed(5), 0.3))


def from_latents(space: dict) -> bool:
    """Chapter 11's pictures against the package's, which takes its noise from seed 0 for seed 0."""
    net, vae = stirred(UNet(2, 8, (1, 2), 1, classes=4)), stirred(VAE(3, 2, 8, base=8))
    vae.scale.data += 2
    denoise, labels = predict.Denoiser(net, schedule.Linear(), "flow", autoencoder=vae), torch.arange(3)
    return close(space["draw"](denoise, vae, labels, 4, 0), latent.pictures(denoise, 3, 4, labels=labels))


def looking(space: dict) -> bool:
    """Chapter 12's layer against the package's, and its weights; with a link cut as with a mask."""
    layer, x = stirred(Attention(32, 2)), torch.randn(3, 5, 32)
    cut = torch.rand(3, 2, 5, 5) > 0.8
    cut[..., 0] = False
    (y, weight), (y2, _) = space["look"](layer, x), space["look"](layer, x, cut)
    return close(y, layer(x)) and close(weight, layer.weights(x)) and close(y2, layer(x, mask=~cut))


def turning(space: dict) -> bool:
    """Chapter 12's turned pairs against the package's."""
    x, angle = torch.randn(2, 7, 16), torch.randn(7, 8)
    return close(space["turn"](x, angle), attention.turn(x, torch.polar(torch.ones_like(angle), angle)))


def cutting(space: dict) -> bool:
    """Chapter 13's patches against the package's, and back."""
    x = torch.randn(2, 3, 8, 20)
    tokens = space["cut"](x, 4)
    return torch.equal(tokens, patchify(x[:, :, None], (1, 4, 4))[:, 0]) and torch.equal(space["glue"](tokens, 4, 2), x)


def six_knobs(space: dict) -> bool:
    """Chapter 13's block against the package's."""
    block, x, told = stirred(Block(32, 2, "full")), torch.randn(3, 5, 32), torch.randn(3, 32)
    ours = space["block_by_hand"](block, x, told)
    return bool(torch.allclose(ours, block(x[:, None], told[:, None], None)[:, 0], atol=1e-4))


def asking_words(space: dict) -> bool:
    """Chapter 14's cross-attention against the package's layer, padding hidden; its shares add up to 1 over words."""
    layer, x, words = stirred(attention.Attention(32, 2)), torch.randn(3, 7, 32), torch.randn(3, 5, 32)
    mask = torch.arange(5) < torch.tensor([[5], [2], [4]])
    ours, weight = space["cross"](layer, x, words, mask)
    whole = weight.shape == (3, 2, 7, 5) and bool(torch.allclose(weight.sum(-1), torch.ones(3, 2, 7)))
    return whole and bool(torch.allclose(ours, layer(x, source=words, mask=mask), atol=1e-5))


def seeing(space: dict) -> bool:
    clips = toybox.render(toybox.sample(12, Generator().manual_seed(5), "two"))
    for frame, picture in zip(pixels(clips)[:, 4:5], clips[:, :, 4], strict=True):
        ours, found = space["find"](picture), objects(frame)
        theirs = zip(found["colour"], found["y"] * 32 - 0.5, found["x"] * 32 - 0.5, strict=True)
        theirs = [(list(spec.COLOURS)[int(colour)], y, x) for colour, y, x in theirs]
        if sorted(o[0] for o in ours) != sorted(t[0] for t in theirs):
            return False
        gaps = [min(abs(o[1] - t[1]) + abs(o[2] - t[2]) for t in theirs if t[0] == o[0]) for o in ours]
        if max(gaps) > 0.01:
            return False
    return True


def looking_at(space: dict) -> bool:
    """Change one token: those of a block's answers that change are those that the table lets look at it."""
    frames, places = 4, 3
    for over in ("frame", "time", "full"):
        torch.manual_seed(0)
        block = Block(32, 2, over).requires_grad_(False).double()
        x, context = torch.randn(1, frames, places, 32).double(), torch.randn(1, 1, 32).double()
        before = block(x, context, None).flatten(1, 2)
        for token in range(frames * places):
            other = x.flatten(1, 2).clone()
            other[:, token] = other[:, token].flip(-1)  # adding 1 to all would not pass the layer norm
            moved = (block(other.view_as(x), context, None).flatten(1, 2) - before).abs().amax((0, 2)) > 1e-9
            if not torch.equal(moved, space["may_see"](over, frames, places)[:, token]):
                return False
    return True


def boxing(space: dict) -> bool:
    """Cutting as the package does, and back, for boxes and clips of unequal sides."""
    x = torch.randn(2, 3, 6, 8, 12)
    for pf, p in ((1, 2), (2, 4), (3, 2)):
        tokens_ = space["cut"](x, pf, p)
        if not torch.equal(tokens_, patchify(x, (pf, p, p))) or not torch.equal(
            space["glue"](tokens_, pf, p, 8 // p), x
        ):
            return False
    return True


def counting(space: dict) -> bool:
    """As the package counts, for sizes that divide and sizes that do not."""
    cases = [(clip, patch, down) for clip in ((48, 480, 720), (1, 65, 66), (10, 33, 31))
             for patch in ((1, 2, 2), (2, 1, 4)) for down in ((1, 1, 1), (4, 8, 8))]  # fmt: skip
    return all(
        space["count"](clip, patch, down, causal) == tokens(clip, patch, down, causal=causal)
        for clip, patch, down in cases
        for causal in (False, True)
    )


def never_ahead(space: dict) -> bool:
    layer = Past(4, 6).requires_grad_(False)
    x = torch.randn(2, 4, 5, 6, 7)
    ours = space["past"](x, layer.weight, layer.bias)
    return ours.shape == (2, 6, 5, 6, 7) and bool(torch.allclose(ours, layer(x), atol=1e-5))


def filming(space: dict) -> bool:
    """Chapter 18's network from parts against the package's, on odd sizes, with padded sentences."""
    net = stirred(TextDiT(3, 32, 2, 2, (1, 8, 4), vocabulary=20))
    x, ell = torch.randn(2, 3, 5, 16, 12), torch.tensor([0.3, -6.0])
    ids = torch.tensor([[3, 7, 2, 9], [5, 4, 0, 0]])
    return close(space["film"](net, x, ell, ids), net(x, ell, ids))


def shooting(space: dict) -> bool:
    """Chapter 18's walk from noise to a clip against the package's, which seeds its noise by (seed, batch)."""
    net = stirred(TextDiT(3, 32, 2, 2, (1, 8, 8), vocabulary=20))
    denoise, ids = predict.Denoiser(net, schedule.Linear(), "x0", 0.6), torch.tensor([[3, 7, 2], [5, 4, 0]])
    theirs = toybox_recipes.videos(denoise, 2, 4, seed=5, labels=ids, w=2.0)
    states, guesses = space["shoot"](denoise, ids, 4, 2.0, torch.Generator().manual_seed(5 * 100_003))
    return len(states) == len(guesses) == 4 and bool(torch.allclose(states[-1].clamp(-1, 1), theirs, atol=1e-4))


COMPARE: dict[str, Callable[[dict], bool]] = {
    "01_forward schedule.add_noise": add_noise,
    "01_forward schedule.ell": ell,
    "02_reverse data.toy.Mixture.posterior_mean": posterior_mean,
    "02_reverse predict.score": score,
    "02_reverse sample.ddim": step_back,
    "03_learned-denoiser predict.loss": loss,
    "03_learned-denoiser data.toy.FiniteSet.posterior_mean": exact_mean,
    "04_targets predict.solve": solve,
    "04_targets predict.Denoiser": on_another_schedule,
    "05_ddpm-images nn.unet.ResBlock": res_block,
    "05_ddpm-images nn.unet.UNet": walk,
    "05_ddpm-images measure.frechet.frechet": frechet,
    "07_guidance predict.guide": guided_by,
    "09_gradable-world measure.tracks.objects": seeing,
    "10_autoencoders nn.vae.vae_loss": vae_bill,
    "11_latent-diffusion recipes.latent.pictures": from_latents,
    "12_attention nn.attention.Attention": looking,
    "12_attention nn.attention.turn": turning,
    "13_dit nn.dit.patchify": cutting,
    "13_dit nn.dit.Block": six_knobs,
    "14_words nn.attention.Attention": asking_words,
    "16_flicker nn.dit.Block": looking_at,
    "17_spacetime-patches nn.dit.patchify": boxing,
    "17_spacetime-patches train.flops.tokens": counting,
    "17_spacetime-patches nn.vae.Past": never_ahead,
    "18_text-to-video nn.text.TextDiT": filming,
    "18_text-to-video recipes.toybox.videos": shooting,
}


def built_cells() -> dict[str, tuple[Path, int]]:
    found = {}
    for path in SOURCES:
        for i, cell in enumerate(jupytext.read(path).cells):
            for tag in cell.metadata.get("tags", []):
                if tag.startswith("builds:"):
                    found[f"{path.stem} {tag.removeprefix('builds:')}"] = (path, i)
    return found


def test_every_built_cell_has_a_comparison_and_every_chapter_builds():
    assert built_cells().keys() == COMPARE.keys()
    assert {name.split()[0] for name in COMPARE} >= {p.stem for p in SOURCES[1:]}


@cache
def spaces(path: Path) -> dict[int, dict]:
    """Run a source from the top to its last built cell; {index of a built cell: the names as it left them}."""
    built = {index for where, index in built_cells().values() if where == path}
    space: dict[str, Any] = {}
    found = {}
    for i, cell in enumerate(jupytext.read(path).cells[: max(built) + 1]):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{path.name}, cell {i}", "exec"), space)
        if i in built:
            found[i] = dict(space)
    return found


def changed(path: Path, index: int, old: str, new: str) -> dict:
    """The names that a built cell leaves if a mistake is planted in it."""
    source, space = jupytext.read(path).cells[index].source, dict(spaces(path)[index])
    assert source.count(old) == 1
    exec(source.replace(old, new), space)
    return space


@pytest.mark.parametrize("name", COMPARE)
def test_built_cells_equal_the_package(name):
    path, index = built_cells()[name]
    assert COMPARE[name](spaces(path)[index])


def test_the_comparison_would_see_a_mistake():
    path, index = built_cells()["02_reverse sample.ddim"]
    assert not step_back(changed(path, index, "tau.sqrt() * z", "tau * z"))
    path, index = built_cells()["01_forward schedule.add_noise"]
    assert not add_noise(changed(path, index, "alpha * x0", "x0"))
    path, index = built_cells()["03_learned-denoiser predict.loss"]
    assert not loss(changed(path, index, "source.sd**2", "source.sd"))
    path, index = built_cells()["03_learned-denoiser data.toy.FiniteSet.posterior_mean"]
    assert not exact_mean(changed(path, index, "/ (2 * sigma**2)", "/ (2 * sigma)"))
    path, index = built_cells()["04_targets predict.Denoiser"]
    assert not on_another_schedule(changed(path, index, "x * (1 - s) / other.alpha(t)", "x"))
    path, index = built_cells()["04_targets predict.solve"]
    assert not solve(changed(path, index, "(b * x_t - sigma * y)", "(b * x_t + sigma * y)"))
    path, index = built_cells()["05_ddpm-images nn.unet.ResBlock"]
    assert not res_block(changed(path, index, "(1 + scale) + shift", "(1 + shift) + scale"))
    path, index = built_cells()["05_ddpm-images nn.unet.UNet"]
    assert not walk(changed(path, index, "torch.cat([h, bridge.pop()], dim=1)", "torch.cat([bridge.pop(), h], dim=1)"))
    path, index = built_cells()["05_ddpm-images measure.frechet.frechet"]
    assert not frechet(changed(path, index, "- 2 * mixed", "- mixed"))
    path, index = built_cells()["07_guidance predict.guide"]
    assert not guided_by(changed(path, index, "none + w * (told - none)", "told + w * (told - none)"))
    path, index = built_cells()["09_gradable-world measure.tracks.objects"]
    assert not seeing(changed(path, index, "*island.centroid_weighted", "*island.centroid"))
    path, index = built_cells()["10_autoencoders nn.vae.vae_loss"]
    assert not vae_bill(changed(path, index, "/ x[0].numel()", "/ m[0].numel()"))
    path, index = built_cells()["11_latent-diffusion recipes.latent.pictures"]
    assert not from_latents(changed(path, index, "cond=labels", "cond=None"))
    path, index = built_cells()["12_attention nn.attention.Attention"]
    assert not looking(changed(path, index, "attend(q, k, v, cut)", "attend(k, q, v, cut)"))
    path, index = built_cells()["12_attention nn.attention.turn"]
    assert not turning(changed(path, index, "a * angle.sin() + b", "a * angle.sin() - b"))
    path, index = built_cells()["13_dit nn.dit.patchify"]
    assert not cutting(changed(path, index, "x.permute(0, 2, 4, 3, 5, 1)", "x.permute(0, 2, 4, 5, 3, 1)"))
    path, index = built_cells()["13_dit nn.dit.Block"]
    assert not six_knobs(changed(path, index, "gate2 * block.mlp", "gate * block.mlp"))
    path, index = built_cells()["14_words nn.attention.Attention"]
    assert not asking_words(changed(path, index, "~mask[:, None, None], -torch.inf", "~mask[:, None, None], 0"))
    path, index = built_cells()["16_flicker nn.dit.Block"]
    assert not looking_at(changed(path, index, '"time": same_place', '"time": same_frame'))
    path, index = built_cells()["17_spacetime-patches nn.dit.patchify"]
    assert not boxing(changed(path, index, "x.permute(0, 2, 4, 6, 3, 5, 7, 1)", "x.permute(0, 2, 4, 6, 3, 7, 5, 1)"))
    path, index = built_cells()["17_spacetime-patches train.flops.tokens"]
    assert not counting(changed(path, index, "1 if causal else 0", "0"))
    path, index = built_cells()["17_spacetime-patches nn.vae.Past"]
    assert not never_ahead(changed(path, index, "(1, 1, 1, 1, 2, 0)", "(1, 1, 1, 1, 1, 1)"))
    path, index = built_cells()["18_text-to-video nn.text.TextDiT"]
    assert not filming(changed(path, index, "h + gate2 * block.mlp", "h + gate * block.mlp"))
    assert not filming(changed(path, index, "(1, 0), value=True", "(1, 0), value=False"))
    path, index = built_cells()["18_text-to-video recipes.toybox.videos"]
    assert not shooting(changed(path, index, "(1 - t) * s / ((1 - s) * t)", "(1 - s) * s / ((1 - s) * t)"))
    assert not shooting(changed(path, index, "uniform_grid(steps), 6.0", "uniform_grid(steps), 5.0"))
    path, index = built_cells()["02_reverse predict.score"]
    assert not score(changed(path, index, "sigma**2", "sigma"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_no_term_before_its_chapter(path):
    number = int(path.stem[:2])
    for cell in jupytext.read(path).cells:
        if cell.cell_type != "markdown" or "## To read" in cell.source:
            continue
        for sentence in cell.source.lower().replace("\n", " ").split(". "):
            for term, chapter in TERMS.items():
                assert (
                    term not in sentence
                    or number >= chapter
                    or f"chapter {chapter:02}" in sentence
                    or "not explained yet" in sentence
                ), f"{term!r} belongs to chapter {chapter:02}: {sentence[:120]}"
