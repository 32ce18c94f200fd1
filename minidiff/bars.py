"""Progress bars as plain text: they stay readable in a saved notebook, where a widget would be dead the next day."""

import os
import sys
from typing import Any

from tqdm import std


class tqdm(std.tqdm):
    """A bar of the tqdm library: in a notebook on stdout, and none on a page that is built (`MINIDIFF_STATIC=1`).

    Arguments as there. Example: `for x in tqdm(range(3), desc="three"): pass`.
    """

    def __init__(self, *args: Any, **options: Any):
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            options = {"file": sys.stdout, "mininterval": 0.5, "ncols": 80} | options
            options["disable"] = options.get("disable", False) or os.environ.get("MINIDIFF_STATIC") == "1"
        super().__init__(*args, **options)
