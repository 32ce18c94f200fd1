"""One call from a name and a sentence to pictures or clips: `minidiff.generate`."""

from pathlib import Path
from typing import Any

import torch

from minidiff import recipes
from minidiff.checks import SEEDS, fits, whole
from minidiff.predict import LARGEST_W
from minidiff.recipes import run

STEPS, FRAMES = 1_000, 96  # the most: of a sampler, and of a clip (eight times what any model here has seen)


def generate(
    name: str,
    prompt: str | None = None,
    n: int = 4,
    steps: int = 20,
    w: float | None = None,
    seed: int = 0,
    *,
    frames: int | None = None,
    attention: bool = False,
    path: Path | str | None = None,
    device: str | torch.device | None = None,
) -> Any:
    """n samples of a model of the course, (n, ...) in [-1, 1] on the CPU: stills (n,C,H,W), clips (n,C,F,H,W), points.

    prompt: a sentence for a model that reads, a class by name or number for one with classes; without one all classes,
    or a few sentences, in turn. w: guidance, by default the model's own. seed: the same one gives the same samples.
    frames: how many a clip has, for a model that reads (it was trained on 12). attention: such a model answers with
    `Looks(samples, words, heat)`, where heat (n,L,F,rows,columns) says how much each patch looked at each word.
    path: another checkpoint. device: default the GPU where there is one. What belongs to a model, its text encoder or
    its autoencoder, comes along.
    KeyError for an unknown name; ValueError for a sentence that the model cannot know, a class that it does not have,
    a number out of its bounds, and more than fits into memory; CheckpointError as `load` says.
    Example: `generate("toybox-video", "a red circle bounces", n=4)` is (4, 3, 12, 32, 32).
    """
    row = recipes.get(name)
    if row.draw is None:
        drawing = ", ".join(other.name for other in recipes.ROWS if other.draw)
        raise ValueError(f"{name} has nothing to sample; these have: {drawing}")
    whole("n", n, 1, 1_000_000)
    whole("steps", steps, 1, STEPS)
    whole("seed", seed, 0, SEEDS)
    more: dict[str, Any] = {"attention": True} if attention else {}
    more |= {} if frames is None else {"frames": whole("frames", frames, 1, FRAMES)}
    if more and not row.reads:
        raise ValueError(f"{name} reads no sentences: it takes no {' and no '.join(more)}")
    long = frames or row.frames
    fits(f"n={n:,} of {long} frame{'s' * (long > 1)}", n * long * row.pixels)
    w = row.w if w is None else w
    if not 0 <= w <= LARGEST_W:  # also false for NaN; before anything is loaded
        raise ValueError(f"guidance weight w={w}: expected 0 (no words), 1 (plain), 2 to 10 (guided), 1,000 at most")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return row.draw(run.load(name, path, device), n, steps, seed, prompt, w, **more)
