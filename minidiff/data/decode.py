"""The frames of a video file one after the other: mp4 and webm through PyAV, gif and webp through Pillow.

A file is known by its content, whatever it is called, and one that ends early is an error.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image


def kind(head: bytes) -> str:
    """What a file holds, by its first 12 bytes: mp4, webm, gif or webp. ValueError for anything else."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    raise ValueError("this is no video that can be read here: mp4 (mov), webm (mkv), gif or webp, by its content")


def timed(path: Path) -> Iterator[tuple[float, float, np.ndarray]]:
    """The frames of a file in order: when each begins and how long it stays, seconds, and its bytes (H,W,3).

    ValueError for a file of another kind, one that ends early, and a frame of another size than the first.
    """
    with open(path, "rb") as file:
        sort = kind(file.read(12))
    size = None
    for at, stays, frame in pictures(path, sort) if sort in ("gif", "webp") else decoded(path):
        size = size or frame.shape
        if frame.shape != size:
            raise ValueError(
                f"its frames change their size, from {size[1]}x{size[0]} to {frame.shape[1]}x{frame.shape[0]}"
            )
        yield at, stays, frame


def pictures(path: Path, sort: str) -> Iterator[tuple[float, float, np.ndarray]]:
    """The frames of a gif or webp, transparency on white; one picture is a clip of one frame."""
    content, now = path.read_bytes(), 0.0
    whole = int.from_bytes(content[4:8], "little") + 8  # bytes of a webp
    if (content.rstrip(b"\0")[-1:] != b";") if sort == "gif" else len(content) < whole:
        raise ValueError("the file ends early: copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=(sort.upper(),)) as image:
                for i in range(getattr(image, "n_frames", 1)):
                    image.seek(i)
                    flat = image.convert("RGBA")
                    shown = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
                    stays = (image.info.get("duration") or 100) / 1000  # what names no time is shown for 100 ms
                    yield now, stays, np.asarray(shown)
                    now += stays
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"its pictures are too large ({error})") from None
    except (OSError, EOFError, SyntaxError, struct.error) as error:
        raise ValueError(f"the file is damaged ({error})") from None


def decoded(path: Path) -> Iterator[tuple[float, float, np.ndarray]]:
    """The frames of the first video stream of a file, turned upright."""
    count, begins, now, stays = 0, 0.0, 0.0, 0.0
    try:
        with av.open(f"file:{path}", "r") as file:
            if not file.streams.video:
                raise ValueError("it holds no pictures (sound alone)")
            stream = file.streams.video[0]
            usual, ends = float(1 / (stream.average_rate or stream.guessed_rate or 12)), length(file, stream)
            for frame in file.decode(stream):
                at = count * usual if frame.time is None else frame.time
                begins = at if count == 0 else begins
                now, stays = at - begins, float(frame.duration * (frame.time_base or 0)) or usual
                yield now, stays, np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                count += 1
    except FFmpegError as error:
        raise ValueError(f"the file is damaged or ends early ({error.strerror or type(error).__name__})") from None
    if not count or now + stays + usual / 2 < ends:
        raise ValueError(f"the file ends early: {count} frames can be read, and it says {ends:.2f} s")


def length(file: Any, stream: Any) -> float:
    """How long a stream of pictures says that it is, seconds; 0 where only a file with sound says so, of the longer."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # of webm: hours, minutes, seconds
        return sum(float(part) * 60**k for k, part in enumerate(reversed(tag.split(":"))))
    return float(file.duration or 0) / av.time_base if len(file.streams) == 1 else 0.0
