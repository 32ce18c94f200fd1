"""Clips in files: round trips against what went in, rates, and files that no clip can come from."""

import io
import os

import av
import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import clips, toybox
from minidiff.data.clips import Clip, encode, load, pixels, read, write

RATES = {".mp4": 12, ".webm": 12, ".gif": 12.5, ".webp": 12}


def ball(frames=12, side=32, seed=0, wide=None):
    spec = toybox.sample(1, torch.Generator().manual_seed(seed), toybox.World((1, 1), ("drifts",)), frames=frames)
    return toybox.render(spec, side, wide)[0]


@pytest.mark.parametrize("suffix", clips.SUFFIXES)
def test_what_is_written_is_read_again(tmp_path, suffix):
    clip = ball()
    path = write(tmp_path / f"ball{suffix}", clip)
    again, fps = read(path)
    assert again.shape == clip.shape and fps == pytest.approx(RATES[suffix], rel=0.01)
    near = float((again - clip).square().mean())
    assert near < {".webp": 1e-4, ".gif": 1e-3}.get(suffix, 5e-3)  # colour at half the size is what codecs lose
    assert float((again - clip.flip(1)).square().mean()) > 3 * near  # the order of the frames has survived
    assert [p.name for p in tmp_path.iterdir()] == [f"ball{suffix}"]


@pytest.mark.parametrize("suffix", clips.SUFFIXES)
def test_the_same_frames_give_the_same_bytes(suffix):
    frames = pixels(ball())
    assert encode(frames, suffix) == encode(frames, suffix) != encode(frames[::-1], suffix)


def test_webp_loses_nothing_and_codecs_lose_less_for_more_bytes():
    frames = pixels(ball())
    assert len(encode(frames, ".mp4", crf=10)) > len(encode(frames, ".mp4", crf=30))
    with Image.open(io.BytesIO(encode(frames, ".webp"))) as image:
        image.seek(5)
        assert (np.asarray(image.convert("RGB")) == frames[5]).all()


def ramp(frames, rate, path, levels=None):
    """A file whose frame k is uniformly grey, 8 k."""
    grey = np.arange(frames) * 8 if levels is None else np.array(levels)
    path.write_bytes(
        encode(np.broadcast_to(grey[:, None, None, None], (len(grey), 32, 32, 3)).astype(np.uint8), path.suffix, rate)
    )
    return path


def shown(clip: Clip):
    return ((clip.frames[0, :, 16, 16] + 1) * 127.5 / 8).round().int().tolist()


@pytest.mark.parametrize("suffix", clips.SUFFIXES)
def test_another_rate_takes_frames_as_they_stand_at_their_times(tmp_path, suffix):
    path = ramp(20, 20, tmp_path / f"ramp{suffix}")
    assert shown(read(path)) == list(range(20))
    assert shown(read(path, fps=10)) == list(range(0, 20, 2))
    assert shown(read(path, fps=40, frames=6)) == [0, 0, 1, 1, 2, 2]
    assert shown(read(path, fps=20, frames=4)) == [0, 1, 2, 3] == shown(read(path, frames=4))
    with pytest.raises(ValueError, match="has 10 frames at 10 frames a second, 12 were asked for"):
        read(path, fps=10, frames=12)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_picture_that_stands_still_keeps_its_time(tmp_path, suffix):
    path = ramp(12, 10, tmp_path / f"still{suffix}", [80] * 6 + [160] * 6)
    assert shown(read(path, fps=10)) == [10] * 6 + [20] * 6


def test_a_webp_in_which_nothing_moves_is_one_picture(tmp_path):
    path = ramp(6, 10, tmp_path / "still.webp", [80] * 6)
    with pytest.raises(ValueError, match="has 1 frames at 10 frames a second, 6 were asked for"):
        read(path, fps=10, frames=6)


def test_one_frame_odd_sides_and_the_middle_square(tmp_path):
    assert read(write(tmp_path / "one.mp4", ball(1))).frames.shape == (3, 1, 32, 32)
    assert read(write(tmp_path / "odd.webm", ball()[:, :, :31, :27])).frames.shape == (3, 12, 32, 28)
    assert read(write(tmp_path / "odd.gif", ball()[:, :, :31, :27])).frames.shape == (3, 12, 31, 27)
    wide = torch.full((3, 4, 32, 64), -1.0)
    wide[:, :, :, 16:48] = 1.0
    square = read(write(tmp_path / "wide.webm", wide), size=16).frames
    assert square.shape == (3, 4, 16, 16) and bool((square > 0.97).all())
    Image.new("RGB", (8, 8), "red").save(tmp_path / "picture.webp")
    assert read(tmp_path / "picture.webp").frames[:, 0, 4, 4].tolist()[1] < -0.9


def sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", clips.SUFFIXES)
@pytest.mark.parametrize("part", [0.1, 0.4, 0.7, 0.9])
def test_a_file_that_ends_early_is_an_error(tmp_path, suffix, part):
    whole = encode(pixels(ball(24, 64)), suffix)
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match="ends early"):
        read(path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("seconds", [0.5, 1.1, 2.0])
def test_sound_may_be_longer_or_shorter_than_the_pictures(tmp_path, suffix, seconds):
    path = tmp_path / f"talk{suffix}"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264" if suffix == ".mp4" else "libvpx-vp9", rate=12)
        voice = out.add_stream("aac" if suffix == ".mp4" else "libopus", rate=48000)
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        for frame in pixels(ball()):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        out.mux(video.encode())
        kind = "fltp" if suffix == ".mp4" else "s16"
        noise = np.zeros((1, int(48000 * seconds)), np.float32 if suffix == ".mp4" else np.int16)
        sound = av.AudioFrame.from_ndarray(noise, format=kind, layout="mono")
        sound.sample_rate = 48000
        out.mux(voice.encode(sound))
        out.mux(voice.encode(None))
    assert read(path).frames.shape == (3, 12, 32, 32)


def test_a_webm_that_lacks_its_last_frame_is_noticed(tmp_path):
    whole, path, short = encode(pixels(ball()), ".webm"), tmp_path / "ball.webm", 0
    for cut in range(1, 60):
        path.write_bytes(whole[:-cut])
        try:
            assert read(path).frames.shape[1] == 12
        except ValueError as error:
            assert "ends early" in str(error)
            short += 1
    assert short > 20


def test_one_gif_that_claims_to_be_huge_costs_no_folder(tmp_path):
    write(tmp_path / "ball.mp4", ball())
    head = encode(pixels(ball()), ".gif")
    (tmp_path / "bomb.gif").write_bytes(head[:6] + b"\x60\xea\x60\xea" + head[10:])
    with pytest.warns(UserWarning, match="skipped 1 of 2"):
        assert len(load(tmp_path).paths) == 1
    with pytest.raises(ValueError, match="too large|damaged"):
        read(tmp_path / "bomb.gif")


def test_names_with_a_colon_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("take:1.mp4", ball())
    assert read("take:1.mp4").frames.shape[1] == 12


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("text.mp4", b"This is a letter, and no video.", "no video that can be read"),
        ("empty.webm", b"", "no video that can be read"),
        ("photo.gif", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "no video that can be read"),
        ("junk.mp4", b"\0\0\0\x20ftypisom" + os.urandom(400), "damaged or ends early"),
    ],
)
def test_foreign_files_are_named_for_what_they_are(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read(tmp_path / name)


def test_other_bad_input_is_an_error_that_says_what_is_wanted(tmp_path):
    sound(tmp_path / "song.mp4")
    with pytest.raises(ValueError, match="no pictures"):
        read(tmp_path / "song.mp4")
    with pytest.raises(FileNotFoundError, match="this is a folder"):
        read(tmp_path)
    path = write(tmp_path / "ball.mp4", ball())
    for wrong in (
        {"size": 0},
        {"frames": 2.5},
        {"fps": 0},
        {"fps": -3.0},
        {"fps": float("nan")},
        {"fps": float("inf")},
    ):
        with pytest.raises(ValueError, match="expected whole numbers"):
            read(path, **wrong)
    for clip in (ball()[:, :0], ball()[0], ball()[:2], ball() * torch.nan, pixels(ball())):
        with pytest.raises(ValueError, match="a clip"):
            write(tmp_path / "new.mp4", torch.as_tensor(clip))
    with pytest.raises(ValueError, match="use .mp4, .webm, .gif, .webp"):
        write(tmp_path / "new.avi", ball())
    with pytest.raises(ValueError, match="crf=3"):
        write(tmp_path / "new.gif", ball(), crf=3)
    with pytest.raises(ValueError, match="fps=0"):
        write(tmp_path / "new.mp4", ball(), fps=0)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["ball.mp4", "song.mp4"]  # nothing half-written


def test_a_clip_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "LARGEST", 20_000)
    path = write(tmp_path / "ball.mp4", ball())
    with pytest.raises(ValueError, match="too long for memory"):
        read(path)
    assert read(path, frames=4).frames.shape[1] == 4


def test_a_folder_is_read_and_what_is_broken_is_named(tmp_path):
    for i, suffix in enumerate(clips.SUFFIXES):
        write(tmp_path / "sub" / f"{i}{suffix}", ball(seed=i))
    write(tmp_path / "brief.mp4", ball(3))
    write(tmp_path / ".hidden" / "9.mp4", ball(3))
    (tmp_path / "torn.webm").write_bytes(encode(pixels(ball()), ".webm")[:300])
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.warns(UserWarning, match=r"skipped 2 of 6 videos .*brief.mp4 .*3 frames.*torn.webm"):
        folder = load(tmp_path)
    assert folder.clips.shape == (4, 3, 12, 32, 32) and [p.name for p in folder.paths] == [
        "0.mp4",
        "1.webm",
        "2.gif",
        "3.webp",
    ]
    for i, clip in enumerate(folder.clips):
        assert float((clip - ball(seed=i)).square().mean()) < 0.02
    assert [path.name for path, _ in folder.skipped] == ["brief.mp4", "torn.webm"]


def test_a_folder_without_videos_says_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match="found no files"):
        load(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(ValueError, match="found 1 .txt; expected .mp4"):
        load(tmp_path)
    with pytest.raises(NotADirectoryError):
        load(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_the_shipped_clip_is_real_moves_and_has_no_cut():
    clip, fps = clips.city()
    assert clip.shape == (3, 29, 72, 128) and fps == pytest.approx(12.5)
    steps = clip.diff(dim=1).abs().mean((0, 2, 3))
    assert 0.01 < float(steps.min()) and float(steps.max()) < 3 * float(steps.median())
