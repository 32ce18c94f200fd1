"""What the learner did: answers, predictions and bets, one JSON object a line in `work/progress.jsonl`.

The file only grows. Each entry reaches it in one write of one line, so two notebooks can share it and a crash
costs at most the line it was writing. `predict` and `reveal` stand around a measurement: a learner who has
committed to an answer remembers the measured one. `bet` holds the probabilities of the sealed envelope, which
the last chapter opens.
"""

import html
import json
import os
import secrets
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minidiff.course import page, widgets
from minidiff.files import root

_asked: dict[str, list[str]] = {}  # the options of every prediction asked in this process
_waiting: dict[str, list[Callable[[], None]]] = {}  # what opens the answers that wait for a bet


def path() -> Path:
    """The progress file, there or not yet: `$MINIDIFF_PROGRESS`, or `work/progress.jsonl` in the clone."""
    return Path(os.environ.get("MINIDIFF_PROGRESS") or root() / "work" / "progress.jsonl")


def append(kind: str, entry: dict[str, Any]) -> None:
    """Add one line: `kind`, the time, then `entry`, JSON values that name an id.

    Example: `append("bet", {"id": "memory", "percent": 20})`.
    """
    file_path = path()
    file_path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"kind": kind, "when": now(), **entry}, allow_nan=False) + "\n"
    with open(file_path, "a+b", buffering=0) as file:  # unbuffered: write() is one system call
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            # Half a line, left by a crash or being written by another notebook: start a new one.
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()


def now() -> str:
    """The time in UTC to the second, as ISO 8601: "2026-01-31T09:30:00+00:00"."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def records(kind: str | None = None) -> list[dict[str, Any]]:
    """All entries, oldest first, or those of one kind ("check", "predict", "bet"); an absent file has none.

    Lines that are no JSON object with a kind and an id are skipped; one warning counts them.
    """
    found, corrupt = entries(path())
    if corrupt:
        warnings.warn(f"{corrupt} corrupt line(s) skipped in {path().name}: the rest is kept", stacklevel=2)
    return [entry for entry in found if kind in (None, entry["kind"])]


def entries(file_path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries of any progress file, and how many of its lines are none; an absent file has neither."""
    lines = file_path.read_bytes().splitlines() if file_path.is_file() else []
    found, corrupt = [], 0
    for line in filter(bytes.strip, lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("kind"), str) and isinstance(entry.get("id"), str):
            found.append(entry)
        else:
            corrupt += 1
    return found, corrupt


def summary() -> dict[str, bool]:
    """`{exercise id: passed at least once}` for every exercise tried, in the order of the first try."""
    passed: dict[str, bool] = {}
    for entry in records("check"):
        passed[entry["id"]] = passed.get(entry["id"], False) or bool(entry.get("passed"))
    return passed


def show(text: str, rich: str, mime: str = "text/markdown") -> None:
    """Display `rich` (Markdown, or of type `mime`) with `text` as its plain form; else print `text`."""
    if page.shell() is None:
        print(text)
    else:
        from IPython.display import display

        display({mime: rich, "text/plain": text}, raw=True)


def _last(kind: str, id: str) -> dict[str, Any]:
    return next((entry for entry in reversed(records(kind)) if entry.get("id") == id), {})


def predict(id: str, question: str, options: Sequence[str]) -> None:
    """Ask for the learner's guess before a measurement: radio buttons in a live notebook, else lettered text.

    The question is Markdown, the options (two or more, all different) plain text, else ValueError.
    A choice is stored at once, opens the `reveal` that waits for it, survives a restart and can be changed.
    Example: `predict("reverse.ten-steps", "How many of 25 modes do 10 steps reach?", ["1", "12", "25"])`.
    """
    options = list(options)
    if len(options) < 2 or len(set(options)) < len(options):
        raise ValueError(f"predict({id!r}) needs two or more different options, not {options!r}")
    _asked[id] = options
    if page.live():

        def markup(chosen: str | None) -> str:
            rows = [
                f"<li>{html.escape(option)}{' <em>(your bet)</em>' * (option == chosen)}</li>" for option in options
            ]
            return f"<ul>{''.join(rows)}</ul>{widgets.invited('bet')}"

        def choose(panel: Any) -> None:
            choice = options[panel.values["bet"]]
            append("predict", {"id": id, "choice": choice})
            keep(markup(choice))
            for open_up in _waiting.pop(id, []):
                open_up()

        show(f"Predict: {question}", f"**Predict.** {question}")
        chosen = _last("predict", id).get("choice")
        at = options.index(chosen) if chosen in options else -1
        spec = {"name": "bet", "label": question, "kind": "radio", "options": options, "start": at}
        text = "\n".join(_lettered(option, options) for option in options)
        keep = widgets.emit_with_still(widgets.panel([spec], choose), markup(chosen), {"text/plain": text})
    else:
        lettered = [_lettered(option, options) for option in options]
        show(
            "\n".join([f"Predict: {question}", *(f"  {line}" for line in lettered)]),
            f"**Predict.** {question}\n\n" + "\n".join(f"- {line}" for line in lettered),
        )


def _lettered(option: str, options: list[str]) -> str:
    return f"{chr(ord('A') + options.index(option))}: {option}"


def reveal(id: str, answer: str, note: str = "") -> None:
    """Show the measured answer, one of the options, beside the learner's guess; `note` is Markdown.

    In a live notebook it stays closed until the learner has bet, then opens by itself: *Run All* spoils nothing.
    ValueError where `answer` is no option, or where the cell with `predict(id, ...)` has not run.
    Example: `reveal("reverse.ten-steps", "25", "All are reached, yet only 29% of the samples lie in one.")`.
    """
    options = _asked.get(id)
    if options is None:
        raise ValueError(f"nothing was asked under {id!r}: run the cell with predict({id!r}, ...) first")
    if answer not in options:
        raise ValueError(f"reveal({id!r}): {answer!r} is not one of the options {options!r}")

    def forms() -> dict[str, str]:
        choice = _last("predict", id).get("choice") if page.live() else None  # a built page shows nobody's choice
        if choice == answer:
            guess = f"You predicted {_lettered(answer, options)}, and it holds."
        elif choice in options:
            guess = f"You predicted {_lettered(choice, options)}. The answer is {_lettered(answer, options)}."
        else:
            guess = f"The answer is {_lettered(answer, options)}."
        return {"text/plain": f"{guess}\n{note}".strip(), "text/markdown": f"**{guess}**\n\n{note}".strip()}

    if not page.live() or _last("predict", id).get("choice") in options:
        return show(*forms().values())
    from IPython.display import display, update_display

    closed = (
        "*Closed until you bet: choose above, and the answer opens here (after a restart, when you run this cell).*"
    )
    handle: Any = display({"text/markdown": closed, "text/plain": closed}, raw=True, display_id=secrets.token_hex(8))

    def open_up() -> None:
        update_display(forms(), raw=True, display_id=handle.display_id)

    _waiting.setdefault(id, []).append(open_up)


def bet(id: str, claim: str) -> None:
    """Ask how likely a claim is, in percent: a slider in a live notebook, else text.

    The claim is Markdown. A bet is stored at once, survives a restart and can be changed.
    Example: `bet("sora-memory", "A longer context gives a video model a memory.")`.
    """
    if page.live():
        # The first stop is "no bet yet": a slider that rests on 50% cannot tell even odds from not touched.
        stops = [-1, *range(0, 101, 5)]
        words = ["no bet yet", *(f"{percent}%" for percent in stops[1:])]
        placed = bets().get(id, -1)
        at = stops.index(placed) if placed in stops else 0
        spec = {"name": "likely", "label": "likely?", "kind": "slider", "min": 0, "max": len(stops) - 1, "step": 1}
        spec |= {"options": words, "slow": True, "start": at}

        def place(panel: Any) -> None:
            append("bet", {"id": id, "percent": stops[panel.values["likely"]]})
            keep(f"<p><em>Your bet: {words[panel.values['likely']]}</em></p>")

        show(claim, claim)
        told = f"Your bet: {words[at]}"
        keep = widgets.emit_with_still(widgets.panel([spec], place), f"<p><em>{told}</em></p>", {"text/plain": told})
    else:
        show(f"{claim}\n  your bet: ____ %", f"☐ {claim} *Your bet: \\_\\_\\_ %*")


def bets() -> dict[str, int]:
    """`{id: percent}`, the last bet on each claim; one taken back to "no bet yet" (stored as -1) is out."""
    last = {entry["id"]: entry.get("percent", -1) for entry in records("bet")}
    return {id: percent for id, percent in last.items() if percent >= 0}
