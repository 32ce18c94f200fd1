"""The notebook builder: sources in `notebooks/src` (py:percent) to executed pages in `notebooks`.

    python -m minidiff.course.build             build every chapter, then README's map
    python -m minidiff.course.build 02 03       build these
    python -m minidiff.course.build --check     compare pages, README's map and sources; write nothing
    python -m minidiff.course.build --render 02 write outputs/html/02_reverse.html to read; run nothing

A page depends on its source and on what its cells compute, and on nothing else: cell ids count up, nothing is
stamped with a time but the metadata, and progress bars, widgets and the learner's progress file are left out. So a
rebuild changes only what was computed differently.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from minidiff.course import contents, contract, front, page
from minidiff.files import atomic_write, outputs, root
from minidiff.scale import SCALES
from minidiff.threads import share

WIDGET = "application/vnd.jupyter.widget-view+json"
FOLDED = """{% extends "lab/index.html.j2" %}
{% block input_group %}{% if "stage" in cell.metadata.get("tags", []) %}
<details style="margin: 0.3em 0 0.3em 6em; color: #6b6e78; font-size: 85%"><summary>the code of what follows</summary>
{{ super() }}</details>
{% else %}{{ super() }}{% endif %}{% endblock %}"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read_source(path: Path) -> NotebookNode:
    """A py:percent source as a notebook without outputs. Its metadata are checked (`authored`)."""
    nb = jupytext.read(path, fmt="py:percent")
    about = contract.authored(nb, path.stem)
    for i, cell in enumerate(nb.cells):
        cell.id = f"{about['slug']}-{i + 1:03d}"
        cell.metadata = {k: v for k, v in cell.metadata.items() if not k.startswith("lines_to_")}  # jupytext's
        if cell.cell_type == "code" and "stage" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}  # JupyterLab shows the output, the code is a click away
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}, "minidiff": about})
    nb.nbformat, nb.nbformat_minor = 4, 5
    return nb


def sources(house: Path) -> dict[str, NotebookNode]:
    """All chapters as `{NN_slug: notebook}`. ValueError where metadata or prerequisites are wrong."""
    paths = sorted((house / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
    chapters = {path.stem: read_source(path) for path in paths}
    about = {name: nb.metadata.minidiff for name, nb in chapters.items()}
    contract.check_order(about)
    for name, nb in chapters.items():  # the last line of a page leads on
        nb.cells.append(nbformat.v4.new_markdown_cell(contents.footer(about, name), metadata=contract.NAV))
        nb.cells[-1].id = f"{nb.metadata.minidiff['slug']}-{len(nb.cells):03d}"
    return chapters


def relink(house: Path, chapters: Mapping[str, NotebookNode]) -> None:
    """Bring up to date what pages say of one another, and so depends on no cell's computing: the last line of each, and
    the list of all chapters where a page shows it."""
    for name, nb in chapters.items():
        if (done := built(house, name)) and not said_of_others(house, nb, done):
            if done.cells[-1].metadata == contract.NAV:
                done.cells.pop()
            done.cells.append(nb.cells[-1])
            for data in listings(done):
                data["text/markdown"] = data["text/plain"] = contents.table(contents.chapters(house / "notebooks"))
            atomic_write(house / "notebooks" / f"{name}.ipynb", (nbformat.writes(done) + "\n").encode())


def listings(done: NotebookNode) -> list[NotebookNode]:
    """The outputs of a page that list all chapters."""
    outs = [
        out.get("data", {}) for cell in done.cells if "contents()" in cell.source for out in cell.get("outputs", [])
    ]
    return [data for data in outs if "text/markdown" in data]


def said_of_others(house: Path, nb: NotebookNode, done: NotebookNode) -> bool:
    """Whether a page's last line and its list of chapters are current."""
    current = contents.table(contents.chapters(house / "notebooks"))
    return done.cells[-1].source == nb.cells[-1].source and all(x["text/markdown"] == current for x in listings(done))


def execute(nb: NotebookNode, name: str, folder: Path, scale: str, timeout: float = 1800) -> None:
    """Run all cells in `folder` with this Python, in place, and note what was measured in the metadata.

    RuntimeError naming notebook, cell and message where a cell fails, the kernel dies, or `timeout` seconds pass.
    """
    with tempfile.TemporaryDirectory() as scratch:
        env = os.environ | {
            "MINIDIFF_STATIC": "1",
            "MINIDIFF_SCALE": scale,
            "MINIDIFF_PROGRESS": f"{scratch}/progress.jsonl",
            # The kernel starts in notebooks/, where a clone that is not installed would not be found.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.getenv("PYTHONPATH")])),
        }
        # Without folders of kernel specs the only one left is native: it runs sys.executable.
        manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        quiet = ["--IPKernelApp.log_level=ERROR"]
        options = {
            "extra_arguments": quiet,
            "record_timing": False,
            "store_widget_state": False,
            "coalesce_streams": True,
        }
        client = NotebookClient(
            nb, km=manager, timeout=timeout, resources={"metadata": {"path": str(folder)}}, **options
        )
        began = time.perf_counter()
        try:
            client.execute(env=env, cleanup_kc=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            at = max((i for i, cell in enumerate(nb.cells) if cell.get("execution_count")), default=0)
            what = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error).strip()
            raise RuntimeError(f"{name}, cell {at + 1} ({contract.first_line(nb.cells[at])}): {what}") from None
    for cell in nb.cells:  # a progress bar is a widget, and without its kernel it would stand at 0% for ever
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
    nb.metadata.pop("widgets", None)
    nb.metadata.language_info = nbformat.from_dict({"name": "python"})  # without the version of this Python
    nb.metadata.minidiff |= {
        "seconds": round(time.perf_counter() - began, 1),
        "scale": scale,
        "device": device(),
        "date": datetime.date.today().isoformat(),
    }


def device() -> str:
    """What runs torch here: "cpu, 2 cores", or the name of the GPU."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores"


def built(house: Path, name: str) -> NotebookNode | None:
    """The page of a chapter, or None where there is none yet."""
    path = house / "notebooks" / f"{name}.ipynb"
    return nbformat.read(path, 4) if path.is_file() else None


def table(house: Path, chapters: Mapping[str, NotebookNode]) -> str:
    """README's map from what the sources say and the pages measured."""
    about: dict[str, dict[str, Any]] = {}
    for name, nb in chapters.items():
        done = built(house, name)
        measured = done.metadata.get("minidiff", {}) if done else {}
        seconds = {"seconds": measured["seconds"]} if measured.get("scale") == "laptop" else {}
        about[name] = contract.authored(nb, name) | seconds
    return front.course_map(about, front.plan(house)["planned"])


def check(house: Path) -> list[str]:
    """The first difference of each page from its source, and README's map if it is stale. Reads only."""
    chapters, found = sources(house), []
    for name, nb in chapters.items():
        done = built(house, name)
        found.append(f"{name}: {contract.difference(nb, done) if done else 'there is no page'}")
    found = [line for line in found if not line.endswith(": None")]
    for name, nb in chapters.items():
        if (done := built(house, name)) and not contract.difference(nb, done) and not said_of_others(house, nb, done):
            found.append(f"{name}: its list of chapters is not current: build any page to bring it up to date")
    pages = {path.stem for path in (house / "notebooks").glob("*.ipynb")}
    found += [f"{name}: a page without a source" for name in sorted(pages - set(chapters))]
    readme = (house / "README.md").read_text(encoding="utf-8")
    if front.with_part(readme, table(house, chapters)) != readme:
        found.append("README.md: its map is not current")
    return found


def build(house: Path, name: str, nb: NotebookNode, scale: str) -> Path:
    """Execute a chapter and write its page; the old page stays where a cell fails."""
    execute(nb, name, house / "notebooks", scale)
    path = house / "notebooks" / f"{name}.ipynb"
    atomic_write(path, (nbformat.writes(nb) + "\n").encode())
    return path


def render(house: Path, name: str, folder: Path) -> Path:
    """Write a built page as HTML, with what nbconvert's template forgets, alt text and folded code; return its path."""
    import base64

    from nbconvert import HTMLExporter

    nb = built(house, name)
    if nb is None:
        raise FileNotFoundError(f"notebooks/{name}.ipynb is not built: python -m minidiff.course.build {name[:2]}")
    for output in (output for cell in nb.cells for output in cell.get("outputs", [])):
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt:
            output.data = {"text/html": page.img_tag(base64.b64decode(output.data.pop("image/png")), alt)}
    html, _ = HTMLExporter(raw_template=FOLDED).from_notebook_node(
        nb, {"metadata": {"name": nb.metadata.minidiff.title}}
    )
    path = folder / f"{name}.html"
    atomic_write(path, html.encode())
    return path


def main(argv: list[str] | None = None, house: Path | None = None) -> int:
    """The command line; returns the exit status. `house` is the clone. Example: `main(["--check"])`."""
    parser = argparse.ArgumentParser(prog="python -m minidiff.course.build", description="Build the course's pages.")
    parser.add_argument("chapters", nargs="*", metavar="NN", help="chapters by number (default: all)")
    parser.add_argument("--scale", choices=SCALES, default="laptop", help="default: laptop")
    parser.add_argument("--check", action="store_true", help="compare with the sources, write nothing")
    parser.add_argument("--render", action="store_true", help="write HTML of built pages, run nothing")
    args = parser.parse_args(argv)
    house = house or root()
    share()
    try:
        if args.check:
            found = check(house)
            print("\n".join(found) or "pages and sources agree")
            return int(bool(found))
        chapters = sources(house)
        chosen = [name for name in chapters if not args.chapters or name[:2] in args.chapters]
        for number in set(args.chapters) - {name[:2] for name in chosen}:
            raise ValueError(f"no chapter {number!r} in notebooks/src; there are {', '.join(chapters) or 'none'}")
        for name in chosen:
            if args.render:
                print(render(house, name, outputs() / "html"))
                continue
            nb = chapters[name]
            path = build(house, name, nb, args.scale)
            print(f"{name}: {nb.metadata.minidiff.seconds:.1f} s, {path.stat().st_size / 1e6:.2f} MB")
            print("".join(f"  {problem}\n" for problem in contract.problems(nb)), end="")
        if not args.render:
            relink(house, chapters)
            front.write_pictures(house, {name: built(house, name) for name in chapters})
            readme = house / "README.md"
            text = front.with_part(readme.read_text(encoding="utf-8"), table(house, chapters))
            atomic_write(readme, text.encode())
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
