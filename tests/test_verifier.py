"""The verifier: what is rendered is seen again; what is planted is seen by the figure that should, and only by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Generator

from minidiff.data.toybox import Thing, describe, parse, render, sample, short
from minidiff.data.toybox import motion as laws
from minidiff.data.toybox.plan import World
from minidiff.data.toybox.plant import MISTAKES, plant
from minidiff.data.toybox.spec import COLOURS, SHAPES
from minidiff.measure import tracks
from minidiff.measure.adherence import grade, matched, watch


def seed(n: int) -> Generator:
    return Generator().manual_seed(n)


def share(grades: list[dict[str, float]], name: str) -> float:
    return float(np.mean([g[name] for g in grades if name in g]))


@pytest.fixture(scope="module")
def true():
    """1,000 random specs at 32x32 and what is seen of them; computed once."""
    spec = sample(1000, seed(21))
    return spec, watch(render(spec))


def test_a_thousand_random_specs_are_seen_as_they_are(true):
    spec, seen = true
    scenes = describe(spec)
    grades = [grade(s, scene) for s, scene in zip(seen, scenes, strict=True)]
    floors = {"count": 0.999, "tracks": 1.0, "colour": 0.999, "shape": 0.995, "size": 0.995, "binding": 0.995,
              "motion": 0.98, "direction": 0.985, "speed": 0.99, "place": 0.99, "light": 0.97, "camera": 0.995,
              "cut": 0.995, "whole": 0.96}  # fmt: skip
    found = {name: share(grades, name) for name in floors}
    assert all(found[name] >= floor for name, floor in floors.items()), found
    others = [grade(s, scene) for s, scene in zip(seen, scenes[1:] + scenes[:1], strict=True)]
    control = {name: share(others, name) for name in floors}  # graded against the next clip's scene
    assert control["binding"] < 0.1 and control["colour"] < 0.35 and control["motion"] < 0.5, control
    assert sum(s.physics["switches"] for s in seen) == 0
    assert np.mean([s.physics["leaps"] > 0 for s in seen]) < 0.01
    assert np.nanmean([s.physics["kept"] for s in seen]) > 0.99


def test_captions_are_seen_as_they_were_said(true):
    spec, seen = true
    told = [short(scene) for scene in describe(spec)]
    grades = [grade(s, scene) for s, scene in zip(seen, told, strict=True)]
    assert share(grades, "whole") > 0.97 and not any("size" in g or "place" in g for g in grades)


@pytest.mark.parametrize("height, centre, colour, shape", [(32, 0.06, 0.995, 0.97), (64, 0.04, 0.995, 0.995)])
def test_every_sighting_is_where_the_spec_says(height, centre, colour, shape):
    spec = sample(150, seed(22))
    where, edge = laws.places(spec), laws.camera(spec, torch.arange(12.0))
    off, hits = [], []
    for clip, view in enumerate(tracks.look(render(spec, height))):
        for track in view.tracks:
            first = track.good.argmax()
            frame = int(track.frames[first])
            at = where[clip, :, :, 0] - edge[clip, :, None], where[clip, :, :, 1]
            truth = torch.stack(at, -1).numpy()  # (F, N, 2), in the picture
            n = int(
                np.linalg.norm(truth[frame] - track.places[first], axis=1)[
                    : int((spec.shape[clip] >= 0).sum())
                ].argmin()
            )
            off += list(np.linalg.norm(truth[track.frames, n] - track.places, axis=1)[track.whole] * height)
            hits.append(
                (
                    tuple(COLOURS)[int(spec.colour[clip, n])] == track.colour,
                    tuple(SHAPES)[int(spec.shape[clip, n])] == track.shape,
                )
            )
            assert abs(track.radius / float(spec.radius[clip, n]) - 1) < 0.04
    right = np.mean(hits, 0)
    assert len(off) > 2000 and np.mean(off) < centre and right[0] >= colour and right[1] >= shape, (np.mean(off), right)


def figures(clips, scenes) -> dict[str, np.ndarray]:
    """Each figure of each clip, worse is larger: what a planted mistake is to move."""
    seen = watch(clips)
    grades = [grade(s, scene) for s, scene in zip(seen, scenes, strict=True)]
    wrong = {name: np.array([1 - g[name] for g in grades]) for name in ("count", "colour", "motion", "direction")}
    physics = {
        name: np.nan_to_num(np.array([s.physics[name] for s in seen]))
        for name in ("jitter", "speed", "switches", "gravity")
    }
    return wrong | {
        "jitter": (physics["jitter"] > 0.01).astype(float),
        "still": (physics["speed"] < 0.004).astype(float),
        "switches": (physics["switches"] > 0).astype(float),
        "gravity": (physics["gravity"] < 0).astype(float),
    }


SEES = {  # who must see a mistake, and who else may (what is shuffled or frozen moves by no law that was asked)
    "recolour": ({"switches"}, set()),
    "freeze": ({"still", "motion", "direction"}, set()),
    "shuffle": ({"jitter", "motion", "direction"}, set()),
    "reversed gravity": ({"gravity"}, set()),
    "double": ({"count"}, set()),
    "teleport": ({"jitter"}, {"motion", "direction"}),
}


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_each_mistake_is_seen_by_the_figure_that_should_see_it_and_only_by_it(mistake):
    spec = sample(60, seed(23), World((1, 1), ("bounces",), lit=0, pans=0, cuts=0))
    clips = render(spec) if mistake is None else plant(spec, mistake, seed(24))
    found = {name: float(value.mean()) for name, value in figures(clips, describe(spec)).items()}
    must, may = SEES[mistake] if mistake else (set(), set())
    assert all(found[name] >= 0.95 for name in must), found
    assert all(value <= 0.05 for name, value in found.items() if name not in must | may), found


def test_gravity_restitution_and_momentum_come_out_as_they_went_in():
    for height, close in ((32, 0.015), (64, 0.01)):
        spec = sample(120, seed(25), World((1, 1), ("bounces",), lit=0))
        seen = watch(render(spec, height))
        g = np.array([s.physics["gravity"] for s in seen]) / spec.gravity.numpy() - 1
        e = np.array([s.physics["restitution"] for s in seen]) - spec.restitution.numpy()
        assert np.isfinite(g).mean() > 0.98 and np.median(np.abs(g)) < close and np.nanmedian(np.abs(e)) < 0.01
    pairs = sample(120, seed(26), World((2, 2), ("collides",), lit=0))
    seen = watch(render(pairs, 64))
    lost = np.array([s.physics["momentum"] for s in seen])
    assert np.isfinite(lost).mean() > 0.9 and np.nanmedian(lost) < 0.02
    assert abs(np.nanmedian([s.physics["energy"] for s in seen])) < 0.03
    assert np.max([s.physics["overlap"] for s in seen]) < 0.05
    apart = torch.tensor([[0.3, 0.4], [0.7, 0.4]]).expand(len(pairs), 12, 2, 2)
    deep = torch.tensor([[0.45, 0.4], [0.55, 0.4]]).expand(len(pairs), 12, 2, 2)
    inside = [
        np.median([s.physics["overlap"] for s in watch(render(pairs[:40], 64, at=at[:40]))]) for at in (apart, deep)
    ]
    assert inside[0] == 0 and inside[1] > 0.1  # the control: two that go into one another


def test_the_light_is_found_where_it_is_and_nowhere_else():
    lit = sample(100, seed(27), World((1, 3), ("rests", "drifts"), lit=1, pans=0, cuts=0))
    seen = watch(render(lit))
    off = np.abs(np.array([s.physics["light"] for s in seen]) - lit.light.numpy())
    assert np.isfinite(off).mean() > 0.97 and np.nanmedian(off) < 0.03
    dark = watch(render(sample(100, seed(28), World((1, 3), ("rests", "drifts"), lit=0, pans=0, cuts=0))))
    assert np.mean([s.scene.light == "none" for s in dark]) > 0.97


def test_what_comes_out_from_behind_a_wall_must_be_what_went_in():
    spec = sample(60, seed(29), World((1, 1), ("passes",), lit=0))
    clips, other = render(spec), render(replace(spec, colour=(spec.colour + 3) % 8))
    swapped = torch.cat([clips[:, :, :6], other[:, :, 6:]], 2)
    same, changed = ([s.physics["kept"] for s in watch(x)] for x in (clips, swapped))
    assert np.nanmean(same) > 0.98 and np.nanmean(changed) < 0.05 and np.isfinite(changed).mean() > 0.95


@pytest.mark.parametrize("spoil", ["blur", "noise"])
def test_blurred_and_noisy_clips_are_still_seen(spoil):
    spec = sample(120, seed(30), "two")
    clips = render(spec, 64)
    if spoil == "blur":
        clips = torch.from_numpy(gaussian_filter(clips.numpy(), (0, 0, 0, 1, 1)))
    else:
        clips = clips + 0.1 * torch.randn(clips.shape, generator=seed(31))  # 0.05 of the range
    grades = [grade(s, scene) for s, scene in zip(watch(clips), describe(spec), strict=True)]
    found = {name: share(grades, name) for name in ("count", "colour", "shape", "motion", "tracks")}
    assert found["colour"] > 0.97 and found["shape"] > 0.93 and found["count"] > 0.93 and found["tracks"] > 0.97, found


def test_a_still_is_seen_and_says_nothing_of_motion():
    spec = sample(60, seed(32), "full", frames=1)
    seen = watch(render(spec))
    grades = [grade(s, scene) for s, scene in zip(seen, describe(spec), strict=True)]
    assert share(grades, "binding") > 0.97 and share(grades, "count") > 0.97
    assert all(thing.motion is None for s in seen for thing in s.scene.things)


def test_a_world_without_objects_has_no_tracks_and_fails_all_that_was_asked():
    asked = parse("a red circle drifts left")
    for clip in (torch.zeros(1, 3, 12, 32, 32), torch.ones(1, 3, 2, 16, 48), torch.zeros(1, 3, 1, 32, 32)):
        seen = watch(clip)[0]
        grades = grade(seen, asked)
        assert grades["count"] == grades.get("motion", 0) == grades["binding"] == 0 and np.isnan(
            seen.physics["gravity"]
        )
    noise = watch(2 * torch.rand(2, 3, 12, 32, 32, generator=seed(1)) - 1)
    assert all(grade(seen, asked)["count"] == 0 and seen.physics["jitter"] > 0.01 for seen in noise)
    empty = watch(torch.zeros(1, 3, 12, 32, 32))[0]
    assert grade(empty, asked)["tracks"] == 0 and empty.physics["speed"] != empty.physics["speed"]


def test_each_object_stands_for_one_and_no_more():
    red, circle = Thing(colour="red"), Thing(shape="circle")
    there = (Thing("red", "circle"), Thing("red", "square"))
    assert matched((red, circle), there, ("colour", "shape")) == 1.0  # found once: the greedy choice gave a half
    assert matched((Thing("red", "circle"),) * 2, there, ("colour", "shape")) == 0.5
    assert matched((red,), (), ("colour",)) == 0.0
    crowd = watch(2 * torch.rand(2, 3, 12, 17, 48, generator=seed(2)) - 1)
    assert all(max(s.view.counts) <= 12 for s in crowd)
    assert all(grade(s, parse("a red circle"))["whole"] <= 1 / len(s.scene.things) for s in crowd)


@pytest.mark.parametrize(
    "world, frames, aspect, floor", [("two", 24, 1.0, 0.9), ("full", 12, 0.5, 0.9), ("full", 12, 2.0, 0.97)]
)
def test_longer_and_other_shapes_of_clips_are_seen_too(world, frames, aspect, floor):
    spec = sample(60, seed(34), world, frames=frames, aspect=aspect)
    grades = [grade(s, scene) for s, scene in zip(watch(render(spec, 64)), describe(spec), strict=True)]
    found = {name: share(grades, name) for name in ("motion", "direction", "colour", "shape", "count", "size")}
    assert min(found.values()) > floor, found


def test_what_cannot_be_told_is_not_graded():
    spec = sample(4, seed(35), "two", frames=3)
    marks = grade(watch(render(spec, 16))[0], describe(spec)[0])
    assert not {"motion", "direction", "speed", "light"} & set(marks) and "colour" in marks


def test_what_is_no_clip_is_refused():
    for wrong in (
        torch.zeros(3, 12, 32, 32),
        torch.zeros(1, 1, 12, 32, 32),
        torch.zeros(1, 3, 0, 32, 32),
        torch.zeros(1, 3, 4, 8, 8),
    ):
        with pytest.raises(ValueError, match="expected .B, 3, F, H, W."):
            watch(wrong)
    bad = torch.zeros(2, 3, 4, 32, 32)
    bad[1, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="clip 1 has values that are not finite"):
        watch(bad)
    with pytest.raises(ValueError, match="mistake='melt': expected one of recolour"):
        plant(sample(1, seed(1), "one"), "melt", seed(1))
    with pytest.raises(ValueError, match="nothing that bounces"):
        plant(sample(1, seed(1), "one"), "reversed gravity", seed(1))
    still = sample(8, seed(1), World((1, 1), ("rests",), lit=0, pans=0, cuts=0))
    for mistake in ("freeze", "shuffle"):
        with pytest.raises(ValueError, match=f"{mistake}: nothing moves in clip 0"):
            plant(still, mistake, seed(1))
    with pytest.raises(ValueError, match="frames=1: a mistake needs time"):
        plant(sample(1, seed(1), "one", frames=1), "freeze", seed(1))
