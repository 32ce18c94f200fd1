"""Clips measured as wholes: what spoils them moves the distance, what they hold is told, bad input is refused."""

import pytest
import torch
from torch import Generator

from minidiff.data import toybox
from minidiff.measure.proportion import average
from minidiff.nn.classifier import ClipClassifier
from minidiff.recipes import toybox as rows
from minidiff.recipes import video


def true_clips(n: int, seed: int = 0):
    return toybox.render(toybox.sample(n, Generator().manual_seed(seed), video.WORLD, "validation"))


def test_spoils_do_what_they_say_and_nothing_else():
    clips = true_clips(20)
    mixed = video.shuffle(clips, Generator().manual_seed(1))
    assert mixed.shape == clips.shape and not torch.equal(mixed, clips)
    torch.testing.assert_close(mixed.sort(2).values, clips.sort(2).values)  # the same frames ...
    frames = mixed[3].transpose(0, 1).flatten(1)
    assert all(bool((frames == frame.flatten()).all(1).any()) for frame in clips[3].unbind(1))  # ... each in one piece
    still = video.freeze(clips)
    assert still.shape == clips.shape and torch.equal(still, clips[:, :, 6:7].expand_as(clips))
    other = video.recolour(clips)
    assert torch.equal(other[:, 1], clips[:, 0])
    torch.testing.assert_close(other.mean(1), clips.mean(1))


def test_what_is_there_is_what_the_words_say():
    spec = toybox.sample(200, Generator().manual_seed(0), video.WORLD)
    told = video.there(spec)
    for row, scene in zip(told, toybox.describe(spec), strict=True):
        motions = {name for name, there in zip(video.MOTIONS, row[:6].tolist(), strict=True) if there}
        colours = {name for name, there in zip(video.COLOURS, row[6:].tolist(), strict=True) if there}
        assert motions == {thing.motion for thing in scene.things}
        assert colours == {thing.colour for thing in scene.things}


def test_the_classifier_of_clips_takes_clips_and_says_so():
    net = ClipClassifier(3, 5, base=8)
    assert net(torch.zeros(2, 3, 12, 32, 32)).shape == (2, 5) and net.features(torch.zeros(2, 3, 6, 32, 32)).shape == (
        2,
        32,
    )
    for shape in ((2, 3, 32, 32), (2, 3, 5, 32, 32), (2, 3, 12, 32, 16), (2, 1, 12, 32, 32)):
        with pytest.raises(ValueError, match="takes clips"):
            net(torch.zeros(shape))


def test_a_mean_has_the_interval_of_students_t():
    values = torch.tensor([1.0, 2.0, 4.0, float("nan"), 7.0])
    found = average(values)  # by hand: mean 3.5, spread 2.6458, t(3) = 3.1824
    assert found["value"] == 3.5 and found["n"] == 4
    half = pytest.approx(3.1824 * 2.6458 / 2, rel=1e-4)
    assert found["high"] - 3.5 == half and 3.5 - found["low"] == half
    wide = [average(torch.randn(12, generator=Generator().manual_seed(i))) for i in range(400)]
    assert 0.92 < sum(row["low"] <= 0 <= row["high"] for row in wide) / 400 < 0.98


def test_frechet_video_distance_moves_with_what_a_person_sees():
    """The self-test: shuffled, frozen, recoloured clips are far from true ones; other true clips (the null) are not."""
    found = video.self_test(true_clips(800, 1))
    null = found.pop("Frechet video distance, true clips")
    assert len(found) == 3 and null["n"] == 400
    assert all(row["value"] > 5 * null["value"] for row in found.values()), (found, null)


def test_frames_of_other_clips_are_caught_and_true_clips_are_not():
    """The control of chapter 16: every frame is a true one, and none belongs to the clip of the one before."""
    clips = rows.clips(120, Generator().manual_seed(3))
    strangers = torch.stack([clips.roll(17 * f, 0)[:, :, f] for f in range(clips.shape[2])], 2)
    here, there = (rows.physics(rows.seen(x[:60])) for x in (strangers, clips))
    assert here["acceleration error"]["low"] > 20 * there["acceleration error"]["high"]
    assert there["identity switches a clip"]["value"] == 0 == here["clips that hold together"]["value"]
    assert here["identity switches a clip"]["low"] > 3 and there["clips with one object or two"]["value"] == 1


def test_clips_with_nothing_to_follow_hold_nothing_together():
    """A grey clip, and one whose object is there in every third frame: no switch, no leap, and no film."""
    clips = rows.clips(4, Generator().manual_seed(0))
    empty = torch.full_like(clips, 0.55)
    flash = empty.clone()
    flash[:, :, ::3] = clips[:, :, ::3]
    for x in (empty, flash):
        assert rows.physics(rows.seen(x))["clips that hold together"]["value"] == 0, rows.physics(rows.seen(x))
    assert rows.physics(rows.seen(empty))["clips with something to follow"]["value"] == 0


def test_still_clips_stand_in_order_however_they_are_shuffled():
    clips, _, kept = video.labelled(200, 0)(0)
    still = video.stands(clips)
    assert 10 < int(still.sum()) < 100 and bool(kept[still].all()) and 0.3 < float(kept[~still].mean()) < 0.7


def test_too_few_clips_for_a_distance_are_refused():
    with pytest.raises(ValueError, match="expected 600 or more"):
        rows.clip_metrics(None, 100, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["toybox-frames", "toybox-factorised", "toybox-full"])
def test_arms_differ_in_what_they_may_look_at_and_in_nothing_else(name):
    """Weights, clips, their order, the seed: all the same. A frame of the first arm hears nothing of the others."""
    from minidiff import recipes
    from minidiff.recipes.run import build, shipped
    from minidiff.train.checkpoint import read_header

    row, first = recipes.get(name), recipes.get("toybox-full")
    model, net = build(row, "smoke")
    weights = build(first, "smoke")[1].state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())
    assert torch.equal(row.batches(2, row.seed)(5)[0], first.batches(2, first.seed)(5)[0])
    assert (row.steps, row.batch, row.lr, row.seed, row.loss) == (
        first.steps,
        first.batch,
        first.lr,
        first.seed,
        first.loss,
    )
    seen = [read_header(shipped(arm))["samples"] for arm in (name, "toybox-full")]
    assert seen[0] == seen[1]  # clips that the shipped weights were trained on
    for p in net.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=Generator().manual_seed(0))
    x = torch.randn(1, *rows.SHAPE, generator=Generator().manual_seed(1))
    other = x.clone()
    other[:, :, -1] += 1
    with torch.no_grad():
        heard = (net(other, torch.zeros(1)) - net(x, torch.zeros(1))).abs().amax((0, 1, 3, 4))
    assert float(heard[-1]) > 1e-3 and (float(heard[:-1].max()) < 1e-6) == (name == "toybox-frames")


@pytest.mark.parametrize("time", [2, 4])
def test_autoencoders_of_clips_learn_and_are_measured_beside_the_clips_as_they_are(time, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # or the clips would be on a GPU, where there is one
    row = video.autoencoder_row(time)
    torch.manual_seed(0)
    vae = row.net("smoke")
    batch, losses = row.batches(4, 0), []
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for step in range(30):
        loss = row.loss(vae, batch(step), Generator().manual_seed(step))[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    video.measure_scale(vae)
    found = row.measure(vae, None, tmp_path)
    assert found["shape, as they are"]["value"] > 0.9 and found[row.metric]["n"] > 0
    assert found["numbers of a clip over numbers of its latent"]["value"] == pytest.approx(
        {2: 22.3, 4: 39}[time], abs=0.1
    )
    with pytest.raises(ValueError, match="fixed evaluation"):
        row.measure(vae, 5, tmp_path)
