"""Makes data/fashion, without loss, from Debian's `dataset-fashion-mnist`: python data/build/fashion.py

The package holds the four original IDX files. Each run of 10,000 images becomes one PNG, a contact sheet of
100 by 100 tiles; the labels become .npy files. Measured for all 70,000 images on one CPU core: the gzipped
IDX files are 30.9 MB; these sheets 28.1 MB, read and hashed in 0.7 s; xz of the images stored by columns
25.2 MB, unpacked in 2.1 s. PNG was taken because people can look at it; some Pythons come without lzma.
The same zlib (that of the Pillow wheel) gives the same bytes; another may give other bytes with the same
pixels, and then the hashes in data/README.md need the new values too (a test says so).
"""

import argparse
import gzip
import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image

from minidiff.files import sha256, write_data

PACKAGE = "dataset-fashion-mnist"
DEB_SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"  # 0.0~git20200523.55506a9-1
PREFIX = {"train": "train", "test": "t10k"}  # our split: the original's name for it
ROWS = 100  # of tiles in a sheet, and as many columns
Z_RLE = 3  # zlib's strategy for matches at distance 1 only: on these sheets both smaller and 10 times faster


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: 0, 0, 8 (uint8), rank, big-endian int32 sizes, then the values.

    Raises ValueError when the header is another or the length does not fit it.
    """
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} starts with {raw[:4].hex()}; expected 000008.. (IDX of uint8)")
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if values.size != shape.prod():
        raise ValueError(f"{path.name} holds {values.size} values; its header says {shape.tolist()}")
    return values.reshape(shape)


def sheet(images: np.ndarray, rows: int = ROWS) -> bytes:
    """A PNG contact sheet of uint8 images (rows*columns, 28, 28). Inverse: `minidiff.data.fashion.tiles`."""
    tiled = rearrange(images, "(r c) h w -> (r h) (c w)", r=rows)
    png = io.BytesIO()
    Image.fromarray(tiled).save(png, "PNG", compress_type=Z_RLE)
    return png.getvalue()


def npy(labels: np.ndarray) -> bytes:
    """The bytes of an .npy file of uint8 labels (N,)."""
    file = io.BytesIO()
    np.save(file, labels.astype(np.uint8), allow_pickle=False)
    return file.getvalue()


def convert(idx: Path, rows: int = ROWS) -> dict[str, bytes]:
    """`{file name: content}` of all shipped files, from the folder of the four gzipped IDX files."""
    files = {}
    for split, prefix in PREFIX.items():
        images = read_idx(idx / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(idx / f"{prefix}-labels-idx1-ubyte.gz")
        if images.shape != (len(labels), 28, 28) or len(images) % rows**2:
            expected = f"expected (N, 28, 28) and (N,), N a multiple of {rows**2}"
            raise ValueError(f"{split}: images {images.shape}, labels {labels.shape}; {expected}")
        for number, part in enumerate(np.split(images, len(images) // rows**2)):
            files[f"{split}-{number}.png"] = sheet(part, rows)
        files[f"{split}-labels.npy"] = npy(labels)
    return files


def unpack(deb: Path | None, scratch: Path) -> Path:
    """The folder of IDX files, unpacked below `scratch` from `deb`, or fetched where that is None."""
    if deb is None:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=scratch, check=True)
        (deb,) = scratch.glob("*.deb")
    if sha256(deb) != DEB_SHA256:
        raise ValueError(f"{deb.name} has sha256 {sha256(deb)}; expected {DEB_SHA256}")
    subprocess.run(["dpkg-deb", "-x", deb, scratch / "deb"], check=True)
    return scratch / "deb" / "usr" / "share" / "datasets" / "fashion-mnist"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes data/fashion from Debian's dataset-fashion-mnist.")
    parser.add_argument("--deb", type=Path, help="the package; without it, 'apt-get download' fetches it")
    with tempfile.TemporaryDirectory() as scratch:
        made = convert(unpack(parser.parse_args().deb, Path(scratch)))
    write_data("fashion", made)
    for name, content in made.items():
        print(f"{len(content):>9,} bytes  data/fashion/{name}")
