"""How the command line tells that something went wrong: one line, with path, reason and remedy."""

import errno
import os
import sys


def told(line: str, status: int) -> int:
    """Print a line to where errors go, and return the status; what could not be printed before is forgotten."""
    try:
        sys.stdout.flush()
    except OSError:  # closed or full: the interpreter would try again at its end, and print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(line, file=sys.stderr)
    return status


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
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EPIPE: "its reader stopped early; without the pipe all is shown",
    errno.EMFILE: "close other programs",
    errno.ENOMEM: "close other programs, or ask for less at a time",
}
MEMORY = "not enough memory: ask for fewer at a time (-n, or --set batch=...), or close other programs"


def said(error: Exception) -> str:
    """What went wrong, in one line of no great length: our own words, or of the system's path, reason and remedy."""
    known = isinstance(error, ValueError | KeyError | OSError | FloatingPointError)
    if isinstance(error, OSError) and error.strerror:
        line = f"{error.filename or 'writing the output'}: {error.strerror}"
        line += f"; {remedy}" if (remedy := REMEDIES.get(error.errno or 0)) else ""
    elif isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
        line = MEMORY
    elif known:
        line = str(error.args[0] if error.args else error)
    else:
        line = f"{type(error).__name__}: {error} (a mistake of minidiff; MINIDIFF_DEBUG=1 shows where)"
    line = line.replace("\n", "\\n").replace("\r", "\\r")
    return line if len(line) <= 1_000 else f"{line[:600]} ... {line[-300:]}"
