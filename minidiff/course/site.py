"""The course as pages to read without running anything: `make site` writes them to `outputs/site`.

Sphinx with MyST-NB and the theme Furo makes them of the built notebooks: contents, next and previous, search. They
need no network: formulas are MathML, pictures and films lie in the pages' folder. What is folded in Jupyter is folded.
"""

import base64
import copy
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from minidiff.course import contract, front, page
from minidiff.files import atomic_write, outputs, root

CSS = """
pre { white-space: pre-wrap }
div.cell details.hide { border: 0 !important; margin: 0.2em 0 !important }
div.cell details.hide > summary > p.admonition-title { background: none; font-size: 80%; font-weight: normal;
  color: var(--color-foreground-muted); padding: 0 0 0 1.2em }
div.cell details.hide > summary > p.admonition-title::before { display: none }
.cell_output img, .cell_output video, .course img { background: white; max-width: 100% }
.course td img { min-width: 100px }
.course td { vertical-align: middle }
"""
ABOUT = """# minidiff

The course on diffusion models, from one noisy number to a video model that remembers its characters, as pages to read.
All that you see was computed by the notebooks that these pages are made of; run them yourself to move the controls,
bet before you see, and have your answers checked.

![Ten small clips, each with a red circle and a blue square that move](_static/hello.gif)

*"a red circle bounces and a blue square drifts right": ten clips from a model that ships with the course.*

"""


def prepared(nb: NotebookNode, name: str, folder: Path) -> NotebookNode:
    """A built page for Sphinx: its pictures as files in `folder`, with their alt text; what is folded, tagged so."""
    nb, count = copy.deepcopy(nb), 0
    nb.cells = [cell for cell in nb.cells if cell.metadata != contract.NAV]  # the theme has its own
    for cell in nb.cells:
        if "stage" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")
        for output in cell.get("outputs", []):
            data, alt = output.get("data", {}), output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                picture, count = base64.b64decode(data["image/png"]), count + 1
                atomic_write(folder / f"{name}-{count}.png", picture)
                output.data = {"text/html": page.img_tag(picture, alt, f"_static/{name}-{count}.png")}
    return nb


def index(house: Path, names: list[str], table: str) -> str:
    """The first page: what the course is, its chapters as in README's table, and a list for the theme."""
    rows = table.removeprefix(front.MAP[0]).removesuffix(front.MAP[1]).replace('"notebooks/pictures/', '"_static/')
    rows = re.sub(r"\]\(notebooks/([\w-]+)\.ipynb\)", r"](\1.ipynb)", rows)
    tree = "\n".join(["```{toctree}", ":hidden:", *names, "```"])
    return f"{ABOUT}\n:::{{container}} course\n{rows.strip()}\n:::\n\n{tree}\n"


def write_site(house: Path, out: Path) -> Path:
    """Write the site of all built chapters to `out`, and return its first page.

    FileNotFoundError where a chapter is not built; RuntimeError with Sphinx's words where it warns or stops.
    Example: `write_site(root(), outputs() / "site")`.
    """
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    from minidiff.course import build

    chapters = build.sources(house)
    src, doctrees = out.with_name("site-source"), out.with_name("site-doctrees")
    for folder in (src, out, doctrees):
        shutil.rmtree(folder, ignore_errors=True)
    static = src / "_static"
    shutil.copytree(house / "notebooks" / "pictures", static)
    shutil.copy(house / "data" / "results" / "hello.gif", static)
    (static / "course.css").write_text(CSS, encoding="utf-8")
    for name in chapters:
        if (nb := build.built(house, name)) is None:
            raise FileNotFoundError(f"notebooks/{name}.ipynb is not built: python -m minidiff.course.build {name[:2]}")
        nbformat.write(prepared(nb, name, static), src / f"{name}.ipynb")
    (src / "index.md").write_text(index(house, list(chapters), build.table(house, chapters)), encoding="utf-8")
    with open(out.with_name("site.log"), "w+", encoding="utf-8") as log:
        try:
            Sphinx(src, None, out, doctrees, "html", CONFIG, status=None, warning=log).build()
        except SphinxError as error:
            raise RuntimeError(f"Sphinx stops: {error}") from error
        log.seek(0)
        if said := log.read().strip():
            raise RuntimeError(f"Sphinx warns:\n{said}")
    return out / "index.html"


CONFIG: dict[str, Any] = {
    "project": "minidiff",
    "author": "minidiff authors",
    "project_copyright": "minidiff authors; code MIT, prose CC BY 4.0",
    "extensions": ["myst_nb", "minidiff.course.site"],
    "html_theme": "furo",
    "html_title": "minidiff",
    "html_static_path": ["_static"],
    "html_css_files": ["course.css"],
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "myst_enable_extensions": ["dollarmath", "colon_fence"],
    "nb_execution_mode": "off",
    "nb_render_markdown_format": "myst",
    "nb_code_prompt_show": "the code of what follows",
    "nb_code_prompt_hide": "the code of what follows",
}


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: formulas become MathML, which browsers show without a script."""
    from docutils import nodes
    from latex2mathml.converter import convert

    def draw(display: str) -> Any:
        def visit(self: Any, node: Any) -> None:
            self.body.append(convert(node.astext(), display=display))
            raise nodes.SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", draw("inline"), draw("block"))
    return {"parallel_read_safe": True}


def main() -> int:
    """Build the site of this clone; the exit code."""
    try:
        first = write_site(root(), outputs() / "site")
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in first.parent.rglob("*") if path.is_file())
    print(f"{first}: {size / 1e6:.1f} MB. Open it in a browser, or publish the folder as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
