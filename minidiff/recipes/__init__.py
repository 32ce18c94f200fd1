"""The models that the course trains, one row each; a file holds a family.

To add a model, write its row where its data is at home (`toy.py`, `fashion.py`, `emoji.py`, `latent.py`, `toybox.py`,
`video.py`, `words.py`); `run.py` trains, loads and measures whatever a row names, `keep.py` ships it, and neither asks
a row what it is.
"""

from minidiff.recipes import emoji, fashion, latent, toy, toybox, video, words
from minidiff.recipes.row import Recipe

ROWS = (*toy.ROWS, *fashion.ROWS, *emoji.ROWS, *latent.ROWS, *video.ROWS, *toybox.ROWS, *words.ROWS)
RECIPES = {row.name: row for row in ROWS}


def get(name: str) -> Recipe:
    """The row of that name; KeyError naming the known ones. Example: `get("toy-mlp").metric`."""
    if name not in RECIPES:
        raise KeyError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
