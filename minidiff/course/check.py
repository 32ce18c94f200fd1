"""Exercises: `check` runs a learner's function on fresh random inputs and compares it with the package.

The package is the answer key. A wrong answer is compared with the known wrong ones too: where it agrees with one of
them on every input, the learner is told which idea went astray, not merely that the numbers differ. Nothing that a
learner writes makes `check` raise: an unsolved notebook runs to its end. Each try is a line in the progress file.
"""

import copy
import html
import inspect
import re
import secrets
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import minidiff
from minidiff.course import lab, progress

TRIALS = 5
# outcome: sign on a page, sign in plain text, word, colour (told apart without red-green vision)
LOOK = {
    "passed": ("&#10003;", "[+]", "Passed", "#0072b2"),
    "wrong": ("&#10007;", "[x]", "Not yet", "#d55e00"),
    "error": ("&#10007;", "[x]", "Stopped by an error", "#d55e00"),
    "refused": ("&#10007;", "[x]", "Refused", "#d55e00"),
    "unsolved": ("&#9675;", "[ ]", "Not solved yet", "#808080"),
}
_hints_shown: dict[str, int] = {}


@dataclass(frozen=True)
class Wrong:
    """A known wrong answer: `fn` takes the exercise's inputs, `message` says what is so instead."""

    name: str
    fn: Callable[..., Any]
    message: str


@dataclass(frozen=True)
class Exercise:
    """One exercise. `id` is chapter slug, dot, name, and never changes; `difficulty` is 1 to 3.

    `reference` is the package function that gives the right answer. `inputs(generator)` draws a tuple of
    positional arguments, fresh each time; let all sizes differ. `solution` is source that runs where `torch`
    and `math` are known; the last function it defines is the answer. Values agree within `tolerance`,
    relative plus absolute, unless `compare(answer, expected)` decides: None for agreement, else a sentence
    that says what differs.
    """

    id: str
    title: str
    difficulty: int
    minutes: int
    reference: Callable[..., Any]
    inputs: Callable[[torch.Generator], tuple]
    wrong: tuple[Wrong, ...]
    hints: tuple[str, ...]
    solution: str
    tolerance: float = 1e-5
    compare: Callable[[Any, Any], str | None] | None = None


@dataclass(frozen=True)
class Record:
    """One try; `outcome` is a key of LOOK.

    `misconception` names the known wrong answer that it agrees with, if any; `used` the minidiff functions it
    called by itself; `student` is None outside lab mode. `seed` draws the same inputs again.
    """

    id: str
    passed: bool
    outcome: str
    message: str
    misconception: str | None
    used: list[str]
    seed: int
    student: str | None
    version: str
    when: str

    def __str__(self) -> str:
        _, sign, word, _ = LOOK[self.outcome]
        return f"{sign} {word}: {self.id}\n{self.message}"

    def _repr_html_(self) -> str:
        sign, _, word, colour = LOOK[self.outcome]
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.message, quote=False))
        return (
            f'<div style="border-left: 6px solid {colour}; padding: 0.3em 1em; margin: 0.5em 0">'
            f"<strong>{sign} {word}</strong>: <code>{html.escape(self.id)}</code>"
            f'<div style="white-space: pre-wrap">{message}</div></div>'
        )

    def _ipython_display_(self) -> None:
        """Nothing: `check` has shown the box, so a cell that ends in `check(...)` must not show it twice."""


def check(exercise: str | Exercise, fn: Callable[..., Any], *, counts: bool = True) -> Record:
    """Run the learner's `fn` on five fresh random inputs, show the verdict in a box, store it and return it.

    Not stored: a stub that nobody has touched, and a mistake made on purpose, `counts=False`.
    Never raises for what `fn` does; LookupError for an unknown id, ValueError in lab mode without a student.
    Example: `check("forward.one-jump", one_jump)`.
    """
    item, student = _find(exercise), lab.student()
    seed = lab.seed(student, item.id) if student else secrets.randbelow(2**31)
    used: list[str] = []
    outcome, message, misconception = _judge(item, fn, seed, student is not None, used)
    record = Record(
        id=item.id,
        passed=outcome == "passed",
        outcome=outcome,
        message=message,
        misconception=misconception,
        used=used,
        seed=seed,
        student=student,
        version=getattr(minidiff, "__version__", "unknown"),
        when=progress.now(),
    )
    if counts and outcome != "unsolved":
        progress.append("check", asdict(record))
    progress.show(str(record), record._repr_html_(), mime="text/html")
    return record


def hint(exercise: str | Exercise) -> None:
    """Show the next hint, or that there are no more. Example: `hint("forward.one-jump")`."""
    item = _find(exercise)
    shown, total = _hints_shown.get(item.id, 0), len(item.hints)
    if shown < total:
        _hints_shown[item.id] = shown + 1
        text = item.hints[shown]
        progress.show(f"Hint {shown + 1} of {total}: {text}", f"**Hint {shown + 1} of {total}.** {text}")
    else:
        where = "Ask your teacher." if lab.student() else f"`solution({item.id!r})` shows one answer."
        text = f"There are no more hints (you have seen all {total}). {where}"
        progress.show(text, text)


def solution(exercise: str | Exercise) -> None:
    """Show one right answer as source; refuse in lab mode. Example: `solution("forward.one-jump")`."""
    source = _find(exercise).solution.strip()
    if lab.student():
        source = "Solutions are hidden in lab mode: `hint` helps, and so does your teacher."
        progress.show(source, source)
    else:
        progress.show(source, f"```python\n{source}\n```")


def _find(exercise: str | Exercise) -> Exercise:
    if isinstance(exercise, Exercise):
        return exercise
    from minidiff.course.exercises import (
        get,
    )  # not at the top: the exercises are made of this module's classes

    return get(exercise)


def _judge(item: Exercise, fn: Any, seed: int, in_lab: bool, used: list[str]) -> tuple[str, str, str | None]:
    """The outcome, the message and the misconception; `used` is filled on the way."""
    if not callable(fn):
        return "error", f"`check` wants the function itself, not its result (a {type(fn).__name__}).", None
    generator = torch.Generator().manual_seed(seed)
    trials = [item.inputs(generator) for _ in range(TRIALS)]
    handed = copy.deepcopy(trials)  # what the learner's function gets, and may spoil
    answers = []
    for args in handed:
        answer, called = _run(item, fn, args, seed)
        answers.append(answer)
        used += [name for name in called if name not in used]
    names = ", ".join(f"`{name}`" for name in used)
    if isinstance(answers[0], NotImplementedError):
        return (
            "unsolved",
            "Put your answer in place of `raise NotImplementedError`, and run this again.",
            None,
        )
    if empty := [answer for answer in answers if answer is None or answer is ...]:
        return (
            "unsolved",
            f"Your function gives `{empty[0]}` back: end it with `return` and your answer.",
            None,
        )
    if used and in_lab:
        how = "In lab mode the answer is your own code: use torch, and what your function is handed."
        return "refused", f"Your function calls {names}. {how}", None

    key = [_run(item, item.reference, args, seed)[0] for args in copy.deepcopy(trials)]
    for number, (answer, expected) in enumerate(zip(answers, key, strict=True), 1):
        if isinstance(expected, Exception):
            raise expected  # the exercise is broken, not the learner
        if problem := _differ(item, answer, expected):
            for wrong in item.wrong:
                theirs = (_run(item, wrong.fn, args, seed)[0] for args in copy.deepcopy(trials))
                if not any(_differ(item, a, b) for a, b in zip(answers, theirs, strict=True)):
                    return "wrong", wrong.message, wrong.name
            outcome = "error" if isinstance(answer, Exception) else "wrong"
            return outcome, f"{problem}\n(Input {number} of {TRIALS}. `hint({item.id!r})` helps.)", None
    if name := next(filter(None, map(_spoiled, [fn] * TRIALS, trials, handed)), None):
        how = f"Make a new tensor, `{name} = {name} + ...`, instead of `{name} += ...`."
        return "wrong", f"The values are right, but your function overwrites its input `{name}`. {how}", None
    note = f"\nIt calls {names}: try it once with code that is all your own." if used else ""
    return "passed", f"All {TRIALS} fresh random inputs agree.{note}", None


def _run(item: Exercise, fn: Callable[..., Any], args: tuple, seed: int) -> tuple[Any, list[str]]:
    """The answer, or its exception, and the minidiff functions called. The global generator is seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return lab.watched(fn, args, item.reference)
        except Exception as error:
            return error, []


def _differ(item: Exercise, answer: Any, expected: Any) -> str | None:
    """What differs, as a sentence; None where the results agree, or stop with the same exception."""
    if isinstance(answer, Exception):
        return None if repr(answer) == repr(expected) else _stopped(answer)
    if isinstance(expected, Exception):
        return "Your answer does not stop with an error."
    try:
        differ = item.compare or partial(difference, tolerance=item.tolerance)
        return differ(answer, expected)
    except Exception as error:
        return f"Your result, a {type(answer).__name__}, cannot be compared: {type(error).__name__}: {error}"


def _stopped(error: Exception) -> str:
    """The learner's exception: type, message, and the deepest line that is theirs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if lab.place(frame.filename) == "own" and frame.line]
    where = f"\nIn line {own[-1].lineno} of your code: `{own[-1].line}`" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def difference(answer: Any, expected: Any, tolerance: float, what: str = "your result") -> str | None:
    """The first difference of two results as a sentence, None within `tolerance` (relative plus absolute).

    Tensors agree in shape, dtype and values (NaN where NaN is expected). A number may come as a 0-d tensor.
    Tuples and lists agree item by item, anything else by `==`. Example: `difference(answer, expected, 1e-5)`.
    """
    kind, What = type(answer).__name__, what[0].upper() + what[1:]
    if isinstance(expected, Tensor):
        if not isinstance(answer, Tensor):
            return f"{What} is a {kind}; expected a torch.Tensor of shape {tuple(expected.shape)}."
        if answer.shape != expected.shape:
            return f"{What} has shape {tuple(answer.shape)}; expected {tuple(expected.shape)}."
        if answer.dtype != expected.dtype:
            return f"{What} has dtype {answer.dtype}; expected {expected.dtype}."
        return _values(answer.detach().double(), expected.detach().double(), tolerance, What)
    if isinstance(expected, int | float):
        if not (isinstance(answer, int | float) or (isinstance(answer, Tensor) and answer.ndim == 0)):
            return f"{What} is a {kind}; expected one number."
        a, e = (torch.as_tensor(value, dtype=torch.float64) for value in (answer, expected))
        return _values(a, e, tolerance, What)
    if isinstance(expected, tuple | list):
        if not isinstance(answer, tuple | list) or len(answer) != len(expected):
            got = f"has {len(answer)} items" if isinstance(answer, tuple | list) else f"is a {kind}"
            return f"{What} {got}; expected {len(expected)} items."
        pairs = enumerate(zip(answer, expected, strict=True), 1)
        texts = (difference(a, e, tolerance, f"item {number} of {what}") for number, (a, e) in pairs)
        return next(filter(None, texts), None)
    return None if answer == expected else f"{What} is {answer!r}; expected {expected!r}."


def _values(answer: Tensor, expected: Tensor, tolerance: float, What: str) -> str | None:
    lost = ~answer.isfinite() & expected.isfinite()
    if lost.any():
        return f"{What} is NaN or infinite in {int(lost.sum())} of {lost.numel()} places."
    off = ~torch.isclose(answer, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not off.any():
        return None
    gap = (answer - expected).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).where(off, 0.0)
    place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))  # torch's takes 0.5 s to import
    at = f" at index {list(place)}" if place else ""
    values = f"it is {answer[place]:.5g}; expected {expected[place]:.5g}"
    return f"{What} differs by up to {gap.max():.3g}:{at} {values}."


def _spoiled(fn: Callable[..., Any], before: tuple, after: tuple) -> str | None:
    """The name of the first argument whose tensors changed during the call, if any."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, Tensor | list | tuple) and difference(new, old, 0.0):
            try:
                return list(inspect.signature(fn).parameters)[i]
            except (ValueError, TypeError, IndexError):
                return f"argument {i + 1}"
    return None
