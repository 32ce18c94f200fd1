"""What holds for every test: smoke scale, one thread, a learner's files untouched, no skip without reason."""

import os

import pytest

os.environ.setdefault("MINIDIFF_SCALE", "smoke")
# Set before torch is imported. With one thread, results do not depend on the number of cores, and notebooks
# that run two at a time do not fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


LONG = ["notebooks", "verifier", "sweeps", "recipes", "toybox", "train", "words", "setup", "video", "plots"]


def pytest_collection_modifyitems(items):
    """Files that take long come first: each is run by one core, and at the end none should wait for another's."""
    place = {f"test_{name}.py": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """Answers and bets made in a test go to a file that dies with it."""
    monkeypatch.setenv("MINIDIFF_PROGRESS", str(tmp_path / "progress.jsonl"))


def refuse_bare_skip(report):
    """Turn a skip without a reason into a failure; a skip's `longrepr` is (file, line, "Skipped: why")."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped").lstrip(": ").strip()
        if reason in ("", "unconditional skip", "<Skipped instance>"):  # the last two are pytest's own words
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: skipped without a stated reason. Say why: pytest.skip('...')"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    return refuse_bare_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    return refuse_bare_skip((yield))
