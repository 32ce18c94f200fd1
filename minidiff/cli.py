"""The command line: `minidiff doctor | recipes | train | sample | evaluate | grade`.

Errors are one line; Ctrl-C loses nothing.
"""

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidiff.errors import clean, noted_interrupts, said, told
from minidiff.threads import share

SWEEP_NAMES = ("targets", "unet-arms", "unet-parts", "unet-states", "variance", "guidance", "data-size", "calls")
SWEEP_NAMES += ("latent-race", "latent-spaces", "dit-race", "dit-patches", "dit-modulation")
SWEEP_NAMES += ("line-masks", "line-patches", "toybox-floors", "toybox-sizes", "text-ways", "text-states")
SWEEP_NAMES += ("video-states", "video-sampling", "video-failures", "video-again", "video-doubles")


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(prog="minidiff", description="Diffusion models, small enough to read.")
    verbs = top.add_subparsers(
        dest="verb", required=True, metavar="doctor | recipes | train | sample | evaluate | grade"
    )
    doctor = verbs.add_parser("doctor", help="check this machine and the shipped files")
    doctor.add_argument("--licences", action="store_true", help="only list the licences of what ships")
    verbs.add_parser("recipes", help="every model: trained on what, metric against target, what is owed a GPU run")
    train = verbs.add_parser("train", help="train a recipe; run it again to resume")
    train.add_argument("name")
    train.add_argument("--scale", choices=("smoke", "laptop", "gpu"))
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override steps, batch, lr, ema, seed ..."
    )
    train.add_argument(
        "--ship", action="store_true", help="evaluate at the end, and replace the shipped weights if better"
    )
    train.add_argument(
        "--compile", action="store_true", help="with torch.compile: needs a C++ compiler, pays after some minutes"
    )
    train.add_argument(
        "--bfloat16", action="store_true", help="matrix products in bfloat16 on a CPU too: pays on one with AMX"
    )
    train.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="begin with the weights of this checkpoint, of the recipe or of the one that it begins with",
    )
    sample = verbs.add_parser("sample", help="draw samples from shipped weights into a picture or film")
    sample.add_argument("name")
    sample.add_argument(
        "prompt",
        nargs="?",
        help="a sentence, or a class by name or number (default: all classes, or examples, in turn)",
    )
    sample.add_argument("-n", type=int, help="how many (default 40, of a sentence 4)")
    sample.add_argument("--steps", type=int, help="steps a sample (default 50, of a sentence 20)")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "-w", type=float, help="guidance weight: 1 plain, 2 to 4 more typical (default: the model's own)"
    )
    sample.add_argument("--checkpoint", type=Path, help="other weights of the same recipe")
    sample.add_argument(
        "-o", "--out", type=Path, help="a .png file, of clips .mp4, .webm, .gif or .webp (default outputs/NAME)"
    )
    evaluate = verbs.add_parser("evaluate", help="measure a recipe's weights, or run a sweep; run it again to go on")
    evaluate.add_argument("name", help="a recipe (minidiff recipes), or a sweep: " + ", ".join(SWEEP_NAMES))
    evaluate.add_argument("-n", type=int, help="how many samples of an image model (default 2,000, of emoji 1,000)")
    evaluate.add_argument("--checkpoint", type=Path, help="other weights than the shipped ones")
    evaluate.add_argument("--ship", action="store_true", help="ship that checkpoint if it is better")
    evaluate.add_argument("--record", action="store_true", help="write data/results/NAME.json, and the shipped header")
    grade = verbs.add_parser("grade", help="run again what students recorded in lab mode, and write a table")
    grade.add_argument("folder", type=Path, help="holds STUDENT.jsonl, or STUDENT/progress.jsonl, of each student")
    grade.add_argument("-o", "--out", type=Path, help="a .csv file (default outputs/grades.csv)")
    grade.add_argument("--seconds", type=float, default=60.0, help="the most that an answer may take (default 60)")
    grade.add_argument("--memory", type=float, default=4.0, metavar="GB", help="the most that it may use (default 4)")
    grade.add_argument("--seed", type=int, help="of the inputs, to repeat a grading (default: fresh ones)")
    return top


def grading(args: argparse.Namespace) -> int:
    """`minidiff grade FOLDER`."""
    from minidiff.checks import SEEDS, number, whole
    from minidiff.course.grade import report
    from minidiff.files import outputs
    from minidiff.outfile import refuse

    number("--seconds", args.seconds, 0, 86_400, above=True)
    number("--memory", args.memory, 0, 1_024, above=True)
    seed = None if args.seed is None else whole("--seed", args.seed, 0, SEEDS)
    out = refuse(args.out or outputs() / "grades.csv", (".csv",))
    return report(args.folder, out, args.seconds, args.memory, seed)


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """`["lr=1e-3"]` as a dictionary; ValueError for a word without '='."""
    for word in settings:
        if "=" not in word:
            raise ValueError(f"--set {word}: expected KEY=VALUE, e.g. --set steps=500")
    return dict(word.split("=", 1) for word in settings)


def print_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    """One line a metric: value, interval, n."""
    for name, row in metrics.items():
        interval = f" [{row['low']:.4f}, {row['high']:.4f}]" if "low" in row else ""
        rest = "".join(f", {k} {v}" for k, v in row.items() if k not in ("value", "low", "high"))
        print(f"  {name}: {row['value']:.4f}{interval}{rest}")


def train(args: argparse.Namespace) -> int:
    """`minidiff train NAME`."""
    from minidiff.recipes import keep, run

    clock = time.perf_counter()
    path: Any
    *_, path = run.train(args.name, args.scale, pairs(args.set), args.compile, args.start, args.bfloat16)
    print(f"{args.name}: trained in {time.perf_counter() - clock:.0f} s, weights in {path}")
    if args.ship:
        metrics = run.evaluate(args.name, path)
        print_metrics(metrics)
        print(keep.ship(path, metrics)[1])
    else:
        print(f"measure it: minidiff evaluate {args.name} --checkpoint {path}")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """`minidiff evaluate NAME`."""
    from minidiff import recipes
    from minidiff.recipes import keep, run

    if args.name in SWEEP_NAMES:
        return sweep(args)
    if args.record and args.checkpoint:
        raise ValueError("--record is for the shipped weights: leave out --checkpoint, or --ship that file first")
    metrics = run.evaluate(args.name, args.checkpoint, args.n)
    row = recipes.get(args.name)
    print(f"{args.name} ({row.metric}, target {row.target:g}, {row.better} is better)")
    print_metrics(metrics)
    if args.ship:
        print(keep.ship(args.checkpoint or run.shipped(args.name), metrics)[1])
    if args.record:
        size = f" -n {args.n}" if args.n else ""
        print("written:", keep.record(args.name, metrics, f"minidiff evaluate {args.name}{size} --record"))
    return 0


def sweep(args: argparse.Namespace) -> int:
    """`minidiff evaluate SWEEP`: its rows as a table, as they come."""
    from minidiff import sweeps

    if args.checkpoint or args.ship or args.n is not None:
        raise ValueError(f"{args.name} is a sweep: it knows its sizes, and takes --record only")
    print(f"{args.name}: {sweeps.SWEEPS[args.name].about}")
    for row in sweeps.run(args.name):
        words = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if k != "pixels"}
        print("  " + ", ".join(f"{k} {v}" for k, v in words.items()))
    if args.record:
        print("written:", sweeps.record(args.name))
    return 0


def sample(args: argparse.Namespace) -> int:
    """`minidiff sample NAME [PROMPT]`: a grid of images, of clips a film of it, or for a toy model a scatter plot."""
    from minidiff import recipes
    from minidiff.files import outputs
    from minidiff.outfile import picture, refuse
    from minidiff.recipes.ask import generate

    films, row, clock = (".mp4", ".webm", ".gif", ".webp"), recipes.get(args.name), time.perf_counter()
    n, steps = (own if asked is None else asked for own, asked in zip(row.shows, (args.n, args.steps), strict=True))
    moves = row.frames > 1
    path = refuse(args.out or outputs() / f"{args.name}{'.mp4' if moves else '.png'}", (".png", *films))
    if moves != (path.suffix.lower() in films):
        kind, wanted = ("clips", ", ".join(films)) if moves else ("still pictures", ".png")
        raise ValueError(f"-o {path}: {args.name} makes {kind}: expected {wanted}")
    x = generate(args.name, args.prompt, n, steps, args.w, args.seed, path=args.checkpoint)
    picture(x, path, f"{n} samples of {args.name}")
    took = f"{time.perf_counter() - clock:.1f} s"
    print(f"{n} samples of {args.name}, {steps} steps each: {took}, {path}")
    return 0


def list_recipes(args: argparse.Namespace) -> int:
    """`minidiff recipes`: a table, and the commands that are owed."""
    from minidiff import recipes
    from minidiff.recipes import run
    from minidiff.train.checkpoint import CheckpointError, read_header

    owed = []
    print(
        f"{'recipe':20}{'shipped':14}{'trained on':24}{'metric':42}{'value':>9}{'target':>9}{'':9}{'bytes/budget':>22}"
    )
    for row in recipes.ROWS:
        path = run.shipped(row.name)
        why, line = "", f"{row.name:20}"
        try:
            header = read_header(path)
            value = header.get("metrics", {}).get(row.metric, {}).get("value", float("nan"))
            reached, at = math.isfinite(value) and row.meets(value), header.get("scale", "?")
            line += f"{at:14}{clean(header.get('device', '?'))[:22]:24}{row.metric:42}{value:9.4f}{row.target:9.4f}"
            line += f"{'  met' if reached else '  missed':9}{path.stat().st_size:>11,}/{row.budget:,}"
            if not {at, header.get("start", {}).get("scale")} & {"gpu"}:
                why = "trained at " + at + " scale" + ("" if reached else ", target missed")
            elif not reached:
                why = "target missed"
        except CheckpointError:
            why = "damaged: restore it with 'git checkout -- data'" if path.exists() else "not shipped"
            line += why.partition(":")[0] if path.exists() else "no"
        print(line)
        if why:
            owed.append(f"  minidiff train {row.name} --scale gpu --ship    # {why}; {row.about}")
    print("\nowed a GPU run:" if owed else "\nnothing is owed a GPU run")
    print("\n".join(owed))
    return 0


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; a prompt may stand after options too, which argparse does not see by itself."""
    args, rest = parser().parse_known_args(argv)
    rest = [word for word in rest if word != "--"]
    if args.verb == "sample" and args.prompt is None and len(rest) == 1 and not rest[0].startswith("-"):
        args.prompt, rest = rest[0], []
    if rest:
        words = args.verb == "sample" and not any(word.startswith("-") for word in rest)
        parser().error(f"unrecognized: {' '.join(rest)}" + " (a sentence stands in quotation marks)" * words)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. Example: `main(["sample", "fashion-unet", "-n", "4"])`."""
    args = parsed(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name with odd characters is printed oddly, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    pressed = noted_interrupts()
    try:
        status = run(args)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk or a closed pipe is told here, not by the interpreter at its end
        return status
    except KeyboardInterrupt as stop:
        return told(f"\n{str(stop) or 'stopped'}; run the same command again to go on", 130)
    except Exception as error:
        if pressed:  # while a library was being loaded, which tells that in words of its own
            return told("\nstopped; run the same command again to go on", 130)
        if os.environ.get("MINIDIFF_DEBUG"):
            raise
        return told(f"minidiff {args.verb}: {said(error)}", 1)


def run(args: argparse.Namespace) -> int:
    """The verb that was asked for."""
    share()
    if args.verb == "doctor":
        from minidiff.course.doctor import doctor

        return doctor(args.licences)
    verbs = {"recipes": list_recipes, "train": train, "sample": sample, "evaluate": evaluate, "grade": grading}
    return verbs[args.verb](args)
