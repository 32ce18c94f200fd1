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
#     slug: attention
#     title: Attention, or asking the whole room
#     claim: Every patch asks a question, and listens to each patch the more, the better it fits.
#     objectives:
#       - build attention from products, a softmax and an average
#       - say what queries, keys and values are for, and what heads are
#       - give patches a place by turning their queries and keys
#       - count what attention costs, and know where the square begins to hurt
#       - tell what a map of attention shows from what it does not
#     prerequisites: [ddpm-images]
#     minutes_compute: 2
#     hours_learner: 3
#     memory_gb: 1
#     data: [fashion]
#     weights: [fashion-dit]
#     exercises: [attention.attend, attention.turn, attention.crossover]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 12 · Attention, or asking the whole room
#
# **Every patch asks a question, and listens to each patch the more, the better it fits.**
#
# `compute 2 min` · `you 3 h` · `memory 1 GB` · everything is live
#
# A network looks at noisy trousers, cut into 49 patches. Take the framed one: where does it look for help? Orange shows how much it listens to each patch, in four of the network's *heads*. (What a head is comes below.)

# %%
import time
from contextlib import ExitStack

import torch
from einops import rearrange
from torch import Generator, nn
from torch.nn import functional as F

from minidiff import add_noise, load, pick
from minidiff.course.heat import heat
from minidiff.course.notebook import *
from minidiff.data import fashion, stamps
from minidiff.nn.attention import Attention, grid, rotary, watched
from minidiff.nn.dit import Block, patchify
from minidiff.train import flops

scale = start(needs="0.1")

# %% tags=["core"]
denoise = load("fashion-dit")  # a transformer: a stack of such layers; chapter 13 builds it
clothes, kinds = fashion.load("test")
trousers = clothes[kinds == 1][4:5]  # (1, 1, 28, 28)
noise = torch.randn(trousers.shape, generator=Generator().manual_seed(0))
t, here = torch.tensor(0.4), 23  # the level, and which of the 7 x 7 patches asks
x_t = add_noise(denoise.schedule, trousers, noise, t)
with torch.no_grad(), watched(denoise.net) as maps:
    x0_hat = denoise(x_t, t, torch.tensor([1]))

# %% tags=["core", "stage"]
block = min(3, len(maps) - 1)
heads = maps[block][0, :, here]  # (heads, 49)
show(
    image_grid(
        torch.stack([*(heat(x[0], torch.zeros(7, 7), here, 4) for x in (x_t, x0_hat)), *(heat(x0_hat[0], w.view(7, 7), here, 4) for w in heads)]),
        columns=2 + len(heads),
        titles=["what it sees", "what it believes", *(f"head {i + 1}" for i in range(len(heads)))],
        scale=1,
    ),
    alt="Six small pictures of trousers. First the noisy one and the network's clean guess, each with one patch on a leg framed. Then the guess four times, faded, with the patches to which each of four heads listens tinted orange.",
    mark=f"live: fashion-dit, layer {block + 1} of {len(maps)}, t = {float(t):g}, one picture; each map is scaled to its own largest share",
)  # fmt: skip

# %% [markdown]
# Such maps are beautiful, and easy to over-read: "see, that is how it knows". By the end of this chapter you will have built the machine behind them, trained it, and taken a knife to it, to find out what a map tells and what it does not.
#
# ## Similar, soft, average
#
# Let us build it from nothing. A patch is a **token**: a list of numbers. It has a question, its **query**, here a list of only two numbers, so that it can be drawn as an arrow. Each token, itself included, holds up a **key**. How well do a key and the query fit? Multiply number by number and add up. The product is large where both point the same way, 0 where they are at right angles, negative where they disagree.
#
# The **softmax** turns fits into shares: `exp` of each, divided by their sum. All positive, together 1. And with these shares one averages what the tokens have to say, their **values**. That is all of it, and its short form is the best-known line of the field: **softmax(Q Kᵀ / √d) V**.


# %% tags=["core"]
def attend(query, key, value, cut=None):  # (..., N, d), (..., M, d), (..., M, e)
    score = query @ key.mT / query.shape[-1] ** 0.5  # (..., N, M), .mT exchanges the last two axes
    if cut is not None:
        score = score.masked_fill(cut, -torch.inf)  # as if that token were not there
    weight = score.softmax(-1)  # (..., N, M): every row sums to 1
    return weight @ value, weight


# %% tags=["core"]
query = torch.tensor([[2.0, 1.0]])
key = torch.tensor([[2.0, 1.5], [1.5, -1.0], [-1.5, 1.0], [-1.0, -2.0]])
value = torch.tensor([[0.90, 0.45, 0.04], [0.12, 0.28, 0.83], [0.20, 0.64, 0.42], [0.41, 0.14, 0.49]])  # four colours
answer, weight = attend(query, key, value)  # (1, 3), (1, 4)

# %% tags=["core", "stage"]
fig, (left, right) = figure(1, 2, height=2.6)
for i, (x, y) in enumerate(key.tolist()):
    left.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": value[i].tolist(), "lw": 1.5})
    left.text(1.18 * x, 1.18 * y, f"key {i + 1}", ha="center", va="center", fontsize=8.5)
left.spines[:].set_visible(False)
left.annotate("", query[0].tolist(), (0, 0), arrowprops={"arrowstyle": "->", "color": COLOURS["exact"], "lw": 2.5})
left.text(2.5, 0.75, "query", ha="center", va="center", fontsize=8.5, weight="bold")
left.set(xlim=(-3, 3.4), ylim=(-2.7, 2.3), aspect="equal", xticks=[], yticks=[])
bars = [f"token {i + 1}" for i in range(4)] + ["answer"]
right.barh(bars, [*weight[0].tolist(), 1], color=[*value.tolist(), answer[0].tolist()], height=0.6)
right.invert_yaxis()
right.set(xlim=(0, 1), xlabel="share that the token gets")
show(
    fig,
    alt="Left, four coloured arrows called key 1 to 4 and a thick black one, the query, which points nearly the way of key 1. Right, bars of the shares in the same colours: token 1 gets most, token 2 some, the two that point away almost nothing. Below them a bar in the colour of the answer, a slightly dulled orange.",
    mark="exact: four tokens, each of whose values is a colour",
)
say(f"Token 1, which is orange, gets {weight[0, 0]:.0%}: the answer is a slightly dulled orange.")

# %% [markdown]
# Why divide by the root of `d`? The product of two random lists of `d` numbers of spread 1 has itself a spread of `√d`. Without the division, long lists make huge scores, the softmax gives nearly everything to one token, and a choice that is all or nothing has no slope to learn from. A check with 64 random keys, none of which deserves to win:

# %% tags=["core"]
mixed = {}
for d in (4, 64, 1024):
    q, k = torch.randn(2, 500, 64, d, generator=Generator().manual_seed(d))
    for name, size in (("divided", d**0.5), ("not divided", 1.0)):
        mixed[d, name] = float((q @ k.mT / size).softmax(-1).amax(-1).mean())

# %% tags=["core", "stage"]
table(
    ["numbers in a query", "largest share of 64, divided by √d", "not divided"],
    [[d, *(f"{mixed[d, name]:.0%}" for name in ("divided", "not divided"))] for d in (4, 64, 1024)],
)

# %% [markdown]
# ## The layer
#
# Where do the three arrows come from? From the token itself, by three matrices that are learned. What a token asks, what it offers to be found by, and what it hands over once found, need not be the same. And since one question is rarely enough, the numbers are divided among several **heads**, each with a softmax of its own, asking different things at the same time. A last matrix mixes their answers.
#
# One refinement of recent years: queries and keys are brought to one common length before they meet (*QK-norm*, Dehghani and others 2023), so that no product can run away while training goes on. (`rearrange` renames axes: `(three h d)` is one axis, read as three; on the right each stands by itself.)


# %% tags=["core", "builds:nn.attention.Attention"]
def look(layer, x, cut=None):  # x: (B, N, D)
    three = layer.qkv(x)  # (B, N, 3 D): the three matrices, stacked in one
    q, k, v = rearrange(three, "b n (three h d) -> three b h n d", three=3, h=layer.heads)
    q, k = layer.norm_q(q), layer.norm_k(k)  # (B, h, N, d)
    y, weight = attend(q, k, v, cut)  # (B, h, N, d), (B, h, N, N)
    return layer.out(rearrange(y, "b h n d -> b n (h d)")), weight


# %% [markdown]
# ## A colouring book
#
# Now a task for it. A page has 8×8 tiles. Six of them carry stamps: each of six shapes, in colours drawn at random. A seventh shape is still black. It wants the colour of its twin, the stamp of the same shape, wherever on the page that stands. Find the black tile of the first page. What colour does it want?

# %% tags=["core"]
book = stamps.pages(2000, Generator().manual_seed(9))  # pages that nobody will train on

# %% tags=["core", "stage"]
names = list(stamps.COLOURS)
predict("attention.twin", "What colour does the black tile of the first page want?", names)
framed = F.pad(book.images[:4], (1, 1, 1, 1), value=0.6)  # a line around each page
show(
    image_grid(framed, columns=4, scale=3),
    alt="Four white pages with six small coloured stamps each, a square, a disc, a cross, a diamond, a ring and a triangle, scattered; on each page one more shape in black.",
    mark="live: pages 1 to 4, seed 9",
)
reveal("attention.twin", names[book.answer[0]], f"The other three: {', '.join(names[i] for i in book.answer[1:4])}.")

# %% [markdown]
# You just did three things. You noticed which shape is asked for: the query. You went over the page comparing shapes: the keys. You took the *colour* of what fitted: the value. Weights that are tied to places would have to learn this anew for every place where the twin can be.
#
# A convolution looks at neighbours. How far does it get? Here is a network whose tiles exchange what they know, then think, each with an MLP of its own, then exchange again. *How* they exchange is left open: by attention, or by a convolution, a little narrower so that both networks have about as many weights.


# %% tags=["core"]
class Neighbours(nn.Conv2d):  # a tile hears the 3 x 3 tiles around it
    def forward(self, h):  # (B, 64, D)
        return super().forward(h.mT.unflatten(2, (8, 8))).flatten(2).mT


class Reader(nn.Module):
    def __init__(self, mixers, width):
        super().__init__()
        self.inp, self.out = nn.Linear(108, width), nn.Linear(width, 6)  # 108 = 6 x 6 pixels of 3 numbers
        self.mix = nn.ModuleList(mixers)
        self.think = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in mixers
        )

    def forward(self, tokens):  # (B, 64, 108), a tile's pixels in a row
        h = self.inp(tokens)  # (B, 64, D)
        for mix, think in zip(self.mix, self.think, strict=True):
            h = h + mix(F.layer_norm(h, h.shape[-1:]))  # the tiles exchange (of numbers brought to spread 1)
            h = h + think(F.layer_norm(h, h.shape[-1:]))  # each for itself, added to what it knew
        return self.out(h)  # (B, 64, 6), scores of six colours


# %% tags=["core", "stage"]
def tokens(images):  # (B, 3, 48, 48) -> (B, 64, 108)
    return patchify(images[:, :, None], (1, 6, 6))[:, 0]


def trained(net, steps, seed=1):
    adam, generator = torch.optim.AdamW(net.parameters(), weight_decay=0.0), Generator().manual_seed(seed)
    for step in tqdm(range(steps)):
        for group in adam.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 30, 2 - 2 * step / steps)  # up, level, from the middle on down
        page = stamps.pages(64, generator)
        scores = net(tokens(page.images))[torch.arange(64), page.asks]  # (64, 6)
        loss = F.cross_entropy(scores, page.answer)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return net.eval().requires_grad_(False)


# %% tags=["core", "stage"]
predict(
    "attention.horizon",
    "Two layers of 3×3 convolutions. The twin is four tiles away (a diagonal step counts as one). How often does the convolution paint the right colour?",
    ["nearly always", "about half the time", "about one time in six", "never"],
)

# %% tags=["core"]
torch.manual_seed(0)
readers = {
    "attention": Reader([Attention(48, 4) for _ in range(2)], 48),
    "convolution": Reader([Neighbours(40, 40, 3, padding=1) for _ in range(2)], 40),
}
pages_seen = {}
for name, steps in (("attention", pick(smoke=5, laptop=250)), ("convolution", pick(smoke=5, laptop=2000))):
    trained(readers[name], steps)
    pages_seen[name] = 64 * steps


# %% tags=["core"]
def solved(scores, pages):  # (N, 64, 6) -> (N,): is the asking tile painted as its twin?
    return (scores[torch.arange(len(pages.asks)), pages.asks].argmax(1) == pages.answer).float()


sheets = tokens(book.images)
hits = {name: solved(reader(sheets), book) for name, reader in readers.items()}
row = (book.asks // 8 - book.twin // 8).abs()
column = (book.asks % 8 - book.twin % 8).abs()
away = torch.maximum(row, column)  # in tiles, as a convolution counts: a diagonal step is one step
share = {name: [float(hit[away == k].mean()) for k in range(1, 8)] for name, hit in hits.items()}

# %% tags=["core", "stage"]
fig, ax = figure(height=2.7)
ax.set(xlim=(0.8, 8.6), ylim=(0, 1.05), xlabel="tiles from the black shape to its twin", ylabel="painted right")
ax.axhline(1 / 6, color=COLOURS["exact"], dashes=(4, 2), lw=1)
ax.text(0.85, 1 / 6 - 0.08, "a guess", fontsize=8.5)
ax.axvline(2.5, color=COLOURS["exact"], lw=0.7)
ax.text(2.6, 0.62, "two layers of 3×3\nreach no further", fontsize=8.5)
lines(ax, range(1, 8), share, kinds=["model", "baseline"])
show(
    fig,
    alt="Share of pages painted right against the distance of the twin. Attention is at 1 for every distance. The convolution is well above a guess at distances 1 and 2, and at a guess, one in six, from 3 on.",
    mark=f"live: n = {len(book.asks):,} pages, one seed, just trained",
)
far = hits["convolution"][away == 4]
share_far = float(far.mean())
verdict = "nearly always" if share_far > 0.8 else "about half the time" if share_far > 0.33 else "about one time in six" if share_far > 0.05 else "never"  # fmt: skip
reveal("attention.horizon", verdict, f"{share_far:.0%} of {len(far)} pages.")
counts = {name: sum(p.numel() for p in reader.parameters()) for name, reader in readers.items()}
say(f"The convolution has {counts['convolution']:,} weights and has seen {pages_seen['convolution']:,} pages: right in {share['convolution'][0]:.0%} where the twin is next to the black tile, in {share['convolution'][1]:.0%} two tiles away. Attention has {counts['attention']:,} weights and has seen {pages_seen['attention']:,} pages: right in {float(hits['attention'].mean()):.0%}.")  # fmt: skip

# %% [markdown]
# What is further than two tiles away *cannot* reach the black tile, however long one trains, so a guess is the best there is. (A third layer would see one tile further. The U-Net of chapter 05 sees far by halving its picture, but what it then sees is coarse.) And where the convolution can see, it has other weights for each of its nine directions, so the rule has to be learned direction by direction. Attention has one rule for all places: "whoever has my shape".
#
# ## Move the tile
#
# Here is where each tile looks, in each of the two layers and each of their four heads. *Start at the black tile and go through the heads. Then move: what do the coloured stamps look at? And the empty tiles?*

# %% tags=["core"]
with watched(readers["attention"]) as maps:  # the shares of both layers as they are used, (4, heads, 64, 64) each
    readers["attention"](sheets[:4])


# %% tags=["core", "stage"]
def gaze(page, row, column, layer, head):
    at = 8 * int(row) + int(column)
    weight = maps[int(layer) - 1][int(page) - 1, int(head) - 1, at].view(8, 8)
    return image_grid(heat(book.images[int(page) - 1], weight, at, enlarge=6)[None], columns=1, scale=1)


def in_words(page, row, column, layer, head):
    at = 8 * int(row) + int(column)
    weight = maps[int(layer) - 1][int(page) - 1, int(head) - 1, at]
    best = int(weight.argmax())
    black = int(book.asks[int(page) - 1])
    return f"A page, whose black tile is in row {black // 8}, column {black % 8}; the tile in row {row}, column {column} is framed. In layer {layer}, head {head}, it listens most to the tile in row {best // 8}, column {best % 8}: {float(weight.max()):.0%}."


first = int(book.asks[0])  # to begin with: the black tile, and the head that gives its twin most
bright = max(((i, h) for i in range(2) for h in range(4)), key=lambda k: float(maps[k[0]][0, k[1], first, book.twin[0]]))  # fmt: skip
play(gaze, page=(1, 4, 1, 1), row=(0, 7, 1, first // 8), column=(0, 7, 1, first % 8), layer=(1, 2, 1, bright[0] + 1), head=(1, 4, 1, bright[1] + 1), alt=in_words)  # fmt: skip

# %% [markdown]
# Nobody told the layers what a shape is, nor that shapes are to be compared. They got pages and the right colours, and this is what they made of their matrices. (Only the black tile's answer was ever judged. In the second layer nobody cared where the other tiles look.)
#
# ## A room without seats
#
# There is something the layer does not know: where anybody sits. Shuffle the tiles, and every tile gets the same answer as before:

# %% tags=["core"]
layer, shuffled = readers["attention"].mix[0], torch.randperm(64, generator=Generator().manual_seed(3))
h = readers["attention"].inp(sheets[:4])
gap = float((look(layer, h[:, shuffled])[0] - look(layer, h)[0][:, shuffled]).abs().max())
say(f"Largest difference: {gap:.0e}. To attention, a picture is a bag of patches.")

# %% [markdown]
# For the colouring book that is a virtue. For pictures it will not do: a boot with its patches shuffled is no boot. The first transformers *added* to each token a pattern of sines that tells its place. Today one mostly **turns** queries and keys (*rotary positions*). Take the numbers of a query in pairs; each pair is the hand of a clock. At place 5, turn every hand by 5 times its own step, some fast, some slow. Keys likewise. The product of two hands depends on the angle between them. So of the two *places* only the step from one to the other is left in it: "three to the left", wherever that is.


# %% tags=["core", "builds:nn.attention.turn"]
def turn(x, angle):  # x: (..., N, d), angle: (N, d/2)
    a, b = x[..., 0::2], x[..., 1::2]  # the two ends of each hand
    turned = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
    return torch.stack(turned, -1).flatten(-2)  # (..., N, d)


# %% tags=["core"]
g = Generator().manual_seed(11)
q, k = torch.randn(2, 1, 64, generator=g)  # one question, one key, at 32 places in a row
angle = 100.0 ** (-torch.arange(32) / 32) * torch.arange(32)[:, None]  # place times a step for each pair, (32, 32)
by_turning = turn(q.expand(32, -1), angle) @ turn(k.expand(32, -1), angle).mT
places = torch.cat([angle.sin(), angle.cos()], 1)  # the older way: waves of the same speeds, added
by_adding = (q + places) @ (k + places).mT

# %% tags=["core", "stage"]
fig, axs = figure(1, 2, height=2.9)
for ax, score, title in zip(axs, (by_turning, by_adding), ("turned", "added"), strict=True):
    ax.imshow(score, cmap="cividis")
    ax.grid(False)
    ax.set(title=title, xlabel="where the key sits", ylabel="where the query sits")
show(
    fig,
    alt="Two maps of scores, place of the query against place of the key. Turned: perfect diagonal stripes, the same along each diagonal. Added: a broad pattern that changes along the diagonals.",
    mark="exact: one random query and key, seed 11",
)


def along(score):  # how much a score changes along its diagonals, as a share of how much it changes at all
    return float(torch.stack([score.diagonal(i).var() for i in range(-16, 17)]).mean().sqrt() / score.std())


say(f"Along a diagonal the distance is the same. There the turned scores change by {along(by_turning):.0e} of their spread, the added ones by {along(by_adding):.0%}.")  # fmt: skip

# %% [markdown]
# Adding works too, for a network can learn to take the pattern apart again. Turning has it built in: what the scores learn of "two to the left" holds everywhere. (What is at the *edge* a network must notice from what it finds there.) The whole layer is then the one above with one line more, `q, k = turn(q, angle), turn(k, angle)`. A picture has two directions, a video three; our transformer gives a quarter of the pairs to the frame and the rest to row and column, so that the same layers can take both.
#
# ## The bill
#
# Everyone asks everyone, so twice the tokens is four times the work. Everybody knows that; is it so? The largest network of chapter 13, DiT-XL/2, draws pictures of 256×256 from latents: 256 tokens of 1,152 numbers each.

# %% tags=["core", "stage"]
predict(
    "attention.cost",
    "What share of the operations of DiT-XL/2 is tokens looking at one another (products of queries and keys, averages of values)?",
    ["about 4%", "about 25%", "about 50%", "about 90%"],
)

# %% tags=["core"]
tokens_in = [16, 64, 256, 1024, 4096]
parts = [flops.dit(128, 1, n, patch=0) for n in tokens_in]  # multiply-adds of one layer and its MLP, 128 wide
pairs = [part["attention between tokens"] for part in parts]
rest = [sum(part.values()) - pair for part, pair in zip(parts, pairs, strict=True)]
block, spent = Block(128, 4, "full").eval(), []
with torch.no_grad():
    for n in tokens_in[: pick(smoke=3, laptop=5)]:
        x, context, by = torch.randn(max(1, 4096 // n), 1, n, 128), torch.zeros(1, 1, 128), rotary(grid(1, 1, n), 32)
        times = []
        for _ in range(4):
            clock = time.perf_counter()
            block(x, context, by.view(1, n, 16))
            times.append((time.perf_counter() - clock) / len(x))
        spent.append(min(times))

# %% tags=["core", "stage"]
fig, (left, right) = figure(1, 2, height=3.0)
left.set(xscale="log", yscale="log", xlim=(12, 60000), ylim=(1e4, 3e10), xlabel="tokens", title="multiply-adds")
lines(left, tokens_in, {"between tokens": pairs, "all else": rest}, kinds=["model", "baseline"])
left.axvline(6 * 128, color=COLOURS["exact"], lw=0.7)
left.text(5.2 * 128, 2e4, "6 × width", fontsize=8.5, ha="right")
right.set(xscale="log", yscale="log", xlim=(12, 60000), xlabel="tokens", title="time of a block")
right.set_ylim(0.5, 3 * max(spent) / spent[0])
right.plot(tokens_in[: len(spent)], [s / spent[0] for s in spent], "o-", color=COLOURS["model"], label="measured")
for power, name in ((1, "slope 1"), (2, "slope 2")):
    last_n = tokens_in[len(spent) - 1]
    right.plot(
        [last_n / 8, last_n],
        [spent[-1] / spent[0] / 8**power, spent[-1] / spent[0]],
        color=COLOURS["exact"],
        lw=0.8,
        ls=":" if power == 2 else "--",
        label=name,
    )
right.legend(frameon=False, fontsize=8)
show(
    fig,
    alt="Left, multiply-adds of one block of width 128 against tokens, both axes logarithmic: all else rises with slope 1, the products between tokens with slope 2, and they cross at six times the width, 768 tokens. Right, measured time, as a multiple of that for 16 tokens.",
    mark="exact (left); live, the best of four runs (right)",
)  # fmt: skip

# %% tags=["core", "stage"]
xl = {n: flops.dit(1152, 28, n, 16, out=32) for n in (256, 1024, 4096, 32768)}
at = {n: part["attention between tokens"] / sum(part.values()) for n, part in xl.items()}
reveal("attention.cost", "about 4%", f"{at[256]:.1%}, of {sum(xl[256].values()) / 1e9:.1f} G multiply-adds.")
total = [a + b for a, b in zip(pairs, rest, strict=True)]
slope = [float(torch.tensor(total[i + 1] / total[i]).log2() / 2) for i in (0, 3)]
timed = [spent[i + 1] / spent[i] for i in (0, len(spent) - 2)]
say(f"In a layer 128 wide, four times the tokens cost {4 ** slope[0]:.1f} times the operations at the small end (slope {slope[0]:.2f}) and {4 ** slope[1]:.1f} times at the large end (slope {slope[1]:.2f}). Measured in seconds: {timed[0]:.1f} and {timed[1]:.1f} times.")  # fmt: skip

# %% [markdown]
# The square is there, but it starts small. Count multiply-adds for one token, in a layer of width `D`. Alone it passes three matrices in and one out, `4 D²`, and an MLP, up to `4 D` numbers and down again, `8 D²`. With the others it makes `N` products of `D` numbers and an average of `N` lists of `D` numbers, `2 N D`. So `12 D²` against `2 N D`: equal at **`N = 6 D`** tokens. (Here a multiply-add is *one* operation; chapter 11 counted two.) Well below that the cost is nearly a straight line, and there pictures live:

# %% tags=["core", "stage"]
table(
    ["DiT-XL with", "tokens", "between tokens", "G multiply-adds"],
    [[name, f"{n:,}", f"{at[n]:.0%}", f"{sum(xl[n].values()) / 1e9:,.0f}"] for n, name in ((256, "a picture of 256×256"), (1024, "512×512"), (4096, "1,024×1,024"), (32768, "8 frames of those"))],
)  # fmt: skip

# %% [markdown]
# **Published mistake.** Our founding article sends the bill like this: "For 10,000 patches: 10,000 × 10,000 = 100 million attention scores per layer. Multiple layers → Billion+ attention computations per denoising step." A score is not an operation, and scores are not the bill:

# %% tags=["core", "stage"]
many = flops.dit(1152, 28, 10_000, 16, out=32)
between = many["attention between tokens"]
say(f"DiT-XL at 10,000 tokens spends **{between / 1e12:.1f} million million** multiply-adds on its pairs, {between / (28 * 10_000**2):,.0f} for each score, and {(sum(many.values()) - between) / 1e12:.1f} million million on all else. And four times the tokens are not 16 times the bill: 1,024 cost {sum(xl[1024].values()) / sum(xl[256].values()):.2f} times what 256 cost.")  # fmt: skip

# %% [markdown]
# Video is what makes the square hurt; chapter 16 shows how to pay less. (Memory is another matter. Our `attend` keeps the whole table of N × N shares; torch's own routine goes through it in pieces and never keeps it.)
#
# ## Taking a knife to the map
#
# **Published mistake.** Our founding article explains attention by a hand that reaches for a cup: "Cup patches (70% attention) → Need to understand cup position … Background (5% attention) → Less relevant." Nobody measured these shares. But suppose they were measured, as ours are: can one read a *reason* off a share?
#
# That can be tested. Cut one link, from the black tile to its twin, in one head of one layer, so that this one head cannot see the twin (what it gave the twin now goes to the other tiles). Leave all else, and count the pages that are still painted right.

# %% tags=["core", "stage"]
predict(
    "attention.cut",
    "Eight heads, in two layers of four. How many of them can be made blind to the twin, one at a time, with fewer than one page in a hundred more going wrong?",
    ["none", "one or two", "three or more"],
)

# %% tags=["core"]
reader, n = readers["attention"], pick(smoke=100, laptop=1000)
few = stamps.Pages(*(part[:n] for part in book))  # n pages
every = torch.arange(n)


def cut_link(to, heads):  # from the black tile of each page to another tile, in some heads: (n, 4, 64, 64)
    cut = torch.zeros(n, 4, 64, 64, dtype=torch.bool)
    for head in heads:
        cut[every, head, few.asks, to] = True
    return cut


def blinded(to, cuts):  # cuts: {layer: heads}; the share of pages that are still painted right
    with ExitStack() as stack:
        for layer, heads in cuts.items():
            stack.enter_context(watched(reader, cut_link(to, heads), where=lambda i, layer=layer: i == layer))
        return float(solved(reader(sheets[:n]), few).mean())


# %% tags=["core"]
with watched(reader) as maps:
    whole = float(solved(reader(sheets[:n]), few).mean())
eight = [(layer, head) for layer in range(2) for head in range(4)]
listened = {key: float(maps[key[0]][every, key[1], few.asks, few.twin].mean()) for key in eight}
without = {(layer, head): blinded(few.twin, {layer: [head]}) for layer, head in eight}
rest_of = {key: [[h for h in range(4) if (layer, h) != key] for layer in range(2)] for key in eight}
alone = {key: blinded(few.twin, dict(enumerate(heads))) for key, heads in rest_of.items()}  # all cut but this one
all_cut = blinded(few.twin, {0: range(4), 1: range(4)})
inked = (sheets[:n] < 0.99).any(-1)  # (n, 64): tiles with something on them
inked[every, few.asks] = inked[every, few.twin] = False
another = blinded(inked.float().argmax(1), {0: range(4), 1: range(4)})  # the control: some other stamp, in all heads

# %% tags=["core", "stage"]
fig, ax = figure(height=2.8)
ax.set(xlim=(0, 1.1 * max(listened.values())), ylim=(0, 1.06), xlabel="share that the twin gets in this head", ylabel="painted right without it")  # fmt: skip
for k, ((i, h), x) in enumerate(sorted(listened.items(), key=lambda item: item[1])):
    ax.plot(x, without[i, h], "os"[i], color=COLOURS[("model", "baseline")[i]])
    up = 5 if without[i, h] < 0.5 else -12 - 10 * (k % 3)
    ax.annotate(f"layer {i + 1}, head {h + 1}", (x, without[i, h]), (0, up), textcoords="offset points", fontsize=7.5, ha="center")  # fmt: skip
ax.axhline(1 / 6, color=COLOURS["exact"], dashes=(4, 2), lw=1)
ax.text(0.004, 1 / 6 + 0.03, "a guess", fontsize=8.5)
show(
    fig,
    alt=f"Eight dots, one a head, round for layer 1 and square for layer 2: how much the head listens to the twin, from {min(listened.values()):.0%} to {max(listened.values()):.0%}, against the share of pages painted right when this head alone is made blind to it, from {min(without.values()):.0%} to {max(without.values()):.0%}.",
    mark=f"live: n = {n:,} pages, one network",
)
table(
    ["layer, head", *(f"{i + 1}, {h + 1}" for i, h in eight)],
    [
        ["share of the twin", *(f"{listened[key]:.0%}" for key in eight)],
        ["right without this link", *(f"{without[key]:.0%}" for key in eight)],
        ["right with this link only", *(f"{alone[key]:.0%}" for key in eight)],
    ],
)
spared = [key for key in eight if without[key] > whole - 0.01]
reveal("attention.cut", "none" if not spared else "one or two" if len(spared) < 3 else "three or more", f"{len(spared)} of 8, which give the twin {', '.join(f'{listened[key]:.0%}' for key in spared)} of their attention.")  # fmt: skip
say(f"With no cut {whole:.0%} are right. With all eight links cut, {all_cut:.0%}; a guess is 17%. The control, all eight links to some *other* stamp: {another:.0%}.")  # fmt: skip

# %% [markdown]
# All links together carry the answer; the control says that it is *these* links. But which of them? The map does not tell. Look for heads that listen a lot and can be spared, and for what each can do alone, in the last line of the table.
#
# So mind what each tool shows. A map shows where a head *reads*. A cut shows whether the answer *needs* that reading: if nothing changes, the network can do without, since other heads know it too, or since nobody uses what this one read. Neither alone is the whole "why".
#
# And the trousers? Here is the same with the shipped transformer. For a test picture, hide one patch from the framed one, in all layers and heads, and see how far the framed patch's `x0_hat` moves; then another, 48 times. (One batch of 49 copies: 48 with a cut, and one without.) On the map all heads have their say, so add them up.

# %% tags=["core"]
others = torch.tensor([i for i in range(49) if i != here])
cut = torch.zeros(49, 49, 49).bool()
cut[torch.arange(48), here, others] = True  # in copy i the framed patch cannot see patch others[i]


def one_by_one(picture, kind, eps):  # -> how much each patch is listened to, and how far the answer moves without it
    copies = add_noise(denoise.schedule, picture[None], eps[None], t).expand(49, -1, -1, -1)
    with torch.no_grad(), watched(denoise.net, cut) as maps:
        guess = patchify(denoise(copies, t, kind.expand(49))[:, :, None], (1, 4, 4))[:, 0, here]  # (49, 16)
    share = torch.stack([weight[-1, :, here, others].sum(0) for weight in maps]).sum(0)
    return share, (guess[:-1] - guess[-1]).square().mean(1).sqrt()


def ranks(x):  # 0 for the smallest, 1 for the next ...
    return x.argsort().argsort().double()


some = pick(smoke=2, laptop=24)
noises = torch.randn(clothes[:some].shape, generator=Generator().manual_seed(1))
seen, moved = map(torch.stack, zip(*map(one_by_one, clothes[:some], kinds, noises), strict=True))  # (some, 48) each
agree = torch.tensor([float(torch.stack([ranks(a), ranks(b)]).corrcoef()[0, 1]) for a, b in zip(seen, moved, strict=True)])  # fmt: skip
first = (seen.argmax(1) == moved.argmax(1)).float()

# %% tags=["core", "stage"]
fig, ax = figure(height=2.7)
ax.scatter(seen.flatten(), moved.flatten(), s=7, color=COLOURS["model"], alpha=0.5, linewidths=0)
ax.set(xlabel="attention to a patch, summed over layers and heads", ylabel="x0_hat moves by", xscale="log", yscale="log")  # fmt: skip
show(
    fig,
    alt=f"A cloud of {seen.numel():,} dots: how much a patch is listened to, against how far the guess moves when it is hidden, both axes logarithmic. Within a picture the ranks of the two correlate by {float(agree.mean()):.2f}.",
    mark=f"live: fashion-dit, {some} test pictures, 48 cuts each, one patch, t = {float(t):g}",
)
say(f"The order of the map and the order of the cuts agree with a rank correlation of {float(agree.mean()):.2f} (0 is chance, 1 the same order), from {float(agree.min()):.2f} to {float(agree.max()):.2f} in a single picture. The patch most listened to is also the one that matters most in {float(first.mean()):.0%} of pictures; by chance it would be one in 48.")  # fmt: skip

# %% [markdown]
# Some of that agreement is built in: who gets no share cannot be missed. Still, summed over everything, this map is a fair guide to where to cut first. That is what maps are good for. A single head's map, like those at the top, we have not tested, and the colouring book warns us.
#
# ## Exercises
#
# **1 · Attend** (difficulty 1 of 3, 15 minutes). `query` is `(N, d)`, `key` is `(M, d)`, `value` is `(M, e)`; `there` `(M,)` is True for real tokens (the reverse of `cut`); the others must get no share. Return `(N, e)`.


# %% tags=["core"]
def my_attend(query, key, value, there):
    raise NotImplementedError


check("attention.attend", my_attend)

# %% [markdown]
# **2 · Turn** (difficulty 2, 20 minutes). `x` is `(N, d)`, its numbers in pairs `(0, 1), (2, 3), ...`; `place` is `(N,)`; `speed` is `(d/2,)`, the angle of each pair for one step. Turn every pair by its speed times its place.


# %% tags=["core"]
def my_turn(x, place, speed):
    raise NotImplementedError


check("attention.turn", my_turn)

# %% [markdown]
# **3 · Where the square begins to hurt** (difficulty 2, 15 minutes). A block of width `D` has an MLP that is `m` times as wide as the tokens. At how many tokens do the products between tokens cost as many multiply-adds as everything that a token does alone?


# %% tags=["core"]
def my_crossover(width, m):
    raise NotImplementedError


check("attention.crossover", my_crossover)

# %% [markdown]
# ## What this does not show
#
# The colouring book was made for attention; a fair match on real pictures is chapter 13. The convolution had only two layers on purpose: what deep ones, or ones with halvings, see of far things was not asked here; in practice they do well. Heads and cuts were measured in one small network, trained with one seed, and in one shipped transformer at one patch and one noise level; with another seed other heads may be spared. And a cut is a hard question too: nobody trained these networks to do without a link.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Painted right, twin 3 tiles away or more", f"attention {float(hits['attention'][away > 2].mean()):.0%}", f"convolution {float(hits['convolution'][away > 2].mean()):.0%}, a guess 17%"],
        ["Turned scores along a diagonal", f"do not change, but for rounding ({along(by_turning):.0e})", f"added positions: {along(by_adding):.0%}"],
        ["Products between tokens in DiT-XL", f"{at[256]:.0%} at 256 tokens", f"{at[32768]:.0%} at 32,768"],
        ["Heads that can be cut one at a time", f"{len(spared)} of 8", f"all at once: {all_cut:.0%} right"],
        ["Map against cut, rank correlation", f"{float(agree.mean()):.2f}", "0 is chance, 1 the same order"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, Łukasz Kaiser, Illia Polosukhin: *Attention Is All You Need*, NeurIPS 2017, arXiv 1706.03762. Section 3.2 is this chapter.
# - Jianlin Su, Yu Lu, Shengfeng Pan, Ahmed Murtadha, Bo Wen, Yunfeng Liu: *RoFormer: Enhanced Transformer with Rotary Position Embedding*, 2021, arXiv 2104.09864. Where turning comes from.
# - Sarthak Jain, Byron C. Wallace: *Attention is not Explanation*, NAACL 2019, arXiv 1902.10186. Read with its answer, Sarah Wiegreffe, Yuval Pinter: *Attention is not not Explanation*, EMNLP 2019, arXiv 1908.04626. And for the knife, Paul Michel, Omer Levy, Graham Neubig: *Are Sixteen Heads Really Better than One?*, NeurIPS 2019, arXiv 1905.10650.
#
# **Next, chapter 13:** a whole network of such layers, for pictures and for videos.
