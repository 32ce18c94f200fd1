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
#     slug: spacetime-patches
#     title: Spacetime patches, or how to make fewer tokens of a film
#     claim: A token may be a box of space and time, and a film costs as many tokens as it has boxes; what to leave out can be measured word by word. Ours keeps motion and blurs shape, and a linear code of its size does the reverse.
#     objectives:
#       - cut a clip into boxes of space and time, and put it together again
#       - count the tokens of any clip, and correct the figures that circulate
#       - find out which motions suit a long box, and which a wide one
#       - build a convolution that never looks ahead, and see what an autoencoder made of it does
#       - measure what compression costs in colour, shape and speed
#     prerequisites: [flicker, autoencoders]
#     minutes_compute: 2
#     hours_learner: 2.5
#     memory_gb: 2
#     data: [clips]
#     weights: [video-vae-2, video-vae-4]
#     exercises: [spacetime-patches.budget, spacetime-patches.cut, spacetime-patches.causal]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 17 · Spacetime patches, or how to make fewer tokens of a film
#
# **A token may be a box of space and time, and a film costs as many tokens as it has boxes; what to leave out can be measured word by word. Ours keeps motion and blurs shape, and a linear code of its size does the reverse.**
#
# `compute 2 min` · `you 2.5 h` · `memory 2 GB` · pictures are live, the comparisons are recorded and marked so
#
# So far every clip of this course was drawn by code. Here is one that was not: a city at night, from a real camera.

# %%
import math

import torch
from matplotlib.patches import Rectangle
from torch import Generator
from torch.nn import functional as F

from minidiff import load, pick
from minidiff.course.notebook import *
from minidiff.data import toybox
from minidiff.data.clips import city
from minidiff.data.line import MOTIONS, sample
from minidiff.data.toybox.spec import SHAPES
from minidiff.measure.adherence import watch
from minidiff.recipes.run import shipped
from minidiff.recipes.video import clips13, graded, held_out, round_trip
from minidiff.sweeps.line import PATCHES
from minidiff.sweeps.row import unpack
from minidiff.train import flops
from minidiff.train.checkpoint import read_header

scale = start(needs="0.1")

# %% tags=["core", "stage"]
clip = city().frames[None, :, :28]  # (1, 3, 28, 72, 128)
reel({"28 frames": clip[0]}, alt="A city at night from above, tall lit buildings, the camera coming slowly nearer.", mark="exact: a real clip, 72×128 pixels")  # fmt: skip

# %% [markdown]
# A transformer cannot look at a film. It looks at a list of tokens. A patch was a square of pixels (chapter 13); give it a third side, time, and a clip becomes a list of boxes, each a few frames of a small window:


# %% tags=["core", "builds:nn.dit.patchify"]
def cut(x, pf, p):  # a clip (B, C, F, H, W) -> (B, F/pf, N, pf*p*p*C)
    B, C, F_, H, W = x.shape
    x = x.reshape(B, C, F_ // pf, pf, H // p, p, W // p, p)  # each axis: which box, and where in it
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1)  # (B, F/pf, H/p, W/p, pf, p, p, C)
    return x.reshape(B, F_ // pf, (H // p) * (W // p), pf * p * p * C)


def glue(tokens, pf, p, rows):  # the way back
    B, f, N, D = tokens.shape
    x = tokens.reshape(B, f, rows, N // rows, pf, p, p, D // (pf * p * p))
    x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)  # (B, C, f, pf, rows, p, columns, p)
    return x.reshape(B, D // (pf * p * p), f * pf, rows * p, N // rows * p)


# %% tags=["core", "stage"]
predict("spacetime-patches.count", "28 frames of 72×128 in boxes of 4 frames and 8×8 pixels: how many tokens?", ["144", "1,008", "4,032", "32,256"])  # fmt: skip

# %% tags=["core"]
boxes = cut(clip, 4, 8)
f, h, w = 28 // 4, 72 // 8, 128 // 8
boxed = F.pad(boxes.reshape(f, h, w, 4, 8, 8, 3), (0, 0, 0, 2, 0, 2), value=1.0)  # a white gap round each box
apart = boxed.permute(6, 0, 3, 1, 4, 2, 5).reshape(3, 28, h * 10, w * 10)  # (C, F, rows, columns)

# %% tags=["core", "stage"]
reel(
    {"as it is": F.pad(clip[0], (16, 16, 9, 9), value=1.0), "in boxes": apart},
    alt="A city at night, tall lit buildings that grow slowly, and the same clip cut into boxes of 8 by 8 pixels with white gaps between them.",
    mark="exact: a real clip, cut",
)
same = torch.equal(glue(boxes, 4, 8, rows=h), clip)
reveal("spacetime-patches.count", f"{f * h * w:,}", f"{f} times {h * w}: the boxes of one frame are {h} × {w}, and a box lasts four frames. Glued together again, the clip is {'the same to the last bit' if same else 'another'}.")  # fmt: skip

# %% [markdown]
# Nothing else in the transformer changes: a token is a row of numbers with a place, and the place has three coordinates. The lines of `cut` are those of chapter 13 with time as one more axis, and the same warning holds: on a wrong order every shape still fits.
#
# This is what one token is. Twelve neighbouring boxes, as the four little pictures that each holds:

# %% tags=["core", "stage"]
some = boxes[0, 2].reshape(h, w, 4, 8, 8, 3)[4, 2:14]  # twelve boxes of one row of the city
show(
    image_grid(
        some.permute(1, 0, 4, 2, 3).reshape(48, 3, 8, 8),
        columns=12,
        rows=[f"its frame {i + 1}" for i in range(4)],
        scale=4,
    ),  # fmt: skip
    alt="Twelve columns of four pictures of 8 by 8 pixels. Down a column a window is almost the same four times, shifted a little.",
    mark="exact: 12 of the clip's boxes",
)
still = float((boxes.reshape(-1, 4, 192) - boxes.reshape(-1, 4, 192).mean(1, keepdim=True)).square().mean())
spread = float((clip - clip.mean()).square().mean())
quick = cut(clip[:, :, ::4][:, :, :4], 4, 8).reshape(-1, 4, 192)  # every fourth frame: a camera four times as fast
moved = float((quick - quick.mean(1, keepdim=True)).square().mean())
say(f"Of all the variance of this clip, {still / spread:.1%} is change *within* a box; the rest would survive if each box held one picture four times over. Take every fourth frame, as if the camera moved four times as fast, and it is {moved / spread:.1%}. Long boxes are for slow films.")  # fmt: skip

# %% [markdown]
# ## Counting
#
# How many tokens does a real film make? An autoencoder may shrink the clip first (chapter 10), `down = (frames, rows, columns)` to one; then boxes are cut from its latents. What does not divide is padded, so every division rounds *up*. And an autoencoder that is causal in time, which we shall build below, keeps the first frame by itself: `1 + 4k` frames become `1 + k`.


# %% tags=["core", "builds:train.flops.tokens"]
def count(clip, patch=(1, 1, 1), down=(1, 1, 1), causal=False):  # (frames, rows, columns), each
    alone = 1 if causal else 0  # the first frame
    frames = alone + math.ceil((clip[0] - alone) / down[0])
    sizes = frames, math.ceil(clip[1] / down[1]), math.ceil(clip[2] / down[2])
    return math.prod(math.ceil(size / p) for size, p in zip(sizes, patch, strict=True))


# %% [markdown]
# The founding article of this course counts Sora's tokens. Twenty seconds of 1080p at 24 frames a second, in boxes of 16×16 pixels and 4 frames, are "about a million patches". The same film as latents, 120 by 68 and 60 of them in time, is "about 10,000" tokens. And an autoencoder of "8x spatially, 8x temporally" makes "64x total compression". Which of the three hold? (The article does not say how its latents are cut. We take the usual 1×2×2, which is in its favour: uncut they would be four times as many. And 120 by 68 is 1080p at *16* times, not 8.)

# %% tags=["core", "stage"]
predict("spacetime-patches.article", "How many of the three figures are right, to within a tenth?", ["none", "one", "two", "all three"])  # fmt: skip

# %% tags=["core"]
film = (480, 1080, 1920)
padded = count(film, patch=(4, 16, 16))
plain = film[0] / 4 * film[1] / 16 * film[2] / 16  # 1080 / 16 is no whole number
latents = count((60, 68, 120), patch=(1, 2, 2))  # the usual patch on latents
shrunk = 8 * 8 * 8  # rows, columns, and frames
said = {1e6: padded, 1e4: latents, 64: shrunk}
right = sum(math.isclose(a, b, rel_tol=0.1) for a, b in said.items())

# %% tags=["core", "stage"]
table(
    ["said", "computed", ""],
    [
        ["boxes of 4×16×16: about a million", f"{plain:,.0f}; {padded:,} with the last half row padded", "right, though 1080 / 16 = 67.5"],
        ["60 latents of 68×120: about 10,000 tokens", f"{60 * 68 * 120:,} places; {latents:,} tokens in patches of 1×2×2", f"wrong by {latents / 1e4:.0f} times"],
        ["8 times in space, 8 in time: 64 times", f"8 × 8 × 8 = {shrunk} places to one", "wrong by 8 times: space has two sides"],
    ],
)  # fmt: skip
reveal("spacetime-patches.article", ["none", "one", "two", "all three"][right], "The first. Both others are too small: the film has more tokens than was said, and the autoencoder shrinks it more.")  # fmt: skip
say(f"To have {latents / 1e4:.0f} times the tokens is to have {(latents / 1e4) ** 2:.0f} times the pairs of tokens.")

# %% [markdown]
# Here is what models do whose design is published, with their own frame counts, and what one and the same transformer would pay for a call on their tokens: 28 layers, 1,792 wide, so 1.1 billion weights in attention and MLPs. *Between tokens* is the part that grows with the square. (Words that some of them put into the same list are not counted.)

# %% tags=["core"]
designs = {  # clip, patch on latents, pixels and frames to one latent, latent channels
    "CogVideoX, 480p, 49 frames": ((49, 480, 720), (1, 2, 2), (4, 8, 8), 16),
    "Wan 2.1, 480p, 81 frames": ((81, 480, 832), (1, 2, 2), (4, 8, 8), 16),
    "HunyuanVideo, 720p, 129 frames": ((129, 720, 1280), (1, 2, 2), (4, 8, 8), 16),
    "LTX-Video, 512p, 121 frames": ((121, 512, 768), (1, 1, 1), (8, 32, 32), 128),
    "the film above, cut from pixels": (film, (4, 16, 16), (1, 1, 1), 3),
}
rows = []
for name, (size, patch, down, channels) in designs.items():
    n = count(size, patch, down, causal=down[0] > 1)
    numbers = math.prod(patch) * channels
    cost = flops.dit(1792, 28, n, numbers)
    total = sum(cost.values())  # multiply-adds
    squared = cost["attention between tokens"] / total
    smaller = math.prod(down) * 3 / channels  # numbers of the clip to one of the latent
    rows.append([name, f"{n:,}", numbers, f"{smaller:.0f}", f"{2 * total / 1e12:,.0f}", f"{squared:.0%}"])

# %% tags=["core", "stage"]
table(
    [
        "",
        "tokens",
        "numbers in a token",
        "compression, numbers to one",
        "TFLOP a call of our network",
        "between tokens",
    ],
    rows,
)
say("<small>*exact: counted by the formula, from the sizes of the released models (CogVideoX: Yang et al. 2024; Wan: Wan team 2025; HunyuanVideo: Kong et al. 2024; LTX-Video: HaCohen et al. 2025); the network is the same for all*</small>")  # fmt: skip

# %% [markdown]
# *Count your own.* How far do you have to shrink a minute of 1080p for it to become a hundred thousand tokens? (Answer below the bars.)


# %% tags=["core", "stage"]
def counted(seconds, side, stride):
    n = {f"{pf}": count((24 * seconds + 1, 1080, 1920), (pf, 2, 2), (stride, side, side), causal=stride > 1) for pf in (1, 2, 4)}  # fmt: skip
    fig, ax = figure(height=1.9)
    ax.barh(list(n), list(n.values()), color=COLOURS["model"])
    for i, value in enumerate(n.values()):
        ax.text(value * 1.15, i, f"{value:,}", va="center", fontsize=8.5)
    ax.axvline(1e5, color=COLOURS["exact"], dashes=(4, 2), lw=1)
    ax.set(xscale="log", xlim=(1e2, 3e8), xlabel="tokens (line: 100,000)", ylabel="frames a patch")
    return fig


play(
    counted,
    seconds=(5, 60, 5, 60),
    side=[8, 16, 32],
    stride=[4, 1, 8],
    alt=lambda seconds, side, stride: (
        f"Three bars: tokens of {seconds} seconds of 1080p, {side} pixels a side and {stride} frames to a latent, for patches of 1, 2 and 4 frames."
    ),
)

few = [(side, stride, pf, n) for side in (8, 16, 32) for stride in (1, 4, 8) for pf in (1, 2, 4) if (n := count((24 * 60 + 1, 1080, 1920), (pf, 2, 2), (stride, side, side), causal=stride > 1)) < 1e5]  # fmt: skip
say("A minute of 1080p stays under 100,000 tokens with " + ", ".join(f"{side} pixels a side, {stride} frames a latent and patches of {pf} ({n:,})" for side, stride, pf, n in few) + ": of 27 ways, these.")  # fmt: skip

# %% [markdown]
# ## Long or wide?
#
# At the same number of tokens a box can be long in time or wide in space. Which is better should depend on what moves. Take the line of chapter 16, now with five motions: a spot rests, drifts, dashes (1 to 1.5 pixels a frame), bounces off an edge, or shakes: left in one frame, right in the next. Three networks cut it differently: boxes of 1 frame by 8 pixels, 2 by 4, and 4 by 2. Eight numbers a box and 64 boxes a clip, always; as many weights, the same training. Each network is told the motion by name.
#
# Then each gets held-out clips under noise, and we count what it does *not* recover: the squared error of its guess over the power of the clip, at three noise levels. (Counting good samples would be the other way, and the networks are small and draw badly; a guess can be scored all the same.)

# %% tags=["core", "stage"]
fig, axs = figure(2, 3, height=3.2)
for row, motion in zip(axs, ("dashes", "shakes"), strict=True):
    line = sample(1, Generator().manual_seed(1), (motion,)).clips[0, 0, :, 0]  # (F, W)
    for ax, (pf, (_, _, pw)) in zip(row, PATCHES.items(), strict=True):
        ax.imshow(line, cmap="gray", vmin=-1.2, vmax=1.2, interpolation="none", extent=(0, 32, 16, 0))
        for k in range(0, 33, pw):
            ax.axvline(k, color=COLOURS["model"], lw=0.7)
        for k in range(0, 17, pf):
            ax.axhline(k, color=COLOURS["model"], lw=0.7)
        ax.set_title(f"{motion}: {pf} frame{'s' * (pf > 1)} by {pw} pixels", fontsize=8.5)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel("time, downwards", fontsize=8)
show(
    fig,
    alt="Two clips of the line, a slanted stripe and a row of spots to the left and right in turns, time downwards, each under three grids: wide flat boxes, boxes of 2 by 4, and tall narrow boxes.",
    mark="exact: two clips of the line, and the three ways to cut them",
)
predict("spacetime-patches.motion", "Boxes of 4 frames instead of 1: which motion changes most, for better or for worse?", [*MOTIONS, "none by more than a tenth"])  # fmt: skip

# %% tags=["core"]
runs = recorded("line-patches")
missed = {pf: {m: [row[f"missed, {m}"] for row in runs.where(patch=pf)] for m in MOTIONS} for pf in PATCHES}
more = {m: sum(missed[4][m]) / sum(missed[1][m]) - 1 for m in MOTIONS}
most = max(more, key=lambda m: abs(more[m]))

# %% tags=["core", "stage"]
fig, ax = figure(height=2.4)
for shift, pf, marker, colour in zip((-0.2, 0, 0.2), PATCHES, "os^", ("baseline", "model", "control"), strict=True):
    for k, m in enumerate(MOTIONS):
        words = f"{pf} frame{'s' * (pf > 1)} a box" if not k else None
        ax.plot([k + shift] * 2, missed[pf][m], marker, color=COLOURS[colour], ms=5, alpha=0.8, label=words)
ax.set_xticks(range(len(MOTIONS)), MOTIONS)
ax.set(ylabel="not recovered", ylim=(0, 0.8))
ax.legend(fontsize=8, ncols=3, loc="lower right")
show(
    fig,
    alt="What is not recovered of five motions by networks with boxes of 1, 2 and 4 frames, two seeds each. " + "; ".join(f"{m}: {', '.join(f'{sum(missed[pf][m]) / len(missed[pf][m]):.0%}' for pf in PATCHES)}" for m in MOTIONS) + ".",
    mark=f"{runs.mark}; each seed a point, {runs.rows[0]['samples']:,} clips seen",
)  # fmt: skip
reveal("spacetime-patches.motion", most if abs(more[most]) > 0.1 else "none by more than a tenth", "Not recovered by boxes of 4 frames, against boxes of 1: " + ", ".join(f"{m} {round(100 * more[m]) or 0:+d}%" for m in MOTIONS) + ".")  # fmt: skip

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([unpack(runs.where(patch=pf, seed=0)[0]["pixels"]) for pf in PATCHES]),
        columns=10,
        titles=[*MOTIONS, *MOTIONS],
        rows=[f"{pf} frame{'s' * (pf > 1)} a box" for pf in PATCHES],
        scale=2,
    ),  # fmt: skip
    alt="Three rows of ten small pictures, time downwards, by networks with boxes of 1, 2 and 4 frames; two clips of each of the five motions a row.",
    mark=runs.mark,
)
drawn = {pf: [sum(row[m] for m in MOTIONS) / 5 for row in runs.where(patch=pf)] for pf in PATCHES}
say("What they draw when asked, and how often it follows the law it was asked for: " + "; ".join(f"{pf} frame{'s' * (pf > 1)} a box {', '.join(f'{v:.0%}' for v in values)}" for pf, values in drawn.items()) + f" (two seeds, n = {runs.rows[0]['n']} each).")  # fmt: skip

# %% [markdown]
# You may have expected that long boxes kill quick motion. Nothing is thrown away by cutting: eight numbers go into each token, whatever the box. What differs is who has to understand what. What lies in *different* boxes is compared by attention; what lies in *one* box, by the token's own layers. A place that blinks from frame to frame is a matter between tokens for boxes of one frame, and for longer ones a pattern inside of one. That is our guess at the picture, and we have not tested it further.
#
# ## Better than a knife
#
# To save more, something has to be left out. So do not cut pixels; first have a network look at them and write down what matters. That is the autoencoder of chapter 10, grown along time. One rule shapes it: **it must not look ahead.** Then the first frame is coded as if it were a picture, the rest can be coded while the film still runs, and one network serves pictures and films. A convolution that keeps the rule pads only on one side, the past:


# %% tags=["core", "builds:nn.vae.Past"]
def past(x, weight, bias):  # x: (B, C, F, H, W), weight: (C', C, 3, 3, 3)
    x = F.pad(x, (1, 1, 1, 1, 2, 0))  # a pixel left, right, above, below; two frames before, none after
    return F.conv3d(x, weight, bias)  # (B, C', F, H, W): frame f from f-2, f-1 and f


# %% [markdown]
# With a stride of two along time it keeps every other frame, the first one included: from `1 + 2k` frames to `1 + k`. Two such layers, and every latent but the first stands for four frames. The decoder goes the other way: it repeats each frame but the first, and lets a `past` repair the copies. One more trap: a norm that takes its mean over the whole clip tells every frame of those to come. Ours takes it frame by frame.

# %% tags=["core", "stage"]
fig, ax = figure(height=1.5)
for k in range(13):
    ax.add_patch(Rectangle((k + 0.05, 1), 0.9, 0.7, color=COLOURS["data"]))
    ax.text(k + 0.5, 1.35, k + 1, ha="center", va="center", color="white", fontsize=8)
for k, (low, high) in enumerate([(0, 1), (1, 5), (5, 9), (9, 13)]):
    middle = (low + high) / 2
    ax.add_patch(Rectangle((middle - 0.45, 0), 0.9, 0.4, color=COLOURS["model"]))
    ax.fill([low + 0.05, high - 0.05, middle + 0.45, middle - 0.45], [0.97, 0.97, 0.43, 0.43], color=COLOURS["model"], alpha=0.2, lw=0)  # fmt: skip
ax.text(13.2, 1.35, "frames", va="center", fontsize=9)
ax.text(13.2, 0.2, "latents", va="center", fontsize=9)
ax.set(xlim=(0, 15), ylim=(-0.1, 1.8))
ax.axis("off")
show(
    fig,
    alt="Thirteen frames in a row above four latents: the first latent stands for frame 1, the others for frames 2 to 5, 6 to 9 and 10 to 13.",
    mark="exact: 1 + 4k frames, 1 + k latents",
)  # fmt: skip

# %% [markdown]
# Does the shipped autoencoder keep the rule? Change the last frame of a clip, and see which latents notice; then change the last latent, and see which frames do.

# %% tags=["core"]
vaes = {stride: load(f"video-vae-{stride}") for stride in (2, 4)}
specs = held_out(pick(smoke=4, laptop=96), frames=13)
films = toybox.render(specs)  # (n, 3, 13, 32, 32), none of them seen in training
other = films.clone()
other[:, :, -1] = films[:, :, -1].roll(1, 0)  # the last frame of another clip
for stride, vae in vaes.items():
    z, z_other = vae.encode(films), vae.encode(other)  # (n, 16, latents along time, 4, 4)
    change = (z_other - z).abs().amax((0, 1, 3, 4))
    say(f"{stride} frames a latent: latents change by {', '.join(f'{float(c):.1g}' for c in change)}.")
z_other = torch.cat([z[:, :, :-1], z[:, :, -1:].roll(1, 0)], 2)  # the last latent of another clip
change = (vaes[4].decode(z_other) - vaes[4].decode(z)).abs().amax((0, 1, 3, 4))  # (13,)
say(f"Another last latent: frames {', '.join(str(k + 1) for k in range(13) if change[k] > 0)} change.")
alone = vaes[4].encode(films[:, :, :1])  # the first frame as a picture
gap = float((alone - z[:, :, :1]).abs().max())
say(f"The first frame as a picture has the latent that it has in its clip: they differ by {gap:.1g}.")

# %% [markdown]
# ## What compression costs
#
# Two autoencoders: 8×8 pixels, and two or four frames, become one place with 16 numbers, and the first frame by itself too. Both were trained on the same clips of the Toybox, one object or two, by squared error and a little KL (chapter 10); one batch in four was first frames alone. The longer stride takes two more layers on each side, and makes 4 latents along time of 13 frames instead of 7.
#
# Beside them stands the best *linear* code of single boxes (principal components, fitted here): 16 numbers for each box of four frames, as many as the autoencoder with four has. It is a control with a handicap: the networks see the neighbouring boxes and the past, too.


# %% tags=["core"]
def linear_code(x, fit_to, pf, keep=16):  # boxes of x through the principal components of others, and back
    rows = cut(fit_to, pf, 8).flatten(0, -2)  # (boxes, D)
    mean = rows.mean(0)
    _, axes = torch.linalg.eigh((rows - mean).T @ (rows - mean))  # in rising order of variance
    axes = axes[:, -keep:]  # (D, keep)
    return glue(mean + (cut(x, pf, 8) - mean) @ axes @ axes.T, pf, 8, rows=4)


shown = clips13(pick(smoke=8, laptop=400), Generator().manual_seed(0))  # training clips
first = linear_code(films[:, :, :1], shown[:, :, :1], pf=1)  # the first frame by itself, as above
rest = linear_code(films[:, :, 1:], shown[:, :, 1:], pf=4)
linear = torch.cat([first, rest], 2).clamp(-1, 1)  # (n, 3, 13, 32, 32)

# %% tags=["core"]
back = {f"{stride} frames a latent": round_trip(vae, films) for stride, vae in vaes.items()}
back["linear, 4 frames"] = linear
sizes = {stride: films[0].numel() / vae.encode(films[:1]).numel() for stride, vae in vaes.items()}
speeds = {}  # pixels a frame, (n,) each; nan: nothing was seen
for name, x in {"as they are": films, **back}.items():
    speeds[name] = 32 * torch.tensor([one.physics["speed"] for one in watch(x)])
fast = int(speeds["as they are"].nan_to_num(0).argmax())  # the clip with the fastest objects

# %% tags=["core", "stage"]
reel(
    {"as it is": films[fast], **{name: x[fast] for name, x in back.items()}},
    alt="A Toybox clip with a fast object, as it is, after two autoencoders, with two and with four frames to a latent, and after the linear code.",
    mark="live: shipped weights, a clip not seen in training",
)
say(
    "; ".join(f"{stride} frames a latent: {size:.0f} numbers become one" for stride, size in sizes.items())
    + ". (Not 48 for four frames, as in the table above: the first frame has a latent of its own.)"
)

# %% [markdown]
# From one latent of four frames to the next, an object that moves a pixel and a half a frame has moved six pixels, most of its place on the grid. Does speed get through? Each point below is a clip: how fast its objects move as they are, and how fast after the round trip.

# %% tags=["core", "stage"]
top = 1.05 * float(speeds["as they are"].nan_to_num(0).max())
fig, axs = figure(1, 3, height=2.5)
for ax, name in zip(axs, back, strict=True):
    ax.plot([0, top], [0, top], color=COLOURS["exact"], lw=1)
    ax.plot(speeds["as they are"], speeds[name], "o", color=COLOURS["model"], alpha=0.5, ms=4, clip_on=False)
    ax.set(title=name, xlabel="as it is, pixels a frame", xlim=(-0.05, top), ylim=(-0.05, top))
axs[0].set_ylabel("after the round trip")
true = speeds["as they are"]
off = {name: float((speeds[name] - true).abs().nanmedian()) for name in back}
gain = {name: float((speeds[name] / true)[true > 1].nanmean()) for name in back}
creep = {name: float(speeds[name][true < 0.02].nanmedian()) for name in back}
none = {name: int(speeds[name].isnan().sum()) for name in back}
show(
    fig,
    alt="Three scatter plots of speed after the round trip against speed as it is, with the diagonal; the median distance from it is "
    + ", ".join(f"{v:.3f} pixels a frame with {n}" for n, v in off.items())
    + ".",
    mark=f"live: shipped weights, n = {len(films)} clips not seen in training; clips in which nothing could be followed afterwards: "
    + ", ".join(map(str, none.values())),
)
say("Objects of more than a pixel a frame come back at " + ", ".join(f"{v:.0%} ({n})" for n, v in gain.items()) + " of their speed, on average; where everything rested, the median speed is " + ", ".join(f"{creep[n]:.2f}" for n in back) + " pixels a frame.")  # fmt: skip

# %% [markdown]
# What was lost? A mean of squared errors would not say. The verifier can: it knows what each clip shows, and tells which words are still true after the round trip. *Motion* is the law: rests, drifts, bounces, collides. Direction and speed can be told only once the law is, so a clip that wobbles loses all three.

# %% tags=["core", "stage"]
predict("spacetime-patches.survives", "With 4 frames a latent: which of these is wrong more often after the round trip than before, by most?", ["colour", "shape", "motion", "direction", "speed", "none by more than 2 points"])  # fmt: skip

# %% tags=["core"]
words = ("colour", "shape", "motion", "direction", "speed")
headers = {stride: read_header(shipped(f"video-vae-{stride}")) for stride in (2, 4)}
kept = {stride: header["metrics"] for stride, header in headers.items()}
before = {word: kept[4][f"{word}, as they are"]["value"] for word in words}
gone = {word: before[word] - kept[4][word]["value"] for word in words}
worst_word = max(gone, key=gone.__getitem__)
here = {name: graded(specs, x) for name, x in back.items() if "2" not in name}  # two codes, now

# %% tags=["core", "stage"]
lines_of = [
    [
        f"{s} frames a latent, {sizes[s]:.0f} to 1",
        m,
        f"{m['squared error']['value']:.5f}",
        f"{m['bits a clip']['value']:,.0f}",
    ]
    for s, m in kept.items()
]
lines_of += [
    [f"*{len(films)} clips, live:* {name}", m, f"{float((back[name] - films).square().mean()):.5f}", ""]
    for name, m in here.items()
]
table(
    ["", *words, "acceleration error, px a frame²", "squared error", "bits a clip (KL)"],
    [[name, *(f"{m[w]['value']:.0%}" for w in words), f"{32 * m['acceleration error']['value']:.2f}", *rest] for name, m, *rest in lines_of]
    + [["*as they are*", *(f"{before[w]:.0%}" for w in words), f"{32 * kept[4]['acceleration error, as they are']['value']:.2f}", "0", ""]],
)  # fmt: skip
some = kept[4]["shape"]
say(f"<small>*recorded, but for the rows that say live: {headers[4]['device']}, {headers[4]['date']}, held-out clips, n = {', '.join(str(kept[4][w]['n']) for w in words)} for the five words, one training seed; 95% interval for shape, 4 frames: {some['low']:.1%} to {some['high']:.1%}; {headers[4]['samples']:,} clips seen; {headers[2]['parameters'] / 1e6:.1f} and {headers[4]['parameters'] / 1e6:.1f} million weights. A guess at a shape is right in {1 / len(SHAPES):.0%}*</small>")  # fmt: skip
reveal(
    "spacetime-patches.survives",
    worst_word if gone[worst_word] > 0.02 else "none by more than 2 points",
    ", ".join(f"{w} {round(-100 * gone[w]) or 0:+d}" for w in words) + " points.",
)

# %% [markdown]
# The last two rows of codes are the comparison: the same clips, as many numbers, one network and none. Compare *shape* with *motion*. The network keeps where things are and blurs what they are; the linear code does the reverse. Why, we have not tested. But *where* the linear code fails can be seen frame by frame:

# %% tags=["core", "stage"]
errors = {name: (x - films).square().mean((0, 1, 3, 4)) for name, x in back.items()}  # (13,)
fig, ax = figure(height=2.2)
for (name, error), marker in zip(errors.items(), "os^", strict=True):
    ax.plot(range(1, 14), error, marker=marker, ms=3.5, lw=1, label=name)
ax.set(xlabel="frame", ylabel="squared error", ylim=(0, 1.3 * max(float(e.max()) for e in errors.values())))
ax.set_xticks(range(1, 14))
ax.legend(fontsize=8, ncols=3, loc="upper center")
show(
    fig,
    alt="Squared error frame by frame of three codes. First frame and mean of the others: " + "; ".join(f"{name} {float(e[0]):.4f} and {float(e[1:].mean()):.4f}" for name, e in errors.items()) + ".",
    mark=f"live: shipped weights, n = {len(films)} clips not seen in training",
)  # fmt: skip
ends, middles = (
    (float(errors["linear, 4 frames"][list(of)].mean())) for of in ((1, 4, 5, 8, 9, 12), (2, 3, 6, 7, 10, 11))
)
say(f"Frames 2 to 5 are one box, 6 to 9 the next. In the two middle frames of its boxes the linear code errs by {middles:.4f}, in the first and the last by {ends:.4f}: little films that are mixed agree best in the middle. You can see it pump in the clip above. The network of four frames has boxes that end at the same frames, and does not pump.")  # fmt: skip

# %% [markdown]
# ## A picture is a film of one frame
#
# Since nothing looks ahead, the same weights code pictures, as clips of one frame. So pictures, of which there are many more, can be trained on beside films, and the first frame of a film can be given and the rest made (chapter 19).

# %% tags=["core"]
pictures = films[:8, :, :1]  # clips of one frame
again = vaes[4].decode(vaes[4].encode(pictures))  # (8, 3, 1, 32, 32)

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([pictures[:, :, 0], again[:, :, 0]]), columns=len(pictures), rows=["pictures", "and back"], scale=2
    ),
    alt="Two rows of eight small pictures of coloured shapes: as they are, and after the autoencoder of clips.",
    mark="live: video-vae-4, eight pictures not seen in training",
)

# %% [markdown]
# ## Exercises
#
# **1 · A budget** (difficulty 2 of 3, 20 minutes). How long may a film be? Return the largest number of frames whose tokens are at most `budget`. `size` is `(rows, columns)` in pixels; `patch` and `down` are `(frames, rows, columns)`; the autoencoder keeps the first frame by itself. Pixels are padded to whole latents, and latents to whole patches; you may call `count`. If not even one frame fits, return 0.


# %% tags=["core"]
def my_longest(budget, size, patch, down):
    raise NotImplementedError


check("spacetime-patches.budget", my_longest)

# %% [markdown]
# **2 · Channel first** (difficulty 2, 20 minutes). Some programs write the numbers of a box in another order. `x` is `(B, C, F, H, W)`. Return tokens `(B, N, C*pf*p*p)`: boxes in the order frame, row, column, all in one list; in each box the numbers channel by channel, and in a channel by frame, pixel row, pixel column.


# %% tags=["core"]
def my_cut(x, pf, p):
    raise NotImplementedError


check("spacetime-patches.cut", my_cut)

# %% [markdown]
# **3 · Never ahead** (difficulty 2, 20 minutes). A convolution along time alone. `x` is `(B, F)`, `weight` is `(K,)` with its *last* number for the present; before the film starts, repeat its first frame (`past` above put zeros there). Return `(B, F)`.


# %% tags=["core"]
def my_past(x, weight):
    raise NotImplementedError


check("spacetime-patches.causal", my_past)

# %% [markdown]
# ## What this does not show
#
# A line and a box of toys. The linear code saw one box at a time and the network its neighbours: how much of the difference that makes is not measured, and neither is how far longer training goes (`minidiff recipes` has the commands). The five motions were told by name; without names a network may avoid what it cannot do, and you would not see it in any single clip. Two seeds and short trainings. The autoencoders saw one world and two strides, one seed each, and the verifier sees whole objects, not texture: real compression fails first at faces, letters and leaves. The table of published models counts from their reports; what they do beyond that is not in it. Real films in one batch have many sizes; how they are packed is for chapter 25.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Tokens of 20 s of 1080p, boxes of 4×16×16", f"{padded:,}", f"{plain:,.0f} without padding"],
        ["60 latents of 68×120, patch 1×2×2", f"{latents:,}", "said: 10,000"],
        ["Change within the boxes of a real clip", f"{still / spread:.1%} of its variance", "boxes of 4×8×8"],
        [f"Not recovered, boxes of 4 frames: {most}", f"{sum(missed[4][most]) / 2:.0%}", f"boxes of 1 frame: {sum(missed[1][most]) / 2:.0%}"],
        [f"Autoencoder, 4 frames a latent: {worst_word}", f"{kept[4][worst_word]['value']:.0%}", f"as they are {before[worst_word]:.0%}, 2 frames {kept[2][worst_word]['value']:.0%}, linear {here['linear, 4 frames'][worst_word]['value']:.0%}"],
        ["Motion, 4 frames a latent", f"{kept[4]['motion']['value']:.0%}", f"as they are {before['motion']:.0%}, linear {here['linear, 4 frames']['motion']['value']:.0%}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Tim Brooks, Bill Peebles, Connor Holmes et al. (2024). *Video generation models as world simulators.* OpenAI, [openai.com/research/video-generation-models-as-world-simulators](https://openai.com/research/video-generation-models-as-world-simulators). Spacetime patches; the sizes are not given.
# - Lijun Yu, José Lezama, Nitesh B. Gundavarapu et al. (2023). *Language Model Beats Diffusion: Tokenizer is Key to Visual Generation.* [arXiv:2310.05737](https://arxiv.org/abs/2310.05737). The causal video autoencoder (section 3.2).
# - Yoav HaCohen, Nisan Chiprut, Benny Brazowski et al. (2025). *LTX-Video: Realtime Video Latent Diffusion.* [arXiv:2501.00103](https://arxiv.org/abs/2501.00103). How far the compression can be driven.
#
# Counted from: CogVideoX, Yang et al. 2024, [arXiv:2408.06072](https://arxiv.org/abs/2408.06072); Wan, Team Wan 2025, [arXiv:2503.20314](https://arxiv.org/abs/2503.20314); HunyuanVideo, Kong et al. 2024, [arXiv:2412.03603](https://arxiv.org/abs/2412.03603). The city: Kivy's examples, CC0.
#
# **Next: 18 · Text to video.** Words in front, a transformer over spacetime behind, and a sentence that moves.
