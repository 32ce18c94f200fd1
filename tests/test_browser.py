"""What a learner meets in a real browser: controls by keyboard, the page on the next day, bets that stay closed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from minidiff.course import contents, site
from minidiff.course.start import lab_command

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "msedge")
CHROME = os.environ.get("MINIDIFF_CHROME") or next(filter(None, map(shutil.which, CHROMES)), None)
pytestmark = pytest.mark.skipif(not CHROME, reason=f"no browser of {', '.join(CHROMES)}, nor MINIDIFF_CHROME")
ROOT = Path(__file__).parents[1]
TOKEN = "minidiff"


@pytest.fixture(scope="module")
def chrome():
    """A headless Chromium that is on this machine already."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=CHROME, args=["--no-sandbox"]) as browser:
            yield browser


def ask(url: str, method: str = "GET"):
    """The answer of JupyterLab's server, from JSON."""
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `make course` starts it, on an empty folder; its address and the folder."""
    work = tmp_path_factory.mktemp("work")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words, extra = lab_command(Path(sys.executable), work / "day.ipynb", browser=False)
    words += [f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser"]
    scratch = {name: str(work / ".jupyter" / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    scratch |= {"JUPYTERLAB_WORKSPACES_DIR": str(work / ".jupyter"), "MINIDIFF_PROGRESS": str(work / "progress.jsonl")}
    scratch |= {"JUPYTERLAB_SETTINGS_DIR": str(work / ".jupyter"), "MINIDIFF_SCALE": "smoke", "MINIDIFF_STATIC": "0"}
    server = subprocess.Popen([str(word) for word in words], env=os.environ | extra | scratch, cwd=work)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                ask(f"{address}/api/status")
                break
            except OSError:
                time.sleep(0.5)
        yield address, work
    finally:
        server.terminate()
        server.wait(timeout=20)


FIRST = "import numpy as np\nfrom minidiff.course.notebook import *\nscale = start(needs='0.1')"
CELLS = [
    FIRST,
    """def draw(t):
    fig, ax = figure(height=2)
    ax.plot([0, t], [0, 1])
    return fig
play(draw, t=(0.0, 1.0, 0.05, 0.5), alt=lambda t: f"A line that ends at {t:.2f}.")""",
    """import time
def slow(shade):
    time.sleep(3 * shade)
    return draw(shade)
play(slow, shade=[0, 1], alt=lambda shade: f"A picture that takes {3 * shade} seconds.")""",
    'predict("day.modes", "How many of 25 modes?", ["one", "twelve", "all"])',
    'reveal("day.modes", "all", "Each of them.")',
    """frames = [np.full((40, 60, 3), 20 * i, np.uint8) for i in range(8)]
slideshow(frames, [f"t = {i}" for i in range(8)], alt="Eight grey pictures go bright.", mark="live: n = 8")""",
    "for _ in tqdm(range(30)): pass\nbet('day.claim', 'A claim.')",
]


def write(path: Path, cells: list[str]) -> None:
    """A notebook with code cells."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)


def fresh(chrome, width: int, height: int):
    """An empty page, patient enough for a machine at work."""
    page = chrome.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)
    return page


def opened(chrome, lab, name: str):
    """A page of JupyterLab with a notebook that is ready to run."""
    page = fresh(chrome, 1200, 2400)
    page.goto(f"{lab[0]}/lab/tree/{name}?reset&token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel")
    return page


def told(page, text: str):
    """Where an output of a cell says `text`."""
    return page.locator(".jp-Cell-outputArea").get_by_text(text)


def shut(lab) -> None:
    """The evening: every kernel ends."""
    for session in ask(f"{lab[0]}/api/sessions"):
        ask(f"{lab[0]}/api/sessions/{session['id']}", "DELETE")


def test_a_first_day_and_the_next(chrome, lab):
    address, work = lab
    write(work / "day.ipynb", CELLS)
    page = opened(chrome, lab, "day.ipynb")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    told(page, "A claim.").wait_for()

    assert not page.get_by_text("official Jupyter news").count()

    # an answer waits for its bet, though all has run
    told(page, "Closed until you bet").wait_for()
    assert not told(page, "Each of them.").count()
    # a still hides behind its living panel
    assert page.locator("[data-still]").first.is_hidden()

    # arrow keys belong to the control that has the focus, not to the notebook; they look, and Enter bets
    page.get_by_label("one", exact=True).focus()
    page.keyboard.press("Space")
    told(page, "You predicted A: one. The answer is C: all.").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.activeElement.parentElement.innerText.trim() == 'all'")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_label("all", exact=True).click()
    slider = page.get_by_role("slider", name="t", exact=True)
    slider.focus()
    page.keyboard.press("ArrowRight")
    told(page, "A line that ends at 0.55.").wait_for()
    page.get_by_label("shade").select_option("1")  # what takes long says so until it is there
    page.locator(".minidiff-panel.busy").wait_for()
    told(page, "A picture that takes 3 seconds.").wait_for()
    assert not page.locator(".minidiff-panel.busy").count()
    page.get_by_role("slider", name="likely?").focus()
    page.keyboard.press("End")
    page.wait_for_timeout(500)
    kept = [json.loads(line) for line in (work / "progress.jsonl").read_text().splitlines()]
    assert [entry.get("choice", entry.get("percent")) for entry in kept] == ["one", "twelve", "all", 100]
    assert page.evaluate("document.querySelector('.jp-Cell.jp-mod-active .jp-InputArea').innerText").count("bet(")

    # play moves to the end and stops there, and the second time it takes as long: 250 ms a picture at least
    for _ in range(2):
        began = time.perf_counter()
        page.get_by_title("Play all 8 pictures").click()
        page.get_by_title("Pause", exact=True).wait_for()
        told(page, "Picture 8 of 8: t = 7").wait_for()
        page.get_by_title("Play all 8 pictures").wait_for()
        assert time.perf_counter() - began > 7 * 0.25

    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    page.close()
    shut(lab)
    page = opened(chrome, lab, "day.ipynb")
    page.locator("[data-still] img").first.wait_for()
    told(page, "Run the cells up to here to move t.").wait_for()
    told(page, "all (your bet)").wait_for()
    told(page, "Your bet: 100%").wait_for()
    page.wait_for_timeout(1500)
    assert not [x for x in told(page, "Error displaying widget").all() if x.is_visible()]
    assert told(page, "30/30").is_visible()
    page.close()


def test_a_late_cell_says_what_to_run_first(chrome, lab):
    shut(lab)
    write(lab[1] / "late.ipynb", ['check("start.mix", mix)', FIRST, "print(nothing)"])
    page = opened(chrome, lab, "late.ipynb")
    run = "jupyterapp.commands.execute('notebook:run-cell-and-select-next')"
    page.locator(".jp-Cell").first.click()
    page.evaluate(run)
    told(page, "Run the first cell of this page first").wait_for()
    page.evaluate(run)
    page.evaluate(run)
    told(page, "Cells build on one another").wait_for()
    page.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The course as pages to read, in a folder of its own."""
    return site.write_site(ROOT, tmp_path_factory.mktemp("site") / "site").parent


def test_the_site_reads_from_first_to_last_page_without_a_network(chrome, pages):
    assert sum(path.stat().st_size for path in pages.rglob("*") if path.is_file()) < 60e6
    asked = []
    page = fresh(chrome, 1300, 1000)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{pages}/index.html")
    chapters = contents.chapters(ROOT / "notebooks")
    for name, about in chapters.items():  # the list of contents and the table, then next by next
        assert page.get_by_role("link", name=about["title"], exact=True).first.get_attribute("href") == f"{name}.html"
    films = formulas = 0
    for name, about in chapters.items():
        page.locator("a.next-page").click()
        page.wait_for_url(f"**/{name}.html")
        assert page.get_by_role("heading", level=1).inner_text() == f"{name[:2]} · {about['title']}"
        assert page.evaluate("[...document.images].every(x => x.alt || x.closest('td') || x.closest('.sidebar-brand'))")
        assert page.locator("details.hide").count() and not page.locator("details.hide[open]").count()
        films, formulas = films + page.locator("video").count(), formulas + page.locator("math").count()
        assert not page.get_by_text("$x").count()
    page.locator("a.prev-page").click()
    page.wait_for_url(f"**/{list(chapters)[-2]}.html")
    assert films > 10 and formulas > 5
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_films_of_the_site_play_and_its_search_finds(chrome, pages):
    page = fresh(chrome, 1300, 1000)
    page.goto(f"file://{pages}/00_start.html")
    film = page.locator("video").first
    before = film.screenshot()
    assert (
        film.evaluate("async x => { await x.play(); await new Promise(r => setTimeout(r, 700)); return x.currentTime }")
        > 0.2
    )
    assert film.screenshot() != before
    page.get_by_placeholder("Search").fill("bounces")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="00 · Start here").nth(1).wait_for()
    page.goto(f"file://{pages}/search.html?q=xylophone")
    page.get_by_text("did not match any documents").wait_for()
