"""Sentences as words of a vocabulary: what is no known word is an error that helps."""

import difflib
import re
from collections.abc import Container, Sequence

EXAMPLE = "a red circle drifts left"


def split(sentence: str, vocabulary: Sequence[str], known: Container[str], longest: int) -> list[str]:
    """A sentence's words, lower case, without punctuation. known: the vocabulary, or its words in a faster form.

    ValueError for an empty sentence, an unknown word (it names the nearest known ones), and one that is too long.
    Example: `split("A red circle!", VOCABULARY, VOCABULARY, 70)` is ["a", "red", "circle"].
    """
    if not isinstance(sentence, str):
        raise ValueError(f"a sentence is a text, such as {EXAMPLE!r}, not a {type(sentence).__name__}")
    words = re.findall(r"[^\W_]+", sentence.lower())
    if not words:
        raise ValueError(f'the caption is empty: say what there is, such as "{EXAMPLE}", not {sentence!r}')
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, vocabulary[1:], 3, 0.5)
            help_ = f"the nearest known: {', '.join(near)}" if near else f"a sentence that is known: {EXAMPLE}"
            raise ValueError(f"unknown word {word[:30]!r} in {' '.join(words[:20])[:200]!r}; {help_}")
    if len(words) > longest:
        raise ValueError(f"the caption has {len(words)} words: expected {longest} or fewer, about up to 4 objects")
    return words
