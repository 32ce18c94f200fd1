"""Is this machine fit for the course? `minidiff doctor` answers with a remedy beside each trouble.

A finding's state is a word and a sign: `[+] ok`, `[!] note` (usable all the same), `[x] fault` (mend it).
Only the standard library is imported at the top: a missing package is a finding, not a traceback.
"""

import os
import platform
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from minidiff import files
from minidiff.scale import pick

SIGNS = {"ok": "[+] ok", "note": "[!] note", "fault": "[x] fault"}
RESTORE = "restore it with 'git checkout -- data'"
LICENCES = (
    ("code, in notebooks too", "MIT", "LICENSE"),
    ("prose and figures", "CC BY 4.0", "LICENSE-CONTENT.md"),
    ("data/fashion: Fashion-MNIST, (c) Zalando SE", "MIT", "data/README.md"),
    ("data/emoji: OpenMoji, by openmoji.org", "CC BY-SA 4.0", "data/emoji/LICENSE-openmoji"),
    ("data/emoji: Noto Emoji, (c) Google", "Apache-2.0", "data/emoji/LICENSE-noto"),
    ("data/emoji: Twemoji, (c) Twitter and others", "CC BY 4.0", "data/emoji/LICENSE-twemoji"),
    ("data/emoji: Fluent Emoji 3D, (c) Microsoft", "MIT", "data/emoji/LICENSE-fluent"),
    ("data/emoji: names, (c) Cal Henderson", "MIT", "data/emoji/LICENSE-names"),
    ("data/clips: a city at night, by way of Kivy", "CC0", "data/README.md"),
    ("data/checkpoints: trained here, on the above", "MIT", "data/README.md"),
    ("data/checkpoints: emoji-*, trained on emoji", "CC BY-SA 4.0", "data/README.md"),
)


class Finding(NamedTuple):
    """One row of the table. Example: `Finding("memory", "16 GB", "ok")`; a `note` or `fault` has a remedy."""

    what: str
    found: str
    state: str
    remedy: str = ""


def read_lock(path: Path) -> dict[str, str]:
    """`{name: version}` of a requirements.lock, names as PyPI compares them. Example: `lock["torch"]`."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def packages(folder: Path) -> Iterator[Finding]:
    """Every package of the lock against what is installed; those that pyproject names must be there."""
    if not (folder / "requirements.lock").is_file():
        yield Finding("packages", "no requirements.lock", "note", "run the doctor from the clone")
        return
    lock = read_lock(folder / "requirements.lock")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["course"]
    direct = {re.split(r"[^\w.-]", name)[0].lower() for name in needed}
    remedy = f'{Path(sys.executable).name} -m pip install -c requirements.lock -e ".[course]", in the clone'
    fitting = 0
    for name, pinned in lock.items():
        try:
            found = metadata.version(name).split("+")[0]  # torch 2.13.0+cpu is a build of 2.13.0
        except metadata.PackageNotFoundError:
            if name in direct:
                yield Finding(name, "missing", "fault", remedy)
            continue
        fitting += found == pinned
        if found != pinned:
            yield Finding(name, f"{found}, the lock says {pinned}", "note", remedy)
    yield Finding("packages", f"{fitting} installed at the version of the lock", "ok")


def machine() -> Iterator[Finding]:
    """Python, system, cores, memory, disk and the device that torch would use."""
    fits = sys.version_info >= (3, 11)
    yield Finding("python", platform.python_version(), "ok" if fits else "fault", "" if fits else "install 3.11+")
    yield Finding("system", f"{platform.system()}, {platform.machine()}", "ok")
    try:
        import psutil

        free = psutil.virtual_memory().available / 2**30
        remedy = "" if free >= 3 else "close other programs: the course needs about 3 GB"
        yield Finding("memory", f"{free:.1f} GB free", "note" if remedy else "ok", remedy)
    except ImportError:
        yield Finding("memory", "unknown", "note", "pip install psutil shows it")
    free = shutil.disk_usage(files.root()).free / 2**30
    remedy = "" if free >= 1 else "make room: runs and pictures need about 1 GB"
    yield Finding("disk", f"{free:.1f} GB free", "note" if remedy else "ok", remedy)
    try:
        import torch
    except Exception as error:  # a torch whose libraries do not load fails in many ways, and each is a finding
        yield Finding("torch", f"does not import: {error}", "fault", "reinstall torch, see README")
        return
    yield Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores", "ok")
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        yield Finding("device", f"CUDA: {card.name}, {card.total_memory / 2**30:.0f} GB", "ok")
    elif torch.backends.mps.is_available():
        yield Finding("device", "MPS: the GPU of this Mac, memory shared with the system", "ok")
    else:
        yield Finding("device", "CPU: enough for every chapter at laptop scale", "ok")


def shipped() -> Iterator[Finding]:
    """Every file of data/SHA256SUMS against its hash, and every checkpoint against its header and its name."""
    data, whole = files.root() / "data", 0
    sums, junk = files.listing()
    for line in junk:
        yield Finding("data/SHA256SUMS", f"{line[:40]!r} is no 'sha256  name'", "fault", RESTORE)
    for name in sums:
        try:
            files.verify(data / name)
            whole += 1
        except (ValueError, OSError) as error:
            yield Finding(f"data/{name}", "missing" if isinstance(error, OSError) else "changed", "fault", RESTORE)
    yield Finding("data", f"{whole} files with the sha256 they shipped with", "ok")
    try:
        from minidiff.train.checkpoint import CheckpointError, read
    except ImportError as error:
        yield Finding("checkpoints", f"cannot be read: {error}", "fault", "install the packages named above")
        return
    sound = 0
    for path in sorted((data / "checkpoints").glob("*.safetensors")):
        try:
            read(path, path.stem)
            if f"checkpoints/{path.name}" not in sums:
                raise CheckpointError(f"{path} is not listed in data/SHA256SUMS: it did not ship with the course")
            sound += 1
        except (CheckpointError, OSError) as error:
            yield Finding(f"checkpoint {path.stem}", str(error), "fault", RESTORE)
    remedy = "" if sound else f"nothing to sample from: {RESTORE}"
    yield Finding(
        "checkpoints", f"{sound} with the sha256 and the name of their header", "ok" if sound else "note", remedy
    )


def training(seconds: float) -> Finding:
    """Train a small MLP for `seconds` on the device that training would use; its loss must halve.

    It learns to point from a noisy 2-D point back to the centre it came from. Example: `training(3.0).state`.
    """
    try:
        import torch

        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        rng = torch.Generator().manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)).to(device)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
        losses, begin = [], time.monotonic()
        while len(losses) < 50 or time.monotonic() - begin < seconds:
            x0 = torch.randint(0, 2, (256, 1), generator=rng).mul(2.0).sub(1.0).expand(-1, 2)  # (B, 2)
            x_t = x0 + 0.3 * torch.randn(256, 2, generator=rng)  # (B, 2)
            loss = (net(x_t.to(device)) - x0.to(device)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        rate = 256 * len(losses) / (time.monotonic() - begin)
    except Exception as error:  # whatever goes wrong here is what the learner would meet in chapter 03
        return Finding("training", f"{type(error).__name__}: {error}", "fault", "reinstall torch, see README")
    first, last = losses[0], sum(losses[-10:]) / 10
    found = f"loss {first:.2f} -> {last:.2f} in {len(losses)} steps, {rate:,.0f} samples/s on {device}"
    if last < first / 2:
        return Finding("training", found, "ok")
    return Finding("training", found, "fault", "the device computes wrongly: reinstall torch, see README")


def findings() -> Iterator[Finding]:
    """Every finding, in the order of the table; the slow one, training, is last."""
    try:
        clone = files.root()
    except FileNotFoundError as error:
        yield Finding("clone", "not found", "fault", str(error))
        return
    yield from machine()
    yield from packages(clone)
    yield from shipped()
    yield training(pick(smoke=0.3, laptop=5.0))


def doctor(licences: bool = False) -> int:
    """Print the table, 0 if usable, 1 if there is a fault; with `licences` only the licence of each part, and 0.

    Example: `doctor()`, which is `minidiff doctor`.
    """
    if licences:
        for what, licence, where in LICENCES:
            print(f"{what:<46}{licence:<14}see {where}")
        return 0
    faults = 0
    for row in findings():
        faults += row.state == "fault"
        print(f"{SIGNS[row.state]:<11}{row.what:<22}{row.found}", flush=True)
        if row.remedy:
            print(f"{'':<33}remedy: {row.remedy}")
    print(f"{'':<11}{'licences':<22}code MIT, prose CC BY 4.0, data as listed (minidiff doctor --licences)")
    print("fit for the course" if not faults else f"not usable yet: {faults} fault(s), each with its remedy above")
    return int(faults > 0)
