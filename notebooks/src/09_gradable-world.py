# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   minidiff:
#     slug: gradable-world
#     title: A world we can grade
#     claim: Where the world is ours, whether a clip is right is not an opinion but a measurement.
#     objectives:
#       - turn a sentence into a clip of which everything is known, and back
#       - find objects in a picture by arithmetic alone, to far less than a pixel
#       - say by which law an object moves, and weigh gravity from twelve frames
#       - tell apart who notices which mistake, and who cannot
#       - explain why a frame difference does not measure flicker
#     prerequisites: [forward]
#     minutes_compute: 2
#     hours_learner: 1
#     memory_gb: 1
#     data: [toybox]
#     weights: []
#     exercises: [gradable-world.centre, gradable-world.binding, gradable-world.gravity]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 09 · A world we can grade
#
# **Where the world is ours, whether a clip is right is not an opinion but a measurement.**
#
# `compute 2 min` · `you 1 h` · `memory 1 GB` · live, but for what is marked as recorded
#
# Write a sentence, get a film. No model is at work here, and nothing is learned in this whole chapter: a small program moves shapes by exact laws and draws them.

# %%
from dataclasses import replace

import numpy as np
import torch
from skimage.measure import label, regionprops
from skimage.segmentation import expand_labels
from torch import Generator

from minidiff import pick
from minidiff.course.notebook import *
from minidiff.data.toybox import *  # stage, render, sample, parse, ...: the world of this chapter
from minidiff.data.toybox.spec import COLOURS as TOYS
from minidiff.measure.adherence import grade, watch
from minidiff.measure.motion import bounces, drifts, orbits, rests

scale = start(needs="0.1")

# %% tags=["core"]
caption = "a red circle bounces right and a blue star rests, lit from the left"
spec = stage(caption, Generator().manual_seed(4))  # a clip in numbers: what is there, where, how fast
clip = render(spec)[0]  # (3, 12, 32, 32): colours, frames, height, width, in [-1, 1]

# %% tags=["core", "stage"]
reel(
    {caption: clip},
    alt="On a light grey ground a red disc falls, jumps off the floor and flies on to the right, while a blue star hangs in the air. Below both lie soft shadows, to the right of them.",
    mark="exact: drawn by the Toybox, 32 x 32 pixels, 12 frames, seed 4",
)

# %% [markdown]
# This world is called the **Toybox**, and later chapters train their video models on it. It pays that we built it ourselves. Ask of a film of a dog whether gravity is right in it! Here we *know* where every object is, how heavy and how fast, at any moment. (*Rests* means: stays put, in mid-air if need be.) So a second program, the **verifier**, can check any clip. From nothing but the pixels it says what it sees, and that can be compared with what was asked:

# %% tags=["core"]
seen = watch(clip[None])[0]
print("asked:", caption)
print("seen: ", write(seen.scene))
marks = grade(seen, parse(caption))

# %% tags=["core", "stage"]
meaning = {
    "count": "as many objects as asked for",
    "colour": "the colours asked for that are there",
    "shape": "the shapes",
    "motion": "the motions",
    "direction": "the directions",
    "binding": "objects with the right colour *and* the right shape, both at once",
    "light": "lit from the right side",
}
table(
    ["figure", "what it is the share of", "here"],
    [[f"`{name}`", words, f"{marks[name]:.0%}"] for name, words in meaning.items()],
)

# %% [markdown]
# It was told nothing, and says more than we asked: sizes, places. Only what was asked is graded. Why `binding` needs a figure of its own, you see when two objects swap their colours:

# %% tags=["core"]
pair = stage("a red circle rests and a blue square rests", Generator().manual_seed(1))
swapped = counterfactual(pair, "colour")  # the same clip to the last number, but for the colours
two = torch.cat([render(pair), render(swapped)])
marks = [grade(view, describe(pair)[0]) for view in watch(two)]

# %% tags=["core", "stage"]
words = [", ".join(f"{name} {m[name]:.0%}" for name in ("colour", "shape", "binding")) for m in marks]
show(
    image_grid(two[:, :, 0], columns=2, titles=[f"binding {m['binding']:.0%}" for m in marks], scale=5),
    alt=f"Two pictures. Left a red disc and a blue square: {words[0]}. Right the same with the colours swapped: {words[1]}.",
    mark=f"live: graded against “a red circle and a blue square”. Left: {words[0]}; right: {words[1]}",
)

# %% [markdown]
# Now you. In a notebook of your own, write a sentence, and choose a mistake to be planted in its clip. Does the verifier notice? (A word that the world does not know is an error, and names the nearest that it knows. Try *a red ball*.)


# %% tags=["core"]
def odds(physics):  # what no clip of this world should show; more about it below
    return {
        "switches": physics["switches"] > 0,
        "speed": physics["speed"] < 0.004,  # heights a frame: an eighth of a pixel
        "gravity": physics["gravity"] < 0,  # it falls upwards
        "jitter": physics["jitter"] > 0.01,  # a third of a pixel
    }


# %% tags=["core", "stage"]
def my_clip(sentence, mistake, seed):
    scene, spec = parse(sentence), stage(sentence, Generator().manual_seed(seed))
    film = render(spec) if mistake == "none" else plant(spec, mistake, Generator().manual_seed(seed))
    view = watch(film)[0]
    wrong = [f"{name} {share:.0%}" for name, share in grade(view, scene).items() if share < 1]
    odd = [name for name, is_odd in odds(view.physics).items() if is_odd]
    fig, ax = figure(height=1.7)
    ax.imshow(tile(film[0].movedim(1, 0)[::2], columns=6, scale=3))
    ax.axis("off")
    ax.set_title(f"not as asked: {', '.join(wrong) or 'nothing'}; odd: {', '.join(odd) or 'nothing'}", fontsize=8.5)
    return fig


play(
    my_clip,
    alt=lambda sentence, mistake, seed: (
        f"Every second frame of a clip of the sentence: {sentence}. Planted mistake: {mistake}. The title says what the verifier finds wrong."
    ),
    sentence="a large green ring bounces right and an orange triangle rests",
    mistake=["none", *MISTAKES],
    seed=(0, 20, 1, 0),
)

# %% [markdown]
# ## Six ways to move
#
# An object rests, drifts, bounces, collides, orbits, or passes behind a wall. Each motion is a formula that gives the place at *any* time, so there is nothing to simulate and no error to pile up. A bounce is one parabola after the other; a collision is elastic, with masses as large as the areas; what passes behind a wall goes straight on while nobody looks.

# %% tags=["core"]
sentences = [
    "a yellow square drifts slowly up",
    "a pink ring bounces left",
    "a cyan circle collides with a purple circle",
    "a green triangle orbits an orange square",
    "a red star passes right behind a wall",
    "a blue ring rests, the camera pans left",
]
films = render(stage(sentences, Generator().manual_seed(3)))  # (6, 3, 12, 32, 32)

# %% tags=["core", "stage"]
reel(
    {sentence.removeprefix("a "): film for sentence, film in zip(sentences, films, strict=True)},
    alt="Six rows of six frames. A yellow square rises; a pink ring jumps along to the left; a cyan and a purple disc hit each other; a green triangle circles an orange square; a red star vanishes behind a dark wall and comes out on the other side; a blue ring slides a little to the right together with the ground, as the camera moves to the left.",
    mark="exact: drawn by the Toybox, seed 3",
)

# %% [markdown]
# ## How can a program see?
#
# By a trick that is built into this world: **everything that is not an object is grey.** Sky, floor, wall and shadow have equal parts of red, green and blue. So take from each pixel the mean of its three numbers. What is grey becomes nothing. What is left, the *chroma*, is an arrow. Its direction says which colour; its length, against that of the full colour, says how much of the pixel the object covers.
#
# Pixels at the edge are covered by a half or a tenth, and this is a gift. Their shares say where the edge runs *within* the pixel. Weigh every pixel by its cover, and the mean place is the centre of the object.

# %% tags=["core", "builds:measure.tracks.objects"]
paint = np.array(list(TOYS.values()))  # (8, 3), eight colours
arrow = paint - paint.mean(1, keepdims=True)  # ... without their grey
length = np.linalg.norm(arrow, axis=1)


def find(picture):  # (3, H, W) in [-1, 1]
    p = (picture.movedim(0, -1).numpy() + 1) / 2  # (H, W, 3) in [0, 1]
    chroma = p - p.mean(-1, keepdims=True)  # what is grey is gone
    colour = (chroma @ (arrow / length[:, None]).T).argmax(-1)  # (H, W): the nearest direction
    cover = (chroma * (arrow / length[:, None] ** 2)[colour]).sum(-1).clip(0, 1)  # (H, W)
    islands = expand_labels(label(np.where(cover > 0.35, colour + 1, 0)), 2.5)  # connected, of one colour
    found = []
    for island in regionprops(islands, cover):
        inside = islands == island.label
        name = list(TOYS)[colour[inside][cover[inside].argmax()]]  # that of its fullest pixel
        found.append((name, *island.centroid_weighted))
    return found


# %% tags=["core", "stage"]
first = films[3, :, 0]
grey = first.mean(0, keepdim=True)
tint = first - grey  # (3, 32, 32), twice the chroma: values run from -1 to 1
full = torch.tensor(arrow / length[:, None] ** 2, dtype=torch.float32)  # (8, 3)
cover = torch.einsum("kc,chw->khw", full, tint / 2).amax(0)  # of the colour that fits best
fig = image_grid(
    torch.stack([first, grey.expand_as(first), (2 * cover.clamp(0, 1) - 1).expand_as(first)]),
    columns=3,
    titles=["a frame", "its grey, taken away", "cover"],
    scale=5,
)
show(
    fig,
    alt="Three small pictures. A frame with a green triangle and an orange square on a cloudy grey ground; the same frame in grey; and the cover: a white triangle and a white square on pure black, with grey pixels along their edges.",
    mark="exact: frame 1 of the orbit above",
)
truth = places(stage(sentences, Generator().manual_seed(3)))[3, 0] * 32  # (2, 2), in pixels
for name, row, column in find(first):
    off = min(np.hypot(*(np.array([column + 0.5, row + 0.5]) - at)) for at in truth.numpy())
    print(
        f"{name}: {column + 0.5:.2f} from the left, {row + 0.5:.2f} from the top; off the true centre by {off:.3f} pixels"
    )

# %% [markdown]
# A small part of a pixel, for objects that are only a few pixels wide. The shape follows in the same spirit: draw all five shapes in the place found, with the area found, and see which lies closest. Then the objects of one frame are joined to those of the next, by place and never by looks: a ball that changes its colour should be *one* track with two colours, not two balls.
#
# ## Which law?
#
# A track is a list of places. The verifier offers it to the laws in turn, fits each by least squares, and asks what is left over. A law with more constants always fits a little better, so each constant has a price. Here is the pink ring from above, and four of the laws (a drift may turn round once, as at an edge of the world):

# %% tags=["core"]
ring = watch(films[1:2])[0]
t, path = ring.moves[0].times[0], ring.moves[0].places[0]  # (K,), (K, 2)
laws = [law for fit in (rests, drifts, orbits, bounces) if (law := fit(t, path)) is not None]
best = min(laws, key=lambda law: law.cost())

# %% tags=["core", "stage"]
fig, (left, right) = figure(1, 2, height=2.7)
(x0, y0), (x1, y1) = path.min(0) - 0.06, path.max(0) + 0.06
for law, kind in zip(laws, ["data", "model", "noise", "exact"], strict=False):
    style = {"ls": "", "marker": "x"} if law.name == "rests" else {"lw": 2 if law is best else 1.2}
    left.plot(*law.path.T, color=COLOURS[kind], label=law.name, **style)
left.plot(*path.T, "o", color=COLOURS["exact"], ms=4)
left.set(xlim=(x0, x1), ylim=(y1, y0), xticks=[], yticks=[], title="places, and each law's best")
left.legend(fontsize=8, loc="best")
bars = {f"{law.name}, {law.constants} constants": 32 * law.off for law in laws}
right.barh([*bars], [*bars.values()], color=[COLOURS["exact" if law is best else "data"] for law in laws])
right.invert_yaxis()
right.set(xlabel="left over, pixels (log)", xscale="log")
show(
    fig,
    alt=f"Left, twelve places of the ring and the best path by each of four laws. Right, a bar for what each law leaves over, on a logarithmic axis; the shortest by far belongs to {best.name}.",
    mark="live: one track, fitted by least squares",
)
g, true_g = best.values.get("g", float("nan")), float(stage(sentences, Generator().manual_seed(3)).gravity[1])
say(
    f"It **{best.name}**. Gravity, read off the pixels: {g:.5f} heights a frame²; in the spec: {true_g:.5f}, {abs(g / true_g - 1):.1%} away. Speed after the floor over speed before: {best.values.get('restitution', float('nan')):.2f}."
)

# %% [markdown]
# ## Plant a mistake
#
# A verifier that praises everything is worthless, and so is one that complains about everything. The test is to plant *one* mistake in a clip that is right, and see who notices. You had the menu above:

# %% tags=["core", "stage"]
table(
    ["mistake", "what you would see"],
    [
        ["recolour", "another colour for the last third"],
        ["freeze", "nothing moves"],
        ["shuffle", "the frames in random order"],
        ["reversed gravity", "it hangs from the ceiling, and bounces there"],
        ["double", "it is there twice"],
        ["teleport", "it leaps in mid-clip"],
    ],
)

# %% [markdown]
# Seven figures may notice. Three compare with what was asked: `count`, `motion`, `direction`. Four are physics, the function `odds` above: `switches`, how often a track changes its colour; `speed`, how far an object goes in a frame; `gravity`; and `jitter`, how much it shakes around the path that its law says (in pixels a frame², as it is a change of velocity).

# %% tags=["core", "stage"]
predict(
    "gradable-world.shuffle",
    "Frames in random order: which figure will still be content?",
    ["motion", "jitter", "switches", "direction"],
)

# %% tags=["core"]
n = pick(smoke=6, laptop=40)
world = World((1, 1), ("bounces",), lit=0)  # single objects that bounce
balls = sample(n, Generator().manual_seed(5), world)
asked = describe(balls)  # a scene in words for each


# %% tags=["core"]
def figures(clips):  # (n,) for each figure: how wrong it says each clip is, 0 or 1
    views = watch(clips)
    marks = [grade(view, scene) for view, scene in zip(views, asked, strict=True)]
    said = {name: np.array([mark[name] < 1 for mark in marks]) for name in ("count", "motion", "direction")}
    odd = [odds(view.physics) for view in views]
    return said | {name: np.array([o[name] for o in odd]) for name in odd[0]}


# %% tags=["core"]
planted = {"no mistake": render(balls)}
planted |= {mistake: plant(balls, mistake, Generator().manual_seed(6)) for mistake in MISTAKES}
alarms = {mistake: figures(clips) for mistake, clips in tqdm(planted.items(), desc="looking")}

# %% tags=["core", "stage"]
names = list(alarms["no mistake"])
share = np.array([[alarms[row][name].mean() for name in names] for row in alarms])
fig, ax = figure(height=3.1)
ax.imshow(share, cmap="Greys", vmin=0, vmax=1.4, aspect="auto")
for i, j in np.ndindex(share.shape):
    dark = share[i, j] > 0.5
    ax.text(j, i, f"{share[i, j]:.0%}", ha="center", va="center", fontsize=8.5, color="white" if dark else "black")
ax.set(xticks=range(len(names)), xticklabels=names, yticks=range(len(share)), yticklabels=list(alarms))
ax.grid(False)
show(
    fig,
    alt="A table of shades, a row for each mistake, a column for each figure. Alarms in most clips: "
    + "; ".join(f"{row}: {', '.join(k for k in names if alarms[row][k].mean() > 0.5) or 'none'}" for row in alarms)
    + ".",
    mark=f"live: {n} clips a row, seeds 5 and 6; the share of clips in which a figure sounds the alarm",
)
reveal("gradable-world.shuffle", "switches", "A shuffled object keeps its colour: single frames are as before.")

# %% [markdown]
# No column is dark everywhere, and no row: no figure is *the* quality of a clip. Later chapters will always show several side by side. And look at the first row. Without it, the others would mean nothing.

# %% [markdown]
# ## Spot the fake
#
# Now you play against the verifier. Three rounds; in each, one of two clips obeys all laws. The verifier has watched true clips, and complains when a figure is worse than in any of them:

# %% tags=["core"]
wanted = World((2, 2), ("collides", "passes"), lit=0, pans=0, cuts=0)
pairs = sample(pick(smoke=16, laptop=100), Generator().manual_seed(7), wanted)
watched = ("jitter", "switches", "momentum", "overlap", "leaps")  # more is worse
known = [view.physics for view in watch(render(pairs))]
worst = {name: max(physics[name] for physics in known if np.isfinite(physics[name])) for name in watched}


def suspicious(clip):  # the figures that are worse than in any true clip
    physics = watch(clip[None])[0].physics
    found = [name for name in watched if physics[name] > 1.1 * worst[name] + 1e-9]
    return found + ["kept"] * (physics["kept"] < 1)  # what came out from behind a wall is not what went in


# %% [markdown]
# (`momentum` is the share of it that a collision lost, `overlap` how far one object is inside another, `leaps` how often one appears or vanishes in mid-picture.) Do not unfold the next cell: it makes the fakes. And in one of the six clips the light flickers faintly; if you are sensitive to that, take the contact sheets and leave the clips.

# %% tags=["core", "stage"]
star, other = (
    render(stage(f"a {colour} star passes right behind a wall", Generator().manual_seed(8)))[0]
    for colour in ("pink", "green")
)
crash = stage("a small cyan circle collides with a large orange circle", Generator().manual_seed(4))
heavy = replace(crash, radius=crash.radius.flip(1))  # as if the small one weighed what the large one weighs
still = render(stage("a blue square rests and a yellow triangle drifts slowly left", Generator().manual_seed(2)))[0]
fair = [star, render(crash)[0], still]
foul = [
    torch.cat([star[:, :6], other[:, 6:]], 1),
    render(crash, at=places(heavy))[0],
    still + 0.1 * torch.randn(12, 1, 1, generator=Generator().manual_seed(1)),
]
fakes = [("A", "B")[i] for i in torch.randint(2, (3,), generator=Generator().manual_seed(22)).tolist()]
rounds = [
    {"A": bad, "B": good} if fake == "A" else {"A": good, "B": bad}
    for fake, good, bad in zip(fakes, fair, foul, strict=True)
]

# %% tags=["core", "stage"]
scenes = [
    "In both a pink star goes in behind a dark wall. In A a {A} one comes out, in B a {B} one.",
    "In both a large orange and a small cyan disc run into each other. In A {A}, in B {B}.",
    "In both a blue square rests and a yellow triangle drifts to the left. {A} {B}",
]
telling = [
    ("pink", "green"),
    ("the small one is thrown back", "the large one is thrown back"),
    ("", "In one of them the whole picture is now a little brighter, now a little darker."),
]
for i, (pair, scene, (good, bad)) in enumerate(zip(rounds, scenes, telling, strict=True)):
    predict(f"gradable-world.{i + 1}", f"Round {i + 1}: which one is the fake?", ["A", "B"])
    reel(
        pair,
        alt="Two clips. " + scene.format(A=bad if fakes[i] == "A" else good, B=bad if fakes[i] == "B" else good),
        mark=f"live: round {i + 1}, one of the two is fake",
        flickers=i == 2,
    )

# %% [markdown]
# Have you decided? Here is what it was, and what the verifier says to the fakes:

# %% tags=["core", "stage"]
verdicts = [[", ".join(suspicious(clip)) or "none" for clip in clips] for clips in (foul, fair)]
told = [
    "the star came out in another colour",
    "the small disc pushed as if it were the heavy one",
    "the light flickered",
]
for i, fake in enumerate(fakes):
    reveal(f"gradable-world.{i + 1}", fake, f"{told[i].capitalize()}.")
table(
    ["round", "the fake", "what was wrong", "the verifier's alarms", "its alarms for the true clip"],
    [[i + 1, fakes[i], told[i], verdicts[0][i], verdicts[1][i]] for i in range(3)],
)

# %% [markdown]
# Who won? Compare your bets with the table. Round 2 is a matter of momentum, which is hard to see and easy to compute. Round 3 is the other way round. The alarms watch objects, and objects are found by their colour; light that changes all colours alike does not reach them. **A measure is blind to what it was not built to see**, and it will never tell you so. That is why this course shows clips beside its figures.
#
# ## A frame difference is not flicker
#
# A common misreading, and a tempting one: to measure whether a video flickers, take the mean absolute difference of neighbouring frames. Much difference, much flicker. It is one line:


# %% tags=["core"]
def frame_difference(clip):  # (3, F, H, W)
    return (clip[:, 1:] - clip[:, :-1]).abs().mean()


# %% [markdown]
# Let it judge three kinds of clips. In the first, objects drift quickly: smooth, and nothing flickers. In the second they stand still but tremble, by a third of a pixel or so, differently in each frame. In the third they stand perfectly still, and the light flickers a little.

# %% tags=["core"]
crossing = [
    f"a large {one} star drifts quickly left and a large {two} ring drifts quickly right"
    for one, two in zip(TOYS, [*TOYS][::-1], strict=True)
]
moving = stage((crossing * n)[:n], Generator().manual_seed(11))
standing = sample(n, Generator().manual_seed(12), World((1, 2), ("rests",), lit=0, pans=0, cuts=0))
tremble = 0.011 * torch.randn(n, 12, standing.shape.shape[1], 2, generator=Generator().manual_seed(13))
light = 0.015 * torch.randn(n, 1, 12, 1, 1, generator=Generator().manual_seed(14))
kinds = {
    "smooth motion": render(moving),
    "trembling": render(standing, at=places(standing) + tremble),
    "flickering light": render(standing) + light,
}
difference = {kind: [float(frame_difference(clip)) for clip in clips] for kind, clips in kinds.items()}
views = {kind: watch(clips) for kind, clips in kinds.items()}
jitter = {kind: [max(32 * view.physics["jitter"], 1e-3) for view in seen] for kind, seen in views.items()}

# %% tags=["core", "stage"]
fig, ax = figure(height=2.8)
for kind, look_, marker in zip(kinds, ("data", "model", "noise"), ("o", "^", "s"), strict=True):
    ax.plot(difference[kind], jitter[kind], marker, ms=5, color=COLOURS[look_], alpha=0.7, label=kind)
ax.set(xlabel="frame difference", ylabel="jitter, pixels a frame² (log)", yscale="log", xlim=(0, None))
ax.legend(fontsize=8)
show(
    fig,
    alt="Each mark is a clip: frame difference across, jitter up, on a logarithmic axis; one kind of mark for smooth motion, one for trembling, one for flickering light.",
    mark=f"live: {n} clips of each kind, seeds 11 to 14; a jitter below 0.001 is drawn at 0.001",
)
table(
    ["kind", "frame difference, median", "jitter, median"],
    [[kind, f"{np.median(difference[kind]):.3f}", f"{np.median(jitter[kind]):.2f} pixels a frame²"] for kind in kinds],
)

# %% [markdown]
# The frame difference gives its highest marks for flicker to the clips that do not flicker: it measures *how much changes*. Reward it, and you get stills. VBench, a widely used test suite of video models, has this figure as `temporal_flickering` (turned round, so that high is good). Its authors know, and say in the code that the video must be static; the number gets quoted without that line. `jitter` asks how far the motion is from its law. It tells trembling from motion at a glance, and is blind to the light, which the frame difference sees if nothing moves. Two figures, two blind spots. Show both, and `speed` beside them, because a frozen clip has neither.

# %% [markdown]
# ## The floor
#
# The verifier is a program, and programs err. So every one of its figures needs its **floor** (no relation to the one that balls bounce on): what it says of clips that are perfect. If true clips are graded 97%, a model whose clips are graded 97% has nothing left to gain by this figure. And floors sink when the picture is spoiled. H.264, the usual video codec, spoils it a good deal: as it is mostly written, it keeps one colour sample for four pixels, and here colour tells everything. (*crf 23* is the encoder's default quality.)

# %% tags=["core"]
floors, smallest = recorded("toybox-floors"), recorded("toybox-sizes")

# %% tags=["core", "stage"]
ways = {"clean": "clean", "blur": "blurred by a pixel", "noise": "noise of 0.05", "h264": "through H.264, crf 23"}
table(
    ["true clips", "colour", "shape", "motion", "centre off by, pixels", "gravity off by"],
    [
        [
            f"{row['height']} × {row['height']}, {ways[row['spoil']]}",
            *(f"{row[name]:.1%}" for name in ("colour", "shape", "motion")),
            f"{row['centre']:.3f}",
            f"{row['gravity']:.1%}",
        ]
        for row in floors.rows
    ],
)
say(f"<small>*{floors.mark}; the whole world; gravity: median of those that are seen to fall*</small>")

# %% [markdown]
# How small may an object be? In a clean picture absurdly small, as the shares of its edge tell a star from a ring. What counts is how much spoiling a size can bear. The curves are for single frames of 32 × 32 pixels; grey bars mark the three sizes of this world.

# %% tags=["core", "stage"]
fig, ax = figure(height=2.7)
for size in (0.07, 0.095, 0.125):
    ax.axvline(size, color="#D5D7DD", lw=6, zorder=0)
radii = sorted({row["radius"] for row in smallest.rows})
ax.set(xlim=(0.035, 0.16), ylim=(0, 1.08), xlabel="radius of the disc of the same area, heights", ylabel="shape right")
curves = {ways[spoil]: [smallest.where(height=32, spoil=spoil, radius=r)[0]["shape"] for r in radii] for spoil in ways}
lines(ax, radii, curves, ["exact", "data", "noise", "model"])
show(
    fig,
    alt="Four curves of the share of shapes that are right against the radius, for clean, blurred and noisy pictures and for H.264. At the smallest of three sizes, marked as grey bars: "
    + ", ".join(f"{name} {curve[radii.index(0.07)]:.0%}" for name, curve in curves.items())
    + ".",
    mark=smallest.mark,
)

# %% [markdown]
# So blur and noise, which every generated clip has a little of, decide how small the smallest may be. The codec is another matter: whoever compresses clips before grading them should draw them at 64 × 64, and quote the floor even there.
#
# ## Exercises
#
# **1 · Where is it?** (difficulty 1 of 3, 10 minutes). `cover` is `(H, W)`, each pixel's share, 0 to 1. Return the centre of the object as a tensor `(x, y)`, in pixels from the top left corner of the picture, so that the middle of the first pixel is (0.5, 0.5).


# %% tags=["core"]
def my_centre(cover):
    raise NotImplementedError


check("gradable-world.centre", my_centre)

# %% [markdown]
# **2 · Who wears what?** (difficulty 2, 15 minutes). A red circle and a blue square were asked for; a blue circle and a red square came. All colours are there, and all shapes. *Binding* is the figure that knows, and text-to-image models often fail it. `asked` and `seen` are lists of pairs such as `("red", "circle")`, in any order; what is asked for twice must be there twice. Return the share of the pairs asked for that are there.


# %% tags=["core"]
def my_binding(asked, seen):
    raise NotImplementedError


check("gradable-world.binding", my_binding)

# %% [markdown]
# **3 · Measure gravity** (difficulty 2, 15 minutes). `y` is `(K,)`: how far below the top an object is, frame by frame, while it flies freely; it may have been thrown. The places are a little noisy. Return gravity, in heights a frame squared.


# %% tags=["core"]
def my_gravity(y):
    raise NotImplementedError


check("gradable-world.gravity", my_gravity)

# %% [markdown]
# ## What this does not show
#
# The verifier works because this world was made for it: grey ground, eight hues, five shapes, six laws. Of a film of a street it would see nonsense, and grade it with confidence. It cannot judge what it has no words for: a flickering sky, an ugly edge, a shadow of the wrong shape. Two objects of one colour that touch are one object to it. What it can do is say, of one claim at a time, whether it holds, with an error that is known. The video chapters live on that. One rule comes with it: **nobody ever trains on the verifier.** A model that is rewarded by a measure learns to please the measure.
#
# ## What we found

# %% tags=["core", "stage"]
clean, codec = (floors.where(height=32, spoil=spoil)[0] for spoil in ("clean", "h264"))
found = {row: {name: f"{alarms[row][name].mean():.0%}" for name in names} for row in alarms}
off = [
    " : ".join(f"{np.median(of[kind]):.3f}" for kind in ("smooth motion", "trembling")) for of in (difference, jitter)
]
table(
    ["question", "answer", "beside it"],
    [
        ["Gravity from one clip", f"{abs(g / true_g - 1):.1%} off", f"median (recorded): {clean['gravity']:.1%}"],
        ["Who notices a shuffle?", f"jitter, in {found['shuffle']['jitter']}", f"no mistake: {found['no mistake']['jitter']}"],
        ["Who notices a new colour?", f"switches, in {found['recolour']['switches']}", f"jitter: {found['recolour']['jitter']}"],
        ["Frame difference, smooth : trembling", off[0], f"jitter: {off[1]} pixels a frame²"],
        ["Shapes right at 32 × 32 (recorded)", f"{clean['shape']:.1%}", f"through H.264: {codec['shape']:.1%}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Justin Johnson, Bharath Hariharan, Laurens van der Maaten, Li Fei-Fei, C. Lawrence Zitnick, Ross Girshick: *CLEVR: A Diagnostic Dataset for Compositional Language and Elementary Visual Reasoning*, CVPR 2017, arXiv 1612.06890. An ancestor: still pictures, made to be asked about.
# - Bingyi Kang, Yang Yue, Rui Lu, Zhijie Lin, Yang Zhao, Kaixin Wang, Gao Huang, Jiashi Feng: *How Far is Video Generation from World Model: A Physical Law Perspective*, ICML 2025, arXiv 2411.02385. Balls and parabolas; velocities compared with the simulator's, inside and outside of what a model was trained on: chapter 23.
# - Ziqi Huang and others: *VBench: Comprehensive Benchmark Suite for Video Generative Models*, CVPR 2024, arXiv 2311.17982. Sixteen figures; read how each is computed before quoting it.
#
# **Next, chapter 10:** pictures get smaller. An autoencoder keeps what matters, and you will see what dies first.
