"""Grading by running again: right answers pass, cheats and accidents do not, and nothing of them reaches the grader."""

import csv
import json
import linecache
import time
from pathlib import Path

import pytest
import torch
from cheats import CELLS, CHEATS, HEAD, RIGHT

from minidiff.cli import main
from minidiff.course import grade as grading
from minidiff.course import lab, progress, source
from minidiff.course.check import check
from minidiff.course.exercises import get
from minidiff.course.judge import verdict
from minidiff.course.rerun import NoAnswer, decode, encode, rerun

ID = "forward.one-jump"
ITEM = get(ID)


def record(student: str | None, text: object, id: str = ID, passed: object = True, **more) -> str:
    """A line of a progress file, as a student might have written it by hand."""
    entry = {"kind": "check", "when": "2026-01-01T00:00:00+00:00", "id": id, "passed": passed, "outcome": "passed"}
    return json.dumps(entry | {"student": student, "source": text} | more) + "\n"


def graded(folder: Path, **options) -> dict[tuple[str, str], grading.Grade]:
    *_, (rows, _) = grading.grade(folder, **options)
    return {(row.student, row.exercise): row for row in rows}


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    """All cheats, each handed in by a student of its own, beside an honest one; and the file that none may touch."""
    folder = tmp_path_factory.mktemp("handed-in")
    mark = tmp_path_factory.mktemp("outside") / "mark"
    mark.write_text("untouched")
    known = ITEM.reference(*ITEM.inputs(torch.Generator().manual_seed(lab.seed("honest", ID)))).tolist()
    for n, text in enumerate(CHEATS.values()):
        text = text.replace("{mark}", str(mark)).replace("{known}", str(known))
        (folder / f"cheat{n}.jsonl").write_text(record(f"cheat{n}", text))
    (folder / "honest.jsonl").write_text(record("honest", RIGHT))
    rows = graded(folder, seconds=5, gigabytes=2)
    assert mark.read_text() == "untouched" and sorted(path.name for path in mark.parent.iterdir()) == ["mark"]
    return {**{name: rows[f"cheat{n}", ID] for n, name in enumerate(CHEATS)}, "honest": rows["honest", ID]}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_pass(cheats, name):
    row = cheats[name]
    assert not row.passed and row.claimed and row.outcome in ("wrong", "error", "refused", "unsolved", "time")
    if "minidiff" in CHEATS[name]:
        assert row.look  # is pointed out


def test_an_honest_answer_passes_beside_them(cheats):
    assert cheats["honest"].passed and cheats["honest"].look == ""


def test_cheats_of_the_notebook_are_told_there_and_raise_nothing():
    """All of them but those that end or hang a process: there they would end or hang the learner's own."""
    leave = ("os._exit", "aborts", "crashes", "never returns", "sleeps", "KeyboardInterrupt", "in a fork", "patch")
    leave += ("much memory", "a large answer", "watch", "thread", "process", "file", "connection", "sends")
    for name, text in CHEATS.items():
        if any(word in name for word in leave) or "{known}" in text:
            continue
        try:
            fn = source.load(text, f"<{name}>")
        except Exception:
            continue  # a cell that does not run defines nothing to check
        record = check(ITEM, fn)
        assert not record.passed or any("minidiff" in used for used in record.used), name


# --- what counts ----------------------------------------------------------------------------------------


def test_records_of_others_and_without_lab_mode_do_not_count(tmp_path, capsys):
    (tmp_path / "ada").mkdir()
    lines = [
        record("ada", RIGHT),
        record("bob", RIGHT, "forward.broadcast"),
        record(None, RIGHT, "forward.shift"),
        record("ada", RIGHT, "no.such"),
        record("ada", None, "reverse.fresh-noise"),
        record("ada", 7, "targets.gain"),
        record("ada", "x" * 200_000, "targets.floor"),
        json.dumps({"kind": "predict", "id": "x", "choice": "y"}) + "\n",
        "junk\n", "[]\n", '{"kind": 5, "id": []}\n', '{"kind": "check"\n',
    ]  # fmt: skip
    (tmp_path / "ada" / "progress.jsonl").write_text("".join(lines))
    (tmp_path / "eve.jsonl").write_text(record("ada", RIGHT))  # ada's file under another name
    assert main(["grade", str(tmp_path), "-o", str(tmp_path / "out" / "grades.csv")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("ada: 1 of 4 exercises passed; 3 that the record calls passed did not: ")
    assert "4 corrupt line" in told[0] and "1 of another student" in told[0] and "1 made with lab mode off" in told[0]
    assert told[1] == "eve: 0 of 0 exercises passed; does not count: 1 of another student"
    with open(tmp_path / "out" / "grades.csv", encoding="utf-8-sig") as file:
        rows = {row["exercise"]: row for row in csv.DictReader(file)}
    assert rows[ID]["passed"] == "True" and rows[ID]["student"] == "ada"
    assert {rows[id]["outcome"] for id in rows if id != ID} == {"no source"}


def test_the_last_that_passed_counts_and_the_seed_repeats(tmp_path):
    wrong = HEAD + "return x0"
    tries = [record("ada", wrong, passed=False), record("ada", RIGHT), record("ada", wrong, passed=False)]
    (tmp_path / "ada.jsonl").write_text("".join(tries))
    (tmp_path / "bob.jsonl").write_text("".join(t.replace('"ada"', '"bob"') for t in (tries[0], tries[2])))
    rows = graded(tmp_path, seed=7)
    assert rows["ada", ID].passed and rows["ada", ID].tries == 3 and rows["ada", ID].seed == 7
    assert not rows["bob", ID].passed and not rows["bob", ID].claimed
    again = graded(tmp_path, seed=7)
    assert again["bob", ID].message == rows["bob", ID].message != graded(tmp_path, seed=8)["bob", ID].message


def test_from_the_notebook_to_the_grade(tmp_path, monkeypatch):
    """What `check` records in lab mode is what is run: with a helper, an import and a number of other cells."""
    monkeypatch.setenv("MINIDIFF_LAB", "1")
    monkeypatch.setenv("MINIDIFF_STUDENT", "ada")
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "ada.jsonl"))
    cells = "import math as m\nONE = 1\ndef product(b, k):\n    return (ONE - b[:k]).prod()\n"
    cells += HEAD + "a = product(betas, k)\n    return a.sqrt() * x0 + (m.sqrt(ONE) - a).sqrt() * eps\n"
    assert check(ID, source.load(cells, "<cell>")).passed
    assert check("forward.broadcast", source.load(get("forward.broadcast").solution, "<cell 2>")).passed
    (entry, _) = progress.records("check")
    assert "def product" in entry["source"] and "import math as m" in entry["source"] and "ONE = 1" in entry["source"]
    assert all(row.passed for row in graded(tmp_path).values())
    net = torch.nn.Linear(2, 2)
    leans = HEAD + "a = (1 - betas[:k]).prod() + 0 * len(net.weight)\n    return a.sqrt() * x0 + (1 - a).sqrt() * eps"
    fn = source.load(leans, "<cell 3>")
    fn.__globals__["net"] = net
    told = check(ID, fn)
    assert told.outcome == "refused" and "`net` of another cell" in told.message


@pytest.mark.parametrize("name", CELLS)
def test_an_honest_answer_passes_in_the_notebook_and_in_the_grade(tmp_path, monkeypatch, name):
    """In a notebook where a network is called `net`, and `eps`, `a`, `answer` are large tensors, as after Run All."""
    monkeypatch.setenv("MINIDIFF_LAB", "1")
    monkeypatch.setenv("MINIDIFF_STUDENT", "ada")
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "ada.jsonl"))
    large = torch.zeros(10_000)
    cell = {"torch": torch, "net": torch.nn.Linear(2, 2), "eps": large, "x0": large, "a": large, "answer": large}
    linecache.cache[f"<{name}>"] = (1, None, CELLS[name].splitlines(keepends=True), f"<{name}>")
    exec(compile(CELLS[name], f"<{name}>", "exec"), cell)
    record = check(ID, cell["f"])
    assert record.passed, record
    (row,) = graded(tmp_path).values()
    assert row.passed, (row, record.source)


def test_ctrl_c_ends_what_runs_and_keeps_what_is_graded(tmp_path, capsys, monkeypatch):
    (tmp_path / "ada.jsonl").write_text(record("ada", RIGHT) + record("ada", RIGHT, "forward.broadcast"))
    (tmp_path / "bob.jsonl").write_text(record("bob", HEAD + "import time\n    time.sleep(1000)"))
    whole = grading.settle

    def pressed(row, job):
        if row.student == "bob":
            raise KeyboardInterrupt
        whole(row, job)

    monkeypatch.setattr(grading, "settle", pressed)
    began = time.monotonic()
    assert main(["grade", str(tmp_path), "-o", str(tmp_path / "g.csv"), "--seconds", "600"]) == 130
    assert time.monotonic() - began < 60 and "stopped: 1 of 3 answers did not run" in capsys.readouterr().out
    assert "ada,forward.one-jump,True,passed" in (tmp_path / "g.csv").read_text("utf-8-sig")


def test_an_exercise_of_ones_own_is_refused_in_the_lab(monkeypatch):
    monkeypatch.setenv("MINIDIFF_LAB", "1")
    monkeypatch.setenv("MINIDIFF_STUDENT", "ada")
    with pytest.raises(ValueError, match="name the exercise by its id"):
        check(ITEM, lambda *args: 0)
    assert progress.records() == []


# --- the way between two processes ----------------------------------------------------------------------

VALUES = [
    torch.randn(2, 3), torch.randn(2, 3).double(), torch.arange(3), torch.tensor(1.5), torch.zeros(0, 4),
    torch.tensor([True, False]), torch.tensor([float("nan"), float("inf")]), torch.randn(3).bfloat16(), 3, 0.1, True,
    float("inf"), "a word", None, ..., [1, 2.5, [torch.ones(1)]], (1, (2, "x")), (), [],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=map(str, range(len(VALUES))))
def test_data_comes_through_as_it_is(value):
    again = decode(json.loads(json.dumps(encode(value))))
    assert type(again) is type(value)
    if isinstance(value, torch.Tensor):
        assert again.dtype == value.dtype and torch.allclose(again.double(), value.double(), 0, 0, equal_nan=True)
    else:
        assert repr(again) == repr(value)


FORGERIES = [
    None, 7, [], {}, {"tensor": []}, {"tensor": ["float32", [2], "AAAA"]}, {"tensor": ["float32", [-1], ""]},
    {"tensor": ["float99", [1], ""]}, {"tensor": ["float32", [10**12], ""]}, {"value": ["eval", "1"]},
    {"value": ["int", "9" * 10_000]}, {"list": 5}, {"tuple": [{"x": 1}]}, {"a": 1, "b": 2}, {"stopped": "x"},
    {"tensor": ["float32", [float("inf")], ""]},
]  # fmt: skip


@pytest.mark.parametrize("form", FORGERIES, ids=str)
def test_forged_data_is_an_error_and_no_more(form):
    with pytest.raises((ValueError, KeyError, TypeError, RuntimeError, IndexError, OverflowError)):
        decode(form)
    sent = {"answers": [form] * 5, "used": [], "spoiled": None}
    text = f"{HEAD}import gc, json\n    for c in gc.get_objects():\n        if type(c).__name__ == 'Connection':\n"
    text += f"            c.send_bytes({json.dumps(sent)!r}.encode())\n    while True: pass\n"
    with pytest.raises(NoAnswer, match="What it gave back is no answer"):
        rerun(ID, text, 1, seconds=20)


def test_a_solution_of_each_chapter_passes_when_run_again():
    """The first of each chapter, as text, in a process of its own."""
    from minidiff.course.exercises import all_exercises

    first: dict[str, object] = {}
    for item in all_exercises():
        first.setdefault(item.id.partition(".")[0], item)
    for item in first.values():
        assert verdict(item, rerun(item.id, item.solution, 3), 3, True)[0] == "passed", item.id


def test_what_a_process_may_take_is_limited():
    with pytest.raises(NoAnswer, match=r"It ran longer than 0\.5 s"):
        rerun(ID, HEAD + "while True: pass", 1, seconds=0.5)
    greedy = HEAD + "return torch.zeros(3 * 2**27)"  # 1.5 GB
    assert "memory" in str(rerun(ID, greedy, 1, gigabytes=0.5).answers[0])


@pytest.mark.parametrize(
    "wrong", ["--seconds 0", "--seconds nan", "--memory -1", "--memory inf", "--seed -1", "-o x.txt"]
)
def test_the_command_line_of_grading(tmp_path, capsys, wrong):
    (tmp_path / "ada.jsonl").write_text("")
    assert main(["grade", str(tmp_path), *wrong.split()]) == 1
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    "what, told", [("nowhere", "no folder"), ("file", "is a file"), ("empty", "no progress file in")]
)
def test_a_folder_that_holds_nothing_to_grade(tmp_path, capsys, what, told):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    assert main(["grade", str(tmp_path / what), "-o", str(tmp_path / "g.csv")]) == 1
    assert told in capsys.readouterr().err and not (tmp_path / "g.csv").exists()


def test_a_formula_in_a_cell_is_text(tmp_path):
    row = grading.Grade("=cmd|' /C calc'!A0", ID, False, "wrong", True, 1, "", "", 1, "+1\r\n-2")
    text = grading.table([row]).decode("utf-8-sig")
    assert text.splitlines()[1].startswith("'=cmd") and "'+1" in text
