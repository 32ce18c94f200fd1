"""The notebook builder: sources to pages and back, the map, the order of chapters, and what a page may not be."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from minidiff.course import badges, build, contract, front

HEADER = """# ---
# jupyter:
#   minidiff:
#     slug: {slug}
#     title: "{title}: a | b"
#     claim: One sentence.
#     objectives: [see it]
#     prerequisites: {before}
#     minutes_compute: 0.5
#     hours_learner: 0.75
#     memory_gb: 1
#     data: []
#     weights: []
#     exercises: [{slug}.one]
#     track: core
#     version: 0.1.0
# ---

# %% [markdown]
# # {title}
#
# With $x$ in it.

# %% tags=["core"]
import numpy as np

from minidiff.course.plots import figure, show

fig, ax = figure(height=1)
ax.plot(np.arange(3))
show(fig, alt="A straight \\"line\\" from 0 to 2, in one colour.")
"""
START = HEADER + "\n# %%\nnp.arange(3).sum()\n"
NEXT = HEADER + (
    "\n# %%\nimport os\nimport sys\n\n"
    "env, here = os.environ, os.path.basename(os.getcwd())\n"
    'print(sys.executable, env["MINIDIFF_STATIC"], env["MINIDIFF_SCALE"], here)\n'
    'print(os.environ["MINIDIFF_PROGRESS"])\n'
    "sys.stdout.flush()\nprint('and more')\n"
)


def write(house: Path, name: str, text: str, before: str = "[]", title: str = "") -> None:
    slug = name.partition("_")[2]
    for key, value in {"slug": slug, "title": title or slug, "before": before}.items():
        text = text.replace("{" + key + "}", value)
    (house / "notebooks" / "src" / f"{name}.py").write_text(text)


@pytest.fixture(scope="session")
def first(tmp_path_factory):
    """A house of two chapters, built once at smoke scale."""
    house = tmp_path_factory.mktemp("house")
    (house / "notebooks" / "src").mkdir(parents=True)
    (house / "README.md").write_text("# A course\n\n<!-- map -->\n<!-- /map -->\n\nThe end.\n")
    write(house, "00_start", START)
    write(house, "01_next", NEXT, before="[start]")
    assert build.main(["--scale", "smoke"], house) == 0
    return house


@pytest.fixture
def house(first, tmp_path):
    """A copy of the built house, to alter."""
    return Path(shutil.copytree(first, tmp_path / "house"))


def page(house: Path, name: str) -> nbformat.NotebookNode:
    nb = build.built(house, name)
    assert nb is not None
    return nb


# ---- building --------------------------------------------------------------------------------------------------


def test_a_page_has_outputs_stable_ids_and_what_was_measured(first):
    nb = page(first, "01_next")
    nbformat.validate(nb)
    assert [cell.id for cell in nb.cells] == ["next-001", "next-002", "next-003", "next-004"]
    assert [cell.get("execution_count") for cell in nb.cells] == [None, 1, 2, None]
    assert nb.cells[-1].source == "[← 00 · start: a | b](00_start.ipynb) | [all chapters](00_start.ipynb)"
    assert nb.cells[1].metadata == {"tags": ["core"]} and nb.cells[2].metadata == {}
    assert nb.cells[1].outputs[0].metadata["image/png"]["alt"] == 'A straight "line" from 0 to 2, in one colour.'
    about = nb.metadata.minidiff
    assert set(about) == {*contract.AUTHORED, *contract.MEASURED} and set(nb.metadata) == {
        "kernelspec",
        "language_info",
        "minidiff",
    }
    assert 0 < about.seconds < 600 and about.scale == "smoke" and re.fullmatch(r"\d{4}-\d\d-\d\d", about.date)
    assert about.device == build.device()


def test_cells_run_here_with_this_python_as_nobody_in_particular(first):
    [output] = page(first, "01_next").cells[2].outputs  # two prints and a flush: one output
    ran, progress, more = output.text.splitlines()
    assert ran == f"{sys.executable} 1 smoke notebooks" and more == "and more"
    assert progress != os.environ.get("MINIDIFF_PROGRESS") and not Path(progress).parent.exists()


def test_a_rebuild_differs_in_nothing_but_what_was_measured(house):
    path = house / "notebooks" / "00_start.ipynb"
    before = path.read_text()
    assert build.main(["00", "--scale", "smoke"], house) == 0
    same = [re.sub(r'"(seconds|date)": .*', "", text) for text in (before, path.read_text())]
    assert same[0] == same[1] and '"seconds"' in before


def test_a_cell_that_fails_is_named_and_the_old_page_stays(house, capsys):
    old = (house / "notebooks" / "00_start.ipynb").read_bytes()
    with open(house / "notebooks" / "src" / "00_start.py", "a") as file:
        file.write('\n# %% tags=["raises-exception"]\n1 / 0\n\n# %%\n\nfloat("nonsense")\n')
    assert build.main(["00", "--scale", "smoke"], house) == 1
    said = capsys.readouterr().err
    assert "00_start, cell 5 ('float(\"nonsense\")'): ValueError: could not convert string" in said
    assert (house / "notebooks" / "00_start.ipynb").read_bytes() == old


def test_render_writes_the_alt_text_and_runs_nothing(house, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path / "out"))
    monkeypatch.setattr(build, "execute", None)
    before = (house / "notebooks" / "00_start.ipynb").read_bytes()
    assert build.main(["--render", "00"], house) == 0
    html = Path(capsys.readouterr().out.strip()).read_text()
    [tag] = re.findall(r"<img [^>]*>", html)
    alt = re.search(r"""alt=(?:"([^"]*)"|'([^']*)')""", tag)
    assert alt and unescape(alt[1] or alt[2]) == 'A straight "line" from 0 to 2, in one colour.'
    assert (house / "notebooks" / "00_start.ipynb").read_bytes() == before
    assert build.main(["--render", "07"], house) == 1 and "no chapter '07'" in capsys.readouterr().err


# ---- checking --------------------------------------------------------------------------------------------------


def files(house: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in house.rglob("*") if p.is_file()}


def test_check_passes_on_what_was_built_and_writes_nothing(house, capsys):
    before = files(house)
    assert build.main(["--check"], house) == 0
    assert capsys.readouterr().out == "pages and sources agree\n" and files(house) == before


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("np.arange(3).sum()", "np.arange(4).sum()", "00_start: cell 3 differs in its source: 'np.arange(4).sum()'"),
        ("With $x$ in it.", "With $y$ in it.", "00_start: cell 1 differs in its source: '# start'"),
        ('tags=["core"]', 'tags=["extra"]', "00_start: cell 2 differs in its tags: 'import numpy as np'"),
        ("# %%\nnp.arange", "# %% [markdown]\n# np.arange", "00_start: cell 3 differs in its cell_type"),
        ("\n# %%\nnp.arange(3).sum()\n", "", "00_start: cell 3 differs in its cell_type"),
        ("sum()\n", "sum()\n\n# %%\n'more'\n", "00_start: cell 4 differs in its cell_type"),
        ("hours_learner: 0.75", "hours_learner: 2", "00_start: hours_learner is 2 in the source, 0.75 in the notebook"),
        ("claim: One sentence.", "claim: Another.", "README.md: its map is not current"),
    ],
)
def test_check_names_what_was_altered(house, capsys, old, new, said):
    source = house / "notebooks" / "src" / "00_start.py"
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    before = files(house)
    assert build.main(["--check"], house) == 1
    assert said in capsys.readouterr().out and files(house) == before


def test_check_names_pages_that_are_too_many_or_too_few(house, capsys):
    (house / "notebooks" / "01_next.ipynb").rename(house / "notebooks" / "07_old.ipynb")
    assert build.main(["--check"], house) == 1
    assert capsys.readouterr().out.splitlines() == ["01_next: there is no page", "07_old: a page without a source"]


# ---- metadata, order, map --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("#     claim: One sentence.\n", "", "00_start: the header lacks 'jupyter: minidiff: claim'"),
        ("memory_gb", "memory", "00_start: the header lacks 'jupyter: minidiff: memory_gb'"),
        ("#     track: core", "#     trak: core\n#     track: core", "00_start: unknown key 'jupyter: minidiff: trak'"),
        ("memory_gb: 1", "memory_gb: much", "00_start: memory_gb is 'much'"),
        ("slug: start", "slug: begin", "00_start: slug is 'begin', the file says 'start'"),
        ("track: core", "track: fast", "00_start: track is 'fast'; expected one of core, extra, workshop"),
        ("prerequisites: []", "prerequisites: [nowhere]", "start: prerequisite 'nowhere' is no chapter"),
        ("prerequisites: []", "prerequisites: [next]", "prerequisites go in a circle: "),
        ("prerequisites: []", "prerequisites: [start]", "prerequisites go in a circle: start <- start"),
    ],
)
def test_wrong_metadata_are_named(house, capsys, old, new, said):
    source = house / "notebooks" / "src" / "00_start.py"
    assert source.read_text().count(old) == 1
    source.write_text(source.read_text().replace(old, new))
    assert build.main(["--check"], house) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    if new == "prerequisites: [next]":
        assert "start" in err and "next" in err


def test_the_map_shows_every_chapter_and_minutes_of_laptops_only(first):
    readme = (first / "README.md").read_text()
    assert readme.startswith("# A course\n\n<!-- map -->\n") and readme.endswith("<!-- /map -->\n\nThe end.\n")
    assert "2 of 2 chapters are written: about 2 hours" in readme
    rows = readme.splitlines()[7:9]
    assert 'alt="" width="100"> |' in rows[0]
    assert (
        rows[0].replace(front._picture("00") + " | ", "")
        == "| 00 | [start: a \\| b](notebooks/00_start.ipynb) | One sentence. | - | 0.75 | 1 |"
    )
    assert "| [next: a" in rows[1] and "pictures/01.png" in rows[1]
    about = page(first, "00_start").metadata.minidiff | {"seconds": 61.0}
    assert "| 2 | 0.75 | 1 |" in front.course_map({"00_start": about})


def test_planned_chapters_are_in_the_map_and_pictures_are_made(house):
    (house / "notebooks/src/plan.yml").write_text(
        'pictures: {"01": 0}\nplanned: {"02": {title: Later, shows: Much.}}\n'
    )
    assert build.main(["01", "--scale", "smoke"], house) == 0
    assert (
        f"| 02 | {front._picture('planned')} | Later *(planned)* | Much. |  |  |  |"
        in (house / "README.md").read_text()
    )
    folder = house / "notebooks" / "pictures"
    assert sorted(path.name for path in folder.iterdir()) == ["00.png", "01.png", "planned.png"]
    assert {Image.open(path).size for path in folder.iterdir()} == {front.SIZE}


def test_a_new_chapter_is_linked_from_the_one_before_without_running_it(house):
    write(house, "02_last", START.replace("start", "last"), before="[next]")
    untouched = page(house, "01_next")
    assert build.main(["02", "--scale", "smoke"], house) == 0
    nb = page(house, "01_next")
    assert nb.cells[-1].source.endswith("[02 · last: a | b →](02_last.ipynb)")
    assert nb.cells[:-1] == untouched.cells[:-1] and build.main(["--check"], house) == 0


def test_the_list_of_chapters_on_a_page_is_kept_current_without_running_it(house, capsys):
    source = house / "notebooks" / "src" / "00_start.py"
    source.write_text(source.read_text() + "\n# %%\nfrom minidiff.course.notebook import contents\n\ncontents()\n")
    assert build.main(["00", "--scale", "smoke"], house) == 0
    write(house, "02_last", START.replace("start", "last"), before="[next]")
    assert build.main(["02", "--scale", "smoke"], house) == 0
    (data,) = build.listings(page(house, "00_start"))
    assert "[last: a \\| b](02_last.ipynb)" in data["text/markdown"] and build.main(["--check"], house) == 0
    nb = page(house, "00_start")
    build.listings(nb)[0]["text/markdown"] = "| old |"
    nbformat.write(nb, house / "notebooks" / "00_start.ipynb")
    capsys.readouterr()
    assert build.main(["--check"], house) == 1 and "00_start: its list of chapters" in capsys.readouterr().out


def test_a_chapter_is_written_or_planned_and_not_both():
    with pytest.raises(ValueError, match="plan.yml: chapter 00 is written"):
        front.course_map({"00_start": {"title": "", "claim": "", "hours_learner": 1, "exercises": []}}, {"00": {}})


def test_a_laptop_run_reaches_the_map(house):
    nb = page(house, "00_start")
    nb.metadata.minidiff |= {"scale": "laptop", "seconds": 30.0}
    nbformat.write(nb, house / "notebooks" / "00_start.ipynb")
    assert "One sentence. | 1 | 0.75 |" in build.table(house, build.sources(house))


@pytest.mark.parametrize("text", ["no markers", "<!-- /map --> <!-- map -->", "<!-- map -->", ""])
def test_a_readme_without_markers_is_an_error(house, capsys, text):
    (house / "README.md").write_text(text)
    assert build.main(["--check"], house) == 1
    assert "README.md has not one pair of markers <!-- map --> ... <!-- /map -->" in capsys.readouterr().err


# ---- what a page may not be ------------------------------------------------------------------------------------


def picture(alt: str = "A picture of something, described."):
    return new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": alt}})


def good() -> nbformat.NotebookNode:
    """The smallest page that keeps the contract."""
    cells = [new_markdown_cell("# Title\n\n" + "word " * 1300)]
    for i, source in enumerate(
        ["show(fig)", "predict('x.bet', [1, 2])", "play(draw)", *(f'check("x.{n}", f)' for n in "abc")]
    ):
        cells.append(new_code_cell(source, execution_count=i + 1, outputs=[picture()] if i == 2 else []))
        if i < 3:
            cells[-1].metadata = nbformat.from_dict({"tags": ["stage"], "jupyter": {"source_hidden": True}})
    nb = new_notebook(cells=cells)
    nb.metadata.minidiff = nbformat.from_dict({"slug": "x", "exercises": ["x.a", "x.b", "x.c"]})
    return nb


def plant(change: str) -> nbformat.NotebookNode:
    nb = good()
    c = nb.cells
    output = c[3].outputs[0]
    exec(change, {"nb": nb, "c": c, "output": output, "new_output": new_output, "picture": picture})
    return nb


def test_a_good_page_has_no_problems():
    assert contract.problems(good()) == []
    assert contract.problems(plant('c[4].source += "\\n" * 40')) == [], "blank lines do not count"
    assert contract.problems(plant("c[1].source += '\\n1' * 24")) == [], "25 lines are allowed"


@pytest.mark.parametrize(
    "change, said",
    [
        ("c[1].source += '\\n1' * 25", "26 lines in 'show(fig)': 25 at most"),
        ("for x in c[1:]: x.source += '\\n1' * 10", "the median cell has 11 lines: 10 at most"),
        ("c[0].source = 'word ' * 1100", "1,100 words of prose"),
        ("c[0].source = 'word ' * 1100 + '\\n```\\n' + 'code ' * 500 + '```'", "1,100 words of prose"),
        ("c[0].source = 'word ' * 2600", "2,600 words of prose"),
        ("output.data['image/png'] = 'a' * 1_500_000", "1.51 MB: 1.5 at most"),
        ("c[4].outputs, c[3].outputs = c[3].outputs, []", "no picture in the first three code cells"),
        ("c[2].execution_count = None", "not executed: \"predict('x.bet', [1, 2])\""),
        ("output.metadata = {}", "image/png without alt text: 'play(draw)'"),
        ("output.metadata['image/png']['alt'] = 'Figure 1'", "image/png without alt text: 'play(draw)'"),
        ("output.data['text/html'] = '<img src=x>'", "<img> without alt"),
        ("output.data['text/html'] = '<video src=x>'", "<video> without aria-label"),
        ("output.data['text/html'] = '<video autoplay aria-label=x>'", "a clip that starts by itself"),
        ("c[2].outputs = [new_output('error', ename='KeyError', evalue='', traceback=[])]", "ends in KeyError"),
        ("c[2].outputs = [new_output('stream', name='stderr', text='Warning: old')]", "stderr ('Warning: old')"),
        ("c[2].outputs = [new_output('stream', text='in /home/me/x.png')]", "a path of one machine"),
        ("c[2].outputs = [new_output('stream', text='<f at 0x7f1234567890>')]", "prints an address"),
        ("c[4].source = 'pass'; nb.metadata.minidiff.exercises.pop(0)", "2 exercises with check(...)"),
        ("c[4].source = 'check(\"x.z\", f)'", "lists exercises ['x.a', 'x.b', 'x.c'], the cells check ['x.z'"),
        ("c[3].source = 'display(draw)'", "no play(...) or slideshow(...)"),
        ("c[2].source = 'pass'", "no predict(...)"),
        ("c[1].metadata.tags = ['core']", "is not tagged stage: 'show(fig)'"),
        ("c[1].metadata.pop('jupyter')", "tagged stage, and not folded: 'show(fig)'"),
        ('c[1].source = \'reveal("a.b", "25", "why")\\nshow(fig)\'', "its first line tells the answer"),
        ("c[4].metadata = c[1].metadata", "an idea or an exercise, and tagged stage: 'check("),
    ],
)
def test_each_problem_is_found_and_only_it(change, said):
    [found] = contract.problems(plant(change))
    assert said in found


def test_the_opening_chapter_may_be_short_and_an_expected_error_is_no_problem():
    opening = plant("nb.metadata.minidiff.update(slug='start', exercises=[]); del c[3:]; c[0].source = '# Hello'")
    opening.cells[1].outputs = [picture()]
    assert contract.problems(opening) == []
    expected = plant("c[2].outputs = [new_output('error', ename='E', evalue='', traceback=[])]")
    expected.cells[2].metadata.tags.append("raises-exception")
    assert contract.problems(expected) == []


def test_staging_is_folded_on_the_page_and_in_its_html(house):
    """JupyterLab hides the code of a cell tagged stage; the rendered page has it one click away."""
    source = house / "notebooks" / "src" / "00_start.py"
    text = source.read_text() + '\n# %% tags=["core", "stage"]\nstaged = 1\n\n# %% tags=["core"]\nidea = 2\n'
    source.write_text(text)
    cells = {cell.source.strip(): cell.metadata for cell in build.read_source(source).cells}
    assert cells["staged = 1"]["jupyter"] == {"source_hidden": True} and "jupyter" not in cells["idea = 2"]
    nbformat.write(build.read_source(source), house / "notebooks" / "00_start.ipynb")
    html = build.render(house, "00_start", house).read_text()
    folded = [part.split("</details>")[0] for part in html.split("<details")[1:]]
    assert len(folded) == 1 and "staged" in folded[0] and "idea" not in folded[0] and "idea" in html


# ---- badges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, branch",
    [
        ("https://github.com/ada/mini.diff.git", "main"),
        ("git@github.com:ada/mini.diff.git", "master"),
        ("github.com/ada/mini.diff/", "main"),
    ],
)
def test_badges_are_for_the_address_that_a_clone_comes_from(tmp_path, monkeypatch, capsys, address, branch):
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").touch()
    for words in (["init", "-q", "-b", branch], ["remote", "add", "origin", address]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (tmp_path / "README.md").write_text("# A\n\n<!-- badges -->\nnone yet\n<!-- /badges -->\n\nThe end.\n")
    assert badges.main([]) == 0
    text = (tmp_path / "README.md").read_text()
    assert f"colab.research.google.com/github/ada/mini.diff/blob/{branch}/notebooks/00_start.ipynb" in text
    assert f"mybinder.org/v2/gh/ada/mini.diff/{branch}?urlpath=lab/tree/notebooks/00_start.ipynb" in text
    assert "git clone -q --depth 1 https://github.com/ada/mini.diff minidiff" in text and "none yet" not in text
    assert badges.main(["github.com/bob/b"]) == 0 and "bob/b" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "README.md").read_text().endswith("<!-- /badges -->\n\nThe end.\n")
    capsys.readouterr()
    assert badges.main(["https://example.org/ada/x"]) == 1
    assert capsys.readouterr().err.startswith("badges: https://example.org/ada/x: Colab and Binder need")


def test_what_badges_lead_to_is_there(monkeypatch):
    """The first page, Colab's script, and what Binder installs."""
    house = Path(__file__).parents[1]
    assert (house / badges.FIRST).is_file() and "%run minidiff/colab.py" in badges.badges("a/b")
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda words, check: calls.append(words))
    monkeypatch.chdir(house)
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path("colab.py", run_name="__main__")
    assert calls[0][-1] == f"{house}[course]" and Path.cwd() == house / "notebooks" and sys.path[0] == str(house)
    lines = (house / "binder" / "requirements.txt").read_text().splitlines()
    assert lines[-1] == "-e .[course]" and (house / "binder" / lines[2].removeprefix("-c ")).resolve().is_file()
    workflow = yaml.safe_load((house / ".github" / "workflows" / "site.yml").read_text())
    steps = workflow["jobs"]["site"]["steps"]
    assert {"run": "make site"} in steps and {"path": "outputs/site"} in [step.get("with") for step in steps]
