"""The environment that a clone runs in: a `.venv` with the pinned dependencies, made once and kept current.

Only the standard library is used: this runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from minidiff.files import atomic_write

PIP = "install --disable-pip-version-check --no-input --progress-bar off -c requirements.lock -e"
DOWNLOAD_GB, DISK_GB = 0.4, 1.6  # measured on Linux with the CPU build of torch, extra `course`


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
                        print(f"      {time.monotonic() - begin:4.0f} s  {pace(log, root)[:100]}", flush=True)
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


def plain(name: str) -> str:
    """A package's name as it is compared. Example: `plain("Jupyter_core") == "jupyter-core"`."""
    return name.strip().lower().replace("_", "-")


def pace(log: Path, root: Path) -> str:
    """How far pip is, from its log and from what stands in `.venv`; of another log, the last line.

    While it installs, pip says nothing for minutes; but each package's INSTALLER file is the last that it writes.
    """
    text, last = tail(log, 10_000), tail(log, 1)
    if listed := re.search(r"^Installing collected packages: (.+)$", text, re.MULTILINE):
        made = {path.parent.stem.rsplit("-", 1)[0]: path for path in (root / ".venv").rglob("*.dist-info/INSTALLER")}
        names = {plain(name) for name in listed[1].split(",")}
        there = [name for name in made if plain(name) in names]
        newest = max(there, key=lambda name: made[name].stat().st_mtime, default="none yet")
        return f"installing: {len(there)} of {len(names)} packages, last {newest}"
    if found := re.findall(r"^(?:Collecting|Processing|Downloading|Using cached) .*$", text, re.MULTILINE):
        count = len(set(re.findall(r"^(?:Collecting ([\w.-]+)|Processing .*/([\w.]+)-\d)", text, re.MULTILINE)))
        return f"{count} packages found: {found[-1]}"
    return last


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
    free = shutil.disk_usage(root).free / 1e9
    there = sum(path.lstat().st_size for path in (root / ".venv").rglob("*")) / 1e9 if free < DISK_GB else 0
    if free < DISK_GB - there:
        need = f"the packages need {DISK_GB - there:.1f} GB"
        raise Stop(f"{free:.1f} GB free in {root}, and {need}: make room, then run it again")
    log, stamp = root / "outputs" / "setup.log", root / ".venv" / "minidiff.json"
    wanted = sorted({*extras, *installed_extras(root, any_digest=True)})  # what `test` added is kept current
    atomic_write(stamp, json.dumps({"digest": "", "extras": wanted}).encode())  # begun, and not done
    if code := call([venv_python(root), "-m", "pip", *PIP.split(), f".[{','.join(wanted)}]"], root, log):
        print(tail(log, 15))
        raise Stop(f"pip failed: see above and {log}. Check network and disk, then run it again", code)
    atomic_write(stamp, json.dumps({"digest": digest(root), "extras": wanted}).encode())
    return "installed"
