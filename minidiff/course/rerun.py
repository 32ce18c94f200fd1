"""One answer, run in a process of its own: its time and memory are limited, and only data comes back.

The process starts in an empty folder, and in it an answer is refused what it has no need of, as far as Python tells of
that: to start another process, to write or remove files, to open a connection. That keeps accidents small. It is no
sandbox: code that means harm finds ways and runs with your rights, so grade what strangers hand in on a machine that
holds nothing else.
"""

import base64
import json
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from minidiff.course import judge, lab, source
from minidiff.course.exercises import get
from minidiff.course.judge import TRIALS, Told, Tried, attempt, failed, kind_of, safe, stopped

METHOD = "forkserver" if sys.platform == "linux" else "spawn"  # forked after torch is loaded, macOS may crash
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
    "shutil.", "_thread.start_new_thread", "sys.setprofile", "sys.settrace",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
RUNNING: set[Any] = set()  # the processes just now


class NoAnswer(Exception):
    """A process that gave no answer, with the outcome of it, "time" or "error", and what to say."""

    def __init__(self, outcome: str, message: str):
        super().__init__(message)
        self.outcome, self.message = outcome, message


# --- in the process of the answer -------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """An answer as JSON: tensors, numbers, words, exceptions, and lists of them; of anything else its type."""
    if failed(value):
        kind = "unsolved" if isinstance(value, NotImplementedError) else "stopped"
        return {kind: [safe(repr, value), stopped(value)[:4_000]]}
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
    return {"other": [kind_of(value), safe(repr, value)]}


def forbid(event: str, args: tuple) -> None:
    """The audit hook: what an answer has no need of is an error in it. Our own watch may come and go."""
    if event.startswith(FORBIDDEN) and sys._getframe(1).f_code.co_filename not in (lab.__file__, __file__):
        raise PermissionError(f"an answer has no need of {event}")
    if event == "open" and (args[2] or 0) & WRITING:
        raise PermissionError(f"an answer has no need to write {args[0]}")


def limit(seconds: float, gigabytes: float) -> None:
    """Limit this process, where the system knows how: processor time, memory (Linux), no core file.

    On Windows nothing of it can be had, and the time alone is limited, from outside.
    """
    try:
        import resource
    except ImportError:
        return
    import psutil

    most = psutil.Process().memory_info().vms + int(gigabytes * 2**30)
    wanted = {resource.RLIMIT_CPU: int(seconds) + 1, resource.RLIMIT_CORE: 0}
    wanted |= {resource.RLIMIT_AS: most} if sys.platform == "linux" else {}
    wanted |= {resource.RLIMIT_FSIZE: 0}
    for what, value in wanted.items():
        with suppress(ValueError, OSError):  # a limit that is lower already, or unknown to this system
            resource.setrlimit(what, (value, value + 1 if what == resource.RLIMIT_CPU else value))


def named() -> set[tuple[tuple[str, str], int]]:
    """What the names of the modules that watch stand for: an answer that changes one has handed the work over too."""
    watching = (lab, judge, source, sys.modules[__name__])
    return {((module.__name__, name), id(value)) for module in watching for name, value in vars(module).items()}


def work(pipe: Connection, id: str, text: str, seed: int, seconds: float, gigabytes: float) -> None:
    """What the process does: run the answer, and send what came out."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that whatever it starts ends with it
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    item = get(id)
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    limit(seconds, gigabytes)
    pipe.send_bytes(READY)
    sys.addaudithook(forbid)
    before = named()
    try:
        fn, early = lab.watched(source.load, (text, "<answer>"), item.reference)
        tried = attempt(item, fn, seed)
        changed = [f"{module}.{name}, changed" for (module, name), _ in named() ^ before]
        used = [name for name in early if not name.startswith("minidiff.course.source.")] + tried.used + changed
        sent: Any = {"answers": [encode(one) for one in tried.answers], "used": used, "spoiled": tried.spoiled}
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
    try:
        return once(id, text, seed, seconds, gigabytes)
    except (OSError, EOFError):  # what starts the processes was ended, by another answer say: it starts anew
        try:
            return once(id, text, seed, seconds, gigabytes)
        except (OSError, EOFError) as error:
            raise NoAnswer("error", f"Its process did not start ({type(error).__name__}).") from None


def once(id: str, text: str, seed: int, seconds: float, gigabytes: float) -> Tried:
    """What `rerun` tries; OSError or EOFError where no process starts."""
    context: Any = get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(["minidiff.course.rerun"])
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=inside, args=(folder, theirs, id, text, seed, seconds, gigabytes), daemon=True)
        process.start()
        RUNNING.add(process)
        theirs.close()
        try:
            return received(ours, process, seconds)
        finally:
            end(process)
            RUNNING.discard(process)
            ours.close()


def inside(folder: str, *args: Any) -> None:
    """`work` in a folder that goes with it."""
    os.chdir(folder)
    work(*args)


def received(pipe: Connection, process: Any, seconds: float) -> Tried:
    """What the process sends, within the time; NoAnswer for anything else that may come."""
    late = threading.Timer(seconds, end, [process])  # also of a message that begins, and does not go on
    began = time.monotonic()
    try:
        if not pipe.poll(START) or pipe.recv_bytes(len(READY)) != READY:
            raise NoAnswer("error", "Its process did not start.")
        began = time.monotonic()
        late.start()
        sent = json.loads(pipe.recv_bytes(LARGEST))
        if isinstance(sent, dict) and isinstance(sent.get("failed"), str):
            raise NoAnswer("error", sent["failed"][:4_000])
        answers, used = [decode(one) for one in sent["answers"]], [str(name)[:200] for name in sent["used"][:20]]
        if len(answers) != TRIALS:
            raise ValueError(f"{len(answers)} answers to {TRIALS} inputs")
        return Tried(answers, used, None if sent["spoiled"] is None else str(sent["spoiled"])[:200])
    except NoAnswer:
        raise
    except Exception as error:  # of what is forged
        if time.monotonic() - began >= 0.95 * seconds:
            raise NoAnswer("time", f"It ran longer than {seconds:g} s.") from None
        if isinstance(error, EOFError | ConnectionError):
            raise NoAnswer("error", "Its process ended before it answered.") from None
        why = f"{type(error).__name__}: {str(error)[:200]}"
        raise NoAnswer("error", f"What it gave back is no answer ({why}).") from None
    finally:
        late.cancel()


def end_all() -> None:
    """End every process that runs an answer just now."""
    for process in list(RUNNING):
        end(process)


def end(process: Any) -> None:
    """End a process, and whatever it started."""
    if process.pid and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(5)
