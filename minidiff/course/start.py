"""Set up and open the course: `python -m minidiff.course.start [setup|doctor|hello|course|test]`.

A verb is a list of stages, and each goes on where the one before ends: `setup` (a `.venv` with the pinned
dependencies), `doctor`, `hello` (a clip from a sentence, with shipped weights), `course` (JupyterLab on a copy of the
notebooks in `work/`). `test` sets up likewise and runs every check. A stage that was done is seen to be done,
so a verb is safe to run twice, or again after it was killed. Only the standard library is used.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before any import that an older Python could not read
    sys.exit(
        "stopped: minidiff needs Python 3.11 or newer, and {} is {}.{}. Install one (python.org/downloads), "
        "then name it: make course PYTHON=python3.12".format(sys.executable, *sys.version_info[:2])
    )

import argparse
import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import time
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from minidiff.course.copies import copy_notebooks
from minidiff.files import atomic_write
from minidiff.threads import cores, share

ROOT = Path(__file__).resolve().parents[2]
VERBS = {"setup": 0, "doctor": 1, "hello": 2, "course": 4, "test": 4}  # how many stages follow the set-up
EXTRAS = {"test": ("course", "dev", "peers")}  # every other verb: ("course",)
HELLO = ROOT / "outputs" / "hello.mp4"
SENTENCE = "a red circle bounces and a blue square drifts right"
PIP = "install --disable-pip-version-check --no-input --progress-bar off -c requirements.lock -e"
Stage = tuple[str, Callable[[], str | None]]  # title, action; the answer follows "done in", None says nothing


class Stop(Exception):
    """Why we cannot go on and what to do, in one line; an empty line where the stage has said it itself."""

    def __init__(self, line: str, code: int = 1):
        super().__init__(line)
        self.code = code if code > 0 else 128 - code  # a child killed by signal 9 reports -9; shells say 137


def call(
    command: Sequence[object],
    root: Path,
    log: Path | None = None,
    beat: float = 10.0,
    extra: Mapping[str, str] | None = None,
) -> int:
    """Exit status of `command`, run in `root`, with `extra` environment variables. With `log`, its output goes there,
    and every `beat` seconds a line shows that it lives. On Ctrl-C the child, which got it
    too, has ten seconds to tidy up.

    Example: `call([sys.executable, "--version"], Path("."))` is 0.
    """
    begin, words = time.monotonic(), [str(word) for word in command]
    with open(log, "w") if log else contextlib.nullcontext() as out:
        error = subprocess.STDOUT if log else None
        env = os.environ | dict(extra or {})
        child = subprocess.Popen(words, cwd=root, env=env, stdout=out, stderr=error, close_fds=False)  # see `alone`
        try:
            while True:
                try:
                    return child.wait(timeout=beat)
                except subprocess.TimeoutExpired:
                    if log:
                        print(f"      {time.monotonic() - begin:4.0f} s  {tail(log, 1)[:90]}", flush=True)
        except KeyboardInterrupt:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
            raise
        finally:
            if child.poll() is None:
                child.kill()


def tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a log file that are not blank. Example: `tail(Path("setup.log"), 15)`."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])


def alone(root: Path, action: Callable[..., str], *args: object) -> str:
    """`action(root, *args)` under an exclusive lock, so that two set-ups never write into one `.venv`.

    The system frees the lock when the process ends, however it ends: a stale lock cannot exist. A pip that
    outlives a killed parent holds it too (except on Windows), because it inherits the open file.
    """
    path = root / "outputs" / ".setup.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        for attempt in itertools.count():
            try:
                if sys.platform == "win32":
                    import msvcrt

                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                else:
                    import fcntl

                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.set_inheritable(file.fileno(), True)
                break
            except OSError:
                if attempt == 0:
                    print("      another set-up is at work in this folder: waiting for it", flush=True)
                time.sleep(0.5)
        return action(root, *args)


def venv_python(root: Path) -> Path:
    """Where the Python of `root/.venv` is, on this system. Example: `.venv/bin/python`."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(root: Path) -> str:
    """Make `root/.venv`, or keep one whose Python (3.11+) and pip run. Raises Stop where venv is missing."""
    alive = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    python, log = venv_python(root), root / "outputs" / "setup.log"
    if python.exists() and subprocess.run([python, "-c", alive], capture_output=True).returncode == 0:
        return "kept"
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Stop(
            f"{sys.executable} lacks the venv or ensurepip module. On Debian or Ubuntu: sudo apt install "
            f"python3.{sys.version_info.minor}-venv, then run the same command again"
        )
    if code := call([sys.executable, "-m", "venv", "--clear", root / ".venv"], root, log):
        print(tail(log, 15))
        raise Stop(f"python -m venv failed: see above and {log}, then run the same command again", code)
    return "made"


def digest(root: Path) -> str:
    """What an installation depends on: pyproject, lock, and the folder (a moved clone installs again)."""
    parts = [(root / name).read_bytes() for name in ("pyproject.toml", "requirements.lock")]
    return hashlib.sha256(b"\0".join([*parts, str(root).encode()])).hexdigest()


def installed_extras(root: Path, any_digest: bool = False) -> set[str]:
    """Extras that the stamp in `root/.venv` names, if they were installed from today's pyproject and lock."""
    try:
        stamp = json.loads((root / ".venv" / "minidiff.json").read_text())
        return set(stamp["extras"]) if any_digest or stamp["digest"] == digest(root) else set()
    except (OSError, ValueError, KeyError, TypeError):  # no stamp, or a broken one: nothing is known
        return set()


def install(root: Path, extras: Sequence[str]) -> str:
    """`pip install` this clone with `extras` at the lock's versions, unless the stamp says that it is done.

    The stamp is written last, so an installation that was killed is taken up again. pip writes a package's
    INSTALLER file (PEP 376) after all its others: one without it is half there, and is hidden from pip.
    Raises Stop after pip's last lines.
    """
    if set(extras) <= installed_extras(root):
        return "already installed"
    for info in (root / ".venv").rglob("site-packages/*.dist-info"):
        if not (info / "INSTALLER").exists():
            shutil.rmtree(info)
    log, stamp = root / "outputs" / "setup.log", root / ".venv" / "minidiff.json"
    wanted = sorted({*extras, *installed_extras(root, any_digest=True)})  # what `test` added is kept current
    stamp.unlink(missing_ok=True)
    if code := call([venv_python(root), "-m", "pip", *PIP.split(), f".[{','.join(wanted)}]"], root, log):
        print(tail(log, 15))
        raise Stop(f"pip failed: see above and {log}. Check network and disk, then run it again", code)
    atomic_write(stamp, json.dumps({"digest": digest(root), "extras": wanted}).encode())
    return "installed"


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
    whose first cell has not run. A learner's own settings go before ours, and so does their PYTHONSTARTUP."""
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
        for line in copy_notebooks(ROOT / "notebooks", ROOT / "work"):
            print(f"      {line}")
        return "the notebooks are in work/"

    pins = f"pinned dependencies ({', '.join(extras)}): minutes the first time"
    setup: list[Stage] = [
        ("a Python environment in .venv", lambda: alone(ROOT, make_environment)),
        (pins, lambda: alone(ROOT, install, extras)),
    ]
    sample = ["minidiff", "sample", "toybox-video", SENTENCE, "-n", 10, "--seed", 0, "-o", HELLO]
    course: list[Stage] = [
        tool("doctor", "minidiff", "doctor", trouble="follow the doctor's remedies, then run it again"),
        tool(f"ten clips of: {SENTENCE}", *sample, trouble="no clip: see above", note=f"see {HELLO}"),
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
    return ([] if here else setup) + (test if verb == "test" else course)[: VERBS[verb]]


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
