"""Words for a network: a number for each word, a small transformer that reads them, a DiT that is told what it read.

A caption is a row of word numbers, (B,L), filled up with 0, the word `<pad>`; a row of nothing else is "no words",
which is what guidance compares with. The encoder gives every word a vector that knows its sentence: after it "red" is
the red of this circle. It is trained together with the network that it tells, on the same loss.
Sources: Vaswani et al. 2017, arXiv 1706.03762 (encoder, waves for places); Devlin et al. 2018, arXiv 1810.04805.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minidiff.nn.attention import Attention
from minidiff.nn.dit import Condition, DiT
from minidiff.sentences import split

PAD = 0  # the number of `<pad>`, the first word of every vocabulary


class Tokenizer:
    """Sentences as rows of word numbers, and back; a word is its place in the vocabulary, whose first is `<pad>`.

    longest: words a sentence may have. ValueError for an empty sentence, an unknown word (it names the nearest known
    ones) and a sentence that is too long; capitals and punctuation mean nothing.
    Example: `Tokenizer(VOCABULARY)(["a red circle", "a star"])` is (2, 3), long, with one 0.
    """

    def __init__(self, vocabulary: Sequence[str], longest: int = 70):
        self.vocabulary, self.longest = tuple(vocabulary), longest
        self.number = {word: i for i, word in enumerate(self.vocabulary)}
        if not self.vocabulary or len(self.number) < len(self.vocabulary):
            raise ValueError("a vocabulary has one word or more, each once")

    def words(self, sentence: str) -> list[str]:
        """The words of a sentence, lower case. Errors as above. Example: `words("A star!")` is ["a", "star"]."""
        return split(sentence, self.vocabulary, self.number, self.longest)

    def __call__(self, sentences: Sequence[str], length: int | None = None) -> Tensor:
        """The word numbers (B,L) of B sentences; L: `length`, by default the words of the longest one."""
        if isinstance(sentences, str):
            raise ValueError(f"expected a list of sentences, got one: [{sentences!r}]")
        rows = [[self.number[word] for word in self.words(sentence)] for sentence in sentences]
        size = max((len(row) for row in rows), default=0) if length is None else length
        if any(len(row) > size for row in rows):
            raise ValueError(f"length={length}: a sentence has {max(len(row) for row in rows)} words")
        return torch.tensor([row + [PAD] * (size - len(row)) for row in rows], dtype=torch.long).view(len(rows), size)

    def read(self, ids: Tensor) -> list[str]:
        """The sentences of word numbers (B,L). Example: `read(tokenizer(["A star"]))` is ["a star"]."""
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.vocabulary):
            raise ValueError(
                f"word numbers {int(ids.min())} to {int(ids.max())}: expected 0 to {len(self.vocabulary) - 1}"
            )
        return [" ".join(self.vocabulary[i] for i in row if i != PAD) for row in ids.tolist()]


def order(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Where a word stands, as sines and cosines, (length, width). Example: `order(9, 64)`."""
    speed = torch.exp(-math.log(100.0) * torch.arange(0, width, 2, device=device) / width)
    angle = torch.arange(length, device=device)[:, None] * speed  # (L, width / 2)
    return torch.cat([angle.sin(), angle.cos()], 1)


class Reader(nn.Module):
    """One block of the encoder: words look at words, then each thinks alone. x: (B,L,D), mask: (B,L) -> (B,L,D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """`encoder(ids (B,L)) -> words (B,L,D), mask (B,L)`, True where there is a word and no padding.

    words: the size of the vocabulary. ValueError for ids that are no whole numbers (on a CPU: of that range).
    Example: `TextEncoder(135, 64, depth=2, heads=2)(tokenizer(["a red circle"]))[0]` is (1, 3, 64).
    """

    def __init__(self, words: int, width: int, depth: int, heads: int):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.blocks = nn.ModuleList(Reader(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        count = self.embedding.num_embeddings
        if ids.dtype != torch.long or ids.ndim != 2:
            kind = f"{str(ids.dtype).removeprefix('torch.')} of shape {tuple(ids.shape)}"
            raise ValueError(f"word numbers: expected whole numbers (int64) of shape (B, L), got {kind}")
        if ids.device.type == "cpu" and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < count:
            raise ValueError(f"word numbers must lie in 0..{count - 1}, got {int(ids.min())}..{int(ids.max())}")
        mask = ids != PAD  # (B, L)
        x = self.embedding(ids) + order(ids.shape[1], self.embedding.embedding_dim, ids.device)
        seen = mask | ~mask.any(1, keepdim=True)  # no words at all: let padding look at padding, nobody will see it
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x), mask


class TextDiT(DiT):
    """A DiT that is told sentences: `net(x, ell, ids)`, ids (B,L) word numbers, or None for no words.

    vocabulary: how many words there are; reads: blocks of the encoder; the rest, and `way`, as `DiT` takes it.
    Example: `TextDiT(3, 64, 2, 2, patch=8, vocabulary=135)(torch.randn(1, 3, 32, 32), torch.zeros(1), ids)`.
    """

    null = PAD  # a row of it is "no words"

    def __init__(self, channels: int, width: int, depth: int, heads: int, patch: int | tuple[int, int, int],
                 vocabulary: int, reads: int = 2, attention: str = "full", way: str = "cross"):  # fmt: skip
        super().__init__(channels, width, depth, heads, patch, context=width, attention=attention, way=way, places=True)
        self.encoder = TextEncoder(vocabulary, width, reads, heads)

    def full(self, x: Tensor, ell: Tensor, cond: Tensor | Condition | None = None) -> Tensor:
        if isinstance(cond, Tensor):
            words, mask = self.encoder(cond)
            cond = Condition(context=words, mask=mask)
        return super().full(x, ell, cond)
