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
#     slug: words
#     title: Words, or how a sentence gets into a picture
#     claim: A word becomes a number, then a vector that knows its sentence, then something every patch can look at. A map shows where a word was looked at; only a cut shows what it did.
#     objectives:
#       - turn sentences into rows of numbers, and hide their padding
#       - see what a text encoder adds to a word, and measure it
#       - build cross-attention, and say which side shares out what
#       - score a word's heat map against the object, and find out by cutting what the word did
#       - choose among four ways of telling a network words
#     prerequisites: [dit, guidance, gradable-world]
#     minutes_compute: 2
#     hours_learner: 3
#     memory_gb: 2
#     data: []
#     weights: [toybox-still]
#     exercises: [words.ids, words.pooled, words.inside, words.together]
#     track: core
#     version: "0.1"
# ---

# %% [markdown]
# # 14 · Words, or how a sentence gets into a picture
#
# **A word becomes a number, then a vector that knows its sentence, then something every patch can look at. A map shows where a word was looked at; only a cut shows what it did.**
#
# `compute 2 min` · `you 3 h` · `memory 2 GB` · pictures are live, the comparison of four ways is recorded and marked so
#
# Until now you chose from a list: bag, boot, coat. From here on you may say what you want.

# %%
from itertools import product

import torch
from torch import Generator, nn
from torch.nn import functional as F

from minidiff import add_noise, generate, load, pick
from minidiff.course.heat import heat
from minidiff.course.notebook import *
from minidiff.data.toybox import VOCABULARY, parse
from minidiff.data.toybox.spec import COLOURS as HUES
from minidiff.data.toybox.spec import SHAPES
from minidiff.nn.attention import watched
from minidiff.nn.dit import Condition
from minidiff.nn.text import TextEncoder, Tokenizer
from minidiff.predict import Denoiser
from minidiff.recipes.run import shipped
from minidiff.recipes.words import shares, videos
from minidiff.sweeps.row import unpack
from minidiff.train.checkpoint import read_header

scale = start(needs="0.1")

# %% tags=["core"]
wishes = ["a red circle", "a blue square and a yellow ring"]
wishes += ["a large green triangle at the left", "a cyan star"]
answers = [generate("toybox-still", wish, n=7, seed=2) for wish in wishes]  # each (7, 3, 32, 32)

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat(answers), columns=7, rows=wishes, scale=2),
    alt="Four rows of seven small pictures of the Toybox, grey scenes with coloured shapes, drawn from four sentences: " + "; ".join(wishes) + ".",
    mark="live: toybox-still, 20 steps, guidance 3, seven pictures a sentence, not picked",
)  # fmt: skip

# %% [markdown]
# Nobody drew these. A transformer of four million weights (the one of chapter 13, with a small reader beside it) was shown pictures and clips of the Toybox, nearly all with a sentence. Where the sentence is silent, it chooses. And it does not always listen: look where the triangles of the third row are, and count the stars of the fourth. How much it hears of what, you will measure.
#
# It is your turn. Write a sentence and press Enter. It knows eight colours, five shapes, one object or two, *medium* and *large*, and nine places, such as "at the top left" or "in the middle". `w` is the weight of guidance (chapter 7): at 0 it does not listen at all.

# %% tags=["core", "stage"]
play(
    lambda sentence, w, seed: image_grid(generate("toybox-still", sentence, n=7, w=w, seed=seed), columns=7, scale=2),
    sentence="a red circle and a blue star",
    w=(0.0, 8.0, 0.5, 3.0),
    seed=(0, 20, 1, 0),
    alt=lambda sentence, w, seed: f"Seven pictures drawn from the sentence: {sentence}.",
)

# %% [markdown]
# Write nonsense, too. A word that the model never learnt should be an error, and not a picture of something else:

# %% tags=["core"]
for odd in ("a red circel", "a red hexagon", "a red circle dances", "a small red circle"):
    try:
        generate("toybox-still", odd)
    except ValueError as error:
        say(f"- *{odd}*: {error}")

# %% [markdown]
# (Large models take any word, and draw *something*. That is friendlier, and it hides from you what they do not know.) One thing it does not refuse: eight of the forty pairs of colour and shape were in no training picture, a pink star and a green square among them. Try one; below, we shall try all.
#
# ## A word is a number
#
# A network eats numbers. So fix a list of words, the **vocabulary**, and let each word be its place in it. A sentence is a row of numbers, a **token** each; short rows are filled up with 0, the word `<pad>`, so that a batch is a rectangle; a mask remembers which are real. (Real vocabularies have pieces of words, some fifty thousand, so that nothing is ever unknown. Ours has whole words.)

# %% tags=["core"]
tokenizer = Tokenizer(VOCABULARY)
ids = tokenizer(["a red circle", "a blue square and a yellow ring"])  # (2, 7)

# %% tags=["core", "stage"]
table(
    ["", *(f"word {i + 1}" for i in range(ids.shape[1]))],
    [
        [f"*{sentence}*", *(f"{int(i)} `{VOCABULARY[int(i)]}`" if i else "0" for i in row)]
        for sentence, row in zip(tokenizer.read(ids), ids, strict=True)
    ],
)
say(f"The vocabulary has {len(VOCABULARY)} words.")

# %% [markdown]
# And a row of nothing but zeros? That is the sentence without words. One caption in ten was replaced by it in training, as class labels were in chapter 7, and so guidance works as it did there: `uncond + w (cond - uncond)`, with silence for `uncond`.
#
# ## A number is a vector
#
# The number of a word says nothing of what it means. So each word gets a vector of its own, its **embedding**: a row of a table, as long as a token of the picture, started at random and trained like any other weight. What did training make of it? From books, such tables learn a geography: colours lie with colours, towns with towns. Ours has learnt from pictures. Compare vectors by their cosine: 1 for the same direction, 0 for strangers.

# %% tags=["core", "stage"]
predict("words.alike", "How alike have the vectors of two colours become, beside those of two words that were never trained?", ["clearly more", "clearly less", "the same, to within 0.05"])  # fmt: skip

# %% tags=["core"]
denoise = load("toybox-still")
net = denoise.net  # a DiT, and net.encoder, which reads
places = ["left", "right", "top", "bottom", "middle"]
never = ["gears", "signs", "suns", "mirror", "fountain", "rope", "teeth"]  # known words that no caption had
everything = [*HUES, *SHAPES, *places, "medium", "large", "a", "and", "at", "the", "in", *never]
rows = F.normalize(net.encoder.embedding.weight[tokenizer(everything)[:, 0]], dim=1)  # (words, 160)
cosines = rows @ rows.T


# %% tags=["core"]
def between(some, others):  # the cosines of all pairs of two different words
    i, j = ([everything.index(word) for word in words] for words in (some, others))
    apart = some is not others
    return torch.stack([cosines[a, b] for a in i for b in j if apart or a < b])


pairs_of = {
    "two colours": between(HUES, HUES),
    "two shapes": between(SHAPES, SHAPES),
    "two places": between(places, places),
    "a colour and a shape": between(HUES, SHAPES),
    "two words never trained": between(never, never),
}

# %% tags=["core", "stage"]
fig, ax = figure(height=2.3)
for i, (name, values) in enumerate(pairs_of.items()):
    ink = COLOURS["control" if "never" in name else "model"]
    ax.plot(values, i + 0.3 * (torch.rand(len(values), generator=Generator().manual_seed(i)) - 0.5), "o", color=ink, ms=3, alpha=0.5)  # fmt: skip
    ax.plot(values.mean(), i, "|", color=COLOURS["exact"], ms=16, mew=2)
ax.set_yticks(range(len(pairs_of)), list(pairs_of))
ax.invert_yaxis()
ax.set(xlim=(-1, 1), xlabel="cosine of two rows of the table (bar: mean)")
more = float(pairs_of["two colours"].mean() - pairs_of["two words never trained"].mean())
show(
    fig,
    alt="Dots: cosines of pairs of word vectors. Means: " + ", ".join(f"{name} {float(v.mean()):.2f}" for name, v in pairs_of.items()) + ".",
    mark="live: the table of toybox-still",
)  # fmt: skip
reveal("words.alike", "the same, to within 0.05" if abs(more) < 0.05 else "clearly more" if more > 0 else "clearly less", f"Means of {float(pairs_of['two colours'].mean()):.2f} and {float(pairs_of['two words never trained'].mean()):.2f}. Any two strangers in {rows.shape[1]} dimensions have about ±{rows.shape[1] ** -0.5:.2f}, by chance.")  # fmt: skip

# %% [markdown]
# There is no geography. In books "red" and "blue" stand in the same places, and whoever must guess the next word is glad to have them side by side. Here nothing pulled: random rows in so many dimensions are strangers from the start, which is all that telling words apart takes. What a word means to this network is not where it lies in the table. It is what the layers above make of it.
#
# ## A vector that knows its sentence
#
# In *a red circle and a blue star* there are two colours and two shapes, and a table of words cannot say which goes with which. Something has to read. The **text encoder** is a transformer of two blocks, as in chapters 12 and 13, over words instead of patches: every word looks at the others, and its place in the row goes in at the door. Out come as many vectors as went in; but now "circle" may know that it is red.
#
# Does it? The usual way to ask is a **probe**: take the vector of the first shape alone, in many sentences of two nouns, and let a straight-line reader (least squares) tell from these 160 numbers which *colour* stands beside it, in sentences that it was not fitted to. And the usual control is a row where it cannot know. We take a better one, too: an encoder that has learnt nothing.

# %% tags=["core", "stage"]
predict("words.probe", "From the shape's vector, after an encoder whose weights are still random: how often does the reader tell the colour beside it?", ["12%, as by guessing", "about half the time", "nearly always"])  # fmt: skip

# %% tags=["core"]
nouns = [f"{'an' if hue == 'orange' else 'a'} {hue} {shape}" for hue, shape in product(HUES, SHAPES)]
picks = torch.randperm(len(nouns) ** 2, generator=Generator().manual_seed(0))[: pick(smoke=400, laptop=1200)]
pairs = [f"{nouns[i // len(nouns)]} and {nouns[i % len(nouns)]}" for i in picks.tolist()]
read = tokenizer(pairs)  # (n, 7): a red circle and a blue star
torch.manual_seed(1)
fresh = TextEncoder(len(VOCABULARY), net.encoder.embedding.embedding_dim, depth=2, heads=net.heads).eval()
with torch.no_grad():
    after = {"after our encoder": net.encoder(read)[0], "after a fresh one": fresh(read)[0]}  # (n, 7, 160)
table_only = net.encoder.embedding(read)
first_hue, first_shape, second_hue, second_shape = (read[:, i] for i in (1, 2, 5, 6))  # their numbers


# %% tags=["core"]
def told(x, labels):  # (n, D), (n,): how often a straight-line reader is right on the second half
    x, half = torch.cat([x, torch.ones(len(x), 1)], 1), len(x) // 2
    labels = labels.unique(return_inverse=True)[1]
    target = F.one_hot(labels).float()
    ridge = x[:half].T @ x[:half] + 1e-3 * torch.eye(x.shape[1])
    W = torch.linalg.solve(ridge, x[:half].T @ target[:half])
    return float(((x[half:] @ W).argmax(1) == labels[half:]).float().mean())


knows = {name: told(x[:, 2], first_hue) for name, x in {"in the table": table_only, **after}.items()}

# %% tags=["core", "stage"]
table(["the vector of the first shape", "tells the colour beside it"], [[name, f"{share:.0%}"] for name, share in knows.items()] + [["*a guess*", f"{1 / 8:.0%}"]])  # fmt: skip
say(f"<small>*live: {len(pairs) // 2} sentences for the fit, as many to be told*</small>")
blank = knows["after a fresh one"]
reveal("words.probe", "nearly always" if blank > 0.8 else "about half the time" if blank > 0.3 else "12%, as by guessing", f"{blank:.0%}. One look around the sentence, through random weights, leaves a trace of every word in every other, and a probe finds traces.")  # fmt: skip

# %% [markdown]
# So the probe's success says nothing about *learning*: what can be read from a vector need not be what it is about (Hewitt and Liang 2019 asked for such controls). Ask instead *how much* of a vector it is. Over all sentences, a word's vector varies; what share of that variance goes with the first colour, what with the first shape, and so on?


# %% tags=["core"]
def share(x, labels):  # (n, D), (n,): the part of the variance of x that lies between the groups
    kinds, which = labels.unique(return_inverse=True)
    means = torch.stack([x[labels == kind].mean(0) for kind in kinds])[which]  # (n, D)
    return float((means - x.mean(0)).square().sum() / (x - x.mean(0)).square().sum())


causes = {"first colour": first_hue, "first shape": first_shape}
causes |= {"second colour": second_hue, "second shape": second_shape}
spread = {}
for name, x in after.items():
    each_word = [[share(x[:, j], cause) for j in range(7)] for cause in causes.values()]
    spread[name] = torch.tensor(each_word)  # (4 causes, 7 words)

# %% tags=["core", "stage"]
fig, axs = figure(1, 2, height=2.2)
spots = ["article", "colour", "shape", "and", "article", "colour", "shape"]
for ax, (name, part) in zip(axs, spread.items(), strict=True):
    ax.imshow(part, cmap="Oranges", vmin=0, vmax=1.3, interpolation="none", aspect="auto")
    ax.grid(False)
    for y, x in product(range(4), range(7)):
        ax.text(x, y, f"{part[y, x]:.0%}", ha="center", va="center", fontsize=7)
    ax.set(title=name, xlabel="whose vector")
    ax.set_xticks(range(7), spots, rotation=35, fontsize=7.5)
    ax.set_yticks(range(4), list(causes) if ax is axs[0] else [""] * 4, fontsize=8)
ours, blank = spread["after our encoder"], spread["after a fresh one"]
show(
    fig,
    alt=f"Two tables in shades of orange, four causes by seven words. After our encoder the first colour makes {ours[0, 0]:.0%} of the first article's variance, {ours[0, 2]:.0%} of the first shape's; after a fresh one {blank[0, 2]:.0%} of the shape's. Shapes make {max(ours[1, 1], ours[1, 3], ours[1, 0]):.0%} at most of any other word.",
    mark=f"live: {len(pairs):,} sentences; what is missing to 100% in a column comes from several causes at once",
)  # fmt: skip

# %% [markdown]
# Now training shows. Colour has spread: it takes a good part of its noun's vector and most of its article's, and "and" has become the colour that comes next. Shape has stayed at home. Nobody asked for either; it is what helped to paint. Keep both tables in mind.
#
# ## Patches look at words
#
# Now the picture. In chapter 12 each patch asked, and all patches answered. Let the patches ask and the *words* answer, and you have **cross-attention**: queries from the picture, keys and values from the sentence. One more layer in each block of chapter 13, its gate closed at the start of training.


# %% tags=["core", "builds:nn.attention.Attention"]
def cross(layer, x, words, mask):  # x (B, N, D), words (B, L, D), mask (B, L) -> (B, N, D), (B, heads, N, L)
    (B, N, D), H = x.shape, layer.heads
    q = x @ layer.qkv.weight[:D].T + layer.qkv.bias[:D]  # what a patch asks
    k = words @ layer.qkv.weight[D : 2 * D].T + layer.qkv.bias[D : 2 * D]  # what a word is called by
    v = words @ layer.qkv.weight[2 * D :].T + layer.qkv.bias[2 * D :]  # what it has to say
    q, k, v = (a.view(B, -1, H, D // H).transpose(1, 2) for a in (q, k, v))  # (B, H, N or L, d)
    q, k = layer.norm_q(q), layer.norm_k(k)
    score = q @ k.mT / (D // H) ** 0.5  # (B, H, N, L)
    score = score.masked_fill(~mask[:, None, None], -torch.inf)  # padding is not there
    weight = score.softmax(-1)  # over words: every patch shares out 1 among them
    y = (weight @ v).transpose(1, 2).reshape(B, N, D)
    return y @ layer.out.weight.T + layer.out.bias, weight


# %% tags=["core"]
layer = net.blocks[2 % len(net.blocks)].cross
vector, mask = net.encoder(ids)
patches = torch.randn(2, 16, vector.shape[-1], generator=Generator().manual_seed(0))
mine, _ = cross(layer, patches, vector, mask)
gap = (mine - layer(patches, source=vector, mask=mask)).abs().max()
say(f"These lines and the package's layer agree to {float(gap):.0e}.")

# %% [markdown]
# Now in the network. One of the red circles of the first figure, under noise: what do its patches look at? Our network has one more word, that is always there and means nothing, so that a patch need not look at any.

# %% tags=["core"]
red = answers[0][:1, :, None]  # (1, 3, 1, 32, 32)
eps = torch.randn(red.shape, generator=Generator().manual_seed(0))
x_t = add_noise(denoise.schedule, red, eps, torch.tensor(0.5))
with torch.no_grad(), watched(net, crossing_only=True) as maps:
    denoise(x_t, torch.tensor(0.5), ids[:1, :3])  # a red circle
looks = torch.stack(maps).mean((0, 2))[0]  # (16 patches, 1 + 3 words), the mean over layers and heads
tint = red[0, :, 0].amax(0) - red[0, :, 0].amin(0)  # (32, 32)
redness = tint.reshape(4, 8, 4, 8).mean((1, 3)).flatten()  # (16,)

# %% tags=["core", "stage"]
rows_ = {"the patch with most red": looks[redness.argmax()], "the patch with least": looks[redness.argmin()], "all 16 together": looks.sum(0)}  # fmt: skip
table(["looks at", "always there", "a", "red", "circle", "sum"], [[name, *(f"{float(v):.2f}" for v in row), f"{float(row.sum()):.2f}"] for name, row in rows_.items()])  # fmt: skip
say("<small>*live: toybox-still, t = 0.5, one picture*</small>")

# %% [markdown]
# Most of the attention goes to the word that means nothing. Of the rest, *circle* gets far more from where the circle is than from elsewhere. And every *row* of such a table sums to 1, a column to anything. Pictures of attention to words are often explained the wrong way round: "the word attends to this region". It does not. A *patch* shares out its attention among the words, and words compete for it at every patch.
#
# The mask is no formality either. Without it a sentence means something else in a longer row:

# %% tags=["core"]
longer = tokenizer(["a red circle"], length=7), tokenizer(["a red circle"], length=16)
for name, hide in (("with the mask", True), ("without", False)):
    said = []
    for row in longer:
        vector, mask = net.encoder(row)
        seen = mask if hide else torch.ones_like(mask)
        said.append(cross(layer, patches[:1], vector, seen)[0])
    change = float((said[0] - said[1]).norm() / said[0].norm())
    say(f"- {name}, a row of 16 instead of 7 changes the answer by {change:.0%} of its size")

# %% [markdown]
# ## Where was it looked at?
#
# Ask the model for a picture and keep, at each of the 20 steps, how much each patch looked at each word: the mean over steps, layers and heads is a **heat map** of that word (Tang et al. 2022). Patches of 8×8 pixels make maps of 4×4.

# %% tags=["core"]
sentence = "a red circle and a blue star"
drawn = generate("toybox-still", sentence, n=pick(smoke=4, laptop=24), seed=5, attention=True)
heats = drawn.heat[:, :, 0]  # (n, 7, 4, 4): pictures, words

# %% tags=["core", "stage"]
range_ = (heats - heats.amin((2, 3), keepdim=True)) / heats.amax((1, 2, 3), keepdim=True)
rows_of = [torch.stack([drawn.samples[i], *(heat(drawn.samples[i], range_[i, j]) for j in range(7))]) for i in range(3)]
show(
    image_grid(torch.cat(rows_of), columns=8, titles=["drawn", *drawn.words[0]], scale=2),
    alt="Three rows. In each a drawn picture, and the same picture faded seven times, once for each word of the sentence a red circle and a blue star, with the patches that looked at that word tinted orange.",
    mark="live: toybox-still, three pictures, not picked; each map from its smallest share (clear) to its largest (full colour), so only places compare, not words",
)

# %% [markdown]
# You can play a game with such maps (Zhang et al. 2016): does the hottest patch hold the thing that the word means? Here the game can be scored, since whatever is red in a picture of this world *is* the red thing.


# %% tags=["core"]
def mask_of(x, hue):  # pictures (n, 3, H, W) -> (n, H, W): where they have that colour
    table, tint = torch.tensor(list(HUES.values())), x - x.mean(1, keepdim=True)  # what is not grey
    table = table - table.mean(1, keepdim=True)  # (8, 3)
    fits = torch.einsum("nchw,kc->nkhw", F.normalize(tint, dim=1), F.normalize(table, dim=1))
    return (tint.norm(dim=1) > 0.3) & (fits.argmax(1) == list(HUES).index(hue))


def points(heat, mask):  # (n, 4, 4), (n, 32, 32) -> who points, and how often a blind guess would
    cells = mask.reshape(len(mask), 4, 8, 4, 8).any(4).any(2).flatten(1)  # (n, 16)
    there = cells.any(1)  # where nothing has that colour, there is nothing to point at
    hit = cells.gather(1, heat.flatten(1).argmax(1)[:, None])[:, 0]
    return hit[there].float(), cells[there].float().mean(1)


# %% tags=["core", "stage"]
predict("words.points", "Whose hottest patch lies on its object most often?", ["the colour word's", "the shape word's", "the article's", "they all point equally well, to within 5 points"])  # fmt: skip

# %% tags=["core"]
things = "red circle, blue star, green triangle, pink ring, cyan circle, orange triangle"
things = [thing.split() for thing in things.split(", ")]
hits, blind = {"article": [], "colour": [], "shape": [], "other colour": []}, []
for (hue, shape), (hue2, shape2) in zip(things, things[1:] + things[:1], strict=True):
    article, article2 = ("an" if word == "orange" else "a" for word in (hue, hue2))
    sentence = f"{article} {hue} {shape} and {article2} {hue2} {shape2}"
    asked = generate("toybox-still", sentence, n=pick(smoke=2, laptop=24), seed=9, attention=True)
    maps, first, second = asked.heat[:, :, 0], mask_of(asked.samples, hue), mask_of(asked.samples, hue2)
    for k, mask in ((0, first), (4, second)):  # the nouns begin at words 0 and 4
        for j, name in enumerate(("article", "colour", "shape")):
            hits[name].append(points(maps[:, k + j], mask)[0])
        blind.append(points(maps[:, k], mask)[1])
    hits["other colour"].append(points(maps[:, 5], first)[0])  # the control: the other noun's colour word
pointed = {name: torch.cat(values) for name, values in hits.items()}
chance = torch.cat(blind).nanmean()

# %% tags=["core", "stage"]
fig, ax = figure(height=2.0)
names = {"article": "its article", "colour": "its colour word", "shape": "its shape word", "other colour": "the other one's colour word"}  # fmt: skip
ax.barh([names[n] for n in pointed], [float(v.nanmean()) for v in pointed.values()], color=[COLOURS["control" if n == "other colour" else "model"] for n in pointed], height=0.6)  # fmt: skip
for i, v in enumerate(pointed.values()):
    ax.text(max(float(v.nanmean()), float(chance)) + 0.01, i, f"{float(v.nanmean()):.0%} of {len(v)}", va="center", fontsize=8.5)  # fmt: skip
ax.axvline(chance, color=COLOURS["exact"], lw=1)
ax.text(chance + 0.01, -0.62, "a blind guess", fontsize=8)
ax.invert_yaxis()
ax.set(xlim=(0, 1.15), xlabel="share of pictures whose hottest patch holds the object")
show(
    fig,
    alt="Bars: how often the hottest patch of a word holds its object. " + ", ".join(f"{names[n]} {float(v.nanmean()):.0%}" for n, v in pointed.items()) + f"; a blind guess {float(chance):.0%}.",
    mark="live: toybox-still, six sentences of two nouns",
)  # fmt: skip
shares_of = {n: float(pointed[n].nanmean()) for n in ("article", "colour", "shape")}
best = max(shares_of, key=shares_of.__getitem__)
close = max(shares_of.values()) - min(shares_of.values()) < 0.05
reveal("words.points", "they all point equally well, to within 5 points" if close else f"the {best}{'' if best == 'article' else ' word'}'s", ", ".join(f"{n} {v:.0%}" for n, v in shares_of.items()) + ".")  # fmt: skip

# %% [markdown]
# ## What did it do?
#
# *Circle* points at the red thing better than *red* does, and even *a* points, more often than luck. It is tempting to conclude: so these are the words that made it. Chapter 12 had a knife for that. The encoder may read the whole sentence; then we hide a word from the patches, in all layers and at all steps, and see what is still drawn.


# %% tags=["core"]
class Hiding(nn.Module):  # the network, with some words hidden from the patches after they were read
    null = 0

    def __init__(self, net, hidden):  # hidden: numbers of words
        super().__init__()
        self.net, self.hidden = net, hidden

    def forward(self, x, ell, ids):
        vector, mask = self.net.encoder(ids)
        seen = mask & ~torch.isin(ids, self.hidden)
        return self.net(x, ell, Condition(context=vector, mask=seen))


# %% tags=["core", "stage"]
predict("words.cut", "Eight sentences such as *a red circle*; the colour word is hidden from the patches, article and shape are not. How many pictures still have the colour?", ["under 20%", "20 to 40%", "40 to 60%", "over 60%"])  # fmt: skip

# %% tags=["core"]
each = pick(smoke=1, laptop=12)  # pictures a sentence
forms = ["circle", "square", "triangle", "star", "square", "ring", "star", "ring"]  # pairs that were trained
plain = [f"a{'n' * (hue == 'orange')} {hue} {form}" for hue, form in zip(HUES, forms, strict=True)]


def painted(said, hidden=(), asked=None):  # pictures, and what of `asked` the verifier finds in them
    numbers = torch.tensor([VOCABULARY.index(word) for word in hidden], dtype=torch.long)
    deaf = Denoiser(Hiding(net, numbers), denoise.schedule, denoise.pred, denoise.sd)
    labels = tokenizer([sentence for sentence in said for _ in range(each)])
    x = videos(deaf, len(labels), pick(smoke=2, laptop=20), seed=11, size=96, frames=1, labels=labels, w=3.0)
    found, _ = shares(x, [parse(sentence) for sentence in asked or said for _ in range(each)])  # chapter 9
    return x[:, :, 0], found


# %% tags=["core"]
outcome = {
    "nothing hidden": painted(plain),
    "the colour word hidden": painted(plain, HUES),
    "the shape word hidden": painted(plain, SHAPES),
    "both hidden": painted(plain, [*HUES, *SHAPES]),
    "the article hidden": painted(plain, ["a", "an"]),
    "the colour never said": painted([f"a {form}" for form in forms], asked=plain),
}
kept = {}
for name, (_, found) in outcome.items():
    kept[name] = {word: float(found[word].mean()) for word in ("colour", "shape")}

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([x[::each][:8] for x, _ in outcome.values()]), columns=8, rows=list(outcome), titles=[*HUES], scale=2),
    alt="Six rows of eight pictures. Each column was asked for one colour. Rows: nothing hidden; the colour word hidden from the patches; the shape word; both; the article; the colour never said.",
    mark="live: toybox-still, one picture each, the same noise down a column",
)  # fmt: skip
table(["", "has the colour", "has the shape"], [[name, f"{v['colour']:.0%}", f"{v['shape']:.0%}"] for name, v in kept.items()])  # fmt: skip
say(f"<small>*live: toybox-still, {len(plain) * each} pictures a row, eight sentences; a picture in which nothing was drawn has neither, so a row may fall below a guess (one colour in eight, one shape in five)*</small>")  # fmt: skip
left = kept["the colour word hidden"]["colour"]
bins = ["under 20%", "20 to 40%", "40 to 60%", "over 60%"]
reveal("words.cut", bins[min(3, int(5 * left))], f"{left:.0%}. Never said, the colour comes in {kept['the colour never said']['colour']:.0%}.")  # fmt: skip

# %% [markdown]
# A patch that cannot see *red* hears it from the words around, into which reading has spread it; even the article tells some of it, when both others are hidden. But hide the shape word, and the shape is lost. You have seen why, in the tables of shares above: colour had spread over the sentence, shape had stayed in its own word.
#
# So the map was true and the conclusion was not. A map says where a word was *looked at*. What a word *does* may by then have moved to its neighbours. That holds in the large, too: who keeps or reweights the maps of words in order to edit a picture (Hertz et al. 2022, with success) does well to ask where else in the sentence that word has gone.
#
# ## Four ways in
#
# Cross-attention is one way of telling a transformer something. There are others, and published models use all four.

# %% tags=["core", "stage"]
table(
    ["way", "how words reach the patches", "who does it so"],
    [
        ["**modulation**", "the mean of the words is added to the noise level, and steers every block (adaLN, chapter 13)", "DiT, for classes; Stable Diffusion 3 and FLUX beside another way"],
        ["**cross-attention**", "one more layer a block; words stay as the encoder left them", "Stable Diffusion 1 and 2, PixArt, Wan"],
        ["**concatenation**", "words stand in one list with the patches, go through the same layers, and change on their way", "U-ViT; the later blocks of FLUX and HunyuanVideo"],
        ["**joint attention**", "one list, but words have weights of their own in every layer", "Stable Diffusion 3; the first blocks of FLUX and HunyuanVideo"],
    ],
)  # fmt: skip

# %% [markdown]
# Which is best? Let them race at *equal weights*: four small transformers, with the same encoder, the same stills, batches and seeds, their width chosen so that all have about as many weights. Joint attention has two sets of everything, so it must be the narrowest.

# %% tags=["core", "stage"]
predict("words.ways", "At equal weights, whose pictures have the right colours most often?", ["modulation", "cross", "concatenation", "joint", "none is best in both seeds"])  # fmt: skip

# %% tags=["core"]
race = recorded("text-ways")
ways = ("modulation", "cross", "concatenation", "joint")
arms = {way: race.where(way=way) for way in ways}  # two seeds each
mean = lambda way, key: sum(row[key] for row in arms[way]) / len(arms[way])  # noqa: E731

# %% tags=["core", "stage"]
show(
    image_grid(torch.cat([unpack(arms[way][0]["pixels"]) for way in ways]), columns=8, rows=list(ways), scale=2),
    alt="Four rows of eight small pictures, one row for each way of telling words, of the same eight sentences.",
    mark=race.mark.replace(
        "a point", "pictures a training; shown are eight of seed 0, the same sentences in every row"
    ),
)
table(
    ["way", "weights, M", "multiply-adds, M", "error saved", "colour", "shape", "both together", "right number"],
    [
        [way, f"{mean(way, 'parameters') / 1e6:.2f}", f"{mean(way, 'macs') / 1e6:.1f}", " and ".join(f"{r['gain']:.0%}" for r in arms[way]), *(" and ".join(f"{r[k]:.0%}" for r in arms[way]) for k in ("colour", "shape", "binding", "count"))]
        for way in ways
    ],
)  # fmt: skip
wrong = ", ".join(f"{-mean(way, 'wrong_gain'):+.0%}" for way in ways)
say(f"<small>*{race.mark.replace('a point', 'a training')}; {arms['cross'][0]['samples']:,} stills each; two numbers are two seeds. Error saved: of the squared error of x0_hat on held-out stills under noise, what it has less with its words than without; with the words of another picture it changes by {wrong}*</small>")  # fmt: skip
firsts = [max(ways, key=lambda way: arms[way][seed]["colour"]) for seed in range(2)]  # noqa: B023
reveal("words.ways", firsts[0] if firsts[0] == firsts[1] else "none is best in both seeds", "; ".join(f"{way} {mean(way, 'colour'):.0%}" for way in ways) + ", the mean of two seeds.")  # fmt: skip

# %% [markdown]
# Joint attention, the narrowest of the four and the cheapest, has the most colours right, and shapes. It also has the wrong number of objects most often, by the look of them too many, and these shares forgive that: more blobs are more chances. Its words go through layers of their own all the way; whether that is why, the race does not say. The loss would hardly have told the four apart. And none of them draws real shapes after so short a training: take it for a hint, and for the way to ask.
#
# (The large network of this chapter uses cross-attention all the same: its words can be hidden, and its maps read.)
#
# ## How well does it listen?
#
# Back to the large one, and first to its youth. The training kept its weights at doubling steps, and each of those drew pictures of the same held-out sentences; the verifier of chapter 9 reads them, word by word.

# %% tags=["core", "stage"]
predict("words.last", "Which kind of word does it learn to obey last?", ["colour", "size", "shape", "place"])  # fmt: skip

# %% tags=["core"]
header = read_header(shipped("toybox-still"))
grades, before = header["metrics"], header["start"]  # it began with the weights of a network without words
states = recorded("text-states")
pictures = [row["samples"] - before["samples"] for row in states.rows]  # with words, seen so far
rises = {word: [row[word] for row in states.rows] for word in ("colour", "size", "shape", "place")}

# %% tags=["core", "stage"]
fig, ax = figure(height=2.6)
for (word, values), sign in zip(rises.items(), "os^D", strict=True):
    ax.plot(pictures, values, marker=sign, ms=4, lw=1.2, label=word)
ax.set(xscale="log", ylim=(0, 1.03), xlabel="pictures with words seen in training", ylabel="share obeyed")
ax.legend(fontsize=8, loc="upper left")
show(
    fig,
    alt="Four rising curves over pictures seen. At the last moment: " + ", ".join(f"{word} {values[-1]:.0%}" for word, values in rises.items()) + ".",
    mark=states.mark.replace("a point", "sentences a point"),
)  # fmt: skip
show(
    image_grid(torch.cat([unpack(row["pixels"])[:6] for row in states.rows[2::2]]), columns=6, rows=[f"{n:,} pictures" for n in pictures[2::2]], scale=2),
    alt="Rows of six small pictures of the sentence a red circle and a blue star, at moments of the training, from vague to clear.",
    mark="recorded: the same run, the sentence *a red circle and a blue star*, the same noise in every row",
)  # fmt: skip
reveal("words.last", min(rises, key=lambda word: rises[word][-1]), ", ".join(f"{word} {values[-1]:.0%}" for word, values in rises.items()) + " at the end.")  # fmt: skip
flat = [row["place"] for row in states.rows[1:6]]
say(f"A share is not 0 where nothing is heard: one size in two is right by luck, and *place* stays between {min(flat):.0%} and {max(flat):.0%} until {pictures[5]:,} pictures. (After {pictures[0]:,} most pictures are still empty: the number of objects is right in {states.rows[0]['count']:.0%}.)")  # fmt: skip

# %% [markdown]
# Colour is heard almost at once. Any patch of an object tells it; a shape takes several patches that agree. And a place, we guess, has to be heard while there is hardly anything but noise, before the first blob has begun to grow where it likes.
#
# Here is the finished model on more sentences, beside true pictures of the same scenes, which is what a perfect model would get:

# %% tags=["core", "stage"]
attributes = ["colour", "size", "shape", "place", "binding", "count", "whole", "whole, one object", "whole, two objects"]  # fmt: skip
titles = {"binding": "colour and shape, as far as said, together", "count": "the right number of objects", "whole": "an object right in all that was said", "whole, one object": "the same, one object asked for", "whole, two objects": "the same, two objects"}  # fmt: skip
fig, ax = figure(height=3.2)
for i, word in enumerate(attributes):
    g = grades[word]
    ax.plot([g["low"], g["high"]], [i, i], color=COLOURS["model"], lw=2)
    ax.plot(g["value"], i, "o", color=COLOURS["model"], ms=5, label="drawn" if not i else None)
    ax.plot(grades[f"{word}, true"]["value"], i, "|", color=COLOURS["exact"], ms=12, mew=2, label="true pictures" if not i else None)  # fmt: skip
ax.set_yticks(range(len(attributes)), [titles.get(word, word) for word in attributes])
ax.invert_yaxis()
ax.set(xlim=(0, 1.05), xlabel="share of what was asked")
ax.legend(fontsize=8, loc="lower left")
show(
    fig,
    alt="Shares of what was asked that is drawn: " + "; ".join(f"{titles.get(w, w)} {grades[w]['value']:.0%}, true pictures {grades[f'{w}, true']['value']:.0%}" for w in attributes) + ".",
    mark=f"recorded: toybox-still, {header['device']}, {header['date']}; n = {grades['count']['n']:,} sentences, {grades['place']['n']} with a place, one training seed; bars are 95% intervals",
)  # fmt: skip
say(f"It learnt from {header['samples'] - before['samples']:,} pictures and clips with words in {(header['seconds'] - before['seconds']) / 60:.0f} minutes, and began with the weights of a network that could draw clips and knew no word.")  # fmt: skip

# %% [markdown]
# And the pairs that it never saw? Ask for all eight of them, and for the eight trained ones of the knife:

# %% tags=["core"]
unseen = [(hue, [*SHAPES][(3 * i + 2) % 5]) for i, hue in enumerate(HUES)]  # held back
strange = [f"a{'n' * (hue == 'orange')} {hue} {shape}" for hue, shape in unseen]
drawn_new, found_new = painted(strange)
both = {"trained": float(outcome["nothing hidden"][1]["binding"].mean())}
both["never shown"] = float(found_new["binding"].mean())

# %% tags=["core", "stage"]
show(
    image_grid(drawn_new[::each], columns=8, titles=[shape for _, shape in unseen], scale=2),
    alt="Eight pictures, one for each pair of colour and shape that no training picture had.",
    mark="live: toybox-still, the first picture of each pair, not picked: " + ", ".join(strange),
)
say(f"Colour and shape on one object: **{both['never shown']:.0%}** of {len(found_new['binding'])} pictures of pairs never shown, **{both['trained']:.0%}** of as many of trained pairs. It puts words together, {'not quite' if both['never shown'] < both['trained'] - 0.03 else 'quite'} as if colour and shape were two separate things.")  # fmt: skip

# %% [markdown]
# ## Exercises
#
# **1 · Rows of numbers** (difficulty 1 of 3, 15 minutes). Turn sentences into numbers. `vocabulary` is a list of words whose first is `<pad>`; sentences have single spaces and known words only. Return a tensor of whole numbers `(B, L)`, L the length of the longest sentence, short rows filled up with 0.


# %% tags=["core"]
def my_rows(sentences, vocabulary):
    raise NotImplementedError


check("words.ids", my_rows)

# %% [markdown]
# **2 · One vector for a sentence** (difficulty 1, 10 minutes). What modulation needs: the mean of the words that are there. `words` is `(B, L, D)`, `mask` is `(B, L)`, True for real words; every sentence has one at least. Return `(B, D)`.


# %% tags=["core"]
def my_pooled(words, mask):
    raise NotImplementedError


check("words.pooled", my_pooled)

# %% [markdown]
# **3 · How much of the heat** (difficulty 2, 20 minutes). A gentler game than pointing: how much of a map's heat lies on the object? `heat` is `(n, h, w)`, not negative; `mask` is `(n, H, W)`, True where the object is; h divides H and w divides W. Spread each patch's heat evenly over its pixels, take the share of a map's heat that falls on pixels of its object, and return the mean over the n pictures, as a float.


# %% tags=["core"]
def my_inside(heat, mask):
    raise NotImplementedError


check("words.inside", my_inside)

# %% [markdown]
# **4 · One list for words and patches** (difficulty 2, 25 minutes). The third way, with one head: patches `x` `(B, N, D)` and `words` `(B, L, D)` stand in one list and look at one another, through the same weights. Scores are divided by √D; no norm, no bias. `mask` `(B, L)` says which words are real; `wq`, `wk`, `wv` are `(D, D)`, applied as `x @ wq`. Return what the *patches* get, `(B, N, D)`.


# %% tags=["core"]
def my_joint(x, words, mask, wq, wk, wv):
    raise NotImplementedError


check("words.together", my_joint)

# %% [markdown]
# ## What this does not show
#
# A vocabulary of a small world and sentences from one grammar: nothing here had to understand English. Large models mostly take their reader ready-made and frozen, from a language model (T5) or from one that was trained to match pictures and captions (CLIP); ours was trained with the picture, from nothing, so what it has learnt is what painting needed. Heat maps of 4×4 patches are coarse. The knife cuts what patches see; it does not tell in which layer of the encoder a colour crosses over. The race is at equal weights, on small networks and short trainings, two seeds; multiply-adds differ, as the table says, and at scale the order may be another. A share of variance is a rough measure, and what it shows is one encoder. The grades are one training seed.
#
# ## What you measured

# %% tags=["core", "stage"]
table(
    ["question", "answer", "beside it"],
    [
        ["Colour beside it, told from a shape's vector", f"{knows['after our encoder']:.0%}", f"after a fresh encoder {knows['after a fresh one']:.0%}: not learnt"],
        ["Share of the first article's vector that is the first colour", f"{ours[0, 0]:.0%}", f"the first shape {ours[1, 0]:.0%}"],
        [f"Hottest patch of {'an' if best == 'article' else 'a'} {best}{'' if best == 'article' else ' word'} holds its object", f"{shares_of[best]:.0%}", f"blind guess {float(chance):.0%}; the other one's colour word {float(pointed['other colour'].nanmean()):.0%}"],
        ["Still in its colour, with the colour word hidden", f"{left:.0%}", f"nothing hidden {kept['nothing hidden']['colour']:.0%}, never said {kept['the colour never said']['colour']:.0%}"],
        ["Still in its shape, with the shape word hidden", f"{kept['the shape word hidden']['shape']:.0%}", f"nothing hidden {kept['nothing hidden']['shape']:.0%}"],
        ["Right colours, four ways", ", ".join(f"{way} {mean(way, 'colour'):.0%}" for way in ways), "equal weights, two seeds"],
        ["Colour, shape, place, recorded", ", ".join(f"{grades[w]['value']:.0%}" for w in ("colour", "shape", "place")), "true pictures " + ", ".join(f"{grades[f'{w}, true']['value']:.0%}" for w in ("colour", "shape", "place"))],
        ["Colour and shape together, pairs never shown", f"{both['never shown']:.0%}", f"trained pairs {both['trained']:.0%}"],
    ],
)  # fmt: skip

# %% [markdown]
# ## To read
#
# - Robin Rombach, Andreas Blattmann, Dominik Lorenz, Patrick Esser, Björn Ommer (2022). *High-Resolution Image Synthesis with Latent Diffusion Models.* [arXiv:2112.10752](https://arxiv.org/abs/2112.10752). Cross-attention as the door for words (section 3.3).
# - Raphael Tang, Linqing Liu, Akshat Pandey et al. (2022). *What the DAAM: Interpreting Stable Diffusion Using Cross Attention.* [arXiv:2210.04885](https://arxiv.org/abs/2210.04885). Heat maps of words, and what they find.
# - Patrick Esser, Sumith Kulal, Andreas Blattmann et al. (2024). *Scaling Rectified Flow Transformers for High-Resolution Image Synthesis.* [arXiv:2403.03206](https://arxiv.org/abs/2403.03206). Joint attention with weights for each side, and a comparison of ways (sections 4 and 5).
#
# Also used: the pointing game, Zhang et al. 2016, [arXiv:1608.00507](https://arxiv.org/abs/1608.00507); editing by maps, Hertz et al. 2022, [arXiv:2208.01626](https://arxiv.org/abs/2208.01626); concatenation, Bao et al. 2022, [arXiv:2209.12152](https://arxiv.org/abs/2209.12152); controls for probes, Hewitt and Liang 2019, [arXiv:1909.03368](https://arxiv.org/abs/1909.03368).
#
# **Next: 15 · Captions** (still to be written; 16 can be read now). The model says what its captions said. What if they said little, or lied?
