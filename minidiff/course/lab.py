"""Lab mode: the learner's own inputs, and a watch on whether an answer is the learner's own.

`MINIDIFF_LAB=1` with `MINIDIFF_STUDENT=ID` switches it on. Then the inputs of every exercise follow from the
id, solutions are hidden, and an answer that hands the work to minidiff is refused. To find out, the answer
runs under a profile hook that is told of every Python call. A call of package code counts if the nearest
caller that is no library (torch, the standard library) is not package code itself: so
`torch.vmap(minidiff.f)` counts, and what minidiff calls inside does not. What the learner is handed may be
used: every function, method and submodule that can be reached from the arguments is free. This keeps honest
people honest; it is no sandbox, and Python offers ways round it.
"""

import _thread
import functools
import hashlib
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from torch import nn

PACKAGE = str(Path(__file__).parents[1]) + os.sep
LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")}) + ("<frozen",)
# Importing minidiff inside an answer runs these: no work is handed over until something is called.
IMPORTING = ("<module>", "__getattr__")


def student() -> str | None:
    """The student's id in lab mode, None outside it. ValueError where lab mode is on and no id is set."""
    if os.environ.get("MINIDIFF_LAB", "") in ("", "0"):
        return None
    name = os.environ.get("MINIDIFF_STUDENT", "").strip()
    if not name:
        raise ValueError(
            "MINIDIFF_LAB is on but MINIDIFF_STUDENT is empty: set it to your student id, "
            "for example in a cell with '%env MINIDIFF_STUDENT=ada', and run this cell again"
        )
    return name


def seed(name: str, exercise: str) -> int:
    """The seed, 0 to 2^31 - 1, of this student's inputs: the same in every run.

    Example: `seed("ada", "forward.one-jump")`.
    """
    return int.from_bytes(hashlib.sha256(f"{name}/{exercise}".encode()).digest()[:4], "big") >> 1


@functools.cache
def place(filename: str) -> str:
    """Whose code a file holds: "package", "library" (standard or installed), or "own" (a cell, a script)."""
    if filename.startswith(PACKAGE):
        return "package"
    return "library" if filename.startswith(LIBRARIES) else "own"


def codes(thing: Any, seen: set[int] | None = None) -> Iterator[CodeType]:
    """The code objects that `thing` can call: a function, methods, and what a container or an object holds.

    Of objects, only those of minidiff's classes and torch modules are looked into.
    Example: `set(codes((denoise, schedule)))`.
    """
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    parts: list[Any] = []
    if isinstance(thing, list | tuple | set):
        parts = list(thing)
    elif isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, functools.partial):
        parts = [thing.func, thing.args, thing.keywords]
    elif isinstance(thing, MethodType):
        parts = [thing.__func__, thing.__self__]
    elif isinstance(thing, staticmethod | classmethod):
        parts = [thing.__func__]
    elif isinstance(thing, property):
        parts = [thing.fget]
    elif isinstance(thing, FunctionType):
        yield thing.__code__
        parts = [vars(thing)]  # holds __wrapped__ where a decorator such as torch.no_grad() wraps it
    elif isinstance(thing, type):
        parts = [dict(vars(base)) for base in thing.__mro__ if _ours(base)]
    elif isinstance(thing, nn.Module) or _ours(type(thing)):
        parts = [type(thing), getattr(thing, "__dict__", {})]
    for part in parts:
        yield from codes(part, seen)


def _ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "minidiff"


def entry(fn: Callable[..., Any]) -> CodeType | None:
    """The code that calling `fn` enters, behind partials, methods and decorators; None for a builtin."""
    while True:
        inner = fn.func if isinstance(fn, functools.partial) else getattr(fn, "__wrapped__", None)
        inner = inner or getattr(fn, "__func__", None)
        if inner is None:
            return getattr(fn, "__code__", None)
        fn = inner


SWITCHES = {sys.setprofile, sys.settrace, _thread.start_new_thread}


def watched(
    fn: Callable[..., Any], args: tuple, reference: Callable[..., Any], finish: Callable[[Any], Any] = lambda x: x
) -> tuple[Any, list[str]]:
    """`finish(fn(*args))`, and the names of the minidiff functions that it called by itself.

    finish: runs a generator to its end, say. What is reachable from `args` is free, `reference` never is: it is the
    answer. To switch the watch off counts as a call too. Exceptions of `fn` pass through.
    Example: `answer, called = watched(one_jump, (x0, eps, t), add_noise)`.
    """
    home, free, called = sys._getframe(), set(codes(args)) - {entry(reference)}, {}
    ending = getattr(entry(finish), "co_filename", "")  # ours: what it calls for the answer, the answer calls

    def inside(frame: FrameType) -> bool:
        return place(frame.f_code.co_filename) == "package" or frame.f_code in free

    def hook(frame: FrameType, event: str, what: object) -> None:
        code = frame.f_code
        if event == "c_call" and frame is not home and place(code.co_filename) == "own" and what in SWITCHES:
            called[f"{getattr(what, '__module__', '')}.{getattr(what, '__name__', what)}"] = None
        if event != "call" or place(code.co_filename) != "package" or code in free or code.co_name in IMPORTING:
            return
        if code.co_filename == ending:
            return
        caller = frame.f_back
        while caller and place(caller.f_code.co_filename) == "library":
            caller = caller.f_back
        if caller is None or caller is home or caller.f_code.co_filename == ending or not inside(caller):
            called[f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}"] = None

    before, others = sys.getprofile(), threading.getprofile()
    threading.setprofile(hook)  # of threads that the answer starts
    sys.setprofile(hook)
    try:
        answer = finish(fn(*args))
    finally:
        sys.setprofile(before)
        threading.setprofile(others)  # type: ignore[arg-type]
    return answer, list(called)
