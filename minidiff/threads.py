"""Sharing a computer: how torch's threads behave where something else is at work.

Threads that share a computation wait for one another at its every step, and OpenMP lets them wait by spinning. While
all cores are free that is the fastest way. Where one is taken, a spinning thread holds the core that the other thread
needs. Measured on two cores beside one busy process, `minidiff sample fashion-unet -n 8` took 1.7 times as long as
with threads that sleep while they wait (OMP_WAIT_POLICY=passive), and Run All of chapter 00 took 18 times as long as
on one thread. Sleeping always is no remedy: on idle cores it cost 15% for a U-Net and 80% for small networks. So we
look first, and choose, which costs nothing on idle cores. Nothing here loads torch.
"""

import os
import signal
import threading
from concurrent.futures import Executor
from functools import cache


def busy() -> float:
    """How many cores' worth of work the whole machine does just now, in a look of a tenth of a second; 0.0 if unknown.

    Example: `busy() > 0.5`.
    """
    try:
        import psutil
    except ImportError:
        return 0.0
    return psutil.cpu_percent(interval=0.1) / 100 * (psutil.cpu_count() or 1)


def cores() -> int:
    """How many cores this process may use: those it is bound to, or all there are. Example: `cores()`."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share() -> None:
    """Before torch is loaded: where others are at work, let this process's threads sleep while they wait.

    The environment is set, so that child processes do the same; a policy that is set already stays.
    Example: `share(); import torch`.
    """
    if "OMP_WAIT_POLICY" not in os.environ and busy() > 0.5 + 0.02 * cores():  # the second part is a system at rest
        os.environ["OMP_WAIT_POLICY"] = "passive"


def free_cores() -> int:
    """How many cores nobody else uses just now, 1 at least. Example: `torch.set_num_threads(free_cores())`."""
    return max(1, cores() - round(busy()))


def alone() -> None:
    """How a process of the `pool` starts: deaf to Ctrl-C, which is for the one that asked, with one thread, and ending
    when that one does, however that was ended."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    import torch

    torch.set_num_threads(1)


@cache
def pool() -> Executor:
    """A process on every core but one, 16 at most, for work that Python does one by one: `pool().map(function, parts)`.

    They start in a few seconds, when first asked, and stay until `close_pool`. On a GPU a step takes less time than the
    sentences of its clips. A script that asks needs `if __name__ == "__main__":`, as multiprocessing always does.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(min(16, max(1, cores() - 1)), get_context("spawn"), alone)


def close_pool() -> None:
    """End the processes of the `pool`, if there are any; what waits is not begun. The next `pool()` is a new one."""
    if pool.cache_info().currsize:
        pool().shutdown(wait=False, cancel_futures=True)
        pool.cache_clear()
