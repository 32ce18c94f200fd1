"""The house stands: imports point downwards only, and `import minidiff` is instant and offers what it promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minidiff

PACKAGE = Path(minidiff.__file__).parent
MATHS = "checks schedule predict sample"
MAY = {  # what a part of the package may import, besides itself
    "bars": "",
    "checks": "",
    "errors": "",
    "files": "",
    "scale": "",
    "threads": "",
    "draws": "",
    "sentences": "",
    "nn": "checks sentences",
    "data": "bars checks files sentences",
    "schedule": "checks",
    "predict": "checks schedule",
    "sample": "checks schedule predict",
    "measure": f"{MATHS} data",
    "train": f"{MATHS} bars draws errors files scale nn",
    "recipes": f"{MATHS} bars draws files scale threads nn data measure train",
    "sweeps": f"{MATHS} bars files scale nn data measure train recipes",
    "course": f"{MATHS} bars errors files scale nn data measure train recipes sweeps threads __init__",
    "outfile": "files data course",
    "cli": f"{MATHS} errors outfile files scale nn data measure train recipes sweeps threads course __init__",
    "__main__": "cli",
    "__init__": "",  # its names are looked up when first used
}
HOMES = minidiff._HOME  # what `from minidiff import Linear` really imports


def imported(source: str, module: str) -> set[str]:
    """Every module of this package that `source`, the text of `module` ("nn.mlp"), imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: one dot is the module's own package
                parents = ["minidiff", *module.split(".")][: -node.level]
                base = ".".join([*parents, base]).rstrip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names} if base == "minidiff" else {base}
    inside = {name.removeprefix("minidiff.") for name in found if name.startswith("minidiff.")}
    return {HOMES.get(name, name) for name in inside} | {"__init__" for name in found if name == "minidiff"}


def wrong_imports(sources: dict[str, str]) -> list[str]:
    """Each import that does not point downwards, as "module -> imported"."""
    wrong = []
    for module, text in sources.items():
        part = module.split(".")[0]
        for name in sorted(imported(text, module)):
            target = name.split(".")[0]
            if target != part and target not in MAY.get(part, "").split() and part != "__init__":
                wrong.append(f"{module} -> {name}")
    return wrong


def sources() -> dict[str, str]:
    files = sorted(PACKAGE.rglob("*.py"))
    names = (".".join(f.relative_to(PACKAGE).with_suffix("").parts) for f in files)
    return {name: f.read_text() for name, f in zip(names, files, strict=True)}


def test_imports_point_downwards():
    here = sources()
    assert {"schedule", "nn.mlp", "data.toy", "train.fit", "course.check", "recipes.run", "cli"} <= set(here)
    assert {name.split(".")[0] for name in here} <= set(MAY), "a new part: say in MAY what it may import"
    assert wrong_imports(here) == []


@pytest.mark.parametrize(
    "module, text",
    [
        ("nn.mlp", "from minidiff.schedule import expand"),
        ("nn.mlp", "from minidiff import Linear"),
        ("nn.layers", "def f():\n    from ..predict import solve"),
        ("data.toy", "import minidiff.predict"),
        ("data.toy", "from minidiff.nn import mlp"),
        ("data.toy", "import minidiff"),
        ("schedule", "from minidiff.predict import row"),
        ("schedule", "from . import predict"),
        ("predict", "from minidiff.sample import ddim"),
        ("predict", "from minidiff.data.toy import Mixture"),
        ("sample", "from minidiff import train"),
        ("measure.frechet", "from minidiff.train.ema import EMA"),
        ("train.fit", "from minidiff import load"),
        ("recipes.run", "if True:\n    from minidiff.course.plots import show"),
        ("recipes.toy", "from minidiff import sweeps"),
        ("sweeps", "from minidiff import cli"),
        ("course.check", "from minidiff.cli import main"),
    ],
)
def test_an_import_that_points_upwards_is_found(module, text):
    assert len(wrong_imports({module: text})) == 1


def test_imports_that_point_downwards_pass():
    fine = {"nn.mlp": "from .layers import a", "sample": "from minidiff import Linear, Denoiser", "cli": "import torch"}
    assert wrong_imports(fine) == []


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_minidiff_loads_no_torch():
    code = "import sys, minidiff, minidiff.course.start; dir(minidiff); print({'torch', 'numpy'} & {*sys.modules})"
    assert fresh(code) == "set()"


def test_every_public_name_resolves():
    assert len(set(minidiff.__all__)) == len(minidiff.__all__) > 20
    for name in minidiff.__all__:
        assert callable(getattr(minidiff, name)) and name in dir(minidiff)
        home = getattr(minidiff, name).__module__
        assert home == f"minidiff.{HOMES[name]}", f"{name} is at home in {home}"


def test_modules_resolve_and_unknown_names_are_refused():
    assert minidiff.schedule.Linear is minidiff.Linear and minidiff.__version__
    with pytest.raises(AttributeError, match="no 'sampler'; there are: .*ddim"):
        minidiff.sampler  # noqa: B018 (the look-up is the test)
