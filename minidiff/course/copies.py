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
    """A newer cell of the course as a note below the learner's own: shown, and not run."""
    fence = f"```python\n{text(cell)}\n```" if cell.get("cell_type") == "code" else text(cell)
    note = (
        "**New in the course.** You changed the cell above, and yours is kept. This is what the course says there now:"
    )
    source = note + "\n\n" + "\n".join(f"> {line}".rstrip() for line in fence.splitlines())
    return {"cell_type": "markdown", "id": secrets.token_hex(4), "metadata": {}, "source": source}


def changes(base: list[str], cells: list[Cell]) -> list[tuple[list[Cell], list[Cell]]]:
    """For each key of `base`, and for its end: the cells put before it, and the cells that stand in its place."""
    own = list(map(key, cells))
    found: list[tuple[list[Cell], list[Cell]]] = [([], []) for _ in range(len(base) + 1)]
    for _, a, a_end, b, b_end in SequenceMatcher(None, base, own, autojunk=False).get_opcodes():
        pairs = min(a_end - a, b_end - b)  # cell against cell; what is left over is gone, or put in
        for i in range(pairs):
            found[a + i][1].append(cells[b + i])
        found[a_end][0].extend(cells[b + pairs : b_end])
    return found


def merge(base: list[str], mine: list[Cell], theirs: list[Cell]) -> tuple[list[Cell], int]:
    """`mine` and `theirs`, which both began as the cells with keys `base`, as one; and how many cells both changed.

    Where both changed a cell mine stays, and theirs follows as a note.
    Example: `merge([key(a), key(b)], [a, mine], [new, b]) == ([new, mine], 0)`.
    """
    merged: list[Cell] = []
    both = 0
    for was, (put, own), (others, other) in zip([*base, None], changes(base, mine), changes(base, theirs), strict=True):
        merged += put if list(map(key, put)) == list(map(key, others)) else others + put
        now, then = list(map(key, own)), list(map(key, other))
        if now == [was] and then != [was]:
            merged += other
        elif then in ([was], now, []):
            merged += own  # with the learner's outputs
        else:
            merged, both = merged + own + list(map(quoted, other)), both + 1
    return merged, both


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
    for source in sorted(shipped.glob("*.ipynb")):
        nb, target, base = json.loads(source.read_text(encoding="utf-8")), work / source.name, origin.get(source.name)
        cells = closed(nb["cells"])
        latest, mine = list(map(key, nb["cells"])), read(target)
        origin[source.name] = latest
        own = list(map(key, mine["cells"])) if mine else None
        if own == latest or (mine and base == latest):
            continue
        if not target.exists():
            said = "copied"
        elif own is not None and own == base:
            said = "brought up to date"
        elif mine and isinstance(base, list):
            atomic_write(work / ".before" / source.name, target.read_bytes())
            cells, both = merge(base, mine["cells"], cells)
            said = "brought up to date around what you wrote"
            said += f"; in {both} places both of you did, and the course's words stand below yours" if both else ""
        else:
            old = target.with_stem(target.stem + ".old")
            while old.exists():
                old = old.with_stem(old.stem + ".old")
            target.rename(old)
            line = f"*Your earlier copy of this page is [{old.name}]({old.name}).*"
            cells = [{"cell_type": "markdown", "id": "earlier", "metadata": {}, "source": line}, *cells]
            said = f"new; your earlier copy is {old.name}"
        atomic_write(target, json.dumps(nb | {"cells": numbered(cells)}, indent=1, ensure_ascii=False).encode())
        news.append(f"{target.name}: {said}")
    atomic_write(record, json.dumps(origin).encode())
    return news
