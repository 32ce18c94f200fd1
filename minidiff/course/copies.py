"""A learner's own copies of the notebooks, which follow the course until they are worked in."""

from __future__ import annotations

import json
from pathlib import Path

from minidiff.files import atomic_write, sha256


def copy_notebooks(shipped: Path, work: Path) -> list[str]:
    """Copy `shipped/*.ipynb` into `work/`, never over a learner's work; returns a line for each new file.

    `work/.origin.json` holds the sha256 of the shipped version that each copy was offered. A copy that still
    has it is untouched, and follows the course; a changed one is kept, and a newer one goes beside it, once.
    """
    work.mkdir(parents=True, exist_ok=True)
    record = work / ".origin.json"
    try:
        origin = json.loads(record.read_text())
    except (OSError, ValueError):
        origin = {}
    news = []
    for source in sorted(shipped.glob("*.ipynb")):
        target, latest, offered = work / source.name, sha256(source), origin.get(source.name)
        mine = sha256(target) if target.exists() else None
        if mine is None or mine == offered != latest:
            atomic_write(target, source.read_bytes())
            news.append(f"{target.name}: {'copied' if mine is None else 'brought up to date'}")
        elif mine != latest and offered != latest:
            beside = target.with_stem(target.stem + ".new")
            while beside.exists() and sha256(beside) != origin.get(beside.name):  # a .new that was worked in
                beside = beside.with_stem(beside.stem + ".new")
            atomic_write(beside, source.read_bytes())
            origin[beside.name] = latest
            news.append(f"{target.name}: you changed it, so it is kept; the newer one is {beside.name}")
        origin[source.name] = latest
    atomic_write(record, json.dumps(origin, indent=1).encode())
    return news
