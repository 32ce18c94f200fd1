"""Badges for Colab and Binder, written into README for the address that a clone comes from.

python -m minidiff.course.badges                          the address of the remote `origin`
python -m minidiff.course.badges github.com/ada/minidiff  another one
"""

import re
import subprocess
import sys

from minidiff.course import front
from minidiff.files import atomic_write, root

MARKS = ("<!-- badges -->", "<!-- /badges -->")
FIRST = "notebooks/00_start.ipynb"


def place(address: str) -> str:
    """OWNER/NAME of a repository on GitHub, from an address in any of git's forms. ValueError for another host.

    Example: `place("git@github.com:ada/minidiff.git") == "ada/minidiff"`.
    """
    found = re.search(r"github\.com[:/]([\w.-]+)/([\w.-]+?)(\.git)?/?$", address.strip())
    if not found:
        raise ValueError(f"{address.strip() or 'no address'}: Colab and Binder need one like github.com/OWNER/NAME")
    return f"{found[1]}/{found[2]}"


def badges(where: str, branch: str = "main") -> str:
    """README's lines for the repository OWNER/NAME, with their markers."""
    colab, binder = "https://colab.research.google.com", "https://mybinder.org"
    lines = [
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{where}/blob/{branch}/{FIRST})",
        f"[![Open in Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{where}/{branch}?urlpath=lab/tree/{FIRST})",
        "",
        "In Colab, put this cell before a page's first one. Both show pages with their answers and keep nothing:",
        "download your page and `work/progress.jsonl` before you close. Neither could be tried offline.",
        "",
        "```",
        f"!git clone -q --depth 1 https://github.com/{where} minidiff",
        "%run minidiff/colab.py",
        "```",
    ]
    return "\n".join([MARKS[0], *lines, MARKS[1]])


def main(argv: list[str] | None = None) -> int:
    """Write the badges of this clone's address, or of the one given, into README; the exit code."""
    given, house = sys.argv[1:] if argv is None else argv, root()
    try:
        if not given:
            asked = ["git", "-C", str(house), "remote", "get-url", "origin"]
            given = [subprocess.run(asked, capture_output=True, text=True).stdout]
        where, asked = place(given[0]), ["git", "-C", str(house), "branch", "--show-current"]
        branch = subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "main"
        text = (house / "README.md").read_text(encoding="utf-8")
        atomic_write(house / "README.md", front.with_part(text, badges(where, branch)).encode())
    except (OSError, ValueError) as error:
        print(f"badges: {error}", file=sys.stderr)
        return 1
    print(f"README.md: badges for {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
