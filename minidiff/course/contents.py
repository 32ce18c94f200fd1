"""The way through the course: which pages there are, which come before and after one, and how far a learner is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

About = dict[str, Any]  # what a chapter says about itself (`contract.AUTHORED`)


def chapters(folder: Path) -> dict[str, About]:
    """The chapters whose pages lie in a folder, `{NN_slug: what it says about itself}`, in order."""
    found = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["minidiff"]
        except (OSError, ValueError, KeyError, TypeError):  # a learner's own notebook, or half of one
            continue
        if isinstance(about, dict) and about.get("slug") == path.stem.partition("_")[2]:  # not `02_reverse-Copy1`
            found[path.stem] = about
    return found


def table(found: dict[str, About], passed: dict[str, bool] | None = None) -> str:
    """A Markdown table with a link to each page; with `passed`, `{exercise: passed}`, how much of it is done."""
    last = "hours for you" if passed is None else "exercises"
    rows = [f"| | chapter | what it shows | {last} |", "|--:|---|---|--:|"]
    for name, about in found.items():
        done = f"{about['hours_learner']:g}"
        if passed is not None:
            done = f"{sum(passed.get(id, False) for id in about['exercises'])} of {len(about['exercises'])}"
        title, claim = (about[key].replace("|", "\\|") for key in ("title", "claim"))
        rows.append(f"| {name[:2]} | [{title}]({name}.ipynb) | {claim} | {done} |")
    return "\n".join(rows)


def footer(found: dict[str, About], name: str) -> str:
    """The line at the end of a page that leads to those before and after it, and to the list of all.

    Example: `footer(chapters(Path("notebooks")), "02_reverse")`.
    """
    names = list(found)
    at = names.index(name)

    def link(other: str, before: str = "", after: str = "") -> str:
        return f"[{before}{other[:2]} · {found[other]['title']}{after}]({other}.ipynb)"

    parts = [link(names[at - 1], before="← ")] if at else []
    parts += [f"[all chapters]({names[0]}.ipynb)"] if at else []
    parts += [link(names[at + 1], after=" →")] if at + 1 < len(names) else []
    return " | ".join(parts)
