"""A learner's own copies of the notebooks: they follow the course, and what was written in them stays.

What counts is what cells say. Running a page or opening it changes outputs and metadata, and is no edit. An update
is merged cell by cell with what the learner wrote, like two people's work on one text: `work/.origin.json` holds
which cells each copy was offered. Outputs below the first bet are left out of a copy: they would give it away.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from minidiff.files import atomic_write

Cell = dict[str, Any]
BET = re.compile(r"^\s*(predict|bet)\(", re.MULTILINE)


def text(cell: Cell) -> str:
    """What a cell says, whose source a file may hold as a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def key(cell: Cell) -> str:
    """What two cells share if they say the same. Example: `key({"cell_type": "code", "source": "1"})`."""
    return hashlib.sha256(f"{cell.get('cell_type')}\0{text(cell).strip()}".encode()).hexdigest()[:16]


def closed(cells: list[Cell]) -> list[Cell]:
    """The cells without the outputs below the first one that asks for a bet."""
    at = next((i for i, cell in enumerate(cells) if BET.search(text(cell))), len(cells))
    bare = {"outputs": [], "execution_count": None}
    return [cell | bare if i > at and cell.get("cell_type") == "code" else cell for i, cell in enumerate(cells)]


def quoted(cell: Cell) -> Cell:
    """A newer cell of the course as a note beside the learner's own: shown, and not run."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text(cell))), default=0))
    words = f"{fence}python\n{text(cell)}\n{fence}" if cell.get("cell_type") == "code" else text(cell)
    note = "**New in the course.** You changed this place, and your version is kept. The course now says here:"
    source = note + "\n\n" + "\n".join(f"> {line}".rstrip() for line in words.splitlines())
    return {"cell_type": "markdown", "id": secrets.token_hex(4), "metadata": {}, "source": source}


def changes(base: list[str], cells: list[Cell]) -> tuple[list[list[Cell]], list[list[Cell]], set[int]]:
    """What became of `base`: cells put before each key (and after the last), cells in each key's place, and the keys
    that belong with the one before, because so many cells became another number of cells."""
    put: list[list[Cell]] = [[] for _ in range(len(base) + 1)]
    place: list[list[Cell]] = [[] for _ in base]
    joined: set[int] = set()
    for kind, a, a_end, b, b_end in SequenceMatcher(None, base, list(map(key, cells)), autojunk=False).get_opcodes():
        if kind == "insert":
            put[a] += cells[b:b_end]
        elif a_end - a == b_end - b:
            for i in range(a_end - a):
                place[a + i] = [cells[b + i]]
        elif kind == "replace":
            place[a], joined = cells[b:b_end], joined | set(range(a + 1, a_end))
    return put, place, joined


def merge(base: list[str], mine: list[Cell], theirs: list[Cell]) -> tuple[list[Cell], int]:
    """`mine` and `theirs`, which both began as the cells with keys `base`, as one; and how many places both changed.

    Where both changed a place mine stays, and theirs follows as notes: never code that would run over mine.
    Example: `merge([key(a), key(b)], [a, mine], [new, b]) == ([new, mine], 0)`.
    """
    put, own, joined = changes(base, mine)
    others, other, also = changes(base, theirs)
    starts = [i for i in range(len(base)) if i not in joined | also]
    merged: list[Cell] = []
    both = 0

    def new(i: int) -> list[Cell]:
        return put[i] if list(map(key, put[i])) == list(map(key, others[i])) else others[i] + put[i]

    for start, end in zip(starts, [*starts, len(base)][1:], strict=True):
        merged += new(start)
        here = sum((put[i] * (i > start) + own[i] for i in range(start, end)), [])
        there = sum((others[i] * (i > start) + other[i] for i in range(start, end)), [])
        was, now, then = base[start:end], list(map(key, here)), list(map(key, there))
        if now == was and then != was:
            merged += there
        elif then in (was, now, []):
            merged += here  # with the learner's outputs
        else:
            notes = [quoted(cell) for cell in there if key(cell) not in was + now]
            merged, both = merged + here + notes, both + bool(notes)
    return merged + new(len(base)), both


def numbered(cells: list[Cell]) -> list[Cell]:
    """The cells with ids that differ, as the notebook format asks."""
    seen: set[str] = set()
    for i, cell in enumerate(cells):
        if cell.get("id") in seen or "id" not in cell:
            cells[i] = cell = cell | {"id": secrets.token_hex(4)}
        seen.add(cell["id"])
    return cells


def read(path: Path) -> dict[str, Any] | None:
    """A notebook as JSON, or None where it is absent or none."""
    try:
        nb = json.loads(path.read_text(encoding="utf-8"))
        return nb if all(isinstance(cell, dict) for cell in nb["cells"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy_notebooks(shipped: Path, work: Path) -> list[str]:
    """Bring `work/` up to date with `shipped/*.ipynb`, and keep what a learner wrote; returns a line for each change.

    A copy from before its cells were recorded, or one that is no notebook, is set aside as `NAME.old.ipynb`, which the
    first line of the new one links. What a merge replaced is in `work/.before`.
    """
    work.mkdir(parents=True, exist_ok=True)
    record, news = work / ".origin.json", []
    try:
        origin = dict(json.loads(record.read_text()))
    except (OSError, ValueError, TypeError):
        origin = {}

    def know(name: str, cells: list[str]) -> None:
        """Remember what a copy was offered, at once: a merge that is not remembered would be done again."""
        if origin.get(name) != cells:
            origin[name] = cells
            atomic_write(record, json.dumps(origin).encode())

    for source in sorted(shipped.glob("*.ipynb")):
        nb, target, base = read(source), work / source.name, origin.get(source.name)
        if nb is None:
            raise ValueError(f"{source} is no notebook: restore it with 'git checkout -- {source.name}'")
        cells = closed(nb["cells"])
        latest, mine = list(map(key, nb["cells"])), read(target)
        own = list(map(key, mine["cells"])) if mine else None
        if own == latest or (mine and base == latest):
            know(source.name, latest)
            continue
        if not target.exists():
            said = "copied"
        elif mine and isinstance(base, list):
            atomic_write(work / ".before" / source.name, target.read_bytes())
            cells, both = merge(base, mine["cells"], cells)
            said = "brought up to date" + " around what you wrote" * (own != base)
            said += f"; in {both} places both of you wrote, and the course's words stand below yours" if both else ""
        else:
            old = target.with_stem(target.stem + ".old")
            while old.exists():
                old = old.with_stem(old.stem + ".old")
            target.rename(old)
            line = f"*Your earlier copy of this page is [{old.name}]({old.name}).*"
            cells = [{"cell_type": "markdown", "id": "earlier", "metadata": {}, "source": line}, *cells]
            said = f"new; your earlier copy is {old.name}"
        atomic_write(target, json.dumps(nb | {"cells": numbered(cells)}, indent=1, ensure_ascii=False).encode())
        know(source.name, latest)
        news.append(f"{target.name}: {said}")
    return news
