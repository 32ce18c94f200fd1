"""How the command line tells that something went wrong: one line, with path, reason and remedy."""

import errno
import os
import signal
import sys
import threading


def told(line: str, status: int) -> int:
    """Print a line to where errors go, and return the status; what could not be printed before is forgotten."""
    try:
        if sys.stdout is not None:  # it is None without a terminal, under pythonw say
            sys.stdout.flush()
    except (OSError, ValueError):  # closed or full: the interpreter would try again at its end, and print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print(line, file=sys.stderr)
    return status


def noted_interrupts() -> list[int]:
    """From now on Ctrl-C is noted in this list, and raised as ever: a library that is being loaded just then tells it
    in words of its own."""
    pressed: list[int] = []

    def press(signum: int, frame: object) -> None:
        pressed.append(signum)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, press)
    return pressed


PERMISSIONS = "look at its permissions, or name another place"
REMEDIES = {
    errno.ENOSPC: "make room, or name another place",
    errno.EDQUOT: "make room, or name another place",
    errno.EACCES: PERMISSIONS,
    errno.EPERM: PERMISSIONS,
    errno.EROFS: "name a place that can be written to (-o, or MINIDIFF_OUTPUTS for all that is kept)",
    errno.ENOENT: "make it first, or name another place",
    errno.ENOTDIR: "a part of its path is a file: name another place",
    errno.EEXIST: "it is no folder: name another place",
    errno.EFBIG: "this place allows no file of that size: name another place",
    errno.ELOOP: "its links lead back to themselves: name another place",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EPIPE: "its reader stopped early; without the pipe all is shown",
    errno.EMFILE: "close other programs",
    errno.ENOMEM: "close other programs, or ask for less at a time",
}
MEMORY = "not enough memory: ask for fewer at a time (-n, or --set batch=...), or close other programs"


def clean(text: object) -> str:
    """A text without line breaks and other signs that a terminal acts upon. Example: `clean("a\\nb")`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def short_of_memory(error: Exception) -> bool:
    """Whether torch says so, or a library that could not be loaded for lack of it."""
    words = ("out of memory", "can't allocate memory", "failed to map segment", "cannot allocate memory")
    return isinstance(error, RuntimeError | ImportError) and any(some in str(error).lower() for some in words)


def said(error: Exception) -> str:
    """What went wrong, in one line of no great length: our own words, or of the system's path, reason and remedy."""
    known = isinstance(error, ValueError | KeyError | OSError | FloatingPointError)
    if isinstance(error, OSError) and error.strerror:
        line = f"{error.filename or 'writing the output'}: {error.strerror}"
        line += f"; {remedy}" if (remedy := REMEDIES.get(error.errno or 0)) else ""
    elif isinstance(error, MemoryError) or short_of_memory(error):
        line = MEMORY
    elif known:
        line = str(error.args[0] if error.args else error)
    else:
        line = f"{type(error).__name__}: {error} (a mistake of minidiff; MINIDIFF_DEBUG=1 shows where)"
    line = clean(line)
    return line if len(line) <= 1_000 else f"{line[:600]} ... {line[-300:]}"
