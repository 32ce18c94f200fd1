"""Training under attack: Ctrl-C anywhere, two at once, forged states, odd logs, settings that make no sense."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import RUN, same, start, weights

from minidiff.recipes.run import seconds
from minidiff.train import checkpoint, ema, fit, resume, tally
from minidiff.train.checkpoint import CheckpointError

NAN, INF = math.nan, math.inf


def press() -> None:
    """Ctrl-C, as the terminal sends it, seen before the next line."""
    os.kill(os.getpid(), signal.SIGINT)


POINTS = {  # where the second key press falls: the name of what is called just then
    "drawing the batch": (fit, "step_generator"),
    "the loss": (fit.predict, "loss"),
    "averaging": (ema.EMA, "update"),
    "the tally": (tally.Tally, "add"),
    "the means": (tally.Tally, "means"),
    "checking": (tally.Tally, "finite"),
    "the line of the log": (fit.State, "line"),
    "saving": (fit, "save_state"),
    "writing": (checkpoint, "atomic_write"),
    "the learning rate": (fit, "learning_rate"),
}


@pytest.mark.parametrize("point", POINTS)
def test_ctrl_c_anywhere_in_the_loop_saves_the_last_whole_step(tmp_path, monkeypatch, point):
    list(start(tmp_path / "whole"))
    home, name = POINTS[point]
    before, calls = getattr(home, name), 0

    def pressed(*args, **options):
        nonlocal calls
        calls += 1
        if calls == (1 if point in ("saving", "writing") else 4):
            press()
        return before(*args, **options)

    monkeypatch.setattr(home, name, pressed)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step \d+, saved in .*state.safetensors"):
        list(start(tmp_path / "stopped", save_every=20))
    monkeypatch.undo()
    assert checkpoint.read_header(tmp_path / "stopped" / "state.safetensors")["step"] >= 3
    list(start(tmp_path / "stopped", save_every=20))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


@pytest.mark.parametrize("at", [3, 4, 5, 6, 9, 10])
def test_ctrl_c_loses_no_row_of_the_log(tmp_path, monkeypatch, at):
    """Also where it comes in the step that ends a row."""
    before, calls = ema.EMA.update, 0

    def pressed(*args):
        nonlocal calls
        calls += 1
        before(*args)
        if calls == at:
            press()

    monkeypatch.setattr(ema.EMA, "update", pressed)
    with pytest.raises(KeyboardInterrupt):
        list(start(tmp_path))
    list(start(tmp_path))
    assert [row["step"] for row in resume.rows(tmp_path / "log.jsonl")] == list(range(5, 61, 5))


@pytest.mark.parametrize("named", [False, True])
def test_ctrl_c_in_the_readers_own_code_saves_too(tmp_path, named):
    """At once where the loop holds the run, and where a name holds it, when that is dropped or closed."""
    list(start(tmp_path / "whole"))
    run = start(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        for state in run if named else start(tmp_path / "stopped"):
            if state.step == 25:
                press()
    run.close()
    assert checkpoint.read_header(tmp_path / "stopped" / "state.safetensors")["step"] == 25
    list(start(tmp_path / "stopped"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_ctrl_c_while_a_left_loop_saves_is_not_lost(tmp_path, monkeypatch):
    def slow(*args):
        press()
        return resume.save_state(*args)

    run = start(tmp_path)
    next(run)
    monkeypatch.setattr(fit, "save_state", slow)
    with pytest.raises(KeyboardInterrupt, match="saved in"):
        run.close()
    assert checkpoint.read_header(tmp_path / "state.safetensors")["step"] == 5


# --- two at once ----------------------------------------------------------------------------------------


def test_a_folder_is_trained_in_by_one_process(tmp_path):
    script = RUN.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path / "run"), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()  # it trains
        with pytest.raises(BlockingIOError, match=rf"run is being trained in by process {other.pid}: wait for it"):
            next(start(tmp_path / "run", steps=100000))
        other.kill()
    left = tmp_path / "run" / ".state.safetensors.123.tmp"
    left.write_bytes(b"half")  # what it was writing just then
    assert (tmp_path / "run" / ".pid").read_text() == f"{other.pid}\n"  # the dead one's
    run = start(tmp_path / "run", steps=100000)
    assert next(run).step > 0 and not left.exists()
    assert (tmp_path / "run" / ".pid").read_text() == f"{os.getpid()}\n"
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):  # in the same process, too
        next(start(tmp_path / "run", steps=100000))
    run.close()
    assert next(start(tmp_path / "run", steps=100000)).step > 0


def test_two_trainings_in_turn_are_those_of_two_processes(tmp_path):
    """Dropout draws from the step's numbers: it used to draw from those that all share."""
    for name, seed in (("a", 0), ("b", 1)):
        list(start(tmp_path / name, seed=seed))
    runs = [start(tmp_path / f"{name} in turn", seed=seed) for name, seed in (("a", 0), ("b", 1))]
    for _ in range(12):
        for run in runs:
            next(run)
    for name, run in zip("ab", runs, strict=True):
        assert list(run) == []
        assert same(weights(tmp_path / name), weights(tmp_path / f"{name} in turn"))


def test_a_training_leaves_the_global_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    run = start(None)
    torch.manual_seed(5)
    list(run)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = start(None)
    torch.set_rng_state(before)
    next(run)
    assert torch.equal(torch.rand(3), expected)


# --- forged states --------------------------------------------------------------------------------------


def test_the_state_that_is_forged_below_is_good(tmp_path):
    next(start(tmp_path)), next(start(tmp_path))
    assert checkpoint.read_header(tmp_path / "state.safetensors")["idle"] == []


def without(prefix: str):
    return lambda tensors, header: [tensors.pop(name) for name in list(tensors) if name.startswith(prefix)]


def change(name: str, to):
    return lambda tensors, header: tensors.update({name: to(tensors[name])})


def say(**facts):
    return lambda tensors, header: header.update(facts)


FORGED = {
    "without optimizer": without("opt."),
    "without one slot": without("opt.0.exp_avg_sq"),
    "without the slots of one weight": without("opt.2."),
    "without averages": without("ema."),
    "without one average": without("ema.out.bias"),
    "without weights": without("net."),
    "without a step": lambda tensors, header: header.pop("step"),
    "without samples": lambda tensors, header: header.pop("samples"),
    "an average of another shape": change("ema.out.weight", lambda w: w[:, :1]),  # which would be broadcast
    "an average of one number": change("ema.out.weight", lambda w: w.mean()),
    "an average of whole numbers": change("ema.out.weight", lambda w: w.long()),
    "NaN in an average": change("ema.out.weight", lambda w: w * NAN),
    "infinity in an average": change("ema.out.weight", lambda w: w + INF),
    "NaN in a weight": change("net.out.weight", lambda w: w * NAN),
    "NaN in a moment": change("opt.0.exp_avg", lambda w: w * NAN),
    "a negative second moment": change("opt.0.exp_avg_sq", lambda w: w - 1),
    "a moment of another shape": change("opt.0.exp_avg", lambda w: w[:1]),
    "an optimizer beyond the step": change("opt.0.step", lambda w: w + 1000),
    "an optimizer before the run": change("opt.0.step", lambda w: w * 0 - 3),
    "a weight too many": lambda tensors, header: tensors.update({"net.more": torch.zeros(1)}),
    "an average too many": lambda tensors, header: tensors.update({"ema.more": torch.zeros(1)}),
    "a slot too many": lambda tensors, header: tensors.update({"opt.99.exp_avg": torch.zeros(1)}),
    "a slot by another name": lambda tensors, header: tensors.update({"opt.0.other": torch.zeros(1)}),
    "a slot without number": lambda tensors, header: tensors.update({"opt.x": torch.zeros(1)}),
    **{f"step {step!r}": say(step=step) for step in (-1, 61, 10**9, 2.5, "7", True, None)},
    **{f"samples {samples!r}": say(samples=samples) for samples in (-1, 0, 1.5, "7", None)},
    "step 0 with an optimizer": say(step=0),
    "a note that is no list": say(note={"earlier": 5}),
    "no note": say(note=None),
    "no identity": say(identity=None),
    "nothing idle": say(idle=None),
    "an average that float32 cannot hold": change("net.out.bias", lambda w: w.double() * 0 + 1e300),
    "of another kind": say(kind="weights"),
    "of another seed": say(seed=7),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_state_is_refused(tmp_path, name):
    next(start(tmp_path))  # the generator is dropped, and saves
    path = tmp_path / "state.safetensors"
    tensors, header = checkpoint.read(path)
    FORGED[name](tensors, header)
    header.pop("sha256")
    checkpoint.write(path, tensors, header)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="state.safetensors"):
        list(start(tmp_path))
    assert path.read_bytes() == before


# --- logs -----------------------------------------------------------------------------------------------

ODD = ["", "{}", "[]", "7", "null", '"word"', "{", "\x00", '{"step": "5"}', '{"step": null, "samples": 5}', "[" * 9999]
ODD += ['{"step": 5.5, "samples": 1, "samples_per_s": 1}', '{"step": 5, "samples": 1, "samples_per_s": NaN}']
ODD += ['{"step": true, "samples": 1, "samples_per_s": 1}', '{"step": ' + "9" * 5000 + "}", '{"step": 25, "lo', "ÿ"]
ODD += ['{"step": -5, "samples": -100, "samples_per_s": 1e-300}', '{"step": 5, "samples": 1, "samples_per_s": 0}']
ODD += ['{"step": 5, "samples": [], "samples_per_s": 1}', '{"step": 5, "samples": 1}', '{"step": 1e999}']


@pytest.mark.parametrize("line", ODD, ids=lambda line: ascii(line[:30]))
def test_odd_lines_of_a_log_are_skipped(tmp_path, line):
    for state in start(tmp_path):
        if state.step == 20:
            break
    log = tmp_path / "log.jsonl"
    rows = log.read_text().splitlines()
    time = seconds(log)
    log.write_text("\n".join([line, *rows[:2], line, *rows[2:], line]))
    assert seconds(log) == time > 0
    list(start(tmp_path))
    assert [json.loads(row)["step"] for row in log.read_text().splitlines()] == list(range(5, 61, 5))


# --- settings -------------------------------------------------------------------------------------------

SETTINGS = {
    "lr": (0.0, -1e-3, NAN, INF, "0.1", None),
    "ema": (1.0, -0.1, 2.0, NAN, INF),
    "clip": (0.0, -1.0, NAN, INF),
    "decay_from": (-0.1, 1.1, NAN, INF),
    "weight_decay": (-0.1, NAN, INF),
    "save_every": (0, -1, 1.5, NAN),
    "seed": (-1, 2**31, 1.5, NAN),
    "steps": (0, -5, 1.5, NAN, "10"),
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in SETTINGS.items() for value in values])
def test_a_setting_out_of_range_is_refused_before_anything_is_written(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"{name}=.*expected a (finite|whole) number"):
        list(start(tmp_path / "run", **{name: value}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_every_is_a_whole_number(every):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="every=.*expected a whole number"):
        next(fit.fit(model, lambda step: (torch.zeros(2, 2),), 10, every=every, progress=False))


def test_levels_from_outside_are_refused_in_training():
    def wrong(n, generator):
        return torch.rand(n, generator=generator) * 1.5

    with pytest.raises(ValueError, match="noise levels lie"):
        list(start(None, loss=lambda *args: fit.denoising_loss(*args, levels=wrong)))
