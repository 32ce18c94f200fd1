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
#     claim: A token may be a box of space and time, and a film costs as many tokens as it has boxes; what a long box loses can be measured, and an autoencoder that never looks ahead loses less of it than a linear code.
#     objectives:
#       - cut a clip into boxes of space and time, and put it together again
#       - count the tokens of any clip, and correct the figures that circulate
#       - find out which motions a patch of several frames loses
#       - build a convolution that never looks ahead, and the autoencoder made of it
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
# **A token may be a box of space and time, and a film costs as many tokens as it has boxes; what a long box loses can be measured, and an autoencoder that never looks ahead loses less of it than a linear code.**
#
# `compute 2 min` · `you 2.5 h` · `memory 2 GB` · pictures are live, the comparisons are recorded and marked so
#
# Here is a real city at night, from a real camera, 28 frames of it. And here it is as a transformer gets to see it: in boxes.

# %%
import math

import torch
from torch import Generator
from torch.nn import functional as F

from minidiff import load, pick
from minidiff.course.notebook import *
from minidiff.data import toybox
from minidiff.data.clips import city
from minidiff.data.line import MOTIONS, sample
from minidiff.measure.adherence import watch
from minidiff.recipes.run import shipped
from minidiff.recipes.video import clips13, graded, held_out, round_trip
from minidiff.sweeps.line import PATCHES
from minidiff.sweeps.row import unpack
from minidiff.train import flops
from minidiff.train.checkpoint import read_header

scale = start(needs="0.1")


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
clip = city().frames[None, :, :28]  # (1, 3, 28, 72, 128)
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
# A patch was a square of pixels (chapter 13). Give it a third side, time, and a clip becomes a list of boxes, each four frames of a small window. Nothing else in the transformer changes: a token is a row of numbers with a place, and the place has three coordinates. The lines of `cut` are those of chapter 13 with time as one more axis, and the same warning holds: on a wrong order every shape still fits.
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
total = float((clip - clip.mean()).square().mean())
say(f"Of all the variance of this clip, {still / total:.1%} is change *within* a box; the rest would survive if each box held one picture four times over. In this clip long boxes repeat themselves. A fast one would differ.")  # fmt: skip

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
# Explanations of Sora circulate; this course argues with one of them. It counts like this. Twenty seconds of 1080p at 24 frames a second, in boxes of 16×16 pixels and 4 frames: "about a million patches". The same film as latents of 120×68×60, in the usual patches of 1×2×2: "about 10,000 tokens". And an autoencoder with "8 times in space, 8 times in time: 64 times" fewer places. Which of the three hold?

# %% tags=["core", "stage"]
predict("spacetime-patches.article", "How many of the three figures are right, to within a tenth?", ["none", "one", "two", "all three"])  # fmt: skip

# %% tags=["core"]
film = (480, 1080, 1920)
padded = count(film, patch=(4, 16, 16))
plain = film[0] / 4 * film[1] / 16 * film[2] / 16  # 1080 / 16 is no whole number
latents = count((60, 68, 120), patch=(1, 2, 2))  # the usual patch on latents
shrunk = 8 * 8 * 8  # rows, columns, and frames
one = [math.isclose(1e6, padded, rel_tol=0.1), math.isclose(1e4, latents, rel_tol=0.1), math.isclose(64, shrunk, rel_tol=0.1)]  # fmt: skip

# %% tags=["core", "stage"]
table(
    ["said", "computed", ""],
    [
        ["120 × 68 × 120, about a million patches", f"{plain:,.0f}; {padded:,} with the last half row padded", "right, though 1080 / 16 = 67.5"],
        ["latents of 120×68×60: about 10,000 tokens", f"{120 * 68 * 60:,} places; {latents:,} tokens in patches of 1×2×2", f"wrong by {latents / 1e4:.0f} times"],
        ["8 times in space, 8 times in time: 64 times", f"8 × 8 × 8 = {shrunk} places to one", "wrong by 8 times: space has two sides"],
    ],
)  # fmt: skip
reveal("spacetime-patches.article", ["none", "one", "two", "all three"][sum(one)], "The first. The others are off by a factor, one each way: the tokens too few, the shrinking too little.")  # fmt: skip

# %% [markdown]
# A factor of 12 in tokens is a factor of 150 in pairs of tokens. Here is what models whose design is published do, with their own frame counts; and what a full transformer (28 layers, 1,792 wide, say: 1.1 billion weights in attention and MLPs) pays for one call. *Between tokens* is the part that grows with the square.

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
    squared = cost["attention between tokens"] / sum(cost.values())
    smaller = math.prod(down) * 3 / channels  # numbers of the clip to one of the latent
    rows.append([name, f"{n:,}", numbers, f"{smaller:.0f}", f"{2 * sum(cost.values()) / 1e12:,.0f}", f"{squared:.0%}"])

# %% tags=["core", "stage"]
table(["", "tokens", "numbers in a token", "compression, numbers to one", "TFLOP a call", "between tokens"], rows)
say("<small>*exact: counted by the formula, from the sizes of the released models (CogVideoX: Yang et al. 2024; Wan: Wan team 2025; HunyuanVideo: Kong et al. 2024; LTX-Video: HaCohen et al. 2025); the network is the same for all*</small>")  # fmt: skip

# %% [markdown]
# *Count your own.* How far do you have to shrink a minute of 1080p for it to become a hundred thousand tokens?


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

# %% [markdown]
# ## What a long box loses
#
# Tokens can be saved in space or in time. Which is better depends on what moves. Take the line of chapter 16, with five motions: a spot rests, drifts, dashes (1 to 1.5 pixels a frame), bounces off an edge, or shakes: left in one frame, right in the next. Three networks cut it differently: boxes of 1 frame by 8 pixels, 2 by 4, and 4 by 2. Eight numbers a box and 64 boxes a clip, always; as many weights, the same training. (So a box that is longer is also narrower: at equal tokens there is no other way.) Each network is asked for a motion by name.

# %% tags=["core", "stage"]
fig, axs = figure(1, 3, height=2.5)
dash = sample(1, Generator().manual_seed(1), ("dashes",)).clips[0, 0, :, 0]  # (F, W)
for ax, (pf, (_, _, pw)) in zip(axs, PATCHES.items(), strict=True):
    ax.imshow(dash, cmap="gray", vmin=-1.2, vmax=1.2, interpolation="none", extent=(0, 32, 16, 0))
    for k in range(0, 33, pw):
        ax.axvline(k, color=COLOURS["model"], lw=0.7)
    for k in range(0, 17, pf):
        ax.axhline(k, color=COLOURS["model"], lw=0.7)
    ax.set_title(f"{pf} frame{'s' * (pf > 1)} by {pw} pixels", fontsize=8.5)
    ax.set(xticks=[], yticks=[])
axs[0].set_ylabel("time, downwards")
show(
    fig,
    alt="Three copies of one clip of the line, a picture with time downwards, under three grids: wide flat boxes, boxes of 2 by 4, and tall narrow boxes.",
    mark="exact: a clip of the line, and the three ways to cut it",
)
predict("spacetime-patches.motion", "With boxes of 4 frames instead of 1, which motion suffers most?", [*MOTIONS, "none by more than 10 points"])  # fmt: skip

# %% tags=["core"]
runs = recorded("line-patches")
mean = lambda rows, key: sum(row[key] for row in rows) / len(rows)  # noqa: E731
right = {pf: {motion: mean(runs.where(patch=pf), motion) for motion in MOTIONS} for pf in PATCHES}
lost = {motion: right[1][motion] - right[4][motion] for motion in MOTIONS}
worst = max(lost, key=lost.__getitem__)

# %% tags=["core", "stage"]
table(
    ["frames a box", *MOTIONS, "all five, seed by seed", "loss"],
    [[pf, *(f"{right[pf][m]:.0%}" for m in MOTIONS), ", ".join(f"{sum(row[m] for m in MOTIONS) / 5:.0%}" for row in runs.where(patch=pf)), f"{mean(runs.where(patch=pf), 'loss'):.4f}"] for pf in PATCHES],
)  # fmt: skip
say(f"<small>*{runs.mark}; {runs.rows[0]['samples']:,} clips seen; share of clips whose places follow the law of the motion that was asked for, {runs.rows[0]['n'] // 5} clips a motion and seed*</small>")  # fmt: skip
reveal("spacetime-patches.motion", worst if lost[worst] > 0.1 else "none by more than 10 points", ", ".join(f"{m} {-lost[m]:+.0%}" for m in MOTIONS) + ".")  # fmt: skip

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

# %% [markdown]
# Nothing is thrown away by cutting: eight numbers go into each token, whatever the box. What differs is who has to understand what. What lies in *different* boxes is compared by attention; what lies in *one* box only by the token's own layers. A spot that shakes from frame to frame is, for boxes of one frame, a matter between tokens, and for longer boxes a pattern inside of one. That is our guess at the table, and we have not tested it further.
#
# ## Better than a knife
#
# To save more, something has to be left out. So do not cut pixels; first have a network look at them and write down what matters. That is the autoencoder of chapter 10, grown along time. One rule shapes it: **it must not look ahead.** Then the first frame is coded as if it were a picture, the rest can be coded while the film still runs, and one network serves pictures and films. A convolution that keeps the rule pads only on one side, the past:


# %% tags=["core", "builds:nn.vae.Past"]
def past(x, weight, bias):  # x: (B, C, F, H, W), weight: (C', C, 3, 3, 3)
    x = F.pad(x, (1, 1, 1, 1, 2, 0))  # a pixel left, right, above, below; two frames before, none after
    return F.conv3d(x, weight, bias)  # (B, C', F, H, W): frame f from f-2, f-1 and f


# %% [markdown]
# With a stride of two along time it keeps frames 0, 2, 4, ...: from `1 + 2k` frames to `1 + k`. Two such layers, and every latent but the first stands for four frames. One more trap: a norm that takes its mean over the whole clip tells every frame of those to come. Ours takes it frame by frame.
#
# Does the shipped autoencoder keep the rule? Change the last frame of a clip, and see which latents notice.

# %% tags=["core"]
vaes = {stride: load(f"video-vae-{stride}") for stride in (2, 4)}
specs = held_out(pick(smoke=4, laptop=96), frames=13)
films = toybox.render(specs)  # (n, 3, 13, 32, 32), none of them seen in training
other = films.clone()
other[:, :, -1] = films[:, :, -1].roll(1, 0)  # the last frame of another clip
notices = {stride: (vae.encode(other) - vae.encode(films)).abs().amax((0, 1, 3, 4)) for stride, vae in vaes.items()}
alone = float((vaes[4].encode(films[:, :, :1]) - vaes[4].encode(films)[:, :, :1]).abs().max())
for stride, change in notices.items():
    say(f"{stride} frames a latent: latents change by {', '.join(f'{float(c):.1g}' for c in change)}.")
say(f"And the first frame given alone, as a picture, has the latent that it has at the head of its clip: they differ by {alone:.1g}.")  # fmt: skip

# %% [markdown]
# ## What compression costs
#
# Two autoencoders: 8×8 pixels, and two or four frames, become one place with 16 numbers, and the first frame by itself too. Both were trained on the same clips of the Toybox, one object or two, by squared error and a little KL (chapter 10). The longer stride has two more layers on each side, and half the numbers.
#
# Beside them stands the best *linear* code (principal components, fitted here): 16 numbers for each box of four frames, as many as the autoencoder with four has.


# %% tags=["core"]
def linear_code(tokens, keep=16):  # -> a function: tokens through their `keep` principal components, and back
    rows = tokens.flatten(0, -2)  # (boxes, D)
    mean = rows.mean(0)
    axes = torch.linalg.eigh((rows - mean).T @ (rows - mean))[1][:, -keep:]  # (D, keep), those of largest variance
    return lambda x: mean + (x - mean) @ axes @ axes.T


shown = clips13(pick(smoke=8, laptop=400), Generator().manual_seed(0))  # training clips
first, rest = linear_code(cut(shown[:, :, :1], 1, 8)), linear_code(cut(shown[:, :, 1:], 4, 8))
linear = [glue(code(cut(x, pf, 8)), pf, 8, 4) for code, x, pf in ((first, films[:, :, :1], 1), (rest, films[:, :, 1:], 4))]  # fmt: skip
linear = torch.cat(linear, 2).clamp(-1, 1)  # (n, 3, 13, 32, 32)

# %% tags=["core"]
back = {f"{stride} frames a latent": round_trip(vae, films) for stride, vae in vaes.items()} | {
    "linear, 4 frames": linear
}
sizes = {stride: films[0].numel() / vae.encode(films[:1]).numel() for stride, vae in vaes.items()}
seen = {name: [one.physics["speed"] for one in watch(x)] for name, x in {"as they are": films, **back}.items()}
speeds = {name: 32 * torch.tensor(values) for name, values in seen.items()}  # pixels a frame, (n,); nan: nothing seen
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
most = 1.05 * float(speeds["as they are"].nan_to_num(0).max())
fig, axs = figure(1, 3, height=2.5)
for ax, name in zip(axs, back, strict=True):
    ax.plot([0, most], [0, most], color=COLOURS["exact"], lw=1)
    ax.plot(speeds["as they are"], speeds[name], "o", color=COLOURS["model"], alpha=0.5, ms=4, clip_on=False)
    ax.set(title=name, xlabel="as it is, pixels a frame", xlim=(-0.05, most), ylim=(-0.05, most))
axs[0].set_ylabel("after the round trip")
off = {name: float((speeds[name] - speeds["as they are"]).abs().nanmedian()) for name in back}
none = {name: int(speeds[name].isnan().sum()) for name in back}
show(
    fig,
    alt="Three scatter plots of speed after the round trip against speed as it is, with the diagonal; the median distance from it is "
    + ", ".join(f"{v:.3f} pixels a frame with {n}" for n, v in off.items())
    + ".",
    mark=f"live: shipped weights, n = {len(films)} clips not seen in training; clips in which nothing could be followed afterwards: "
    + ", ".join(map(str, none.values())),
)

# %% [markdown]
# What was lost? A mean of squared errors would not say. The verifier can: it knows what each clip shows, and tells which words are still true after the round trip. (Direction and speed are asked of objects whose caption names them.)

# %% tags=["core", "stage"]
predict("spacetime-patches.survives", "With 4 frames a latent: which of these is wrong more often after the round trip than before, by most?", ["colour", "shape", "motion", "direction", "speed", "none by more than 2 points"])  # fmt: skip

# %% tags=["core"]
words = ("colour", "shape", "motion", "direction", "speed")
headers = {stride: read_header(shipped(f"video-vae-{stride}")) for stride in (2, 4)}
kept = {stride: {word: header["metrics"][word] for word in words} for stride, header in headers.items()}
floor = {word: headers[4]["metrics"][f"{word}, as they are"]["value"] for word in words}
gone = {word: floor[word] - kept[4][word]["value"] for word in words}
worst_word = max(gone, key=gone.__getitem__)
by_line = graded(specs, linear)  # the linear code, here and now

# %% tags=["core", "stage"]
table(
    ["", *words, "acceleration error, px a frame²", "squared error", "bits a clip"],
    [[f"{s} frames a latent, {sizes[s]:.0f} to 1", *(f"{kept[s][w]['value']:.0%}" for w in words), f"{32 * h['metrics']['acceleration error']['value']:.2f}", f"{h['metrics']['squared error']['value']:.5f}", f"{h['metrics']['bits a clip']['value']:,.0f}"] for s, h in headers.items()]
    + [[f"linear, 4 frames, live, n = {len(films)}", *(f"{by_line[w]['value']:.0%}" for w in words), f"{32 * by_line['acceleration error']['value']:.2f}", f"{float((linear - films).square().mean()):.5f}", ""]]
    + [["*as they are*", *(f"{floor[w]:.0%}" for w in words), f"{32 * headers[4]['metrics']['acceleration error, as they are']['value']:.2f}", "0", ""]],
)  # fmt: skip
some = headers[4]["metrics"]["shape"]
say(f"<small>*recorded: {headers[4]['device']}, {headers[4]['date']}, n = {some['n']} held-out clips, one training seed; 95% interval of the share for shape, 4 frames: {some['low']:.1%} to {some['high']:.1%}; {headers[4]['samples']:,} clips seen*</small>")  # fmt: skip
reveal(
    "spacetime-patches.survives",
    worst_word if gone[worst_word] > 0.02 else "none by more than 2 points",
    ", ".join(f"{w} {-gone[w]:+.1%}" for w in words) + ".",
)

# %% [markdown]
# The third row is the control: as many numbers as in the first, and no network. A linear code keeps what varies most, and what varies most is where the bright and dark is; which shape it has is a fine point. What the autoencoder has over it, it owes to having *looked*.
#
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
# **1 · A budget** (difficulty 2 of 3, 20 minutes). How long may a film be? Return the largest number of frames whose tokens are at most `budget`. `size` is `(rows, columns)` in pixels; `patch` and `down` are `(frames, rows, columns)`; the autoencoder keeps the first frame by itself, and what does not divide is padded. If not even one frame fits, return 0.


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
# **3 · Never ahead** (difficulty 2, 20 minutes). A convolution along time alone. `x` is `(B, F)`, `weight` is `(K,)` with its *last* number for the present; frames before the first count as the first one (a still picture before the film, instead of zeros). Return `(B, F)`.


# %% tags=["core"]
def my_past(x, weight):
    raise NotImplementedError


check("spacetime-patches.causal", my_past)

# %% [markdown]
# ## What this does not show
#
# A line and a box of toys. The five motions were asked for by name; without names a network may avoid what it cannot do, and you would not see it in any single clip. The autoencoders saw one world and two strides, one seed each, and the verifier sees whole objects, not texture: real compression fails first at faces, letters and leaves. The table of published models counts from their reports; what they do beyond that is not in it. Real films in one batch have many sizes; how they are packed is for chapter 25.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Tokens of 20 s of 1080p, boxes of 4×16×16", f"{padded:,}", f"{plain:,.0f} without padding"],
        ["Its latents of 60×68×120, patch 1×2×2", f"{latents:,}", "said: 10,000"],
        ["Change within the boxes of a real clip", f"{still / total:.1%} of its variance", "boxes of 4×8×8"],
        [f"Boxes of 4 frames instead of 1: {worst}", f"{right[4][worst]:.0%}", f"1 frame: {right[1][worst]:.0%}"],
        [f"Autoencoder, 4 frames a latent: {worst_word}", f"{kept[4][worst_word]['value']:.0%}", f"as they are {floor[worst_word]:.0%}, 2 frames {kept[2][worst_word]['value']:.0%}, linear {by_line[worst_word]['value']:.0%}"],
        ["Speed, 4 frames a latent", f"{kept[4]['speed']['value']:.0%}", f"as they are {floor['speed']:.0%}"],
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
