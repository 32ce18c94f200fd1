"""What a chapter promises, checked: its metadata, its place among the others, its pages, its sources.

A chapter says about itself, in the header of its source under `jupyter: minidiff:`, the keys of `AUTHORED`;
the builder adds the keys of `MEASURED`. `problems` reads a built notebook as
a strict reader would (DESIGN.md, section 6). Nothing here runs code or writes a file.
"""

import json
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from statistics import median
from typing import Any

from nbformat import NotebookNode

AUTHORED = {
    "slug": str,
    "title": str,
    "claim": str,
    "objectives": list,
    "prerequisites": list,  # slugs
    "minutes_compute": (int, float),  # at laptop scale, promised
    "hours_learner": (int, float),
    "memory_gb": (int, float),
    "data": list,
    "weights": list,
    "exercises": list,  # ids, in order
    "track": str,
    "version": str,  # of minidiff
}
MEASURED = ("seconds", "scale", "device", "date")
NAV = {"tags": ["nav"]}  # of the line that the builder puts at a page's end
TRACKS = ("core", "extra", "workshop")
# What stages a lesson: a cell that calls one of these is tagged `stage`, unless an idea is built or checked in it
STAGING = (
    r"(?<![\w.])(figure|show|slideshow|animation|reel|play|table|predict|reveal|bet|image_grid|panels|lines|filled)\("
)
TOLD = r"""reveal\( *["'][^"']*["'], *["'][^"'\n]*["'] *[,)]"""  # JupyterLab shows a folded cell's first line
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")


def authored(nb: NotebookNode, name: str) -> dict[str, Any]:
    """The metadata that the author wrote. ValueError naming chapter and key where one is absent or wrong.

    `name` is `NN_slug`. Example: `authored(nb, "02_reverse")["hours_learner"] == 2`.
    """
    found = {key: value for key, value in nb.metadata.get("minidiff", {}).items() if key not in MEASURED}
    for key in [*AUTHORED, *found]:
        if key not in found:
            raise ValueError(f"{name}: the header lacks 'jupyter: minidiff: {key}'")
        if key not in AUTHORED:
            raise ValueError(f"{name}: unknown key 'jupyter: minidiff: {key}'; expected {', '.join(AUTHORED)}")
        if not isinstance(found[key], AUTHORED[key]):
            raise ValueError(f"{name}: {key} is {found[key]!r}, which is no {AUTHORED[key]}")
    if found["slug"] != name.partition("_")[2]:
        raise ValueError(f"{name}: slug is {found['slug']!r}, the file says {name.partition('_')[2]!r}")
    if found["track"] not in TRACKS:
        raise ValueError(f"{name}: track is {found['track']!r}; expected one of {', '.join(TRACKS)}")
    return found


def check_order(chapters: Mapping[str, Mapping[str, Any]]) -> None:
    """ValueError where prerequisites name no chapter, or go in a circle. `chapters` is `{NN_slug: metadata}`.

    Example: `check_order({"00_start": {"slug": "start", "prerequisites": []}})`.
    """
    graph = {chapter["slug"]: chapter["prerequisites"] for chapter in chapters.values()}
    for slug, before in graph.items():
        for unknown in sorted(set(before) - set(graph)):
            raise ValueError(f"{slug}: prerequisite {unknown!r} is no chapter; there are {', '.join(graph)}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ValueError(f"prerequisites go in a circle: {' <- '.join(error.args[1])}") from None


def difference(source: NotebookNode, built: NotebookNode) -> str | None:
    """The first difference of a built notebook from its source: a cell's kind, text or tags, or metadata."""
    for i in range(max(len(source.cells), len(built.cells))):
        if i >= len(source.cells) or i >= len(built.cells):
            where, extra = ("source", built) if i >= len(source.cells) else ("notebook", source)
            return f"cell {i + 1} is not in the {where}: {first_line(extra.cells[i])}"
        ours, theirs = source.cells[i], built.cells[i]
        for what in ("cell_type", "source"):
            if ours[what] != theirs[what]:
                return f"cell {i + 1} differs in its {what}: {first_line(ours)}"
        if ours.metadata.get("tags", []) != theirs.metadata.get("tags", []):
            return f"cell {i + 1} differs in its tags: {first_line(ours)}"
    for key in AUTHORED:
        ours, theirs = (json.dumps(nb.metadata.get("minidiff", {}).get(key)) for nb in (source, built))
        if ours != theirs:
            return f"{key} is {ours} in the source, {theirs} in the notebook"
    return None


def first_line(cell: NotebookNode) -> str:
    """The first line of a cell that is not blank, to name it by."""
    return repr(next((line.strip() for line in cell.source.splitlines() if line.strip()), "")[:70])


def prose(nb: NotebookNode) -> int:
    """Words of Markdown, without code, tags and the addresses of links; a formula counts as one word."""
    text = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown" and cell.metadata != NAV)
    text = re.sub(r"```.*?```|</?[a-zA-Z][^>]*>|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.+?\$\$|\$[^$]+\$|`[^`]+`", " formula ", text, flags=re.DOTALL)
    return len(re.findall(r"[^\W_][\w'’-]*", text))


def problems(nb: NotebookNode) -> list[str]:
    """Where a built notebook breaks the contract of DESIGN.md, section 6; an empty list where it does not.

    Example: `problems(nbformat.read("notebooks/02_reverse.ipynb", 4)) == []`.
    """
    about, found = nb.metadata.get("minidiff", {}), []
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    text = "\n".join(cell.source for cell in code)
    opening = about.get("slug") == "start"

    sizes = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    found += [f"{n} lines in {first_line(c)}: 25 at most" for n, c in zip(sizes, code, strict=True) if n > 25]
    if sizes and median(sizes) > 10:
        found.append(f"the median cell has {median(sizes):g} lines: 10 at most")
    words = prose(nb)
    if words > 2500 or words < 1200 and not opening:
        found.append(f"{words:,} words of prose: 1,200 to 2,500")
    if (size := len(json.dumps(nb))) > 1.5e6:
        found.append(f"{size / 1e6:.2f} MB: 1.5 at most")
    if not any(key in PICTURES for cell in code[:3] for out in cell.outputs for key in out.get("data", {})):
        found.append("no picture in the first three code cells")

    for cell in code:
        tags = cell.metadata.get("tags", [])
        idea = "check(" in cell.source or any(tag.startswith("builds:") for tag in tags)
        if re.search(STAGING, cell.source) and not idea and "stage" not in tags:
            found.append(f"stages (figure, bet, table) and is not tagged stage: {first_line(cell)}")
        if "stage" in tags and idea:
            found.append(f"an idea or an exercise, and tagged stage: {first_line(cell)}")
        if "stage" in tags and not cell.metadata.get("jupyter", {}).get("source_hidden"):
            found.append(f"tagged stage, and not folded: {first_line(cell)}")
        if re.match(TOLD, cell.source.strip()):
            found.append(f"its first line tells the answer: {first_line(cell)}")
        if cell.execution_count is None:
            found.append(f"not executed: {first_line(cell)}")
        for output in cell.outputs:
            found += [f"{flaw}: {first_line(cell)}" for flaw in flaws(output, tags)]

    checked = re.findall(r"""\bcheck\(\s*["']([\w.-]+)["']""", text)
    if len(checked) < (0 if opening else 1 if about.get("slug") == "cascades" else 3):
        found.append(f"{len(checked)} exercises with check(...): three or more")
    if list(dict.fromkeys(checked)) != about.get("exercises", []):
        found.append(f"the metadata lists exercises {about.get('exercises', [])}, the cells check {checked}")
    if not opening and not re.search(r"\b(play|slideshow)\(", text):
        found.append("no play(...) or slideshow(...)")
    if not re.search(r"\bpredict\(", text):
        found.append("no predict(...)")
    return found


def flaws(output: NotebookNode, tags: list[str]) -> list[str]:
    """What is wrong with one output: an error, a warning, no description, something of one machine."""
    found, data = [], output.get("data", {})
    if output.output_type == "error" and "raises-exception" not in tags:
        found.append(f"ends in {output.ename}")
    if output.get("name") == "stderr":
        found.append(f"writes to stderr ({output.text.strip()[:60]!r})")
    for kind in PICTURES:
        if kind in data and len(output.metadata.get(kind, {}).get("alt", "")) < 20:
            found.append(f"{kind} without alt text")
    markup = data.get("text/html", "")
    if re.search(r"<img (?![^>]*alt=)|<video (?![^>]*aria-label=)", markup):
        found.append("<img> without alt, or <video> without aria-label")
    if "autoplay" in markup:
        found.append("a clip that starts by itself")
    seen = output.get("text", "") + data.get("text/plain", "")
    if re.search(r"\bat 0x[0-9a-f]{6,}|(^|[\s'\"(=])/(home|Users|work|tmp|root|private)/", seen):
        found.append("prints an address or a path of one machine")
    return found
