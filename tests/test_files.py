"""Files are found, written whole or not at all, and trusted by their hash; the scale has one owner."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from minidiff import files, scale


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A root of its own with one listed file, `data/a b.bin`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a b.bin").write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    (tmp_path / "data" / "SHA256SUMS").write_text(f"{digest}  a b.bin\n\n{'0' * 64}  gone.bin\n")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    monkeypatch.delenv("MINIDIFF_OUTPUTS", raising=False)
    return tmp_path


def test_root_is_the_clone_or_the_variable_or_an_error(tmp_path, monkeypatch, home):
    assert files.root() == home.resolve()
    monkeypatch.setenv("MINIDIFF_ROOT", "")
    assert files.root() == Path(__file__).resolve().parents[1]
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path / "data"))
    with pytest.raises(FileNotFoundError, match="no data/SHA256SUMS in .*MINIDIFF_ROOT"):
        files.root()


def test_outputs_are_made_on_demand(monkeypatch, home):
    assert files.outputs() == home.resolve() / "outputs" and files.outputs().is_dir()
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(home / "x" / "y"))
    assert files.outputs() == home / "x" / "y" and (home / "x" / "y").is_dir()


def test_sha256_of_a_file_longer_than_one_block(tmp_path):
    content = bytes(range(256)) * 5000  # 1.28 MB, the block is 1 MiB
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_atomic_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.bin"
    for content in (b"first", b"2nd"):
        files.atomic_write(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_atomic_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError("No space left on device")

    (tmp_path / "a.bin").write_bytes(b"old")
    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(OSError, match="No space"):
        files.atomic_write(tmp_path / "a.bin", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_writer_that_dies_leaves_the_old_file(tmp_path, step):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    die = f"import os, sys, pathlib, minidiff.files; os.{step} = lambda *_: os._exit(9)"  # no clean-up runs
    code = f"{die}; minidiff.files.atomic_write(pathlib.Path(sys.argv[1]), b'new' * 100_000)"
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert path.read_bytes() == b"old"
    files.atomic_write(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_verify_returns_the_path_or_names_the_file_and_the_remedy(home):
    assert files.verify(home / "data" / "a b.bin") == home / "data" / "a b.bin"
    (home / "data" / "a b.bin").write_bytes(b"CONTENT")
    with pytest.raises(ValueError, match="^a b.bin has sha256 .*git checkout"):
        files.verify(home / "data" / "a b.bin")
    with pytest.raises(FileNotFoundError, match="gone.bin is missing: .*git checkout"):
        files.verify(home / "data" / "gone.bin")
    (home / "data" / "new.bin").write_bytes(b"content")
    with pytest.raises(ValueError, match="^new.bin is not listed in data/SHA256SUMS"):
        files.verify(home / "data" / "new.bin")


def test_files_and_scale_import_only_the_standard_library():
    code = "import sys, minidiff.files, minidiff.scale; print(*{'torch', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("word", scale.SCALES)
def test_scale_is_the_variable(monkeypatch, word):
    monkeypatch.setenv("MINIDIFF_SCALE", word)
    assert scale.scale() == word
    assert scale.pick(smoke="smoke", laptop="laptop", gpu="gpu") == word
    assert scale.pick(smoke=1, laptop=2) == {"smoke": 1, "laptop": 2, "gpu": 2}[word]


@pytest.mark.parametrize(("memory", "expected"), [(None, "laptop"), (24e9, "laptop"), (80e9, "gpu")])
def test_scale_without_the_variable_is_gpu_from_40_gb_on(monkeypatch, memory, expected):
    import torch

    monkeypatch.delenv("MINIDIFF_SCALE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: memory is not None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory))
    assert scale.scale() == expected


def test_scale_refuses_an_unknown_word(monkeypatch):
    monkeypatch.setenv("MINIDIFF_SCALE", "Laptop")
    with pytest.raises(ValueError, match="'Laptop'; expected one of smoke, laptop, gpu"):
        scale.pick(smoke=1, laptop=2)
