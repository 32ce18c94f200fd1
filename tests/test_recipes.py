"""Recipes and the command line: every row trains, loads, samples and is measured, and what ships keeps its word."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from minidiff import recipes
from minidiff.cli import main
from minidiff.data.fashion import NAMES
from minidiff.files import root
from minidiff.measure.proportion import share
from minidiff.nn.mlp import MLP
from minidiff.outfile import picture
from minidiff.predict import Denoiser
from minidiff.recipes import keep
from minidiff.recipes import run as runs
from minidiff.recipes.draw import generate, labels_of
from minidiff.schedule import Linear
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError
from minidiff.train.fit import denoising_loss, fit

HEADER = {
    "recipe",
    "scale",
    "settings",
    "steps",
    "batch",
    "samples",
    "seconds",
    "device",
    "revision",
    "date",
    "parameters",
}
CHECKPOINTS = sorted((root() / "data" / "checkpoints").glob("*.safetensors"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    """All rows, trained at smoke scale once: name -> path."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MINIDIFF_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
    paths = {}
    for name in recipes.RECIPES:
        *_, paths[name] = runs.train(name, "smoke")
    patch.undo()
    return paths


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_trains_and_loads(trained, name):
    header = checkpoint.read_header(trained[name])
    assert HEADER <= header.keys() and header["recipe"] == name and header["scale"] == "smoke"
    model = runs.load(name, trained[name])
    net = getattr(model, "net", model)
    assert not net.training and all(p.dtype == torch.float32 for p in net.parameters())
    kept = checkpoint.read(trained[name])[0]
    assert all(v.dtype == torch.bfloat16 for v in kept.values())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_is_measured(trained, name):
    metrics = runs.evaluate(name, trained[name])
    assert recipes.get(name).metric in metrics
    assert all(row["n"] > 0 and row["value"] == row["value"] for row in metrics.values())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_ships_with_an_honest_header(name):
    path = runs.shipped(name)
    row, header = recipes.get(name), checkpoint.read(path)[1]
    assert HEADER <= header.keys() and header["recipe"] == name and header["scale"] in ("laptop", "gpu")
    assert path.stat().st_size <= row.budget and path.stat().st_size <= 15_000_000
    metric = header["metrics"][row.metric]
    assert metric["n"] >= row.n >= 800 and metric["value"] == metric["value"]
    drawn = header["steps"] * header["batch"]
    if row.reads:  # a batch of stills is eight times as large as one of clips
        moving = row.batches.keywords["moving"]  # pyright: ignore[reportFunctionMemberAccess]
        drawn = sum(header["batch"] * (1 if step % 6 < moving else 8) for step in range(header["steps"]))
    assert header["samples"] == drawn + header.get("start", {}).get("samples", 0)
    runs.load(name)


def test_no_stray_checkpoint_and_all_within_budget():
    assert {p.stem for p in CHECKPOINTS} == set(recipes.RECIPES)
    assert sum(p.stat().st_size for p in CHECKPOINTS) < 110e6
    data = [p for p in (root() / "data").rglob("*") if p.is_file() and p not in CHECKPOINTS]
    assert sum(p.stat().st_size for p in data) < 90e6 and max(p.stat().st_size for p in data) < 15e6


def test_the_shipped_classifier_deserves_its_role():
    """Its accuracy on the first 1,000 test images agrees with the header, whose value reaches the target."""
    row, header = recipes.get("fashion-classifier"), checkpoint.read_header(runs.shipped("fashion-classifier"))
    assert row.meets(header["metrics"]["test accuracy"]["value"])
    from minidiff.data import fashion

    images, labels = (v[:1000] for v in fashion.load("test"))
    with torch.no_grad():
        hits = runs.load("fashion-classifier")(images).argmax(1) == labels
    assert abs(hits.float().mean().item() - header["metrics"]["test accuracy"]["value"]) < 0.03


def test_wilson_interval_by_hand():
    result = share(torch.arange(100) < 90)
    centre, half = (0.9 + 1.92073 / 100) / (1 + 3.84146 / 100), 1.95996 / 1.0384146 * (0.0009 + 3.84146 / 40000) ** 0.5
    assert (result["value"], result["n"]) == (0.9, 100)
    assert (result["low"], result["high"]) == pytest.approx((centre - half, centre + half), abs=1e-4)


@pytest.fixture
def candidate(trained, tmp_path, monkeypatch):
    """A checkpoint of toy-mlp that claims laptop scale; what is shipped goes to a fresh folder."""
    path = tmp_path / "new.safetensors"
    tensors, header = checkpoint.read(trained["toy-mlp"])
    checkpoint.write(path, tensors, header | {"scale": "laptop"})
    monkeypatch.setattr(runs, "shipped", lambda name: tmp_path / f"{name}.safetensors")
    monkeypatch.setenv("MINIDIFF_SCALE", "laptop")
    return path


def in_mode(value: float, n: int = 10_000) -> dict:
    return {"share in mode": {"value": value, "n": n}}


def test_shipping_only_replaces_by_better(candidate, trained, tmp_path):
    assert keep.ship(candidate, in_mode(0.5))[0]
    assert not keep.ship(candidate, in_mode(0.4))[0] and not keep.ship(candidate, in_mode(0.5))[0]
    assert checkpoint.read_header(tmp_path / "toy-mlp.safetensors")["metrics"] == in_mode(0.5)
    with pytest.raises(ValueError, match="smoke scale"):
        keep.ship(trained["toy-mlp"], in_mode(0.9))


@pytest.mark.parametrize(
    "value, n, message",
    [
        (0.99, 200, "measured at n=200, and counts from 10,000 on"),  # what smoke scale measures
        (float("nan"), 10_000, "is nan: not kept"),
        (float("inf"), 10_000, "is inf: not kept"),
        (0.99, 20_000, "the shipped file at n=10,000: use -n 10000"),
    ],
)
def test_what_must_not_ship_does_not(candidate, value, n, message):
    keep.ship(candidate, in_mode(0.5))
    with pytest.raises(ValueError, match=message):
        keep.ship(candidate, in_mode(value, n))


def test_smoke_scale_neither_ships_nor_records(candidate, monkeypatch):
    monkeypatch.setenv("MINIDIFF_SCALE", "smoke")
    with pytest.raises(ValueError, match="smoke scale"):
        keep.ship(candidate, in_mode(0.99))
    with pytest.raises(ValueError, match="smoke scale"):
        keep.record("toy-mlp", in_mode(0.99), "a test")


@pytest.mark.parametrize("metrics", [{}, {"share in mode": {"value": float("nan"), "n": 10_000}}])
def test_a_shipped_file_without_a_usable_metric_is_replaced(candidate, metrics, tmp_path):
    tensors, header = checkpoint.read(candidate)
    checkpoint.write(tmp_path / "toy-mlp.safetensors", tensors, header | {"metrics": metrics})
    assert keep.ship(candidate, in_mode(0.5))[0]


def test_what_ships_was_measured_as_an_owed_run_will_be():
    """`minidiff train NAME --scale gpu --ship` measures with the default n, which must be that of the shipped file."""
    for row in recipes.ROWS:
        metric = checkpoint.read_header(runs.shipped(row.name))["metrics"][row.metric]
        assert metric["n"] == row.n, row.name


def test_weights_that_are_not_finite_do_not_ship(candidate):
    tensors, header = checkpoint.read(candidate)
    tensors["inp.weight"][0, 0] = torch.nan
    checkpoint.write(candidate, tensors, header)
    with pytest.raises(ValueError, match="NaN or infinite values in inp.weight"):
        keep.ship(candidate, in_mode(0.99))


def test_a_finished_run_is_neither_written_again_nor_continued_with_another_batch(tmp_path, monkeypatch):
    """Found by trying: a second call used to put the batch and the revision of that call into the header."""
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("MINIDIFF_REV", "first")
    *_, path = runs.train("toy-mlp", "smoke", {"steps": "3"})
    before = path.read_bytes()
    monkeypatch.setenv("MINIDIFF_REV", "second")
    assert list(runs.train("toy-mlp", "smoke", {"steps": "3"})) == [path]
    assert path.read_bytes() == before and checkpoint.read_header(path)["revision"] == "first"
    with pytest.raises(CheckpointError, match="another run .batch 64, now 32."):
        list(runs.train("toy-mlp", "smoke", {"steps": "3", "batch": "32"}))
    path.unlink()  # killed between the last state and the checkpoint: the header still tells the training's truth
    assert list(runs.train("toy-mlp", "smoke", {"steps": "3"})) == [path] and path.read_bytes() == before


def test_a_diverged_run_fails_as_often_as_it_is_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    words = ["train", "toy-mlp", "--scale", "smoke", "--set", "steps=2", "--set", "lr=1e30"]
    for _ in range(2):
        assert main(words) == 1 and "not finite" in capsys.readouterr().err
    kept = [path for path in tmp_path.rglob("*.safetensors") if path.parent.name != "states"]
    assert not kept


def test_a_new_row_is_all_that_a_new_model_needs(capsys, tmp_path, monkeypatch):
    """Two labelled peaks, a kind of model that no other row has: trained, measured and drawn by the same verbs."""

    def peaks(n, generator):
        label = torch.randint(2, (n,), generator=generator)
        return 2.0 * label[:, None] - 1 + 0.1 * torch.randn(n, 2, generator=generator), label

    def draw(denoise, n, steps, seed, label, w):
        labels = labels_of(denoise, ("left", "right"), n, label, w)
        return generate(denoise, n, (2,), steps, seed, labels=labels, w=w)

    def measure(denoise, n, folder):
        x = draw(denoise, n or 200, 10, 0, "right", 1.0)
        return {"right of 0": share(x[:, 0] > 0)}

    row = recipes.Recipe(
        name="two-labels",
        about="a test",
        net=lambda at: MLP(2, width=32, depth=1, classes=2),
        model=lambda net: Denoiser(net, Linear(), "flow"),
        batches=lambda size, seed: lambda step: peaks(size, torch.Generator().manual_seed(step)),
        loss=partial(denoising_loss, drop=0.1),
        measure=measure,
        draw=draw,
        steps=(150, 300, 300),
        metric="right of 0",
        target=0.9,
        better="higher",
        n=200,
        budget=1_000_000,
    )
    monkeypatch.setitem(recipes.RECIPES, row.name, row)
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    status, _, err = run(capsys, "train", "two-labels", "--scale", "smoke", "--set", "lr=0.01")
    assert status == 0, err
    path = str(tmp_path / "runs" / "two-labels-smoke" / "two-labels.safetensors")
    status, out, _ = run(capsys, "evaluate", "two-labels", "--checkpoint", path, "-n", "300")
    assert status == 0 and "n 300" in out and float(out.split("right of 0: ")[1].split()[0]) > 0.9
    picture = ["-n", "5", "--steps", "3", "--checkpoint", path, "-o", str(tmp_path / "x.png")]
    assert run(capsys, "sample", "two-labels", "left", "-w", "2", *picture)[0] == 0
    for words, message in ((["up"], "there are left, right"), (["-w", "-1"], "guidance weight w=-1.0")):
        status, _, err = run(capsys, "sample", "two-labels", *words, *picture)
        assert status == 1 and message in err


def test_the_verbs_ask_no_row_what_it_is():
    for module in ("recipes/run.py", "cli.py"):
        text = (root() / "minidiff" / module).read_text()
        assert not any(word in text for word in (".kind", "grid25", "isinstance(model"))


def test_generate_is_reproducible_part_by_part(trained):
    denoise = runs.load("toy-mlp", trained["toy-mlp"])
    x = generate(denoise, 10, (2,), calls=3, seed=4, size=5)
    assert torch.equal(x[:5], generate(denoise, 5, (2,), calls=3, seed=4, size=5))
    assert not torch.equal(x[:5], x[5:])


def run(capsys, *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_cli_trains_resumes_evaluates_and_samples(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    for _ in range(2):  # the second call finds the run finished
        status, out, _ = run(capsys, "train", "toy-mlp", "--scale", "smoke", "--set", "steps=12", "--set", "lr=0.002")
        assert status == 0 and "weights in" in out
    path = tmp_path / "runs" / "toy-mlp-smoke" / "toy-mlp.safetensors"
    header = checkpoint.read_header(path)
    assert header["steps"] == 12 and header["samples"] == 12 * 64 and header["settings"] == {"lr": "0.002"}
    status, out, _ = run(capsys, "evaluate", "toy-mlp", "--checkpoint", str(path))
    assert status == 0 and "share in mode, exact denoiser" in out
    for name, file in (("toy-mlp", "toy.png"), ("fashion-unet", "clothes.png")):
        extra = ["--checkpoint", str(path)] if name == "toy-mlp" else []
        status, out, _ = run(capsys, "sample", name, "-n", "6", "--steps", "2", "-o", str(tmp_path / file), *extra)
        assert status == 0 and (tmp_path / file).stat().st_size > 500


def test_cli_lists_recipes_and_what_is_owed(capsys):
    status, out, _ = run(capsys, "recipes")
    assert status == 0 and all(name in out for name in recipes.RECIPES)
    for name in recipes.RECIPES:
        owed = f"minidiff train {name} --scale gpu --ship" in out
        header = checkpoint.read_header(runs.shipped(name))
        row = recipes.get(name)
        scales = {header["scale"], header.get("start", {}).get("scale")}
        assert owed == ("gpu" not in scales or not row.meets(header["metrics"][row.metric]["value"]))


@pytest.mark.parametrize(
    "words, message",
    [
        ("train nonsense", "no recipe 'nonsense'; there are: toy-mlp"),
        ("train toy-mlp --scale smoke --set colour=red", "unknown setting"),
        ("train toy-mlp --scale smoke --set lr=fast", "expected a number"),
        ("train toy-mlp --scale smoke --set steps", "expected KEY=VALUE"),
        ("train toy-mlp --scale smoke --set steps=0", "expected a whole number"),
        ("sample fashion-classifier", "nothing to sample"),
        ("sample fashion-unet -n 0", "n=0: expected a whole number from 1"),
        ("sample fashion-unet --steps 0", "steps=0: expected a whole number from 1 to 1,000"),
        ("sample fashion-unet --seed -1", "seed=-1: expected a whole number from 0"),
        ("sample fashion-unet -o picture.jpg", "expected a .png"),
        ("sample toy-mlp bag", "knows no classes"),
        ("sample fashion-unet hat", "'hat': no such class; there are t-shirt"),
        ("sample fashion-unet 10", "'10': no such class"),
        ("sample fashion-unet -n 1 -w nan", "guidance weight w=nan"),
        ("sample fashion-unet -n 1 -w inf", "guidance weight w=inf"),
        ("sample fashion-unet --checkpoint absent.safetensors", "no such checkpoint"),
        ("evaluate fashion-unet --checkpoint {other}", "made by recipe 'toy-mlp'"),
    ],
)
def test_cli_errors_are_one_clear_line(capsys, trained, words, message):
    status, _, err = run(capsys, *words.format(other=trained["toy-mlp"]).split())
    assert status == 1 and message in err and len(err.strip().splitlines()) == 1, err


def test_labels_by_name_by_number_or_in_turn():
    with_labels = Denoiser(MLP(2, width=16, depth=1, classes=10), Linear())
    assert labels_of(with_labels, NAMES, 3, "bag", 1).tolist() == [8, 8, 8]
    assert labels_of(with_labels, NAMES, 3, "8", 2).tolist() == [8, 8, 8]
    assert labels_of(with_labels, NAMES, 12, None, 1).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    with pytest.raises(ValueError, match="'hat': no such class; there are t-shirt"):
        labels_of(with_labels, NAMES, 3, "hat", 1)
    without = Denoiser(MLP(2, width=16, depth=1), Linear())
    assert labels_of(without, NAMES, 3, None, 1) is None
    for label, w in (("bag", 1), (None, 2)):
        with pytest.raises(ValueError, match="knows no classes"):
            labels_of(without, NAMES, 3, label, w)


def test_a_picture_is_what_the_samples_are(tmp_path):
    for shape in ((5, 2), (3, 1, 8, 8), (3, 3, 8, 8)):
        picture(torch.zeros(shape), tmp_path / "deep" / "x.png", "five samples")
        assert (tmp_path / "deep" / "x.png").stat().st_size > 50


def test_results_are_recorded_with_their_command(candidate, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").write_text("")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    keep.ship(candidate, in_mode(0.5))
    path = keep.record("toy-mlp", in_mode(0.6), "minidiff evaluate toy-mlp --record")
    assert json.loads(path.read_text())["command"] == "minidiff evaluate toy-mlp --record"
    assert checkpoint.read_header(tmp_path / "toy-mlp.safetensors")["metrics"] == in_mode(0.6)
    for value, n in ((float("nan"), 10_000), (0.9, 1_120)):
        with pytest.raises(ValueError, match="not kept"):
            keep.record("toy-mlp", in_mode(value, n), "a test")


def test_a_checkpoint_of_another_scale_says_so(trained):
    tensors, header = checkpoint.read(trained["toy-mlp"])
    other = trained["toy-mlp"].with_name("other.safetensors")
    checkpoint.write(other, tensors, header | {"scale": "laptop"})
    with pytest.raises(CheckpointError, match="does not fit this network"):
        runs.load("toy-mlp", other)


@pytest.mark.parametrize("threads, layout", [(1, torch.contiguous_format), (2, torch.channels_last)])
def test_memory_is_laid_out_for_the_threads_at_hand(monkeypatch, threads, layout):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    weight = runs.settle(torch.nn.Conv2d(8, 8, 3), "cpu").weight
    assert weight.is_contiguous(memory_format=layout)


def test_video_networks_are_laid_out_plainly(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    runs.settle(torch.nn.Conv3d(4, 4, 3), "cpu")  # channels_last would stop here


def test_training_uses_all_cores_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(runs, "cores", lambda: 6)
    list(runs.train("toy-mlp", "smoke", {"steps": "1"}))
    assert asked == []  # the tests run with OMP_NUM_THREADS=1
    monkeypatch.delenv("OMP_NUM_THREADS")
    list(runs.train("toy-mlp", "smoke", {"steps": "1"}))
    assert asked == [6]


def test_training_goes_on_from_a_checkpoint(trained, tmp_path, monkeypatch):
    """Its weights are the start, its training is told and counted in, and another start is another run."""
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    begin, settings = tmp_path / "begin.safetensors", {"steps": "2", "lr": "1e-9"}
    tensors, earlier = checkpoint.read(trained["toy-mlp"])
    checkpoint.write(begin, {name: 0 * tensor + 0.25 for name, tensor in tensors.items()}, earlier)
    earlier = checkpoint.read_header(begin)
    seen = []
    monkeypatch.setattr(runs, "fit", lambda *args, **kw: seen.append(args[1](0)[0]) or fit(*args, **kw))
    *_, path = runs.train("toy-mlp", "smoke", settings, start=begin)
    moved = tmp_path / "moved.safetensors"
    tensors, header = checkpoint.read(path)
    checkpoint.write(moved, {name: tensor + 0.25 for name, tensor in tensors.items()}, header)
    *_, second = runs.train("toy-mlp", "smoke", settings, start=moved)
    *_, plain = runs.train("toy-mlp", "smoke", settings)
    assert all(not torch.equal(seen[i], seen[j]) for i, j in ((0, 1), (0, 2), (1, 2)))  # each has its own batches
    after, header = checkpoint.read(path)
    assert all(torch.allclose(tensor.float(), torch.tensor(0.25), atol=1e-6) for tensor in after.values())
    assert len({path, second, plain}) == 3 and begin.exists()
    assert checkpoint.read_header(second)["samples"] == header["samples"] + 2 * header["batch"]
    assert header["start"]["sha256"] == earlier["sha256"] and header["start"]["steps"] == earlier["steps"]
    assert header["samples"] == header["steps"] * header["batch"] + earlier["samples"]
    with pytest.raises(CheckpointError, match="made by recipe"):
        list(runs.train("toy-mlp", "smoke", settings, start=trained["fashion-dit"]))


def test_a_row_that_begins_with_another_takes_its_weights_as_far_as_they_reach(trained, tmp_path, monkeypatch):
    """What the other row does not have stays as it was built; the header tells whose weights the start were."""
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(runs, "shipped", lambda name: trained[name])
    plain = recipes.get("fashion-dit")

    def wider(at):
        net = plain.net(at)
        net.more = torch.nn.Parameter(torch.full((3,), 0.5))
        return net

    child = replace(plain, name="child", begins="fashion-dit", net=wider)
    monkeypatch.setitem(recipes.RECIPES, "child", child)
    settings = {"steps": "1", "batch": "2", "lr": "1e-9"}
    *_, path = runs.train("child", "smoke", settings)
    assert "start" not in checkpoint.read_header(path)  # at smoke scale networks are smaller than what ships
    monkeypatch.setattr(runs, "build", lambda recipe, at, own=runs.build: own(recipe, "smoke"))
    *_, path = runs.train("child", "laptop", settings)
    tensors, header = checkpoint.read(path)
    before, _ = checkpoint.read(trained["fashion-dit"])
    assert set(tensors) == {*before, "more"} and torch.equal(tensors["more"].float(), torch.full((3,), 0.5))
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    assert header["start"]["recipe"] == "fashion-dit" and header["samples"] > header["start"]["samples"]
    before["odd"] = torch.zeros(2)
    checkpoint.write(tmp_path / "odd.safetensors", before, checkpoint.read_header(trained["fashion-dit"]))
    with pytest.raises(CheckpointError, match="unexpected: odd"):
        list(runs.train("child", "laptop", settings, start=tmp_path / "odd.safetensors"))
    with pytest.raises(CheckpointError, match="made by recipe"):
        list(runs.train("child", "laptop", settings, start=trained["toy-mlp"]))
