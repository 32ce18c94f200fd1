"""`minidiff grade FOLDER`: what students recorded in lab mode, run again by whoever grades.

A record is a text file and proves nothing. It holds the source of each answer, and the grade is what that source does
now: in a fresh process, on fresh random inputs (see `rerun`). FOLDER holds a file or folder a student, named by the id
that the student worked under: `FOLDER/ada.jsonl`, or `FOLDER/ada/` with `progress.jsonl` anywhere in it.
"""

import ast
import csv
import io
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from minidiff.bars import tqdm
from minidiff.course import progress
from minidiff.course.exercises import all_exercises, get
from minidiff.course.judge import Tried, verdict
from minidiff.course.rerun import NoAnswer, rerun
from minidiff.data.folder import below
from minidiff.files import atomic_write
from minidiff.threads import cores

LARGEST = 50_000_000  # bytes of a progress file; a diligent student's has one
LONGEST = 100_000  # characters of an answer
LOOK = set(
    "minidiff sys os inspect gc ctypes importlib builtins linecache subprocess threading socket pickle marshal exec "
    "eval compile open globals locals vars getattr setattr delattr __import__ __builtins__ __globals__ __code__ "
    "__closure__ __subclasses__ __dict__ f_back f_locals f_globals tb_frame gi_frame _getframe setprofile "
    "settrace".split()
)


@dataclass
class Grade:
    """A row of the table. outcome: passed, wrong, error, refused, unsolved, time, "no source", or "not run".

    claimed: whether the record says that it passed. look: names in the source that an answer has no need of, for your
    eyes. seed: `--seed` repeats it.
    """

    student: str
    exercise: str
    passed: bool
    outcome: str
    claimed: bool
    tries: int
    when: str
    look: str
    seed: int
    message: str


def hand_ins(folder: Path) -> dict[str, list[Path]]:
    """The progress files of each student: `{id: paths}`.

    FileNotFoundError, NotADirectoryError; ValueError for a folder without any.
    """
    if not folder.exists():
        raise FileNotFoundError(f"no folder {folder}: name the one that holds what was handed in")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name the folder that it is in")
    found: dict[str, list[Path]] = {}
    for path in below(folder)[0]:
        if path.suffix == ".jsonl" and path.is_file():
            found.setdefault(path.relative_to(folder).parts[0].removesuffix(".jsonl"), []).append(path)
    if not found:
        raise ValueError(f"no progress file in {folder}: expected {folder}/STUDENT.jsonl or STUDENT/progress.jsonl")
    return found


def counted(student: str, paths: list[Path]) -> tuple[dict[str, list[dict[str, Any]]], Counter[str]]:
    """The records of a student that count, by exercise; and why how many others do not."""
    tries: dict[str, list[dict[str, Any]]] = {}
    not_counted: Counter[str] = Counter()
    known = {item.id for item in all_exercises()}
    for path in paths:
        if path.stat().st_size > LARGEST:
            not_counted[f"file of more than {LARGEST:,} bytes"] += 1
            continue
        entries, corrupt = progress.entries(path)
        not_counted["corrupt line"] += corrupt
        for entry in entries:
            if entry["kind"] != "check":
                continue
            if entry["id"] not in known:
                not_counted["unknown exercise"] += 1
            elif entry.get("student") is None:
                not_counted["made with lab mode off"] += 1
            elif entry["student"] != student:
                not_counted["of another student"] += 1
            else:
                tries.setdefault(entry["id"], []).append(entry)
    return tries, +not_counted


def chosen(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The try that is graded: the last that passed, else the last."""
    passed = [entry for entry in entries if entry.get("passed") is True]
    return (passed or entries)[-1]


def odd_names(text: str) -> str:
    """Names in a source that an answer has no need of. Example: `odd_names("import sys")` is "sys"."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            words |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            words |= set((node.module or "").split(".")) | {alias.name for alias in node.names}
        else:
            words |= {str(getattr(node, "id", getattr(node, "attr", "")))}
    return " ".join(sorted(words & LOOK))


def grade(
    folder: Path, seconds: float = 60.0, gigabytes: float = 4.0, seed: int | None = None
) -> Iterator[tuple[list[Grade], dict[str, Counter[str]]]]:
    """Run every answer again; yields the rows, as far as they are known, and what did not count, after each answer.

    Example: `*_, (rows, rest) = grade(Path("handed-in"))`.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    rows: list[Grade] = []
    rest: dict[str, Counter[str]] = {}
    jobs: list[tuple[Grade, Future[Tried] | None]] = []
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for student, paths in hand_ins(folder).items():
                tries, rest[student] = counted(student, paths)
                for id, entries in tries.items():
                    one = chosen(entries)
                    text = one.get("source")
                    row = Grade(
                        student, id, False, "not run", one.get("passed") is True, len(entries), "", "", seed, ""
                    )
                    row.when = str(one.get("when", ""))[:40]
                    rows.append(row)
                    if not isinstance(text, str) or len(text) > LONGEST:
                        row.outcome = "no source"
                        jobs.append((row, None))
                        continue
                    row.look = odd_names(text)
                    jobs.append((row, pool.submit(rerun, id, text, seed, seconds, gigabytes)))
            for row, job in tqdm(jobs, desc="grading", unit=" answers"):
                if job is not None:
                    settle(row, job)
                yield rows, rest
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def settle(row: Grade, job: "Future[Tried]") -> None:
    """Put the verdict on what a process answered into its row."""
    try:
        row.outcome, row.message, _ = verdict(get(row.exercise), job.result(), row.seed, True)
    except NoAnswer as error:
        row.outcome, row.message = error.outcome, error.message
    row.passed = row.outcome == "passed"


def table(rows: list[Grade]) -> bytes:
    """The rows as CSV. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(field.name for field in fields(Grade))
    for row in rows:
        cells = [str(value).replace("\r", " ") for value in asdict(row).values()]
        writer.writerow(f"'{cell}" if cell[:1] in tuple("=+-@\t") else cell for cell in cells)
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


def report(folder: Path, out: Path, seconds: float, gigabytes: float, seed: int | None) -> int:
    """Grade, print a line a student, and write the table, also of a part when stopped by Ctrl-C."""
    rows: list[Grade] = []
    rest: dict[str, Counter[str]] = {}
    try:
        for rows, rest in grade(folder, seconds, gigabytes, seed):  # noqa: B007 (the last ones are used)
            pass
    finally:
        if rows:
            atomic_write(out, table(rows))
    for student, not_counted in rest.items():
        own = [row for row in rows if row.student == student]
        line = f"{student}: {sum(row.passed for row in own)} of {len(own)} exercises passed"
        if lost := [row for row in own if row.claimed and not row.passed]:
            shown = ", ".join(f"{row.exercise} ({row.outcome})" for row in lost[:3])
            line += f"; {len(lost)} that the record calls passed did not: {shown}" + ", ..." * (len(lost) > 3)
        if odd := sum(bool(row.look) for row in own):
            line += f"; {odd} to look at"
        if not_counted:
            line += "; does not count: " + ", ".join(f"{n} {why}" for why, n in not_counted.items())
        print(line)
    print(f"written: {out}" if rows else "nothing to grade: no record counts")
    return 0
