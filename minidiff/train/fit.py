"""One training loop, as a generator: you write `for state in fit(...)`, and plot, sample or stop inside the loop.

Everything random in step k comes from a generator seeded by (seed, k), and the batch is a function of k alone. So a
run is its weights, its optimizer, its average and one number, the step: killed at any moment and started again, it
repeats exactly (bit for bit on a CPU with a fixed number of threads) what the uninterrupted run does.
"""

import json
import math
import time
from collections.abc import Callable
from collections.abc import Generator as Yielding
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from minidiff import predict
from minidiff.bars import tqdm
from minidiff.checks import SEEDS, level, number, whole
from minidiff.draws import normal
from minidiff.files import named
from minidiff.schedule import shifted
from minidiff.train.batches import Batch, own_numbers, step_generator
from minidiff.train.ema import EMA
from minidiff.train.resume import deferred_interrupt, held, open_log, restore_state, save_state
from minidiff.train.tally import Tally

Loss = Callable[[Any, Batch, Generator], tuple[Tensor, Tensor]]


@dataclass
class State:
    """What `fit` yields. Losses are means since the last yield.

    `levels[i]` is the loss for t in [i/5, (i+1)/5), NaN where no such t was drawn.
    """

    step: int
    loss: float
    levels: list[float]
    grad_norm: float
    lr: float
    samples_per_s: float
    samples: int
    ema: EMA = field(repr=False)

    def line(self) -> str:
        """The state as one line of JSON, without the weights; NaN is written as null."""
        row = {k: v for k, v in vars(self).items() if k != "ema"}
        row["levels"] = [None if math.isnan(v) else round(v, 6) for v in self.levels]
        return json.dumps(row)


def uniform(n: int, generator: Generator) -> Tensor:
    """n noise levels, each as likely as any other, (n,). Example: `uniform(4, torch.Generator())`."""
    return torch.rand(n, generator=generator)


def logit_normal(n: int, generator: Generator) -> Tensor:
    """n noise levels with their middle favoured, (n,): the logistic function of unit normal numbers.

    Source: Esser et al. 2024, arXiv 2403.03206, section 3.1. Example: `logit_normal(4, torch.Generator())`.
    """
    return torch.randn(n, generator=generator).sigmoid()


def noisier(n: int, generator: Generator) -> Tensor:
    """n noise levels for clips, (n,): those of `logit_normal`, `shifted` by 3. Example: `noisier(4, Generator())`."""
    return shifted(logit_normal(n, generator), 3.0)


def held_below(t: Tensor, floor: float = 0.05) -> Tensor:
    """A weight for the row x0 in the space of flow, whose factor on `Linear` is 1/t^2: held at 1/floor^2 from there.

    Without it a few nearly clean samples would outweigh all others. Source: Li & He 2025, arXiv 2511.13720.
    Example: `fit(denoise, batch, 1000, loss=partial(denoising_loss, space="flow", weight=held_below))`.
    """
    return (t / floor).clamp(max=1) ** 2


def denoising_loss(
    denoise: predict.Denoiser,
    batch: Batch,
    generator: Generator,
    drop: float = 0.0,
    space: str | None = None,
    weight: Callable[[Tensor], Tensor] | None = None,
    levels: Callable[[int, Generator], Tensor] = uniform,
    apart: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The default loss: t uniform in [0, 1], unit noise, mean squared error of y. Returns losses and levels, (B,) each,
    or (B,F) levels.

    batch: (x0,), (x0, labels (B,)) or (x0, word numbers (B,L)). drop: the share of labels or sentences replaced by the
    network's null label, so that one network learns both sides of guidance (Ho & Salimans 2022, arXiv 2207.12598,
    algorithm 1). space, weight: `predict.loss`.
    levels: how t is drawn, `uniform`, `logit_normal` or `noisier`. apart: the share of batches of clips (B,C,F,H,W) in
    which every frame has a level of its own (Chen et al. 2024, arXiv 2407.01392); in the others a clip has one.
    Example: `fit(denoise, shuffled([x0, labels], 128), 1000, loss=partial(denoising_loss, drop=0.1))`.
    """
    x0, cond = batch[0], batch[1] if len(batch) > 1 else None
    if not 0 <= apart <= 1 or (apart and x0.ndim != 5):
        raise ValueError(f"apart={apart} for data of shape {tuple(x0.shape)}: expected a share, and 0 but for clips")
    frames = x0.shape[2] if apart and float(torch.rand((), generator=generator)) < apart else 0
    t = level(levels(len(x0) * max(1, frames), generator)).to(x0)
    t = t.view(len(x0), frames) if frames else t  # (B, F) or (B,)
    t = t.clamp_min(1e-5) if space else t  # the factor between two rows may be infinite where nothing is hidden
    eps = normal(x0, generator)
    if not 0 <= drop <= 1 or (drop and getattr(denoise, "null", None) is None):
        raise ValueError(f"drop={drop}: expected a share from 0 to 1, and 0 for a network without classes")
    if drop and cond is not None:
        hidden = (torch.rand(len(x0), generator=generator) < drop).to(cond.device)
        cond = torch.where(
            hidden.view(-1, *[1] * (cond.ndim - 1)), torch.as_tensor(denoise.null, device=cond.device), cond
        )
    return predict.loss(denoise, x0, eps, t, cond, space, weight), t


def diverged(step: int, lr: float) -> FloatingPointError:
    """What is raised where a loss or a weight is NaN or infinite. Example: `raise diverged(300, 1e-3)`."""
    return FloatingPointError(
        f"loss or weights are not finite near step {step}: lower lr (now {lr:g}), or look for NaN in the data; "
        "nothing of it was saved"
    )


def check_settings(
    *, lr: float = 1e-3, warmup: int = 0, decay_from: float = 1.0, clip: float = 1.0, weight_decay: float = 0.0,
    ema: float = 0.999, seed: int = 0, steps: int = 1, every: int = 1, save_every: int = 1
) -> None:  # fmt: skip
    """ValueError, with the range that is allowed, for a setting of `fit` that is out of it.

    Example: `check_settings(lr=1e-3)`.
    """
    number("lr", lr, 0, 1e30, above=True)
    whole("warmup", warmup, 0, 10**9)
    number("decay_from", decay_from, 0, 1)
    number("clip", clip, 0, 1e30, above=True)
    number("weight_decay", weight_decay, 0, 1e6)
    number("ema", ema, 0, 1, below=True)
    whole("seed", seed, 0, SEEDS)
    for name, value in (("steps", steps), ("every", every), ("save_every", save_every)):
        whole(name, value, 1, 10**9)


def learning_rate(step: int, steps: int, lr: float, warmup: int, decay_from: float) -> float:
    """Linear warm-up over `warmup` steps, constant, then linear to 0 over the last `1 - decay_from` of the run."""
    rate = lr * min(1.0, (step + 1) / max(1, warmup))
    fall = decay_from * steps
    return rate * (steps - step) / (steps - fall) if step > fall else rate


def fit(
    model: Any,
    batch: Callable[[int], Batch],
    steps: int,
    *,
    loss: Loss = denoising_loss,
    lr: float = 1e-3,
    warmup: int = 100,
    decay_from: float = 1.0,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    ema: float = 0.999,
    seed: int = 0,
    every: int = 50,
    folder: Path | str | None = None,
    identity: dict[str, Any] | None = None,
    note: dict[str, Any] | None = None,
    save_every: int = 500,
    progress: bool = True,
    bfloat16: bool = False,
) -> Yielding[State, None, None]:
    """Train `model` (a Denoiser, or any module) with AdamW and yield a `State` every `every` steps and at the end.

    batch: step -> tensors, from `shuffled` or `fresh`. loss: (model, batch, generator) -> losses (B,) and their
    levels t (B,). lr: see `learning_rate`. clip: the largest gradient norm. Matrix products are in bfloat16 where the
    device is CUDA, and where `bfloat16` asks for it (on a CPU with AMX a transformer trains up to twice as fast).
    The network keeps its raw weights; `state.ema` has the averages. folder: where to log (log.jsonl) and to save
    (state.safetensors, every `save_every` steps, on Ctrl-C, when the loop is left, and at the end); a state found
    there is resumed. identity: what else makes it this run, the batch size say; a state with another one is refused.
    note: kept beside the state, such as the code's revision; a finished run keeps the note it was trained with.
    When iterated it raises ValueError for a setting out of its range; FloatingPointError when a loss or a weight is not
    finite, and then saves nothing; CheckpointError when the saved state belongs to another run; BlockingIOError when
    another process trains in the folder.
    Example: `for state in fit(Denoiser(MLP(dim=2), Linear()), fresh(grid25().sample, 256), 1000): print(state.loss)`.
    """
    settings: dict[str, Any] = {"lr": lr, "warmup": warmup, "decay_from": decay_from, "clip": clip}
    settings |= {"weight_decay": weight_decay, "ema": ema, "seed": seed, "steps": steps}
    check_settings(**settings, every=every, save_every=save_every)
    settings = {name: getattr(value, "item", lambda value=value: value)() for name, value in settings.items()}
    kept = json.loads(json.dumps({"identity": identity or {}, "note": note or {}}))  # as a file will give it back
    net: nn.Module = getattr(model, "net", model)
    with ExitStack() as stack:
        stack.enter_context(held(Path(folder) if folder is not None else None))
        device = next(net.parameters()).device
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
        average, tally = EMA(net, ema), Tally(device)
        done, samples, saved, path, log = 0, 0, -1, None, None
        if folder is not None:
            path = Path(folder) / "state.safetensors"
            if path.exists():
                done, samples, before = restore_state(path, net, optimizer, average, settings, kept["identity"])
                if before != kept["note"]:  # steps of two revisions, say: both are told
                    kept["note"]["earlier"] = [*before.pop("earlier", []), before]
                kept["note"] = before if done >= steps else kept["note"]
                saved = done
            log = stack.enter_context(open_log(Path(folder), done))

        def check() -> None:
            weights = [*net.state_dict().values(), *average.weights.values()]
            if not (tally.finite() and all(bool(w.isfinite().all()) for w in weights)):
                raise diverged(done, lr)

        def save() -> None:
            nonlocal saved
            if path is not None and saved < done:
                check()
                save_state(path, net, optimizer, average, settings | kept | {"step": done, "samples": samples})
                saved = done

        stack.callback(net.train().eval)
        bar = stack.enter_context(tqdm(total=steps, initial=done, disable=not progress, mininterval=0.5, unit="step"))
        try:
            while done < steps:
                clock, before = time.perf_counter(), samples
                with deferred_interrupt() as interrupted:
                    end = min(steps, done - done % every + every)
                    for step in range(done, end):
                        rate = learning_rate(step, steps, lr, warmup, decay_from)
                        for group in optimizer.param_groups:
                            group["lr"] = rate
                        data = tuple(x.to(device, non_blocking=True) for x in batch(step))
                        fast = bfloat16 or device.type == "cuda"
                        casts = torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()
                        with own_numbers(seed, step, device), casts:
                            losses, t = loss(model, data, step_generator(seed, step))  # (B,), (B,)
                        if losses.ndim != 1 or not len(losses) or len(t) != len(losses):
                            shapes = f"{tuple(losses.shape)} and {tuple(t.shape)}"
                            raise ValueError(
                                f"losses and levels of shapes {shapes}: expected (B,) and (B,), B of 1 or more"
                            )
                        optimizer.zero_grad()
                        losses.mean().backward()
                        norm = nn.utils.clip_grad_norm_(net.parameters(), clip)
                        optimizer.step()
                        average.update(net, step)
                        tally.add(losses.detach(), t)
                        done, samples = step + 1, samples + len(losses)
                        bar.update()
                        if done % save_every == 0 or done == steps or interrupted():
                            save()
                        if interrupted() and done < end:
                            break
                    else:
                        check()
                        mean, *by_level = tally.means()
                        pace = (samples - before) / (time.perf_counter() - clock)
                        state = State(done, mean, by_level, float(norm), rate, pace, samples, average)
                        bar.set_postfix_str(f"loss {mean:.4f}", refresh=False)
                        if log is not None:
                            with named(log.name):
                                log.write(state.line() + "\n")
                                log.flush()
                    if interrupted():
                        save()
                        raise KeyboardInterrupt(f"stopped after step {done}" + (f", saved in {path}" if path else ""))
                yield state
        except (GeneratorExit, KeyboardInterrupt):  # between two steps, so the state is whole
            with deferred_interrupt() as interrupted:
                save()
            if interrupted():
                raise KeyboardInterrupt(f"stopped after step {done}" + (f", saved in {path}" if path else "")) from None
            raise
