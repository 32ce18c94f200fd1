"""Recipes and the command line: every row trains, loads, samples and is measured; what ships keeps its budget and
its word."""

import json

import pytest
import torch

from minidiff import evaluate, recipes
from minidiff.cli import classes, main
from minidiff.files import root
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError

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
        *_, paths[name] = recipes.train(name, "smoke")
    patch.undo()
    return paths


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_trains_and_loads(trained, name):
    header = checkpoint.read_header(trained[name])
    assert HEADER <= header.keys() and header["recipe"] == name and header["scale"] == "smoke"
    model = recipes.load(name, trained[name])
    net = getattr(model, "net", model)
    assert not net.training and all(p.dtype == torch.float32 for p in net.parameters())
    kept = checkpoint.read(trained[name])[0]
    assert all(v.dtype == torch.bfloat16 for v in kept.values())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_is_measured(trained, name):
    metrics = evaluate.evaluate(name, trained[name])
    assert recipes.get(name).metric in metrics
    assert all(row["n"] > 0 and row["value"] == row["value"] for row in metrics.values())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_row_ships_with_an_honest_header(name):
    path = recipes.shipped(name)
    row, header = recipes.get(name), checkpoint.verify(path)
    assert HEADER <= header.keys() and header["recipe"] == name and header["scale"] in ("laptop", "gpu")
    assert path.stat().st_size <= row.budget and path.stat().st_size <= 15_000_000
    metric = header["metrics"][row.metric]
    assert metric["n"] >= 2000 and metric["value"] == metric["value"]
    assert header["samples"] == header["steps"] * header["batch"]
    recipes.load(name)


def test_no_stray_checkpoint_and_all_within_budget():
    assert {p.stem for p in CHECKPOINTS} == set(recipes.RECIPES)
    assert sum(p.stat().st_size for p in CHECKPOINTS) < 110e6
    data = [p for p in (root() / "data").rglob("*") if p.is_file() and p not in CHECKPOINTS]
    assert sum(p.stat().st_size for p in data) < 90e6 and max(p.stat().st_size for p in data) < 15e6


def test_the_shipped_classifier_deserves_its_role():
    """Its accuracy on the first 1,000 test images agrees with the header, whose value reaches the target."""
    row, header = recipes.get("fashion-classifier"), checkpoint.read_header(recipes.shipped("fashion-classifier"))
    assert evaluate.meets(row, header["metrics"]["test accuracy"]["value"])
    from minidiff.data import fashion

    images, labels = (v[:1000] for v in fashion.load("test"))
    with torch.no_grad():
        hits = recipes.load("fashion-classifier")(images).argmax(1) == labels
    assert abs(hits.float().mean().item() - header["metrics"]["test accuracy"]["value"]) < 0.03


def test_wilson_interval_by_hand():
    result = evaluate.share(torch.arange(100) < 90)
    centre, half = (0.9 + 1.92073 / 100) / (1 + 3.84146 / 100), 1.95996 / 1.0384146 * (0.0009 + 3.84146 / 40000) ** 0.5
    assert (result["value"], result["n"]) == (0.9, 100)
    assert (result["low"], result["high"]) == pytest.approx((centre - half, centre + half), abs=1e-4)


def test_shipping_only_replaces_by_better(trained, tmp_path, monkeypatch):
    path = tmp_path / "new.safetensors"
    tensors, header = checkpoint.read(trained["toy-mlp"])
    checkpoint.write(path, tensors, header | {"scale": "laptop"})
    monkeypatch.setattr(recipes, "shipped", lambda name: tmp_path / f"{name}.safetensors")
    metric = {"share in mode": {"value": 0.5, "n": 10}}
    assert evaluate.ship(path, metric)[0]
    assert not evaluate.ship(path, {"share in mode": {"value": 0.4, "n": 10}})[0]
    assert checkpoint.read_header(tmp_path / "toy-mlp.safetensors")["metrics"] == metric
    with pytest.raises(ValueError, match="smoke scale"):
        evaluate.ship(trained["toy-mlp"], metric)


def test_generate_is_reproducible_part_by_part(trained):
    denoise = recipes.load("toy-mlp", trained["toy-mlp"])
    x = evaluate.generate(denoise, 10, (2,), calls=3, seed=4, size=5)
    assert torch.equal(x[:5], evaluate.generate(denoise, 5, (2,), calls=3, seed=4, size=5))
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
        header = checkpoint.read_header(recipes.shipped(name))
        row = recipes.get(name)
        assert owed == (header["scale"] != "gpu" or not evaluate.meets(row, header["metrics"][row.metric]["value"]))


@pytest.mark.parametrize(
    "words, message",
    [
        ("train nonsense", "no recipe 'nonsense'; there are: toy-mlp"),
        ("train toy-mlp --scale smoke --set colour=red", "unknown setting"),
        ("train toy-mlp --scale smoke --set lr=fast", "expected float"),
        ("train toy-mlp --scale smoke --set steps", "expected KEY=VALUE"),
        ("train toy-mlp --scale smoke --set steps=0", "expected a whole number"),
        ("sample fashion-classifier", "nothing to sample"),
        ("sample fashion-unet -n 0", "must be at least 1"),
        ("sample fashion-unet -o picture.jpg", "expected a .png"),
        ("sample fashion-unet --label bag", "knows no classes"),
        ("sample fashion-unet --checkpoint absent.safetensors", "no such checkpoint"),
        ("evaluate fashion-unet --checkpoint {other}", "made by recipe 'toy-mlp'"),
    ],
)
def test_cli_errors_are_one_clear_line(capsys, trained, words, message):
    status, _, err = run(capsys, *words.format(other=trained["toy-mlp"]).split())
    assert status == 1 and message in err and len(err.strip().splitlines()) == 1, err


def test_labels_by_name_by_number_or_in_turn():
    assert classes("bag", 3).tolist() == [8, 8, 8] == classes("8", 3).tolist()
    assert classes(None, 12).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_results_are_recorded_with_their_command(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").write_text("")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    path = evaluate.record("toy-mlp", {"share in mode": {"value": 1.0, "n": 3}}, "minidiff evaluate toy-mlp --record")
    assert json.loads(path.read_text())["command"] == "minidiff evaluate toy-mlp --record"


def test_a_checkpoint_of_another_scale_says_so(trained):
    tensors, header = checkpoint.read(trained["toy-mlp"])
    other = trained["toy-mlp"].with_name("other.safetensors")
    checkpoint.write(other, tensors, header | {"scale": "laptop"})
    with pytest.raises(CheckpointError, match="does not fit this network"):
        recipes.load("toy-mlp", other)
