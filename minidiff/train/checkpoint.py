"""Weights on disk: safetensors, with a JSON header that says where they come from and a hash that says they are whole.

A file has one metadata entry, `minidiff`, holding the header; `sha256` in it covers names, types, shapes and bytes of
all tensors. Files are written to a neighbour and moved into place: a crash leaves no half file. No pickle is opened.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from minidiff.files import atomic_write

Header = dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint that cannot be trusted or does not fit: the message names the file, the reason and the remedy."""


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order of names. Example: `tensor_hash({"w": w})`."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def write(path: Path, tensors: dict[str, Tensor], header: Header) -> None:
    """Write tensors and header atomically; `sha256` is added to the header.

    Example: `write(path, net.state_dict(), {"recipe": "x"})`.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({**header, "sha256": tensor_hash(tensors)}, indent=1)
    atomic_write(Path(path), save(tensors, metadata={"minidiff": text}))


def read_header(path: Path) -> Header:
    """The header alone, without reading the tensors. CheckpointError for anything that is not our file."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; train it with 'minidiff train', or restore it with git")
    with open(path, "rb") as file:
        start = file.read(9)
    # safetensors: 8 bytes of length, which may look like anything, then the "{" of its JSON
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise CheckpointError(f"{path} is a pickle, which can run code when opened; minidiff reads safetensors only")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file ({error}): restore it") from error
    try:
        return json.loads(metadata["minidiff"])
    except (KeyError, json.JSONDecodeError):
        raise CheckpointError(f"{path} has no minidiff header: it was not written by 'minidiff train'") from None


def read(path: Path, recipe: str | None = None) -> tuple[dict[str, Tensor], Header]:
    """Tensors and header, the hash checked; CheckpointError when damaged, or when made by another recipe than
    `recipe`.

    Example: `tensors, header = read(Path("data/checkpoints/toy-mlp.safetensors"), "toy-mlp")`.
    """
    header = read_header(path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if tensor_hash(tensors) != header.get("sha256"):
        raise CheckpointError(f"{path}: the tensors do not match the header's sha256, the file was changed: restore it")
    if recipe is not None and header.get("recipe") != recipe:
        raise CheckpointError(f"{path} was made by recipe {header.get('recipe')!r}, expected {recipe!r}")
    return tensors, header


def verify(path: Path) -> Header:
    """Read the whole file and return its header; CheckpointError when it is damaged or foreign."""
    return read(path)[1]


def load_into(net: torch.nn.Module, tensors: dict[str, Tensor], source: str, partly: bool = False) -> None:
    """Copy tensors into the network, in its own dtype; CheckpointError naming what is missing, odd or misshapen.

    partly: the network may have more than the tensors reach, and keeps it as it is.
    """
    own = net.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    odd = [
        f"{n} {tuple(tensors[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    ]
    missing = [] if partly else missing
    if missing or extra or odd:
        parts = [
            f"{label}: {', '.join(names[:3])}"
            for label, names in (("missing", missing), ("unexpected", extra), ("wrong shape", odd))
            if names
        ]
        raise CheckpointError(
            f"{source} does not fit this network ({'; '.join(parts)}): was it trained at another scale or recipe?"
        )
    net.load_state_dict({name: value.to(own[name].dtype) for name, value in (own | tensors).items()})
