"""The emoji that ship: a full table, fixed splits that share no concept, verified on load, licences beside them."""

import hashlib
import importlib.util
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import emoji
from minidiff.files import checksums, root, sha256

DATA = root() / "data"


def test_every_picture_is_in_exactly_one_split():
    parts = [emoji.load(split, 16) for split in emoji.SPLITS]
    seen = [(int(s), int(c)) for part in parts for s, c in zip(part.style, part.concept, strict=True)]
    assert len(seen) == len(set(seen)) == 4 * len(emoji.table()) == 5504
    train, concepts, pairs = ({int(c) for c in part.concept} for part in parts)
    assert not train & concepts and pairs <= train
    assert len(concepts) == 183 and len(parts[1].images) == 4 * 183 and len(parts[2].images) == len(pairs) == 151


def test_variants_of_a_concept_are_on_one_side():
    held_out = {row["name"]: row["held_out"] == "concept" for row in emoji.table()}
    for name in ("mechanic", "singer", "astronaut", "farmer", "judge"):
        assert held_out[f"woman {name}"] == held_out[f"man {name}"] == held_out.get(name, held_out[f"man {name}"])
    assert len({out for name, out in held_out.items() if name.startswith("clock face")}) == 1


def test_pictures_are_as_described():
    images, style, group, concept = emoji.load()
    assert images.shape == (4621, 3, 64, 64) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert abs(images.std().item() - emoji.SD) < 5e-4
    assert style.unique().tolist() == [0, 1, 2, 3] and group.unique().tolist() == list(range(7))
    corners = images[:, :, 0, 0]  # white ground, but for the few pictures that fill their square
    assert (corners == 1).all(1).float().mean() > 0.9
    rows = emoji.table()
    assert [emoji.GROUPS[g] for g in group] == [rows[c]["group"] for c in concept]
    red = emoji.pictures("red apple")[:, :, 32, 32]  # what the name says is what is drawn, in all four styles
    assert (red[:, 0] > 0).all() and (red[:, 2] < 0).all()


def test_small_sizes_are_means_and_the_tensors_the_callers_own():
    full, half = emoji.load("pairs").images, emoji.load("pairs", 32).images
    assert half[5, 1, 7, 9] == pytest.approx(full[5, 1, 14:16, 18:20].mean().item(), abs=1e-6)
    half.zero_()
    assert not torch.equal(emoji.load("pairs", 32).images, half)


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match="'test'.*'train', 'concepts', 'pairs'"):
        emoji.load("test")
    with pytest.raises(ValueError, match="28.*64, 32 or 16"):
        emoji.load("pairs", 28)
    with pytest.raises(KeyError, match="'sunflowr'.*sunflower"):
        emoji.concept("sunflowr")


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_damaged_pack_is_refused_by_name(harm, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    shutil.copy(DATA / "SHA256SUMS", tmp_path / "data")
    shutil.copytree(DATA / "emoji", tmp_path / "data" / "emoji")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    path = tmp_path / "data" / "emoji" / "noto.png"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes({"changed": content, "cut": content[:-9], "gone": b""}[harm])
    if harm == "gone":
        path.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="noto.png"):
        emoji.load()


def test_readme_and_checksums_list_every_file():
    readme = (DATA / "README.md").read_text()
    for path in sorted((DATA / "emoji").iterdir()):
        if path.name.startswith("LICENSE-"):
            assert f"`emoji/{path.name}`" in readme and "Changed:" in path.read_text()
            continue
        row = next(line for line in readme.splitlines() if line.startswith(f"| emoji/{path.name} |"))
        assert f"{path.stat().st_size:,}" in row and sha256(path) in row
        assert checksums()[f"emoji/{path.name}"] == sha256(path)
    assert sum(path.stat().st_size for path in (DATA / "emoji").iterdir()) < 25e6


# how it was made


@pytest.fixture
def build(tmp_path, monkeypatch):
    """data/build/emoji.py as a module, for five small packages of two emoji in `tmp_path`."""
    spec = importlib.util.spec_from_file_location("build_emoji", DATA / "build" / "emoji.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row = {"category": "Objects", "subcategory": "tool", "has_img_google": True, "has_img_twitter": True}
    rows = [
        row | {"name": "AXE", "unified": "1FA93", "added_in": "12.0", "sort_order": 2},
        row | {"name": "HAMMER", "unified": "1F528-FE0F", "added_in": "0.6", "sort_order": 1},
        row | {"name": "SHOVEL", "unified": "1FA8F", "added_in": "16.0", "sort_order": 3},  # too new
        row | {"name": "FLAG", "unified": "1F3C1", "added_in": "0.6", "sort_order": 4, "category": "Flags"},
    ]
    png = io.BytesIO()
    Image.new("RGBA", (256, 264), (255, 0, 0, 255)).save(png, "PNG")
    files = {folder: {"1FA93.png": png.getvalue(), "1f528.png": png.getvalue()} for folder in module.PICTURES}
    sums = {}
    for name, folder in zip(module.PACKAGES, (*module.PICTURES, ""), strict=True):
        with tarfile.open(tmp_path / name, "w:gz") as tar:
            for file, content in files.get(folder, {"emoji.json": json.dumps(rows).encode()}).items():
                info = tarfile.TarInfo(f"package/{folder}{file}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        sums[name] = sha256(tmp_path / name)
    monkeypatch.setattr(module, "PACKAGES", sums)
    monkeypatch.setattr(module, "draw", lambda content, style: module.on_white(Image.open(io.BytesIO(content))))
    return module


def test_build_makes_a_full_table(build, tmp_path):
    files = build.convert(tmp_path)
    assert list(files) == ["openmoji.png", "noto.png", "twemoji.png", "fluent.png", "names.tsv"]
    assert [line.split("\t")[1] for line in files["names.tsv"].decode().splitlines()] == ["name", "hammer", "axe"]
    sheet = np.asarray(Image.open(io.BytesIO(files["fluent.png"])))
    assert sheet.shape == (64, 32 * 64, 3) and (sheet[:, 128:] == 255).all()
    assert sheet[32, 32].tolist() == [255, 0, 0] and sheet[32, 0, 1] > 200  # a 256x264 picture has a white margin


def test_build_names_what_is_missing(build, tmp_path, monkeypatch):
    pictures = build.members
    without = lambda package, folder: {k: v for k, v in pictures(package, folder).items() if k != "1fa93"}  # noqa: E731
    monkeypatch.setattr(build, "members", without)
    with pytest.raises(KeyError, match="openmoji-17.0.0.tgz lacks 1 emoji: axe"):
        build.convert(tmp_path)
    (tmp_path / "openmoji-17.0.0.tgz").write_bytes(b"?")
    with pytest.raises(ValueError, match="openmoji-17.0.0.tgz has sha256"):
        pictures(tmp_path / "openmoji-17.0.0.tgz", "color/svg/")
    (tmp_path / "openmoji-17.0.0.tgz").unlink()
    with pytest.raises(FileNotFoundError, match="npm pack"):
        build.convert(tmp_path)


def test_the_split_depends_on_the_name_alone(build, tmp_path):
    (row, _) = build.concepts(tmp_path / "emoji-datasource-16.0.0.tgz")
    assert (row["held_out"] == "concept") == (int(hashlib.sha256(b"hammer").hexdigest(), 16) % 7 == 0)
