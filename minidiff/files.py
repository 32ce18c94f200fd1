"""Where files are, and how they are written and trusted.

Shipped files live under `root()/data` and are listed with their sha256 in `data/SHA256SUMS`; what a run makes
goes under `outputs()`, which git ignores. Only the standard library is used, so the set-up tools can import this.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """The folder that holds `data/` and `notebooks/`: the clone, or `$MINIDIFF_ROOT` where that is set.

    Raises FileNotFoundError when there is no `data/` in it (a wheel installed without the clone).
    Example: `(root() / "data" / "fashion").exists()`.
    """
    here = Path(os.path.realpath(os.environ.get("MINIDIFF_ROOT") or Path(__file__).parents[1]))
    if not (here / "data" / "SHA256SUMS").is_file():
        raise FileNotFoundError(
            f"no data/SHA256SUMS in {here}. minidiff runs from its clone: install it there with "
            "'pip install -e .', or set MINIDIFF_ROOT to the clone."
        )
    return here


def outputs() -> Path:
    """The writable folder for runs and pictures: `root()/outputs`, or `$MINIDIFF_OUTPUTS`. Created on demand."""
    folder = Path(os.environ.get("MINIDIFF_OUTPUTS") or root() / "outputs")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in blocks. Example: `sha256(Path("x.bin"))[:8]`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Inside the block an error of the system is told with this path: that a disk is full it tells without one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a crash at any moment, sees the old file or the new one, never half.

    The bytes go to a neighbour file, reach the disk (fsync), and replace the target in one step.
    """
    path = Path(path)
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)


def replace(path: Path, content: bytes) -> None:
    """What `atomic_write` does once the folder is there."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")  # of the `sha256sum` tool


def listing() -> tuple[dict[str, str], list[str]]:
    """`{path relative to data/: sha256}` as listed in `data/SHA256SUMS`, and the lines of it that are no such line."""
    lines = (root() / "data" / "SHA256SUMS").read_text(errors="replace").splitlines()
    matched = [(line, LINE.fullmatch(line.rstrip())) for line in lines if line.strip()]
    return {m[2]: m[1] for _, m in matched if m}, [line for line, m in matched if not m]


def checksums() -> dict[str, str]:
    """`{path relative to data/: sha256}` as listed in `data/SHA256SUMS`; lines of another form are left out."""
    return listing()[0]


def relist(sums: dict[str, str]) -> None:
    """Write `data/SHA256SUMS` anew. Example: `relist(checksums() | {"fashion/x.png": sha256(path)})`."""
    lines = (f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    atomic_write(root() / "data" / "SHA256SUMS", "".join(lines).encode())


def list_file(path: Path) -> None:
    """Give a file below `data` its line in `data/SHA256SUMS`, in place of an older one; files elsewhere have none."""
    import filelock  # not at the top: the set-up has the standard library alone

    data = (root() / "data").resolve()
    if not path.resolve().is_relative_to(data):
        return
    with filelock.FileLock(outputs() / ".SHA256SUMS.lock"):  # two may ship at once
        relist(checksums() | {path.resolve().relative_to(data).as_posix(): sha256(path)})


def verify(path: Path) -> Path:
    """Return `path` if `data/SHA256SUMS` lists it and its bytes match; else ValueError or FileNotFoundError."""
    path = Path(path)
    remedy = "restore it with 'git checkout -- data', or rebuild it with the script in data/build/"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {remedy}")
    data = (root() / "data").resolve()
    if not path.resolve().is_relative_to(data):
        raise ValueError(f"{path} is not in {data}: only shipped files have a listed sha256")
    name = path.resolve().relative_to(data).as_posix()
    expected, found = checksums().get(name), sha256(path)
    if expected is None:
        raise ValueError(f"{name} is not listed in data/SHA256SUMS: add it there, or remove the file")
    if found != expected:
        raise ValueError(f"{name} has sha256 {found[:12]}..., data/SHA256SUMS says {expected[:12]}...: {remedy}")
    return path


def write_data(folder: str, files: dict[str, bytes]) -> None:
    """Put `files` (name: content) into `data/FOLDER` and give that folder new lines in `data/SHA256SUMS`.

    Lines of files that are no longer made go. For the scripts in data/build. Example: `write_data("fashion", made)`.
    """
    data = root() / "data"
    sums = {name: digest for name, digest in checksums().items() if not name.startswith(f"{folder}/")}
    for name, content in files.items():
        atomic_write(data / folder / name, content)
        sums[f"{folder}/{name}"] = sha256(data / folder / name)
    relist(sums)
