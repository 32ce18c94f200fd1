"""Words: the tokenizer and what it refuses, the encoder's mask and order, and the four ways in which words are told."""

import pytest
import torch

from minidiff.data.toybox import VOCABULARY
from minidiff.nn.attention import watched
from minidiff.nn.block import WAYS, Joint, average
from minidiff.nn.dit import Condition, DiT
from minidiff.nn.text import PAD, TextDiT, TextEncoder, Tokenizer, order
from minidiff.predict import Denoiser, guide
from minidiff.schedule import Linear
from minidiff.train.fit import denoising_loss

tokenizer = Tokenizer(VOCABULARY, longest=12)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def stirred(net):
    """The network with every weight off its start, where closed gates hide what lies behind them."""
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return net.eval()


def test_sentences_become_numbers_and_come_back():
    ids = tokenizer(["A red circle, bounces!", "a star"])
    assert ids.dtype == torch.long and ids.shape == (2, 4) and ids[1, 2:].tolist() == [PAD, PAD]
    assert tokenizer.read(ids) == ["a red circle bounces", "a star"]
    assert tokenizer(["a star"], length=9).shape == (1, 9) and tokenizer([]).shape == (0, 0)
    assert [VOCABULARY[i] for i in ids[0]] == ["a", "red", "circle", "bounces"]


@pytest.mark.parametrize(
    "sentences, words",
    [
        (["a red circel"], "unknown word 'circel'.*nearest known: circle"),
        (["a xyzzy"], "unknown word 'xyzzy'.*a sentence that is known"),
        (["a <pad> star"], "unknown word 'pad'"),
        (["  ,.!"], "the caption is empty"),
        ([""], "is empty"),
        (["a red circle " * 5], "has 15 words: expected 12 or fewer"),
        ("a red circle", "expected a list of sentences"),
    ],
)
def test_it_refuses_and_says_why(sentences, words):
    with pytest.raises(ValueError, match=words):
        tokenizer(sentences)


def test_a_length_too_short_and_an_odd_vocabulary():
    with pytest.raises(ValueError, match="length=2: a sentence has 3 words"):
        tokenizer(["a red star"], length=2)
    for odd in ((), ("<pad>", "a", "a")):
        with pytest.raises(ValueError, match="each once"):
            Tokenizer(odd)


def test_the_encoder_minds_its_order_and_never_its_padding():
    encoder = stirred(TextEncoder(len(VOCABULARY), 32, depth=2, heads=2))
    one, mask = encoder(tokenizer(["a red circle and a blue star"]))
    other, _ = encoder(tokenizer(["a blue circle and a red star"]))
    assert one.shape == (1, 7, 32) and mask.all()
    assert (one[0, 2] - other[0, 2]).abs().max() > 0.05  # "circle" knows which colour is its own
    long, seen = encoder(tokenizer(["a red circle and a blue star"], length=11))
    torch.testing.assert_close(long[:, :7], one)
    assert seen.sum() == 7
    empty, nothing = encoder(torch.zeros(2, 5, dtype=torch.long))
    assert empty.isfinite().all() and not nothing.any()
    swapped, _ = encoder(tokenizer(["red a circle and a blue star"]))
    assert (swapped[0, 1] - one[0, 0]).abs().max() > 0.05
    assert order(7, 32).unique(dim=0).shape == (7, 32)


@pytest.mark.parametrize(
    "ids, words",
    [
        (torch.zeros(2, 3), "int64.*got float32"),
        (torch.zeros(3, dtype=torch.long), r"\(B, L\), got int64 of shape \(3,\)"),
        (torch.full((1, 2), 999), "0..134, got 999..999"),
        (torch.full((1, 2), -1), "got -1..-1"),
    ],
)
def test_the_encoder_refuses_what_is_no_word(ids, words):
    with pytest.raises(ValueError, match=words):
        TextEncoder(len(VOCABULARY), 32, 1, 2)(ids)


# --- four ways


def told(way: str, width: int = 48, **options) -> DiT:
    return DiT(3, width, 2, 3, patch=8, context=10, way=way, **options)


@pytest.mark.parametrize("way", WAYS)
def test_words_matter_hidden_ones_do_not_and_none_is_one_more_case(way):
    net, x, level = stirred(told(way)), torch.randn(4, 3, 16, 16), torch.zeros(4)
    words, mask = torch.randn(4, 5, 10), torch.tensor([[True] * 3 + [False] * 2] * 4)
    y = net(x, level, Condition(context=words, mask=mask))
    other = words.clone()
    other[:, 3:] += 9
    torch.testing.assert_close(net(x, level, Condition(context=other, mask=mask)), y)
    other[:, 1] += 1
    assert (net(x, level, Condition(context=other, mask=mask)) - y).abs().max() > 1e-3
    nobody = Condition(context=words, mask=torch.zeros(4, 5).bool())
    torch.testing.assert_close(net(x, level, nobody), net(x, level))
    torch.testing.assert_close(net(x, level, Condition(context=words[:, :3])), y)  # cut off or masked: no difference


@pytest.mark.parametrize("way", WAYS)
def test_a_clip_is_told_too_and_every_weight_learns(way):
    net, x = told(way), torch.randn(2, 3, 4, 16, 16)
    words = Condition(context=torch.randn(2, 5, 10))
    assert net(x, torch.zeros(2), words).abs().max() == 0  # a fresh network answers nothing
    stirred(net)(x, torch.zeros(2, 4), words).square().mean().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # what words become in the last block is read by nobody
    assert all(way == "joint" and n.startswith("blocks.1.reader") for n in dead), dead


def test_a_joint_block_is_its_formula():
    for own in (True, False):
        block = stirred(Joint(32, 2, own))
        x, words, context = torch.randn(2, 1, 6, 32), torch.randn(2, 5, 32), torch.randn(2, 1, 32)
        reader = block.reader or block
        knobs = [part.modulate(context).view(2, 1, 6, 32).unbind(2) for part in (block, reader)]

        def norm(h, shift, scale):
            return torch.nn.functional.layer_norm(h, (32,), eps=1e-6) * (1 + scale) + shift

        h, w = norm(x[:, 0], *knobs[0][:2]), norm(words, *knobs[1][:2])
        qkv = torch.cat([block.attention.qkv(h), reader.attention.qkv(w)], 1).view(2, 11, 3, 2, 16)
        q = torch.cat([block.attention.norm_q(qkv[:, :6, 0]), reader.attention.norm_q(qkv[:, 6:, 0])], 1)
        k = torch.cat([block.attention.norm_k(qkv[:, :6, 1]), reader.attention.norm_k(qkv[:, 6:, 1])], 1)
        weight = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 4).softmax(-1)
        y = torch.einsum("bhnm,bmhd->bnhd", weight, qkv[:, :, 2]).flatten(2)
        x1 = x[:, 0] + knobs[0][2] * block.attention.out(y[:, :6])
        w1 = words + knobs[1][2] * reader.attention.out(y[:, 6:])
        x2 = x1 + knobs[0][5] * block.mlp(norm(x1, *knobs[0][3:5]))
        w2 = w1 + knobs[1][5] * reader.mlp(norm(w1, *knobs[1][3:5]))
        got = block(x, context, None, words)
        torch.testing.assert_close(got[0][:, 0], x2, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got[1], w2, rtol=1e-4, atol=1e-4)


def test_the_average_of_the_words_that_are_there():
    words, mask = torch.randn(2, 3, 4), torch.tensor([[True, False, True], [False, True, False]])
    expected = torch.stack([(words[0, 0] + words[0, 2]) / 2, words[1, 1]])
    torch.testing.assert_close(average(words, mask), expected)
    torch.testing.assert_close(average(words, None), words.mean(1))


@pytest.mark.parametrize("options", [{"way": "shout"}, {"way": "joint", "attention": "frame"},
                                     {"way": "concatenation", "references": True}])  # fmt: skip
def test_ways_that_cannot_be(options):
    with pytest.raises(ValueError, match=f"way='{options['way']}'"):
        DiT(3, 48, 2, 3, patch=8, context=10, **options)


# --- sentences and guidance


def reading(**options) -> TextDiT:
    return TextDiT(3, 32, 2, 2, patch=8, vocabulary=len(VOCABULARY), **options)


def test_a_sentence_of_padding_is_no_sentence_and_guidance_knows_it():
    net = stirred(reading())
    denoise = Denoiser(net, Linear(), "x0", 0.6)
    x, t, ids = torch.randn(3, 3, 16, 16), torch.tensor(0.5), tokenizer(["a red circle", "a star", "a blue ring rests"])
    assert denoise.null == PAD
    plain, none = denoise(x, t, ids), denoise(x, t)
    torch.testing.assert_close(denoise(x, t, torch.zeros_like(ids)), none)
    assert (plain - none).abs().max() > 1e-3
    torch.testing.assert_close(guide(denoise, 3.0)(x, t, ids), none + 3 * (plain - none))
    with watched(net) as maps:
        net(x, torch.zeros(3), ids)
    crossing = [m for m in maps if m.shape[-2:] == (4, 5)]  # 4 patches look at 4 words and the one always there
    assert len(crossing) == 2 and crossing[0][1, :, :, 3:].abs().max() == 0


def test_dropped_sentences_are_whole_ones():
    heard = []

    class Spy(TextDiT):
        def full(self, x, ell, cond=None):
            heard.append(cond)
            return super().full(x, ell, cond)

    net = Spy(3, 32, 1, 2, 8, len(VOCABULARY))
    ids = tokenizer(["a red circle"]).expand(400, 3)
    batch = (torch.zeros(400, 3, 8, 8), ids)
    denoising_loss(Denoiser(net, Linear(), "x0", 0.6), batch, torch.Generator().manual_seed(0), drop=0.25)
    gone = (heard[0] == PAD).sum(1)
    assert set(gone.tolist()) == {0, 3} and 0.18 < (gone == 3).float().mean() < 0.32
