"""The Toybox: a world of coloured shapes that move by exact laws, drawn on the device, named in sentences.

`sample` draws specs at random, `stage` from a caption; `render` turns specs into clips, `captions` into sentences.
`spec` says what a clip is, `motion` where everything is, `plan` and `world` what is drawn at random, `grammar` how
sentences are built.
"""

from minidiff.data.toybox.grammar import Scene, Thing, parse, short, write
from minidiff.data.toybox.motion import places
from minidiff.data.toybox.plan import WORLDS, World
from minidiff.data.toybox.plant import MISTAKES, plant
from minidiff.data.toybox.render import render
from minidiff.data.toybox.spec import VOCABULARY, Spec
from minidiff.data.toybox.stage import captions, counterfactual, describe, spoil, stage
from minidiff.data.toybox.world import sample

__all__ = [
    "MISTAKES", "VOCABULARY", "WORLDS", "Scene", "Spec", "Thing", "World", "captions", "counterfactual", "describe",
    "parse", "places", "plant", "render", "sample", "short", "spoil", "stage", "write",
]  # fmt: skip
