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

from minidiff.checks import nonfinite
from minidiff.errors import clean
from minidiff.files import atomic_write
from minidiff.scale import SCALES

Header = dict[str, Any]
LARGEST, MOST = 2**31, 100_000  # bytes and tensors of the largest training state
LONGEST, DEEPEST = 1_000_000, 20  # characters of a header, and trainings in it, each begun with the one before
LARGEST_NUMBER = 1e15
KINDS: dict[str, Any] = {  # what stands in a header, if it does
    "sha256": str, "recipe": str, "scale": str, "device": str, "date": str, "revision": str, "kind": str,
    "metrics": dict, "settings": dict, "identity": dict, "note": dict, "needs": dict, "start": dict, "idle": list,
    "samples": int, "steps": int, "step": int, "batch": int, "parameters": int, "seconds": int | float,
    "loss": int | float,
}  # fmt: skip
DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


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


def refuse_size(path: Path, largest: int) -> None:
    """CheckpointError for what is no regular file, for an empty one, and for one larger than any of ours."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name a checkpoint in it")
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; train it with 'minidiff train', or restore it with git")
    if not path.is_file():
        raise CheckpointError(f"{path} is no regular file (a pipe or a device): name a checkpoint")
    if (size := path.stat().st_size) > largest:
        raise CheckpointError(f"{path} has {size:,} bytes, more than the {largest:,} that it may have: not read")


def read_header(path: Path) -> Header:
    """The header alone, without reading the tensors. CheckpointError for anything that is not our file."""
    path = Path(path)
    try:
        refuse_size(path, LARGEST)
        with open(path, "rb") as file:
            start = file.read(9)
        # safetensors: 8 bytes of length, which may look like anything, then the "{" of its JSON
        if len(start) == 9 and start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
            raise CheckpointError(
                f"{path} is a pickle, which can run code when opened; minidiff reads safetensors only"
            )
        with safe_open(path, "pt") as file:
            metadata, many = file.metadata() or {}, len(file.keys())
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file ({clean(error)}): restore it") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): look at its permissions") from error
    if many > MOST:
        raise CheckpointError(f"{path} holds {many:,} tensors, more than {MOST:,}: no network here has so many")
    if "minidiff" not in metadata:
        raise CheckpointError(f"{path} has no minidiff header: it was not written by 'minidiff train'")
    return parsed(metadata["minidiff"], path)


def parsed(text: str, path: Path) -> Header:
    """The header of a file from its JSON; CheckpointError for one that no training of ours wrote."""
    odd = f"{path} has a header that 'minidiff train' does not write"
    if len(text) > LONGEST:
        raise CheckpointError(f"{odd}: {len(text):,} characters, the most are {LONGEST:,}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, a number of 5,000 digits, ten thousand brackets
        raise CheckpointError(f"{odd} ({type(error).__name__}: {str(error)[:80]}): restore it") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{odd}: a {type(header).__name__} where names and values were expected")
    part: Any = header
    for depth in range(DEEPEST + 1):  # a training that began with another one holds that one's header
        if not isinstance(part, dict):
            raise CheckpointError(f"{odd}: start={str(part)[:40]!r}")
        for key, kind in KINDS.items():
            value, there = part.get(key), key in part or (key == "sha256" and depth == 0)
            if there and (not isinstance(value, kind) or isinstance(value, bool)):
                raise CheckpointError(f"{odd}: {key}={str(value)[:40]!r}")
            if key == "scale" and there and value not in SCALES:
                raise CheckpointError(f"{odd}: scale={str(value)[:40]!r}, expected {', '.join(SCALES)}")
            if isinstance(value, int | float) and not 0 <= value <= LARGEST_NUMBER and key != "loss":
                raise CheckpointError(f"{odd}: {key}={str(value)[:40]}")
        for name, row in part.get("metrics", {}).items():
            value = row.get("value", 0.0) if isinstance(row, dict) else None
            if not isinstance(value, int | float) or abs(value) > LARGEST_NUMBER:
                raise CheckpointError(f"{odd}: metric {name[:40]!r} is {str(row)[:40]!r}")
        if "start" not in part:
            return header
        part = part["start"]
    raise CheckpointError(f"{odd}: more than {DEEPEST} trainings, each begun with the one before")


def read(path: Path, recipe: str | None = None, largest: int = LARGEST) -> tuple[dict[str, Tensor], Header]:
    """Tensors and header, the hash checked; CheckpointError when damaged, when made by another recipe than `recipe`,
    when a weight is NaN or infinite, or the file has more than `largest` bytes.

    Example: `tensors, header = read(Path("data/checkpoints/toy-mlp.safetensors"), "toy-mlp")`.
    """
    header = read_header(path)
    refuse_size(Path(path), largest)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({clean(error)[:120]}): restore it") from error
    if odd := [name for name, value in tensors.items() if value.dtype not in DTYPES]:
        raise CheckpointError(f"{path}: {shown(odd)} of a type that no network here has, {tensors[odd[0]].dtype}")
    if tensor_hash(tensors) != header.get("sha256"):
        raise CheckpointError(f"{path}: the tensors do not match the header's sha256, the file was changed: restore it")
    if recipe is not None and header.get("recipe") != recipe:
        raise CheckpointError(f"{path} was made by recipe {str(header.get('recipe'))[:60]!r}, expected {recipe!r}")
    if bad := [name for name, value in tensors.items() if value.is_floating_point() and nonfinite(value)]:
        raise CheckpointError(f"{path}: NaN or infinite values in {shown(bad)}: its training went astray, train again")
    return tensors, header


def shown(names: list[str]) -> str:
    """The first three of many names, none of them longer than a line. Example: `shown(["a", "b", "c", "d"])`."""
    return ", ".join(clean(name if len(name) <= 60 else f"{name[:57]}...") for name in names[:3])


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
    odd += [
        f"{n} of {tensors[n].dtype}"
        for n in own
        if n in tensors and own[n].is_floating_point() and not tensors[n].is_floating_point()
    ]
    missing = [] if partly else missing
    if missing or extra or odd:
        parts = [
            f"{label}: {shown(names)}"
            for label, names in (("missing", missing), ("unexpected", extra), ("wrong shape", odd))
            if names
        ]
        raise CheckpointError(
            f"{source} does not fit this network ({'; '.join(parts)}): was it trained at another scale or recipe?"
        )
    cast = {name: value.to(own[name].dtype) for name, value in (own | tensors).items()}
    if bad := [name for name, value in cast.items() if value.is_floating_point() and nonfinite(value)]:
        raise CheckpointError(f"{source}: {shown(bad)} is beyond the numbers of {own[bad[0]].dtype}: train again")
    net.load_state_dict(cast)
