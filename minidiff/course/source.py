"""A learner's answer as a text that runs in another process: the function, and what it takes from its notebook.

What a function uses of other cells goes along: functions and classes with their own needs, imports, numbers, words and
small tensors. What cannot be written down, such as a network that was trained there, is named instead.
"""

import __future__

import ast
import builtins
import inspect
import linecache
import math
import symtable
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor

from minidiff.course import lab

HOMES = (torch, torch.nn.functional, math, numpy)  # of functions that do not tell it themselves
SMALL = 1_000  # numbers and words of a value that is written down
LONGEST = 100_000  # characters of an answer with all that it needs


def portable(fn: Callable[..., Any]) -> tuple[str | None, list[str]]:
    """The source of a function and of all that it needs, the function last; and what of it cannot be written down.

    (None, []) for what has no source of its own: a builtin, a partial, a function of a library.
    Example: `text, lacks = portable(one_jump)`.
    """
    parts: dict[str, tuple[Any, str]] = {}
    lacks: list[str] = []
    try:
        found = own(fn)
        text = found and definition(found, decorated=found is not fn)
        if not found or not text:
            return None, []
        needs(text, found.__globals__ | closure(found), parts, lacks)
        pieces = [piece for name, (value, piece) in parts.items() if piece and value is not fn]
        whole = "\n\n".join([*pieces, text]) + "\n"
    except KeyboardInterrupt:
        raise
    except BaseException:  # a source that is gone, no Python any more, or objects that refuse to be asked
        return None, []
    return (whole, lacks) if len(whole) <= LONGEST else (None, [f"{len(whole):,} characters, with all that it needs"])


def load(text: str, name: str) -> Callable[..., Any]:
    """Run a text and return the last function that it defines; SyntaxError, or what running it raises.

    name: of the file that it shall be; errors show its lines. ValueError where it defines no function.
    Example: `load(text, "<answer of ada>")`.
    """
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, Any] = {"torch": torch, "math": math, "__name__": "answer"}
    exec(compile("def display(*_, **__): pass", name, "exec"), names)  # a notebook has it
    exec(compile(text, name, "exec", __future__.annotations.compiler_flag), names)
    made = [getattr(node, "name", "answer") for node in ast.parse(text).body if defines(node)]
    if not made:
        raise ValueError("the text defines no function")
    return names[made[-1]]


def defines(node: ast.stmt) -> bool:
    """Whether a statement defines a function, or is the `answer = lambda ...` of `definition`."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "answer" and isinstance(node.value, ast.Lambda)
    return isinstance(node, ast.FunctionDef)


def own(thing: Any) -> FunctionType | None:
    """The function of the learner's that a thing is, or that a library's decorator wraps: @torch.no_grad(), say."""
    while not (type(thing) is FunctionType and lab.place(thing.__code__.co_filename) == "own"):
        thing = getattr(thing, "__wrapped__", None)
        if thing is None:
            return None
    return thing


def closure(fn: FunctionType) -> dict[str, Any]:
    """The names that a function took from functions around it."""
    found = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet given a value
            continue
    return found


def definition(fn: FunctionType, decorated: bool = True) -> str | None:
    """The source of a function, its defaults as they were; of a lambda, `answer = lambda ...`, if alone in its lines.

    decorated: with the decorators above it.
    """
    text = textwrap.dedent(inspect.getsource(fn.__code__)).strip()
    if fn.__name__ == "<lambda>":
        found = [node for node in ast.walk(parsed(text)) if isinstance(node, ast.Lambda)]
        return f"answer = {ast.unparse(found[0])}" if len(found) == 1 else None
    tree = ast.parse(text)
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        return None
    values = [*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()]
    places: list[ast.expr] = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    written = [literal(value) for value in values]
    same = all(value in (None, ast.unparse(place)) for place, value in zip(places, written, strict=True))
    if same and (decorated or not node.decorator_list):
        return text
    swaps = iter(written)
    node.args.defaults = [default(old, next(swaps)) for old in node.args.defaults]
    node.args.kw_defaults = [old and default(old, next(swaps)) for old in node.args.kw_defaults]
    node.decorator_list = node.decorator_list if decorated else []
    return ast.unparse(node)


def parsed(text: str) -> ast.AST:
    """The tree of a piece of source, also of a line that is only a part of a statement; an empty one if it is none."""
    for form in (text, f"({text.rstrip(',')})", f"f({text})"):
        try:
            return ast.parse(form)
        except SyntaxError:
            continue
    return ast.parse("")


def default(old: ast.expr, value: str | None) -> ast.expr:
    """A default as it was when the function was made, if that can be written down."""
    return old if value is None else ast.parse(value, mode="eval").body


def class_source(kind: type) -> str | None:
    """The source of a class, by way of a method: of a notebook's classes Python itself does not know the cell."""
    for method in vars(kind).values():
        if (found := own(method)) and (lines := linecache.getlines(found.__code__.co_filename)):
            at = found.__code__.co_firstlineno
            for node in ast.walk(ast.parse("".join(lines))):
                if not isinstance(node, ast.ClassDef) or node.name != kind.__name__:
                    continue
                if node.lineno <= at <= (node.end_lineno or 0):
                    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                    return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).strip()
    return None


def needs(text: str, names: dict[str, Any], parts: dict[str, tuple[Any, str]], lacks: list[str]) -> None:
    """Add to `parts` a piece of source for each name of `names` that `text` uses, and to `lacks` what has none."""
    for name in free(symtable.symtable(text, "<answer>", "exec")):
        if name not in names or (hasattr(builtins, name) and names[name] is getattr(builtins, name)):
            continue
        value = names[name]
        if name in parts:
            if parts[name][0] is not value and name not in lacks:  # two functions know different things by it
                lacks.append(name)
            continue
        parts[name] = (value, "")  # on its way: two functions may call one another
        piece = written(name, value, names, parts, lacks)
        parts.pop(name)
        parts[name] = (value, piece or "")  # behind what it needs itself
        if piece is None:
            lacks.append(name)


def written(
    name: str, value: Any, names: dict[str, Any], parts: dict[str, tuple[Any, str]], lacks: list[str]
) -> str | None:
    """A piece of source that gives a name its value; None if there is none."""
    if isinstance(value, ModuleType):
        file = getattr(value, "__file__", None)
        return f"import {value.__name__} as {name}" if not file or lab.place(file) != "own" else None
    if fn := own(value):
        text = definition(fn, decorated=fn is not value)
        if text is None:
            return None
        needs(text, names | fn.__globals__ | closure(fn), parts, lacks)
        if text.startswith("answer = "):
            return f"{name}{text.removeprefix('answer')}"
        return text if fn.__name__ == name else f"{text}\n\n{name} = {fn.__name__}"
    word, module = getattr(value, "__name__", None), getattr(value, "__module__", None)
    for home in HOMES:
        if isinstance(word, str) and word.isidentifier() and getattr(home, word, None) is value:
            return f"from {home.__name__} import {word} as {name}"
    if isinstance(value, type) and lab.place(file_of(value)) == "own":
        text = class_source(value)
        if text is not None:
            needs(text, names, parts, lacks)
        return text
    if isinstance(module, str) and isinstance(word, str) and module != "__main__":
        if getattr(value, "__qualname__", word) == word and all(map(str.isidentifier, (*module.split("."), word))):
            return f"from {module} import {word} as {name}"
    text = literal(value)
    return None if text is None else f"{name} = {text}"


def free(table: symtable.SymbolTable) -> list[str]:
    """The names that a text takes from outside: not those of arguments, of locals, and of what it defines itself."""
    top = table.get_type() == "module"
    used = [s for s in table.get_symbols() if s.is_declared_global() or (s.is_referenced() and (s.is_global() or top))]
    names = [s.get_name() for s in used]
    inside = [name for child in table.get_children() for name in free(child)]
    return list(dict.fromkeys(names + inside))


def literal(value: Any, room: list[int] | None = None) -> str | None:
    """A value as Python source: numbers, words, small tensors, tuples, lists and dictionaries of them; else None."""
    room = [SMALL] if room is None else room
    kind = type(value)
    room[0] -= value.numel() if kind is Tensor else 1 + len(value) // 100 if kind in (str, bytes) else 1
    if room[0] < 0:
        return None
    if isinstance(value, numpy.generic):
        return literal(value.item(), room)
    if kind is float and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or kind in (int, float, bool, str, bytes, complex, range, slice, torch.dtype):
        return repr(value)
    if kind is torch.device:
        return f"torch.{value!r}"
    if kind is Tensor:
        return f"torch.tensor({literal(value.tolist(), [10 * SMALL])}, dtype={value.dtype})"
    if kind is dict:
        pairs = [(literal(key, room), literal(one, room)) for key, one in value.items()]
        return None if any(None in pair for pair in pairs) else f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
    if kind in (tuple, list, set, frozenset):
        items = [literal(one, room) for one in value]
        if None not in items:
            inside = ", ".join(map(str, items))
            if kind is tuple:
                return f"({inside}{',' * (len(items) == 1)})"
            return f"[{inside}]" if kind is list else f"{kind.__name__}([{inside}])"
    return None


def file_of(kind: type) -> str:
    """The file that holds a class."""
    return getattr(inspect.getmodule(kind), "__file__", None) or "<cell>"


def refusal(lacks: list[str]) -> str:
    """What a student is told whose right answer could not be run elsewhere."""
    if lacks:
        names = ", ".join(f"`{name}`" for name in lacks[:5])
        return (
            f"The values are right, but {names} of another cell cannot be written into the record that is graded. "
            "Import it, or make it, inside the function."
        )
    return "The values are right, but what is graded is the source of a function: define it with `def` in a cell."
