"""Exercises of chapter 07, `guidance`."""

import torch
from torch import Generator, Tensor

from minidiff.course.exercises import exercise, normal, uniform
from minidiff.data.toy import Mixture
from minidiff.predict import guide

Inputs = tuple[Tensor, ...]

# --- drop ------------------------------------------------------------------------------------------------------------


def _drop_inputs(generator: Generator) -> tuple:
    n = 40
    return torch.randint(0, 4, (n,), generator=generator), uniform(generator, 0, 1, n), 0.3, 4


DROP = exercise(
    "guidance.drop",
    "Hide a tenth of the labels",
    1,
    10,
    inputs=_drop_inputs,
    reference=lambda label, u, p, null: torch.where(u < p, null, label),
    wrong={
        "turned": (
            lambda label, u, p, null: torch.where(u < p, label, null),
            "You hide the share `1 - p` of the labels and keep p of them. The null label is the exception.",
        ),
        "nothing": (
            lambda label, u, p, null: label,
            "You hid nothing. Where `u < p`, the label must become `null`. (Or you decided once for the whole batch.)",
        ),
        "label 0": (
            lambda label, u, p, null: torch.where(u < p, 0, label),
            "You put 0 in place of the hidden labels. 0 is a class: the network would take all of these for it.",
        ),
        "removed": (
            lambda label, u, p, null: label[u >= p],
            "You removed samples. Each stays in the batch; only its label changes, to `null`.",
        ),
    },
    hints=("`u < p` is true for a share p of the samples.", "`torch.where(u < p, null, label)`"),
    solution="""
def hide(label, u, p, null):
    return torch.where(u < p, null, label)
""",
)

# --- convention ------------------------------------------------------------------------------------------------------


def _two_answers(generator: Generator) -> tuple:
    return normal(generator, 5, 3), normal(generator, 5, 3), float(uniform(generator, 1.2, 4))


def _guided(cond: Tensor, uncond: Tensor, g: float) -> Tensor:
    """Through the package, in whose convention w = 1 + g."""

    def denoise(x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return uncond if label is not None and int(label[0]) == 1 else cond

    return guide(denoise, 1 + g, null=1)(cond, torch.tensor(0.5), torch.zeros(len(cond), dtype=torch.long))


CONVENTION = exercise(
    "guidance.convention",
    "The other formula",
    1,
    10,
    inputs=_two_answers,
    reference=_guided,
    wrong={
        "off by one": (
            lambda c, u, g: u + g * (c - u),
            "This is `uncond + g (cond - uncond)`, the convention of w. With g = 0 it would ignore the label altogether.",
        ),
        "off by two": (
            lambda c, u, g: u + (2 + g) * (c - u),
            "One too many: at g = 0 this is already guided. It must be plain `cond` there.",
        ),
        "turned": (
            lambda c, u, g: (1 + g) * u - g * c,
            "The roles are turned: this flees the label. At g = 0 it must be `cond`.",
        ),
        "plus": (
            lambda c, u, g: (1 + g) * c + g * u,
            "The weights must sum to 1, or two equal answers give a third one: `(1 + g) - g`.",
        ),
    },
    hints=("At g = 0: plain `cond`. With growing g: away from `uncond`.", "`(1 + g) * cond - g * uncond`"),
    solution="""
def guided(cond, uncond, g):
    return (1 + g) * cond - g * uncond
""",
)

# --- interval --------------------------------------------------------------------------------------------------------


def _interval_inputs(generator: Generator) -> tuple:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64) + 0.04 * torch.rand(7, generator=generator)
    return normal(generator, 7, 3), normal(generator, 7, 3), t, 2.5, 0.3, 0.7


def _here(t: Tensor, low: float, high: float) -> Tensor:
    return ((low <= t) & (t <= high))[:, None]


def _within(cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    def denoise(x: Tensor, level: Tensor, label: Tensor | None = None) -> Tensor:
        return uncond if label is not None and int(label[0]) == 1 else cond

    return guide(denoise, w, null=1, interval=(low, high))(cond, t, torch.zeros(len(cond), dtype=torch.long))


INTERVAL = exercise(
    "guidance.interval",
    "Only in the middle",
    2,
    10,
    inputs=_interval_inputs,
    reference=_within,
    wrong={
        "unconditional outside": (
            lambda c, u, t, w, low, high: torch.where(_here(t, low, high), u + w * (c - u), u),
            "Outside the interval you answer without the label. There the weight is 1, which is plain `cond`.",
        ),
        "turned": (
            lambda c, u, t, w, low, high: torch.where(_here(t, low, high), c, u + w * (c - u)),
            "You guide outside the interval and not inside.",
        ),
        "everywhere": (
            lambda c, u, t, w, low, high: u + w * (c - u),
            "You guide at every level. Compare t with low and high.",
        ),
        "one side": (
            lambda c, u, t, w, low, high: torch.where((t >= low)[:, None], u + w * (c - u), c),
            "You only look at the lower end. Above `high` the weight is 1 again.",
        ),
    },
    hints=(
        "The weight is w inside and 1 outside; with weight 1 the formula gives `cond`.",
        "`inside = ((low <= t) & (t <= high))[:, None]`, then `torch.where`.",
    ),
    solution="""
def guided(cond, uncond, t, w, low, high):
    inside = ((low <= t) & (t <= high))[:, None]
    return torch.where(inside, uncond + w * (cond - uncond), cond)
""",
)

# --- the tilted density ----------------------------------------------------------------------------------------------


def _tilt_inputs(generator: Generator) -> tuple:
    s = uniform(generator, 0.4, 0.8)
    return uniform(generator, 0.5, 1.5), s, s * uniform(generator, 1.3, 2.0), float(uniform(generator, 1.5, 4))


def _tilted(m: Tensor, s: Tensor, big: Tensor, w: float) -> Tensor:
    """Numerically: the moments of p(x) (p(x|c) / p(x))^w on a fine grid."""
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)[:, None]
    inside, all_ = Mixture(m.reshape(1, 1), s), Mixture(torch.zeros(1, 1, dtype=torch.float64), big)
    p = torch.softmax(w * inside.log_prob(x) + (1 - w) * all_.log_prob(x), 0)
    mean = (p * x[:, 0]).sum()
    return torch.stack([mean, ((p * (x[:, 0] - mean) ** 2).sum()).sqrt()])


def _from_precision(mean_of, precision_of):
    def answer(m: Tensor, s: Tensor, big: Tensor, w: float) -> Tensor:
        precision = precision_of(s, big, w)
        return torch.stack([mean_of(m, s, big, w, precision), precision.rsqrt()])

    return answer


def _right(s: Tensor, big: Tensor, w: float) -> Tensor:
    return w / s**2 - (w - 1) / big**2


TILT = exercise(
    "guidance.tilt",
    "What is promised",
    3,
    20,
    inputs=_tilt_inputs,
    reference=_tilted,
    wrong={
        "variance": (
            lambda m, s, big, w: torch.stack([w * m / s**2 / _right(s, big, w), 1 / _right(s, big, w)]),
            "The second number is the variance. Asked for is the standard deviation.",
        ),
        "only the class": (
            _from_precision(lambda m, s, big, w, p: m, lambda s, big, w: w / s**2),
            "This is p(x|c)^w alone. The factor p(x)^(1-w) moves the mean, too: it pushes away from the crowd.",
        ),
        "classifier": (
            _from_precision(
                lambda m, s, big, w, p: (w + 1) * m / s**2 / p, lambda s, big, w: (w + 1) / s**2 - w / big**2
            ),
            "This is one too many: p(x|c) p(c|x)^w, the other convention. Here w = 1 must give p(x|c) itself.",
        ),
        "kept mean": (
            _from_precision(lambda m, s, big, w, p: m, _right),
            "The spread is right. The mean moves beyond m: the sum of the two linear terms, divided by the inverse variance.",
        ),
        "added": (
            _from_precision(lambda m, s, big, w, p: w * m / s**2 / p, lambda s, big, w: w / s**2 + (w - 1) / big**2),
            "The exponent of p(x) is 1 - w, which is negative here: its inverse variance is taken off, not added.",
        ),
    },
    hints=(
        "p(x) p(c|x)^w is p(x|c)^w p(x)^(1-w), up to a constant. A product of Gaussians is a Gaussian: add the exponents.",
        "Inverse variances add, with their powers: `w / s**2 + (1 - w) / S**2`. Linear terms: `w * m / s**2`, and 0 from p(x).",
    ),
    solution="""
def tilted(m, s, S, w):
    inverse = w / s**2 + (1 - w) / S**2
    return torch.stack([w * m / s**2 / inverse, inverse.rsqrt()])
""",
)

EXERCISES = [DROP, CONVENTION, INTERVAL, TILT]
