"""Setting up: pins agree, nothing is done twice, a learner's work is kept, the doctor finds faults."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from minidiff.course import copies, doctor, environment, start
from minidiff.course.copies import copy_notebooks

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


# --- pyproject, requirements.lock, environment.yml


def disagreements(project: dict, lock_text: str, environment: dict) -> list[str]:
    """What breaks the agreement of the three files, in words."""
    wrong, lock = [], {}
    for line in lock_text.splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            if not version or "+" in version or " " in line or canonicalize_name(name) in lock:
                wrong.append(f"lock line {line!r}")
            lock[canonicalize_name(name)] = version
    extras = project["optional-dependencies"]
    for requirement in map(Requirement, sum(extras.values(), project["dependencies"])):
        version = lock.get(canonicalize_name(requirement.name))
        if not version or Version(version) not in requirement.specifier:
            wrong.append(f"{requirement} is pinned to {version}")
    conda = environment["dependencies"]
    if conda[-1] != {"pip": ["-c requirements.lock", "-e .[course]"]} or "course" not in extras:
        wrong.append(f"environment.yml: pip section {conda[-1]}")
    python = conda[0].partition("python=")[2]
    if Version(python) not in Requirement("python" + project["requires-python"]).specifier:
        wrong.append(f"environment.yml: {conda[0]}")
    return wrong


def test_the_three_files_agree():
    lock = (ROOT / "requirements.lock").read_text()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert disagreements(PROJECT, lock, environment) == []
    assert "\ntorch==2.13.0\n" in lock
    mutants = [
        (PROJECT, lock.replace("\neinops==", "\n#"), environment),
        (PROJECT, lock.replace("\ntorch==2.13.0", "\ntorch==2.13.0+cpu"), environment),
        (PROJECT, lock.replace("\ntorch==2.13.0", "\ntorch==2.10.0"), environment),
        (PROJECT, lock + "numpy==1.0\n", environment),
        (PROJECT | {"dependencies": ["flask"]}, lock, environment),
        (PROJECT, lock, environment | {"dependencies": ["python=3.10", *environment["dependencies"][1:]]}),
        (PROJECT, lock, environment | {"dependencies": ["python=3.11", {"pip": ["-e ."]}]}),
    ]
    for mutant in mutants:
        assert len(disagreements(*mutant)) == 1


# --- start


def test_start_needs_only_the_standard_library():
    code = (
        "import sys, minidiff.course.start as s; s.stages('course', False, False); "
        "print(*{m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'__main__'})"
    )
    # -S leaves site-packages out: an import of anything installed would fail
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["minidiff"]), done.stderr


def test_an_old_python_gets_one_line():
    code = "import sys, runpy; sys.version_info = (3, 9, 6); runpy.run_module('minidiff.course.start')"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "3.11 or newer" in done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="make is not on this machine")
def test_make_without_a_fit_python_gives_one_line():
    words = ["make", "setup", "PYTHON=no-such-python"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    lines = [
        line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?: \*\*\*", line)
    ]  # make's own, nested or not
    assert done.returncode and len(lines) == 1 and "3.11 or newer" in lines[0]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with what `install` reads, where pip is a list of the commands that would have run."""
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "outputs").mkdir()
    calls = []
    monkeypatch.setattr(environment, "call", lambda words, *rest: calls.append([str(word) for word in words]) or 0)
    return tmp_path, calls


def test_install_runs_only_when_needed(clone):
    root, calls = clone
    for verb_extras, runs in [(("course",), 1), (("course",), 1), (("course", "dev"), 2), (("course",), 2)]:
        environment.install(root, verb_extras)
        assert len(calls) == runs
    assert calls[0][-4:] == ["-c", "requirements.lock", "-e", ".[course]"]
    (root / "requirements.lock").write_text("torch==9\n")
    environment.install(root, ("course",))
    assert calls[2][-1] == ".[course,dev]"  # what was there stays current
    stamp = root / ".venv" / "minidiff.json"
    stamp.write_text(stamp.read_text()[:20])
    environment.install(root, ("course",))
    assert len(calls) == 4


def test_a_failed_or_half_made_installation_is_taken_up_again(clone, monkeypatch, capsys):
    root, calls = clone
    half, whole = (root / ".venv/lib/site-packages" / f"{name}-1.dist-info" for name in ("half", "whole"))
    for folder in (half, whole):
        folder.mkdir(parents=True)
        (folder / "METADATA").touch()
    (whole / "INSTALLER").touch()

    def broken_pip(words, cwd, log):
        log.write_text("".join(f"line {n}\n" for n in range(40)))
        return 2

    with monkeypatch.context() as patch:
        patch.setattr(environment, "call", broken_pip)
        with pytest.raises(environment.Stop, match="pip failed") as caught:
            environment.install(root, ("course",))
    assert caught.value.code == 2 and not half.exists() and whole.exists()
    assert capsys.readouterr().out.split("\n")[:-1] == [f"line {n}" for n in range(25, 40)]
    assert environment.install(root, ("course",)) == "installed" and len(calls) == 1


def test_two_setups_take_turns_even_if_one_is_killed(tmp_path, capsys):
    pip = "import pathlib as p, time; p.Path('begun').touch(); time.sleep(1); p.Path('ended').touch()"
    words = f"[{sys.executable!r}, '-c', {pip!r}]"
    code = (
        f"from minidiff.course.environment import *; alone(Path({str(tmp_path)!r}), lambda root: call({words}, root))"
    )
    first = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (tmp_path / "begun").exists():
        assert first.poll() is None
        time.sleep(0.02)
    if os.name == "posix":
        first.kill()  # its pip works on
    assert start.alone(tmp_path, lambda root: (root / "ended").exists())
    assert "waiting" in capsys.readouterr().out


def test_a_stage_that_fails_stops_with_its_code_and_one_line(monkeypatch, capsys):
    for error, code in ((environment.Stop("why", -9), 137), (KeyboardInterrupt(), 130), (OSError("disk full"), 1)):
        action = Mock(side_effect=error)
        monkeypatch.setattr(start, "stages", lambda *_, action=action: [("one", action), ("two", pytest.fail)])
        assert start.main(["hello"]) == code
        assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_heartbeat_says_how_far_pip_is(tmp_path):
    log, site = tmp_path / "setup.log", tmp_path / ".venv/lib/site-packages"
    log.write_text("Looking in indexes: x\n")
    assert environment.pace(log, tmp_path) == "Looking in indexes: x"
    log.write_text("Collecting torch>=2.11\n  Downloading torch-2.13.whl (192 MB)\nCollecting numpy (from minidiff)\n")
    assert environment.pace(log, tmp_path) == "2 packages found: Collecting numpy (from minidiff)"
    log.write_text(log.read_text() + "Installing collected packages: torch, numpy, jupyter_core\n  Uninstalling x\n")
    assert environment.pace(log, tmp_path) == "installing: 0 of 3 packages, last none yet"
    for name in ("other-1", "jupyter_core-5.9"):  # one of them was there before
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info" / "INSTALLER").touch()
    assert environment.pace(log, tmp_path) == "installing: 1 of 3 packages, last jupyter_core"


def test_a_full_disk_is_seen_before_the_download(clone, monkeypatch):
    root, calls = clone
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Mock(free=1e9))
    with pytest.raises(environment.Stop, match="1.0 GB free .* need 1.6 GB"):
        environment.install(root, ("course",))
    assert calls == []


def test_what_went_well_is_left_out_until_something_changes(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(start, "STAMPS", tmp_path / ".stages.json")
    monkeypatch.setattr(start, "call", lambda words, *rest, **more: runs.append(words[3:5]) or 0)
    monkeypatch.setattr(start, "HELLO", tmp_path / "hello.mp4")
    monkeypatch.setattr(start, "ROOT", tmp_path)
    (tmp_path / "minidiff").mkdir()
    (tmp_path / "minidiff" / "x.py").touch()

    def go(verb, count):
        runs.clear()
        notes = [action() for title, action in start.stages(verb, True, False)[:2]]
        assert len(runs) == count
        return notes

    go("course", 2)
    go("course", 1)  # there is no clip
    (tmp_path / "hello.mp4").touch()
    assert set(go("course", 0)) == {"nothing has changed since it last went well"}
    go("hello", 2)  # who asks for it gets it
    (tmp_path / "minidiff" / "x.py").write_text("1")
    go("course", 2)
    (tmp_path / ".stages.json").write_text("[")
    go("course", 2)


def test_an_environment_without_venv_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else 1)
    with pytest.raises(environment.Stop, match=r"sudo apt install python3\.\d+-venv"):
        environment.make_environment(tmp_path)


def cell(source: str, kind: str = "code", **more) -> dict:
    return {"cell_type": kind, "metadata": {}, "source": source} | more


@pytest.fixture
def course(tmp_path):
    """`ship(*texts)` puts a notebook of these cells into a course and updates a learner's copies; the lines told."""
    shipped, work = tmp_path / "notebooks", tmp_path / "work"
    shipped.mkdir()

    def ship(*texts):
        cells = [cell(text, outputs=[{"seen": text}], execution_count=1) for text in texts]
        (shipped / "02_reverse.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"of": "course"}}))
        return copy_notebooks(shipped, work)

    return ship, work / "02_reverse.ipynb"


def says(path: Path) -> list[str]:
    return ["".join(one["source"]) for one in json.loads(path.read_text())["cells"]]


def edit(path: Path, **texts: str | None) -> None:
    """A learner at work: outputs and metadata change, sources become lists of lines, and some cells other texts."""
    nb = json.loads(path.read_text())
    for one in nb["cells"]:
        one["outputs"], one["metadata"] = [{"mine": 1}], {"trusted": True}
        text = texts.get(one["source"], one["source"])
        one["source"] = text.splitlines(keepends=True)
    nb["cells"] = [one for one in nb["cells"] if one["source"]]
    path.write_text(json.dumps(nb | {"metadata": {"kernelspec": {}}}))


def test_a_copy_that_was_only_run_follows_the_course(course):
    ship, path = course
    assert ship("a", "b") == ["02_reverse.ipynb: copied"] and ship("a", "b") == []
    edit(path)
    before = path.read_bytes()
    assert ship("a", "b") == [] and path.read_bytes() == before  # outputs of one's own stay
    assert ship("a", "B") == ["02_reverse.ipynb: brought up to date"] and says(path) == ["a", "B"]
    assert json.loads(path.read_text())["cells"][0]["outputs"] == [{"mine": 1}]


def test_what_a_learner_wrote_is_merged_with_what_the_course_wrote(course):
    ship, path = course
    ship("a", "b", "stub", "d", "e")
    edit(path, stub="answer", d="d, mine\nand longer")
    assert "around what you wrote" in ship("A", "b", "stub", "d", "new", "e")[0]
    assert says(path) == ["A", "b", "answer", "d, mine\nand longer", "new", "e"]
    kept = json.loads(path.read_text())["cells"]
    assert [one["outputs"] for one in kept[1:4]] == [[{"mine": 1}]] * 3 and len({one["id"] for one in kept}) == 6
    assert (path.parent / ".before" / path.name).exists()
    told = ship("A", "b", "a better stub", "d", "new", "e")
    assert "in 1 places both of you wrote" in told[0]
    words = says(path)
    assert [*words[:3], *words[4:]] == ["A", "b", "answer", "d, mine\nand longer", "new", "e"]
    assert "> a better stub" in words[3] and json.loads(path.read_text())["cells"][3]["cell_type"] == "markdown"
    before = path.read_bytes()
    assert ship("A", "b", "a better stub", "d", "new", "e") == [] and path.read_bytes() == before


@pytest.mark.parametrize(
    "mine, theirs, merged",
    [
        ("a answer e", "a new stub2 e", "a answer [new] [stub2] e"),  # never a live stub below an answer
        ("a note answer e", "a stub2 e", "a note answer [stub2] e"),
        ("a note answer e", "a stub e new", "a note answer e new"),
        ("a e", "a stub2 e", "a [stub2] e"),
        ("a e", "a stub e2", "a e2"),  # what a learner took out stays out
        ("mine a stub e", "new a stub e", "new mine a stub e"),
        ("a answer e mine", "a stub e new", "a answer e new mine"),
        ("a stub e", "a e", "a e"),
        ("a answer e", "a e", "a answer e"),
    ],
)
def test_merges_one_by_one(mine, theirs, merged):
    def cells(words):
        return [cell(word) for word in words.split()]

    found, _ = copies.merge(list(map(copies.key, cells("a stub e"))), cells(mine), cells(theirs))
    notes = [one["source"].split("> ```python\n> ") for one in found]
    assert " ".join(f"[{n[1].splitlines()[0]}]" if len(n) == 2 else n[0] for n in notes) == merged


def test_no_merge_loses_what_a_learner_wrote():
    """Random edits of both sides, 2,000 times: each new cell of the learner's is there, once and in order; where only
    one side wrote, theirs is the result."""
    dice = random.Random(0)

    def edited(cells, who):
        out = []
        for one in cells:
            out += [cell(f"{who} {dice.random()}")] * (dice.random() < 0.15)
            luck = dice.random()
            out += [] if luck < 0.1 else [cell(f"{who} {dice.random()}")] if luck < 0.3 else [one]
        return out

    for _ in range(2000):
        start = [cell(str(i)) for i in range(dice.randrange(8))]
        base = list(map(copies.key, start))
        mine, theirs = edited(start, "mine"), edited(start, "theirs")
        merged, both = copies.merge(base, mine, theirs)
        assert [x for x in merged if x["source"].startswith("mine")] == [
            x for x in mine if x["source"].startswith("mine")
        ]
        there = "\n".join(x["source"] for x in merged)
        if all(x in mine for x in start):  # nothing was taken out: nothing of theirs may be missing
            assert all(x["source"] in there for x in theirs if x["source"].startswith("theirs"))
        assert copies.merge(base, mine, start) == (mine, 0) and copies.merge(base, start, theirs) == (theirs, 0)
        assert copies.merge(base, mine, mine) == (mine, 0) and (both == 0 or "New in the course" in there)


def test_a_copy_that_cannot_be_merged_is_set_aside_and_linked(course):
    ship, path = course
    ship("a", "b")
    edit(path, b="mine")
    (path.parent / ".origin.json").write_text("{")  # lost
    assert "your earlier copy is 02_reverse.old.ipynb" in ship("a", "c")[0]
    first, *rest = says(path)
    assert "(02_reverse.old.ipynb)" in first and rest == ["a", "c"]
    assert says(path.with_stem("02_reverse.old")) == ["a", "mine"]
    path.write_text("half a noteb")
    assert "02_reverse.old.old.ipynb" in ship("a", "c")[0]
    assert path.with_stem("02_reverse.old.old").read_text() == "half a noteb"
    assert ship("a", "c") == []


def test_a_copy_keeps_closed_what_lies_below_a_bet(course):
    ship, path = course
    ship("import", "show(1)", "\npredict('a', 'How many?', ['1', '2'])", "show(2)", "reveal('a', '2')")
    outputs = [one["outputs"] for one in json.loads(path.read_text())["cells"]]
    assert list(map(bool, outputs)) == [True, True, True, False, False]


# --- doctor


@pytest.fixture
def patient(tmp_path, monkeypatch):
    """A clone with one shipped file; all is well with it."""
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)
    (tmp_path / "data" / "x.bin").write_bytes(b"whole")
    (tmp_path / "data" / "SHA256SUMS").write_text(f"{doctor.files.sha256(tmp_path / 'data' / 'x.bin')}  x.bin\n")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    return tmp_path


def test_the_doctor_on_a_healthy_clone(patient, capsys):
    assert doctor.doctor() == 0
    text = capsys.readouterr().out
    for word in (
        "python",
        "torch",
        "memory",
        "disk",
        "device",
        "samples/s",
        "fit for the course",
        "CC BY 4.0",
    ):
        assert word in text


def test_the_doctor_lists_every_licence_and_the_files_exist(capsys):
    assert doctor.doctor(licences=True) == 0
    text = capsys.readouterr().out
    for what, licence, where in doctor.LICENCES:
        assert what in text and licence in text and where in text and (ROOT / where).is_file()


MISSING = '[project]\ndependencies = ["no-such-thing"]\noptional-dependencies = {course = []}\n'
HARMS = {  # file to write (None: remove it): exit code, words that the row and its remedy must have
    "changed": ({"data/x.bin": "other"}, 1, ["data/x.bin", "changed", "git checkout"]),
    "gone": ({"data/x.bin": None}, 1, ["data/x.bin", "missing", "git checkout"]),
    "foreign": ({"data/checkpoints/toy.safetensors": "?" * 99}, 1, ["checkpoint toy", "git checkout"]),
    "version": ({"requirements.lock": "numpy==1.0"}, 0, ["numpy", "the lock says 1.0", "pip install -c"]),
    "package": (
        {"pyproject.toml": MISSING, "requirements.lock": "no_such.thing==1.0"},
        1,
        ["no-such-thing", "missing", "pip install -c requirements.lock"],
    ),
    "clone": ({"data/SHA256SUMS": None}, 1, ["clone", "not found", "MINIDIFF_ROOT"]),
}


@pytest.mark.parametrize("harm, code, expected", HARMS.values(), ids=HARMS)
def test_the_doctor_names_each_fault_with_its_remedy(patient, capsys, harm, code, expected):
    for name, text in harm.items():
        (patient / name).unlink() if text is None else (patient / name).write_text(text)
    assert doctor.doctor() == code
    lines, sign = capsys.readouterr().out.splitlines(), "[x] fault" if code else "[!] note"
    row = next(n for n, line in enumerate(lines) if line.startswith(sign) and expected[0] in line)
    assert all(word in " ".join(lines[row : row + 2]) for word in expected)
    assert "remedy: " in lines[row + 1]


def test_the_doctor_doubts_a_device_that_does_not_learn(monkeypatch):
    import torch

    assert doctor.training(0.1).state == "ok"
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    assert doctor.training(0.1).state == "fault"


# --- the rule about skipped tests


def test_a_skip_needs_a_reason(tmp_path):
    sources = {
        "bare_call": "def test_it(): pytest.skip()",
        "bare_mark": "@pytest.mark.skip\ndef test_it(): pass",
        "bare_unittest": "import unittest\ndef test_it(): raise unittest.SkipTest()",
        "bare_module": "pytest.skip(allow_module_level=True)",
        "told_call": "def test_it(): pytest.skip('no GPU here')",
        "told_mark": "@pytest.mark.skip(reason='no GPU here')\ndef test_it(): pass",
        "told_xfail": "@pytest.mark.xfail\ndef test_it(): assert False",
    }
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    for name, source in sources.items():
        (tmp_path / f"test_{name}.py").write_text("import pytest\n" + source)
    words = "-m pytest -q -p no:cacheprovider --continue-on-collection-errors --tb=line".split()
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
    red = {line.split("test_")[1].split(".")[0] for line in done.stdout.splitlines() if line[:5] in ("FAILE", "ERROR")}
    assert done.returncode == 1 and red == {name for name in sources if name.startswith("bare")}, done.stdout


def test_tests_run_small_and_leave_the_learners_files_alone():
    assert os.environ["MINIDIFF_SCALE"] and os.environ["OMP_NUM_THREADS"]
    assert not Path(os.environ["MINIDIFF_PROGRESS"]).is_relative_to(ROOT)


def test_every_verb_of_make_is_a_verb_of_start():
    verbs = (ROOT / "Makefile").read_text().partition("VERBS := ")[2].partition("\n")[0]
    assert set(verbs.split()) == set(start.VERBS)
