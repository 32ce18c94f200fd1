"""Wrong command lines and broken machines: one line that names what and the remedy, and never success."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import save_file

from minidiff import files
from minidiff.cli import main
from minidiff.recipes import draw, run

LONG = "9" * 200
BAD = {  # a command line, and words that its one line of error must have
    "sample toy-mlp -n 0": "expected a whole number from 1 to",
    "sample toy-mlp -n -5": "expected a whole number from 1 to",
    f"sample toy-mlp -n {LONG}": "expected a whole number from 1 to",
    "sample toy-mlp --steps 0": "steps=0: expected a whole number from 1 to",
    "sample toy-mlp --steps 1001": "steps=1001: expected",
    "sample toy-mlp --steps -1": "steps=-1: expected",
    "sample toy-mlp --seed -1": "seed=-1: expected a whole number from 0 to",
    "sample toy-mlp --seed 2147483648": "seed=2147483648: expected",
    f"sample toy-mlp --seed {LONG}": "expected a whole number from 0 to",
    "sample fashion-unet -w nan": "guidance weight w=nan",
    "sample fashion-unet -w inf": "guidance weight w=inf",
    "sample fashion-unet -w -1": "guidance weight w=-1.0",
    "sample fashion-unet -w 1e9": "guidance weight w=1000000000.0",
    "sample toy-mlp -w 2": "no w but 1",
    "sample toy-mlp red": "takes no prompt",
    "sample fashion-unet unicorn": "no such class",
    "sample fashion-unet 10": "no such class",
    "sample fashion-unet -1": "no such class",
    "sample fashion-unet ''": "no such class",
    "sample toybox-still 'a red unicorn'": "unicorn",
    "sample toybox-still ''": "the caption is empty",
    "sample nothing": "no recipe 'nothing'",
    "sample ''": "no recipe ''",
    "sample ../toy-mlp": "no recipe",
    "sample fashion-classifier": "has nothing to sample",
    "sample emoji-pixel -n 1000000": "would not fit into memory: it needs about",
    "sample toybox-video -n 400000": "would not fit into memory: it needs about",
    "sample toy-mlp --checkpoint no/such.safetensors": "no such checkpoint",
    "sample toy-mlp --checkpoint {tmp}": "is a folder",
    "sample toy-mlp -o {tmp}": "expected a .png file",
    "sample toy-mlp -o {tmp}/folder.png": "this is a folder",
    "sample toy-mlp -o {tmp}/pipe.png": "this is a device or a pipe",
    "sample toy-mlp -o {tmp}/file/x.png": "file is a file, not a folder",
    "sample toy-mlp -o {tmp}/x.jpg": "expected a .png file",
    "sample toy-mlp -o {tmp}/x.mp4": "makes still pictures",
    "sample toybox-full -n 1 --steps 1 -o {tmp}/x.png": "makes clips",
    "sample toy-mlp -o /proc/x/y.png": "No such file or directory; make it first, or name another place",
    "sample toy-mlp -o {tmp}/" + "x" * 300 + ".png": "File name too long; name a shorter one",
    "evaluate nothing": "no recipe 'nothing'",
    "evaluate toy-mlp -n 5": "fixed evaluation",
    "evaluate fashion-unet -n 0": "n=0",
    "evaluate fashion-unet -n -7": "n=-7",
    f"evaluate fashion-unet -n {LONG}": "expected",
    "evaluate toybox-still -n 10": "expected 400 captions or more",
    f"evaluate toybox-full -n {LONG}": "expected a whole number from 1 to 1,000,000",
    f"evaluate emoji-pixel -n {LONG}": "expected a whole number from 1 to 1,000,000",
    f"evaluate toybox-still -n {LONG}": "expected a whole number from 1 to 1,000,000",
    "evaluate toy-mlp --checkpoint no/such.safetensors": "no such checkpoint",
    "evaluate toy-mlp --checkpoint {tmp}/file": "file is",
    "evaluate toy-mlp --record --checkpoint {tmp}/file": "--record is for the shipped weights",
    "evaluate calls -n 5": "is a sweep",
    "evaluate calls --ship": "is a sweep",
    "evaluate calls -n 0": "is a sweep",
    "train nothing": "no recipe 'nothing'",
    "train toy-mlp --set steps": "expected KEY=VALUE",
    "train toy-mlp --set =5": "unknown setting",
    "train toy-mlp --set colour=red": "unknown setting; there are",
    "train toy-mlp --set name=x": "unknown setting; there are",
    "train toybox-full --set batch=1000000": "would not fit into memory: it needs about",
    "train fashion-unet --set batch=60001": "cannot make batches of 60001",
    "train toy-mlp --from no/such.safetensors": "no such checkpoint",
    "train toy-mlp --from {tmp}": "is a folder",
    "train toy-mlp --from {tmp}/file": "file is",
    "train emoji-latent --from {root}/data/checkpoints/toy-mlp.safetensors": "made by recipe 'toy-mlp'",
}
SET = {  # of each setting: values that it may not have, and words of the refusal
    "steps": (("0", "-1", "1.5", "x", "", "²", "1e3", "10000000000", LONG), "expected a whole number from 1 to 1,000,"),
    "batch": (("0", "-1", "1.5", "x", "", "٣", "1000001", LONG), "expected a whole number from 1 to 1,000,000"),
    "lr": (("0", "-1", "nan", "inf", "x", "", "1e400", "1e31"), "lr=.*expected a"),
    "ema": (("1", "-0.1", "nan", "2", "x"), "ema=.*expected a"),
    "decay_from": (("-0.1", "1.1", "nan", "inf"), "decay_from=.*from 0 to 1"),
    "weight_decay": (("-0.1", "nan", "inf"), "weight_decay=.*expected a"),
    "seed": (("-1", "2147483648", "1.5", "x", LONG), "seed=.*expected a whole number"),
}
BAD |= {f"train toy-mlp --set {key}={value}": told for key, (values, told) in SET.items() for value in values}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a file, a folder and a pipe in it; outputs go there."""
    if sys.platform != "linux":
        pytest.skip("pipes, devices and error numbers as on Linux")
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * 2**30))
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def words(line: str, place) -> list[str]:
    return [word.format(tmp=place, root=files.root()) for word in shlex.split(line)]


def one_line(captured) -> str:
    lines = [line for line in captured.err.splitlines() if "step/s" not in line and "it/s" not in line]
    assert len(lines) == 1 and len(lines[0]) < 1500, captured.err
    assert "Traceback" not in captured.err and "mistake of minidiff" not in captured.err
    return lines[0]


@pytest.mark.parametrize("line", BAD)
def test_a_wrong_command_line_is_one_line(place, capsys, line):
    assert main(words(line, place)) == 1
    told = one_line(capsys.readouterr())
    assert told.startswith(f"minidiff {line.split()[0]}: ") and re.search(BAD[line], told), told
    assert not list(place.glob("outputs/*.png")) and not list(place.glob("outputs/runs/*"))


ERRORS = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "look at its permissions",
    errno.EPERM: "look at its permissions",
    errno.EROFS: "can be written to",
    errno.EIO: "Input/output error",
}
WORK = {
    "sample": "sample toy-mlp -n 4 --steps 2",
    "train": "train toy-mlp --scale smoke",
}


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_of_the_system_is_one_line_with_path_and_remedy(place, capsys, monkeypatch, number, work, step):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, step, fails)
    assert main(words(WORK[work], place)) == 1
    told = one_line(capsys.readouterr())
    assert str(place / "outputs") in told and ERRORS[number] in told and os.strerror(number) in told


@pytest.mark.parametrize("outputs", ["/dev/null", "/proc/nope", "{tmp}/file", "{tmp}/file/x"])
@pytest.mark.parametrize("work", WORK)
def test_an_outputs_folder_that_is_none(place, capsys, monkeypatch, outputs, work):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", outputs.format(tmp=place))
    assert main(words(WORK[work], place)) == 1
    told = one_line(capsys.readouterr())
    assert outputs.format(tmp=place) in told and "name another place" in told


NO_MEMORY = (
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes."),
    torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_all_the_same_is_one_line(place, capsys, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(run, "load", fails)
    assert main(words(WORK["sample"], place)) == 1
    assert "not enough memory: ask for fewer" in one_line(capsys.readouterr())


def test_a_mistake_of_ours_is_told_as_one(place, capsys, monkeypatch):
    def fails(*_, **__):
        raise AttributeError("no such thing\nat all")

    monkeypatch.setattr(run, "load", fails)
    assert main(words(WORK["sample"], place)) == 1
    assert r"AttributeError: no such thing\nat all (a mistake of minidiff" in capsys.readouterr().err
    monkeypatch.setenv("MINIDIFF_DEBUG", "1")
    with pytest.raises(AttributeError):
        main(words(WORK["sample"], place))


@pytest.mark.parametrize("line", ["recipes", "doctor --licences"])
@pytest.mark.parametrize("reader", ["full", "closed"])
def test_an_output_that_nobody_takes_is_one_line(line, reader):
    if reader == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        gone, out = os.pipe()
        os.close(gone)
    command = [sys.executable, "-m", "minidiff", *line.split()]
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert ("make room" if reader == "full" else "without the pipe all is shown") in done.stderr


@pytest.mark.parametrize("line", ["recipes", "sample toy-mlp -n 4 --steps 2", "sample nothing"])
def test_without_any_output_it_works_all_the_same(place, line):
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m minidiff {line} >&-"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and done.returncode == int("nothing" in line)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"5", b'{"a": 1}', b"[1, null, []]", b"\xff", b"[" * 99_999])
def test_damaged_rows_of_a_sweep_are_measured_anew(place, content):
    from minidiff import sweeps

    path = place / "rows.json"
    path.write_bytes(content)
    assert sweeps.kept_rows(path) == []


def test_ctrl_c_is_told_as_such(place, capsys, monkeypatch):
    """Also in words of a library that was being loaded just then."""

    def fails(*_, **__):
        raise KeyboardInterrupt

    def within_an_import(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None

    for stop in (fails, within_an_import):
        monkeypatch.setattr(run, "load", stop)
        monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
        assert main(words(WORK["sample"], place)) == 130
        assert capsys.readouterr().err == "\nstopped; run the same command again to go on\n"


def test_a_root_that_leads_back_to_itself(tmp_path, monkeypatch, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path / "loop"))
    assert main(["recipes"]) == 1 and "no data/SHA256SUMS in" in one_line(capsys.readouterr())


def test_signs_that_a_terminal_acts_upon_are_not_printed(place, capsys):
    assert main(["sample", "toy\x1b[2J\r\u202e-mlp"]) == 1
    assert one_line(capsys.readouterr()).isprintable()


def test_a_damaged_shipped_file_is_a_row_of_the_table(tmp_path, monkeypatch, capsys):
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)
    (tmp_path / "data" / "SHA256SUMS").write_text("")
    (tmp_path / "data" / "checkpoints" / "toy-mlp.safetensors").write_bytes(b"junk")
    monkeypatch.setenv("MINIDIFF_ROOT", str(tmp_path))
    assert main(["recipes"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith("toy-mlp") and "damaged" in row for row in rows)
    assert any("train toy-mlp" in row and "git checkout" in row for row in rows)


@pytest.mark.parametrize("kind", ["pipe", "link", "large"])
def test_a_kept_batch_that_is_no_file_is_made_again(tmp_path, kind):
    path = tmp_path / "0-4.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"")
        os.truncate(path, 2**40)
    assert draw.kept_batch(path, (4, 2)) is None


@pytest.mark.parametrize(
    "kept", [torch.zeros(2, 2), torch.zeros(4, 3), torch.full((4, 2), torch.nan), torch.ones(4, 2).long()]
)
def test_a_foreign_batch_of_an_interrupted_evaluation_is_made_again(tmp_path, kept):
    """A file that fits in name only used to be taken for samples."""
    save_file({"x": kept}, tmp_path / "0-4.safetensors")
    denoise = run.load("toy-mlp")
    made = draw.generate(denoise, 4, (2,), calls=2, size=4, folder=tmp_path)
    assert torch.equal(made, draw.generate(denoise, 4, (2,), calls=2, size=4))
    assert torch.equal(made, draw.generate(denoise, 4, (2,), calls=2, size=4, folder=tmp_path))
