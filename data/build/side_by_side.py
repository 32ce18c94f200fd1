"""Two U-Nets, the same data, the same seconds: python data/build/side_by_side.py (needs the extra `peers`).

Writes data/results/side-by-side.json. The arms take turns, ten seconds each, on one machine, until each has had its
seconds of training:

    minidiff     our U-Net and our recipe (the row `fashion-unet`)
    diffusers    diffusers' UNet2DModel of about as many parameters, in our recipe: only the network differs

Then samples of each, 25 calls of DPM-Solver++(2M), one class after another, are compared with the 10,000 test images.
"""

import argparse
import json
import time

import torch
from diffusers import UNet2DModel
from torch import nn

from minidiff import recipes
from minidiff.data import fashion
from minidiff.files import atomic_write, root
from minidiff.recipes.keep import facts
from minidiff.sweeps.unet import CLASSES, SHAPE, clothes, fresh_unet, judged, mflop
from minidiff.train.batches import shuffled
from minidiff.train.fit import fit


class Label(nn.Module):
    """Where our denoiser looks for the null label."""

    null = CLASSES


class Theirs(nn.Module):
    """diffusers' U-Net under our contract, net(x, ell, cond). No attention, three sizes, as ours."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96)):
        super().__init__()
        self.label = Label()
        self.net = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            block_out_channels=widths,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=8,
            add_attention=False,
            num_class_embeds=CLASSES + 1,
        )

    def forward(self, x, ell, cond=None):
        cond = torch.full((len(x),), CLASSES) if cond is None else cond
        return self.net(x, 1000 * ell.sigmoid(), cond).sample  # a timestep in 0..1000, the level on the straight path


def theirs() -> nn.Module:
    """A seeded one, in the layout of memory that ours has."""
    torch.manual_seed(0)
    return Theirs().to(memory_format=torch.channels_last)


def train(seconds: float, turn: float, batch: int) -> dict[str, dict]:
    """Train both arms in turns; {name: denoiser with averaged weights, seconds, last state}."""
    data, runs = fashion.load("train"), {}
    for name, net in (("minidiff", fresh_unet(**SHAPE)), ("diffusers", theirs())):
        options = {"loss": recipes.get("fashion-unet").loss, "every": 5, "ema": 0.99, "progress": False}
        loop = fit(clothes(net), shuffled(data, batch), 10**6, **options)
        runs[name] = {"net": net, "loop": loop, "seconds": 0.0, "state": None}
    while min(run["seconds"] for run in runs.values()) < seconds:
        for run in runs.values():
            start = time.perf_counter()
            while time.perf_counter() - start < min(turn, seconds - run["seconds"]):
                run["state"] = next(run["loop"])
            run["seconds"] += time.perf_counter() - start
        print({name: (run["state"].step, round(run["seconds"])) for name, run in runs.items()}, flush=True)
    for run in runs.values():
        run["state"].ema.copy_to(run["net"])
    return runs


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seconds", type=float, default=120, help="of training for each arm")
    words.add_argument("-n", type=int, default=1200, help="samples of each")
    args = words.parse_args()
    about, rows = facts(f"python data/build/side_by_side.py --seconds {args.seconds:g} -n {args.n}"), []
    for name, run in train(args.seconds, turn=10, batch=32).items():
        net = run["net"].eval().requires_grad_(False)
        row = {"arm": name, "parameters": sum(p.numel() for p in net.parameters()), "mflop": mflop(net)}
        row |= {"steps": run["state"].step, "training_seconds": run["seconds"]}
        clock = time.perf_counter()
        row |= judged(clothes(net), args.n, 25)
        rows.append(row | {"sampling_seconds": time.perf_counter() - clock})
        print(rows[-1], flush=True)
    path = root() / "data" / "results" / "side-by-side.json"
    atomic_write(path, (json.dumps(about | {"rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
