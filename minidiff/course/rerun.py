"""One answer, run in a process of its own: its time and memory are limited, and only data comes back.

The process imports no more than it must, starts in an empty folder, and may start no other process, write no file and
open no connection: what an answer has no need of is an error in it. That keeps accidents small. It is no sandbox: code
that means harm runs with your rights, so grade what strangers hand in on a machine that holds nothing else.
"""

import base64
import json
import os
import signal
import sys
import tempfile
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from minidiff.course import lab, source
from minidiff.course.exercises import get
from minidiff.course.judge import TRIALS, Told, Tried, attempt, safe, stopped

METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
)}  # fmt: skip
LARGEST = 2**26  # bytes of all that an answer gives back
READY = b"ready"
START = 120.0  # seconds that a process may take until it is ready
FORBIDDEN = (
    "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "pty.", "socket.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.link", "os.symlink",
    "shutil.", "_thread.start_new_thread", "sys.setprofile", "sys.settrace", "ctypes.",
)  # fmt: skip


class NoAnswer(Exception):
    """A process that gave no answer, with the outcome of it, "time" or "error", and what to say."""

    def __init__(self, outcome: str, message: str):
        super().__init__(message)
        self.outcome, self.message = outcome, message


# --- in the process of the answer -------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """An answer as JSON: tensors, numbers, words, exceptions, and lists of them; of anything else its type."""
    if isinstance(value, BaseException):
        kind = "unsolved" if isinstance(value, NotImplementedError) else "stopped"
        return {kind: [safe(repr, value), stopped(value)]}
    if isinstance(value, Tensor):
        whole = value.detach().as_subclass(Tensor).cpu().contiguous()
        content = whole.flatten().view(torch.uint8).numpy().tobytes() if whole.numel() else b""
        return {"tensor": [str(whole.dtype)[6:], list(whole.shape), base64.b64encode(content).decode()]}
    if value is None or value is ...:
        return {"nothing": value is ...}
    if isinstance(value, bool | int | float | str):
        kind = next(kind for kind in (bool, int, float, str) if isinstance(value, kind))
        return {"value": [kind.__name__, str(kind(value))]}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [encode(one) for one in value]}
    return {"other": [type(value).__name__, safe(repr, value)]}


def forbid(event: str, args: tuple) -> None:
    """The audit hook: what an answer has no need of is an error in it. Our own watch may come and go."""
    if event.startswith(FORBIDDEN) and sys._getframe(1).f_code.co_filename not in (lab.__file__, __file__):
        raise PermissionError(f"an answer has no need of {event}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        raise PermissionError(f"an answer has no need to write {args[0]}")


def limit(seconds: float, gigabytes: float) -> None:
    """Limit this process, where the system knows how (not on Windows): processor time, memory, no files."""
    try:
        import resource
    except ImportError:
        return
    import psutil

    most = psutil.Process().memory_info().vms + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def work(pipe: Connection, id: str, text: str, seed: int, seconds: float, gigabytes: float) -> None:
    """What the process does: run the answer, and send what came out."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that whatever it starts ends with it
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    item = get(id)
    torch.set_num_threads(1)
    limit(seconds, gigabytes)
    pipe.send_bytes(READY)
    sys.addaudithook(forbid)
    try:
        fn = source.load(text, "<answer>")
        tried = attempt(item, fn, seed)
        sent: Any = {"answers": [encode(one) for one in tried.answers], "used": tried.used, "spoiled": tried.spoiled}
    except BaseException as error:
        sent = {"failed": stopped(error)}
    pipe.send_bytes(json.dumps(sent).encode())
    os._exit(0)  # nothing that the answer left behind runs any more


# --- in the process of the teacher ------------------------------------------------------------------------


def decode(form: Any) -> Any:
    """What `encode` wrote, or what was forged in its place: ValueError for what is no such thing."""
    if not (isinstance(form, dict) and len(form) == 1):
        raise ValueError("no such form")
    (kind, content), *_ = form.items()
    if kind == "tensor":
        dtype, shape, data = DTYPES[content[0]], [int(n) for n in content[1]], base64.b64decode(content[2])
        if any(n < 0 for n in shape):
            raise ValueError(f"shape {shape}")
        flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return flat.reshape(shape)
    if kind == "value":
        makers = {"bool": lambda text: text == "True", "int": int, "float": float, "str": str}
        return makers[content[0]](content[1])
    if kind == "nothing":
        return ... if content else None
    if kind in ("tuple", "list"):
        items = [decode(one) for one in content]
        return tuple(items) if kind == "tuple" else items
    if kind in ("stopped", "unsolved", "other"):
        first, second = (str(text)[:4_000] for text in content)
        if kind == "unsolved":
            return NotImplementedError()
        return Told(first, second if kind == "stopped" else f"Your result is a {first}: {second}")
    raise ValueError(f"no such form: {str(kind)[:40]}")


def rerun(id: str, text: str, seed: int, seconds: float = 60.0, gigabytes: float = 4.0) -> Tried:
    """Run an answer, given as text, in a fresh process on inputs of that seed; what it did.

    NoAnswer where it takes longer than `seconds`, more memory than `gigabytes`, or does not come to an answer.
    Example: `verdict(get(id), rerun(id, text, 7), 7, True)`.
    """
    context: Any = get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(["minidiff.course.rerun"])
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=inside, args=(folder, theirs, id, text, seed, seconds, gigabytes), daemon=True)
        process.start()
        theirs.close()
        try:
            return received(ours, process, seconds)
        finally:
            end(process)
            ours.close()


def inside(folder: str, *args: Any) -> None:
    """`work` in a folder that goes with it."""
    os.chdir(folder)
    work(*args)


def received(pipe: Connection, process: Any, seconds: float) -> Tried:
    """What the process sends, within the time."""
    try:
        if not pipe.poll(START) or pipe.recv_bytes(len(READY)) != READY:
            raise NoAnswer("error", "its process did not start")
        if not pipe.poll(seconds):
            raise NoAnswer("time", f"It ran longer than {seconds:g} s.")
        sent = json.loads(pipe.recv_bytes(LARGEST))
        if isinstance(sent, dict) and isinstance(sent.get("failed"), str):
            raise NoAnswer("error", sent["failed"][:4_000])
        answers, used = [decode(one) for one in sent["answers"]], [str(name)[:200] for name in sent["used"]]
        if len(answers) != TRIALS:
            raise ValueError(f"{len(answers)} answers to {TRIALS} inputs")
        spoiled = None if sent["spoiled"] is None else str(sent["spoiled"])[:200]
    except EOFError:
        process.join(5)
        code = process.exitcode
        if hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU:
            raise NoAnswer("time", f"It ran longer than {seconds:g} s.") from None
        raise NoAnswer("error", f"Its process ended before it answered (exit status {code}).") from None
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, RecursionError) as error:
        raise NoAnswer(
            "error", f"What it gave back is no answer ({type(error).__name__}: {str(error)[:200]})."
        ) from None
    return Tried(answers, used, spoiled)


def end(process: Any) -> None:
    """End a process, and whatever it started."""
    if process.pid and hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    process.kill()
    process.join(5)
