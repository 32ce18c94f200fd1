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
#     slug: dit
#     title: DiT, or a picture read patch by patch
#     claim: Cut a picture into patches, let them talk, and let the noise level turn the knobs of every block.
#     objectives:
#       - cut pictures and videos into patches and put them together again
#       - build a block of a diffusion transformer, with adaLN-Zero
#       - compare a transformer with a U-Net at equal operations, with seeds
#       - choose a patch size by what it buys and what it costs
#       - test the saying that the transformer makes the layout and diffusion the details
#     prerequisites: [attention, guidance]
#     minutes_compute: 3
#     hours_learner: 3
#     memory_gb: 2
#     data: [fashion]
#     weights: [fashion-dit, fashion-unet]
#     exercises: [dit.patchify, dit.modulate, dit.guide]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 13 · DiT, or a picture read patch by patch
#
# **Cut a picture into patches, let them talk, and let the noise level turn the knobs of every block.**
#
# `compute 3 min` · `you 3 h` · `memory 2 GB` · pictures are live, the comparisons are recorded and marked so
#
# Ten kinds of clothes, drawn twice from the same noise, with the same sampler. One row is the U-Net's of chapter 05. The other is by a network with no convolution in it at all: a transformer that sees a picture as 49 patches.

# %%
from functools import partial

import torch
from einops import rearrange
from torch import Generator
from torch.nn import functional as F

from minidiff import add_noise, dpmpp_2m, ell, fit, guide, last, load, pick, prior, shuffled, uniform_grid
from minidiff.course.notebook import *
from minidiff.data import fashion
from minidiff.nn.dit import PRESETS, DiT
from minidiff.predict import Denoiser
from minidiff.recipes.run import shipped
from minidiff.schedule import Linear
from minidiff.sweeps.row import unpack
from minidiff.train import flops
from minidiff.train.checkpoint import read_header
from minidiff.train.fit import denoising_loss, logit_normal

scale = start(needs="0.1")

# %% tags=["core"]
nets = {"U-Net": load("fashion-unet"), "DiT": load("fashion-dit")}
steps, kinds = pick(smoke=2, laptop=25), torch.arange(10)
noise = prior(Linear(), (10, 1, 28, 28), Generator().manual_seed(4))
drawn = [last(dpmpp_2m(guide(net, 2.0), noise, uniform_grid(steps), cond=kinds)) for net in nets.values()]

# %% tags=["core", "stage"]
predict("dit.which", "Which row is the transformer's?", ["the upper one", "the lower one"])
show(
    image_grid(torch.cat(drawn), columns=10, titles=[name.split("/")[0] for name in fashion.NAMES]),
    alt="Two rows of ten small grey pictures of clothes, one of each kind, from t-shirt to boot, the upper by the U-Net, the lower by the transformer.",
    mark=f"live: {steps} calls, w = 2, seed 4",
)
own = float((drawn[0] - drawn[1]).square().mean((1, 2, 3)).sqrt().mean())
other = float((drawn[0] - drawn[1].roll(1, 0)).square().mean((1, 2, 3)).sqrt().mean())
reveal("dit.which", "the lower one", f"From the same noise the two draw pictures {own:.2f} apart (root mean square over pixels); two pictures of different kinds are {other:.2f} apart.")  # fmt: skip

# %% [markdown]
# Two machines that have little in common, asked the same question: `E[x0 | x_t]`. Both approximate one function, so the same noise leads them to similar clothes.
#
# The U-Net was made for pictures: neighbours first, then a coarser look, then back. The transformer knows two things about pictures: which pixels share a patch, and where each patch sits. Relatives of it drive most large image and video models whose design is published. It is called **DiT**, the *diffusion transformer*; and from here on it is ours.
#
# ## Five lines in, five lines out
#
# First to the patches. A picture `(C, H, W)` becomes a list of tokens, each the pixels of one patch in a row. A linear layer then makes 128 numbers of each.


# %% tags=["core", "builds:nn.dit.patchify"]
def cut(x, p):  # (B, C, H, W) -> (B, N, p*p*C)
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // p, p, W // p, p)  # row and pixel in it, column and pixel in it
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, H/p, W/p, p, p, C)
    return x.reshape(B, (H // p) * (W // p), p * p * C)


def glue(tokens, p, rows):  # (B, N, p*p*C) -> (B, C, H, W)
    B, N, D = tokens.shape
    x = tokens.reshape(B, rows, N // rows, p, p, D // p**2)  # rows: of patches, from top to bottom
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, p, columns, p)
    return x.reshape(B, D // p**2, rows * p, N // rows * p)


# %% [markdown]
# The order of those letters matters, and on square pictures nothing tells you when it is wrong: every shape still fits. Below, a boot; its tokens, one a row; and the boot glued together again, rightly, and with two letters exchanged on the way.

# %% tags=["core"]
test, labels = fashion.load("test")
boot = test[labels == 9][:1]  # (1, 1, 28, 28)
swapped = rearrange(cut(boot, 4), "b (h w) (p q c) -> b c (w p) (h q)", h=7, p=4, q=4)
inside = rearrange(cut(boot, 4), "b (h w) (p q c) -> b c (h q) (w p)", h=7, p=4, q=4)

# %% tags=["core", "stage"]
fig, axs = figure(1, 5, height=1.7)
panels_of = {"a boot": boot, "49 tokens of 16": cut(boot, 4)[None], "glued": glue(cut(boot, 4), 4, 7), "rows for columns": swapped, "the same, in a patch": inside}  # fmt: skip
for ax, (title, x) in zip(axs, panels_of.items(), strict=True):
    ax.imshow(x[0, 0], cmap="gray", vmin=-1, vmax=1, aspect="auto" if "tokens" in title else "equal", interpolation="none")  # fmt: skip
    ax.set_title(title, fontsize=8.5)
    ax.axis("off")
show(
    fig,
    alt="Five panels: a boot; a tall stack of 49 rows of 16 grey values; the boot again; the boot lying on its side with rough edges, for rows and columns of patches were exchanged; and a boot with saw-toothed edges, for they were exchanged inside each patch.",
    mark="exact: one test picture",
)

# %% [markdown]
# A network *trained* on the wrong order works just as well: its first layer does not care in which order it meets 16 numbers. It breaks on the day its weights move to a program with the other order. Gluing what you cut will not warn you either, for two equal mistakes cancel. So number the pixels and look at one patch:

# %% tags=["core"]
numbered = torch.arange(8 * 12).view(1, 1, 8, 12)
print(cut(numbered, 4)[0, 1])  # the second patch: four pixels of row 0, four of row 1, ...

# %% [markdown]
# ## A block, and its six knobs
#
# What comes next you know: attention (the patches talk), then an MLP (each by itself), each added to what came in. But nobody has told the block how noisy the picture is, or what it is to show.
#
# The U-Net's blocks heard it as a scale and a shift of their features. DiT does the same, with one idea more. From the noise level and the class together, in every block a linear layer of its own makes **six** numbers for each feature; we call them knobs. A shift and a scale before attention, a shift and a scale before the MLP, and after each a **gate** that says how much of the result is added. That layer starts at zero. So every gate starts at zero, and a fresh block hands on what it got: a safe place to start from, however deep the network. The name is **adaLN-Zero**: layer norm, adapted, starting at zero.


# %% tags=["core", "builds:nn.dit.Block"]
def norm(x):  # every token to mean 0 and spread 1
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()


def block_by_hand(block, x, told):  # x: (B, N, D), told: (B, D), silu of the noise level plus the class
    shift, scale, gate, shift2, scale2, gate2 = block.modulate(told)[:, None].chunk(6, -1)  # 6 x (B, 1, D)
    x = x + gate * block.attention(norm(x) * (1 + scale) + shift)  # the patches talk (not turned here, see 12)
    return x + gate2 * block.mlp(norm(x) * (1 + scale2) + shift2)  # each thinks alone


# %% [markdown]
# What has the trained network made of its knobs? We turn the noise level through its range and look at the gates.

# %% tags=["core"]
net = nets["DiT"].net
t = torch.linspace(0.02, 0.98, 49)
with torch.no_grad():
    told = F.silu(net.level(ell(Linear(), t)) + net.label(None, len(t)))  # (49, D)
    knobs = [block.modulate(told).chunk(6, -1) for block in net.blocks]  # six of (49, D) a block; 2 and 5 are gates
    gates = torch.stack([six[i].abs().mean(1) for six in knobs for i in (2, 5)])  # (10, 49)

# %% tags=["core", "stage"]
fig, ax = figure(height=2.5)
shares = gates / gates.amax(1, keepdim=True)
picture = ax.imshow(shares, aspect="auto", cmap="cividis", vmin=0, extent=(0, 1, len(gates), 0), interpolation="none")
ax.set_yticks(torch.arange(len(gates)) + 0.5, [f"{part}, block {i + 1}" for i in range(len(net.blocks)) for part in ("attention", "MLP")], fontsize=7.5)  # fmt: skip
ax.set(xlabel="noise level t", ylabel="")
ax.grid(False)
fig.colorbar(picture, label="share of its largest")
at_low = ", ".join(f"{part} {i // 2 + 1}" for i, part in enumerate(["attention", "MLP"] * len(net.blocks)) if shares[i, :10].mean() > shares[i, -10:].mean())  # fmt: skip
show(
    fig,
    alt=f"A map of how open ten gates are, attention and MLP of each of five blocks, against the noise level, each as a share of its own largest. Wider at low noise than at high noise are {at_low or 'none'}.",
    mark="live: fashion-dit, no label",
)
change = float((gates.amax(1) / gates.amin(1)).max())
say(f"Compare along a line, not between lines. The gate that changes most is {change:.1f} times as open at one level as at another: one set of weights, and at every level a somewhat different network.")  # fmt: skip

# %% [markdown]
# Does the manner of telling matter? Five networks, alike but for that: adaLN-Zero; the same with the gates open from the start; level and class added to the tokens once, at the door; told the class, but not the noise level; and told nothing. All cut the picture into 7×7 pixels a patch, to be quick, and see the same 32,000 pictures, half of one pass: this is how they *begin* to learn.

# %% tags=["core", "stage"]
predict(
    "dit.told",
    "Level and class are only added to the tokens at the door. What becomes of the Fréchet distance, against adaLN-Zero?",
    ["smaller, or within 10%", "10% to 50% larger", "more than 50% larger"],
)

# %% tags=["core"]
ways = recorded("dit-modulation")
mean = lambda rows, key: sum(row[key] for row in rows) / len(rows)  # noqa: E731
telling = {way: ways.where(told=way) for way in dict.fromkeys(row["told"] for row in ways.rows)}
worse = mean(telling["added to the tokens"], "frechet") / mean(telling["adaLN-Zero"], "frechet") - 1

# %% tags=["core", "stage"]
table(
    ["how the blocks are told", "held-out loss", "Fréchet distance, both seeds", "recognised as asked"],
    [[way, f"{mean(rows, 'loss'):.4f}", " and ".join(f"{row['frechet']:.1f}" for row in rows), f"{mean(rows, 'recognised'):.0%}"] for way, rows in telling.items()],
)  # fmt: skip
say(f"<small>*{ways.mark}; {telling['adaLN-Zero'][0]['samples']:,} pictures seen; samples without guidance*</small>")
reveal("dit.told", "smaller, or within 10%" if worse < 0.1 else "10% to 50% larger" if worse < 0.5 else "more than 50% larger", f"It changes by {worse:+.0%}.")  # fmt: skip

# %% [markdown]
# Read the losses first; they are steadier than the distances of networks that have only begun. To be told at the door is little better than to be told nothing: what is added once has to be carried, among everything else, through every layer to where it is needed. Knobs in each block put it there. Starting the gates at zero helps hardly more than seeds differ, at this depth of five; in the paper it helped much, at 28. And who knows the class but not the level pays in loss and hardly in distance: a noisy picture shows by itself how noisy it is, which is what chapter 05 found in the U-Net.
#
# ## The whole network
#
# Everything is there: cut, a linear layer in, blocks, a last modulated norm, a linear layer out, glue. The package's `DiT` is that, in one class, and it reads videos as well: `(B, C, F, H, W)`, patches with a third side, positions turned along a third axis. A picture is a video of one frame. And the noise level may differ from frame to frame, which is how the video chapters will show it a clean first frame. Does the first frame notice when the *last* one becomes noisier?

# %% tags=["core"]
x, level, noticed = torch.randn(1, 3, 6, 16, 16, generator=Generator().manual_seed(0)), torch.zeros(1, 6), {}
noisier = level + torch.tensor([0, 0, 0, 0, 0, 2.0])  # only the last frame's level
for attention in ("full", "frame"):
    torch.manual_seed(0)
    film = DiT(3, 48, 2, 3, patch=(1, 4, 4), attention=attention).requires_grad_(False)
    for p in film.parameters():
        p += 0.05 * torch.randn(p.shape)  # off its start, where it would answer 0 to everything
    noticed[attention] = float((film(x, noisier) - film(x, level))[:, :, 0].abs().max())
say(f"Where all frames look at one another, the first frame's answer changes by up to {noticed['full']:.3f}. Where each looks only at itself (the control): {noticed['frame']:.3f}.")  # fmt: skip

# %% [markdown]
# Now train one, here. Patches of 7×7 to be quick, so 16 tokens; one label in ten is hidden, for guidance (chapter 07).

# %% tags=["core"]
train = fashion.load("train")
torch.manual_seed(0)
mine = Denoiser(DiT(1, *PRESETS["laptop"], patch=7, classes=10), Linear(), "flow", sd=fashion.SD)
loss = partial(denoising_loss, drop=0.1, levels=logit_normal)
*_, state = fit(mine, shuffled(train, 32), pick(smoke=5, laptop=1500), loss=loss, decay_from=0.4, ema=0.99)
state.ema.copy_to(mine.net)
x = last(dpmpp_2m(guide(mine, 2.0), noise, uniform_grid(steps), cond=kinds))

# %% tags=["core", "stage"]
show(
    image_grid(x, columns=10),
    alt="Ten small pictures of clothes by the network that was trained just now.",
    mark=f"live: trained on {state.samples:,} pictures just now, seed 0, w = 2",
)
seen = read_header(shipped("fashion-dit"))["samples"]
say(f"The shipped one, in the second row at the top, saw {seen:,} pictures, {seen / state.samples:.0f} times as many, in three times as many tokens each. Look for seams between patches: nothing in the last layer tells a pixel what its neighbour across the border will do.")  # fmt: skip

# %% [markdown]
# ## An hour lost
#
# **Our own mistake.** The first `fashion-dit` trained for an hour with a handsome loss, and painted white rags. Every sampler begins at `t = 1`, and there `ell` is 10. Training drew its levels by the logit-normal rule of chapter 05, which favours the middle. How often does it come near the end?

# %% tags=["core"]
share = float(torch.special.ndtr(torch.tensor(-4.595, dtype=torch.float64)))  # the logit of 0.99 is 4.595
say(f"A level above t = 0.99 is drawn **{share * seen:.1f} times** in {seen:,} pictures.")
fixed = last(dpmpp_2m(nets["DiT"], noise, uniform_grid(steps), cond=kinds))
net.tell = lambda ell: net.level(ell)  # as it was: every level told as it is
with torch.no_grad():
    begin = nets["DiT"](noise, torch.tensor(1.0), kinds)
    rags = last(dpmpp_2m(nets["DiT"], noise, uniform_grid(steps), cond=kinds))
del net.tell  # back to the package's

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([rags, fixed]), columns=10, rows=["as it was", "as it is"]),
    alt="Two rows of ten pictures from the same weights and the same noise. Above, as it was; below, as it is now.",
    mark=f"live: fashion-dit, {steps} calls, no guidance, seed 4",
)
say(f"At the first step, the upper row's guess of the clothes had a mean of {float(begin.mean()):.1f}. Pictures lie between -1 and 1.")  # fmt: skip

# %% [markdown]
# The network was told a number that it had never heard. The waves in which a level is told go on turning there, the knobs follow, and six knobs in each block can turn a picture into anything. (The U-Net, trained on the same levels, came through unharmed; that was luck.) Now `DiT` tells all levels beyond `ell` = ±4.6 (99 parts of noise to one of picture, or the reverse) as 4.6. The weights are the same, not one was trained again. A loss is an average over the levels that one draws; sampling visits the others.
#
# ## A fair start
#
# The U-Net or the transformer? It is easy to make this comparison unfair: other sizes, other training. Here both get the same *operations*: as many multiply-adds over the whole training, forward and backward, with batch, learning rate and schedule of `fashion-unet`, three seeds. It is a short training, less than one pass, so the question is who *begins* to learn faster. As a third, the U-Net with attention among its pixels at 7×7 and 4×4: what does that gain?

# %% tags=["core", "stage"]
predict(
    "dit.race",
    "Equal operations on 28×28 clothes: who gets nearest to real pictures?",
    ["U-Net", "U-Net with attention", "DiT", "too close to call"],
)

# %% tags=["core"]
race = recorded("dit-race")
rivals = {name: race.where(net=name) for name in ("U-Net", "U-Net with attention", "DiT")}

# %% tags=["core", "stage"]
fig, ax = figure(height=1.9)
for i, (name, rows) in enumerate(rivals.items()):
    values = [row["frechet"] for row in rows]
    ax.plot(values, [i] * len(values), "o", color=COLOURS[("baseline", "data", "model")[i]], alpha=0.8)
    ax.plot([mean(rows, "frechet")] * 2, [i - 0.25, i + 0.25], color=COLOURS["exact"], lw=1)
ax.set_yticks(range(3), list(rivals))
ax.set(xlabel="Fréchet distance, three seeds and their mean", ylim=(2.6, -0.6), xlim=(0, None))
show(
    fig,
    alt="Three rows of three dots each, the Fréchet distances of U-Net, U-Net with attention and DiT at equal operations, with a bar at their means.",
    mark=race.mark,
)
table(
    ["network", "weights", "M multiply-adds a picture", "pictures seen", "seconds", "held-out loss", "recognised as asked"],
    [[name, f"{r[0]['parameters']:,}", f"{r[0]['macs'] / 1e6:.1f}", f"{r[0]['samples']:,}", f"{mean(r, 'training_seconds'):.0f}", f"{mean(r, 'loss'):.4f}", f"{mean(r, 'recognised'):.0%}"] for name, r in rivals.items()],
)  # fmt: skip
order = sorted(rivals, key=lambda name: mean(rivals[name], "frechet"))
apart = mean(rivals[order[1]], "frechet") - mean(rivals[order[0]], "frechet")
width = max(max(v) - min(v) for v in ([row["frechet"] for row in rivals[name]] for name in order[:2]))  # of seeds
reveal(
    "dit.race",
    order[0] if apart > width / 2 else "too close to call",
    ", ".join(f"{name} {mean(rows, 'frechet'):.1f}" for name, rows in rivals.items()) + ".",
)

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([unpack(rows[0]["pixels"]) for rows in rivals.values()]), columns=10, rows=list(rivals)),
    alt="Three rows of ten small pictures of clothes, one row a network, seed 0.",
    mark=race.mark,
)

# %% tags=["core", "stage"]
long = {name: read_header(shipped(file)) for name, file in (("U-Net", "fashion-unet"), ("DiT", "fashion-dit"))}
words = [f"{name} {h['metrics']['Frechet distance']['value']:.1f} after {h['samples']:,} pictures" for name, h in long.items()]  # fmt: skip
say(f"And the two networks that ship, trained for an hour or less: {' and '.join(words)} <small>*(recorded: {long['DiT']['device']}, n = {long['DiT']['metrics']['Frechet distance']['n']:,}, no guidance; DiT has spent {sum(flops.of(net, 1, 28, 28).values()) / sum(flops.of(nets['U-Net'].net, 1, 28, 28).values()):.0%} of the U-Net's operations)*</small>.")  # fmt: skip

# %% [markdown]
# The convolutions begin far better. The losses lie close together, and yet the drawings do not: most of this loss is noise that nobody can predict (chapter 03), so a few hundredths are much. What a U-Net knows before it has seen anything, that neighbours belong together and that a sleeve is a sleeve wherever it is, the transformer has to learn from pictures. Given a million of them, it comes close.
#
# And attention inside the U-Net? In this short training it did not earn its operations. Where it sits the picture is 7×7 and 4×4, and there convolutions see everything anyway; in the large U-Nets that made it famous, it sits at 16×16 and 32×32.
#
# ## How large a patch?
#
# Halve the side of a patch and there are four times as many tokens: nearly the same weights, used four times as often. More thought for each pixel, and it costs no weights, only time. Patches of 14, 7, 4 and 2 pixels, each network trained for the same *seconds* on two cores, once 20 and once 60; one seed.
#
# Large patches have a trouble of their own. A patch of 14×14 is 196 numbers, and a token carries 128. To answer `flow` the network has to give back the noise in them, and noise cannot be packed. Clothes can. So the two large patches were trained once more, asked for `x0` (chapter 04), with the loss still taken in the space of `flow`.

# %% tags=["core", "stage"]
predict(
    "dit.patch",
    "Asked for flow, after 60 seconds: which patch gives the smallest Fréchet distance?",
    ["14×14, 4 tokens", "7×7, 16 tokens", "4×4, 49 tokens", "2×2, 196 tokens"],
)

# %% tags=["core"]
sizes = recorded("dit-patches")
budgets = sorted({row["seconds"] for row in sizes.rows})
curve = {s: [sizes.where(pred="flow", patch=p, seconds=s)[0] for p in (14, 7, 4, 2)] for s in budgets}
clean = sizes.where(pred="x0", seconds=budgets[-1])  # the two large patches, asked for x0

# %% tags=["core", "stage"]
fig, ax = figure(height=2.7)
ax.set(xscale="log", yscale="log", xlim=(3.5, 420), xlabel="tokens a picture", ylabel="Fréchet distance")
ax.set_xticks([4, 16, 49, 196], ["4", "16", "49", "196"])
values = [row["frechet"] for rows in curve.values() for row in rows]
ax.set_ylim(0.8 * min(values), 1.25 * max(values))
ax.set_yticks([v for v in (10, 20, 50, 100, 200, 500) if 0.8 * min(values) < v < 1.25 * max(values)])
ax.yaxis.set_major_formatter("{x:.0f}")
ax.set_yticks([], minor=True)
ax.minorticks_off()
lines(ax, [4, 16, 49, 196], {f"{s} s": [row["frechet"] for row in rows] for s, rows in curve.items()}, kinds=["baseline", "model"])  # fmt: skip
ax.plot([row["tokens"] for row in clean], [row["frechet"] for row in clean], "v:", color=COLOURS["data"])
ax.annotate(f"asked for x0, {budgets[-1]} s", (clean[-1]["tokens"], clean[-1]["frechet"]), (8, -12), textcoords="offset points", fontsize=8.5, color=COLOURS["data"])  # fmt: skip
show(
    fig,
    alt=f"Fréchet distance against the number of tokens, both axes logarithmic, one curve for {budgets[0]} seconds of training and one for {budgets[-1]}, and two points for the large patches asked for x0. For the longer training the distances are " + ", ".join(f"{row['frechet']:.0f} at {row['tokens']} tokens" for row in curve[budgets[-1]]) + ".",
    mark=sizes.mark,
)  # fmt: skip
table(
    ["patch", "tokens", "M multiply-adds a picture", *(f"pictures seen in {s} s" for s in budgets), *(f"Fréchet, {s} s" for s in budgets)],
    [[f"{r['patch']}×{r['patch']}", r["tokens"], f"{r['macs'] / 1e6:.1f}", *(f"{curve[s][i]['samples']:,}" for s in budgets), *(f"{curve[s][i]['frechet']:.1f}" for s in budgets)] for i, r in enumerate(curve[budgets[0]])],
)  # fmt: skip
names = ["14×14, 4 tokens", "7×7, 16 tokens", "4×4, 49 tokens", "2×2, 196 tokens"]
ends = [row["frechet"] for row in curve[budgets[-1]]]
reveal("dit.patch", names[ends.index(min(ends))], f"Distance {min(ends):.1f}, the next {sorted(ends)[1]:.1f}.")

# %% [markdown]
# Two things pull. A fine patch thinks more about each picture and sees far fewer pictures in its seconds; a coarse one the reverse. From 20 seconds to 60 the best size stayed where it was; the papers, which train for weeks, take 2×2.
#
# And at 14×14 it is not the size that fails but the question. Asked for `flow` the network cannot pass 196 numbers of noise through 128; asked for `x0` it need not, and the same four tokens draw as well as any here. At 7×7, where 49 numbers fit, the question makes no difference to speak of. That is the way to large patches, and to transformers on plain pixels (Li & He, below); our video models will go it.
#
# ## Where the operations and the weights go
#
# The published DiTs come in four sizes. What they cost can be counted from width, depth, patch and tokens (chapter 12 did it for one layer).

# %% tags=["core", "stage"]
predict(
    "dit.knobs",
    "The six knobs are turned once a picture, not once a token. What share of the *weights* of DiT-XL makes knobs?",
    ["1%", "10%", "a third", "two thirds"],
)

# %% tags=["core"]
published = {name: PRESETS[name] for name in ("S", "B", "L", "XL")}  # width, depth, heads
cost = {name: flops.dit(width, depth, 256, 16, out=32, waves=128) for name, (width, depth, _) in published.items()}
weights, knobs = {}, {}
with torch.device("meta"):  # nothing is stored, only shapes
    for name, size in published.items():
        whole = DiT(4, *size, patch=2, classes=1000, published=True)
        weights[name] = sum(p.numel() for p in whole.parameters())
        knobs[name] = sum(p.numel() for block in whole.blocks for p in block.modulate.parameters())

# %% tags=["core", "stage"]
parts = ["queries, keys, values, output", "attention between tokens", "MLP"]
rows = [
    [name, *published[name][:2], f"{weights[name] / 1e6:.1f}", f"{sum(cost[name].values()) / 1e9:.2f}", *(f"{cost[name][part] / sum(cost[name].values()):.0%}" for part in parts)]
    for name in published
]  # fmt: skip
table(["32×32 latents, patch 2", "width", "blocks", "M weights", "G multiply-adds", "matrices of attention", "between tokens", "MLP"], rows)  # fmt: skip
total = sum(cost["XL"].values()) + flops.norms(1152, 28, 256)
part = knobs["XL"] / weights["XL"]
answers = {0.01: "1%", 0.1: "10%", 1 / 3: "a third", 2 / 3: "two thirds"}
reveal("dit.knobs", answers[min(answers, key=lambda x: abs(x - part))], f"{knobs['XL'] / 1e6:.0f} of {weights['XL'] / 1e6:.0f} million, {part:.0%}. Of the operations they are {cost['XL']['noise level and class'] / sum(cost['XL'].values()):.1%}.")  # fmt: skip
say(f"For XL with patch 2 at 256×256 the paper says 118.64 G. Our count, with one more for each number that passes a layer norm: {total / 1e9:.2f}.")  # fmt: skip

# %% [markdown]
# A third of the weights for six knobs a block: PixArt-α (below) lets all blocks share one set, and adds to each a small table of its own. (Papers on images count a multiply-add as *one* operation and call it a FLOP; makers of chips count two. Hence many a factor of two in other people's comparisons.)
#
# ## Who makes the layout?
#
# **Published mistake.** "Transformer determines high-level layout → Diffusion model fills in realistic details", says our founding article of such networks. It sounds as if one machine handed over to another. In which step? The same network is called at every level, by the same loop. What is true is that there is an *order*: look at any walk, and the coarse comes before the fine. Who makes it?
#
# If the transformer does, a network without one should show another order. If training does, something that was never trained should not show it at all. So here are three: DiT, the U-Net, and the best *linear* guess, which knows only mean and covariance of the training pictures (a formula: Wiener's filter). At every noise level each says what it believes, `x0_hat`. We split that into waves: at most 2 across the picture (the *layout*: how large, how wide, where), 2 to 5 (the *shape*), and more (edges and *texture*), and ask how much of each is right. Nobody is told the label.

# %% tags=["core"]
n = pick(smoke=20, laptop=400)
x0 = test[:n]
f = torch.fft.fftfreq(28, 1 / 28)  # waves across the picture, -14 to 13
waves = torch.hypot(f[:, None], f[None, :])  # (28, 28)
bands = {"layout": waves <= 2, "shape": (waves > 2) & (waves <= 5), "texture": waves > 5}
middle = train[0].mean(0)  # the mean picture, (1, 28, 28)


def spectrum(x):
    return torch.fft.fft2(x - middle, norm="ortho")


flat = (train[0] - middle).flatten(1)  # (60,000, 784)
strength, axes = torch.linalg.eigh(flat.T @ flat / len(flat))  # variance along each axis of the data, (784,)


def linear(x_t, t):  # Wiener: along each axis, as much as the data is stronger than the noise
    alpha, sigma = 1 - t, t  # Linear
    gain = strength * alpha / (strength * alpha**2 + sigma**2)
    return middle + ((x_t - alpha * middle).flatten(1) @ axes * gain @ axes.T).view_as(x_t)


# %% tags=["core"]
def known(x0_hat):  # the share of each band that is right: 1 all of it, 0 no better than the mean picture
    wrong, there = spectrum(x0_hat) - spectrum(x0), spectrum(x0)
    return [
        float(1 - wrong[:, :, b].abs().square().sum() / there[:, :, b].abs().square().sum()) for b in bands.values()
    ]


levels = torch.linspace(0.98, 0.1, pick(smoke=4, laptop=12))
eps = torch.randn(x0.shape, generator=Generator().manual_seed(2))
believed = {name: [] for name in (*nets, "linear guess")}
for t in tqdm(levels):
    x_t = add_noise(Linear(), x0, eps, t)
    for name, guess in (*nets.items(), ("linear guess", linear)):
        believed[name].append(guess(x_t, t))  # nobody is told the label
heard = {name: torch.tensor([known(x) for x in guesses]) for name, guesses in believed.items()}  # (levels, 3)

# %% tags=["core", "stage"]
fig, axs = figure(1, 3, height=2.7)
for k, (ax, band) in enumerate(zip(axs, bands, strict=True)):
    for name, kind, dash in (("U-Net", "baseline", "-"), ("DiT", "model", "--"), ("linear guess", "control", ":")):
        ax.plot(levels, heard[name][:, k], dash, color=COLOURS[kind], label=name)
    ax.set(title=band, xlim=(1, 0.08), ylim=(-0.05, 1), xlabel="noise level t")
axs[0].set_ylabel("share that is right")
axs[0].legend(frameon=False, fontsize=8, loc="lower right")
show(
    fig,
    alt="Three panels, layout, shape and texture: how much of each is right in the guess, as the noise level falls from left to right, a curve each for U-Net, DiT and the linear guess. The table below says where each curve passes one half.",
    mark=f"live: shipped weights, n = {n} test pictures, one noise each",
)


def half(curve):  # the level at which half of it is right, between two measured ones
    k = int((curve >= 0.5).int().argmax())
    if k == 0:
        return f"{float(levels[0]):.2f} or more" if curve[0] >= 0.5 else "never"
    a, b = curve[k - 1], curve[k]
    return f"{float(levels[k - 1] + (0.5 - a) / (b - a) * (levels[k] - levels[k - 1])):.2f}"


table(["half of it is right from t =", *bands], [[name, *(half(h[:, k]) for k in range(3))] for name, h in heard.items()])  # fmt: skip
apart = float((heard["U-Net"] - heard["DiT"]).abs().max())
say(f"Between the two networks no band differs by more than {apart:.2f}, at any level.")

# %% [markdown]
# The order is the same in all three, and one of them was never trained. So it comes neither from transformers nor from training. The formula says where from: along an axis on which the data has variance `λ`, the linear guess is right by `λ α² / (λ α² + σ²)`, one half where `√λ α = σ`: *where that part of the picture is as strong as the noise*. The coarse parts of pictures are strong and the fine ones weak. So noise drowns the fine ones first, and on the way back they come last.
#
# What the networks add is their distance from the dotted curve. They know clothes, and guess more of everything, earlier; in this, too, the two are alike. "First the layout, then the details" survives, then. "Two machines" does not. (This is about what a network *says*. What happens inside it is another question.)
#
# *Move the level, and look where the sleeves come in, and where the stripes.*


# %% tags=["core", "stage"]
def at_level(level):
    k = int((levels - level).abs().argmin())
    shown = [add_noise(Linear(), x0, eps, levels[k]), *(guesses[k] for guesses in believed.values()), x0]
    return image_grid(torch.cat([x[:10] for x in shown]), columns=10, rows=["x_t", *believed, "truth"], scale=2)


play(at_level, level=(0.1, 0.98, 0.08, 0.74), alt=lambda level: f"Five rows of ten clothes at noise level {float(levels[(levels - level).abs().argmin()]):.2f}: the noisy pictures, the guesses of U-Net, DiT and the linear guess, and the truth.")  # fmt: skip

# %% [markdown]
# ## Is a patch an eye?
#
# Another saying: each token is a *part*, an eye, a wheel. A token starts as 4×4 pixels of a grid that knows nothing of eyes. What does it become? Let the network look at nearly clean pictures, take the token in the middle after every block, and read two things from it by a linear map (least squares with a small brake, *ridge*): its own 16 pixels, and what the whole garment is. As a control, the same in a network that was never trained: there, too, attention carries something from everywhere to everywhere.

# %% tags=["core"]
m, seen = pick(smoke=100, laptop=3000), pick(smoke=60, laptop=2000)
pictures, which = train[0][:m], train[1][:m]
low = torch.tensor(0.05)
nearly_clean = add_noise(Linear(), pictures, torch.randn(pictures.shape, generator=Generator().manual_seed(6)), low)


def middle_token(net):  # -> the token in the middle before the blocks and after each, a list of (m, D)
    kept = []
    watch = lambda layer, inputs, out: kept.append(out[:, 0, 24])  # noqa: E731 (called when a layer has answered)
    hooks = [layer.register_forward_hook(watch) for layer in (net.inp, *net.layers())]
    with torch.no_grad():
        Denoiser(net, Linear(), "flow", sd=fashion.SD)(nearly_clean, low)
    for hook in hooks:
        hook.remove()
    return kept


def read(x, target):  # a linear map, fitted on the first `seen`; its answers for the others
    a = torch.cat([x, torch.ones(m, 1)], 1).double()  # (m, D+1)
    w = torch.linalg.solve(a[:seen].T @ a[:seen] + torch.eye(a.shape[1]), a[:seen].T @ target[:seen].double())
    return (a @ w)[seen:]


# %% tags=["core"]
torch.manual_seed(1)
untrained = DiT(1, *PRESETS["laptop"], patch=4, classes=10)
for p in untrained.parameters():
    p.data += 0.1 * torch.randn_like(p)  # off its start, where no block does anything
pixels, one_hot = cut(pictures, 4)[:, 24], F.one_hot(which, 10).float()
spread = pixels[seen:].var(0, unbiased=False).sum()


def tells(x):  # -> how much of its own pixels, and how often the garment
    wrong = (read(x, pixels) - pixels[seen:]).square().mean(0).sum()
    return float(1 - wrong / spread), float((read(x, one_hot).argmax(1) == which[seen:]).float().mean())


own, kind = map(list, zip(*map(tells, middle_token(net)), strict=True))
_, control = map(list, zip(*map(tells, middle_token(untrained)), strict=True))
everything = tells(nearly_clean.flatten(1))[1]  # the same map, shown all 784 pixels

# %% tags=["core", "stage"]
fig, ax = figure(height=2.6)
ax.set(xlim=(-0.2, len(own) + 1.6), ylim=(0, 1.05), xlabel="after how many blocks", ylabel="read from one token")
ax.set_xticks(range(len(own)))
ax.axhline(everything, color=COLOURS["exact"], dashes=(4, 2), lw=1)
ax.text(0.05, everything + 0.02, "garment, from all 784 pixels", fontsize=8.5)
lines(ax, range(len(own)), {"its own pixels (R²)": own, "garment": kind, "garment, untrained": control}, kinds=["data", "model", "control"])  # fmt: skip
show(
    fig,
    alt=f"Three curves against the number of blocks. A token's own pixels can be read from it with an R² of {own[0]:.2f} at first and {own[-1]:.2f} at the end. The garment is told right in {kind[0]:.0%} of pictures before the first block, {max(kind):.0%} at best, and by an untrained network in {max(control):.0%} at best. From all pixels: {everything:.0%}.",
    mark=f"live: fashion-dit, n = {m - seen:,} pictures not fitted on, t = 0.05, no label",
)
say(f"Before the first block the middle token tells the garment in {kind[0]:.0%} of pictures, after block {kind.index(max(kind))} in {max(kind):.0%}; in the untrained network {max(control):.0%} at best. The same map shown *all* pixels: {everything:.0%}; a guess: 10%. (R²: 1 is all of it, 0 no better than the mean.)")  # fmt: skip

# %% [markdown]
# A token never stops being its place: its own pixels can be read from it to the end, as they must be, for the last layer has to paint them. And after one block it tells what the whole garment is, which looks like a discovery. The control takes it away: in a network that was never trained the same token tells as much. A linear map needs no more than that something of every patch arrives, and attention sees to that with any weights. So this probe shows nothing that was *learned*, and without its control we would have printed it as a finding. What remains is plain: a token is a place on a grid into which everything flows. Nothing here makes it an eye. (And what *can* be read need not be used; for that, chapter 12 had a knife.)
#
# ## Exercises
#
# **1 · Cut with two sides** (difficulty 1 of 3, 15 minutes). `x` is `(B, C, H, W)`; patches are `p` pixels high and `q` wide. Return `(B, N, p*q*C)`, patches row by row, the numbers of one in the order pixel row, pixel column, channel.


# %% tags=["core"]
def my_cut(x, p, q):
    raise NotImplementedError


check("dit.patchify", my_cut)

# %% [markdown]
# **2 · Six knobs** (difficulty 2, 20 minutes). `x` is `(B, N, D)`, `knobs` `(B, 6 D)`, in the order of this chapter. `attention` and `mlp` are functions of `(B, N, D)`. Give the output of the block.


# %% tags=["core"]
def my_block(x, knobs, attention, mlp):
    raise NotImplementedError


check("dit.modulate", my_block)

# %% [markdown]
# **3 · Guide all of it** (difficulty 2, 20 minutes). The published DiT answers with `2 C` channels: `eps` in the first `C`, and numbers for the variance in the rest. Its code guides the first *three* of the four channels of `eps`, as if they were red, green and blue; an author calls it [unintended](https://github.com/facebookresearch/DiT/pull/12), and [SiT, LightningDiT and others](https://github.com/facebookresearch/DiT/issues/41) have copied the line, LightningDiT for latents of 32 channels. Do it right: guide all of `eps`, and take the variance from the answer with the label. `told` and `free` are `(B, 2 C, H, W)`, `w` is as in chapter 07.


# %% tags=["core"]
def my_guided(told, free, w):
    raise NotImplementedError


check("dit.guide", my_guided)

# %% [markdown]
# ## What this does not show
#
# Grey clothes, 28×28 and centred. Short trainings, with the learning rate of `fashion-unet` for all; one seed for the patch sizes, two for the ways of telling, three for the race; and distances of some hundreds compare networks that have only begun. Nothing here is about scale, which is the real claim of the DiT paper: that such a network goes on getting better as it grows. Our DiT has rotary positions and QK-norm, the published one has not. The bands mix outlines with texture, and one token was probed, the one in the middle.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Equal operations, Fréchet distance", f"DiT {mean(rivals['DiT'], 'frechet'):.1f}", f"U-Net {mean(rivals['U-Net'], 'frechet'):.1f}, with attention {mean(rivals['U-Net with attention'], 'frechet'):.1f}"],
        ["Level and class added at the door only", f"{worse:+.0%} in distance", "against adaLN-Zero"],
        [f"Best patch after {budgets[-1]} s", f"{names[ends.index(min(ends))]}: {min(ends):.1f}", f"4 tokens {ends[0]:.1f}, 196 tokens {ends[-1]:.1f}"],
        ["DiT-XL/2, G multiply-adds", f"{total / 1e9:.2f}", "published 118.64"],
        ["Half of the layout, the texture, is right from t =", f"DiT {half(heard['DiT'][:, 0])}, {half(heard['DiT'][:, 2])}", f"U-Net {half(heard['U-Net'][:, 0])}, {half(heard['U-Net'][:, 2])}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - William Peebles, Saining Xie: *Scalable Diffusion Models with Transformers*, ICCV 2023, arXiv 2212.09748. It compares four ways of telling a block (not our five), and shows what larger DiTs buy.
# - Tianhong Li, Kaiming He: *Back to Basics: Let Denoising Generative Models Denoise*, 2025, arXiv 2511.13720. Transformers on large patches of plain pixels, and why they should answer `x0`.
# - Junsong Chen, Jincheng Yu, Chongjian Ge and others: *PixArt-α: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis*, ICLR 2024, arXiv 2310.00426. The same network with words, and with one set of knobs for all blocks.
#
# **Next, chapter 14:** words.
