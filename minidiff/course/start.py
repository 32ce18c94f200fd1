"""Set up and open the course: `python -m minidiff.course.start [setup|doctor|hello|course|test|site]`.

A verb is a list of stages, and each goes on where the one before ends: `setup` (a `.venv` with the pinned
dependencies), `doctor`, `hello` (a clip from a sentence, with shipped weights), `course` (JupyterLab on a copy of the
notebooks in `work/`). `test` sets up likewise and runs every check, `site` writes the course as pages to read. A stage
that was done is seen to be done, so a verb is safe to run twice, or again after it was killed. Only the standard
library is used.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before any import that an older Python could not read
    sys.exit(
        "stopped: minidiff needs Python 3.11 or newer, and {} is {}.{}. Install one (python.org/downloads), "
        "then name it: make course PYTHON=python3.12 (Windows: py -3.12 -m minidiff.course.start)".format(
            sys.executable, *sys.version_info[:2]
        )
    )

import argparse
import contextlib
import hashlib
import json
import os
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from minidiff.course.copies import copy_notebooks
from minidiff.course.environment import (
    DISK_GB,
    DOWNLOAD_GB,
    Stop,
    alone,
    call,
    install,
    installed_extras,
    make_environment,
    venv_python,
)
from minidiff.files import atomic_write
from minidiff.threads import cores, share

ROOT = Path(__file__).resolve().parents[2]
VERBS = {"setup": 0, "doctor": 1, "hello": 2, "course": 4, "test": 4, "site": 1}  # how many stages follow the set-up
EXTRAS = {"test": ("course", "dev", "peers", "site"), "site": ("course", "site")}  # every other verb: ("course",)
HELLO = ROOT / "outputs" / "hello.mp4"
STAMPS = ROOT / "outputs" / ".stages.json"
SENTENCE = "a red circle bounces and a blue square drifts right"
Stage = tuple[str, Callable[[], str | None]]  # title, action; the answer follows "done in", None says nothing


def has_browser() -> bool:
    """Whether a browser can open here: not in CI, over ssh, without display, or with MINIDIFF_NO_BROWSER."""
    if any(os.environ.get(name) for name in ("CI", "MINIDIFF_NO_BROWSER", "SSH_CONNECTION")):
        return False
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    with contextlib.suppress(webbrowser.Error):
        return bool(webbrowser.get())
    return False


def lab_command(python: Path, first: Path, browser: bool) -> tuple[list[object], dict[str, str]]:
    """What runs JupyterLab on the notebook `first`, and the environment it needs: our settings, and help for a kernel
    whose first cell has not run. What a learner has set in JupyterLab goes before ours; a PYTHONSTARTUP of their own
    replaces it."""
    words: list[object] = [python, "-m", "jupyterlab", "--log-level=ERROR", "--ServerApp.answer_yes=True"]
    words += [f"--ServerApp.root_dir={first.parent}", f"--LabApp.default_url=/lab/tree/{first.name}"]
    words += [] if browser else ["--no-browser"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # a container; Jupyter refuses root unless told
        words.append("--allow-root")
    here = Path(__file__).parent
    config = os.pathsep.join(filter(None, [os.environ.get("JUPYTER_CONFIG_PATH"), str(here / "jupyter")]))
    startup = os.environ.get("PYTHONSTARTUP") or str(here / "first.py")
    return words, {"JUPYTER_CONFIG_PATH": config, "PYTHONSTARTUP": startup}


def open_lab(python: Path, root: Path, browser: bool) -> None:
    """Run JupyterLab on `root/work/00_start.ipynb` until Ctrl-C. It prints its URL if there is no browser."""
    first = root / "work" / "00_start.ipynb"
    if not first.exists():
        raise Stop(f"{first} is missing: restore notebooks/ with 'git checkout -- notebooks'")
    print("      Ctrl-C here closes JupyterLab" + ("" if browser else "; open its URL in a browser"), flush=True)
    words, extra = lab_command(python, first, browser)
    try:
        if code := call(words, root, extra=extra):
            raise Stop("JupyterLab did not start: see above", code)
    except KeyboardInterrupt:
        print("\nJupyterLab is closed. Your notebooks are in work/; the same command opens them again.")


def state(python: Path) -> str:
    """What a result depends on: this Python and its packages, our code, the shipped data and weights, by stat."""
    files = [*(ROOT / "minidiff").rglob("*.py"), *(ROOT / "data").rglob("*")]
    files += (python.parent.parent).glob("[Ll]ib/**/site-packages/*.dist-info/RECORD")
    seen = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files) if path.is_file()]
    return hashlib.sha256(repr((str(python), sys.version, seen)).encode()).hexdigest()


def stamps() -> dict[str, str]:
    """The state in which each stage last went well."""
    try:
        return dict(json.loads(STAMPS.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def stages(verb: str, here: bool, browser: bool) -> list[Stage]:
    """The stages of `verb`, in order; with `here` the running Python is used as it is, without a set-up."""
    python = Path(sys.executable) if here else venv_python(ROOT)
    extras = EXTRAS.get(verb, ("course",))

    def tool(title: str, *words: object, trouble: str, note: str | None = "") -> Stage:
        def action() -> str | None:
            if code := call([python, "-m", *words], ROOT):
                raise Stop(trouble, code)
            return note

        return title, action

    def copy() -> str:
        try:
            news = copy_notebooks(ROOT / "notebooks", ROOT / "work")
        except ValueError as error:
            raise Stop(str(error)) from None
        print("".join(f"      {line}\n" for line in news), end="")
        return "the notebooks are in work/"

    pins = f"pinned dependencies ({', '.join(extras)})"
    if not installed_extras(ROOT, any_digest=True):
        pins += f": minutes, once. {DOWNLOAD_GB} GB to download, {DISK_GB} GB on disk"
        pins += ", and a fifth more for the tests" * (verb == "test")
        pins += (
            ";\n      on Linux several GB more with PyTorch's CUDA build, unless the CPU build is there (see README)"
        )
    setup: list[Stage] = [
        ("a Python environment in .venv", lambda: alone(ROOT, make_environment)),
        (pins, lambda: alone(ROOT, install, extras)),
    ]

    def once(stage: Stage, made: Path | None = None) -> Stage:
        """The stage, which `make course` leaves out where it went well before and nothing has changed since."""
        title, action = stage

        def careful() -> str | None:
            if verb == "course" and stamps().get(title) == state(python) and (made is None or made.exists()):
                return "nothing has changed since it last went well"
            note = action()
            atomic_write(STAMPS, json.dumps(stamps() | {title: state(python)}).encode())
            return note

        return title, careful

    sample = ["minidiff", "sample", "toybox-video", SENTENCE, "-n", 10, "--seed", 0, "-o", HELLO]
    course: list[Stage] = [
        once(tool("doctor", "minidiff", "doctor", trouble="follow the doctor's remedies, then run it again")),
        once(tool(f"ten clips of: {SENTENCE}", *sample, trouble="no clip: see above", note=f"see {HELLO}"), HELLO),
        ("notebooks", copy),
        ("JupyterLab", lambda: open_lab(python, ROOT, browser)),
    ]
    test: list[Stage] = [
        tool("ruff: lint", "ruff", "check", ".", trouble="ruff finds the faults above"),
        tool("ruff: format", *"ruff format --check --output-format concise .".split(), trouble="run 'ruff format'"),
        tool("pyright: types", "pyright", "--pythonpath", python, trouble="pyright finds the errors above"),
        # on every core, a file of tests on one; pytest's summary stays the last line of the output: CI reads it
        tool(
            "pytest, notebooks included",
            *"pytest -q --dist loadfile --no-loadscope-reorder -n".split(),
            min(8, cores()),
            trouble="",
            note=None,
        ),
    ]
    site: list[Stage] = [tool("pages to read", "minidiff.course.site", trouble="the site is not written: see above")]
    return ([] if here else setup) + {"test": test, "site": site}.get(verb, course)[: VERBS[verb]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages of a verb, each announced and timed; the exit code. Example: `main(["setup"])`."""
    parser = argparse.ArgumentParser(prog="minidiff.course.start", description="set up and open the course")
    parser.add_argument("verb", nargs="?", default="course", choices=VERBS)
    parser.add_argument("--no-browser", action="store_true", help="print JupyterLab's URL, open nothing")
    parser.add_argument("--here", action="store_true", help="use the running Python (conda), make no .venv")
    args = parser.parse_args(argv)
    share()
    try:
        todo = stages(args.verb, args.here, has_browser() and not args.no_browser)
        for number, (title, action) in enumerate(todo, 1):
            begin = time.monotonic()
            print(f"[{number}/{len(todo)}] {title}", flush=True)
            note = action()
            if note is not None:
                print(f"      done in {time.monotonic() - begin:.1f} s{note and ': '}{note}", flush=True)
    except Stop as stop:
        if str(stop):
            print(f"stopped: {stop}", file=sys.stderr)
        return stop.code
    except OSError as error:
        print(f"stopped: {error}. Mend that, then run the same command again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
