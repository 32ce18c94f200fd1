"""Hostile and damaged checkpoints: each is a CheckpointError in one line that names the file; nothing else, ever."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import save

from minidiff import files
from minidiff.cli import main
from minidiff.course import doctor
from minidiff.recipes import keep, run
from minidiff.train import checkpoint
from minidiff.train.checkpoint import CheckpointError, tensor_hash

NAN, INF = float("nan"), float("inf")
W = {"w": torch.arange(4.0)}


def raw(head: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of the safetensors form: the length of its JSON, the JSON, the bytes of the tensors."""
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def sealed(tensors=None, **header) -> bytes:
    """A whole file with our header, whose sha256 is right."""
    tensors = W if tensors is None else tensors
    header = {"recipe": "toy-mlp", "scale": "smoke", "metrics": {}, "sha256": tensor_hash(tensors)} | header
    return save(tensors, {"minidiff": json.dumps(header)})


def with_text(text: str) -> bytes:
    """A whole file whose header is any text."""
    return save(W, {"minidiff": text})


def one(dtype: str, shape: list, offsets: list, data: bytes = b"", **more) -> bytes:
    return raw(json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}, **more}).encode(), data)


GOOD = sealed()
START = {"recipe": "toy-mlp", "scale": "smoke"}
FILES = {
    # files that are none of ours
    "empty": b"",
    **{f"{n} bytes": b"\x80PK{}\n\x00\xff"[:n] for n in range(1, 9)},
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x02}q\x00." + bytes(60),
    "text": b"not a checkpoint, but long enough to be one",
    "json": json.dumps({"w": 1}).encode(),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "gzip": b"\x1f\x8b" + bytes(100),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    # damaged
    **{f"cut at {n}": GOOD[:n] for n in (8, 9, 20, len(GOOD) // 2, len(GOOD) - 16, len(GOOD) - 1)},
    "longer": GOOD + b"x",
    **{f"a bit of tensor byte {n}": GOOD[:-n] + bytes([GOOD[-n] ^ 4]) + GOOD[len(GOOD) - n + 1 :] for n in (1, 7, 16)},
    # the form
    "head longer than file": raw(b"{}", length=10**9),
    "head of 2^63": raw(b"{}", length=2**63),
    "no json": raw(b"{w"),
    "json list": raw(b"[]"),
    "json number": raw(b"7"),
    "nested json": raw(b"[" * 100_000),
    "no tensors": raw(b"{}"),
    "shape negative": one("F32", [-1], [0, 4], bytes(4)),
    "shape huge": one("F32", [2**62, 2**62], [0, 4], bytes(4)),
    "shape float": one("F32", [1.5], [0, 4], bytes(4)),
    "offsets backwards": one("F32", [1], [4, 0], bytes(4)),
    "offsets beyond": one("F32", [4], [0, 16], bytes(4)),
    "offsets with a gap": one("F32", [1], [4, 8], bytes(8)),
    "unknown type": one("F31", [1], [0, 4], bytes(4)),
    "metadata of numbers": one("F32", [1], [0, 4], bytes(4), __metadata__={"minidiff": 7}),
    "metadata a list": one("F32", [1], [0, 4], bytes(4), __metadata__=[]),
    "no header": save(W),
    "another header": save(W, {"format": "pt"}),
    # the header
    **{
        f"header {text[:20]!r}": with_text(text)
        for text in ("", "null", "7", "[]", '"word"', "true", "NaN", "{", "[" * 50_000, '{"a":' * 50_000, "{}")
    },
    "header with a number of 5,000 digits": with_text('{"steps": ' + "9" * 5_000 + "}"),
    "header of 2 MB": with_text(json.dumps({"note": {"x": "y" * 2_000_000}})),
    "header with a zero byte": with_text("\0"),
    **{f"{key}={value!r}": sealed(**{key: value}) for key, value in (
        ("sha256", None), ("sha256", ""), ("sha256", "0" * 64), ("sha256", 7), ("sha256", []),
        ("recipe", 7), ("recipe", []), ("recipe", None), ("recipe", "fashion-unet"), ("recipe", ""),
        ("scale", 7), ("scale", "huge"), ("scale", {}), ("scale", ""),
        ("metrics", []), ("metrics", 5), ("metrics", {"in a mode": 3}), ("metrics", {"in a mode": {"value": "x"}}),
        ("samples", "many"), ("samples", 1.5), ("samples", 1e400), ("samples", 10**30), ("samples", True),
        ("steps", []), ("steps", -(10**40)), ("batch", "x"), ("seconds", "x"), ("seconds", INF),
        ("seconds", NAN), ("parameters", {}), ("needs", []), ("start", 5), ("start", []),
        ("start", START | {"scale": 3}), ("start", START | {"start": "x"}), ("settings", 3), ("device", 3),
        ("metrics", None), ("needs", None), ("start", None), ("samples", None), ("device", None), ("note", None),
        ("samples", -5), ("seconds", -5), ("steps", -1), ("metrics", {"in a mode": {"value": 10**400}}),
        ("identity", "x"), ("note", "x"), ("date", 5), ("revision", 5),
    )},
    # the tensors
    **{f"weight {value}": sealed({"w": torch.tensor([1.0, value])}) for value in (NAN, INF, -INF)},
    **{f"{kind} NaN": sealed({"w": torch.tensor([NAN]).to(kind)}) for kind in (torch.float16, torch.bfloat16)},
    **{f"of {kind}": sealed({"w": torch.zeros(2).to(kind)}) for kind in (torch.complex64, torch.int8)},
    "a weight that float32 cannot hold": sealed({"w": torch.tensor([1e300], dtype=torch.float64)}),
    "a name of two lines": sealed({"w\n[+] ok\x1b[2J": torch.tensor([NAN])}),
    "of float8": sealed({"w": torch.zeros(2).to(torch.float8_e4m3fn)}),
}  # fmt: skip
nested = START
for _ in range(50):
    nested = START | {"start": nested}
FILES["50 trainings, each begun with the one before"] = sealed(start=nested)


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(FILES[name])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_into(
            torch.nn.ParameterDict({"w": torch.zeros(1)}), checkpoint.read(path, "toy-mlp")[0], str(path)
        )
    told = str(caught.value)
    assert told.isprintable()
    assert "hostile.safetensors" in told and "\n" not in told and len(told) < len(str(path)) + 400
    if len(FILES[name]) < 9:
        assert "pickle" not in told


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["sample toy-mlp -n 4 --steps 2", "evaluate toy-mlp"])
def test_the_command_line_tells_it_in_one_line(tmp_path, capsys, monkeypatch, name, command):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path / "outputs"))
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(FILES[name])
    assert main([*command.split(), "--checkpoint", str(path)]) == 1
    told = capsys.readouterr().err
    assert "hostile.safetensors" in told and told.count("\n") == 1
    assert not (tmp_path / "outputs" / "toy-mlp.png").exists()


def test_the_good_file_is_read_and_weights_of_another_kind_do_not_fit(tmp_path):
    path = tmp_path / "good.safetensors"
    path.write_bytes(GOOD)
    assert torch.equal(checkpoint.read(path, "toy-mlp")[0]["w"], W["w"])
    with pytest.raises(CheckpointError, match="weight of torch.int64"):
        checkpoint.load_into(torch.nn.Linear(2, 2, bias=False), {"weight": torch.zeros(2, 2).long()}, "a file")


def test_a_file_of_many_tensors_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST", 10)
    checkpoint.write(tmp_path / "many.safetensors", {f"w{i}": torch.zeros(1) for i in range(11)}, {})
    with pytest.raises(CheckpointError, match="many.safetensors holds 11 tensors, more than 10"):
        checkpoint.read(tmp_path / "many.safetensors")


def test_a_file_larger_than_ours_is_not_read(tmp_path):
    path = tmp_path / "hole.safetensors"
    path.write_bytes(GOOD)
    os.truncate(path, 2**40)  # a terabyte, of which nothing is on the disk
    with pytest.raises(CheckpointError, match=r"hole.safetensors has 1,099,511,627,776 bytes, more than"):
        checkpoint.read(path)
    tensors = {"w": torch.zeros(2_000_000)}
    path.write_bytes(sealed(tensors))
    with pytest.raises(CheckpointError, match=r"hole.safetensors has 8,000,\d+ bytes, more than the"):
        run.load("toy-mlp", path)  # whose own file has a fiftieth of it


def test_weights_that_do_not_say_how_they_were_trained_begin_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path / "outputs"))
    net = run.build(run.recipes.get("toy-mlp"), "smoke")[1].state_dict()
    for facts in ({}, {"scale": "laptop", "samples": 1, "seconds": 1}, {"scale": "smoke", "samples": 1}):
        checkpoint.write(tmp_path / "a.safetensors", net, {"recipe": "toy-mlp", **facts})
        with pytest.raises(CheckpointError, match="does not say how it was trained, or not at smoke scale"):
            list(run.train("toy-mlp", "smoke", start=tmp_path / "a.safetensors"))


def test_a_finished_run_whose_weights_were_damaged_writes_them_anew(tmp_path, monkeypatch):
    """It used to say that all was well, whatever lay there."""
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    *_, path = run.train("toy-mlp", "smoke")
    good = path.read_bytes()
    for damage in (b"", b"junk", good[:-5], sealed(scale="laptop"), sealed(recipe="fashion-unet")):
        path.write_bytes(damage)
        *_, again = run.train("toy-mlp", "smoke")
        assert again.read_bytes() == good
    state, text = checkpoint.read(path.with_name("state.safetensors"))
    text.pop("sha256")
    beyond = {name: value * 0 + 3.4028e38 if name.startswith("ema.") else value for name, value in state.items()}
    checkpoint.write(path.with_name("state.safetensors"), beyond, text)  # finite, and infinite as bfloat16
    path.unlink()
    with pytest.raises(FloatingPointError):
        list(run.train("toy-mlp", "smoke"))
    checkpoint.write(path.with_name("state.safetensors"), state, text | {"note": {"recipe": "other", "device": "x"}})
    *_, path = run.train("toy-mlp", "smoke")
    assert checkpoint.read(path, "toy-mlp")[1]["device"] == "x"  # a note says of itself, and no more


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "absent", "loop", "long"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    path = {"device": "/dev/zero", "long": str(tmp_path / ("x" * 300))}.get(kind, str(tmp_path / kind))
    if kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        os.symlink(path, path)
    with pytest.raises(CheckpointError, match=r"folder|no regular file|no such checkpoint|cannot be read"):
        checkpoint.read(checkpoint.Path(path))


def test_a_file_that_may_not_be_read_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(GOOD)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "safe_open", refused)
    with pytest.raises(CheckpointError, match=r"a.safetensors cannot be read \(Permission denied\): .*permissions"):
        checkpoint.read(tmp_path / "a.safetensors")


# --- what ships ------------------------------------------------------------------------------------------


def test_every_shipped_checkpoint_is_listed_and_whole():
    paths = sorted((files.root() / "data" / "checkpoints").glob("*.safetensors"))
    assert len(paths) >= 20
    for path in paths:
        assert files.verify(path) == path and checkpoint.read_header(path)["recipe"] == path.stem


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one listed checkpoint, of toy-mlp."""
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)
    (tmp_path / "data" / "SHA256SUMS").write_text("")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    path = tmp_path / "data" / "checkpoints" / "toy-mlp.safetensors"
    path.write_bytes(sealed(scale="laptop"))
    files.list_file(path)
    return path


def faults() -> list[str]:
    return [f"{row.what}: {row.found}" for row in doctor.shipped() if row.state == "fault"]


def test_the_doctor_compares_names_and_the_list(clone):
    assert faults() == []
    clone.write_bytes(sealed(scale="laptop", recipe="fashion-unet"))  # whole, under another's name
    assert any("made by recipe 'fashion-unet', expected 'toy-mlp'" in fault for fault in faults())
    assert any("data/checkpoints/toy-mlp.safetensors: changed" in fault for fault in faults())
    clone.rename(clone.with_name("fashion-unet.safetensors"))
    assert any("not listed in data/SHA256SUMS" in fault for fault in faults())


@pytest.mark.parametrize("junk", ["?", "junk line", "0" * 63 + "  x", "Ä" * 70, f"{'0' * 64} x", "\x00"])
def test_a_junk_line_is_one_finding_and_not_the_end(clone, junk):
    path = files.root() / "data" / "SHA256SUMS"
    path.write_text(f"{junk}\n{path.read_text()}")
    assert len(faults()) == 1 and "data/SHA256SUMS" in faults()[0]
    assert files.verify(clone) == clone
    clone.write_bytes(b"other")
    assert len(faults()) == 3  # junk, changed, and no checkpoint


def test_shipping_lists_the_file(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_SCALE", "laptop")
    new, recipe = tmp_path / "new.safetensors", run.recipes.get("toy-mlp")
    new.write_bytes(sealed({"w": torch.ones(4)}, scale="laptop"))
    metrics = {recipe.metric: {"value": 0.5, "n": recipe.n}}
    assert keep.ship(new, metrics)[0] and files.verify(clone) and faults() == []
    keep.record("toy-mlp", metrics, "minidiff evaluate toy-mlp")
    assert files.verify(clone) and faults() == []
