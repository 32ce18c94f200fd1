"""Networks keep their contract at every size, hear level and label, train everywhere; the average of their weights."""

import math

import pytest
import torch
from einops import rearrange

from minidiff.nn.classifier import Classifier
from minidiff.nn.dit import DiT
from minidiff.nn.layers import LabelEmbedding, NoiseEmbedding
from minidiff.nn.mlp import MLP
from minidiff.nn.unet import PixelAttention, ResBlock, UNet
from minidiff.train.ema import EMA

CLASSES = 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def stir(net: torch.nn.Module) -> torch.nn.Module:
    """Move every weight off its start, where zeroed layers hide what lies behind them."""
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return net


def unet(channels: int = 1, classes: int = 0, blocks: int = 1, **options) -> torch.nn.Module:
    return stir(UNet(channels, base=8, mults=(1, 2, 2), blocks=blocks, classes=classes, **options))


NETS = {  # name: (network with labels, input)
    "mlp": (lambda classes: stir(MLP(3, width=16, depth=2, classes=classes)), (4, 3)),
    "unet": (lambda classes: unet(2, classes), (4, 2, 8, 12)),
    "unet with attention": (lambda classes: unet(2, classes, attention=(1, 2)), (4, 2, 8, 12)),
    "dit": (lambda classes: stir(DiT(2, 32, 2, 2, patch=2, classes=classes)), (4, 2, 8, 12)),
    "dit on clips": (lambda classes: stir(DiT(2, 32, 2, 2, patch=(2, 4, 4), classes=classes)), (4, 2, 4, 8, 12)),
}
each_net = pytest.mark.parametrize("name", NETS)


@each_net
def test_every_sample_hears_its_own_level_and_label(name):
    make, shape = NETS[name]
    net, x, ell, label = make(CLASSES), torch.randn(shape), torch.tensor([-4.0, -1, 0.5, 3]), torch.tensor([0, 4, 2, 5])
    y = net(x, ell, label)
    assert y.shape == x.shape
    for i in range(4):  # alone as in the batch
        alone = net(x[i : i + 1], ell[i : i + 1], label[i : i + 1])
        torch.testing.assert_close(y[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    for other in (net(x, ell + 1, label), net(x, ell, label.flip(0)), net(x.flip(1), ell, label)):
        assert ((other - y).abs().flatten(1).amax(1) > 1e-4).all()


@each_net
def test_no_label_is_the_null_label(name):
    make, shape = NETS[name]
    net, x, ell = make(CLASSES), torch.randn(shape), torch.zeros(4)
    assert torch.equal(net(x, ell, None), net(x, ell, torch.full((4,), CLASSES)))
    assert torch.equal(make(0)(x, ell).isfinite(), torch.ones(shape, dtype=torch.bool))
    for label in (CLASSES + 1, -1):
        with pytest.raises(ValueError, match=f"0..4 .5 for none., got 0..{label}|got {label}..0"):
            net(x, ell, torch.tensor([0, 0, 0, label]))


@each_net
def test_gradient_reaches_every_parameter(name):
    make, shape = NETS[name]
    net = make(CLASSES)
    net(torch.randn(shape), torch.randn(4), torch.tensor([0, 1, 2, 5])).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert silent == []


@pytest.mark.parametrize("size", [(28, 28), (30, 30), (32, 32), (8, 12), (2, 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_unet_at_any_even_size(size, channels):
    y = unet(channels, blocks=2)(torch.randn(2, channels, *size), torch.zeros(2))
    assert y.shape == (2, channels, *size) and y.isfinite().all()


def test_unet_sees_far_and_keeps_detail():
    """Through the smallest size a pixel reaches the far corner; through the bridge a pixel stays where it was."""
    net, x = unet(), torch.zeros(1, 1, 28, 28, requires_grad=True)
    (far,) = torch.autograd.grad(net(x, torch.zeros(1))[0, 0, 2, 2], x)
    assert far[0, 0, 25, 25] != 0
    assert float(far[0, 0, 1:4, 1:4].abs().mean()) > 3 * float(far.abs().mean())


def test_unet_has_the_blocks_it_is_told():
    net = UNet(1, base=8, mults=(1, 2, 3), blocks=2)
    assert [b.conv1.out_channels for b in net.down] == [8, 8, 16, 16, 24, 24]
    assert [b.conv1.out_channels for b in net.up] == [24, 24, 24, 16, 16, 16, 8, 8, 8]
    assert (len(net.mid), len(net.shrink), len(net.grow)) == (2, 2, 2)


@pytest.mark.parametrize("shape", [(2, 1, 27, 28), (2, 1, 28, 27), (2, 3, 28, 28), (1, 28, 28)])
def test_unet_refuses_other_shapes(shape):
    with pytest.raises(ValueError) as error:
        UNet(1, base=8, mults=(1, 1))(torch.zeros(shape), torch.zeros(2))
    assert str(shape) in str(error.value) and "(B, 1, H, W) with H and W even" in str(error.value)
    with pytest.raises(ValueError, match="base=12"):
        UNet(1, base=12)


def test_unet_folds_pixels_at_the_door_and_unfolds_them_where_they_were():
    """It is the plain network on 2x2 pixels in a column of channels, folded and unfolded here by hand."""
    net, plain = UNet(3, 8, (1, 2), 1, patch=2), UNet(12, 8, (1, 2), 1)
    plain.load_state_dict(stir(net).state_dict())
    x, ell = torch.randn(2, 3, 28, 20), torch.randn(2)
    y = plain(rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2), ell)
    torch.testing.assert_close(net(x, ell), rearrange(y, "b (c p q) h w -> b c (h p) (w q)", p=2, q=2))
    for net, size in ((UNet(1, 8, (1,), 1, patch=4), (28, 30)), (UNet(1, 8, (1,), 1, patch=3), (27, 27))):
        with pytest.raises(ValueError, match="H and W multiples of (4|6)"):
            net(torch.zeros(1, 1, *size), torch.zeros(1))
    with pytest.raises(ValueError, match="patch=0"):
        UNet(1, patch=0)


def test_attention_in_the_unet_is_where_it_is_told_and_starts_as_nothing():
    torch.manual_seed(1)
    plain = UNet(1, base=8, mults=(1, 2, 2), blocks=1)
    torch.manual_seed(1)
    net, x, ell = UNet(1, base=8, mults=(1, 2, 2), blocks=1, attention=(2,)), torch.randn(2, 1, 16, 16), torch.zeros(2)
    assert set(plain.state_dict()) < set(net.state_dict())  # files of networks without attention stay readable
    torch.testing.assert_close(net(x, ell), plain(x, ell))
    where = [isinstance(look, PixelAttention) for look in (*net.look_down, net.look_mid, *net.look_up)]
    assert where == [False, False, True, True, True, True, False, False, False, False]
    looks = [look for look in net.modules() if isinstance(look, PixelAttention)]
    assert len({look.attention.qkv.weight[0, 0].item() for look in looks}) == len(looks)
    look, x = stir(looks[0]), torch.randn(2, 16, 4, 6)
    by_hand = look.attention(look.norm(x).flatten(2).mT).mT.reshape(2, 16, 4, 6)
    torch.testing.assert_close(look(x), x + by_hand)
    assert UNet(1, 56, (1, 2), attention=(1,))(torch.zeros(1, 1, 8, 8), torch.zeros(1)).shape == (1, 1, 8, 8)  # 2 heads
    with pytest.raises(ValueError, match=r"attention=\(3,\): the sizes are 0..2"):
        UNet(1, base=8, mults=(1, 2, 2), attention=(3,))


def test_a_fresh_block_passes_its_input_through():
    x, context = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
    assert torch.equal(ResBlock(8, 8, 6)(x, context), x)
    block = ResBlock(8, 16, 6)
    assert torch.equal(block(x, context), block.skip(x))


def test_block_scales_and_shifts_normalised_features():
    """Made transparent (identity convolutions), the block is x + silu(norm(silu(norm(x))) (1 + scale) + shift)."""
    block, x = ResBlock(8, 8, 1), torch.randn(2, 8, 3, 3)
    for conv in (block.conv1, block.conv2):
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    torch.nn.init.zeros_(block.modulate.weight)
    scale, shift = torch.randn(2, 8)
    block.modulate.bias.data = torch.cat([scale, shift])
    silu, norm = torch.nn.functional.silu, lambda h: torch.nn.functional.group_norm(h, 8)
    h = norm(silu(norm(x))) * (1 + scale[:, None, None]) + shift[:, None, None]
    torch.testing.assert_close(block(x, torch.zeros(2, 1)), x + silu(h))


@pytest.mark.parametrize("shape", [(4, 2), (3,), (4, 3, 1)])
def test_mlp_refuses_other_shapes(shape):
    with pytest.raises(ValueError) as error:
        MLP(3)(torch.zeros(shape), torch.zeros(4))
    assert str(shape) in str(error.value) and "(B, 3)" in str(error.value)


def test_mlp_without_levels_is_deaf_to_them():
    net, x = stir(MLP(2, levels=False)), torch.randn(6, 2)
    assert torch.equal(net(x, torch.zeros(6)), net(x, torch.full((6,), 5.0)))
    assert not any("level" in n for n, _ in net.named_parameters())
    assert len(MLP(2, depth=4).blocks) == 4 and MLP(2, width=32).inp.out_features == 32


def test_noise_embedding_tells_levels_apart():
    embed = NoiseEmbedding(12)
    assert embed(torch.zeros(7)).shape == (7, 12)
    periods = 2 * math.pi / embed.get_buffer("freq")
    assert float(periods.min()) == pytest.approx(0.5) and float(periods.max()) == pytest.approx(64)
    embed.mlp = torch.nn.Identity()
    waves = embed(torch.linspace(-10, 10, 201))  # (201, 32), 0.1 apart
    torch.testing.assert_close(waves.square().sum(1), torch.full((201,), 16.0))  # a sine and a cosine of each
    distance = torch.cdist(waves, waves) + 10 * torch.eye(201)
    assert distance.min() > 0.5 and not embed.state_dict()
    assert NoiseEmbedding(8, waves=3)(torch.zeros(2)).shape == (2, 8)


def test_labels_that_are_no_labels_are_refused():
    """Each would pass silently: a float is an index nobody meant, one label would be told to the whole batch."""
    embed = LabelEmbedding(10, 6)
    for label in (torch.rand(4), torch.zeros(3, dtype=torch.long), torch.zeros(4, 1, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"whole numbers of shape \(4,\), got"):
            embed(label, 4)
    for size in ((27, 28), (28, 27)):
        with pytest.raises(ValueError, match="H and W even"):
            UNet(1, base=8, mults=(1, 1))(torch.zeros(1, 1, *size), torch.zeros(1))


def test_label_embedding():
    embed = LabelEmbedding(10, 6)
    assert embed.weight.shape == (11, 6)
    assert torch.equal(embed(torch.tensor([3, 10]), 2), embed.weight[[3, 10]])
    assert torch.equal(embed(None, 2), embed.weight[[10, 10]])


@pytest.mark.parametrize("channels, size", [(1, 28), (3, 8)])
def test_classifier(channels, size):
    net, x = Classifier(channels, 10, base=8, features=16, size=size).eval(), torch.randn(4, channels, size, size)
    assert net(x).shape == (4, 10) and net.features(x).shape == (4, 16)
    torch.testing.assert_close(net.head(net.features(x)), net(x))
    net(x).square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in net.parameters())
    for shape in [(2, 2, size, size), (2, channels, size, size + 4), (channels, size, size)]:
        with pytest.raises(ValueError) as error:
            net(torch.zeros(shape))
        assert str(shape) in str(error.value) and f"(B, {channels}, {size}, {size})" in str(error.value)


# --- the average of the weights


class Pair(torch.nn.Module):
    """Two parameters of different shape and dtype."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(3, 2))
        self.b = torch.nn.Parameter(torch.randn(4).bfloat16())


def test_ema_equals_its_closed_form():
    """Fifty random updates; at decay 0.8 the ramp (1+k)/(10+k) ends at k=35."""
    net, decay = Pair(), 0.8
    history = [{n: p.detach().double() for n, p in net.named_parameters()}]
    ema = EMA(net, decay)
    for step in range(50):
        for p in net.parameters():
            p.data = torch.randn_like(p)
        history.append({n: p.detach().double() for n, p in net.named_parameters()})
        ema.update(net, step)
    decays = [min(decay, (1 + k) / (10 + k)) for k in range(50)]
    assert decays[34] < decay == decays[35]
    for name, value in ema.weights.items():
        by_hand = math.prod(decays) * history[0][name]  # sum of (1 - d_k) d_{k+1} ... d_49 weights_k
        for k in range(50):
            by_hand = by_hand + (1 - decays[k]) * math.prod(decays[k + 1 :]) * history[k + 1][name]
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), by_hand, rtol=1e-5, atol=1e-6)


def test_ema_owns_its_weights_and_lends_them():
    net = Pair()
    ema = EMA(net, 0.5)
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    for p in net.parameters():
        p.data += 1
    assert all(torch.equal(ema.weights[n], p.float()) for n, p in start.items())
    with pytest.raises(RuntimeError, match="inside"), ema.applied(net) as lent:
        assert lent is net and all(torch.equal(p, start[n]) for n, p in net.named_parameters())
        raise RuntimeError("inside")  # the network gets its own weights back even so
    assert all(torch.equal(p, start[n] + 1) for n, p in net.named_parameters())
    ema.copy_to(net)
    assert all(torch.equal(p, start[n]) for n, p in net.named_parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_ema_refuses_a_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=f"decay={decay}"):
        EMA(Pair(), decay)
