"""What a sweep is: settings to try, and a function that measures one of them."""

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """`settings()` lists what to try, `measure(**setting)` returns the numbers of one. gpu: it uses one if there is.

    Example: `SWEEPS["calls"].settings()[0]`.
    """

    about: str
    settings: Callable[[], list[Row]]
    measure: Callable[..., Row]
    gpu: bool = False


def pack(images: Tensor) -> str:
    """Images (N,C,H,W) in [-1, 1] as a word for a row's `pixels`: shape, then bytes, compressed.

    Example: `unpack(pack(images))` are the same images to within 1/255.
    """
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    shape = "x".join(map(str, images.shape))
    return f"{shape}:" + base64.b64encode(zlib.compress(levels.numpy().tobytes(), 9)).decode()


def unpack(word: str) -> Tensor:
    """The images (N,C,H,W) of a row's `pixels`. Example: `unpack(recorded("unet-parts").rows[0]["pixels"])`."""
    shape, _, body = word.partition(":")
    levels = torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(body))), dtype=torch.uint8)
    return levels.reshape([int(size) for size in shape.split("x")]).float() / 127.5 - 1
