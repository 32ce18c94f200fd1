"""The line: motions in closed form, drawn as said, found again, and told apart from what is none of them."""

import pytest
import torch
from torch import Generator

from minidiff.data.line import MARGIN, MOTIONS, SPEEDS, sample
from minidiff.measure.line import acceleration, named, spots, switches
from minidiff.predict import Denoiser
from minidiff.schedule import Linear
from minidiff.sweeps.line import missed


def drawn(n=2000, seed=0, **options):
    return sample(n, Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("frames, width", [(16, 32), (12, 40), (9, 24)])
def test_every_motion_is_found_again_and_drawn_where_it_is(frames, width):
    line = drawn(frames=frames, width=width)
    seen = spots(line.clips)
    assert line.clips.shape == (2000, 1, frames, 1, width) and seen.found.all()
    assert float((seen.places - line.places).abs().max()) < 0.05
    assert (seen.lights == line.lights[:, None]).all() and int(switches(seen.lights).sum()) == 0
    assert torch.equal(named(seen.places), line.motions)
    assert line.places.min() >= MARGIN - 1e-4 and line.places.max() <= width - 1 - MARGIN + 1e-4
    assert min(line.motions.bincount()) > 300 and 800 < int((line.lights > 0).sum()) < 1200


def test_motions_are_those_of_their_laws():
    line = drawn()
    for name, (low, high) in SPEEDS.items():
        speed = line.places[line.motions == MOTIONS.index(name)].diff(dim=-1).abs()
        assert float(speed.median(-1).values.min()) >= low - 1e-4 and float(speed.max()) <= high + 1e-4
    bounces = line.places[line.motions == MOTIONS.index("bounces")]
    assert bool(((bounces.diff(dim=-1).sign().diff(dim=-1) != 0).sum(-1) <= 2).all())
    assert float(torch.minimum(bounces.min(-1).values - MARGIN, 28 - bounces.max(-1).values).max()) < 1.5
    still = line.motions <= MOTIONS.index("dashes")
    assert float(acceleration(line.places[still]).max()) < 1e-4
    shakes = line.places[line.motions == MOTIONS.index("shakes")]
    torch.testing.assert_close(shakes[:, 2:], shakes[:, :-2])


def test_measures_by_hand_and_on_clips_that_hold_together_in_nothing():
    t = torch.arange(16.0)
    assert float(acceleration((t**2)[None])) == 2 and switches(torch.tensor([[1, 1, -1, 1]])).tolist() == [2]
    anew = 3 + 25 * torch.rand(500, 16, generator=Generator().manual_seed(0))
    assert (named(anew) >= 0).float().mean() < 0.02  # the control: a place drawn anew in every frame has no motion
    assert float(acceleration(anew).mean()) == pytest.approx((6 * 25**2 / 12) ** 0.5, rel=0.05)
    assert named(torch.stack([4 + 0.3 * t, 4 + 1.2 * t, 9 + 0 * t])).tolist() == [1, 2, 0]
    assert named((12 + 5 * (t / 2).sin())[None]).tolist() == [-1]
    assert not spots(torch.zeros(1, 1, 5, 1, 32)).found.any()


def test_bad_input_is_refused_in_words():
    for options in ({"motions": ("flies",)}, {"motions": "rests"}, {"motions": ()}):
        with pytest.raises(ValueError, match="expected some of rests"):
            drawn(1, **options)
    for options in ({"frames": 0}, {"width": 20}, {"frames": 40}, {"n": 0}):
        with pytest.raises(ValueError, match="a line of more than"):
            drawn(**options)
    assert sample(1, Generator(), ("rests",), frames=1, width=12).clips.shape == (1, 1, 1, 1, 12)
    with pytest.raises(ValueError, match=r"are \(n, 1, F, 1, W\)"):
        spots(torch.zeros(2, 1, 16, 32))
    with pytest.raises(ValueError, match="2 frames"):
        acceleration(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="takes 8"):
        named(torch.zeros(1, 7))


def test_what_a_denoiser_misses_is_0_for_the_clip_itself_and_1_for_grey():
    clips = drawn(50)

    class Answers(torch.nn.Module):
        """Its argument times what is true."""

        def __init__(self, share):
            super().__init__()
            self.share = torch.nn.Parameter(share)

        def forward(self, x, ell, cond=None):
            return clips.clips * self.share[cond][:, None, None, None, None]

    for share in (0.0, 0.5, 1.0):
        net = Answers(torch.full((5,), share))
        lost = missed(Denoiser(net, Linear(), "x0"), clips)
        torch.testing.assert_close(lost, torch.full((5,), (1 - share) ** 2))
    only = torch.zeros(5)
    only[3] = 1.0  # one motion is known, the others are not
    lost = missed(Denoiser(Answers(only), Linear(), "x0"), clips)
    torch.testing.assert_close(lost, 1 - only)
