"""Exercises of chapter 18, `text-to-video`."""

from collections import Counter

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.schedule import Linear, add_noise

# --- a level for every frame -----------------------------------------------------------------------------------------


def _levels(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of as many channels as frames, and as many clips, so that a level on a wrong axis fits too."""
    shape = (3, 3, 3, 4, 5)
    return normal(generator, *shape), normal(generator, *shape), uniform(generator, 0.1, 0.9, 3, 3)


def _noised(x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """t: with as many axes as the clips."""
    return (1 - t) * x0 + t * eps


NOISED = exercise(
    "text-to-video.levels",
    "A level for every frame",
    1,
    10,
    inputs=_levels,
    reference=lambda x0, eps, t: add_noise(Linear(), x0, eps, t),
    wrong={
        "over channels": (
            lambda x0, eps, t: _noised(x0, eps, t[:, :, None, None, None]),
            "Your levels went to the channels: red, green and blue have one each. Frames are axis 2.",
        ),
        "clips and frames changed round": (
            lambda x0, eps, t: _noised(x0, eps, t.T[:, None, :, None, None]),
            "Clip b, frame f got the level t[f, b]. It is t[b, f].",
        ),
        "first frame": (
            lambda x0, eps, t: _noised(x0, eps, t[:, 0, None, None, None, None]),
            "All frames of a clip got the level of its first one. Each frame has its own.",
        ),
        "the other way round": (
            lambda x0, eps, t: _noised(eps, x0, t[:, None, :, None, None]),
            "t = 0 is data here and t = 1 is noise: (1 - t) x0 + t eps.",
        ),
        "not faded": (
            lambda x0, eps, t: x0 + t[:, None, :, None, None] * eps,
            "x0 is not faded: it is multiplied by 1 - t.",
        ),
    },
    hints=(
        "Give t as many axes as the clip has, of length 1 where it says nothing, and let them broadcast.",
        "t[:, None, :, None, None] is (B, 1, F, 1, 1).",
    ),
    solution="""
def noised(x0, eps, t):
    t = t[:, None, :, None, None]  # (B, 1, F, 1, 1)
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
    """Three orders of five frames, each no rotation and not its own way back."""
    orders: list[Tensor] = []
    while len(orders) < 3:
        order = torch.randperm(5, generator=generator)
        turned = (order.diff() % 5 == 1).all()
        if not turned and not order[order].equal(torch.arange(5)):
            orders.append(order)
    return normal(generator, 3, 2, 5, 4, 4), torch.stack(orders)


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
    """Of three alike that were asked for one is there; another is there two or three times; and strangers, alike."""
    a, b, c, d = (LOOKS[i] for i in torch.randperm(len(LOOKS), generator=generator)[:4].tolist())
    again, strangers = (1 + int(torch.randint(0, 2, (), generator=generator)) for _ in range(2))
    return [a, b, c, a, a], [a, b, c, *[b] * again, *[d] * (1 + strangers)]


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
        "kinds": (
            lambda asked, there: (
                len(Counter(asked) - Counter(there)),
                len([look for look in Counter(there) - Counter(asked) if look in asked]),
                len(set(there) - set(asked)),
            ),
            "You count kinds of things. Two red circles that are missing are two; count the things.",
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
