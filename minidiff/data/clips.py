"""Clips in files: mp4 and webm through PyAV, gif and animated webp through Pillow, and a folder of a learner's own.

A clip is (3, F, H, W) in [-1, 1] with frames a second beside it. Files are known by their content, whatever they are
called, and a file that ends early is an error: half a clip would be read as a short one. What is written stands under
its name only when it is whole.
"""

import io
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minidiff.bars import tqdm
from minidiff.data.decode import timed
from minidiff.data.folder import below
from minidiff.files import atomic_write, root, verify

CODECS = {".mp4": ("mp4", "libx264"), ".webm": ("webm", "libvpx-vp9")}
PICTURES = {".gif": "GIF", ".webp": "WEBP"}
SUFFIXES = (*CODECS, *PICTURES)
LARGEST = 2**29  # values of a clip as it is read, 2 GB as numbers: 86 frames of 1920x1080


class Clip(NamedTuple):
    """A clip (3,F,H,W) in [-1, 1], and how many of its frames are shown in a second."""

    frames: Tensor
    fps: float


class Folder(NamedTuple):
    """Clips (N,3,F,size,size) in [-1, 1]; their N paths; (path, reason) of what was skipped."""

    clips: Tensor
    paths: list[Path]
    skipped: list[tuple[Path, str]]


def pixels(clip: Tensor) -> np.ndarray:
    """A clip (3,F,H,W) in [-1, 1] as bytes (F,H,W,3); what is beyond is clipped. ValueError for another shape or NaN.

    Example: `encode(pixels(render(spec)[0]), ".gif")`.
    """
    if clip.ndim != 4 or clip.shape[0] != 3 or 0 in clip.shape:
        raise ValueError(f"a clip is (3, F, H, W) with one frame or more, got {tuple(clip.shape)}")
    if not clip.is_floating_point() or not torch.isfinite(clip).all():
        kind = str(clip.dtype).removeprefix("torch.")
        raise ValueError(f"a clip holds numbers in [-1, 1], got {kind}, or NaN: bytes become x / 127.5 - 1")
    return ((clip.detach().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def encode(frames: np.ndarray, suffix: str = ".mp4", fps: float = 12, crf: int | None = None) -> bytes:
    """Bytes (F,H,W,3) as a file of that kind. The same frames give the same bytes.

    .mp4 (H.264) and .webm (VP9) store colour at half the size, so an odd side is padded by one pixel; crf: how much
    they may lose (default 18 and 20; 0 next to nothing). .gif holds 256 colours a frame and shows a frame for whole
    hundredths of a second, two at least: 12 a second become 12.5, and 60 become 50. .webp loses nothing. In both a
    frame that equals the one before is kept as a longer stay of that one, so a clip in which nothing moves is one
    picture. ValueError for another suffix, shape or rate, and a crf where there is none.
    Example: `Path("ball.mp4").write_bytes(encode(pixels(clip)))`.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames: expected uint8 (F, H, W, 3), got {frames.dtype} {frames.shape}")
    if not 0.1 <= fps <= 240:
        raise ValueError(f"fps={fps}: expected 0.1 to 240 frames a second")
    if suffix in CODECS:
        return streamed(frames, suffix, fps, crf)
    if suffix not in PICTURES:
        raise ValueError(f"{suffix or 'a name without a suffix'} is no kind of video: use {', '.join(SUFFIXES)}")
    if crf is not None:
        raise ValueError(f"crf={crf}: it is for mp4 and webm, a {suffix} has none")
    file, (first, *rest) = io.BytesIO(), [Image.fromarray(frame) for frame in frames]
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {"optimize": False, "disposal": 1}
    every = round(1000 / fps) if suffix == ".webp" else max(2, round(100 / fps)) * 10
    # Pillow drops a frame that equals the one before, and shows that one for longer.
    first.save(file, PICTURES[suffix], save_all=True, append_images=rest, duration=every, loop=0, **options)
    return file.getvalue()


def streamed(frames: np.ndarray, suffix: str, fps: float, crf: int | None) -> bytes:
    """Frames (F,H,W,3) as H.264 or VP9."""
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    (container, codec), file = CODECS[suffix], io.BytesIO()
    options = {"crf": str(20 if suffix == ".webm" else 18) if crf is None else str(crf)}
    if suffix == ".mp4":
        # x264's mbtree gives other bytes once in 100 runs or so (seen with PyAV 18.1); off, it costs little here.
        options |= {"preset": "slow", "x264-params": "mbtree=0"}
    else:
        options |= {"b": "0", "row-mt": "0", "deadline": "good", "cpu-used": "2"}
    with av.open(file, "w", format=container, options={"fflags": "bitexact"}) as out:
        stream: Any = out.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1  # how work is split among threads shows in the bytes too
        for frame in frames:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            out.mux(stream.encode(image))
        out.mux(stream.encode())
    return file.getvalue()


def write(path: str | Path, clip: Tensor, fps: float = 12, crf: int | None = None) -> Path:
    """Write a clip (3,F,H,W) in [-1, 1] to a .mp4, .webm, .gif or .webp; the path. Whole, or not at all.

    ValueError as `pixels` and `encode` say. Example: `write("outputs/ball.mp4", render(spec)[0])`.
    """
    path = Path(path)
    atomic_write(path, encode(pixels(clip), path.suffix.lower(), fps, crf))
    return path


def read(path: str | Path, size: int | None = None, frames: int | None = None, fps: float | None = None) -> Clip:
    """A clip from a file, `Clip(frames (3,F,H,W) in [-1, 1], fps)`.

    size: side of the square that the middle of every frame is shrunk to; None keeps them. frames: how many, from the
    start; None takes all. fps: read at this rate, each frame as it stands at its time; a frame repeats where the file
    has fewer. None keeps those of the file, at its mean rate.
    FileNotFoundError; ValueError for a file of another kind, one that is damaged or ends early, one with fewer frames
    than asked for, and one whose clip would not fit into memory.
    Example: `read("ball.mp4", size=32, frames=12, fps=12).frames` is (3, 12, 32, 32).
    """
    path = Path(path)
    if any(x is not None and (type(x) is not int or x < 1) for x in (size, frames)) or not (
        fps is None or 0 < fps < math.inf
    ):
        raise ValueError(
            f"size={size}, frames={frames}, fps={fps}: expected whole numbers of 1 or more, a rate above 0"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a video" + " (this is a folder)" * path.is_dir())
    kept, times, alone = [], [], 0.1
    for at, stays, frame in timed(path) if fps is None else resampled(timed(path), fps):
        kept.append(np.ascontiguousarray(frame) if size is None else square(frame, size))
        times.append(at)
        alone = stays
        if frames is not None and len(kept) == frames:
            break
        if kept[0].size * len(kept) > LARGEST:
            raise ValueError(f"{path.name} is too long for memory: ask for its first `frames`, or for a smaller `size`")
    if frames is not None and len(kept) < frames:
        rate = f" at {fps:g} frames a second" if fps else ""
        raise ValueError(f"{path.name} has {len(kept)} frames{rate}, {frames} were asked for")
    own = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 1 / alone
    tensor = torch.from_numpy(np.stack(kept)).permute(3, 0, 1, 2)  # (3, F, H, W)
    return Clip(tensor.contiguous().float().div_(127.5).sub_(1), float(fps or own))


def city() -> Clip:
    """The shipped clip from a real camera: a city at night, (3, 29, 72, 128) at 12.5 frames a second, CC0.

    ValueError or FileNotFoundError where the file is not the one that ships. Source: `data/README.md`.
    Example: `city().frames[:, 0]` is its first frame.
    """
    return read(verify(root() / "data" / "clips" / "city.mp4"))


def resampled(
    source: Iterator[tuple[float, float, np.ndarray]], fps: float
) -> Iterator[tuple[float, float, np.ndarray]]:
    """The frames of `timed` at 0, 1/fps, 2/fps ... seconds: each as it stands at its time."""
    shown, ends, count = None, 0.0, 0
    for at, stays, frame in source:
        while shown is not None and count / fps < at - 1e-3:  # files round times to milliseconds
            yield count / fps, 1 / fps, shown
            count += 1
        shown, ends = frame, at + stays
    while shown is not None and count / fps < ends - 1e-3:
        yield count / fps, 1 / fps, shown
        count += 1


def square(frame: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a frame (H,W,3), shrunk to (size, size, 3)."""
    side = min(frame.shape[:2])
    top, left = ((length - side) // 2 for length in frame.shape[:2])
    middle = Image.fromarray(np.ascontiguousarray(frame[top : top + side, left : left + side]))
    return np.asarray(middle if side == size else middle.resize((size, size), Image.Resampling.LANCZOS))


def load(folder: str | Path, size: int = 32, frames: int = 12, fps: float | None = 12) -> Folder:
    """The beginnings of all videos below `folder`, in the order of their paths; hidden files and folders are left out.

    Arguments as in `read`. What is too short, damaged or no video at all is skipped, named and counted in one warning.
    FileNotFoundError, NotADirectoryError; ValueError for a folder without a readable video. Memory: 150 kB a clip of
    32x32 with 12 frames.
    Example: `clips, paths, skipped = load("my-videos", size=32, frames=12, fps=12)`.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"no folder {folder}: give the path of a folder with videos")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: give the folder that holds it, or use `read`")
    seen, skipped = below(folder)
    files = [path for path in seen if path.suffix.lower() in (*SUFFIXES, ".mov", ".mkv", ".m4v")]
    clips, paths, folders = [], [], len(skipped)
    for path in tqdm(files, desc=f"reading {folder}", unit=" clips", disable=len(files) <= 20):
        try:
            clips.append(read(path, size, frames, fps).frames)
            paths.append(path)
        except (ValueError, OSError) as error:
            skipped.append((path, str(error) or type(error).__name__))
    broken = "; ".join(f"{path.relative_to(folder)} ({reason})" for path, reason in skipped[:3])
    if not clips:
        found = ", ".join(
            f"{k} {suffix}" for suffix, k in Counter(p.suffix.lower() or "no suffix" for p in seen).items()
        )
        reasons = f". Not readable: {broken}" if broken else ""
        expected = " ".join(SUFFIXES)
        raise ValueError(f"no readable video in {folder}: found {found or 'no files'}; expected {expected}{reasons}")
    if skipped:
        count = f"{len(skipped)} of {len(paths) + len(skipped)} videos" + " and folders" * bool(folders)
        warnings.warn(f"skipped {count} in {folder}, the first: {broken}", stacklevel=2)
    return Folder(torch.stack(clips), paths, skipped)
