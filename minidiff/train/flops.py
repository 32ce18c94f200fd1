"""What a network costs: multiply-adds of one sample's forward pass, counted from the architecture, part by part.

One multiply-add is one multiplication and the addition that follows it: a linear layer from D to E features costs D E
of them a token, a convolution k^2 times that a pixel. Papers on networks for images count these and call them FLOPs;
peak rates of machines count the two operations apart. So operations = 2 x multiply-adds, and training costs three
times a forward pass, since the backward pass has two products for each of the forward pass's.

Sums over features that are not products of matrices (norms, softmax, activations) are left out, but for one figure:
the published 118.64 G of DiT-XL/2 has one more for each feature that passes a layer norm. `norms` is that part.
"""

import math

from torch import nn

from minidiff.nn.dit import ATTENTION, DiT
from minidiff.nn.text import TextDiT
from minidiff.nn.unet import PixelAttention, UNet


def dit(
    width: int,
    depth: int,
    tokens: int,
    patch: int,
    out: int = 0,
    frames: int = 1,
    attention: str = "full",
    levels: int = 1,
    context: tuple[int, int] = (0, 0),
    waves: int = 64,
    way: str = "cross",
    reads: int = 0,
    places: bool = False,
) -> dict[str, int]:
    """Multiply-adds of a DiT, by part. Example: `sum(dit(1152, 28, 256, 16, out=32).values())` is 118.6e9.

    tokens: of all frames together. patch: numbers in a patch; out: numbers that each token answers with, `patch` if
    left out. frames, levels: of tokens, and noise levels a sample, 1 or `frames`. attention: as in `DiT`. context:
    (words, their size), a word that is always there not counted. way: how the words are told, as in `DiT`; reads:
    blocks of the encoder that reads them. places: as in `DiT`. Reference images are not counted.
    """
    if attention not in ATTENTION:
        raise ValueError(f"attention={attention!r}: expected one of {', '.join(ATTENTION)}")
    words, size = context[0] + 1 if context[1] else 0, context[1]
    place, inside = tokens // frames, words if way in ("joint", "concatenation") else 0  # words that pass the blocks
    pairs = {"full": (tokens + inside) ** 2, "frame": frames * place**2, "time": place * frames**2}
    over = ["frame", "time"] if attention == "factorised" else [attention] * 2
    told = (words - 1) * (size + 12 * reads * width) * width + 2 * reads * (words - 1) ** 2 * width if words else 0
    if words and way == "cross":
        told += depth * 2 * ((tokens + words) * width + tokens * words) * width
    return {
        "patches in and out": tokens * width * (patch + (out or patch)) + places * place * width**2,
        "queries, keys, values, output": depth * 4 * (tokens + inside) * width**2,
        "attention between tokens": sum(2 * pairs[over[i % 2]] * width for i in range(depth)),
        "MLP": depth * 8 * (tokens + inside) * width**2,
        "words": told,
        "noise level and class": levels * ((6 * depth + 2) * width**2 + width**2 + 2 * waves * width)
        + (6 * depth * width**2 if inside else 0),  # words are steered too
    }


def tokens(
    clip: tuple[int, int, int],
    patch: tuple[int, int, int] = (1, 1, 1),
    down: tuple[int, int, int] = (1, 1, 1),
    causal: bool = False,
) -> int:
    """How many tokens a clip makes, (frames, rows, columns); what does not divide is padded.

    down: frames, rows and columns to one latent of an autoencoder; causal: one that keeps the first frame by itself.
    patch: latents (pixels without an autoencoder) to one token. ValueError for sizes below 1.
    Example: `tokens((480, 1080, 1920), patch=(4, 16, 16))` is 979,200.
    """
    if any(len(x) != 3 or min(x) < 1 for x in (clip, patch, down)):
        raise ValueError(f"clip {clip}, patch {patch}, down {down}: expected frames, rows and columns, from 1 up")
    alone = int(causal)
    frames = alone + math.ceil((clip[0] - alone) / down[0])
    latents = frames, math.ceil(clip[1] / down[1]), math.ceil(clip[2] / down[2])
    return math.prod(math.ceil(size / p) for size, p in zip(latents, patch, strict=True))


def norms(width: int, depth: int, tokens: int) -> int:
    """One for each feature that passes a layer norm of a published DiT: what its paper counts too."""
    return (2 * depth + 1) * tokens * width


def unet(net: UNet, height: int, width: int) -> dict[str, int]:
    """Multiply-adds of a U-Net on one image (C, height, width), by part. Example: `unet(UNet(1), 28, 28)`."""
    sizes = [(height // net.patch, width // net.patch)]
    for _ in net.shrink:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    area = [h * w for h, w in sizes]
    down = [area[i // net.blocks] for i in range(len(net.down))]
    up = [area[-1 - i // (net.blocks + 1)] for i in range(len(net.up))]
    parts = {"first and last convolution": convolutions(net.inp, area[0]) + convolutions(net.out, area[0])}
    for name, blocks, areas in (("way down", net.down, down), ("way up", net.up, up)):
        parts[name] = sum(convolutions(block, a) for block, a in zip(blocks, areas, strict=True))
    parts["bottom"] = sum(convolutions(block, area[-1]) for block in net.mid)
    parts["halving and doubling"] = sum(convolutions(conv, a) for conv, a in zip(net.shrink, area[1:], strict=True))
    parts["halving and doubling"] += sum(convolutions(c, a) for c, a in zip(net.grow, area[-2::-1], strict=True))
    told = [net.level, *(block.modulate for block in (*net.down, *net.mid, *net.up))]
    parts["noise level and class"] = sum(linear(module) for module in told)
    looks = zip((*net.look_down, net.look_mid, *net.look_up), (*down, area[-1], *up), strict=True)
    parts["attention"] = 0
    for look, a in looks:
        if isinstance(look, PixelAttention):
            parts["attention"] += a * linear(look) + 2 * a**2 * look.channels
    return parts


def linear(module: nn.Module) -> int:
    """Multiply-adds of all linear layers in a module, of one token."""
    return sum(m.in_features * m.out_features for m in module.modules() if isinstance(m, nn.Linear))


def convolutions(module: nn.Module, area: int) -> int:
    """Multiply-adds of all convolutions in a module whose outputs have `area` pixels."""
    kinds = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return sum(area * m.in_channels * m.out_channels * math.prod(m.kernel_size) for m in kinds)


def of(net: nn.Module, *shape: int, words: int = 0, levels: int = 1) -> dict[str, int]:
    """Multiply-adds of a network of the course on one sample, (C,H,W) or (C,F,H,W), by part.

    words, levels: see `dit`. TypeError for a network that is neither a DiT nor a U-Net, ValueError for a shape that it
    does not take. Example: `sum(of(DiT(1, *PRESETS["laptop"], patch=4), 1, 28, 28).values())`.
    """
    if not isinstance(net, DiT | UNet):
        raise TypeError(f"cannot count a {type(net).__name__}: expected a DiT or a UNet")
    pf, ph, pw = net.patch if isinstance(net, DiT) else (1, net.patch, net.patch)
    frames, height, width = shape[1:] if len(shape) == 4 else (1, *shape[1:]) if len(shape) == 3 else (0, 0, 0)
    bad = frames < 1 or frames % pf or height % ph or width % pw or shape[0] != net.channels
    if bad or (isinstance(net, UNet) and len(shape) == 4):
        raise ValueError(
            f"cannot count a sample of shape {shape}: expected {net.channels} channels, sides {pf, ph, pw}"
        )
    if isinstance(net, UNet):
        return unet(net, height, width)
    return dit(
        width=net.inp.out_features,
        depth=len(net.blocks),
        tokens=(frames // pf) * (height // ph) * (width // pw),
        patch=net.inp.in_features,
        out=net.out.out_features,
        frames=frames // pf,
        attention=net.attention,
        levels=levels,
        context=(words, net.context.in_features if net.context is not None else 0),
        waves=net.level.get_buffer("freq").numel(),
        way=net.way,
        places=net.place is not None,
        reads=len(net.encoder.blocks) if isinstance(net, TextDiT) else 0,
    )
