"""Exercises: `check` runs a learner's function on fresh random inputs and compares it with the package.

The package is the answer key. A wrong answer is compared with the known wrong ones too: where it agrees with one of
them on every input, the learner is told which idea went astray, not merely that the numbers differ. Nothing that a
learner writes makes `check` raise: an unsolved notebook runs to its end. Each try is a line in the progress file.
"""

import html
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import minidiff
from minidiff.course import lab, progress, source
from minidiff.course.judge import Exercise, Wrong, attempt, difference, kind_of, verdict

__all__ = ["Exercise", "Record", "Wrong", "check", "difference", "hint", "solution"]
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
class Record:
    """One try; `outcome` is a key of LOOK.

    `misconception` names the known wrong answer that it agrees with, if any; `used` the minidiff functions it
    called by itself; `student` is None outside lab mode. `seed` draws the same inputs again. `source`, in lab mode, is
    the answer as a text that runs elsewhere: what is graded.
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
    source: str | None = None

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
    student = lab.student()
    item = _find(exercise, student)
    seed = lab.seed(student, item.id) if student else secrets.randbelow(2**31)
    used: list[str] = []
    text, lacks = source.portable(fn) if student else (None, [])
    if not callable(fn):
        judged = "error", f"`check` wants the function itself, not its result (a {kind_of(fn)}).", None
    else:
        tried = attempt(item, fn, seed)
        used, judged = tried.used, verdict(item, tried, seed, student is not None)
        if student and judged[0] == "passed" and (text is None or lacks):
            judged = "refused", source.refusal(lacks), None
    outcome, message, misconception = judged
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
        source=text,
    )
    if counts and outcome != "unsolved":
        progress.append("check", asdict(record))
    with suppress(ValueError, AttributeError, OSError):  # an output that somebody closed: the record is returned
        progress.show(str(record), record._repr_html_(), mime="text/html")
    return record


def hint(exercise: str | Exercise) -> None:
    """Show the next hint, or that there are no more. Example: `hint("forward.one-jump")`."""
    item = _find(exercise, lab.student())
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
    text = _find(exercise, lab.student()).solution.strip()
    if lab.student():
        text = "Solutions are hidden in lab mode: `hint` helps, and so does your teacher."
        progress.show(text, text)
    else:
        progress.show(text, f"```python\n{text}\n```")


def _find(exercise: str | Exercise, student: str | None) -> Exercise:
    if isinstance(exercise, Exercise):
        if student:  # an exercise of one's own making could have any id, and any answer
            raise ValueError('in lab mode name the exercise by its id, `check("forward.one-jump", one_jump)`')
        return exercise
    from minidiff.course.exercises import get  # not at the top: the exercises are made of this module's classes

    return get(exercise)
