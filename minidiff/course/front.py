"""README as a shop window: the table of the course, with a picture a chapter, made from the pages themselves.

Chapters that are not written yet are in the table too, under a picture of noise. `notebooks/src/plan.yml` names them,
and says which picture of its page stands for a chapter.
"""

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from nbformat import NotebookNode
from PIL import Image, ImageOps

from minidiff.files import atomic_write

MAP = ("<!-- map -->", "<!-- /map -->")
SIZE = (200, 128)  # pixels of a chapter's picture


def plan(house: Path) -> dict[str, Any]:
    """`pictures` and `planned` of plan.yml; both empty where there is none."""
    path = house / "notebooks" / "src" / "plan.yml"
    found = (yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None) or {}
    return {key: found.get(key) or {} for key in ("pictures", "planned")}


def course_map(
    chapters: Mapping[str, Mapping[str, Any]], planned: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """README's table of the course, with its markers. `chapters` is `{NN_slug: metadata}`, `planned` as in plan.yml.

    Where a chapter has no key `seconds` (of a run at laptop scale) its minutes are left open.
    Example: `course_map({"00_start": metadata}).startswith("<!-- map -->")`.
    """
    head = ["", "", "chapter", "what it shows", "minutes on a laptop", "hours for you", "exercises"]
    rows = {}
    for name, about in chapters.items():
        minutes = math.ceil(about["seconds"] / 60) if "seconds" in about else "-"
        link, hours = f"[{about['title']}](notebooks/{name}.ipynb)", f"{about['hours_learner']:g}"
        rows[name[:2]] = [_picture(name[:2]), link, about["claim"], minutes, hours, len(about["exercises"])]
    for number, about in (planned or {}).items():
        if number in rows:
            raise ValueError(f"plan.yml: chapter {number} is written: take it out of `planned`")
        rows[number] = [_picture("planned"), f"{about['title']} *(planned)*", about["shows"], "", "", ""]
    lines = [[number, *(str(cell).replace("|", "\\|") for cell in row)] for number, row in sorted(rows.items())]
    table = ["| " + " | ".join(line) + " |" for line in [head, *lines]]
    hours = sum(about["hours_learner"] for about in chapters.values())
    count = f"{len(chapters)} of {len(rows)} chapters are written: about {hours:.0f} hours with their exercises."
    return "\n".join([MAP[0], count, "", table[0], "|--:|---|---|---|--:|--:|--:|", *table[1:], MAP[1]])


def _picture(name: str) -> str:
    return f'<img src="notebooks/pictures/{name}.png" alt="" width="{SIZE[0] // 2}">'


def with_part(readme: str, part: str) -> str:
    """README's text with `part`, which begins and ends with its markers, in their place.

    ValueError where there is not one pair of them. Example: `with_part(readme, course_map({}))`.
    """
    marks = part.splitlines()[0], part.splitlines()[-1]
    before, start, rest = readme.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end or marks[0] in after:
        raise ValueError(
            f"README.md has not one pair of markers {' ... '.join(marks)}: what is written goes between them"
        )
    return before + part + after


def thumbnail(nb: NotebookNode, number: int) -> bytes | None:
    """Picture `number` of a built page as a small PNG of `SIZE`; None where it has no picture."""
    outputs = [out.get("data", {}) for cell in nb.cells for out in cell.get("outputs", [])]
    pictures = [data["image/png"] for data in outputs if "image/png" in data]
    if not pictures:
        return None
    image = Image.open(io.BytesIO(base64.b64decode(pictures[min(number, len(pictures) - 1)]))).convert("RGB")
    wide, high = image.size  # of a long strip its beginning, of a tall sheet its top: seen small, details count
    image = image.crop((0, 0, min(wide, 2 * high), min(high, round(wide / 1.2))))
    return _small(ImageOps.pad(image, SIZE, Image.Resampling.LANCZOS, color="white"))


def noise() -> bytes:
    """The picture of what is not there yet."""
    grey = np.random.default_rng(0).normal(128, 60, (SIZE[1] // 4, SIZE[0] // 4)).clip(0, 255).astype(np.uint8)
    return _small(Image.fromarray(grey).resize(SIZE, Image.Resampling.NEAREST))


def _small(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def write_pictures(house: Path, pages: Mapping[str, NotebookNode | None]) -> None:
    """Write `notebooks/pictures`: one for each of these chapters, `{NN_slug: page}`, and the noise of the planned."""
    chosen, folder = plan(house)["pictures"], house / "notebooks" / "pictures"
    made = {name[:2]: thumbnail(nb, chosen.get(name[:2], 0)) for name, nb in pages.items() if nb}
    for name, picture in ({"planned": noise()} | made).items():
        if picture:
            atomic_write(folder / f"{name}.png", picture)
