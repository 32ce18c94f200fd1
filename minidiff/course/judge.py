"""What a learner's function answers, and what is said to that: the part of `check` that a teacher's re-run shares.

`attempt` runs the function on random inputs that follow from a seed, and `verdict` compares what came out with the
package's answers. Between the two nothing is shared but data, so they may be in two processes: a grader that takes only
data from the student's process cannot be talked into another verdict.
"""

import copy
import inspect
import itertools
import numbers
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minidiff.course import lab

TRIALS = 5
MOST = 2_000  # items of a generator; no sampler of the course makes a tenth of so many steps


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


class Tried(NamedTuple):
    """What a function did on `TRIALS` inputs: its answers or exceptions, the minidiff functions that it called by
    itself, and the name of an input that it overwrote."""

    answers: list[Any]
    used: list[str]
    spoiled: str | None


class Told(Exception):
    """An exception of another process, as text: its `repr`, and what a learner is told of it."""

    def __init__(self, form: str, text: str):
        super().__init__(text)
        self.form, self.text = form, text

    def __repr__(self) -> str:
        return self.form


def draws(item: Exercise, seed: int) -> list[tuple]:
    """The inputs of all trials. Example: `draws(get("forward.one-jump"), 7)[0]`."""
    generator = torch.Generator().manual_seed(seed)
    return [item.inputs(generator) for _ in range(TRIALS)]


def attempt(item: Exercise, fn: Callable[..., Any], seed: int) -> Tried:
    """Run the learner's function. Whatever it does but Ctrl-C is in the result. Example: `attempt(item, fn, 7)`."""
    handed, answers, used = draws(item, seed), [], []  # handed: what the function gets, and may spoil
    for args in handed:
        answer, called = run(item, fn, args, seed)
        answers.append(answer)
        used += [name for name in called if name not in used]
    spoiled = (overwritten(fn, before, after) for before, after in zip(draws(item, seed), handed, strict=True))
    return Tried(answers, used, next(filter(None, spoiled), None))


def verdict(item: Exercise, tried: Tried, seed: int, in_lab: bool) -> tuple[str, str, str | None]:
    """The outcome (a key of `check.LOOK`), the message and the misconception."""
    answers, used, spoiled = tried
    names = ", ".join(f"`{name}`" for name in used)
    if issubclass(type(answers[0]), NotImplementedError):
        return "unsolved", "Put your answer in place of `raise NotImplementedError`, and run this again.", None
    if empty := [answer for answer in answers if answer is None or answer is ...]:
        return "unsolved", f"Your function gives `{empty[0]}` back: end it with `return` and your answer.", None
    if used and in_lab:
        how = "In lab mode the answer is your own code: use torch, and what your function is handed."
        return "refused", f"Your function calls {names}. {how}", None

    trials = draws(item, seed)
    key = [run(item, item.reference, args, seed)[0] for args in copy.deepcopy(trials)]
    for number, (answer, expected) in enumerate(zip(answers, key, strict=True), 1):
        if isinstance(expected, Exception):
            raise expected  # the exercise is broken, not the learner
        if problem := differ(item, answer, expected):
            for wrong in item.wrong:
                theirs = (run(item, wrong.fn, args, seed)[0] for args in copy.deepcopy(trials))
                if not any(differ(item, a, b) for a, b in zip(answers, theirs, strict=True)):
                    return "wrong", wrong.message, wrong.name
            outcome = "error" if failed(answer) else "wrong"
            return outcome, f"{problem}\n(Input {number} of {TRIALS}. `hint({item.id!r})` helps.)", None
    if spoiled:
        how = f"Make a new tensor, `{spoiled} = {spoiled} + ...`, instead of `{spoiled} += ...`."
        return "wrong", f"The values are right, but your function overwrites its input `{spoiled}`. {how}", None
    note = f"\nIt calls {names}: try it once with code that is all your own." if used else ""
    return "passed", f"All {TRIALS} fresh random inputs agree.{note}", None


def run(item: Exercise, fn: Callable[..., Any], args: tuple, seed: int) -> tuple[Any, list[str]]:
    """The answer, or its exception, and the minidiff functions called. The global generator is seeded.

    A generator is run to its end, or to MOST items. SystemExit is an exception like any other; Ctrl-C is not. What an
    answer may change for all that follows is put back: torch's default type and device, its random state, the output.
    """
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_default_device(), sys.stdout, sys.stderr
    torch.default_generator.manual_seed(seed)
    try:
        return lab.watched(fn, args, item.reference, finish)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error, []
    finally:
        state, dtype, device, sys.stdout, sys.stderr = before
        torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)


def finish(answer: Any) -> Any:
    """An answer as plain data, while the watch is on: of a generator the list of its items, and nothing of a class of
    its own that would run code later. ValueError where it does not end."""
    if isinstance(answer, Tensor):
        return answer if type(answer) is Tensor else torch.Tensor.as_subclass(answer, Tensor)
    if isinstance(answer, np.generic):
        return answer.item()
    if isinstance(answer, Iterator | tuple | list):
        items = list(itertools.islice(iter(answer), MOST + 1))
        if len(items) > MOST:
            raise ValueError(f"your answer does not end: it gave more than {MOST:,} items")
        plain = [finish(item) for item in items]
        return tuple(plain) if isinstance(answer, tuple) else plain
    for form in (bool, int, float, str):
        if isinstance(answer, form):
            return answer if type(answer) in (bool, int, float, str) else form(answer)
    return answer


def failed(answer: Any) -> bool:
    """Whether an answer is an exception, whatever it says of its class."""
    return issubclass(type(answer), BaseException)


def kind_of(value: Any) -> str:
    """The name of a value's type, which no metaclass can hide."""
    return type.__dict__["__name__"].__get__(type(value))


def safe(what: Callable[[Any], Any], value: Any) -> str:
    """`what(value)`, `repr` or `str` say, as text of no great length; of an object in which that fails, its type."""
    try:
        text = str(what(value))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<a {kind_of(value)} that cannot be shown>"
    return text if len(text) <= 2_000 else f"{text[:1_000]} ... {text[-200:]}"


def differ(item: Exercise, answer: Any, expected: Any) -> str | None:
    """What differs, as a sentence; None where the results agree, or stop with the same exception."""
    if failed(answer):
        return None if safe(repr, answer) == safe(repr, expected) else stopped(answer)
    if failed(expected):
        return "Your answer does not stop with an error."
    try:
        compare = item.compare or partial(difference, tolerance=item.tolerance)
        return compare(answer, expected)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = f"{kind_of(error)}: {safe(str, error)}"
        return f"Your result, a {kind_of(answer)}, cannot be compared: {why}"


def stopped(error: BaseException) -> str:
    """The learner's exception: type, message, and the deepest line that is theirs."""
    if type(error) is Told:
        return error.text
    try:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if lab.place(frame.filename) == "own" and frame.line]
    except KeyboardInterrupt:
        raise
    except BaseException:  # an error that hides where it comes from
        own = []
    where = f"\nIn line {own[-1].lineno} of your code: `{own[-1].line}`" if own else ""
    return f"{kind_of(error)}: {safe(str, error)}{where}"


def difference(answer: Any, expected: Any, tolerance: float, what: str = "your result") -> str | None:
    """The first difference of two results as a sentence, None within `tolerance` (relative plus absolute).

    Tensors agree in shape, dtype and values (NaN where NaN is expected). A number may come as a 0-d tensor.
    Tuples and lists agree item by item, anything else by `==`. Example: `difference(answer, expected, 1e-5)`.
    """
    kind, What = kind_of(answer), what[0].upper() + what[1:]
    if isinstance(expected, Tensor):
        if not isinstance(answer, Tensor):
            return f"{What} is a {kind}; expected a torch.Tensor of shape {tuple(expected.shape)}."
        if answer.shape != expected.shape:
            return f"{What} has shape {tuple(answer.shape)}; expected {tuple(expected.shape)}."
        if answer.dtype != expected.dtype:
            return f"{What} has dtype {answer.dtype}; expected {expected.dtype}."
        return _values(answer.detach().double(), expected.detach().double(), tolerance, What)
    if isinstance(expected, int | float):
        if not (isinstance(answer, numbers.Real) or (isinstance(answer, Tensor) and answer.ndim == 0)):
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
    return None if answer == expected else f"{What} is {safe(repr, answer)}; expected {expected!r}."


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


def overwritten(fn: Callable[..., Any], before: tuple, after: tuple) -> str | None:
    """The name of the first argument whose tensors changed during the call, if any."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, Tensor | list | tuple):
            try:
                same = difference(new, old, 0.0) is None
            except KeyboardInterrupt:
                raise
            except BaseException:  # something else altogether stands there now
                same = False
            if not same:
                try:
                    return list(inspect.signature(fn).parameters)[i]
                except KeyboardInterrupt:
                    raise
                except BaseException:
                    return f"argument {i + 1}"
    return None
