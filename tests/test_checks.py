"""Wrong calls of the maths are refused in words, and never answered with numbers; odd but right ones work."""

import math
from dataclasses import replace

import pytest
import torch

from minidiff.data.toy import FiniteSet, Mixture, grid25
from minidiff.data.toybox import Scene, Thing, World, parse, render, sample, stage
from minidiff.measure.adherence import watch
from minidiff.measure.modes import mode_report
from minidiff.measure.proportion import average, share
from minidiff.nn.dit import DiT
from minidiff.nn.mlp import MLP
from minidiff.nn.text import Tokenizer
from minidiff.nn.unet import UNet
from minidiff.nn.vae import VAE
from minidiff.predict import ROWS, Denoiser, det, exact_denoiser, guide, loss, on_schedule, row, score, solve
from minidiff.sample import ddim, dpmpp_2m, euler, heun, last, prior, slerp
from minidiff.schedule import (
    VP,
    Betas,
    Cosine,
    Karras,
    Linear,
    add_noise,
    ell,
    expand,
    rho_grid,
    shifted,
    uniform_grid,
)
from minidiff.train.batches import fresh, shuffled
from minidiff.train.ema import EMA
from minidiff.train.fit import check_settings, denoising_loss, fit

SCHEDULES = (Linear(), Cosine(), VP(), Karras(), Betas())
SAMPLERS = {"ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
NAN, INF = math.nan, math.inf
BAD_LEVELS = (-0.1, 1.0001, 500.0, NAN, INF, -INF)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
each_bad_level = pytest.mark.parametrize("t", BAD_LEVELS)

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
GRID = uniform_grid(4)


def denoiser(**more) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(MLP(dim=2, width=16, depth=1, **more), Linear(), "v")


WITH_T = {  # everything that takes a level, and must look at it
    "alpha": lambda s, t: s.alpha(t),
    "sigma": lambda s, t: s.sigma(t),
    "rates": lambda s, t: s.rates(t),
    "ell": ell,
    "add_noise": lambda s, t: add_noise(s, X, Y, t),
    "shifted": lambda s, t: shifted(t, 3.0),
    "row": lambda s, t: row("eps", s, t),
    "det": lambda s, t: det("x0", s, t),
    "solve": lambda s, t: solve("v", s, X, t, Y),
    "denoiser": lambda s, t: Denoiser(MLP(dim=2, width=16, depth=1), s, "v")(X, t),
    "exact": lambda s, t: exact_denoiser(grid25(), s)(X, t),
    "on_schedule": lambda s, t: on_schedule(denoiser(), s)(X, t),
    "guided": lambda s, t: guide(Denoiser(MLP(2, 16, 1, classes=3), s, "v"), 2.0)(X, t, torch.zeros(6).long()),
    "loss": lambda s, t: loss(Denoiser(MLP(dim=2, width=16, depth=1), s, "v"), X, Y, t),
}


@pytest.mark.parametrize("name", WITH_T)
@each_schedule
@each_bad_level
def test_a_level_outside_is_refused(name, schedule, t):
    """Alone, and as one of six. Betas used to answer alpha(nan) = 1: clean data."""
    many = torch.full((6,), 0.5)
    many[4] = t
    for level in (torch.tensor(t), many):
        with pytest.raises(ValueError, match=r"t=.*noise levels lie in \[0, 1\]"):
            WITH_T[name](schedule, level)


@pytest.mark.parametrize("name", WITH_T)
@each_schedule
def test_a_float_is_a_level_too(name, schedule):
    for t in (0.25, 1, torch.tensor(1)):  # whole numbers are levels, only 0 and 1 can be
        level = torch.tensor(float(t))
        torch.manual_seed(0)
        found = WITH_T[name](schedule, t)
        torch.manual_seed(0)
        torch.testing.assert_close(found, WITH_T[name](schedule, level))
    with pytest.raises(ValueError, match="noise levels lie"):
        WITH_T[name](schedule, 300)


def test_levels_are_not_looked_at_inside_vmap():
    levels = torch.rand(6)
    torch.testing.assert_close(
        torch.vmap(lambda x, e, t: add_noise(VP(), x, e, t))(X, Y, levels), add_noise(VP(), X, Y, levels)
    )


# --- shapes and types -------------------------------------------------------------------------------------

SHAPES = ((6, 1), (1, 2), (2,), (), (6, 2, 1), (5, 2), (6, 3))  # the first five are broadcast by torch


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_sampler
def test_an_answer_of_another_shape_is_refused(sampler, shape):
    with pytest.raises(ValueError, match=r"denoiser's answer has shape .* and x_t \(6, 2\)"):
        last(sampler(lambda x, t, cond: torch.zeros(shape), X, GRID, Linear()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pred", ROWS)
def test_solve_broadcasts_no_y(pred, shape):
    with pytest.raises(ValueError, match=r"y has shape .* and x_t \(6, 2\)"):
        solve(pred, VP(), X, torch.tensor(0.5), torch.zeros(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_score_broadcasts_no_x0_hat(shape):
    with pytest.raises(ValueError, match=r"x0_hat has shape .* and x_t \(6, 2\)"):
        score(X, torch.zeros(shape), torch.tensor(0.5), torch.tensor(0.5))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_network_of_another_shape_is_refused(shape):
    class Odd(torch.nn.Module):
        def forward(self, x, level, cond=None):
            return torch.zeros(shape)

    odd = Denoiser(Odd(), Linear(), "v")
    with pytest.raises(ValueError, match="y has shape"):
        odd(X, torch.tensor(0.5))
    with pytest.raises(ValueError, match="the network's answer has shape"):
        loss(odd, X, Y, torch.rand(6))


@pytest.mark.parametrize("shape", [(6, 3), (6, 1), (6,), (2,), (6, 2, 1)], ids=str)
@pytest.mark.parametrize("source", [grid25(), FiniteSet(torch.randn(5, 2))], ids=["mixture", "finite"])
def test_the_exact_denoiser_takes_points_of_its_source_only(source, shape):
    with pytest.raises(ValueError, match=r"points of shape .*expected \(B, 2\)"):
        exact_denoiser(source, Linear())(torch.randn(shape), torch.tensor(0.5))


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize(
    "call",
    [
        lambda x: add_noise(Linear(), x, x, torch.tensor(0.5)),
        lambda x: add_noise(Linear(), X, x, torch.tensor(0.5)),
        lambda x: denoiser()(x, torch.tensor(0.5)),
        lambda x: solve("v", Linear(), x, torch.tensor(0.5), x),
        lambda x: score(X, x, 0.5, 0.5),
        lambda x: score(x, x, 0.5, 0.5),
        lambda x: exact_denoiser(grid25(), Linear())(x, 0.5),
        lambda x: slerp(x, x, 0.5),
        lambda x: loss(denoiser(), x, x, torch.rand(6)),
        lambda x: Mixture(x, 0.1),
        lambda x: FiniteSet(x),
        *(lambda x, s=s: last(s(denoiser(), x, GRID)) for s in SAMPLERS.values()),
        *(lambda x, s=s: last(s(lambda y, t, c: x, X, GRID, Linear())) for s in SAMPLERS.values()),
    ],
)
def test_whole_numbers_are_no_data(call, kind):
    with pytest.raises(ValueError, match="expected floating point"):
        call(X.to(kind))


@pytest.mark.parametrize("weights", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_data_of_another_type_goes_through_the_network(kind, weights):
    denoise = denoiser()
    expected = denoise(X, torch.tensor(0.5))
    denoise.net.to(weights)
    found = denoise(X.to(kind), torch.tensor(0.5))
    assert found.dtype == kind
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 if weights is torch.bfloat16 else 1e-5)
    for sampler in SAMPLERS.values():
        assert last(sampler(denoise, X.to(kind), GRID)).dtype == kind


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, -0.5, NAN])
def test_there_is_no_score_without_noise(sigma):
    many = torch.tensor([0.5] * 5 + [sigma])
    for level in (sigma, torch.tensor(sigma), many):
        with pytest.raises(ValueError, match=r"sigma=.*above 0"):
            score(X, Y, 0.5, level)


@pytest.mark.parametrize("wrong", [[1.5, -0.5], [NAN, 1.0], [NAN, NAN], [INF, -INF], [0.0, 0.0]], ids=str)
def test_a_mixture_has_weights_that_are_shares(wrong):
    with pytest.raises(ValueError, match="be 0 or more and sum to 1"):
        Mixture(torch.zeros(2, 1), 0.1, torch.tensor(wrong))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_sources_are_finite(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        Mixture(torch.tensor([[0.0], [value]]), 0.1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        FiniteSet(torch.tensor([[0.0], [value]]))
    with pytest.raises(ValueError, match="std must be positive and finite"):
        Mixture(torch.zeros(2, 1), torch.tensor([0.1, abs(value)]))


@pytest.mark.parametrize("alpha, sigma", [(NAN, 0.5), (0.5, NAN), (0.5, -0.5), (-0.5, 0.5), (0.5, INF), (INF, 0.5)])
@pytest.mark.parametrize("name", ["posterior_mean", "score", "log_prob"])
def test_a_source_asks_for_sound_alpha_and_sigma(name, alpha, sigma):
    with pytest.raises(ValueError, match="expected finite numbers, 0 or more"):
        getattr(grid25(), name)(X, alpha, torch.full((6,), sigma))


@pytest.mark.parametrize("value", [NAN, INF])
@each_sampler
def test_a_sampler_tells_of_nan(sampler, value):
    """From the denoiser, from one sample of it, and in the noise that it starts from."""
    spoiled = X.clone()
    spoiled[3, 1] = value
    for answer, start in ((X * value, X), (spoiled, X), (X, spoiled)):
        with pytest.raises(FloatingPointError, match=r"NaN or infinite at t="):
            last(sampler(lambda x, t, cond, answer=answer: answer, start, GRID, Linear()))


def test_large_but_finite_is_no_nan():
    huge = torch.full((6, 2), 3e38)  # their sum overflows
    assert last(ddim(lambda x, t, cond: huge, X, GRID, Linear())).isfinite().all()


MAKERS = {
    "VP": lambda v: VP(high=v),
    "VP low": lambda v: VP(low=v),
    "Karras": lambda v: Karras(top=v),
    "Betas": lambda v: Betas(high=v),
    "Betas low": lambda v: Betas(low=v),
    "rho": lambda v: rho_grid(5, rho=v),
    "low": lambda v: rho_grid(5, low=v),
    "high": lambda v: rho_grid(5, high=v),
    "start": lambda v: uniform_grid(5, v, 0),
    "end": lambda v: uniform_grid(5, 1, v),
    "prior": lambda v: prior(Linear(), (2, 2), t=v),
    "slerp": lambda v: slerp(X, Y, v),
    "shifted": lambda v: shifted(GRID, v),
    "sd": lambda v: Denoiser(MLP(dim=2), Linear(), "v", v),
    "w": lambda v: guide(denoiser(classes=3), v),
    "interval": lambda v: guide(denoiser(classes=3), 2.0, interval=(v, 1.0)),
}


@pytest.mark.parametrize("value", [NAN, INF, -INF, -1.0])
@pytest.mark.parametrize("name", MAKERS)
def test_settings_are_finite_and_in_range(name, value):
    with pytest.raises(ValueError, match=r"expected|noise levels lie|must be positive"):
        MAKERS[name](value)


@pytest.mark.parametrize("n", [0, -3, 2.5, "4", True, None, 10**12])
@pytest.mark.parametrize("grid", [uniform_grid, rho_grid, lambda n: Betas(steps=n), grid25().sample])
def test_counts_are_whole_numbers(grid, n):
    with pytest.raises(ValueError, match="expected a whole number"):
        grid(n)


@pytest.mark.parametrize("schedule", ["Linear", 3, Linear])
def test_a_word_is_no_schedule(schedule):
    with pytest.raises(ValueError, match=r"no schedule: expected Linear\(\)"):
        last(ddim(lambda x, t, cond: x, X, GRID, schedule))


def test_a_plain_function_cannot_change_its_schedule():
    with pytest.raises(ValueError, match="knows no schedule"):
        on_schedule(lambda x, t, cond=None: x, Cosine())


def test_expand_takes_a_float():
    assert float(expand(0.5, X)) == 0.5


# --- found by somebody who tried a thousand calls ---------------------------------------------------------

RED, BLUE = Thing("red", "circle", motion="rests"), Thing("blue", "star", motion="rests")


def spec():
    return sample(2, torch.Generator().manual_seed(0), "two")


def staged(*things, **more):
    return stage(Scene(things, **more), torch.Generator().manual_seed(0))


def net(dim=2, width=16):
    torch.manual_seed(0)
    return MLP(dim=dim, width=width, depth=1)


def trained(loss, data=lambda step: (X,)):
    return next(fit(denoiser(), data, 10, loss=loss, progress=False, every=1))


def spoiling(x, t, cond):
    return x.mul_(0.5)


FOUND = {
    "an object after the light": lambda: parse("a red circle, lit from the left and a blue square drifts right"),
    "a light after the pan": lambda: parse("a red circle, the camera pans left, lit from the right"),
    "two lights": lambda: parse("a red circle, lit from the left, lit from the right"),
    "a loose end": lambda: parse("a red circle, then a cut, and"),
    "one collides, the other rests": lambda: staged(
        Thing("red", "circle", motion="collides", partner=1), Thing("blue", "star", motion="rests")
    ),
    "a partner without meeting": lambda: staged(Thing("red", "circle", motion="drifts", partner=1), BLUE),
    "a partner of no whole number": lambda: staged(Thing("red", "circle", motion="orbits", partner=1.0), BLUE),
    "light from above": lambda: staged(RED, light="top"),
    "a camera that climbs": lambda: staged(RED, camera="up"),
    "a cut by word": lambda: staged(RED, cut="no"),
    "drifts clockwise": lambda: staged(Thing("red", "circle", motion="drifts", direction="clockwise")),
    "orbits left": lambda: staged(Thing("red", "circle", motion="orbits", direction="left")),
    "rests left": lambda: staged(Thing("red", "circle", motion="rests", direction="left")),
    "bounces up": lambda: staged(Thing("red", "circle", motion="bounces", direction="up")),
    "grey beyond white": lambda: render(replace(spec(), grey=spec().grey * 9)),
    "grey below black": lambda: render(replace(spec(), grey=-spec().grey)),
    "a cut before the clip": lambda: render(replace(spec(), cut=spec().cut - 3)),
    "a cut after the clip": lambda: render(replace(spec(), cut=spec().cut + 99)),
    "a turn at NaN": lambda: render(replace(spec(), turn=spec().turn * NAN)),
    "one gravity for all": lambda: render(replace(spec(), gravity=spec().gravity[:1])),
    "one shot for two": lambda: render(replace(spec(), start=spec().start[:, :1])),
    "drawn at NaN": lambda: render(spec(), at=torch.full((2, 12, spec().shape.shape[1], 2), NAN)),
    "drawn at few places": lambda: render(spec(), at=torch.zeros(2, 12, 1, 2)),
    "an average of another network": lambda: EMA(net(1)).copy_to(net(2)),
    "weights of another network": lambda: EMA(net(2)).update(net(1), 0),
    "an average at step NaN": lambda: EMA(net()).update(net(), NAN),
    "y of whole numbers": lambda: solve("v", Linear(), X, 0.5, Y.long()),
    "y of complex numbers": lambda: solve("v", Linear(), X, 0.5, Y.to(torch.complex64)),
    "levels down to nothing": lambda: rho_grid(3, rho=0.01),
    "a negative sd": lambda: row("edm", Linear(), 0.5, sd=-1),
    "sd of nothing": lambda: solve("edm", Linear(), X, 0.5, Y, sd=0.0),
    "a complex level": lambda: Linear().alpha(torch.tensor(0.5 + 0.1j)),
    "a complex factor": lambda: expand(torch.tensor(0.5 + 1j), X),
    "no level": lambda: Linear().alpha(None),
    "a level in words": lambda: add_noise(Linear(), X, Y, "half"),
    "shares along features": lambda: slerp(X, Y, torch.tensor([0.1, 0.2])),
    "noise of whole numbers": lambda: slerp(X, Y.long(), 0.5),
    "a share beyond the end": lambda: slerp(X, Y, 1.5),
    "a complex grid": lambda: last(ddim(denoiser(), X, GRID.to(torch.complex64))),
    "weights of whole numbers": lambda: Mixture(torch.zeros(2, 2), 0.1, torch.tensor([0, 1])),
    "a mean of a table": lambda: average(torch.ones(2, 2)),
    "hits of a table": lambda: share(torch.tensor([[1, 0], [0, 0]]).bool()),
    "hits by halves": lambda: share(torch.tensor([0.5, 0.5, 0.5])),
    "negative hits": lambda: share(torch.tensor([-1, 1])),
    "no hits": lambda: share(torch.zeros(0)),
    "clips of bytes": lambda: watch((render(spec()) * 127.5 + 127.5).byte()),
    "clips in another range": lambda: watch(render(spec()) * 100),
    "modes of any width": lambda: mode_report(X, torch.zeros(1, 2), INF),
    "modes of no dimension": lambda: mode_report(torch.zeros(5, 0), torch.zeros(1, 0), 1.0),
    "fewer levels than losses": lambda: trained(lambda m, b, g: (denoising_loss(m, b, g)[0], torch.rand(3))),
    "no losses": lambda: trained(lambda m, b, g: (denoising_loss(m, b, g)[0][:0], torch.rand(0))),
    "empty batches": lambda: trained(denoising_loss, lambda step: (X[:0],)),
    "a tensor for a list": lambda: shuffled(X, 1),
    "nothing to shuffle": lambda: shuffled([], 4),
    "half a row a batch": lambda: shuffled([X], 2.5),
    "fewer rows than asked": lambda: fresh(lambda n, g: torch.randn(3, 2), 4)(0),
    "a source of nothing": lambda: fresh(lambda n, g: None, 4)(0),
    "a source of lists": lambda: fresh(lambda n, g: [[0.0]] * n, 4)(0),
    "nothing ahead": lambda: fresh(lambda n, g: torch.randn(n, 2), 4, ahead=0),
    "a denoiser that overwrites": lambda: last(ddim(spoiling, X.clone(), GRID, Linear())),
    "one level for eight points": lambda: net()(X, torch.zeros(1)),
    "one level for four images": lambda: UNet(1, 8, (1, 1), 1)(torch.randn(4, 1, 8, 8), torch.zeros(1)),
    "infinite weight": lambda: loss(
        Denoiser(net(), Linear(), "x0"), X, Y, torch.zeros(6), space="eps", weight=lambda t: t
    ),
    "shifted by next to nothing": lambda: shifted(torch.tensor(1.0), 1e-46),
    "a score of NaN": lambda: score(X, Y, NAN, 1.0),
    "a score next to no noise": lambda: score(X, Y, 1.0, 1e-30),
    "points beyond float32": lambda: exact_denoiser(grid25(), Linear())(X * 1e30, 0.5),
    "set of points beyond float32": lambda: exact_denoiser(FiniteSet(X), Linear())(X * 1e30, 0.5),
    "no density without width": lambda: grid25().score(X, 0.0, 0.0),
    "a network of no dimension": lambda: MLP(0),
    "a network of negative depth": lambda: MLP(2, depth=-1),
    "a U-Net of no channels": lambda: UNet(0),
    "a U-Net of negative blocks": lambda: UNet(1, 8, blocks=-1),
    "a U-Net with a size of nothing": lambda: UNet(1, mults=(1, 0)),
    "a DiT of no channels": lambda: DiT(0, 32, 1, 1),
    "an autoencoder of no latent": lambda: VAE(1, latent=0),
    "word numbers below none": lambda: Tokenizer(("<pad>", "a")).read(torch.tensor([[-1]])),
    "a list for a sentence": lambda: parse(["a red circle"]),
    "a gravity of nothing that falls": lambda: sample(2, torch.Generator(), World(motions=("rests",)), "gravity"),
    "a clip of a million frames": lambda: sample(2, torch.Generator(), frames=10**6),
    "an infinite row": lambda: loss(Denoiser(net(), VP(), "flow"), X, Y, torch.zeros(6)),
    "a network of whole numbers": lambda: loss(Denoiser(lambda x, ell, cond: x.long(), Linear()), X, Y, torch.rand(6)),
    "a rate of 400 digits": lambda: check_settings(lr=10**400),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_by_trying_is_refused(name):
    with pytest.raises((ValueError, FloatingPointError)) as caught:
        FOUND[name]()
    assert len(str(caught.value)) > 20


def test_numbers_of_numpy_and_of_torch_are_numbers():
    import numpy as np

    assert len(uniform_grid(np.int64(4))) == 5 and float(rho_grid(3, high=torch.tensor(0.5))[0]) == pytest.approx(0.5)
    assert VP(high=np.float32(10)).high == 10
    assert last(ddim(denoiser(), X, uniform_grid(np.int64(2)))).shape == X.shape


def test_samplers_run_in_inference_mode_and_under_vmap():
    with torch.inference_mode():
        assert last(heun(denoiser(), X * 1.0, GRID)).shape == X.shape
    exact = exact_denoiser(grid25(), Linear())
    together = torch.vmap(lambda x: last(ddim(exact, x, GRID)))(torch.stack([X, Y]))
    torch.testing.assert_close(together[1], last(ddim(exact, Y, GRID)))
