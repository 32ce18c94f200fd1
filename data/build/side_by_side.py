"""Two U-Nets, the same data, the same seconds: python data/build/side_by_side.py (needs the extra `peers`).

Writes data/results/side-by-side.json. Three arms take turns, ten seconds each, on one machine, until each has had
its seconds of training:

    minidiff          our U-Net, our recipe (row flow on the straight path)
    diffusers net     diffusers' UNet2DModel of about the same size in our recipe: only the network differs
    diffusers recipe  the same network asked for eps on DDPM's table, as in the Hugging Face course, lr 4e-4

Then samples of each, 50 calls of DPM-Solver++(2M), are compared with the 10,000 test images.
"""

import argparse
import json
import time

import torch
from diffusers import UNet2DModel
from torch import nn

from minidiff.data import fashion
from minidiff.evaluate import facts, features, generate
from minidiff.files import atomic_write, root
from minidiff.measure.frechet import frechet, report
from minidiff.measure.neighbours import precision_recall
from minidiff.nn.unet import UNet
from minidiff.predict import Denoiser
from minidiff.schedule import Betas, Linear
from minidiff.train.batches import shuffled
from minidiff.train.fit import fit


class Theirs(nn.Module):
    """diffusers' U-Net under our contract, net(x, ell, cond). No attention, three sizes, as ours."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)):
        super().__init__()
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
        )

    def forward(self, x, ell, cond=None):
        return self.net(x, 1000 * ell.sigmoid()).sample  # a timestep in 0..1000, the level on the straight path


def arms() -> dict[str, tuple[Denoiser, float]]:
    """{name: (fresh denoiser, learning rate)}"""
    torch.manual_seed(0)
    return {
        "minidiff": (Denoiser(UNet(1, 16, (1, 2, 4), 1), Linear(), "flow", fashion.SD), 1e-3),
        "diffusers net": (Denoiser(Theirs(), Linear(), "flow", fashion.SD), 1e-3),
        "diffusers recipe": (Denoiser(Theirs(), Betas(), "eps", fashion.SD), 4e-4),
    }


def train(seconds: float, turn: float, batch: int) -> dict[str, dict]:
    """Train all arms in turns; {name: denoiser with averaged weights, samples, seconds}."""
    images = fashion.load("train")[0]
    runs = {}
    for name, (denoise, lr) in arms().items():
        loop = fit(denoise, shuffled([images], batch), 10**6, lr=lr, every=5, ema=0.998, progress=False)
        runs[name] = {"denoise": denoise, "loop": loop, "seconds": 0.0, "state": None}
    while min(run["seconds"] for run in runs.values()) < seconds:
        for run in runs.values():
            start = time.perf_counter()
            while time.perf_counter() - start < min(turn, seconds - run["seconds"]):
                run["state"] = next(run["loop"])
            run["seconds"] += time.perf_counter() - start
        print({name: (run["state"].step, round(run["seconds"])) for name, run in runs.items()}, flush=True)
    for run in runs.values():
        run["state"].ema.copy_to(run["denoise"].net)
    return runs


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seconds", type=float, default=180, help="of training for each arm")
    words.add_argument("-n", type=int, default=1200, help="samples of each")
    args = words.parse_args()
    runs = train(args.seconds, turn=10, batch=128)
    real, other = (features(fashion.load(split)[0][:10_000]) for split in ("test", "train"))
    rows = []
    for name, run in runs.items():
        denoise = run["denoise"]
        denoise.net.eval().requires_grad_(False)
        clock = time.perf_counter()
        fake = features(generate(denoise, args.n, (1, 28, 28)))
        sampling = time.perf_counter() - clock
        full = report(fake, real, other)
        precision, recall = precision_recall(fake, real[: args.n])
        row = {"arm": name, "parameters": sum(p.numel() for p in denoise.net.parameters()), "n": args.n}
        row |= {"steps": run["state"].step, "training_seconds": run["seconds"], "sampling_seconds": sampling}
        row |= {"frechet": frechet(fake, real), "limit": full.limit, "low": full.low, "high": full.high}
        rows.append(row | {"null": full.null, "precision": precision, "recall": recall})
        print(rows[-1], flush=True)
    about = facts(f"python data/build/side_by_side.py --seconds {args.seconds:g} -n {args.n}")
    path = root() / "data" / "results" / "side-by-side.json"
    atomic_write(path, (json.dumps(about | {"rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
