"""Makes data/results/film.gif, the film of the README: noise to clothes, ten classes: python data/build/film.py

Four samples of each class from the shipped `fashion-unet-class`, 50 steps of DDIM at w=2. The film plays once and
rests on its last picture, so that a page that shows it stays calm.
"""

import io

import torch
from PIL import Image, ImageDraw
from torch import Generator

from minidiff import ddim, guide, load, prior, uniform_grid
from minidiff.course.plots import tile
from minidiff.data.fashion import NAMES
from minidiff.files import atomic_write, root

STEPS, EACH, SCALE, GAP, BAND = 50, 4, 2, 6, 16


def page(images: torch.Tensor) -> Image.Image:
    """Forty images (40, 1, 28, 28), a class a column, under their names."""
    picture = tile(images, columns=10, scale=SCALE, gap=GAP)
    frame = Image.new("L", (picture.shape[1], picture.shape[0] + BAND), 255)
    frame.paste(Image.fromarray(picture[:, :, 0]), (0, BAND))
    draw, wide = ImageDraw.Draw(frame), 28 * SCALE + GAP
    for i, name in enumerate(NAMES):
        draw.text((i * wide + 14 * SCALE, 7), name, fill=60, anchor="mm", font_size=10)
    return frame.quantize(32, dither=Image.Dither.NONE)


denoise = load("fashion-unet-class")
labels = torch.arange(10).repeat(EACH)
noise = prior(denoise.schedule, (10 * EACH, 1, 28, 28), Generator().manual_seed(3))
walk = ddim(guide(denoise, 2.0, denoise.null), noise, uniform_grid(STEPS), denoise.schedule, cond=labels)
frames = [page(noise)] + [page(x) for i, (_, x, _) in enumerate(walk) if i % 2]
film = io.BytesIO()
times = [400] + [90] * (len(frames) - 2) + [4000]
frames[0].save(film, "gif", save_all=True, append_images=frames[1:], duration=times, optimize=True)
path = root() / "data" / "results" / "film.gif"
atomic_write(path, film.getvalue())
print(f"{path.name}: {len(frames)} frames, {path.stat().st_size:,} bytes")
