"""Exercises of chapter 14, `words`."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from minidiff.course.exercises import exercise, normal
from minidiff.data.toybox import VOCABULARY
from minidiff.nn.attention import Attention
from minidiff.nn.block import average
from minidiff.nn.text import Tokenizer

# --- rows of numbers -------------------------------------------------------------------------------------------------

KNOWN = list(VOCABULARY[:30])  # <pad> first


def _sentences(generator: Generator) -> tuple[list[str], list[str]]:
    """Three sentences of different lengths; the longest comes in the middle, and none has the first word."""
    lengths = [3 + int(torch.randint(0, 3, (), generator=generator)) for _ in range(2)]
    picks = [torch.randint(1, len(KNOWN), (n,), generator=generator) for n in (lengths[0], 9, lengths[1])]
    return [" ".join(KNOWN[int(i)] for i in row) for row in picks], KNOWN


def _rows(sentences: list[str], vocabulary: list[str], pad: int = 0, front: bool = False, off: int = 0) -> Tensor:
    rows = [[vocabulary.index(word) + off for word in sentence.split()] for sentence in sentences]
    longest = max(len(row) for row in rows)
    fill = [[pad] * (longest - len(row)) for row in rows]
    return torch.tensor([f + r if front else r + f for r, f in zip(rows, fill, strict=True)])


IDS = exercise(
    "words.ids",
    "Rows of numbers",
    1,
    15,
    inputs=_sentences,
    reference=lambda sentences, vocabulary: Tokenizer(vocabulary)(sentences),
    wrong={
        "in front": (
            lambda s, v: _rows(s, v, front=True),
            "The padding stands in front. It goes behind the words, or every word would have another place.",
        ),
        "minus one": (
            lambda s, v: _rows(s, v, pad=-1),
            "Short rows are filled up with 0, the number of <pad>; -1 is no word, and an embedding has no such row.",
        ),
        "one off": (
            lambda s, v: _rows(s, v, off=-1),
            "Every number is one too small: <pad> is number 0, so the word behind it is number 1.",
        ),
        "cut": (
            lambda s, v: _rows(s, v)[:, : min(len(x.split()) for x in s)],
            "You cut all rows to the shortest sentence. Fill up the short ones instead, to the longest.",
        ),
        "letters": (
            lambda s, v: torch.tensor([[ord(c) for c in x[:3]] for x in s]),
            "Those are letters. A word is one number: its place in the vocabulary.",
        ),
    },
    hints=(
        "vocabulary.index(word) is the number of a word; sentence.split() gives the words.",
        "Fill each row with zeros up to the length of the longest one, then make one tensor of the list of rows.",
    ),
    solution="""
def rows(sentences, vocabulary):
    rows = [[vocabulary.index(word) for word in sentence.split()] for sentence in sentences]
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])
""",
)

# --- one list for words and patches ----------------------------------------------------------------------------------


def _both(generator: Generator) -> tuple[Tensor, ...]:
    x, words = normal(generator, 2, 6, 8), normal(generator, 2, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    return x, words, mask, *(normal(generator, 8, 8) for _ in range(3))


def _joint(x, words, mask, wq, wk, wv, hide="before", groups=False, only=False, out="patches") -> Tensor:
    every, n = torch.cat([x, words], 1), x.shape[1]
    q, k, v = every @ wq, every @ wk, every @ wv
    score = q @ k.mT / 8**0.5
    seen = F.pad(mask, (n, 0), value=True)[:, None]
    if hide == "before":
        score = score.masked_fill(~seen, -torch.inf)
    if groups:  # a softmax of its own for each kind
        weight = torch.cat([score[..., :n].softmax(-1), score[..., n:].softmax(-1)], -1)
    elif only:  # words alone
        weight = F.pad(score[..., n:].softmax(-1), (n, 0))
    else:
        weight = score.softmax(-1)
    y = (weight * seen if hide == "after" else weight) @ v
    return y[:, :n] if out == "patches" else y[:, n:] if out == "words" else y


def _by_layer(x, words, mask, wq, wk, wv) -> Tensor:
    """Through the package's own layer, with one head, no bias and no norm."""
    layer = Attention(8, 1, norm=False).to(x.dtype)
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.cat([wq.T, wk.T, wv.T]))
        layer.qkv.bias.zero_()
        layer.out.weight.copy_(torch.eye(8))
        layer.out.bias.zero_()
        return layer(torch.cat([x, words], 1), mask=F.pad(mask, (x.shape[1], 0), value=True))[:, : x.shape[1]]


TOGETHER = exercise(
    "words.together",
    "One list for words and patches",
    2,
    25,
    inputs=_both,
    reference=_by_layer,
    wrong={
        "no mask": (
            lambda *a: _joint(*a, hide="never"),
            "Padding is looked at too: hide it, or a sentence means something else in a longer row.",
        ),
        "masked after": (
            lambda *a: _joint(*a, hide="after"),
            "You hid padding after the softmax: what is left no longer adds up to 1. Hide it before, with -inf.",
        ),
        "two softmaxes": (
            lambda *a: _joint(*a, groups=True),
            "You took one softmax over patches and one over words. There is one list and one softmax: both compete.",
        ),
        "words alone": (
            lambda *a: _joint(*a, only=True),
            "That is cross-attention: patches look at words alone. Here they look at one another too.",
        ),
        "everything": (
            lambda *a: _joint(*a, out="all"),
            "Patches and words came back. Return the patches: the first N.",
        ),
    },
    hints=(
        "torch.cat([x, words], 1) is one list of N + L tokens; padding hides only among the last L.",
        "seen = F.pad(mask, (N, 0), value=True), then masked_fill, one softmax, values, and the first N rows.",
    ),
    solution="""
def joint(x, words, mask, wq, wk, wv):
    every, n = torch.cat([x, words], 1), x.shape[1]  # (B, N + L, D)
    q, k, v = every @ wq, every @ wk, every @ wv
    seen = torch.cat([torch.ones_like(x[..., 0]).bool(), mask], 1)  # (B, N + L)
    score = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen[:, None], -torch.inf)
    return (score.softmax(-1) @ v)[:, :n]
""",
)

# --- heat inside -----------------------------------------------------------------------------------------------------


def _heats(generator: Generator) -> tuple[Tensor, Tensor]:
    """Eight maps of 3 x 4 patches, of different sums, and masks of 12 x 16 pixels that cut through patches."""
    heat = torch.rand(8, 3, 4, generator=generator) * torch.linspace(0.5, 4, 8)[:, None, None]
    mask = torch.zeros(8, 12, 16, dtype=torch.bool)
    for i in range(8):
        top, left = (int(torch.randint(0, most, (), generator=generator)) for most in (6, 9))
        mask[i, top : top + 6, left : left + 7] = True
    return heat, mask


def _enlarged(heat: Tensor, mask: Tensor) -> Tensor:
    big = heat.repeat_interleave(mask.shape[1] // heat.shape[1], 1)
    return big.repeat_interleave(mask.shape[2] // heat.shape[2], 2)


def _inside(heat: Tensor, mask: Tensor) -> float:
    """By how full of the object each patch is."""
    full = F.avg_pool2d(mask[:, None].float(), (mask.shape[1] // heat.shape[1], mask.shape[2] // heat.shape[2]))[:, 0]
    return float(((heat * full).flatten(1).sum(1) / heat.flatten(1).sum(1)).mean())


def _any(heat: Tensor, mask: Tensor) -> Tensor:
    return F.max_pool2d(mask[:, None].float(), (mask.shape[1] // heat.shape[1], mask.shape[2] // heat.shape[2]))[:, 0]


INSIDE = exercise(
    "words.inside",
    "How much of the heat",
    2,
    20,
    inputs=_heats,
    reference=_inside,
    wrong={
        "all maps together": (
            lambda heat, mask: float((_enlarged(heat, mask) * mask).sum() / _enlarged(heat, mask).sum()),
            "You divide the heat of all maps by the heat of all maps: hot maps count more. Take each map's share first.",
        ),
        "touched patches": (
            lambda heat, mask: float(((heat * _any(heat, mask)).flatten(1).sum(1) / heat.flatten(1).sum(1)).mean()),
            "A patch that the object only touches counts in full. Spread its heat over its pixels, and count those.",
        ),
        "not divided": (
            lambda heat, mask: float((_enlarged(heat, mask) * mask).flatten(1).sum(1).mean()),
            "That is an amount of heat, not a share: divide by all the heat of the map.",
        ),
        "area": (
            lambda heat, mask: float(mask.float().mean()),
            "That is the object's share of the picture, what a map without any preference would score. Where is the heat?",
        ),
    },
    hints=(
        "repeat_interleave spreads a patch over its pixels, once along rows and once along columns.",
        "For each map: sum of heat * mask over sum of heat, both over its pixels. Then the mean over maps.",
    ),
    solution="""
def inside(heat, mask):
    big = heat.repeat_interleave(mask.shape[1] // heat.shape[1], 1)
    big = big.repeat_interleave(mask.shape[2] // heat.shape[2], 2)  # (n, H, W)
    return float(((big * mask).flatten(1).sum(1) / big.flatten(1).sum(1)).mean())
""",
)

# --- one vector for a sentence ---------------------------------------------------------------------------------------


def _padded(generator: Generator) -> tuple[Tensor, Tensor]:
    words = normal(generator, 3, 6, 4)
    return words, torch.arange(6) < torch.tensor([[6], [2], [4]])


POOLED = exercise(
    "words.pooled",
    "One vector for a sentence",
    1,
    10,
    inputs=_padded,
    reference=average,
    wrong={
        "padding counted": (
            lambda words, mask: (words * mask[..., None]).mean(1),
            "You divide by the length of the row. Divide by the number of words, or short sentences are whispered.",
        ),
        "padding averaged": (
            lambda words, mask: words.mean(1),
            "Padding is in your mean: multiply by the mask first.",
        ),
        "the first word": (
            lambda words, mask: words[:, 0],
            "That is the first word alone, an article most of the time. Asked for is the mean of all words.",
        ),
        "over the batch": (
            lambda words, mask: (words * mask[..., None]).sum(1) / mask.sum(),
            "You divide by the words of all sentences together. Each sentence has its own number of words.",
        ),
    },
    hints=(
        "words * mask[..., None] sets padding to 0.",
        "Sum over the words (axis 1), and divide by mask.sum(1, keepdim=True).",
    ),
    solution="""
def pooled(words, mask):
    there = mask[..., None].to(words)  # (B, L, 1)
    return (words * there).sum(1) / there.sum(1)
""",
)

EXERCISES = (IDS, POOLED, INSIDE, TOGETHER)
