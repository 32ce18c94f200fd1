"""Exercises of chapter 16, `flicker`."""

import math

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.measure.line import acceleration

# --- mask ------------------------------------------------------------------------------------------------------------


def _sizes(generator: Generator) -> tuple[int, int]:
    frames, places = (int(torch.randint(3, 6, (), generator=generator)) for _ in range(2))
    return frames, places if places != frames else places + 1


def _frame_of(F: int, N: int) -> Tensor:
    return torch.arange(F).repeat_interleave(N)


def _causal(F: int, N: int) -> Tensor:
    frame = _frame_of(F, N)
    return frame[:, None] >= frame


MASK = exercise(
    "flicker.mask",
    "The mask",
    1,
    15,
    inputs=_sizes,
    reference=_causal,
    wrong={
        "the other way": (
            lambda F, N: _causal(F, N).T,
            "Rows and columns have changed places: your tokens look at the frames to come.",
        ),
        "token by token": (
            lambda F, N: torch.ones(F * N, F * N, dtype=torch.bool).tril(),
            "That is the mask of a language model, token by token. Here all patches of a frame see one another.",
        ),
        "not its own": (
            lambda F, N: _frame_of(F, N)[:, None] > _frame_of(F, N),
            "A token may look at its own frame, too: >=, not >. (In the first frame nobody could look at anything.)",
        ),
        "places for frames": (
            lambda F, N: torch.arange(N).repeat(F)[:, None] >= torch.arange(N).repeat(F),
            "You compared places in the frame. Token i belongs to frame i // N.",
        ),
        "place by place": (
            lambda F, N: _frame_of(N, F)[:, None] >= _frame_of(N, F),
            "Your tokens run place by place; here they run frame by frame, N of each.",
        ),
        "of the frames": (
            lambda F, N: torch.ones(F, F, dtype=torch.bool).tril(),
            "That is a table of frames, (F, F): repeat rows and columns N times.",
        ),
    },
    hints=(
        "The frame of each token: `torch.arange(F).repeat_interleave(N)`.",
        "Compare that column with that row: `frame[:, None] >= frame`.",
    ),
    solution="""
def mask(F, N):
    frame = torch.arange(F).repeat_interleave(N)
    return frame[:, None] >= frame
""",
)

# --- shared ----------------------------------------------------------------------------------------------------------


def _fresh(generator: Generator) -> tuple[Tensor, float]:
    frames = int(torch.randint(4, 7, (), generator=generator))
    return normal(generator, 2, 3, frames, 2, 2), float(uniform(generator, 0.2, 0.85))


def _chain(eps: Tensor, rho: float, own: float = -1.0) -> Tensor:
    own = math.sqrt(1 - rho**2) if own < 0 else own
    frames = [eps[:, :, 0]]
    for f in range(1, eps.shape[2]):
        frames.append(rho * frames[-1] + own * eps[:, :, f])
    return torch.stack(frames, 2)


def _common(eps: Tensor, rho: float) -> Tensor:
    return rho**0.5 * eps[:, :, :1] + (1 - rho) ** 0.5 * eps


def _raw_neighbour(eps: Tensor, rho: float) -> Tensor:
    out = eps.clone()
    out[:, :, 1:] = rho * eps[:, :, :-1] + (1 - rho**2) ** 0.5 * eps[:, :, 1:]
    return out


SHARED = exercise(
    "flicker.shared",
    "A dial for noise",
    2,
    20,
    inputs=_fresh,
    reference=_chain,
    wrong={
        "the chapter's dial": (
            _common,
            "That is the dial of this chapter: one part shared by all frames. Here each frame is made from the one before.",
        ),
        "weights that sum to one": (
            lambda eps, rho: _chain(eps, rho, 1 - rho),
            "`rho` and `1 - rho` sum to one, and variances add in squares: this noise gets weaker. The second weight is sqrt(1 - rho^2).",
        ),
        "not less of its own": (
            lambda eps, rho: _chain(eps, rho, 1.0),
            "This noise grows from frame to frame: its own part has to be sqrt(1 - rho^2).",
        ),
        "root of rho": (
            lambda eps, rho: _chain(eps, rho**0.5),
            "Neighbours are now correlated by sqrt(rho): the weight of the frame before is rho itself.",
        ),
        "the raw neighbour": (
            _raw_neighbour,
            "You mixed neighbours of the *fresh* noise: then frames two apart share nothing. Use the frame that you have just made.",
        ),
        "backwards": (
            lambda eps, rho: _chain(eps.flip(2), rho).flip(2),
            "You started from the last frame. Start from the first, which is eps's own.",
        ),
        "not mixed": (lambda eps, rho: eps, "That is the fresh noise: no frame knows of another."),
    },
    hints=(
        "x[0] = eps[0], x[f] = a x[f-1] + b eps[f]. Which a gives the correlation, which b keeps the variance at 1?",
        "a = rho, b = sqrt(1 - rho^2). A loop over frames, then `torch.stack(frames, 2)`.",
    ),
    solution="""
def noise(eps, rho):
    frames = [eps[:, :, 0]]
    for f in range(1, eps.shape[2]):
        frames.append(rho * frames[-1] + (1 - rho**2) ** 0.5 * eps[:, :, f])
    return torch.stack(frames, 2)
""",
)

# --- acceleration ----------------------------------------------------------------------------------------------------


def _paths(generator: Generator) -> tuple[Tensor]:
    n, frames = 3, int(torch.randint(6, 10, (), generator=generator))
    t = torch.arange(frames, dtype=torch.float64)[:, None]
    speed, start = normal(generator, n, 1, 2), 10 * normal(generator, n, 1, 2)
    return (start + speed * t + normal(generator, n, frames, 2),)


def _length(places: Tensor) -> Tensor:
    return (2 * acceleration(places.transpose(1, 2)).square().mean(1)).sqrt()


def _rms(second: Tensor) -> Tensor:
    return second.square().sum(-1).mean(-1).sqrt()


ACCELERATION = exercise(
    "flicker.acceleration",
    "What flickers",
    2,
    15,
    inputs=_paths,
    reference=_length,
    wrong={
        "speed": (
            lambda p: _rms(p.diff(dim=1)),
            "That is the speed: what drifts evenly would be punished. Take the difference twice.",
        ),
        "over both axes": (
            lambda p: p.diff(n=2, dim=1).square().mean((1, 2)).sqrt(),
            "You averaged over x and y as well. The squared length of a vector is their *sum*.",
        ),
        "mean of lengths": (
            lambda p: p.diff(n=2, dim=1).norm(dim=-1).mean(-1),
            "That is the mean length. Asked for was the root of the mean *square*.",
        ),
        "over the coordinates": (
            lambda p: p.diff(n=1, dim=2).diff(n=1, dim=1).square().sum(-1).mean(-1).sqrt(),
            "One of your differences runs from x to y. Both run along the frames, axis 1.",
        ),
        "no root": (lambda p: p.diff(n=2, dim=1).square().sum(-1).mean(-1), "The square root is missing."),
        "one for all": (
            lambda p: _rms(p.diff(n=2, dim=1)).mean(),
            "One number for all clips; asked for was one for each, (n,).",
        ),
        "third": (lambda p: _rms(p.diff(n=3, dim=1)), "That is a third difference."),
    },
    hints=(
        "`places.diff(n=2, dim=1)` is (n, F-2, 2): p[f+1] - 2 p[f] + p[f-1].",
        "Square, sum over the last axis (the squared length), mean over the frames, root.",
    ),
    solution="""
def acceleration(places):
    second = places.diff(n=2, dim=1)
    return second.square().sum(-1).mean(-1).sqrt()
""",
)

EXERCISES = (MASK, SHARED, ACCELERATION)
