"""Costs counted from the architecture equal what torch counts while the network runs, and what was published."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minidiff.nn.block import WAYS
from minidiff.nn.dit import ATTENTION, PRESETS, Condition, DiT, patchify
from minidiff.nn.mlp import MLP
from minidiff.nn.text import TextDiT
from minidiff.nn.unet import UNet
from minidiff.train.flops import dit, norms, of, tokens


def counted(net: torch.nn.Module, shape: tuple[int, ...], cond=None, ell=None) -> float:
    """Multiply-adds that torch's counter sees in one forward pass.

    It does not know the CPU's own kernel for attention and would count nothing there: so the plain one is used.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *shape), torch.zeros(1) if ell is None else ell, cond)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("shape", [(3, 4, 6, 10), (3, 6, 10)])
def test_dit_equals_torchs_counter(attention, shape):
    net = DiT(3, 48, 3, 3, patch=(1, 3, 5), classes=4, context=7, attention=attention)
    words = Condition(context=torch.zeros(1, 5, 7))
    assert sum(of(net, *shape, words=5).values()) == counted(net, shape, words)
    assert sum(of(net, *shape).values()) == counted(net, shape)
    if len(shape) == 4:
        assert sum(of(net, *shape, levels=4).values()) == counted(net, shape, ell=torch.zeros(1, 4))
        net = DiT(3, 48, 3, 3, patch=(2, 3, 5), attention=attention)
        assert sum(of(net, *shape).values()) == counted(net, shape)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(3, 4, 6, 10), (3, 6, 10)])
def test_four_ways_of_telling_words_equal_torchs_counter(way, shape):
    net = DiT(3, 48, 3, 3, patch=(1, 3, 5), context=7, way=way)
    assert sum(of(net, *shape, words=5).values()) == counted(net, shape, Condition(context=torch.zeros(1, 5, 7)))
    net = TextDiT(3, 48, 3, 3, (1, 3, 5), vocabulary=9, reads=2, way=way)
    assert sum(of(net, *shape, words=5).values()) == counted(net, shape, torch.ones(1, 5).long())


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 20, 12)])
@pytest.mark.parametrize("options", [{}, {"blocks": 1, "patch": 2}, {"mults": (1, 2)}, {"attention": (1, 2)}])
def test_unet_equals_torchs_counter(shape, options):
    net = UNet(2, **{"base": 8, "mults": (1, 2, 3)} | options)
    assert sum(of(net, *shape).values()) == counted(net, shape)


@pytest.mark.parametrize("name, published", [("S", 6.06), ("B", 23.01), ("L", 80.71), ("XL", 118.64)])
def test_published_costs(name, published):
    """The table of all models of Peebles & Xie 2023, at 256 tokens, in G. Without the norms, XL/2 would be 118.62."""
    width, depth, _ = PRESETS[name]
    cost = sum(dit(width, depth, 256, 16, out=32, waves=128).values())
    assert (cost + norms(width, depth, 256)) / 1e9 == pytest.approx(published, abs=0.006)
    with torch.device("meta"):
        net = DiT(4, *PRESETS[name], patch=2, classes=1000, published=True)
    assert sum(of(net, 4, 32, 32).values()) == cost


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(TypeError, match="MLP"):
        of(MLP(2), 2)
    small = DiT(1, 32, 1, 2, patch=4)
    for net, shape in ((small, (28, 28)), (small, (1, 29, 28)), (small, (3, 28, 28)), (UNet(1), (1, 2, 28, 28))):
        with pytest.raises(ValueError, match="cannot count a sample of shape"):
            of(net, *shape)
    with pytest.raises(ValueError, match="attention='time'"):
        dit(32, 1, 16, 4, attention="time")


def test_tokens_of_films_are_the_published_ones():
    assert tokens((480, 1080, 1920), (4, 16, 16)) == 979_200  # 972,000, were there half rows
    assert tokens((60, 68, 120), (1, 2, 2)) == 122_400
    assert tokens((81, 480, 832), (1, 2, 2), (4, 8, 8), causal=True) == 32_760  # Wan 2.1
    assert tokens((49, 480, 720), (1, 2, 2), (4, 8, 8), causal=True) == 17_550  # CogVideoX
    assert (
        tokens((12, 32, 32), (1, 8, 8))
        == 192
        == DiT(3, 32, 1, 1, (1, 8, 8)).inp(patchify(torch.zeros(1, 3, 12, 32, 32), (1, 8, 8))).flatten(1, 2).shape[1]
    )
    assert tokens((1, 7, 9)) == 63 and tokens((1, 8, 8), down=(4, 8, 8), causal=True) == 1
    for bad in ((0, 8, 8), (8, 8), (8, 8, -1)):
        with pytest.raises(ValueError, match="from 1 up"):
            tokens(bad)  # type: ignore[arg-type]
