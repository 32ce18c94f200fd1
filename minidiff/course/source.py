"""A learner's answer as a text that runs in another process: the function, and what it takes from its notebook.

What a function uses of other cells goes along: functions and classes with their own needs, imports, numbers, words and
small tensors. What cannot be written down, such as a network that was trained there, is named instead.
"""

import ast
import builtins
import inspect
import linecache
import math
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from minidiff.course import lab

SMALL = 1_000  # numbers of a tensor, items of a list, that are written down


def portable(fn: Callable[..., Any]) -> tuple[str | None, list[str]]:
    """The source of a function and of all that it needs, the function last; and the names that cannot be written down.

    (None, []) for what has no source of its own: a builtin, a partial, a function of a library.
    Example: `text, lacks = portable(one_jump)`.
    """
    parts: dict[str, str] = {}
    lacks: list[str] = []
    try:
        if not isinstance(fn, FunctionType) or lab.place(fn.__code__.co_filename) != "own":
            return None, []
        text = definition(fn)
        if text is None:
            return None, []
        needs(text, fn.__globals__ | closure(fn), parts, lacks)
    except KeyboardInterrupt:
        raise
    except Exception:  # a source that is gone, or no Python any more
        return None, []
    parts.pop(fn.__name__, None)  # itself, where it calls itself
    return "\n\n".join([*parts.values(), text]) + "\n", lacks


def load(text: str, name: str) -> Callable[..., Any]:
    """Run a text and return the last function that it defines; SyntaxError, or what running it raises.

    name: of the file that it shall be; errors show its lines. ValueError where it defines no function.
    Example: `load(text, "<answer of ada>")`.
    """
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, Any] = {"torch": torch, "math": math, "__name__": "answer"}
    exec(compile(text, name, "exec"), names)
    made = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    if "answer" in names:
        made.append("answer")
    if not made:
        raise ValueError("the text defines no function")
    return names[made[-1]]


def closure(fn: FunctionType) -> dict[str, Any]:
    """The names that a function took from functions around it."""
    found = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet given a value
            continue
    return found


def definition(thing: Any) -> str | None:
    """The source of a function or class; of a lambda, `answer = lambda ...`, if it stands alone in its lines."""
    text = textwrap.dedent(inspect.getsource(thing))
    if getattr(thing, "__name__", "") != "<lambda>":
        return text.strip()
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return f"answer = {ast.unparse(found[0])}" if len(found) == 1 else None


def needs(text: str, names: dict[str, Any], parts: dict[str, str], lacks: list[str]) -> None:
    """Add to `parts` a piece of source for each name of `names` that `text` uses, and to `lacks` what has none."""
    used = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    for name in dict.fromkeys(used):
        if name in parts or name not in names or (hasattr(builtins, name) and names[name] is getattr(builtins, name)):
            continue
        value = names[name]
        parts[name] = ""  # on its way: two functions may call one another
        if isinstance(value, ModuleType):
            parts[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, FunctionType | type) and lab.place(home(value)) == "own":
            own = definition(value)
            if own is None:
                lacks.append(name)
                continue
            inside = closure(value) if isinstance(value, FunctionType) else {}
            needs(own, names | getattr(value, "__globals__", {}) | inside, parts, lacks)
            parts[name] = own if not own.startswith("answer = ") else f"{name}{own.removeprefix('answer')}"
        elif getattr(value, "__module__", None) and getattr(value, "__qualname__", "?").isidentifier():
            parts[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
        elif written := literal(value):
            parts[name] = f"{name} = {written}"
        else:
            lacks.append(name)
        parts[name] = parts.pop(name)  # behind what it needs itself
    for name in lacks:
        parts.pop(name, None)


def literal(value: Any) -> str | None:
    """A value as Python source: numbers, words, small tensors, tuples, lists and dictionaries of them; else None."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or kind in (int, float, bool, str, complex, torch.dtype):
        return repr(value)
    if kind is Tensor and value.numel() <= SMALL:
        return f"torch.tensor({literal(value.tolist())}, dtype={value.dtype})"
    if kind is dict and len(value) <= SMALL:
        pairs = [(literal(key), literal(one)) for key, one in value.items()]
        return None if any(None in pair for pair in pairs) else f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
    if kind in (tuple, list) and len(value) <= SMALL:
        items = [literal(one) for one in value]
        if None not in items:
            inside = ", ".join(map(str, items))
            return f"[{inside}]" if kind is list else f"({inside}{',' * (len(items) == 1)})"
    return None


def home(thing: Any) -> str:
    """The file that holds a function or class."""
    if isinstance(thing, FunctionType):
        return thing.__code__.co_filename
    return getattr(inspect.getmodule(thing), "__file__", None) or "<cell>"


def refusal(lacks: list[str]) -> str:
    """What a student is told whose right answer could not be run elsewhere."""
    if lacks:
        names = ", ".join(f"`{name}`" for name in lacks[:5])
        return (
            f"The values are right, but your function uses {names} of another cell, which cannot be written into the "
            "record that is graded. Make it inside the function, or hand it over as a default."
        )
    return (
        "The values are right, but in lab mode the answer is a function that you made with `def`: its source is graded."
    )
