"""`minidiff grade FOLDER`: what students recorded in lab mode, run again by whoever grades.

A record is a text file and proves nothing. It holds the source of each answer, and the grade is what that source does
now: in a fresh process, on fresh random inputs (see `rerun`). FOLDER holds a file or folder a student, named by the id
that the student worked under: `FOLDER/ada.jsonl`, or `FOLDER/ada/` with `progress.jsonl` anywhere in it.
"""

import ast
import csv
import io
import secrets
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from minidiff.bars import tqdm
from minidiff.course import progress
from minidiff.course.exercises import all_exercises, get
from minidiff.course.judge import Tried, safe, verdict
from minidiff.course.rerun import NoAnswer, end_all, rerun
from minidiff.course.source import LONGEST
from minidiff.data.folder import below
from minidiff.errors import clean
from minidiff.files import atomic_write
from minidiff.threads import cores

LARGEST = 50_000_000  # bytes of a progress file; a diligent student's has one
IMPORTS = set(  # what an answer may have a need of
    "torch math numpy scipy einops typing functools itertools collections dataclasses __future__ abc enum random "
    "statistics fractions".split()
)
NEEDLESS = set(
    "eval exec compile open globals locals vars getattr setattr delattr attrgetter breakpoint input f_back f_locals "
    "f_globals tb_frame gi_frame cr_frame ag_frame save load from_file share_memory_ hub jit compiler".split()
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
        if path.suffix.lower() == ".jsonl" and path.is_file():
            first = path.relative_to(folder).parts[0]
            found.setdefault(same(first[:-6] if first.lower().endswith(".jsonl") else first), []).append(path)
    if not found:
        raise ValueError(f"no progress file in {folder}: expected {folder}/STUDENT.jsonl or STUDENT/progress.jsonl")
    return found


def same(name: object) -> str:
    """A student's id in one of the forms that look alike: an accent is a letter of its own on some systems."""
    return unicodedata.normalize("NFC", str(name))


def counted(student: str, paths: list[Path]) -> tuple[dict[str, list[dict[str, Any]]], Counter[str]]:
    """The records of a student that count, by exercise; and why how many others do not."""
    tries: dict[str, list[dict[str, Any]]] = {}
    not_counted: Counter[str] = Counter()
    known = {item.id for item in all_exercises()}
    for path in paths:
        try:
            if path.stat().st_size > LARGEST:
                not_counted[f"file of more than {LARGEST:,} bytes"] += 1
                continue
            entries, corrupt = progress.entries(path)
        except OSError as error:
            not_counted[f"file that cannot be read ({error.strerror})"] += 1
            continue
        not_counted["corrupt line"] += corrupt
        for entry in entries:
            if entry["kind"] != "check":
                continue
            if entry["id"] not in known:
                not_counted["unknown exercise"] += 1
            elif entry.get("student") is None:
                not_counted["made with lab mode off"] += 1
            elif same(entry["student"]) != student:
                not_counted["of another student"] += 1
            else:
                tries.setdefault(entry["id"], []).append(entry)
    return tries, +not_counted


def chosen(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The try that is graded: the last that passed, else the last."""
    passed = [entry for entry in entries if entry.get("passed") is True]
    return (passed or entries)[-1]


def odd_names(text: str) -> str:
    """Names in a source that an answer has no need of: other imports, ways to the inside of Python, files.

    Example: `odd_names("import sys")` is "sys".
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
            words |= {name for name in modules if name.split(".")[0] not in IMPORTS}
            words |= {alias.name for alias in node.names} & NEEDLESS
        name = str(getattr(node, "id", getattr(node, "attr", "")))
        inside = name.startswith("__") and not isinstance(node, ast.FunctionDef)
        words |= {name} if name in NEEDLESS or inside else set()
    return " ".join(sorted(words))


def grade(
    folder: Path, seconds: float = 60.0, gigabytes: float = 4.0, seed: int | None = None
) -> Iterator[tuple[list[Grade], dict[str, Counter[str]]]]:
    """Run the answers again, of each exercise the one that is `chosen`; yields after each one the rows, as far as they
    are known, and what did not count.

    Example: `*_, (rows, rest) = grade(Path("handed-in"))`.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    rows: list[Grade] = []
    rest: dict[str, Counter[str]] = {}
    jobs: list[tuple[Grade, Future[Tried] | None]] = []
    pool = ThreadPoolExecutor(cores())
    try:
        for student, paths in hand_ins(folder).items():
            tries, rest[student] = counted(student, paths)
            for id, entries in tries.items():
                one = chosen(entries)
                text = one.get("source")
                row = Grade(student, id, False, "not run", one.get("passed") is True, len(entries), "", "", seed, "")
                row.when = str(one.get("when", ""))[:40]
                rows.append(row)
                if isinstance(text, str) and len(text) <= LONGEST:
                    row.look = odd_names(text)
                    jobs.append((row, pool.submit(rerun, id, text, seed, seconds, gigabytes)))
                else:
                    row.outcome = "no source"
                    jobs.append((row, None))
        yield rows, rest
        for row, job in tqdm(jobs, desc="grading", unit=" answers", disable=not jobs):
            if job is not None:
                settle(row, job)
            yield rows, rest
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        end_all()


def settle(row: Grade, job: "Future[Tried]") -> None:
    """Put the verdict on what a process answered into its row."""
    try:
        row.outcome, row.message, _ = verdict(get(row.exercise), job.result(), row.seed, True)
    except NoAnswer as error:
        row.outcome, row.message = error.outcome, error.message
    except Exception as error:  # one answer, or one exercise, does not end the grading of the others
        row.outcome, row.message = "error", f"It could not be judged ({type(error).__name__}: {safe(str, error)})."
    row.passed = row.outcome == "passed"


def table(rows: list[Grade]) -> bytes:
    """The rows as CSV. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(field.name for field in fields(Grade))
    for row in rows:
        cells = ["\n".join(map(clean, str(value).splitlines())) for value in asdict(row).values()]
        writer.writerow(f"'{cell}" if cell[:1] in tuple("=+-@\t") else cell for cell in cells)
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


def report(folder: Path, out: Path, seconds: float, gigabytes: float, seed: int | None) -> int:
    """Grade, print a line a student, and write the table, also of a part when stopped by Ctrl-C; the exit status."""
    rows: list[Grade] = []
    rest: dict[str, Counter[str]] = {}
    stopped = False
    try:
        for rows, rest in grade(folder, seconds, gigabytes, seed):  # noqa: B007 (the last ones are used)
            pass
    except KeyboardInterrupt:
        stopped = True
    if rows:
        atomic_write(out, table(rows))
    for student, not_counted in rest.items():
        own = [row for row in rows if row.student == student]
        line = f"{clean(student)}: {sum(row.passed for row in own)} of {len(own)} exercises passed"
        if lost := [row for row in own if row.claimed and not row.passed]:
            shown = ", ".join(f"{row.exercise} ({row.outcome})" for row in lost[:3])
            line += f"; {len(lost)} that the record calls passed did not: {shown}" + ", ..." * (len(lost) > 3)
        if odd := sum(bool(row.look) for row in own):
            line += f"; {odd} to look at"
        if not_counted:
            line += "; does not count: " + ", ".join(f"{n} {why}" for why, n in not_counted.items())
        print(line)
    left = sum(row.outcome == "not run" for row in rows)
    if stopped:
        print(f"stopped: {left} of {len(rows)} answers did not run")
    print(f"written: {out}" if rows else "nothing to grade: no record counts")
    return 130 if stopped else int(not rows)
