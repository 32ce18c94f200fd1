"""How fast a DiT trains and samples on this CPU: python data/build/dit_speed.py (needs the extra `peers`).

Writes data/results/dit-speed.json. For each shape, in one run and in turns: our network, our network as published
(in all but two constants the function of diffusers'), diffusers' DiTTransformer2DModel, and with --compile ours
through torch.compile, which needs a C++ compiler. A row has images a second for a training step (forward, backward;
no optimizer) and for a forward pass, the best of all turns, and what share that is of the float32 matmul ceiling, which
is measured between the turns.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable

import diffusers
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor, nn

from minidiff.files import atomic_write, root
from minidiff.nn.dit import PRESETS, DiT
from minidiff.recipes.fashion import unet
from minidiff.recipes.keep import facts
from minidiff.train import flops

SHAPES = {"laptop": ("laptop", 1, 28, 4, 32), "S/4": ("S", 4, 32, 4, 16)}  # preset, channels, side, patch, batch


def theirs(preset: str, channels: int, side: int, patch: int) -> nn.Module:
    """diffusers' network of the same size."""
    width, depth, heads = PRESETS[preset]
    return DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=channels,
        out_channels=2 * channels,
        num_layers=depth,
        sample_size=side,
        patch_size=patch,
        num_embeds_ada_norm=10,
    )


def calls(net: nn.Module, x: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """A training step without optimizer, and a forward pass, on the batch x."""
    label, level = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x))
    steps = torch.zeros(len(x), dtype=torch.long)

    def answer() -> Tensor:
        if isinstance(net, DiTTransformer2DModel):
            return net(x, timestep=steps, class_labels=label).sample
        return net(x, level, label)

    def train() -> None:
        net.zero_grad()
        answer().square().mean().backward()

    def sample() -> None:
        net.eval()
        with torch.no_grad():
            answer()
        net.train()

    return train, sample


def cost(net: nn.Module, channels: int, side: int) -> int:
    """Multiply-adds of one sample; diffusers' network as ours as published, its embeddings a block not counted."""
    if isinstance(net, DiTTransformer2DModel):
        c = net.config
        side, patch, width = side // c.patch_size, c.patch_size**2, c.num_attention_heads * c.attention_head_dim
        parts = flops.dit(width, c.num_layers, side**2, patch * channels, patch * 2 * channels, waves=128)
        return sum(parts.values())
    return sum(flops.of(net, channels, side, side).values())


def seconds(call: Callable[[], object]) -> float:
    clock = time.perf_counter()
    call()
    return time.perf_counter() - clock


def measure(arms: dict[str, nn.Module], x: Tensor, turns: int, macs: dict[str, int]) -> list[dict]:
    """All arms in turns on the batch x; one row each. macs: multiply-adds of each arm on one sample."""
    square = torch.randn(2048, 2048)
    jobs = {name: calls(net, x) for name, net in arms.items()}
    best = {(name, i): float("inf") for name in jobs for i in range(2)}
    ceiling = float("inf")
    for job in jobs.values():
        for call in job:  # to warm up, and to compile
            call()
    for turn in range(turns):
        ceiling = min(ceiling, seconds(lambda: square @ square))
        for name, i in best:
            best[name, i] = min(best[name, i], seconds(jobs[name][i]))
        print(f"\r{turn + 1} of {turns} turns", end="", flush=True)
    print()
    peak, rows = 2 * 2048**3 / ceiling, []
    for name in jobs:
        train, sample = (len(x) / best[name, i] for i in range(2))
        row = {"network": name, "train_per_s": train, "sample_per_s": sample, "n": turns * len(x)}
        row |= {"train_share": 6 * macs[name] * train / peak, "sample_share": 2 * macs[name] * sample / peak}
        rows.append(row | {"peak_gflop_per_s": peak / 1e9, "macs": macs[name]})
    return rows


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--turns", type=int, default=64, help="of each arm")
    words.add_argument("--compile", action="store_true", help="also ours through torch.compile")
    args = words.parse_args()
    if args.turns < 1:
        raise SystemExit(f"--turns {args.turns}: expected 1 or more")
    if args.compile and not (shutil.which("g++") or shutil.which("clang++")):
        raise SystemExit("--compile: torch.compile needs g++ or clang++ here, and there is none")
    about = facts(f"python data/build/dit_speed.py --turns {args.turns}" + " --compile" * args.compile)
    about |= {"torch": torch.__version__, "diffusers": diffusers.__version__}
    rows = []
    for shape, (preset, channels, side, patch, batch) in SHAPES.items():
        torch.manual_seed(0)
        ours = DiT(channels, *PRESETS[preset], patch=patch, classes=10)
        arms = {"minidiff": ours, "minidiff, as published": DiT(channels, *PRESETS[preset], patch, 10, published=True)}
        arms["diffusers"] = theirs(preset, channels, side, patch)
        if args.compile:
            arms["minidiff, compiled"] = torch.compile(ours)
        macs = {name: cost(ours if "compiled" in name else net, channels, side) for name, net in arms.items()}
        rows += [
            {"shape": shape} | r for r in measure(arms, torch.randn(batch, channels, side, side), args.turns, macs)
        ]
    net = unet("laptop").to(memory_format=torch.channels_last)
    arms = {"minidiff": net} | ({"minidiff, compiled": torch.compile(net)} if args.compile else {})
    macs = dict.fromkeys(arms, cost(net, 1, 28))
    rows += [{"shape": "fashion-unet"} | r for r in measure(arms, torch.randn(32, 1, 28, 28), args.turns, macs)]
    for row in rows:
        print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    path = root() / "data" / "results" / "dit-speed.json"
    atomic_write(path, (json.dumps(about | {"rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
