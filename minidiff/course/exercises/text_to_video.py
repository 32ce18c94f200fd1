"""Exercises of chapter 18, `text-to-video`."""

from collections import Counter

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.schedule import Linear, add_noise

# --- one level, or one a frame ---------------------------------------------------------------------------------------


def _levels(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of as many channels as frames, and as many clips, so that a level on a wrong axis fits too."""
    shape = (3, 3, 3, 4, 5)
    t = uniform(generator, 0.1, 0.9, 3, 3) if float(torch.rand((), generator=generator)) < 0.6 else None
    t = uniform(generator, 0.1, 0.9, 3) if t is None else t
    return normal(generator, *shape), normal(generator, *shape), t


def _noised(x0: Tensor, eps: Tensor, t: Tensor, at: tuple[int, ...] = (0, 2)) -> Tensor:
    """The levels on other axes than those of clips and frames."""
    shape = [1] * 5
    for axis, size in zip(at, t.shape, strict=False):
        shape[axis] = size
    t = t.reshape(shape)
    return (1 - t) * x0 + t * eps


NOISED = exercise(
    "text-to-video.levels",
    "One level, or one a frame",
    2,
    15,
    inputs=_levels,
    reference=lambda x0, eps, t: add_noise(Linear(), x0, eps, t),
    wrong={
        "over channels": (
            lambda x0, eps, t: _noised(x0, eps, t, (0, 1)),
            "With a level a frame, yours went to the channels: red, green and blue had levels of their own. Frames are "
            "axis 2.",
        ),
        "from the right": (
            lambda x0, eps, t: _noised(x0, eps, t, (0, 2) if t.ndim == 2 else (2,)),
            "A level a clip went to the frames: t of shape (B,) belongs to axis 0, whatever other axes are as long.",
        ),
        "first frame": (
            lambda x0, eps, t: _noised(x0, eps, t[:, 0] if t.ndim == 2 else t, (0,)),
            "All frames got the level of the first one. With t of shape (B, F) each frame has its own.",
        ),
        "the other way round": (
            lambda x0, eps, t: _noised(eps, x0, t),
            "t = 0 is data here and t = 1 is noise: (1 - t) x0 + t eps.",
        ),
        "root": (
            lambda x0, eps, t: x0 + _noised(torch.zeros_like(x0), eps, t),
            "x0 is not faded: it is multiplied by 1 - t.",
        ),
    },
    hints=(
        "Give t as many axes as the clip has, of length 1 where it says nothing, and let them broadcast.",
        "t of shape (B,) becomes (B,1,1,1,1), and t of shape (B,F) becomes (B,1,F,1,1).",
    ),
    solution="""
def noised(x0, eps, t):
    t = t[:, None, None, None, None] if t.ndim == 1 else t[:, None, :, None, None]
    return (1 - t) * x0 + t * eps
""",
)

# --- how smooth is a path --------------------------------------------------------------------------------------------


def _path(generator: Generator) -> tuple[Tensor]:
    """A drift with some jitter, (12, 2)."""
    steps = torch.arange(12, dtype=torch.float64)[:, None] * uniform(generator, -0.04, 0.04, 2)
    return (uniform(generator, 0.3, 0.6, 2) + steps + 0.01 * normal(generator, 12, 2),)


JITTER = exercise(
    "text-to-video.jitter",
    "How smooth is a path?",
    1,
    10,
    inputs=_path,
    reference=lambda path: float(path.diff(n=2, dim=0).square().sum(1).mean().sqrt()),
    wrong={
        "velocity": (
            lambda path: float(path.diff(dim=0).square().sum(1).mean().sqrt()),
            "That is speed: a steady drift has plenty of it. Take differences of the differences.",
        ),
        "a coordinate": (
            lambda path: float(path.diff(n=2, dim=0).square().mean().sqrt()),
            "Smaller by the root of 2: you averaged over x and y. An acceleration is one vector a frame, with the length "
            "sqrt(x^2 + y^2).",
        ),
        "not rooted": (
            lambda path: float(path.diff(n=2, dim=0).square().sum(1).mean()),
            "That is a mean square; take its root, to have heights a frame squared again.",
        ),
        "mean of lengths": (
            lambda path: float(path.diff(n=2, dim=0).norm(dim=1).mean()),
            "You averaged lengths. Root mean square: square them, average, and take the root, so that one leap counts.",
        ),
        "over two frames": (
            lambda path: float((path[2:] - path[:-2]).square().sum(1).mean().sqrt()),
            "You compare frames that are two apart. Asked for is the change of the velocity: p[i+1] - 2 p[i] + p[i-1].",
        ),
    },
    hints=(
        "path.diff(dim=0) are velocities, one a frame; their differences are accelerations.",
        "Square both coordinates, add them, average over frames, take the root.",
    ),
    solution="""
def jitter(path):
    return float(path.diff(n=2, dim=0).square().sum(1).mean().sqrt())
""",
)

# --- another order ---------------------------------------------------------------------------------------------------


def _orders(generator: Generator) -> tuple[Tensor, Tensor]:
    clips = normal(generator, 3, 2, 5, 4, 4)
    return clips, torch.stack([torch.tensor([1, 2, 3, 4, 0]).roll(i) for i in range(3)])[
        torch.randperm(3, generator=generator)
    ]


def _reordered(clips: Tensor, order: Tensor) -> Tensor:
    return torch.stack([clip[:, row] for clip, row in zip(clips, order, strict=True)])


REORDERED = exercise(
    "text-to-video.order",
    "Another order, and nothing else",
    2,
    15,
    inputs=_orders,
    reference=lambda clips, order: clips.gather(2, order[:, None, :, None, None].expand_as(clips)),
    wrong={
        "one order for all": (
            lambda clips, order: clips[:, :, order[0]],
            "Every clip got the order of the first. Each has its own row of order.",
        ),
        "the way back": (
            lambda clips, order: _reordered(clips, order.argsort(1)),
            "That undoes the order. Frame i of the answer is frame order[b, i] of the clip, and not the reverse.",
        ),
        "twice as deep": (
            lambda clips, order: clips[:, :, order],
            "Every clip came back in the orders of all clips: there is an axis too many.",
        ),
        "frozen": (
            lambda clips, order: clips[:, :, order[:, :1]][:, :, 0].expand_as(clips),
            "All frames are the same now. Change their order alone.",
        ),
    },
    hints=(
        "Clip by clip it is clips[b][:, order[b]]; stack the results.",
        "Without a loop: gather along axis 2, with order brought to the shape of clips by expand_as.",
    ),
    solution="""
def reordered(clips, order):
    index = order[:, None, :, None, None].expand_as(clips)  # (B, C, F, H, W)
    return clips.gather(2, index)
""",
)

# --- what went wrong -------------------------------------------------------------------------------------------------

Look = tuple[str, str]
LOOKS = [(colour, shape) for colour in ("red", "blue", "green") for shape in ("circle", "star")]


def _scene(generator: Generator) -> tuple[list[Look], list[Look]]:
    """Three things asked for, the last as the first one; of them one is missing, one there twice; and a stranger."""
    a, b, c, d = (LOOKS[i] for i in torch.randperm(len(LOOKS), generator=generator)[:4].tolist())
    more = [b] * int(torch.randint(0, 2, (), generator=generator))
    return [a, b, c, a], [a, b, b, d, *more]


def _told(asked: list[Look], there: list[Look]) -> tuple[int, int, int]:
    wanted, found = Counter(asked), Counter(there)
    more = found - wanted
    again = sum(count for look, count in more.items() if look in wanted)
    return (wanted - found).total(), again, more.total() - again


def _sets(asked: list[Look], there: list[Look]) -> tuple[int, int, int]:
    return len(set(asked) - set(there)), len(there) - len(set(there)), len(set(there) - set(asked))


WRONG = exercise(
    "text-to-video.wrong",
    "What went wrong",
    2,
    20,
    inputs=_scene,
    reference=_told,
    wrong={
        "sets": (
            _sets,
            "Sets forget how often something is there: two red circles asked for and one drawn is one missing. Count.",
        ),
        "length": (
            lambda asked, there: (
                max(0, len(asked) - len(there)),
                max(0, len(there) - len(asked)),
                _told(asked, there)[2],
            ),
            "You compared how many there are. A clip may miss one and have another twice: look at each kind by itself.",
        ),
        "strangers twice": (
            lambda asked, there: (
                _told(asked, there)[0],
                _told(asked, there)[1] + _told(asked, there)[2],
                _told(asked, there)[2],
            ),
            "Strangers are among your doubles too. What nobody asked for is a stranger, and nothing else.",
        ),
        "colours": (
            lambda asked, there: _told([look[:1] for look in asked], [look[:1] for look in there]),  # type: ignore[misc]
            "You compared a part of the look. A thing is its colour and its shape together.",
        ),
    },
    hints=(
        "collections.Counter counts both lists; Counter - Counter keeps what is left over, never below 0.",
        "What is left of there - asked is a double if it was asked for at all, else a stranger.",
    ),
    solution="""
from collections import Counter


def wrong(asked, there):
    wanted, found = Counter(asked), Counter(there)
    more = found - wanted
    twice = sum(count for look, count in more.items() if look in wanted)
    return (wanted - found).total(), twice, more.total() - twice
""",
)

EXERCISES = (NOISED, JITTER, REORDERED, WRONG)
