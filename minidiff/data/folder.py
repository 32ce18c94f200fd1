"""A learner's own images: every picture below a folder, cropped to its middle square, as one tensor.

A pixel p in 0..255 becomes p/127.5 - 1 in [-1, 1]. Photographs are turned upright (EXIF), transparency shows
white, and of an animation the first frame is taken. Files that cannot be read, folders that cannot be looked into,
pipes and devices are skipped, named and counted.
"""

import os
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor

from minidiff.bars import tqdm
from minidiff.checks import fits

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # of the content: a renamed file reaches no other decoder
LARGEST = 50_000_000  # pixels of one picture: 150 MB while it is read
MODES = {1: "L", 3: "RGB"}


class Folder(NamedTuple):
    """Images (N, C, size, size), float32 in [-1, 1]; their N paths; (path, reason) of what was skipped."""

    images: Tensor
    paths: list[Path]
    skipped: list[tuple[Path, str]]


def below(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files below a folder in the order of their paths, hidden ones left out; (path, reason) of lost folders.

    Example: `files, lost = below(Path("my-photos"))`.
    """
    files: list[Path] = []
    lost: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        lost.append((Path(error.filename), error.strerror or type(error).__name__))

    for place, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
        lost += [(path, "a link to a folder, which is not followed") for path in links]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files), lost


def read(path: Path, size: int, mode: str) -> np.ndarray:
    """One file as uint8 (size, size, C), `mode` "L" (C = 1) or "RGB" (C = 3). Raises what Pillow raises.

    A picture of more than LARGEST pixels is a ValueError; a JPEG is then shrunk while it is decoded, if that helps.
    """
    if not path.is_file():
        raise ValueError("no regular file (a pipe, a device, or a link to nothing)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the stricter limit
        with Image.open(path, formats=FORMATS) as file:
            pixels = file.width * file.height
            if pixels > LARGEST:
                file.draft(None, (size, size))
            if file.width * file.height > LARGEST:
                raise ValueError(f"{pixels / 1e6:,.0f} megapixels, the most are {LARGEST / 1e6:.0f}: shrink it first")
            image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's convert would clip to white
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    # Cropped before it is resized: ImageOps.fit lets the resize filter see pixels beyond the crop.
    square = image.crop((left, top, left + side, top + side)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert(mode)
    return np.asarray(flat.resize((size, size), Image.Resampling.LANCZOS)).reshape(size, size, -1)


def load(folder: str | Path, size: int = 64, channels: int = 3) -> Folder:
    """All images below `folder`, in the order of their paths; hidden files and folders are left out.

    `size` is the side in pixels, `channels` 1 (grey) or 3 (RGB). What is not readable gives one warning with its count;
    so does a picture of more than 50 megapixels, unless it is a JPEG. Raises FileNotFoundError (no such folder),
    NotADirectoryError (a file), ValueError (no readable image; another `channels` or `size`; more than fits into
    memory: 4 bytes a value, 2.5 GB for 50,000 RGB images of 64x64).
    Example: `images, paths, skipped = load("my-photos", size=32)`.
    """
    folder = Path(folder)
    if channels not in MODES or type(size) is not int or size < 1:
        raise ValueError(f"channels is {channels!r} and size {size!r}; expected 1 or 3, and 1 or more")
    if not folder.exists():
        raise FileNotFoundError(f"no folder {folder}: give the path of a folder with images")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: give the folder that holds it")
    seen, lost = below(folder)
    files = [path for path in seen if path.suffix.lower() in SUFFIXES]
    fits(f"{len(files):,} images of {size}x{size}", len(files) * channels * size**2, copies=2)
    images, paths, skipped, folders = [], [], lost, len(lost)
    for path in tqdm(files, desc=f"reading {folder}", unit=" images", disable=len(files) <= 500):
        try:
            images.append(read(path, size, MODES[channels]))
            paths.append(path)
        except Exception as error:  # on corrupt bytes Pillow's decoders raise almost any type
            skipped.append((path, f"{type(error).__name__}: {error}"))
    broken = "; ".join(f"{path.relative_to(folder)} ({reason})" for path, reason in skipped[:3])
    if not images:
        suffixes = Counter(path.suffix.lower() or "no suffix" for path in seen)
        found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common()) or "no files"
        reasons = f". Not readable: {broken}" if broken else ""
        expected = " ".join(sorted(SUFFIXES))
        raise ValueError(f"no readable image in {folder}: found {found}; expected {expected}{reasons}")
    if skipped:
        count = f"{len(skipped)} of {len(paths) + len(skipped)} images" + " and folders" * bool(folders)
        warnings.warn(f"skipped {count} in {folder}, the first: {broken}", stacklevel=2)
    pixels = rearrange(torch.from_numpy(np.stack(images)), "b h w c -> b c h w")  # (N, C, size, size)
    return Folder(pixels.contiguous().float().div_(127.5).sub_(1), paths, skipped)
