"""Sharing a computer: a busy neighbour is seen, and only then do threads sleep while they wait."""

import os
import signal
import subprocess
import sys
import time

import pytest

from minidiff import threads


@pytest.mark.parametrize("load, policy", [(0.1, None), (0.4, None), (0.9, "passive"), (2.0, "passive")])
def test_threads_sleep_only_where_others_work(monkeypatch, load, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(threads, "busy", lambda: load)
    threads.share()
    assert os.environ.pop("OMP_WAIT_POLICY", None) == policy


def test_a_policy_that_is_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setattr(threads, "busy", lambda: 2.0)
    threads.share()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


@pytest.mark.parametrize("load, free", [(0.0, 4), (0.4, 4), (1.2, 3), (3.9, 1), (9.0, 1)])
def test_free_cores(monkeypatch, load, free):
    monkeypatch.setattr(threads, "busy", lambda: load)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    assert threads.free_cores() == free


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to cores")
def test_a_process_bound_to_one_core_has_one():
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from minidiff import threads; "
    done = subprocess.run([sys.executable, "-c", bound + "print(threads.cores())"], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_a_busy_process_is_seen():
    spin = subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        assert spin.stdout is not None
        spin.stdout.readline()
        assert max(threads.busy() for _ in range(5)) > 0.5
    finally:
        spin.kill()
        spin.wait()


def test_the_policy_is_set_before_torch_is_loaded():
    """In a process of its own: the command line chooses while torch is not there yet."""
    code = """
import sys
from minidiff import cli, threads
def seen(): assert "torch" not in sys.modules; print("asked first")
cli.share = seen
cli.main(["recipes"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("asked first"), done.stderr


@pytest.mark.skipif(not hasattr(os, "kill") or not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_the_pool_ends_with_the_one_that_asked(tmp_path):
    """However that was ended; and after `close_pool` there is a new one."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\nfrom minidiff.threads import close_pool, pool\nif __name__ == '__main__':\n"
        "    first = pool().submit(os.getpid).result()\n    close_pool()\n"
        "    print(first, pool().submit(os.getpid).result(), flush=True)\n    time.sleep(60)\n"
    )
    asked = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert asked.stdout is not None
    first, second = map(int, asked.stdout.readline().split())
    assert first != second and os.path.exists(f"/proc/{second}")
    asked.send_signal(signal.SIGKILL)
    asked.wait()
    until = time.monotonic() + 20
    while (left := [pid for pid in (first, second) if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
