"""Where batches come from. A batch is a function of the step alone, so a resumed run sees exactly the same data."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from minidiff.checks import whole
from minidiff.draws import on

Batch = tuple[Tensor, ...]


def step_generator(seed: int, step: int) -> Generator:
    """The random numbers of one step, on the CPU: the same for the same (seed, step), unrelated for any other."""
    return Generator().manual_seed((seed * 1_000_003 + step) * 2_654_435_761 % 2**63)


@contextmanager
def own_numbers(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Inside the block torch's global random numbers, which dropout draws, are this step's alone, on CPU and CUDA."""
    own = step_generator(seed, step).initial_seed()
    gpu = device.type == "cuda"
    before = torch.get_rng_state(), torch.cuda.get_rng_state(device) if gpu else None
    torch.default_generator.manual_seed(own)  # a hundredth of the time that torch.manual_seed takes
    if gpu:
        torch.cuda.default_generators[device.index or 0].manual_seed(own)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        if before[1] is not None:
            torch.cuda.set_rng_state(before[1], device)


def shuffled(tensors: Sequence[Tensor], batch_size: int, seed: int = 0) -> Callable[[int], Batch]:
    """Batches of a data set held in memory, reshuffled every epoch; the short batch at an epoch's end is dropped.

    tensors: all with the same first dimension N, e.g. (images, labels). ValueError for an empty or too small set.
    Example: `fit(denoise, shuffled([x0], 128), steps=1000)`.
    """
    if isinstance(tensors, Tensor) or not len(tensors):
        raise ValueError("shuffled takes a list of tensors, [x0] or [x0, labels], not one tensor and not none")
    n = len(tensors[0])
    whole("batch_size", batch_size, 1, 2**40)
    if any(len(t) != n for t in tensors) or not 1 <= batch_size <= n:
        raise ValueError(f"cannot make batches of {batch_size} from tensors of lengths {[len(t) for t in tensors]}")
    per_epoch = n // batch_size
    order: dict[int, Tensor] = {}  # the current epoch's, only

    def batch(step: int) -> Batch:
        epoch, i = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = torch.randperm(n, generator=step_generator(seed + 1, epoch))
        pick = order[epoch][i * batch_size : (i + 1) * batch_size]
        return tuple(t[pick] for t in tensors)

    return batch


def fresh(
    sample: Callable[[int, Generator], Tensor | Batch],
    batch_size: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    ahead: int = 1,
) -> Callable[[int], Batch]:
    """Batches of an endless source, never the same twice. sample: gives n samples, or a tuple (samples, labels, ...).

    device: whose generator `sample` is handed; what is drawn there need not travel. ahead: that many batches are
    drawn at once, which on a GPU takes hardly longer than one.
    Example: `fit(denoise, fresh(grid25().sample, 256), steps=1000)`.
    """
    whole("batch_size", batch_size, 1, 2**40)
    whole("ahead", ahead, 1, 2**20)
    kept: dict[int, Batch] = {}  # the batches of the current round, only

    def draw(n: int, nth: int) -> Batch:
        drawn = sample(n, on(device, step_generator(seed + 1, nth)))
        batch = drawn if isinstance(drawn, tuple) else (drawn,)
        if not all(isinstance(x, Tensor) and len(x) == n for x in batch):
            forms = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in batch]
            raise ValueError(f"sample({n}, generator) gave {forms}: expected a tensor of {n} rows, or a tuple of such")
        return batch

    def at(step: int) -> Batch:
        if ahead == 1:
            return draw(batch_size, step)
        nth, i = divmod(step, ahead)
        if nth not in kept:
            kept.clear()
            kept[nth] = draw(ahead * batch_size, nth)
        part = slice(i * batch_size, (i + 1) * batch_size)
        return tuple(x[part].clone() for x in kept[nth])  # a view would keep the whole round alive into the next one

    return at


def mirrored(images: Tensor, generator: Generator) -> Tensor:
    """The images (B,C,H,W), half of them left to right. Example: `mirrored(images, step_generator(0, step))`."""
    flip = torch.rand(len(images), generator=generator).to(images) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)
