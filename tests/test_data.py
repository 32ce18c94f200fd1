"""Fashion-MNIST as shipped is what Zalando published, is verified on load, and stands in data/README.md."""

import gzip
import hashlib
import importlib.util
import re
import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import fashion
from minidiff.files import checksums, root, sha256, verify, write_data

DATA = root() / "data"
TEST_FILES = ("test-0.png", "test-labels.npy")
# sha256 of the bytes that follow the header in the four original IDX files: same pixels, order and labels
ORIGINAL = {
    "train": (
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    ),
    "test": (
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
}


# Fashion-MNIST as shipped


@pytest.mark.parametrize(("split", "each"), [("train", 6000), ("test", 1000)])
def test_fashion_is_the_original(split, each):
    images, labels = fashion.load(split)
    assert images.shape == (10 * each, 1, 28, 28) and images.dtype == torch.float32
    assert labels.shape == (10 * each,) and labels.dtype == torch.int64
    assert images.min() == -1 and images.max() == 1
    assert labels.bincount().tolist() == [each] * 10
    pixels = images.add_(1).mul_(127.5).round_().byte()
    found = (pixels.numpy().tobytes(), labels.byte().numpy().tobytes())
    assert tuple(hashlib.sha256(content).hexdigest() for content in found) == ORIGINAL[split]


def test_fashion_sd():
    images = fashion.load()[0]
    assert abs(images.std().item() - fashion.SD) < 5e-4


def test_fashion_small_sizes_are_means_of_blocks():
    full, half, quarter = (fashion.load("test", size)[0] for size in (28, 14, 7))
    assert half.shape == (10_000, 1, 14, 14) and quarter.shape == (10_000, 1, 7, 7)
    assert half[3, 0, 5, 9] == pytest.approx(full[3, 0, 10:12, 18:20].mean().item(), abs=1e-6)
    assert quarter[7, 0, 2, 4] == pytest.approx(full[7, 0, 8:12, 16:20].mean().item(), abs=1e-6)
    assert torch.allclose(half.mean(), full.mean(), atol=1e-5)


def test_fashion_refuses_unknown_words():
    with pytest.raises(ValueError, match="'valid'.*'train', 'test'"):
        fashion.load("valid")
    with pytest.raises(ValueError, match="32.*28, 14 or 7"):
        fashion.load("test", size=32)


def test_fashion_tensors_are_the_callers_own():
    images, labels = fashion.load("test")
    first = images.clone(), labels.clone()
    images.zero_()
    labels.zero_()
    again = fashion.load("test")
    assert torch.equal(again[0], first[0]) and torch.equal(again[1], first[1])


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A root of its own with the test split in it."""
    (tmp_path / "data" / "fashion").mkdir(parents=True)
    for name in ("SHA256SUMS", *(f"fashion/{name}" for name in TEST_FILES)):
        shutil.copy(DATA / name, tmp_path / "data" / name)
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    return tmp_path / "data" / "fashion"


@pytest.mark.parametrize("name", TEST_FILES)
def test_fashion_refuses_a_tampered_or_missing_file_by_name(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-20] ^= 1  # in the .png after the pixels, in the .npy one label: only the hash can tell
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"fashion/{name}.*sha256"):
        fashion.load("test")
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        fashion.load("test")


def test_fashion_is_verified_once_a_process(copy, monkeypatch):
    seen = []
    monkeypatch.setattr(fashion, "verify", lambda path: seen.append(path.name) or verify(path))
    fashion.load("test")
    fashion.load("test", size=7)
    assert sorted(seen) == sorted(TEST_FILES)


# how it was made


@pytest.fixture(scope="module")
def build():
    """The script data/build/fashion.py as a module."""
    spec = importlib.util.spec_from_file_location("build_fashion", DATA / "build" / "fashion.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def idx(values):
    """The gzipped IDX file of a uint8 array, written from the format's definition."""
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return gzip.compress(head + values.tobytes())


def test_a_sheet_gives_its_images_back(build, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    (tmp_path / "sheet.png").write_bytes(build.sheet(images, rows=3))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 28, 3 * 28)
        assert np.array_equal(fashion.tiles(np.asarray(sheet)), images)


def test_idx_is_read_or_refused(build, tmp_path):
    values, path = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), tmp_path / "a.gz"
    path.write_bytes(idx(values))
    assert np.array_equal(build.read_idx(path), values)
    path.write_bytes(gzip.compress(gzip.decompress(idx(values))[:-1]))
    with pytest.raises(ValueError, match=r"a.gz holds 23 values.*\[2, 3, 4\]"):
        build.read_idx(path)
    path.write_bytes(gzip.compress(b"\0\0\x0d" + gzip.decompress(idx(values))[3:]))  # 0x0d: float32
    with pytest.raises(ValueError, match="a.gz starts with 00000d03"):
        build.read_idx(path)


def test_build_is_deterministic_and_keeps_other_hashes(build, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for prefix, count in (("train", 8), ("t10k", 4)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    files = build.convert(tmp_path, rows=2)
    assert list(files) == ["train-0.png", "train-1.png", "train-labels.npy", "test-0.png", "test-labels.npy"]
    assert build.convert(tmp_path, rows=2) == files
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").write_text(
        "".join(
            f"{digit * 64}  {name}\n"
            for digit, name in (("1", "checkpoints/a"), ("2", "fashion/old.png"), ("3", "fashion/test-0.png"))
        )
    )
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    write_data("fashion", files)
    assert checksums().keys() == {"checkpoints/a", *(f"fashion/{name}" for name in files)}
    for name, content in files.items():
        assert verify(tmp_path / "data" / "fashion" / name).read_bytes() == content


def test_build_refuses_another_package(build, tmp_path):
    (tmp_path / "other.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(ValueError, match="other.deb has sha256"):
        build.unpack(tmp_path / "other.deb", tmp_path)


# what data/README.md says


def test_readme_lists_every_data_file_with_its_hash():
    readme = (DATA / "README.md").read_text()
    rows = re.findall(r"\| (fashion/\S+) \|.*\| ([\d,]+) \| `([0-9a-f]{64})` \|", readme)
    shipped = {path.relative_to(DATA).as_posix(): path for path in (DATA / "fashion").rglob("*")}
    assert {name: (int(size.replace(",", "")), digest) for name, size, digest in rows} == {
        name: (path.stat().st_size, sha256(path)) for name, path in shipped.items()
    }
    listed = {name: digest for name, digest in checksums().items() if name.startswith("fashion/")}
    assert listed == {name: digest for name, _, digest in rows}
    words = " ".join(readme.replace(">", " ").split())
    assert ", ".join(fashion.NAMES) in words
    assert "2017, Zalando SE" in words and "The above copyright notice and this permission notice shall" in words


def test_no_shipped_file_is_over_15_mb():
    sizes = {path.name: path.stat().st_size for path in DATA.rglob("*") if path.is_file()}
    assert len(sizes) > 9 and {name: size for name, size in sizes.items() if size > 15e6} == {}
