"""Long measurements: they resume, they are marked, and what they measure sees what it is meant to see."""

import json
import re
from dataclasses import replace

import pytest
import torch

from minidiff import recipes, sweeps
from minidiff.cli import SWEEP_NAMES, main
from minidiff.data import fashion, toybox
from minidiff.data.toy import Mixture
from minidiff.files import root
from minidiff.measure.adherence import watch
from minidiff.nn.vae import VAE
from minidiff.predict import Denoiser, exact_denoiser
from minidiff.recipes.draw import copying, generate
from minidiff.recipes.run import seconds, train
from minidiff.sample import ddim, last
from minidiff.schedule import Betas, Linear, uniform_grid
from minidiff.sweeps import dit, images, latent, targets, unet, videos
from minidiff.sweeps.row import pack, unpack
from minidiff.train import checkpoint, flops


class Net(torch.nn.Module):
    """Answers 0, has a label, and counts its samples."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.label = torch.nn.Embedding(11, 1)
        self.label.null = 10
        self.heard = []

    def forward(self, x, ell, cond=None):
        self.heard.append(None if cond is None else cond.clone())
        return x * self.weight * (0.0 if cond is None else cond[:, None])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Outputs go to a fresh folder, runs are small."""
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("MINIDIFF_SCALE", "smoke")
    return tmp_path


def stops_after(batches):
    def sampler(*args, **kwargs):
        nonlocal batches
        batches -= 1
        if batches < 0:
            raise KeyboardInterrupt
        return ddim(*args, **kwargs)

    return sampler


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path):
    denoise = Denoiser(Net(), Linear(), "x0")
    whole = generate(denoise, 10, (2,), 3, size=4, sampler=ddim)
    with pytest.raises(KeyboardInterrupt):
        generate(denoise, 10, (2,), 3, size=4, sampler=stops_after(2), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "4-8.safetensors").write_bytes(b"cut off")  # a damaged file is made again
    again = generate(denoise, 10, (2,), 3, size=4, sampler=stops_after(2), folder=tmp_path)
    assert torch.equal(whole, again)


def test_generate_hands_each_sample_its_label_and_w():
    denoise, labels = Denoiser(Net(), Linear(), "x0"), torch.arange(10) % 7
    x = generate(denoise, 10, (2,), 1, size=4, labels=labels)
    noise = generate(denoise, 10, (2,), 1, size=4, labels=torch.ones(10, dtype=torch.long))
    torch.testing.assert_close(x, noise * labels[:, None])  # the batches get their own labels, in order
    guided = generate(denoise, 10, (2,), 1, size=4, labels=labels, w=3.0)
    torch.testing.assert_close(guided, noise * (10 + 3.0 * (labels - 10))[:, None])  # uncond is label 10, the null


def test_guidance_without_labels_is_refused():
    with pytest.raises(ValueError, match="nothing to guide by"):
        generate(Denoiser(Net(), Linear(), "x0"), 4, (2,), 1, w=7.0)


def test_rows_of_another_revision_are_not_taken_up(here, monkeypatch):
    measured = []
    sweep = sweeps.Sweep("a test", lambda: [{"seed": 0}], lambda seed: measured.append(1) or {"n": len(measured)})
    monkeypatch.setitem(sweeps.SWEEPS, "calls", sweep)
    for revision, n in (("abc1234", 1), ("abc1234", 1), ("def5678", 2)):
        monkeypatch.setenv("MINIDIFF_REV", revision)
        assert list(sweeps.run("calls")) == [{"seed": 0, "n": n}]


def test_copies_are_seen():
    train, test = (fashion.load(split)[0][:300] for split in ("train", "test"))
    found = copying(train, test, train)
    value = {name: row["value"] for name, row in found.items()}
    prefix = "distance to the nearest training image, "
    assert value[prefix + "median"] == 0 < value[prefix + "smallest, held-out"]
    honest = copying(test, test, train)
    for name in ("smallest", "1% quantile", "median"):
        assert honest[prefix + name] == honest[f"{prefix}{name}, held-out"]


def test_a_sweep_resumes_and_measures_nothing_twice(here, monkeypatch):
    done = []

    def measure(k):
        if k == 2 and len(done) == 2:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(k)
        return {"value": 10 * k, "n": 5}

    monkeypatch.setitem(sweeps.SWEEPS, "calls", sweeps.Sweep("a test", lambda: [{"k": k} for k in range(4)], measure))
    with pytest.raises(KeyboardInterrupt):
        list(sweeps.run("calls"))
    rows = list(sweeps.run("calls"))
    assert done == [0, 1, "stopped", 2, 3] and rows == [{"k": k, "value": 10 * k, "n": 5} for k in range(4)]


def test_a_recorded_sweep_says_where_it_comes_from(here, monkeypatch):
    (here / "data").mkdir()
    (here / "data" / "SHA256SUMS").write_text("")
    monkeypatch.setenv("MINIDIFF_ROOT", str(here))
    monkeypatch.setitem(
        sweeps.SWEEPS, "calls", sweeps.Sweep("a test", lambda: [{"seed": 0}, {"seed": 1}], lambda seed: {"n": 1000})
    )
    with pytest.raises(ValueError, match="smoke scale"):
        sweeps.record("calls")
    monkeypatch.setenv("MINIDIFF_SCALE", "laptop")
    path = sweeps.record("calls")
    facts = json.loads(path.read_text())
    assert facts["command"] == "minidiff evaluate calls --record" and facts["scale"] == "laptop"
    kept = sweeps.recorded("calls")
    assert kept.rows == facts["rows"] and kept.mark.startswith("recorded: cpu")
    assert facts["date"] in kept.mark and "n = 1,000 a point, 2 seeds" in kept.mark
    assert kept.where(seed=1) == [{"seed": 1, "n": 1000}]
    with pytest.raises(ValueError, match="no row with"):
        kept.where(seed=7)
    with pytest.raises(KeyError, match="no sweep 'nonsense'; there are: targets"):
        sweeps.recorded("nonsense")


@pytest.mark.parametrize("path", sorted((root() / "data" / "results").glob("*.json")), ids=lambda p: p.stem)
def test_shipped_results_hold_what_was_measured(path, monkeypatch):
    """Every setting of the sweep, or every metric of the row, not at smoke scale, with the command that made it."""
    facts = json.loads(path.read_text())
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", facts["revision"]) and facts["date"]  # no word, no placeholder
    if path.stem not in sweeps.SWEEPS | recipes.RECIPES:
        assert facts["command"].startswith("python data/build/") and all(row["n"] >= 1000 for row in facts["rows"])
        return
    assert facts["command"].startswith(f"minidiff evaluate {path.stem}")
    if path.stem in sweeps.SWEEPS:
        monkeypatch.setenv("MINIDIFF_SCALE", facts["scale"])
        settings = sweeps.get(path.stem).settings()
        assert facts["scale"] != "smoke" and len(facts["rows"]) == len(settings)
        assert all(setting.items() <= row.items() for setting, row in zip(settings, facts["rows"], strict=True))
        numbers = [tuple(v for k, v in row.items() if k not in settings[0]) for row in facts["rows"]]
        assert len(set(numbers)) > 0.9 * len(numbers)  # found once: a file of 90 rows with 18 different ones
    else:
        assert recipes.get(path.stem).metric in facts["metrics"]


def test_the_sheet_and_its_report():
    """The exact denoiser, which knows the sheet, draws on it; points off it are seen at their distance."""
    frame = targets.sheet(16)
    torch.testing.assert_close(frame @ frame.T, 8 * torch.eye(2), atol=1e-4, rtol=0)
    flat = targets.PLANE.sample(500, torch.Generator().manual_seed(0))
    report = targets.sheet_report(flat @ frame, frame)
    assert report["off_sheet"] < 1e-5 and report["in_mode"] > 0.98 and report["n"] == 500
    normal = torch.linalg.qr(torch.cat([frame.T, torch.randn(16, 1, generator=torch.Generator().manual_seed(1))], 1)).Q
    moved = targets.sheet_report(flat @ frame + 0.7 * 8**0.5 * normal[:, 2], frame)
    assert abs(moved["off_sheet"] - 0.7) < 1e-4
    assert targets.sheet_report(3 * torch.randn(500, 2) @ frame, frame)["in_mode"] < 0.3


def test_what_is_wrong_in_a_clip():
    """True clips have nothing wrong; each planted mistake is called by its name, and by no other's."""
    spec = toybox.sample(6, torch.Generator().manual_seed(3), videos.WORLD)
    scenes = [toybox.short(scene) for scene in toybox.describe(spec)]

    def share(clips, scenes):
        told = [videos.wrongs(one, scene) for one, scene in zip(watch(clips), scenes, strict=True)]
        return {kind: sum(one[kind] for one in told) / len(told) for kind in videos.KINDS}

    assert set(share(toybox.render(spec), scenes).values()) == {0.0}
    planted = torch.Generator().manual_seed(0)
    for mistake, kind in {"double": "twice", "recolour": "recoloured", "teleport": "unknown"}.items():
        found = share(toybox.plant(spec, mistake, planted), scenes)
        assert found.pop(kind) > 0.8 and set(found.values()) == {0.0}, mistake
    two = toybox.sample(6, torch.Generator().manual_seed(4), replace(videos.WORLD, objects=(2, 2)))
    both = [toybox.short(scene) for scene in toybox.describe(two)]
    alone = replace(two, shape=torch.where(torch.arange(2) == 0, two.shape, -1))
    left = torch.cat([toybox.render(two)[:, :, :6], toybox.render(alone)[:, :, 6:]], 2)
    assert share(left, both)["vanishes"] > 0.8 and share(toybox.render(alone), both)["missing"] == 1
    at = toybox.places(two)
    at[:, :, 1] = at[:, :, 0] + torch.tensor([0.08, 0.0])
    assert share(toybox.render(two, at=at), both)["touching"] > 0.8
    found = share(toybox.render(spec), [replace(scene, things=scene.things[:1]) for scene in scenes])
    pairs = sum(len(scene.things) == 2 for scene in scenes) / len(scenes)
    assert pairs and found["stranger"] == pairs and found["missing"] == found["twice"] == 0
    found = share(toybox.render(spec), [replace(s, things=(*s.things, toybox.Thing("pink", "star"))) for s in scenes])
    assert found["missing"] == 1 and found["stranger"] == 0


def test_every_sweep_can_run(here):
    """One setting of each, at smoke scale."""
    assert set(SWEEP_NAMES) == set(sweeps.SWEEPS)
    with pytest.raises(ValueError, match="holds 0 moments of a run: minidiff train fashion-unet first"):
        unet.state(1)
    for name in ("fashion-unet", "toybox-still", "toybox-video"):
        list(train(name, "smoke"))
    for name in SWEEP_NAMES:
        setting = sweeps.get(name).settings()[0]
        row = sweeps.get(name).measure(**setting)
        numbers = [value for key, value in row.items() if key != "pixels"]
        assert row["n"] > 0 and all(isinstance(value, int | float) for value in numbers)
    assert videos.again(1)["wrong_value"] == 1  # the last step has no chance in it: the same clips
    list(train("emoji-latent", "smoke"))
    row = latent.race("emoji-latent", 1)
    assert row["samples"] == 16 and row["seconds"] > 0 and unpack(row["pixels"]).shape == (8, 3, 64, 64)


def test_latents_of_another_width_are_the_same_pictures():
    vae = VAE(3, latent=2, down=8, base=8)
    wide, z = latent.Widened(vae, 5.5), torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(wide.decode(5.5 * z), vae.decode(z))
    assert (wide.latent, wide.down) == (2, 8)


def test_seconds_of_a_run_up_to_a_step(tmp_path):
    """Two stretches of 100 samples, at 50 and at 25 a second: 2 s, then 4 s more."""
    lines = [{"step": 5, "samples": 100, "samples_per_s": 50}, {"step": 10, "samples": 200, "samples_per_s": 25}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [seconds(tmp_path / "log.jsonl", until) for until in (4, 5, 10)] == [0, 2, 6]
    assert seconds(tmp_path / "log.jsonl") == 6


def test_a_moment_made_for_another_autoencoder_is_refused(here):
    list(train("emoji-latent", "smoke"))
    path = min((here / "runs" / "emoji-latent-smoke" / "states").glob("*"), key=lambda p: int(p.stem))
    tensors, header = checkpoint.read(path)
    header.pop("sha256")
    checkpoint.write(path, tensors, header | {"needs": {"emoji-vae": "0" * 12}})
    with pytest.raises(checkpoint.CheckpointError, match="trained with emoji-vae 000000000000, and here is"):
        unet.at_moment("emoji-latent", 1)


def test_operations_are_counted_for_one_picture():
    """A 1x1 convolution of c channels on h x w cells: c c h w multiply-adds, two operations each."""
    net = torch.nn.Conv2d(3, 3, 1)
    net.forward = lambda x, ell, cond: torch.nn.Conv2d.forward(net, x)  # type: ignore[method-assign]
    assert latent.gflop(Denoiser(net, Linear())) == pytest.approx(2 * 9 * 64 * 64 / 1e9)


@pytest.mark.parametrize(
    "words, message",
    [
        ("targets --ship", "is a sweep"),
        ("toy-mlp -n 5", "fixed evaluation"),
        ("fashion-unet -n 100", "expected 1,120"),
        ("fashion-unet --record --checkpoint x", "--record is for the shipped weights"),
        ("nonsense", "no recipe 'nonsense'"),
    ],
)
def test_cli_refuses_what_makes_no_sense(capsys, words, message):
    assert main(["evaluate", *words.split()]) == 1
    assert message in capsys.readouterr().err


def test_one_call_of_every_solver(here):
    exact = exact_denoiser(targets.PLANE, Linear())
    for solver in images.SOLVERS.values():
        x = torch.randn(4, 2)
        *_, (t, end, _) = solver(exact, x, torch.tensor([1.0, 0.0]), Linear())
        assert torch.isfinite(end).all() and t == 0


def test_the_small_variance_is_ddims_and_the_large_one_keeps_unit_noise():
    """Small: equal to `ddim(eta=1)`. Large: where the data is unit noise, every level keeps variance 1 in few steps."""
    source, table = Mixture(torch.zeros(1, 1), 1.0), Betas()
    exact = exact_denoiser(source, table)
    x, grid = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)), uniform_grid(4)
    ends = {}
    for large in (False, True):
        ends[large] = last(images.ancestral(exact, x, grid, large=large, generator=torch.Generator().manual_seed(1)))
    by_ddim = last(ddim(exact, x, torch.tensor([1.0, 0.75, 0.5]), eta=1, generator=torch.Generator().manual_seed(1)))
    walk = images.ancestral(exact, x, torch.tensor([1.0, 0.75, 0.5]), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(last(walk), by_ddim, rtol=1e-4, atol=1e-5)
    *_, before, _ = images.ancestral(exact, x, grid, large=True, generator=torch.Generator().manual_seed(1))
    assert abs(float(before[1].var()) - 1) < 0.04
    *_, before, _ = images.ancestral(exact, x, grid, generator=torch.Generator().manual_seed(1))
    assert float(before[1].var()) < 0.8  # the control


def test_pictures_survive_a_row():
    x = torch.rand(3, 1, 5, 4) * 2 - 1
    assert (unpack(pack(x)) - x).abs().max() < 1 / 254 and unpack(pack(x)).shape == x.shape


def test_each_part_left_out_is_really_gone():
    """What a part is for, and that it is gone without it; the whole network is the control of each."""
    image, dark, levels = torch.randn(2, 1, 28, 28), torch.zeros(2, 1, 28, 28), torch.tensor([-3.0, 3.0])

    def net(part):
        made = unet.fresh_unet(**unet.SHAPE)
        unet.PARTS[part](made)
        for p in made.parameters():
            p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        return made

    whole = net("nothing left out")
    hears = [(n(image[:1], levels[:1]) - n(image[:1], levels[1:])).abs().max() for n in (whole, net("no noise level"))]
    assert hears[0] > 1e-3 and hears[1] == 0
    cut, seen = net("no bridges"), []
    cut.up[-1].norm1.register_forward_hook(lambda m, i, o: seen.append(i[0]))
    cut(image, levels)
    assert (seen[0][:, 32:] == 0).all() and (seen[0][:, :32] != 0).any()
    flat, seen = net("no halvings"), []
    flat.mid[0].register_forward_hook(lambda m, i, o: seen.append(o.shape[-1]))
    whole.mid[0].register_forward_hook(lambda m, i, o: seen.append(o.shape[-1]))
    assert flat(image, levels).shape == image.shape and whole(image, levels).shape == image.shape and seen == [14, 4]
    summed = net("no residual sums")
    assert summed(image, levels).shape == image.shape
    block, x = summed.down[0], torch.randn(2, 32, 14, 14)
    context = torch.zeros(2, 128)
    with torch.no_grad():
        for p in block.conv2.parameters():
            p.zero_()
    assert block(x, context).abs().max() < 1e-5 and whole.down[0](x, context).abs().max() > 0.1
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in net("no normalisation").modules())
    assert net("no normalisation")(dark, levels).isfinite().all()


def test_one_call_and_a_guided_one_are_enough_for_a_picture():
    """A walk of one step is one answer of the denoiser; guided, it is the guided answer."""
    denoise, labels = Denoiser(Net(), Linear(), "x0"), torch.arange(4)
    noise = generate(denoise, 4, (2,), 1, labels=torch.ones(4, dtype=torch.long))
    for w in (1.0, 2.0):
        x = generate(denoise, 4, (2,), 1, labels=labels, w=w)
        torch.testing.assert_close(x, noise * (10 + w * (labels - 10))[:, None])
    held = generate(denoise, 4, (2,), 1, labels=labels, w=2.0, interval=(0.0, 0.5))  # its only level is t = 1
    torch.testing.assert_close(held, noise * labels[:, None])


def test_ways_to_tell_a_transformer():
    """Same weights, four ways: who hears the level, who begins as the identity, and all of one size."""
    x, label = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 4, 10])
    low, high = torch.full((3,), -4.0), torch.full((3,), 4.0)
    nets = {name: dit.seeded(make, 0) for name, make in dit.TELLING.items()}
    assert len({sum(p.numel() for p in net.parameters()) for net in nets.values()}) == 1
    for name, net in nets.items():
        torch.nn.init.normal_(net.out.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        for p in net.parameters():
            p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        hears = not torch.allclose(net(x, low, label), net(x, high, label), atol=1e-5)
        assert hears == (name not in ("only the class", "nothing")), name
        knows = not torch.allclose(net(x, low, label), net(x, low, label.flip(0)), atol=1e-5)
        assert knows == (name != "nothing"), name
    h, told = torch.randn(1, 1, 4, 128), torch.randn(1, 1, 128)
    fresh = {name: dit.seeded(make, 0).layers()[0](h, told, None) for name, make in dit.TELLING.items()}
    assert torch.equal(fresh["adaLN-Zero"], h) and not torch.allclose(fresh["adaLN, gates open"], h)
    torch.testing.assert_close(fresh["added to the tokens"], h + told)
    assert torch.equal(fresh["nothing"], h)


def test_rivals_get_equal_operations():
    """A training has as many multiply-adds for every network, to within one step of 32 images."""
    for make in dit.RIVALS.values():
        cost = 3 * 32 * sum(flops.of(make(), 1, 28, 28).values())
        steps = round(dit.BUDGET / cost)
        assert abs(steps * cost - dit.BUDGET) <= cost / 2 and 800 < steps < 2000
