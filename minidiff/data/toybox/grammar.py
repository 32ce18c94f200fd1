"""Sentences about clips, and back: what a spec shows, a sentence says and the verifier sees are all a `Scene`.

    caption = thing { "and" thing } [ "," "lit from the" side ] [ "," "the camera pans" side ] [ "," "then a cut" ]
    thing   = noun [ "at the" place ] [ verb [ manner ] [ direction ] [ "behind a wall" ] ]
            | noun [ "at the" place ] ( "collides with" | "orbits" ) noun [ "at the" place ]
    noun    = ( "a" | "an" ) [ size ] [ colour ] shape

A short caption says colours, shapes, motions and directions; a long one all of it. Commas and capitals mean nothing.
"""

from dataclasses import dataclass, replace

from minidiff.data.toybox.spec import COLOURS, DIRECTIONS, MOTIONS, SHAPES, SIZES, TURNS, VOCABULARY
from minidiff.sentences import split

SIDES = ("left", "right")
SPEEDS = ("slowly", "quickly")
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
WORDS = 70  # the longest caption that is read


@dataclass(frozen=True)
class Thing:
    """One object as words; None is "not said". `partner`: the place in its scene of what it collides with or orbits."""

    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    place: str | None = None
    motion: str | None = None
    direction: str | None = None
    speed: str | None = None
    partner: int | None = None


@dataclass(frozen=True)
class Scene:
    """All that words can say of a clip; None is "not said". `light` "left", "right" or "none", and so is `camera`."""

    things: tuple[Thing, ...]
    light: str | None = None
    camera: str | None = None
    cut: bool | None = None


def short(scene: Scene) -> Scene:
    """The scene without what a short caption leaves out: sizes, places, speeds, turns of orbits, light, camera, cut."""
    things = (
        replace(
            x, size=None, place=None, speed=None, direction=None if x.motion in ("orbits", "collides") else x.direction
        )
        for x in scene.things
    )
    return Scene(tuple(things))


def write(scene: Scene) -> str:
    """The caption that says what is said in a scene. Example: `write(parse("A red circle, drifts left"))`."""
    parts, met = [], set()
    for i, thing in enumerate(scene.things):
        if i in met:
            continue
        words = [noun(thing)]
        if thing.motion in ("collides", "orbits") and thing.partner is not None:
            met.add(thing.partner)
            words += [thing.motion, "with" if thing.motion == "collides" else "", noun(scene.things[thing.partner])]
            if thing.motion == "orbits":
                words.append(thing.direction or "")
        else:
            behind = "behind a wall" if thing.motion == "passes" else ""
            words += [thing.motion or "", thing.speed or "", thing.direction or "", behind]
        parts.append(" ".join(word for word in words if word))
    text = " and ".join(parts)
    text += f", lit from the {scene.light}" if scene.light in SIDES else ""
    text += f", the camera pans {scene.camera}" if scene.camera in SIDES else ""
    return text + (", then a cut" if scene.cut else "")


def noun(thing: Thing) -> str:
    """ "an orange star at the top left", as far as it is said."""
    look = [word for word in (thing.size, thing.colour, thing.shape) if word]
    article = "an" if look[0][0] in "aeiou" else "a"
    return " ".join(
        [article, *look, *(["in" if thing.place == "middle" else "at", "the", thing.place] if thing.place else [])]
    )


class Reader:
    """The words of a caption and how far they are read."""

    def __init__(self, caption: str):
        self.words, self.at = split(caption, VOCABULARY, VOCABULARY, WORDS), 0

    def next(self, *options: str) -> str | None:
        """The longest of the options (of one or two words) that comes next, and read; else None."""
        for option in sorted(options, key=len, reverse=True):
            words = option.split()
            if self.words[self.at : self.at + len(words)] == words:
                self.at += len(words)
                return option
        return None

    def need(self, what: str, *options: str) -> str:
        """The same, or ValueError naming the place and what was expected there."""
        if found := self.next(*options):
            return found
        here = self.words[self.at] if self.at < len(self.words) else "the end"
        read = " ".join(self.words[: self.at]) or "the beginning"
        later = (
            "" if here not in VOCABULARY[VOCABULARY.index("zero") :] else " (a word for later chapters of this world)"
        )
        choice = f"; expected {what}: {', '.join(options[:12])}"
        raise ValueError(f"after {read!r} comes {here!r}{later}{choice}")

    def noun(self) -> Thing:
        """A thing's look and place."""
        self.need("an article", "a", "an")
        size, colour = self.next(*SIZES), self.next(*COLOURS)
        shape = self.need("a shape" if colour else "a colour or a shape", *(() if colour else COLOURS), *SHAPES)
        place = self.need("a place", *PLACES) if self.next("at the", "in the") else None
        return Thing(colour, shape, size, place)


def parse(caption: str) -> Scene:
    """The scene that a caption describes. ValueError for what is no sentence of this world, naming the word.

    Example: `parse("a red circle collides with a blue square").things[0].partner` is 1.
    """
    reader, things = Reader(caption), []
    while not things or reader.next("and"):
        thing = reader.noun()
        if not (motion := reader.next(*MOTIONS)):
            things.append(thing)
            continue
        partner = None
        if motion == "collides":
            reader.need("with whom", "with")
        if motion == "collides" or (motion == "orbits" and reader.words[reader.at : reader.at + 1] in (["a"], ["an"])):
            partner, other = len(things) + 1, reader.noun()
            still = (
                replace(other, motion="rests")
                if motion == "orbits"
                else replace(other, motion=motion, partner=len(things))
            )
        speed = reader.next(*SPEEDS) if motion == "drifts" else None
        ways = {"drifts": tuple(DIRECTIONS), "bounces": SIDES, "passes": SIDES, "orbits": TURNS}.get(motion, ())
        direction = reader.next(*ways)
        if motion == "passes":
            reader.need("what it passes", "behind a wall", "behind the wall")
        things.append(replace(thing, motion=motion, speed=speed, direction=direction, partner=partner))
        if partner is not None:
            things.append(still)
    if len(things) > 4:
        raise ValueError(f"the caption has {len(things)} objects: expected 4 or fewer")
    light = reader.need("a side", *SIDES) if reader.next("lit from the") else None
    pan = reader.need("a side", *SIDES) if reader.next("the camera pans") else None
    cut = bool(reader.next("then a cut"))
    if reader.at < len(reader.words):  # a second light, say, or an object after the light
        after, here = " ".join(reader.words[: reader.at]), " ".join(reader.words[reader.at : reader.at + 3])
        raise ValueError(
            f"after {after!r} comes {here!r}: expected the end of the caption (objects come first, "
            "then a light, then a pan of the camera, then a cut, each at most once)"
        )
    return Scene(tuple(things), light, pan, cut or None)
