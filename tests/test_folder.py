"""A learner's own folder is read as promised, or refused: what is broken is named, skipped and counted."""

import errno
import os
import re
import shutil
import signal
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import clips, folder
from minidiff.data.clips import write as write_clip

ENDINGS = ("png", "jpg", "jpeg", "webp", "bmp", "gif")


def noise(side=40, seed=0):
    """A picture that does not compress, so that half of its file is half of its pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def one(path, **options):
    """The only image of the folder that `path` is in, (C, size, size)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, paths, skipped = folder.load(path.parent, **options)
    assert paths == [path] and skipped == []
    return images[0]


def test_folder_reads_all_formats_below_it_in_order(tmp_path):
    for number, ending in enumerate(ENDINGS):
        place = tmp_path / ("b" if number % 2 else "a") / "deep"
        place.mkdir(parents=True, exist_ok=True)
        noise().save(place / f"{number}.{ending}")
    noise().save(tmp_path / "UPPER.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    noise().save(tmp_path / ".hidden.png")
    (tmp_path / ".cache").mkdir()
    noise().save(tmp_path / ".cache" / "0.png")
    found = folder.load(str(tmp_path), size=16)
    assert found.images.shape == (7, 3, 16, 16) and found.images.dtype == torch.float32
    assert found.images.is_contiguous() and found.images.abs().max() <= 1 and found.images.min() < -0.1
    names = [path.relative_to(tmp_path).as_posix() for path in found.paths]
    expected = "UPPER.PNG a/deep/0.png a/deep/2.jpeg a/deep/4.bmp b/deep/1.jpg b/deep/3.webp b/deep/5.gif"
    assert names == expected.split()
    assert found.skipped == []
    assert torch.equal(found.images[0], found.images[1]) and torch.equal(found.images[0], found.images[3])
    assert folder.load(tmp_path, size=8, channels=1).images.shape == (7, 1, 8, 8)


def test_folder_maps_bytes_to_minus_one_to_one(tmp_path):
    Image.fromarray(np.array([[[0, 51, 255]]], dtype=np.uint8)).save(tmp_path / "a.png")
    pixel = one(tmp_path / "a.png", size=1).flatten()
    assert pixel.tolist() == pytest.approx([-1, 51 / 127.5 - 1, 1])


@pytest.mark.parametrize("turn", [False, True])
def test_folder_crops_the_middle_square(tmp_path, turn):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 255  # white between two black squares
    Image.fromarray(pixels.swapaxes(0, 1) if turn else pixels).save(tmp_path / "a.png")
    assert (one(tmp_path / "a.png", size=10) == 1).all()


def test_folder_shows_white_through_transparency(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (one(tmp_path / "a.png", size=4) == 1).all()
    Image.new("RGBA", (8, 8), (0, 0, 0, 51)).save(tmp_path / "a.png")  # 20% black over white
    assert one(tmp_path / "a.png", size=4).unique().tolist() == pytest.approx([0.6])


def test_folder_takes_16_bit_grey_upright_photographs_and_first_frames(tmp_path):
    Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16)).save(tmp_path / "a.png")
    assert one(tmp_path / "a.png", size=4).unique().tolist() == pytest.approx([128 / 127.5 - 1], abs=1e-6)
    exif, pixels = Image.Exif(), np.zeros((8, 8, 3), dtype=np.uint8)
    exif[0x0112] = 6  # the camera was turned: the stored left side is the top
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = one(tmp_path / "a.png", size=8)
    assert (upright[:, :4] == 1).all() and (upright[:, 4:] == -1).all()
    (tmp_path / "a.png").unlink()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("black", "white")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (one(tmp_path / "a.gif", size=4) == -1).all()


def test_folder_skips_names_and_counts_broken_files(tmp_path):
    noise().save(tmp_path / "good.png")
    for ending in ENDINGS:
        noise().save(tmp_path / f"half.{ending}")
        content = (tmp_path / f"half.{ending}").read_bytes()
        (tmp_path / f"half.{ending}").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    noise().save(tmp_path / "renamed.png", "PPM")  # a format that we do not promise to read
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(
        UserWarning, match=r"skipped 10 of 11 images.*empty.png \(Unid.*gone.png \(ValueError: no regular file"
    ) as seen:
        images, paths, skipped = folder.load(tmp_path, size=8)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert images.shape == (1, 3, 8, 8) and paths == [tmp_path / "good.png"]
    expected = {"empty.png", "text.jpg", "renamed.png", "gone.png", *(f"half.{ending}" for ending in ENDINGS)}
    assert {path.name for path, _ in skipped} == expected and all(len(reason) > 8 for _, reason in skipped)


@pytest.mark.parametrize("limit, told", [(1000, "0 megapixels, the most are"), (400, "DecompressionBomb")])
def test_folder_skips_decompression_bombs(tmp_path, monkeypatch, limit, told):
    """Ours is the stricter limit; Pillow's own, an error from twice its number on, stays as a second one."""
    noise(16).save(tmp_path / "a.png")
    noise(40).save(tmp_path / "bomb.png")
    monkeypatch.setattr(folder, "LARGEST", 1000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit if limit < 1000 else 10**6)
    with pytest.warns(UserWarning, match=f"skipped 1 of 2 images.*bomb.png .*{told}"):
        assert folder.load(tmp_path).paths == [tmp_path / "a.png"]


def test_a_large_photograph_is_shrunk_while_it_is_decoded(tmp_path, monkeypatch):
    y, x = np.mgrid[:800, :1200]
    Image.fromarray(np.stack([x % 256, y % 256, (x + y) // 8], 2).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    whole = folder.load(tmp_path, size=8).images
    monkeypatch.setattr(folder, "LARGEST", 100_000)  # it has 960,000 pixels, at an eighth of its sides 15,000
    shrunk = folder.load(tmp_path, size=8).images
    assert not torch.equal(whole, shrunk) and float((whole - shrunk).abs().max()) < 0.1
    with pytest.raises(ValueError, match=r"a.jpg \(ValueError: 1 megapixels, the most are 0: shrink it first\)"):
        folder.load(tmp_path, size=700)  # for which no more than half of its pixels could be spared


@pytest.fixture
def patience():
    """A test that opens a pipe waits forever: after ten seconds it fails instead."""

    def late(*_):
        raise TimeoutError("still waiting")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device", "link to nothing", "link to itself"])
def test_what_is_no_file_is_skipped_by_name(tmp_path, monkeypatch, patience, kind):
    noise().save(tmp_path / "good.png")
    write_clip(tmp_path / "good.gif", torch.zeros(3, 4, 8, 8))
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    server = socket.socket(socket.AF_UNIX)
    for name in ("odd.png", "odd.mp4"):
        if kind == "pipe":
            os.mkfifo(name)
        elif kind == "socket":
            server = socket.socket(socket.AF_UNIX)
            server.bind(name)
        else:
            Path(name).symlink_to({"device": "/dev/zero", "nothing": "nowhere", "itself": name}[kind.split()[-1]])
    server.close()
    with pytest.warns(UserWarning, match=r"skipped 1 of 3 images.*odd.png \(ValueError: no regular file"):
        assert [path.name for path in folder.load(tmp_path, size=8).paths] == ["good.gif", "good.png"]
    with pytest.warns(UserWarning, match=r"skipped 1 of 2 videos.*odd.mp4"):
        assert [path.name for path in clips.load(tmp_path, size=8, frames=4).paths] == ["good.gif"]


@pytest.mark.parametrize("load", [lambda p: folder.load(p, size=8), lambda p: clips.load(p, size=8, frames=4)])
def test_folders_that_cannot_be_looked_into_are_reported(tmp_path, monkeypatch, load):
    (tmp_path / "locked").mkdir()
    write_clip(tmp_path / "good.gif", torch.zeros(3, 4, 8, 8))
    write_clip(tmp_path / "locked" / "lost.gif", torch.zeros(3, 4, 8, 8))
    (tmp_path / "linked").symlink_to(tmp_path / "locked")
    whole = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.warns(UserWarning, match=r"skipped 2 of 3 .* and folders.*linked \(a link.*locked \(Permission denied"):
        assert [path.name for path in load(tmp_path).paths] == ["good.gif"]
    (tmp_path / "good.gif").unlink()
    with pytest.raises(ValueError, match=r"no readable .*locked \(Permission denied\)"):
        load(tmp_path)


def test_a_folder_that_does_not_fit_into_memory_is_refused(tmp_path):
    noise().save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"1 images of 1000000x1000000 would not fit into memory"):
        folder.load(tmp_path, size=1_000_000)
    for size in (2.5, "8", True, None):
        with pytest.raises(ValueError, match="expected 1 or 3, and 1 or more"):
            folder.load(tmp_path, size=size)


def test_folder_refuses_what_holds_no_image(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"no readable image in {tmp_path}: found no files")):
        folder.load(tmp_path)
    for name in ("a.txt", "b.txt", "broken.png"):
        (tmp_path / name).write_text("not an image")
    with pytest.raises(ValueError, match=r"found 2 \.txt, 1 \.png; expected .*Not readable: broken\.png"):
        folder.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        folder.load(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="a.txt is a file"):
        folder.load(tmp_path / "a.txt")
    for wrong in ({"channels": 2}, {"size": 0}):
        with pytest.raises(ValueError, match="expected 1 or 3, and 1 or more"):
            folder.load(tmp_path, **wrong)


def test_folder_shows_progress_only_when_there_is_much_to_read(tmp_path, capsys):
    noise(1).save(tmp_path / "0.bmp")
    for number in range(1, 500):
        shutil.copy(tmp_path / "0.bmp", tmp_path / f"{number}.bmp")
    assert len(folder.load(tmp_path, size=1).paths) == 500
    assert capsys.readouterr().err == ""
    shutil.copy(tmp_path / "0.bmp", tmp_path / "500.bmp")
    folder.load(tmp_path, size=1)
    assert "501/501" in capsys.readouterr().err
