"""The transformer: what it must not depend on, what it must, what it refuses, and the published network it equals."""

from functools import partial

import pytest
import torch
from einops import rearrange

from minidiff.nn.attention import Attention, grid, rotary, turn, watched
from minidiff.nn.dit import ATTENTION, FURTHEST, PRESETS, Block, Condition, DiT, patchify, unpatchify
from minidiff.nn.published import Timestep, from_official, sincos
from minidiff.predict import Denoiser, guide, loss
from minidiff.schedule import Betas, Linear, add_noise, ell
from minidiff.train.batches import fresh
from minidiff.train.fit import denoising_loss, fit, held_below

C, F, H, W = 3, 4, 6, 15  # all different, and so are the sides of a patch, and of the grid of 2 x 3 patches
PATCH = (2, 3, 5)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def dit(channels: int = C, patch=(1, 3, 5), stirred: bool = True, **options) -> DiT:
    """A small network whose every weight is off its start, where closed gates hide what lies behind them."""
    net = DiT(channels, width=48, depth=2, heads=3, patch=patch, **options)
    if stirred:
        for p in net.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return net.eval()


def clip(batch: int = 5, frames: int = F) -> torch.Tensor:
    return torch.randn(batch, C, frames, H, W)


# --- patches


def test_unpatchify_undoes_patchify_and_a_wrong_order_is_seen():
    x = clip()
    tokens = patchify(x, PATCH)
    assert tokens.shape == (5, 2, 6, 90)
    assert torch.equal(unpatchify(tokens, PATCH, rows=2), x)
    assert torch.equal(tokens[:, 1, 5], x[:, :, 2:, 3:, 10:].permute(0, 2, 3, 4, 1).flatten(1))  # the last patch
    wrong = rearrange(tokens, "b f (w h) (pf ph pw c) -> b c (f pf) (h ph) (w pw)", h=2, pf=2, ph=3, pw=5)
    assert wrong.shape == x.shape and not torch.equal(wrong, x)
    for order in ("(pf pw ph c)", "(c pf ph pw)", "(ph pf pw c)"):
        wrong = rearrange(tokens, f"b f (h w) {order} -> b c (f pf) (h ph) (w pw)", h=2, pf=2, ph=3, pw=5)
        assert not torch.equal(wrong, x)


# --- attention and positions


def test_attention_is_the_softmax_of_products():
    layer, x = Attention(32, 2), torch.randn(3, 5, 32)
    q, k, v = layer.qkv(x).view(3, 5, 3, 2, 16).unbind(2)
    q, k = (a / a.square().mean(-1, keepdim=True).sqrt() for a in (q, k))
    weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 4).softmax(-1)
    by_hand = layer.out(torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2))
    torch.testing.assert_close(layer(x), by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x, source=x), layer(x))  # its own source, said or not
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x[:, shuffled]), layer(x)[:, shuffled])  # without positions, a set


def test_weights_are_what_the_output_is_made_of():
    layer, x, by = Attention(32, 2), torch.randn(3, 5, 32), rotary(grid(1, 1, 5), 16)
    mask = torch.rand(3, 5) > 0.3
    for seen in (None, mask, mask[:, None].expand(3, 5, 5), mask[:, None, None].expand(3, 2, 5, 5)):
        weight = layer.weights(x, by, mask=seen)
        v = layer.qkv(x).view(3, 5, 3, 2, 16)[:, :, 2]
        by_hand = layer.out(torch.einsum("bhnm,bmhd->bnhd", weight, v).flatten(2))
        torch.testing.assert_close(layer(x, by, mask=seen), by_hand, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weight.sum(-1), torch.ones(3, 2, 5))
        if seen is not None:
            allowed = seen[:, None, None] if seen.ndim == 2 else seen[:, None] if seen.ndim == 3 else seen
            assert (weight * ~allowed).abs().max() == 0


def test_attention_refuses_and_watching_too():
    with pytest.raises(ValueError, match="width=30, heads=4"):
        Attention(30, 4)
    with pytest.raises(ValueError, match="dim=9"):
        rotary(grid(1, 2, 2), 9)
    layer, x = Attention(32, 2), torch.randn(2, 5, 32)
    for call in (layer, layer.weights):
        with pytest.raises(ValueError, match=r"got float32 of shape \(2, 5\)"):
            call(x, mask=torch.ones(2, 5))
    nobody = torch.zeros(2, 5, 5).bool()
    assert layer.weights(x, mask=nobody).abs().max() == 0 and layer(x, mask=nobody).isfinite().all()
    with pytest.raises(ValueError, match="a Linear without attention"), watched(torch.nn.Linear(2, 2)):
        pass
    net = dit(attention="factorised")
    with (
        pytest.raises(ValueError, match="here 6 tokens look at one another"),
        watched(net, torch.zeros(2, 4, 4).bool()),
    ):
        net(clip(2), torch.zeros(2))
    with pytest.raises(ValueError, match="in one softmax"), watched(DiT(C, 48, 1, 3, 5, context=4, way="joint")):
        pass
    with pytest.raises(ValueError, match="without cross-attention"), watched(dit(), crossing_only=True):
        pass
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_a_cut_leaves_the_words_alone_and_counts_layers_not_calls():
    net, level = dit(context=7), torch.zeros(2)
    x, words = (
        clip(2, frames=1),
        Condition(context=torch.randn(2, 5, 7), mask=torch.tensor([[True] * 3 + [False] * 2] * 2)),
    )
    cut = torch.zeros(2, 6, 6).bool()  # as large as the words with the one that is always there
    cut[:, 0, 1] = True
    with watched(net, cut, where=lambda i: i == 0) as maps:
        net(x, level, words)
        net(x, level, words)
    assert len(maps) == 8 and [bool((w[:, :, 0, 1] == 0).all()) for w in maps] == [True, False, False, False] * 2
    assert all((maps[i][..., -2:] == 0).all() for i in (1, 3))  # hidden words stay hidden


def test_watching_changes_nothing_and_cutting_does():
    net, x, level = dit(classes=2), clip(2, frames=1), torch.zeros(2)
    y = net(x, level)
    with watched(net) as maps:
        torch.testing.assert_close(net(x, level), y)
    assert [w.shape for w in maps] == [(2, 3, 6, 6)] * 2
    cut = torch.zeros(2, 6, 6).bool()
    with watched(net, cut) as same:
        torch.testing.assert_close(net(x, level), y)
    torch.testing.assert_close(same[1], maps[1])
    cut[:, 0, 5] = True  # the first token may not see the last
    with watched(net, cut, where=lambda i: i == 0) as maps:
        other = net(x, level)
    assert (maps[0][:, :, 0, 5] == 0).all() and (maps[1][:, :, 0, 5] > 0).all()
    assert not torch.allclose(other, y, atol=1e-4)
    torch.testing.assert_close(net(x, level), y)  # and nothing is left behind


def test_scores_depend_on_relative_positions_only():
    """Turned as if the clip stood elsewhere, queries and keys have the same products; moved one axis, others."""
    q, k = torch.randn(2, 1, 24, 40)
    here = grid(2, 3, 4)
    score = turn(q, rotary(here, 40)) @ turn(k, rotary(here, 40)).mT
    moved = rotary(here + torch.tensor([7.0, -3, 11]), 40)
    torch.testing.assert_close(turn(q, moved) @ turn(k, moved).mT, score, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(q @ k.mT, score, atol=0.1)
    for axis in range(3):
        other = here.clone()
        other[-1, axis] += 1
        assert not torch.allclose(turn(q, rotary(other, 40)) @ turn(k, rotary(here, 40)).mT, score, atol=1e-3)
    torch.testing.assert_close(turn(q, moved).norm(dim=-1), q.norm(dim=-1))  # turned, not stretched
    assert rotary(here, 40).shape == (24, 20) and rotary(here, 18).shape == (24, 9)


@pytest.mark.parametrize("heads_dim", [16, 32, 64, 72])
def test_every_axis_has_speeds_of_its_own(heads_dim):
    angle = rotary(torch.eye(3), heads_dim).angle()  # one step along each axis
    counts = (angle.abs() > 1e-6).sum(1)
    assert counts.sum() == heads_dim // 2 and counts.min() >= heads_dim // 8 and counts[1] == counts[2]
    assert angle.amax(1).tolist() == pytest.approx([1, 1, 1])


def test_grid_counts_in_the_order_of_patches():
    x = torch.stack(torch.meshgrid(*map(torch.arange, (2, 3, 4)), indexing="ij"))[None].float()  # (1, 3, F, H, W)
    assert torch.equal(patchify(x, (1, 1, 1)).flatten(0, 2), grid(2, 3, 4))


# --- what the network must and must not depend on


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_video_of_one_frame_is_an_image(attention):
    net = dit(attention=attention)
    x, level = clip(frames=1), torch.randn(5)
    image = net(x[:, :, 0], level)
    assert image.shape == (5, C, H, W)
    torch.testing.assert_close(net(x, level)[:, :, 0], image)
    torch.testing.assert_close(net(x, level[:, None])[:, :, 0], image)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("patch", [(1, 3, 5), PATCH])
def test_equal_levels_of_the_frames_are_the_level_of_the_clip(attention, patch):
    net = dit(patch=patch, attention=attention, classes=4)
    x, level, label = clip(), torch.randn(5), torch.arange(5)
    y = net(x, level, label)
    torch.testing.assert_close(net(x, level[:, None].expand(5, F), label), y)
    other = level[:, None].repeat(1, F)
    other[:, -2:] += 1
    assert ((net(x, other, label) - y).abs().flatten(1).amax(1) > 1e-4).all()


def test_levels_that_no_training_sees_are_told_as_the_furthest():
    net, x, far = dit(), clip(2), torch.tensor([FURTHEST, -FURTHEST])
    assert torch.equal(net(x, 3 * far), net(x, far)) and torch.equal(net(x, torch.inf * far), net(x, far))
    assert not torch.allclose(net(x, 0.9 * far), net(x, far), atol=1e-5)


def test_tokens_know_their_place_where_they_are_told():
    """One grey picture: without places every token is answered alike, with them each in its own way."""
    grey = torch.full((1, C, H, W), 0.3)
    for places, apart in ((False, 1), (True, 6)):
        net = DiT(C, 48, 2, 3, patch=(1, 3, 5), places=places, references=True)
        assert net(grey, torch.zeros(1)).abs().max() == 0
        for p in net.parameters():
            p.data += 0.1 * torch.randn_like(p)
        tokens = patchify(net(grey, torch.zeros(1))[:, :, None], (1, 3, 5))[0, 0]  # (6, 45)
        alike = (tokens[:, None] - tokens[None]).abs().amax(2) < 1e-4
        assert len(alike.unique(dim=0)) == apart
        shown = torch.randn(1, 2, C, H, W)
        assert net(grey, torch.zeros(1), Condition(references=shown)).shape == grey.shape
    for options in ({"width": 34, "heads": 1}, {"width": 48, "heads": 3, "published": True}):
        with pytest.raises(ValueError, match="places=True with width"):
            DiT(C, depth=1, patch=2, places=True, **options)


def test_what_each_kind_of_attention_sees():
    """A change of one pixel of frame 1 reaches: all; its own frame only; with two blocks in turns, all."""
    for attention, reach in (("full", 4), ("frame", 1), ("factorised", 4)):
        net, x = dit(attention=attention), clip(1)
        other = x.clone()
        other[0, 0, 1, 2, 3] += 1
        moved = (net(other, torch.zeros(1)) - net(x, torch.zeros(1))).abs().amax((0, 1, 3, 4)) > 1e-6
        assert moved[1] and int(moved.sum()) == reach, attention
    assert [b.over for b in dit(attention="factorised").layers()] == ["frame", "time"]
    sizes = {a: sum(p.numel() for p in dit(attention=a).parameters()) for a in ATTENTION}
    assert len(set(sizes.values())) == 1


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("shown", [0, 2])
def test_every_block_is_told_where_its_tokens_stand(attention, shown):
    """The angles that reach the blocks are those of (frame, row, column), references before frame 0, and matter."""
    if shown and attention == "frame":
        return
    net, x, level, told = dit(attention=attention, references=bool(shown)), clip(2), torch.zeros(2), []
    for block in net.layers():
        block.register_forward_pre_hook(lambda module, inputs: told.append(inputs[2]))
    pictures = Condition(references=torch.randn(2, shown, C, H, W)) if shown else None
    y = net(x, level, pictures)
    where = torch.cartesian_prod(torch.arange(-shown, F), torch.arange(2), torch.arange(3)).float()
    assert len(told) == 2 and all(torch.equal(by.flatten(0, 1), rotary(where, 16)) for by in told)
    tokens = patchify(x, (1, 3, 5))
    for swap in ([0, 2, 1, 3, 4, 5], [3, 1, 2, 0, 4, 5]):  # two columns, two rows: not only the answer is exchanged
        other = net(unpatchify(tokens[:, :, swap], (1, 3, 5), rows=2), level, pictures)
        assert not torch.allclose(patchify(other, (1, 3, 5)), patchify(y, (1, 3, 5))[:, :, swap], atol=1e-4)
    moved = net(x[:, :, [1, 0, 2, 3]], level, pictures)
    assert torch.allclose(moved[:, :, [1, 0, 2, 3]], y, atol=1e-4) == (attention == "frame")


def test_queries_and_keys_are_normalised():
    """However large the products of an untrained layer, no score is above the root of the size of a head."""
    for layer in (
        layer for block in dit(context=7, stirred=False).layers() for layer in (block.attention, block.cross)
    ):
        layer.qkv.weight.data *= 1000
        q, k, _ = layer.asked(torch.randn(2, 6, 48), None, None)
        assert float((q @ k.mT / 4).detach().abs().max()) <= 4.001 and isinstance(layer.norm_q, torch.nn.RMSNorm)


def test_masked_context_changes_nothing_and_real_context_something():
    net, x, level = dit(context=7), clip(2), torch.zeros(2)
    words, mask = torch.randn(2, 6, 7), torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]).bool()
    y = net(x, level, Condition(context=words, mask=mask))
    garbage = torch.where(mask[:, :, None], words, 1e3)
    torch.testing.assert_close(net(x, level, Condition(context=garbage, mask=mask)), y)
    torch.testing.assert_close(net(x, level, Condition(context=words[:, :3], mask=mask[:, :3])), y)
    torch.testing.assert_close(net(x[:1], level[:1], Condition(context=words[:1, :3])), y[:1])
    nothing = net(x, level, Condition(context=words, mask=torch.zeros_like(mask)))  # no real word: no NaN, no words
    torch.testing.assert_close(nothing, net(x, level))
    assert (nothing - y).abs().max() > 1e-4
    for i in (1, 2):  # the last real word counts, the first masked one does not
        other = words.clone()
        other[0, i + 1] += 1
        assert torch.allclose(net(x, level, Condition(context=other, mask=mask)), y, atol=1e-6) == (i == 2)


@pytest.mark.parametrize("attention", ["full", "factorised"])
def test_references_are_seen_and_left_out_again(attention):
    for patch in ((1, 3, 5), PATCH):
        net, x = dit(patch=patch, references=True, attention=attention), clip(2)
        level = torch.randn(2, 1).repeat(1, F)
        pictures = torch.randn(2, 3, C, H, W)
        y, shown = net(x, level), net(x, level, Condition(references=pictures))
        assert shown.shape == x.shape and ((shown - y).abs().flatten(1).amax(1) > 1e-4).all()
        other = pictures.clone()
        other[0, 2, 0, 0, 0] += 1  # each sample hears its own
        moved = (net(x, level, Condition(references=other)) - shown).abs().flatten(1).amax(1) > 1e-6
        assert moved.tolist() == [True, False]
        torch.testing.assert_close(net(x, level[:, 0], Condition(references=pictures)), shown)
        heard = []
        hook = net.level.register_forward_pre_hook(lambda module, inputs, heard=heard: heard.append(inputs[0]))
        net(x, level, Condition(references=pictures))
        hook.remove()
        assert heard[-1].tolist() == [pytest.approx(-FURTHEST)]  # that they are clean, whatever the clip is


def test_a_fresh_block_is_the_identity_and_a_fresh_network_answers_nothing():
    net = dit(stirred=False, context=7)
    x, level = torch.randn(2, F, 4, 48), torch.randn(2, 1, 48)
    for block in net.layers():
        assert torch.equal(block(x, level, None, torch.randn(2, 3, 48)), x)
    assert torch.equal(net(clip(2), torch.zeros(2)), torch.zeros(2, C, F, H, W))
    net.layers()[0].modulate.bias.data += 1
    assert not torch.equal(net.layers()[0](x, level, None), x)


def test_a_block_is_its_formula():
    block = Block(32, 2, "full")
    x, context = torch.randn(2, 3, 4, 32), torch.randn(2, 3, 32)
    torch.nn.init.normal_(block.modulate.weight)
    shift, scale, gate, shift2, scale2, gate2 = block.modulate(context).view(2, 3, 1, 6, 32).unbind(3)

    def norm(h):
        return (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    h = x + gate * block.attention((norm(x) * (1 + scale) + shift).flatten(1, 2)).view_as(x)
    h = h + gate2 * block.mlp(norm(h) * (1 + scale2) + shift2)
    torch.testing.assert_close(block(x, context, None), h, rtol=1e-4, atol=1e-4)


def test_gradient_reaches_every_parameter():
    net = dit(classes=3, context=7, references=True, attention="factorised")
    told = Condition(torch.tensor([0, 1, 2, 3]), torch.randn(4, 2, 7), None, torch.randn(4, 2, C, H, W))
    net(clip(4), torch.randn(4, F), told).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


# --- large patches


def test_a_large_patch_learns_x0_where_noise_cannot_pass():
    """A token of 8x8x3 = 192 numbers, 48 features wide: an answer has rank 48 at most, so of unit noise three quarters
    are lost whatever is learned. Clean data that lies in a plane fits through: row x0, loss in the space of flow."""
    plane = torch.linalg.qr(torch.randn(192, 4)).Q.T * 192**0.5 / 2  # data of standard deviation 1 a number

    def sample(n, generator):
        return unpatchify((torch.randn(n, 4, 4, generator=generator) @ plane)[:, None], (1, 8, 8), rows=2)[:, :, 0]

    x0 = sample(200, torch.Generator().manual_seed(1))
    eps, t = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2)), torch.tensor(0.5)
    error = {}
    for row, space in (("x0", "flow"), ("eps", "eps")):
        torch.manual_seed(0)
        denoise = Denoiser(DiT(3, 48, 2, 3, patch=8), Linear(), row)
        step_loss = partial(denoising_loss, space=space, weight=held_below if row == "x0" else None)
        list(fit(denoise, fresh(sample, 64), 300, loss=step_loss, lr=3e-3, decay_from=0.5, progress=False))
        with torch.no_grad():
            x_t = add_noise(Linear(), x0, eps, t)
            y = x0 if row == "x0" else eps
            error[row] = float((denoise.output(x_t, t) - y).square().mean())
    assert error["x0"] < 0.1 and 0.73 < error["eps"] < 0.9, error


def test_the_loss_of_x0_in_the_space_of_flow_is_held_near_the_data():
    t = torch.tensor([1e-5, 0.01, 0.05, 0.2, 1.0])
    x0, eps, net = torch.randn(5, C, H, W), torch.randn(5, C, H, W), dit(patch=3)
    denoise = Denoiser(net, Linear(), "x0")
    losses = loss(denoise, x0, eps, t, space="flow", weight=held_below)
    mse = (denoise.output(add_noise(Linear(), x0, eps, t), t) - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(losses, mse / t.clamp(min=0.05) ** 2, rtol=1e-3, atol=1e-4)
    options = {"space": "flow", "weight": held_below, "levels": lambda n, generator: torch.zeros(n)}
    drawn, _ = denoising_loss(denoise, (x0,), torch.Generator(), **options)
    assert drawn.isfinite().all()  # t = 0, where the factor is infinite and the weight 0


# --- what it refuses


@pytest.mark.parametrize(
    "options, word",
    [
        ({"patch": 0}, "patch=0"),
        ({"patch": (1, 2)}, r"patch=\(1, 2\)"),
        ({"heads": 5}, "width=48, heads=5"),
        ({"heads": 6}, "width=48, heads=6"),
        ({"attention": "temporal"}, "attention='temporal'.*factorised"),
        ({"attention": "frame", "references": True}, "cannot see references"),
        ({"published": True, "context": 7}, "published=True with patch=2, context=7"),
        ({"published": True, "attention": "factorised", "depth": 2}, "attention='factorised'"),
        ({"patch": 2.5}, "patch=2.5"),
        ({"heads": 0}, "heads=0"),
        ({"classes": -1}, "classes=-1"),
        ({"attention": "factorised"}, "depth=1"),
    ],
)
def test_it_is_not_built_of_what_does_not_fit(options, word):
    with pytest.raises(ValueError, match=word):
        DiT(**{"channels": C, "width": 48, "depth": 1, "heads": 3} | options)


X = (5, C, F, H, W)
BAD = {  # name: (shape of x, of ell, condition, what the message must name)
    "rows": ((5, C, F, H + 1, W), (5,), None, r"\(5, 3, 4, 7, 15\)"),
    "frames": ((5, C, F + 1, H, W), (5,), None, r"multiples of its patch \(2, 3, 5\), got \(5, 3, 5, 6, 15\)"),
    "an image, two frames a patch": ((5, C, H, W), (5,), None, r"\(5, 3, 6, 15\)"),
    "channels": ((5, C + 1, F, H, W), (5,), None, r"\(B, 3, F, H, W\).*got \(5, 4, 4, 6, 15\)"),
    "empty": ((5, C, F, 0, W), (5,), None, r"got \(5, 3, 4, 0, 15\)"),
    "no batch": ((C, H, W), (5,), None, r"got \(3, 6, 15\)"),
    "level": (X, (4,), None, r"\(5,\), or one a frame, \(5, 4\), got \(4,\)"),
    "level of no sample": (X, (), None, r"got \(\)"),
    "levels": (X, (5, 2), None, r"got \(5, 2\)"),
    "labels": (X, (5,), torch.zeros(4, dtype=torch.long), r"shape \(5,\), got int64 of shape \(4,\)"),
    "label": (X, (5,), torch.full((5,), 9), "0..3 .4 for none., got 9..9"),
    "context": (X, (5,), Condition(context=torch.zeros(5, 2, 8)), r"\(5, L, 7\), got \(5, 2, 8\)"),
    "mask": (
        X,
        (5,),
        Condition(context=torch.zeros(5, 2, 7), mask=torch.ones(5, 3).bool()),
        r"\(5, 2\).*got bool of shape \(5, 3\)",
    ),
    "mask of numbers": (X, (5,), Condition(context=torch.zeros(5, 2, 7), mask=torch.ones(5, 2)), "got float32"),
    "references": (X, (5,), Condition(references=torch.zeros(5, 1, C, H, W + 1)), r"got \(5, 1, 3, 6, 16\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_it_refuses_and_names_the_value(case):
    shape, level, cond, word = BAD[case]
    with pytest.raises(ValueError, match=word):
        dit(patch=PATCH, classes=4, context=7, references=True)(torch.zeros(shape), torch.zeros(level), cond)


def test_it_refuses_what_it_was_not_built_for():
    with pytest.raises(ValueError, match="over='fulll'"):
        Block(32, 2, "fulll")
    x, level = clip(), torch.zeros(5)
    for cond, word in (
        (Condition(context=torch.zeros(5, 2, 7)), "context=0"),
        (Condition(references=torch.zeros(5, 1, C, H, W)), "references=False"),
        (torch.zeros(5, dtype=torch.long), "without classes"),
        (Condition(mask=torch.ones(5, 2).bool()), "mask without a context"),
    ):
        with pytest.raises(ValueError, match=word):
            dit()(x, level, cond)
    uneven = torch.arange(4.0).expand(5, 4)
    with pytest.raises(ValueError, match="knows what no label is, not what no Condition is"):
        guide(Denoiser(dit(classes=4), Linear()), 2.0)(x, torch.tensor(0.5), Condition(label=torch.arange(5) % 4))
    with pytest.raises(ValueError, match="2 frames share a token"):
        dit(patch=PATCH)(x, uneven)
    with pytest.raises(ValueError, match="published=True is for images"):
        dit(patch=1, published=True)(x, level)


# --- the published network


def official_names(theirs) -> dict[str, torch.Tensor]:
    """The weights of diffusers' DiT under the names of the official code: their conversion, read backwards."""
    s, first = theirs.state_dict(), "transformer_blocks.0.norm1.emb."
    official = {"pos_embed": theirs.pos_embed.pos_embed}
    names = {"pos_embed.proj": "x_embedder.proj", "proj_out_1": "final_layer.adaLN_modulation.1"}
    names |= {"proj_out_2": "final_layer.linear", first + "timestep_embedder.linear_1": "t_embedder.mlp.0"}
    names |= {first + "timestep_embedder.linear_2": "t_embedder.mlp.2"}
    for i in range(len(theirs.transformer_blocks)):
        block = {"norm1.linear": "adaLN_modulation.1", "attn1.to_out.0": "attn.proj"}
        block |= {"ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2"}
        names |= {f"transformer_blocks.{i}.{a}": f"blocks.{i}.{b}" for a, b in block.items()}
    for end in ("weight", "bias"):
        official |= {f"{b}.{end}": s[f"{a}.{end}"] for a, b in names.items()}
        for i in range(len(theirs.transformer_blocks)):
            parts = [s[f"transformer_blocks.{i}.attn1.to_{a}.{end}"] for a in "qkv"]
            official[f"blocks.{i}.attn.qkv.{end}"] = torch.cat(parts)
    official["y_embedder.embedding_table.weight"] = s[first + "class_embedder.embedding_table.weight"]
    return official


@pytest.fixture(scope="module")
def peer():
    """diffusers' DiT with random weights, its blocks sharing one embedding of level and label as the official ones do.

    Two defaults of theirs are not the official code's, and are set to it here: the waves are spaced 1/127 apart for
    1/128 (`downscale_freq_shift`), and the second norm of a block has an eps of 1e-5 for 1e-6.
    """
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(3)
    theirs = DiTTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=16,
        in_channels=C,
        out_channels=2 * C,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=7,
        norm_eps=1e-6,
    )
    for p in theirs.parameters():
        p.data += 0.03 * torch.randn_like(p)
    first = theirs.transformer_blocks[0].norm1.emb
    for block in theirs.transformer_blocks:
        block.norm1.emb = first
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    return theirs.eval()


def test_published_network_equals_diffusers_on_the_same_weights(peer):
    ours = DiT(C, 48, 2, 3, patch=2, classes=7, published=True).eval()
    ours.load_state_dict(from_official(official_names(peer)))
    x, label = torch.randn(6, C, 8, 8), torch.tensor([0, 3, 6, 7, 1, 7])
    steps = torch.tensor([0, 1, 250, 500, 998, 999])
    with torch.no_grad():
        both = ours.full(x, ell(Betas(), (steps + 1) / 1000), label)
        theirs = peer(x, timestep=steps, class_labels=label).sample
        assert both.shape == (6, 2 * C, 8, 8) and float((both - theirs).abs().max()) < 1e-5
        assert torch.equal(ours(x, ell(Betas(), (steps + 1) / 1000), label), both[:, :C])  # all C channels, no 3 of 4
        assert float((both - ours.full(x, ell(Betas(), steps.clamp(1) / 1000), label)).abs().max()) > 1e-3  # one off
        peer.double()
        sharp = peer(x.double(), timestep=steps, class_labels=label).sample
        sharp = sharp - ours.double().full(x.double(), ell(Betas(), (steps.double() + 1) / 1000), label)
        assert float(sharp[0].abs().max()) < 1e-12  # timestep 0, whose waves are 0 and 1; the others' are float32
        peer.float()
    torch.testing.assert_close(sincos(4, 4, 48)[None], peer.pos_embed.pos_embed)


def test_guidance_of_the_published_network_acts_on_all_channels():
    """eps is guided in every channel, not in the first three of four (found in the official code)."""
    net = DiT(4, 48, 2, 3, patch=2, classes=7, published=True).eval().requires_grad_(False)
    for p in net.parameters():
        p += 0.1 * torch.randn_like(p)
    denoise, x, t, label = (
        Denoiser(net, Betas(), "eps"),
        torch.randn(2, 4, 8, 8),
        torch.tensor(0.5),
        torch.tensor([1, 5]),
    )
    told, free = denoise(x, t, label), denoise(x, t, torch.full((2,), 7))
    guided = guide(denoise, 3.0)(x, t, label)
    torch.testing.assert_close(guided, free + 3 * (told - free))
    assert ((guided - told).abs().amax((0, 2, 3)) > 1e-4).all()


def test_the_adapter_finds_every_timestep():
    steps = torch.arange(1000)
    assert torch.equal(Timestep(16).timestep(ell(Betas(), (steps + 1) / 1000)), steps)
    assert Timestep(16).timestep(torch.tensor([-10.0, 10.0])).tolist() == [0, 999]


def test_a_file_that_is_no_official_checkpoint_is_refused(peer):
    official = official_names(peer)
    with pytest.raises(ValueError, match="x_embedder.proj.weight missing"):
        from_official({k: v for k, v in official.items() if k != "x_embedder.proj.weight"})
    with pytest.raises(ValueError, match=r"pos_embed \(1, 16, 48\) is not the sine-cosine table of a 4 x 4 grid"):
        from_official(official | {"pos_embed": official["pos_embed"].flip(1)})


@pytest.mark.parametrize("name, millions", [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_presets_have_the_published_number_of_parameters(name, millions):
    """The paper's table; the official script prints 675,129,632 for XL/2, 256 x 1152 of which are positions."""
    with torch.device("meta"):
        net = DiT(4, *PRESETS[name], patch=2, classes=1000, published=True)
    count = sum(p.numel() for p in net.parameters())
    assert abs(count / 1e6 - millions) < 1.5
    if name == "XL":
        assert count == 675_129_632 - 256 * 1152


def test_laptop_preset_has_about_one_and_a_half_million_parameters():
    assert sum(p.numel() for p in DiT(1, *PRESETS["laptop"], patch=4).parameters()) == pytest.approx(1.5e6, rel=0.1)
