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
#     slug: flicker
#     title: Flicker, or the cat that was never told
#     claim: Pictures that do not see one another cannot agree, however good each of them is; let the frames of a clip look at one another, and they become one film.
#     objectives:
#       - say why frames that are drawn each by itself flicker, and why no training cures it
#       - write the three attention masks of video models, and say what each lets a token know
#       - train a video denoiser on clips that are pictures
#       - measure flicker with a floor, an interval and a control
#       - count what each mask costs
#     prerequisites: [dit, gradable-world]
#     minutes_compute: 3
#     hours_learner: 2.5
#     memory_gb: 2
#     data: []
#     weights: [toybox-frames, toybox-factorised, toybox-full, toybox-classifier]
#     exercises: [flicker.mask, flicker.shared, flicker.acceleration]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 16 · Flicker, or the cat that was never told
#
# **Pictures that do not see one another cannot agree, however good each of them is; let the frames of a clip look at one another, and they become one film.**
#
# `compute 3 min` · `you 2.5 h` · `memory 2 GB` · pictures are live, the comparisons are recorded and marked so
#
# > **If flashing pictures can harm you:** this chapter is about flicker, and some of its clips show it. They are small, they never start by themselves, and each stands under a warning. Every one of them is also shown as a row of still frames, and you lose nothing by staying with these.
#
# Three networks draw a clip of the Toybox, twelve frames each, *from the same noise*. They have equally many weights, and have seen equally many clips of one world. They differ in one thing: what a patch may look at.

# %%
import time
from functools import partial

import torch
from torch import Generator

from minidiff import dpmpp_2m, fit, fresh, last, load, pick, prior, shifted, uniform_grid
from minidiff.course.notebook import *
from minidiff.data.line import sample as line
from minidiff.measure.line import acceleration, spots, switches
from minidiff.nn.attention import watched
from minidiff.nn.dit import DiT
from minidiff.predict import Denoiser
from minidiff.recipes.run import shipped
from minidiff.recipes.toybox import SHAPE, SHIFT, videos
from minidiff.schedule import Linear
from minidiff.sweeps.row import unpack
from minidiff.train.checkpoint import read_header
from minidiff.train.fit import denoising_loss, held_below, noisier

scale = start(needs="0.1")

# %% tags=["core"]
arms = {"a frame": "toybox-frames", "frame, then time": "toybox-factorised", "the clip": "toybox-full"}
nets = {name: load(file) for name, file in arms.items()}
calls = pick(smoke=2, laptop=30)
drawn = {name: videos(net, 4, calls, seed=8) for name, net in nets.items()}  # (4, 3, 12, 32, 32), from equal noise

# %% tags=["core", "stage"]
reel(
    {f"sees {name}": x[2] for name, x in drawn.items()},
    alt="Three clips of the same world from the same noise, one above the other, by networks whose patches see their own frame, frame and time in turns, or the whole clip.",
    mark="live: shipped weights, seed 8, the third of four clips (all four of the last network stand further down)",
    flickers=True,
)

# %% [markdown]
# Stop the first one at any frame and judge it as a picture. Then run it. Whatever you think of the pictures, there is no film, only twelve strangers one after the other.
#
# ## The cat
#
# Most accounts of video models begin with this accident. Draw each frame by itself, and *frame 1: cat sitting; frame 2: cat standing; frame 3: cat sitting again*. It is told as if the frames were not good enough. Suppose instead that the painter is perfect: each frame is drawn from exactly the right distribution, and none knows of the others. What is the chance that a cat which sits half of the time does not jump in two seconds of film, 24 frames?

# %% tags=["core", "stage"]
predict("flicker.cat", "24 perfect frames, each sitting or standing with chance one half, none knowing of the others. The chance of no jump?", ["one in two", "about one in a thousand", "about one in ten million"])  # fmt: skip

# %% tags=["core"]
stays = 0.5**23  # 23 times in a row, the next frame is as the one before

# %% tags=["core", "stage"]
why = f"One in {1 / stays:,.0f}. And a cat has more than two poses."
reveal("flicker.cat", "about one in ten million", why)

# %% [markdown]
# ## A clip that is a picture
#
# To see flicker with the eye, take a world with one dimension less. A spot lives on a line. It is bright or dark; it rests or drifts. A frame is a row of 32 pixels, and so sixteen frames are a *picture*, time downwards: what rests is an upright stripe, what drifts a slanted one.
#
# Below in the second row, the perfect painter at work: real frames, every one exactly from this world, but each from another clip.

# %% tags=["core"]
world = lambda n, generator: line(n, generator, ("rests", "drifts")).clips  # noqa: E731 (n, 1, F, 1, W)
true = world(400, Generator().manual_seed(1))
strangers = torch.stack([true.roll(f * 23, 0)[:, :, f] for f in range(true.shape[2])], 2)  # frame f of clip i - 23 f


def as_pictures(x):  # clips (n, 1, F, 1, W) -> pictures (n, 1, F, W), time downwards
    return x[:, :, :, 0]


# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([as_pictures(x[:8]) for x in (true, strangers)]),
        columns=8,
        rows=["clips", "frames by themselves"],
        scale=3,
    ),  # fmt: skip
    alt="Two rows of eight small pictures, time downwards. Above, straight stripes, upright or slanted, bright or dark. Below, in every line a spot at another place, bright or dark.",
    mark="exact: clips of the line, and the same frames from clips that differ",
)

# %% [markdown]
# Two numbers tell these rows apart, and neither is the difference between neighbouring frames (chapter 09: that punishes whatever moves). The **acceleration**: the root mean square of the second difference of the places, `p[f+1] - 2 p[f] + p[f-1]`. It is 0 for whatever rests or drifts, at any speed (up to the hundredth of a pixel that the finder errs). And **identity switches**: how often the spot changes its light.

# %% tags=["core"]
held = {}
for name, x in {"clips": true, "frames by themselves": strangers}.items():
    seen = spots(x)  # places (n, F), lights (n, F)
    held[name] = float(acceleration(seen.places).mean()), float(switches(seen.lights).float().mean())
say("; ".join(f"{name}: acceleration {a:.2f} pixels a frame², {s:.1f} switches a clip" for name, (a, s) in held.items()) + f" (n = {len(true)}).")  # fmt: skip

# %% [markdown]
# So much for training longer. The painter of the second row has no error left to train away. What is wrong is not any frame; it is that frame 7 cannot know what frame 6 is.
#
# ## Three masks
#
# In a transformer one table says who may know what: which token may look at which (chapter 12). A clip of `F` frames with `N` patches each has `F N` tokens. Three such tables are in use:
#
# - **A frame.** Patches look at the patches of their own frame. An image model, run `F` times.
# - **Factorised.** One layer looks over the frame, the next over time: at the same place in all frames. In turns.
# - **Full.** Everything looks at everything.


# %% tags=["core", "builds:nn.dit.Block"]
def may_see(kind, F, N):  # -> (F N, F N), True where the row's token may look at the column's
    frame = torch.arange(F).repeat_interleave(N)  # (F N,) the frame of each token
    place = torch.arange(N).repeat(F)  # (F N,) its place in the frame
    same_frame, same_place = frame[:, None] == frame, place[:, None] == place
    return {"frame": same_frame, "time": same_place, "full": same_frame | True}[kind]


F, N = 4, 3
tables = {kind: may_see(kind, F, N) for kind in ("frame", "time", "full")}
reach = tables["time"].float() @ tables["frame"].float() > 0  # over the frame first, and then over time

# %% tags=["core", "stage"]
fig, axs = figure(1, 4, height=2.2)
names = {"frame": "a frame", "time": "time", "full": "full", "both": "frame, then time:\nheard of after two layers"}
for ax, (kind, mask) in zip(axs, {**tables, "both": reach}.items(), strict=True):
    ax.imshow(mask, cmap="Blues", vmin=0, vmax=1.6, interpolation="none")
    for k in range(1, F):
        ax.axhline(k * N - 0.5, color="grey", lw=0.6)
        ax.axvline(k * N - 0.5, color="grey", lw=0.6)
    ax.set_title(names[kind], fontsize=8.5)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
axs[0].set_ylabel("who looks (4 frames of 3)", fontsize=8.5)
show(
    fig,
    alt=f"Four tables of 12 by 12 squares, 4 frames of 3 patches. A frame: four blocks along the diagonal. Time: stripes parallel to the diagonal. Full: all squares. And after a layer over the frame and one over time, {'all squares' if reach.all() else 'not all squares'} again.",
    mark="exact",
)

# %% [markdown]
# The last table is the one to look at. A token that looks over its frame and then over time has, after two layers, heard of *every* token, through one go-between: the patch that shares its frame with one and its place with the other. That is why factorised attention works at all.
#
# The package's `DiT` has one word for this, `attention="frame"`, `"factorised"` or `"full"`, and the same weights in all three. Is a network with `"frame"` really the full network with links cut? Take one, cut the links by hand with the knife of chapter 12, and compare.

# %% tags=["core"]
torch.manual_seed(0)
full, frame = (DiT(1, 32, 2, 2, patch=(1, 1, 8), attention=kind).requires_grad_(False) for kind in ("full", "frame"))
for p in full.parameters():
    p += 0.1 * torch.randn(p.shape)  # off its start, where it answers 0 to everything
frame.load_state_dict(full.state_dict())  # the same weights fit
x, level = true[:4], torch.zeros(4)
with watched(full, cut=~may_see("frame", x.shape[2], 4)[None]):
    by_knife = full(x, level)
apart = {name: float((y - by_knife).abs().max()) for name, y in {"frame": frame(x, level), "full": full(x, level)}.items()}  # fmt: skip
say(f'Cut by hand, the full network differs from `attention="frame"` by {apart["frame"]:.0e}; uncut (the control) by {apart["full"]:.2f}.')  # fmt: skip

# %% [markdown]
# ## One trained here
#
# Now train the full one on the line, in this notebook. It is the denoiser you know; a clip `(1, F, 1, W)` goes in with noise on it, and the guess of the clean clip comes out. Patches are 8 pixels of one frame, so 64 tokens. The network is asked for `x0` (chapter 04) and the loss is taken in the space of `flow`, as for the large patches of chapter 13; `held_below` keeps nearly clean clips, which all but answer themselves, from outweighing the rest.
#
# One more thing comes from an exercise of chapter 01: `shifted`. A clip says everything sixteen times, so it bears √16 = 4 times the noise that a single frame bears. Where one frame is drowned, the stripe can still be seen. What a clip is *about* is decided at noise that would hide any of its frames; so the levels of training and the grid of the sampler both move towards noise (`shifted(t, 3)`: three times the noise beside the data).

# %% tags=["core", "stage"]
level = 0.55
noisy = (1 - level) * true[1:2] + level * torch.randn(true[1:2].shape, generator=Generator().manual_seed(2))
fig, axs = figure(1, 3, height=2.2)
for ax, (title, picture) in zip(axs, {f"one frame at t = {level}": as_pictures(noisy)[0, :, 5], f"the clip at t = {level}": as_pictures(noisy)[0, 0], "the clip, clean": as_pictures(true)[1, 0]}.items(), strict=True):  # fmt: skip
    ax.imshow(picture, cmap="gray", aspect="equal", vmin=-1.5, vmax=1.5, interpolation="none")
    ax.set_title(title, fontsize=8.5)
    ax.axis("off")
show(
    fig,
    alt="Three pictures: a frame of a noisy clip, a single row of grey values; the whole clip under the same noise; and the clean clip, a stripe.",
    mark="exact: one clip, one noise",
)
say("Where is the spot in the left picture? And where is the stripe in the middle one?")

# %% tags=["core"]
torch.manual_seed(0)
mine = Denoiser(DiT(1, 48, 4, 3, patch=(1, 1, 8), attention="full"), Linear(), "x0", sd=0.35)
loss = partial(denoising_loss, space="flow", weight=held_below, levels=noisier)
steps = pick(smoke=4, laptop=500)
*_, state = fit(mine, fresh(world, 64), steps, loss=loss, lr=2e-3, warmup=steps // 10, decay_from=0.5, ema=0.99)
state.ema.copy_to(mine.net)

# %% tags=["core"]
grid = shifted(uniform_grid(pick(smoke=2, laptop=25)), 3.0)
start_here = prior(Linear(), (200, *true.shape[1:]), Generator().manual_seed(5))
made = last(dpmpp_2m(mine, start_here, grid))
seen = spots(made)
held["trained here, full"] = float(acceleration(seen.places).mean()), float(switches(seen.lights).float().mean())

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([as_pictures(x[:8]) for x in (true, made, strangers)]),
        columns=8,
        rows=["clips", "trained here", "frames by themselves"],
        scale=3,
    ),  # fmt: skip
    alt=f"Three rows of eight small pictures, time downwards: true clips, clips of the network trained here, and frames by themselves. In the middle row the acceleration is {held['trained here, full'][0]:.2f} pixels a frame squared.",
    mark=f"live: trained on {state.samples:,} clips just now, seed 0; n = {len(made)} for the numbers",
)
table(["", "acceleration, pixels a frame²", "switches a clip"], [[name, f"{a:.2f}", f"{s:.2f}"] for name, (a, s) in held.items()])  # fmt: skip

# %% [markdown]
# Nobody told the network that things persist. It was allowed to look, and it paid for wrong guesses.
#
# And the other two? Here are all three masks, trained for the same number of clips, more than one seed each. Before you look: the factorised network has, in its four layers, two that look over the frame and two that look over time.

# %% tags=["core", "stage"]
predict(
    "flicker.factorised",
    "On the line, the acceleration of the factorised network's clips will be ...",
    ["half of the full one's or less", "within a factor of 2 of it", "more, but less than half of the frame network's", "half of the frame network's or more"],
)  # fmt: skip

# %% tags=["core"]
runs = recorded("line-masks")
kinds = {"a frame": "frame", "frame, then time": "factorised", "the clip": "full"}
mean = lambda rows, key: sum(row[key] for row in rows) / len(rows)  # noqa: E731
by_mask = {name: runs.where(attention=kind) for name, kind in kinds.items()}
floor = mean(runs.rows, "acceleration, true")

# %% tags=["core", "stage"]
table(
    ["patches see", "acceleration, seed by seed", "switches a clip", "clips that rest or drift", "loss"],
    [[name, ", ".join(f"{row['acceleration']:.2f}" for row in rows), f"{mean(rows, 'switches'):.2f}", f"{mean(rows, 'lawful'):.0%}", f"{mean(rows, 'loss'):.4f}"] for name, rows in by_mask.items()]
    + [["*true clips*", f"{floor:.2f}", f"{mean(runs.rows, 'switches, true'):.2f}", f"{mean(runs.rows, 'lawful, true'):.0%}", ""]],
)  # fmt: skip
say(f"<small>*{runs.mark}; {runs.rows[0]['samples']:,} clips seen*</small>")
two, whole, alone = (mean(by_mask[name], "acceleration") for name in ("frame, then time", "the clip", "a frame"))
ratio = two / whole
answers = ["half of the full one's or less", "within a factor of 2 of it", "more, but less than half of the frame network's", "half of the frame network's or more"]  # fmt: skip
reveal("flicker.factorised", answers[0] if ratio <= 0.5 else answers[1] if ratio <= 2 else answers[2] if two < alone / 2 else answers[3], f"{ratio:.1f} times the full one's; the network that sees a frame has {alone / whole:.0f} times as much.")  # fmt: skip

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([unpack(rows[0]["pixels"])[:8] for rows in by_mask.values()]),
        columns=8,
        rows=[f"sees {name}" for name in by_mask],
        scale=3,
    ),
    alt="Three rows of eight small pictures, time downwards, by networks that see a frame, frame and time in turns, and the clip.",
    mark=runs.mark,
)

# %% [markdown]
# Look along single lines of the top row: each is a frame, and has to be judged by itself. However long that network is trained, its loss stays above a floor that the others do not have: a frame alone does not contain the answer.
#
# ## Can it be cured without looking?
#
# Two cures come to mind at once, and both are in use.
#
# **Give every frame the same noise.** With a sampler that adds no noise on the way (the first picture's did), the network that sees a frame turns the same noise into the same picture; so nothing can jump. Between "the same" and "all different" lies a dial: `eps_f = √ρ · shared + √(1-ρ) · own`. Each frame's noise is still unit noise, whatever `ρ` is, and so each frame is still as good as before. Turn it.


# %% tags=["core"]
def shared_noise(shape, rho, generator):  # -> (B, C, F, H, W), unit noise, frames correlated by rho
    B, C, _, H, W = shape
    common = torch.randn(B, C, 1, H, W, generator=generator)
    return rho**0.5 * common + (1 - rho) ** 0.5 * torch.randn(shape, generator=generator)


# %% tags=["core", "stage"]
def with_dial(percent):
    eps = shared_noise((1, *SHAPE), percent / 100, Generator().manual_seed(3))
    x = last(dpmpp_2m(nets["a frame"], eps, shifted(uniform_grid(pick(smoke=2, laptop=15)), SHIFT)))
    return image_grid(x[0].transpose(0, 1), columns=6, rows=["frames 1 to 6", "frames 7 to 12"], scale=3)


play(with_dial, percent=(0, 100, 10, 90), alt=lambda percent: f"Twelve frames, each drawn by itself, from noise that is {percent}% shared.")  # fmt: skip

# %% [markdown]
# *At 100% nothing moves any more. Is there a setting at which something moves and nothing jumps?* A network that sees one frame has one way to make frame 8 like frame 7, which is to start it from nearly the same noise; and then it has no way to make it *later*.
#
# **Smooth it afterwards.** Average each frame with its neighbours. On the line you can see what that does.

# %% tags=["core"]
smooth = strangers.unfold(2, 5, 1).mean(-1)  # every frame becomes the mean of five
softly = spots(smooth)
held_still = softly.found.unfold(1, 3, 1).all(-1)  # a spot in three frames, so that it has an acceleration
jumps = {name: spots(x).places.diff(n=2, dim=1) for name, x in {"before": strangers[:, :, 2:-2], "smoothed": smooth}.items()}  # fmt: skip
rms = {name: float(x[held_still].square().mean().sqrt()) for name, x in jumps.items()}
say(f"A spot that can be called one is left in {float(softly.found.float().mean()):.0%} of the frames; where it is, its acceleration went from {rms['before']:.1f} to {rms['smoothed']:.1f} pixels a frame² (true clips: {held['clips'][0]:.2f}).")  # fmt: skip

# %% tags=["core", "stage"]
show(
    image_grid(
        torch.cat([as_pictures(x[:8]) for x in (strangers[:, :, 2:-2], smooth)]),
        columns=8,
        rows=["frames by themselves", "smoothed"],
        scale=3,
    ),  # fmt: skip
    alt="Two rows of eight small pictures, time downwards: spots that jump, and the same smeared over five frames into faint patches.",
    mark="exact: n = 8 of 400 clips",
)

# %% [markdown]
# Five ghosts instead of one spot: the mean of five pictures is not a picture of the place in between. What has to agree must be agreed upon *before* it is drawn.
#
# ## The same on the Toybox
#
# Now the three networks of the first picture: colours, shapes, one object or two that rest, drift or bounce, 32×32 pixels, twelve frames. The verifier of chapter 09 watches what they draw. It reports an acceleration error (what no law of motion explains), switches of colour along a track, and leaps, which are tracks that begin or end in mid-picture; a clip with an object and without either holds together. What cannot be followed over three frames has no acceleration and is left out of that mean, so read it with the column beside it. Every figure has its floor: the same of true clips.

# %% tags=["core", "stage"]
predict("flicker.toybox", "Acceleration error of clips whose patches see only their own frame, over that of the network that sees the whole clip:", ["less than 2 times", "2 to 5 times", "5 to 20 times", "more than 20 times"])  # fmt: skip

# %% tags=["core"]
headers = {name: read_header(shipped(file)) for name, file in arms.items()}
measured = {name: header["metrics"] for name, header in headers.items()}
any_arm = measured["the clip"]  # the floors are the same for all


def with_interval(m, form):
    return f"{m['value']:{form}} [{m['low']:{form}}, {m['high']:{form}}]"


parts = (
    "acceleration error",
    "clips with something to follow",
    "identity switches a clip",
    "clips that hold together",
    "Frechet video distance",
)
rows = {name: [m[part] for part in parts] for name, m in measured.items()}
rows["*true clips*"] = [any_arm[f"{part}, true clips"] for part in parts[:4]] + [any_arm["Frechet video distance, true against true"]]  # fmt: skip

# %% tags=["core", "stage"]
table(
    ["patches see", "acceleration error, px a frame²", "clips with something to follow", "identity switches a clip", "clips that hold together", "Fréchet video distance"],
    [[name, with_interval({k: 32 * v for k, v in a.items()}, ".2f"), f"{f['value']:.0%}", with_interval(s, ".2f"), f"{u['value']:.0%}", f"{d['value']:,.0f}"] for name, (a, f, s, u, d) in rows.items()],
)  # fmt: skip
first, judge = headers["the clip"], read_header(shipped("toybox-classifier"))["metrics"]
begun = (
    f" ({min(h['start']['samples'] for h in headers.values()):,} or more of them on one {first['start']['device']})"
    if "start" in first
    else ""
)
spoilt = ", ".join(f"{how} {judge[f'Frechet video distance, {how}']['value']:,.0f}" for how in ("shuffled", "frozen", "recoloured"))  # fmt: skip
say(f"<small>*recorded: {first['device']}, {first['date']}, n = {any_arm['clips that hold together']['n']} clips each, 95% intervals over clips, one training seed; {first['samples']:,} clips seen by each{begun}, {first['parameters']:,} weights. The distance is between features of a small network that tells motions, colours and the order of frames; true against true is its null. Its self-test, on true clips that were spoilt: {spoilt}*</small>")  # fmt: skip
times = rows["a frame"][0]["value"] / rows["the clip"][0]["value"]
above = rows["the clip"][0]["value"] / rows["*true clips*"][0]["value"]
reveal("flicker.toybox", "less than 2 times" if times < 2 else "2 to 5 times" if times < 5 else "5 to 20 times" if times < 20 else "more than 20 times", f"{times:.1f} times. And the one that sees the clip has {above:.0f} times the error of true clips.")  # fmt: skip
intact = rows["the clip"][3]["value"]
say(f"Of the clips of the last network {intact:.0%} hold together: no track ends in the middle of the picture, none begins there, and none changes its colour. In the other {1 - intact:.0%} something is lost on the way, or exchanged, or comes from nowhere, or nothing is there.")  # fmt: skip

# %% [markdown]
# Read each column downwards, and then its last line. Looking makes a film of pictures. Whether it is a *good* film is another question, and these trainings were short. No training can cure the first network. Nothing forbids the other two to get better, and `minidiff recipes` has the commands that go on.
#
# All four clips that the last network drew at the top of this chapter:

# %% tags=["core", "stage"]
reel(
    {f"clip {i + 1}": x for i, x in enumerate(drawn["the clip"])},
    alt="Four clips by the network whose patches see the whole clip.",
    mark="live: toybox-full, seed 8",
)

# %% [markdown]
# ## What it costs
#
# Looking is paid per pair: each token that looks at each token. In one layer a frame costs `F·N²` pairs, time `N·F²`, full `(F·N)²`. And the rest of the network is paid per token, whoever looks at whom. Which of the two matters? Count, then time one call of each network for longer and longer clips.

# %% tags=["core"]
N, seconds, pairs = 16, {}, {}
lengths = pick(smoke=[4, 8], laptop=[12, 48, 192])
for F in lengths:
    pairs[F] = [F * N**2, (F * N**2 + N * F**2) / 2, (F * N) ** 2]  # a layer, on average
    x, level = torch.zeros(1, 3, F, 32, 32), torch.tensor([0.7])
    for name, net in nets.items():
        with torch.no_grad():
            runs_of = [(-time.perf_counter(), net(x, level), time.perf_counter()) for _ in range(4)]
        seconds[F, name] = min(end + begin for begin, _, end in runs_of)

# %% tags=["core", "stage"]
table(
    ["frames", "tokens", *(f"pairs: {name}" for name in arms), *(f"time: {name}" for name in arms)],
    [[F, f"{F * N:,}", *(f"{p:,.0f}" for p in pairs[F]), *(f"{seconds[F, name] / seconds[lengths[0], 'a frame']:.1f}" for name in arms)] for F in lengths],
)  # fmt: skip
fig, ax = figure(height=2.6)
unit = seconds[lengths[0], "a frame"]
for name, marker in zip(arms, "os^", strict=True):
    ax.plot([F * N for F in lengths], [seconds[F, name] / unit for F in lengths], marker=marker, ms=4, label=name)
ends = torch.tensor([lengths[0], lengths[-1]], dtype=torch.float32)
for power, word in ((1, "in step with tokens"), (2, "as pairs of tokens")):
    ax.plot(ends * N, (ends / ends[0]) ** power, color=COLOURS["exact"], dashes=(4, 2), lw=0.8)
    ax.text(float(ends[1]) * N, float(ends[1] / ends[0]) ** power, f" {word}", fontsize=8, va="center")
ax.set(xscale="log", yscale="log", xlabel="tokens of a clip", ylabel="time of a call", xlim=(150, 12_000))
ax.legend(fontsize=8, loc="upper left")
show(
    fig,
    alt="Time of a call against tokens, both logarithmic, for three networks. " + "; ".join(f"{name}: from 1 to {seconds[lengths[-1], name] / seconds[lengths[0], name]:.0f}" for name in arms) + f"; tokens grow {lengths[-1] // lengths[0]} times, pairs {(lengths[-1] // lengths[0]) ** 2} times.",
    mark="exact, and live: times in units of the first one, best of four, one clip of 32×32 at a time",
)  # fmt: skip

# %% [markdown]
# Whoever says that full attention is too dear should say for how long a clip. Compare the columns of times line by line with those of pairs: pairs grow with the square of the clip, everything else in step with it, and sooner or later the square wins. That is why early video models looked in turns (Ho et al. 2022), and why the next chapter is about making *fewer tokens* of a clip. Large open models of today look at everything, and pay for it with compression.
#
# (And a score that is in use for this, one minus the mean difference of neighbouring frames, measures how little moves: chapter 09 tried it.)
#
# ## Exercises
#
# **1 · The mask** (difficulty 1 of 3, 15 minutes). A causal mask in time: every token may look at all tokens of its own frame and of earlier frames, and at none of later ones. `F` frames, `N` patches each, tokens frame by frame. Return a boolean tensor `(F N, F N)`, True where the row's token may look at the column's.


# %% tags=["core"]
def my_mask(F, N):
    raise NotImplementedError


check("flicker.mask", my_mask)

# %% [markdown]
# **2 · A dial for noise** (difficulty 2, 20 minutes). `eps` is fresh unit noise, `(B, C, F, H, W)`. Return unit noise in which frames `f` and `g` are correlated by `rho**abs(f - g)`: neighbours are alike, far frames are not. Let the first frame be that of `eps`, and make each other one from the frame before it and its own fresh noise.


# %% tags=["core"]
def my_noise(eps, rho):
    raise NotImplementedError


check("flicker.shared", my_noise)

# %% [markdown]
# **3 · What flickers** (difficulty 2, 15 minutes). `places` is `(n, F, 2)`: where an object is, in pixels. Return `(n,)`, the root mean square over frames of the *length* of the second difference.


# %% tags=["core"]
def my_acceleration(places):
    raise NotImplementedError


check("flicker.acceleration", my_acceleration)

# %% [markdown]
# ## What this does not show
#
# A line and a box of toys; one training seed on the Toybox; small networks after a short training, whose clips are far from true ones. Real per-frame systems start from an image model and add layers over time to it (Blattmann et al.), which these arms do not try. Shared noise was tried on one network. And nothing here is about *long* clips, in which a thing must be remembered that no frame shows any more; that is for chapter 21.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["A cat of two poses, 24 perfect frames that know nothing of each other: no jump", f"1 in {1 / stays:,.0f}", "exact"],
        ["Acceleration on the line, mean over seeds, px a frame²", f"a frame {alone:.2f}, in turns {two:.2f}, the clip {whole:.2f}", f"true clips {floor:.2f}"],
        ["The full network trained here", f"{held['trained here, full'][0]:.2f}", f"frames by themselves {held['frames by themselves'][0]:.2f}"],
        ["Acceleration error on the Toybox, a frame over the clip", f"{times:.1f} times", f"the clip over true clips {above:.0f} times"],
        ["Identity switches a clip", f"a frame {rows['a frame'][2]['value']:.2f}, the clip {rows['the clip'][2]['value']:.2f}", f"true clips {rows['*true clips*'][2]['value']:.2f}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Jonathan Ho, Tim Salimans, Alexey Gritsenko, William Chan, Mohammad Norouzi, David J. Fleet (2022). *Video Diffusion Models.* [arXiv:2204.03458](https://arxiv.org/abs/2204.03458). Space and time in turns; images and videos trained together.
# - Andreas Blattmann, Robin Rombach, Huan Ling, Tim Dockhorn, Seung Wook Kim, Sanja Fidler, Karsten Kreis (2023). *Align your Latents: High-Resolution Video Synthesis with Latent Diffusion Models.* [arXiv:2304.08818](https://arxiv.org/abs/2304.08818). An image model that is taught to look over time.
# - Songwei Ge, Seungjun Nah, Guilin Liu, Tyler Poon, Andrew Tao, Bryan Catanzaro, David Jacobs, Jia-Bin Huang, Ming-Yu Liu, Yogesh Balaji (2023). *Preserve Your Own Correlation: A Noise Prior for Video Diffusion Models.* [arXiv:2305.10474](https://arxiv.org/abs/2305.10474). Noise shared between frames, used well: not as a cure, but as a start for training.
#
# **Next: 17 · Spacetime patches.** If looking is paid per pair, make fewer things that look. Cut a clip into boxes of space *and* time, squeeze it before you cut it, and measure what survives.
