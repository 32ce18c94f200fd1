"""Makes data/emoji from five npm packages: python data/build/emoji.py --packages FOLDER

    npm pack openmoji@17.0.0 emoji-datasource@16.0.0 emoji-datasource-google@16.0.0 \
        emoji-datasource-twitter@16.0.0 @lobehub/fluent-emoji-3d@1.1.0       (181 MB, into FOLDER)
    pip install -e ".[build]"                                                (resvg, which draws the SVG)

Kept is every emoji up to version 15.0 that Google and Twitter draw, without flags, symbols and skin-tone variants: a
full table of concepts and styles (one that a package lacks is an error). Names and groups are those of emoji-datasource
(MIT), so the captions carry no share-alike. OpenMoji is drawn from its SVG at 256x256 and reduced to 64x64; Noto and
Twemoji come as 64x64; Fluent is reduced from 256x256. All are laid on white. A style becomes one PNG, a contact sheet
of 32 tiles a row. About a minute.
"""

import argparse
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image
from tqdm import tqdm

from minidiff.data.emoji import COLUMNS, STYLES
from minidiff.files import sha256, write_data

PACKAGES = {  # the file that `npm pack` writes: its sha256
    "openmoji-17.0.0.tgz": "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
    "emoji-datasource-google-16.0.0.tgz": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "emoji-datasource-twitter-16.0.0.tgz": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    "lobehub-fluent-emoji-3d-1.1.0.tgz": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "emoji-datasource-16.0.0.tgz": "2006725061dc0098daa832d65f854a7bec0740af2eb47cb5b23d89f7e2c849f9",
}  # the first four in the order of STYLES
PICTURES = ("color/svg/", "img/google/64/", "img/twitter/64/", "assets/")  # folder of the pictures in each
GROUPS = {  # emoji-datasource's name of a group: ours; the others are left out
    "Smileys & Emotion": "smiley",
    "People & Body": "person",
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Travel & Places": "place",
    "Activities": "activity",
    "Objects": "object",
}
NEWEST = 15.0  # the version of Emoji that Fluent 3D 1.1.0 was drawn for
UNDRAWN = ("1f468-200d-1f468-200d-1f467-200d-1f466", "1f469-200d-1f469-200d-1f467-200d-1f466")  # by Fluent: families


def key(code: str) -> str:
    """A code point sequence as all packages can be asked for it. Example: `key("1F642-FE0F")` is "1f642"."""
    return code.lower().replace("-fe0f", "")


def members(package: Path, folder: str) -> dict[str, bytes]:
    """`{code: content}` of a folder of pictures in a package whose sha256 is the known one; ValueError otherwise."""
    if (found := sha256(package)) != PACKAGES[package.name]:
        raise ValueError(f"{package.name} has sha256 {found}; expected {PACKAGES[package.name]}")
    inside, out = f"package/{folder}", {}
    with tarfile.open(package) as tar:
        for member in tar:
            name = member.name.removeprefix(inside)
            if member.isfile() and name != member.name and "/" not in name:
                out[key(name.rsplit(".", 1)[0])] = tar.extractfile(member).read()
    return out


def on_white(picture: Image.Image) -> np.ndarray:
    """A picture of any size on a white square, reduced to 64x64: (64, 64, 3), uint8."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square.convert("RGB").resize((64, 64), Image.Resampling.BOX if side > 64 else None))


def concepts(package: Path) -> list[dict[str, str]]:
    """The kept emoji in Unicode's order, one row each, with the columns of names.tsv.

    A family is a name without the words for who it is (man, woman, clock hands): "woman farmer" and "farmer" are on one
    side of the split; what is named otherwise ("runner", "man running") may be on two, see data/README.md. Of the
    families a seventh is held out whole; of the other concepts an eighth lacks one style. Both are drawn by the sha256
    of the name, so they stay whatever is added.
    """
    if (found := sha256(package)) != PACKAGES[package.name]:
        raise ValueError(f"{package.name} has sha256 {found}; expected {PACKAGES[package.name]}")
    with tarfile.open(package) as tar:
        rows = json.load(tar.extractfile("package/emoji.json"))
    kept = []
    for row in sorted(rows, key=lambda row: row["sort_order"]):
        drawn = row["has_img_google"] and row["has_img_twitter"] and float(row["added_in"]) <= NEWEST
        if row["category"] not in GROUPS or not drawn or key(row["unified"]) in UNDRAWN:
            continue
        name = re.sub(r"[^\w' -]", "", row["name"].lower()).strip()
        who = r"\b(wo)?m[ae]n\b|\bpersons?\b|\b(fe)?male\b|\bboy\b|\bgirl\b|(?<=^clock face ).*| (sign|symbol)$"
        family = " ".join(re.sub(who, "", name).split()) or name
        draw = int(hashlib.sha256(family.encode()).hexdigest(), 16)
        pair = int(hashlib.sha256(f"{name}, pair".encode()).hexdigest(), 16)
        held_out = "concept" if draw % 7 == 0 else STYLES[pair // 8 % len(STYLES)] if pair % 8 == 0 else ""
        group = GROUPS[row["category"]]
        columns = (key(row["unified"]), name, group, row["subcategory"], held_out)
        kept.append(dict(zip(COLUMNS, columns, strict=True)))
    return kept


def draw(content: bytes, style: str) -> np.ndarray:
    """The picture of one emoji on white, (64, 64, 3), from what its package holds: SVG for OpenMoji, else pixels."""
    if style == "openmoji":
        import resvg_py

        content = bytes(resvg_py.svg_to_bytes(svg_string=content.decode(), width=256, height=256))
    return on_white(Image.open(io.BytesIO(content)))


def convert(packages: Path) -> dict[str, bytes]:
    """`{file name: content}` of the four sheets and of names.tsv, from the folder of the packages.

    FileNotFoundError for a missing package, KeyError naming an emoji that a package lacks.
    """
    for name in PACKAGES:
        if not (packages / name).is_file():
            raise FileNotFoundError(f"no {name} in {packages}: run the 'npm pack' line of this script there")
    *sources, metadata = PACKAGES
    rows, files = concepts(packages / metadata), {}
    for style, source, folder in zip(STYLES, sources, PICTURES, strict=True):
        pictures = members(packages / source, folder)
        if missing := [row["name"] for row in rows if row["code"] not in pictures]:
            raise KeyError(f"{source} lacks {len(missing)} emoji: {', '.join(missing[:5])}")
        tiles = np.stack([draw(pictures[row["code"]], style) for row in tqdm(rows, desc=style)])  # (K, 64, 64, 3)
        files[f"{style}.png"] = sheet(tiles)
    lines = ["\t".join(COLUMNS), *("\t".join(row.values()) for row in rows)]
    return files | {"names.tsv": ("\n".join(lines) + "\n").encode()}


def sheet(tiles: np.ndarray) -> bytes:
    """A PNG contact sheet of pictures (K, 64, 64, 3), 32 a row, white where the last row ends early."""
    white = np.full((-len(tiles) % 32, *tiles.shape[1:]), 255, np.uint8)
    png = io.BytesIO()
    tiled = rearrange(np.concatenate([tiles, white]), "(r c) h w k -> (r h) (c w) k", c=32)
    Image.fromarray(tiled).save(png, "PNG", optimize=True)
    return png.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes data/emoji from five npm packages.")
    parser.add_argument("--packages", type=Path, default=Path("."), help="the folder where 'npm pack' put them")
    made = convert(parser.parse_args().packages)
    write_data("emoji", made)
    for name, content in made.items():
        print(f"{len(content):>9,} bytes  data/emoji/{name}")
