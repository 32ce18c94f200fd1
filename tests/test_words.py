"""Models that read: batches and captions, one call from a sentence to a clip, attention maps, and what is refused."""

import errno
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Generator

from minidiff import generate, recipes
from minidiff.cli import main
from minidiff.data import clips as files
from minidiff.data import toybox
from minidiff.nn.text import PAD
from minidiff.predict import Denoiser
from minidiff.recipes import run as runs
from minidiff.recipes import words
from minidiff.schedule import Linear
from minidiff.train import checkpoint
from minidiff.train.fit import denoising_loss

STILL = next(row for row in words.ROWS if row.name == "toybox-still")
MOVES = replace(
    STILL,
    name="toybox-moves",
    frames=12,
    draw=partial(words.draw, frames=12),
    measure=partial(words.measure, frames=12),
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> dict:
    """A still and a clip model of smoke scale, as if they shipped, with gates open so that words reach pictures."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    net = words.dit("smoke")
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    paths = {}
    for row in (STILL, MOVES):
        paths[row.name] = folder / f"{row.name}.safetensors"
        checkpoint.write(paths[row.name], net.state_dict(), {"recipe": row.name, "scale": "smoke", "metrics": {}})
    return paths


@pytest.fixture(autouse=True)
def known(shipped, monkeypatch, tmp_path):
    own = runs.shipped
    monkeypatch.setattr(runs, "shipped", lambda name: shipped.get(name) or own(name))
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    for row in (STILL, MOVES):
        monkeypatch.setitem(recipes.RECIPES, row.name, row)


def test_captions_say_what_is_there_and_often_not_all():
    spec = toybox.sample(300, Generator().manual_seed(0), words.WORLD)
    scenes, coins = toybox.describe(spec), Generator().manual_seed(1)
    said = [words.said(scene, coins) for scene in scenes]
    assert len({len(sentence.split()) for sentence in said}) > 8
    assert max(len(sentence.split()) for sentence in said) <= words.LENGTH
    for sentence, scene in zip(said, scenes, strict=True):
        asked = words.scene_of(sentence, moves=True)
        for thing, whole in zip(asked.things, scene.things, strict=True):
            assert all(value in (None, getattr(whole, name)) for name, value in vars(thing).items())
    unsaid = sum(thing.colour is None for s in said for thing in toybox.parse(s).things)
    assert 0.1 < unsaid / sum(len(s.things) for s in scenes) < 0.4


def test_batches_planned_ahead_are_clips_with_their_captions(monkeypatch):
    monkeypatch.setattr(words, "PART", 5)  # three processes' work
    batch = words.ahead(13, seed=0, frames=12, device="cpu")
    x, ids = batch(0)
    assert x.shape == (13, 3, 12, 32, 32) and not x[:5].equal(x[5:10])
    found, _ = words.shares(x, [toybox.parse(sentence) for sentence in words.TOKENS.read(ids)])
    assert found["whole"].mean() == 1
    found, _ = words.shares(x, [toybox.parse(sentence) for sentence in words.TOKENS.read(ids.roll(1, 0))])
    assert found["whole"].mean() < 0.5  # of another clip
    x1, ids1 = batch(1)
    assert not x.equal(x1)
    assert x1.equal(words.ahead(13, seed=0, frames=12, device="cpu")(1)[0])  # a resumed run sees the same
    assert not x1.equal(words.ahead(13, seed=1, frames=12, device="cpu")(1)[0])


def test_batches_are_stills_and_clips_in_turn_with_their_captions():
    batch = words.mixed(2, seed=0, moving=2)
    kinds = [batch(step)[0].shape for step in range(6)]
    assert kinds == [(2, 3, 12, 32, 32)] * 2 + [(16, 3, 1, 32, 32)] * 4
    x, ids = batch(3)
    assert ids.shape[0] == 16 and ids.shape[1] % 8 == 0 and (ids[:, -8:] != PAD).any()
    assert torch.equal(words.mixed(2, seed=0, moving=2)(3)[0], x) and not torch.equal(batch(4)[0], x)
    x, ids = words.told(40, Generator().manual_seed(5), frames=1)
    again = toybox.describe(toybox.sample(40, Generator().manual_seed(5), words.WORLD, frames=1))
    for sentence, scene in zip(words.TOKENS.read(ids), again, strict=True):  # a caption belongs to its picture
        for thing, whole in zip(toybox.parse(sentence).things, scene.things, strict=True):
            assert all(value in (None, getattr(whole, name)) for name, value in vars(thing).items())


def test_training_hears_the_words():
    """After a few steps on two captions, the right one predicts its picture better than the other."""
    torch.manual_seed(0)
    denoise = Denoiser(words.dit("smoke"), Linear(), "x0", words.SD)
    spec = toybox.stage(
        ["a red circle in the middle", "a blue square in the middle"], Generator().manual_seed(0), frames=1
    )
    x, ids = toybox.render(spec), words.TOKENS(["a red circle", "a blue square"])
    optimizer = torch.optim.Adam(denoise.net.parameters(), 3e-3)
    batch = (x.repeat(8, 1, 1, 1, 1), ids.repeat(8, 1))
    for step in range(150):
        loss, _ = denoising_loss(denoise, batch, Generator().manual_seed(step), drop=0.1)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    noise, level = torch.randn(x.shape), torch.tensor(1.0)  # nothing but noise: only words can tell
    right, wrong = ((denoise(noise, level, told) - x).square().mean() for told in (ids, ids.flip(0)))
    assert right < 0.5 * wrong


def test_one_call_from_a_sentence_to_a_clip():
    prompt = "a red circle bounces"
    x = generate("toybox-moves", prompt, n=2, steps=2, seed=1)
    assert x.shape == (2, 3, 12, 32, 32) and x.abs().max() <= 1
    assert torch.equal(x, generate("toybox-moves", prompt, n=2, steps=2, seed=1))
    assert not torch.equal(x, generate("toybox-moves", prompt, n=2, steps=2, seed=2))
    assert not torch.equal(x, generate("toybox-moves", "a blue circle bounces", n=2, steps=2, seed=1))
    assert not torch.equal(x, generate("toybox-moves", prompt, n=2, steps=2, seed=1, w=1))
    assert generate("toybox-moves", prompt, n=1, steps=2, frames=20).shape == (1, 3, 20, 32, 32)
    assert generate("toybox-still", n=5, steps=2).shape == (5, 3, 32, 32)
    assert generate("fashion-unet", "bag", n=1, steps=2).shape == (1, 1, 28, 28)
    none, other = (generate("toybox-moves", p, n=2, steps=2, w=0, seed=1) for p in (prompt, "a green star rests"))
    assert torch.equal(none, other)  # w=0 hears no words


@pytest.mark.parametrize("w", [1.0, 3.0, 0.5])
def test_attention_maps_are_shares_of_each_word_and_change_nothing(w):
    seven = generate("toybox-moves", "a red circle bounces", n=7, steps=3, w=w, attention=True)
    assert torch.equal(seven.samples, generate("toybox-moves", "a red circle bounces", n=7, steps=3, w=w))
    assert seven.heat.shape == (7, 4, 12, 4, 4) and seven.words == [["a", "red", "circle", "bounces"]] * 7
    assert (seven.heat >= 0).all() and (seven.heat.sum(1) < 1).all()  # the rest is for the word always there
    assert (seven.heat.flatten(2).std(-1) > 0).all()
    still = generate("toybox-still", "a red circle", n=2, steps=2, attention=True)
    assert still.heat.shape == (2, 3, 1, 4, 4) and still.samples.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("toybox-moves", {"prompt": "a red circel bounces"}, "unknown word 'circel'.*circle"),
        ("toybox-moves", {"prompt": ""}, "the caption is empty"),
        ("toybox-moves", {"prompt": "a red"}, "expected a shape"),
        ("toybox-moves", {"prompt": "a small red circle"}, "never saw small; it knows .* medium or large"),
        ("toybox-moves", {"prompt": "a red circle orbits a blue star"}, "never saw orbits"),
        ("toybox-moves", {"prompt": "a star and a ring and a circle"}, "never saw 3 objects"),
        ("toybox-moves", {"prompt": "a star, lit from the left"}, "never saw light"),
        ("toybox-moves", {"prompt": "a star, the camera pans left"}, "never saw the camera"),
        ("toybox-moves", {"prompt": "a star, then a cut"}, "never saw a cut"),
        ("toybox-still", {"prompt": "a red circle bounces"}, "never saw bounces.*toybox-video"),
        ("toybox-moves", {"w": float("nan")}, "guidance weight w=nan"),
        ("toybox-moves", {"w": -1}, "guidance weight w=-1"),
        ("toybox-moves", {"w": 1e9}, "guidance weight w=1000000000"),
        ("toybox-moves", {"steps": 0}, "steps=0: expected a whole number from 1 to 1,000"),
        ("toybox-moves", {"steps": 10**6}, "steps=1000000"),
        ("toybox-moves", {"steps": 2.5}, "steps=2.5"),
        ("toybox-moves", {"n": 0}, "n=0"),
        ("toybox-moves", {"n": 500_000}, "n=500,000 of 12 frames would not fit into memory"),
        ("toybox-moves", {"w": 0, "attention": True}, "w=0 hears no words"),
        ("toybox-full", {"n": 100_000}, "n=100,000 of 12 frames would not fit"),
        ("toybox-moves", {"frames": 97}, "frames=97: expected a whole number from 1 to 96"),
        ("toybox-moves", {"frames": 10**9}, "frames=1000000000"),
        ("toybox-moves", {"seed": -1}, "seed=-1"),
        ("fashion-unet", {"prompt": "hat"}, "'hat': no such class"),
        ("fashion-unet", {"attention": True}, "reads no sentences: it takes no attention"),
        ("fashion-unet", {"frames": 12}, "reads no sentences: it takes no frames"),
        ("fashion-classifier", {}, "nothing to sample"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(name, options, message):
    with pytest.raises(ValueError, match=message):
        generate(name, **{"n": 1, "steps": 1} | options)


def test_the_extremes_still_answer():
    for options in ({"w": 0}, {"w": 1000}, {"steps": 1}):
        x = generate("toybox-moves", "a star", **{"n": 1, "steps": 2} | options)
        assert x.isfinite().all() and x.abs().max() <= 1


def test_ctrl_c_while_drawing_goes_through(monkeypatch):
    calls = []

    def stop(*args, **kw):
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(words, "videos", stop)
    assert main(["sample", "toybox-moves", "a star"]) == 130 and calls


# --- from the shell


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_a_sentence_becomes_a_file(tmp_path, capsys, suffix):
    path = tmp_path / "new" / f"ball{suffix}"
    assert main(["sample", "toybox-moves", "a red circle bounces", "-n", "2", "--steps", "2", "-o", str(path)]) == 0
    clip = files.read(path)
    # frames that repeat are one, shown for longer, in a gif and a webp
    assert (
        clip.frames.shape[0] == 3
        and clip.frames.shape[1] >= 2
        and "2 samples of toybox-moves" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a red circle", "-o", "ball.avi"], "-o ball.avi: expected a .png file, or for clips .mp4"),
        (["a red circle", "-o", "ball.png"], "makes clips: expected .mp4"),
        (["a red circle", "-o", "{folder}/x.mp4"], "x.mp4: this is a folder"),
        (["a red circle", "-o", "{folder}/file/ball.mp4"], "is a file, not a folder"),
        (["a red circel"], "unknown word 'circel'"),
        (["a red circle", "-w", "inf"], "guidance weight w=inf"),
        (["--", "a red circel"], "unknown word 'circel'"),
    ],
)
def test_the_shell_refuses_in_one_line(tmp_path, capsys, arguments, message):
    (tmp_path / "x.mp4").mkdir()
    (tmp_path / "file").write_text("")
    arguments = [word.format(folder=tmp_path) for word in arguments]
    assert main(["sample", "toybox-moves", "-n", "1", "--steps", "1", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.strip().splitlines()) == 1, err


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr("minidiff.files.os.replace", full)
    status = main(["sample", "toybox-moves", "a star", "-n", "1", "--steps", "1", "-o", str(tmp_path / "ball.mp4")])
    err = capsys.readouterr().err
    assert status == 1 and "No space left on device; make room" in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*ball*"))


# --- measured


def test_the_floor_is_whole_and_strangers_are_not(tmp_path):
    row = STILL
    metrics = row.measure(runs.load("toybox-still"), None, tmp_path)
    assert metrics["whole, true"]["value"] == 1 and metrics["colour, true"]["value"] == 1
    assert metrics["whole"]["value"] < 0.6  # a network that was never trained
    assert {"binding, unseen pairs", "binding, unseen pairs, true", "count", "place"} <= metrics.keys()
    assert not {"motion", "speed"} & metrics.keys()
    moving = MOVES.measure(runs.load("toybox-moves"), None, tmp_path)
    assert {"motion", "direction", "Frechet video distance", "acceleration error, true"} <= moving.keys()
    with pytest.raises(ValueError, match="n=100: expected 400"):
        row.measure(runs.load("toybox-still"), 100, tmp_path)


def test_shares_are_of_what_was_asked():
    sentences = ["a red circle at the left", "a blue square and a green star"]
    spec = toybox.stage(sentences, Generator().manual_seed(0), frames=1)
    scenes = [toybox.parse(s) for s in sentences]
    right, _ = words.shares(toybox.render(spec), scenes)
    assert right["whole"].tolist() == [1, 1] and right["place"].isnan().tolist() == [False, True]
    wrong, _ = words.shares(toybox.render(toybox.counterfactual(spec, "colour")), scenes)
    assert wrong["colour"].tolist() == [0, 1] and wrong["binding"].tolist() == [0, 0]  # colours have changed places
