"""minidiff: diffusion models from one noisy number to video, small enough to read.

The names below are the public API; each is imported when first used, so that `import minidiff` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "schedule": "Linear Cosine VP Karras Betas add_noise ell expand uniform_grid rho_grid shifted",
    "predict": "Denoiser exact_denoiser guide loss row det solve score",
    "sample": "ddim euler heun dpmpp_2m prior last slerp",
    "scale": "pick",
    "train.fit": "fit",
    "train.batches": "shuffled fresh",
    "recipes.run": "load",
    "recipes.ask": "generate",
}
_HOME = {name: module for module, names in _WHERE.items() for name in names.split()}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"minidiff.{_HOME[name]}"), name)
    try:
        return import_module(f"minidiff.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"minidiff.{name}":
            raise
        raise AttributeError(f"minidiff has no {name!r}; there are: {', '.join(__all__)}") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
