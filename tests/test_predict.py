"""Predictions: every row round-trips and means what its name says, losses convert, guidance commutes with the row."""

import pytest
import torch

from minidiff.data.toy import grid25, two_peaks
from minidiff.nn.mlp import MLP
from minidiff.nn.unet import UNet
from minidiff.predict import ROWS, Denoiser, det, exact_denoiser, guide, loss, on_schedule, row, score, solve
from minidiff.schedule import VP, Betas, Cosine, Karras, Linear, add_noise

F64 = torch.float64
SCHEDULES = [Linear(), Cosine(), VP(), Karras(), Betas()]
B, C, F, H, W = 2, 3, 4, 5, 6  # all different, so that a mix-up of two axes cannot pass
SHAPES = [(), (B,), (B, F)]
# Where alpha b = sigma a: nothing is hidden at t=0, nothing is left at t=1, or a rate is infinite
SINGULAR = [("x0", schedule, 0.0) for schedule in SCHEDULES]
SINGULAR += [("eps", Linear(), 1.0), ("eps", Cosine(), 1.0), ("flow", VP(), 0.0), ("flow", Betas(), 0.0)]

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
each_row = pytest.mark.parametrize("pred", ROWS)


def gauss(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def levels(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(9), dtype=F64) * 0.9 + 0.05


def by_token(fn, t, *xs):
    """fn(t, *xs) for each sample and frame alone, with one scalar level, put together again."""
    t = (t[:, None] if t.ndim == 1 else t).expand(B, F)
    frames = [[fn(t[b, f], *(x[b : b + 1, :, f : f + 1] for x in xs)) for f in range(F)] for b in range(B)]
    return torch.cat([torch.cat(one, 2) for one in frames])


class Net(torch.nn.Module):
    """A fixed network on data of any shape. It treats tokens alone, and hears level and label; `seen` is its input."""

    def forward(self, x, ell, cond=None):
        self.seen = x, ell, cond
        level = ell.to(x).reshape(len(x), 1, *ell.shape[1:], *[1] * (x.ndim - 1 - ell.ndim))
        label = 0 if cond is None else cond.to(x).reshape(-1, *[1] * (x.ndim - 1))
        return torch.sin(1.3 * x + 0.4 * level + label) + 0.2 * x.roll(1, -1)


# --- the rows


@each_schedule
@each_row
def test_round_trip(pred, schedule):
    t = torch.linspace(0.001, 0.999, 999, dtype=F64)
    x0, eps = gauss(999, 5), gauss(999, 5, seed=1)
    a, b = row(pred, schedule, t, sd=0.5)
    y = a[:, None] * x0 + b[:, None] * eps
    x0_hat, eps_hat = solve(pred, schedule, add_noise(schedule, x0, eps, t), t, y, sd=0.5)
    assert float((x0_hat - x0).abs().max()) < 1e-10 and float((eps_hat - eps).abs().max()) < 1e-10


@each_schedule
def test_rows_mean_what_they_say(schedule):
    t, x0, eps, h = levels(50), gauss(50), gauss(50, seed=1), 1e-7
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    y = {pred: a * x0 + b * eps for pred in ROWS for a, b in [row(pred, schedule, t, sd=0.5)]}
    assert torch.equal(y["x0"], x0) and torch.equal(y["eps"], eps)
    torch.testing.assert_close(y["v"], alpha * eps - sigma * x0)  # Salimans & Ho 2022
    slope = (add_noise(schedule, x0, eps, t + h) - add_noise(schedule, x0, eps, t - h)) / (2 * h)
    torch.testing.assert_close(y["flow"], slope, rtol=1e-5, atol=1e-6)  # the velocity of x_t along its path
    # edm: what c_skip x_t leaves to say, scaled by 1 / c_out; c_skip and c_out as EDM's table 1, in signal units
    ratio = sigma / alpha
    c_skip, c_out = 0.25 / (ratio**2 + 0.25), 0.5 * ratio / (ratio**2 + 0.25).sqrt()
    torch.testing.assert_close(y["edm"], (x0 - c_skip * (x0 + ratio * eps)) / c_out)


@each_schedule
def test_determinants_are_those_of_the_table(schedule):
    t = levels(50)
    alpha, sigma, (d_alpha, d_sigma) = schedule.alpha(t), schedule.sigma(t), schedule.rates(t)
    table = {"x0": -sigma, "eps": alpha, "v": alpha**2 + sigma**2, "flow": alpha * d_sigma - sigma * d_alpha}
    table["edm"] = -(0.25 * alpha**2 + sigma**2).sqrt() / 0.5
    for pred, value in table.items():
        torch.testing.assert_close(det(pred, schedule, t, sd=0.5), value)


@pytest.mark.parametrize("pred, schedule, where", SINGULAR, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_pairs_raise_by_name(pred, schedule, where, shape):
    t = torch.full(shape, 0.5, dtype=F64)
    t.view(-1)[-1] = where  # one bad level among good ones is enough
    x = gauss(B, C, F, H, W)
    with pytest.raises(ValueError, match=f"'{pred}' is singular on {type(schedule).__name__} at t={where:g} "):
        solve(pred, schedule, x, t, x)


@each_schedule
@each_row
def test_all_other_pairs_hold_at_both_ends(pred, schedule):
    for where in (0.0, 1.0):
        if (pred, schedule, where) not in SINGULAR:
            for value in solve(pred, schedule, gauss(4), torch.full((4,), where), gauss(4, seed=1)):
                assert value.isfinite().all()


def test_unknown_words_are_refused():
    for call in (
        lambda: row("noise", Linear(), torch.tensor(0.5)),
        lambda: Denoiser(Net(), Linear(), "noise"),
        lambda: loss(Denoiser(Net(), Linear()), gauss(2, 1), gauss(2, 1), levels(2), space="noise"),
    ):
        with pytest.raises(ValueError, match="'noise'.*x0, eps, v, flow, edm"):
            call()


@pytest.mark.parametrize("sd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_standard_deviation_must_be_positive(sd):
    with pytest.raises(ValueError, match="sd="):
        Denoiser(Net(), Linear(), sd=sd)


# --- the denoiser


def test_edm_row_is_edms_preconditioned_denoiser():
    """Karras et al. 2022, table 1: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), c_noise = ln(sigma)/4."""
    sd, net = 0.5, Net()
    sigma = torch.logspace(-2.5, 1.9, 40, dtype=F64)
    x = gauss(40, 3) * (sd**2 + sigma**2).sqrt()[:, None]
    c_skip = sd**2 / (sigma**2 + sd**2)
    c_out = sigma * sd / (sigma**2 + sd**2).sqrt()
    c_in = 1 / (sigma**2 + sd**2).sqrt()
    c_noise = sigma.log() / 4
    edm = c_skip[:, None] * x + c_out[:, None] * net(c_in[:, None] * x, (4 * c_noise).float())
    x0_hat = Denoiser(net, Karras(), "edm", sd)(x, sigma / 80)
    torch.testing.assert_close(x0_hat, edm, rtol=1e-6, atol=1e-6)  # ell reaches the network in float32
    torch.testing.assert_close(net.seen[1], (4 * c_noise).float())


@each_schedule
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_network_sees(schedule, shape):
    t, x, net, label = levels(*shape), gauss(B, C, F, H, W), Net(), torch.arange(B)
    Denoiser(net, schedule, "v", sd=0.3)(x, t, label)
    seen, ell, cond = net.seen
    assert ell.shape == (shape or (B,)) and ell.dtype == torch.float32 and cond is label
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.testing.assert_close(ell, (sigma / alpha).log().float().expand(ell.shape))
    scaled = by_token(lambda t, x: x / (0.09 * schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2).sqrt(), t, x)
    torch.testing.assert_close(seen, scaled)  # of unit variance when the data have the standard deviation sd


@each_schedule
@each_row
@pytest.mark.parametrize("shape", SHAPES)
def test_every_token_is_denoised_at_its_own_level(pred, schedule, shape):
    t, x, y, net = levels(*shape), gauss(B, C, F, H, W), gauss(B, C, F, H, W, seed=1), Net()
    both = torch.cat(solve(pred, schedule, x, t, y, 0.5), 1)  # x0_hat and eps_hat, side by side
    alone = by_token(lambda t, x, y: torch.cat(solve(pred, schedule, x, t, y, 0.5), 1), t, x, y)
    torch.testing.assert_close(both, alone)
    denoise = Denoiser(net, schedule, pred, 0.5)
    torch.testing.assert_close(denoise(x, t), by_token(lambda t, x: denoise(x, t), t, x))
    torch.testing.assert_close(denoise(x, t), solve(pred, schedule, x, t, denoise.output(x, t), 0.5)[0])


@each_schedule
@each_row
def test_where_nothing_is_hidden_the_answer_is_the_input(pred, schedule):
    denoise, x = Denoiser(Net(), schedule, pred), gauss(B, C, F, H, W)
    assert torch.equal(denoise(x, torch.tensor(0.0)), x) and torch.equal(denoise(x, 0.0), x)
    t = torch.tensor([[0, 0.5, 0, 0.9], [0.2, 0, 0.7, 0]], dtype=F64)
    safe = torch.where(t == 0, 0.4, t)
    held = (t == 0)[:, None, :, None, None]
    torch.testing.assert_close(denoise(x, t), torch.where(held, x, denoise(x, safe)))


def test_a_level_that_does_not_fit_is_named():
    x, denoise = gauss(B, C, F, H, W), Denoiser(Net(), Linear())
    for shape in [(W,), (F,), (B, C), (F, B), (1,)]:
        t = levels(*shape)
        for call in (
            lambda t=t: add_noise(Linear(), x, x, t),
            lambda t=t: solve("v", Linear(), x, t, x),
            lambda t=t: denoise(x, t),
            lambda t=t: loss(denoise, x, x, t),
            lambda t=t: score(x, x, 1 - t, t),
        ):
            with pytest.raises(ValueError) as error:
                call()
            assert str(shape) in str(error.value) and str(tuple(x.shape)) in str(error.value)


# --- the loss


@each_schedule
@each_row
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_in_the_space_of_every_row(pred, schedule, shape):
    t, x0, eps = levels(*shape), gauss(B, C, F, H, W), gauss(B, C, F, H, W, seed=1)
    denoise = Denoiser(Net(), schedule, pred, 0.5)
    x_t = add_noise(schedule, x0, eps, t)
    x0_hat, eps_hat = solve(pred, schedule, x_t, t, denoise.output(x_t, t), 0.5)
    each = (t[:, None] if t.ndim == 1 else t).expand(B, F)
    for space in ROWS:
        a, b = (v[:, None, :, None, None] for v in row(space, schedule, each, 0.5))
        by_hand = ((a * (x0_hat - x0) + b * (eps_hat - eps)) ** 2).mean((1, 2, 3, 4))  # the error of a x0 + b eps
        torch.testing.assert_close(loss(denoise, x0, eps, t, space=space), by_hand)
    torch.testing.assert_close(loss(denoise, x0, eps, t), loss(denoise, x0, eps, t, space=pred))


def test_a_loss_weight_multiplies_level_by_level():
    t, x0, eps, denoise = levels(B), gauss(B, C), gauss(B, C, seed=1), Denoiser(Net(), Linear())
    weighted = loss(denoise, x0, eps, t, weight=lambda t: 3 * t)
    torch.testing.assert_close(weighted, 3 * t * loss(denoise, x0, eps, t))
    space = loss(denoise, x0, eps, t, space="eps")  # v to eps on Linear is alpha / (alpha^2 + sigma^2), squared
    alpha, sigma = 1 - t, t
    by_weight = loss(denoise, x0, eps, t, weight=lambda t: (alpha / (alpha**2 + sigma**2)) ** 2)
    torch.testing.assert_close(space, by_weight)
    for bad in (lambda t: -t, lambda t: t / 0):
        with pytest.raises(ValueError, match="finite and not negative"):
            loss(denoise, x0, eps, t, weight=bad)


def test_the_label_counts_in_the_loss():
    t, x0, eps, net = levels(B), gauss(B, C), gauss(B, C, seed=1), Net()
    loss(Denoiser(net, Linear()), x0, eps, t, torch.ones(B))
    assert torch.equal(net.seen[2], torch.ones(B))


# --- guidance, the score, the exact denoiser


@each_schedule
@each_row
@pytest.mark.parametrize("shape", SHAPES)
def test_guidance_commutes_with_the_row(pred, schedule, shape):
    """Guiding x0_hat equals guiding the network's raw answer, whatever it predicts."""
    t, x, net, label, w = levels(*shape), gauss(B, C, F, H, W), Net(), torch.tensor([3, 1]), 2.5
    denoise = Denoiser(net, schedule, pred, 0.5)
    cond, uncond = denoise.output(x, t, label), denoise.output(x, t, torch.full_like(label, 7))
    raw = solve(pred, schedule, x, t, uncond + w * (cond - uncond), 0.5)[0]
    torch.testing.assert_close(guide(denoise, w, null=7)(x, t, label), raw)
    torch.testing.assert_close(raw, (1 + 1.5) * denoise(x, t, label) - 1.5 * denoise(x, t, torch.full_like(label, 7)))


def test_guidance_weights_zero_and_one():
    t, x, label, denoise = levels(B), gauss(B, C), torch.tensor([3, 1]), Denoiser(Net(), Linear())
    torch.testing.assert_close(guide(denoise, 1.0, null=7)(x, t, label), denoise(x, t, label))
    unconditional = denoise(x, t, torch.full_like(label, 7))
    for null in (7, torch.tensor(7)):
        torch.testing.assert_close(guide(denoise, 0.0, null=null)(x, t, label), unconditional)


def test_guidance_refuses_what_it_cannot_use():
    for w in (float("nan"), float("inf"), -float("inf"), -0.5, 1001.0):
        with pytest.raises(ValueError, match=f"w={w}"):
            guide(Denoiser(Net(), Linear()), w, null=0)
    with pytest.raises(ValueError, match="cond=labels"):
        guide(Denoiser(Net(), Linear()), 2.0, null=0)(gauss(B, C), levels(B))


def test_guidance_in_an_interval_level_by_level():
    """Guided inside, plain conditional outside, both ends included, for one level and for a level per sample."""
    denoise, x, label = Denoiser(Net(), Linear()), gauss(4, C), torch.tensor([3, 1, 2, 0])
    t = torch.tensor([0.1, 0.2, 0.5, 0.9], dtype=torch.float64)
    got = guide(denoise, 3.0, 7, (0.2, 0.5))(x, t, label)
    plain, full = denoise(x, t, label), guide(denoise, 3.0, 7)(x, t, label)
    torch.testing.assert_close(got, torch.stack([plain[0], full[1], full[2], plain[3]]))
    assert torch.equal(guide(denoise, 3.0, 7, (0.2, 0.5))(x, t[3], label), denoise(x, t[3], label))
    without = guide(denoise, 0.0, 7, (0.2, 0.5))(x, t, label)  # w=0 inside: no condition there, and only there
    free = denoise(x, t, torch.full((4,), 7))
    torch.testing.assert_close(without, torch.stack([plain[0], free[1], free[2], plain[3]]))
    for interval in ((0.5, 0.2), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="interval"):
            guide(denoise, 3.0, 7, interval)


def test_guidance_calls_the_network_only_where_it_must():
    calls = []

    def denoise(x, t, cond=None):
        calls.append(cond)
        return x

    x, label = gauss(B, C), torch.tensor([3, 1])
    for w, t, count in ((1.0, 0.5, 1), (0.0, 0.5, 1), (2.0, 0.5, 2), (2.0, 0.9, 1)):
        calls.clear()
        guide(denoise, w, 7, (0.2, 0.8) if t == 0.9 else (0.0, 1.0))(x, torch.tensor(t), label)
        assert len(calls) == count


@each_schedule
def test_score_is_tweedies_formula(schedule):
    source, t = two_peaks(), levels(20)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x = alpha[:, None] * source.sample(20, torch.Generator().manual_seed(0)) + sigma[:, None] * gauss(20, 1)
    exact = exact_denoiser(source, schedule)
    torch.testing.assert_close(score(x, exact(x, t), alpha, sigma), source.score(x, alpha, sigma), rtol=1e-6, atol=1e-8)
    video, guess, alpha, sigma = gauss(B, C, F, H, W), gauss(B, C, F, H, W, seed=1), levels(B, F), levels(B, F) ** 2
    by_hand = torch.stack([(alpha[:, f, None, None, None] * guess[:, :, f] - video[:, :, f]) for f in range(F)], 2)
    by_hand = torch.stack([by_hand[:, :, f] / sigma[:, f, None, None, None] ** 2 for f in range(F)], 2)
    torch.testing.assert_close(score(video, guess, alpha, sigma), by_hand)


def test_exact_denoiser_asks_the_source_at_the_levels_of_the_schedule():
    class Source:
        def posterior_mean(self, x_t, alpha, sigma):
            return alpha * 10 + sigma + x_t

    assert float(exact_denoiser(Source(), Karras())(torch.tensor(1.0), 0.5)) == 10 + 40 + 1


@pytest.mark.parametrize("net", [MLP(2, width=16, depth=1), UNet(1, 8, (1, 1), 1)], ids=lambda net: type(net).__name__)
def test_a_condition_that_nobody_hears_is_refused(net):
    x = torch.randn(3, 2) if isinstance(net, MLP) else torch.randn(3, 1, 8, 8)
    denoise, label = Denoiser(net, Linear()), torch.zeros(3, dtype=torch.long)
    for wrong in (lambda: denoise(x, 0.5, label), lambda: guide(denoise, 2.0, null=0)(x, 0.5, label)):
        with pytest.raises(ValueError, match="built without classes"):
            wrong()
    with pytest.raises(ValueError, match="built without classes"):
        guide(denoise, 2.0)
    with pytest.raises(ValueError, match="cannot be told cond"):
        exact_denoiser(two_peaks(), Linear())(torch.zeros(3, 1), 0.5, label)


def test_guide_finds_the_null_label_of_its_network():
    torch.manual_seed(0)
    denoise, x = Denoiser(MLP(2, width=16, depth=1, classes=3), Linear()), torch.randn(4, 2)
    label = torch.tensor([0, 1, 2, 2])
    assert torch.equal(guide(denoise, 2.0)(x, 0.5, label), guide(denoise, 2.0, null=3)(x, 0.5, label))


@pytest.mark.parametrize("own, other", [(Linear(), Cosine()), (Cosine(), Betas()), (Karras(), Linear())])
def test_a_denoiser_on_another_schedule_is_the_one_built_for_it(own, other):
    """The row x0 means the same everywhere: one network, told one schedule or the other, gives the same answers."""
    torch.manual_seed(0)
    net = MLP(2, width=16, depth=1, classes=3)
    x, t, label = torch.randn(9, 2), torch.linspace(0.05, 0.95, 9), torch.arange(9) % 3
    moved, built = on_schedule(Denoiser(net, own, "x0", 0.7), other), Denoiser(net, other, "x0", 0.7)
    torch.testing.assert_close(moved(x, t, label), built(x, t, label), rtol=1e-3, atol=1e-4)
    assert (moved(x, t, label) - Denoiser(net, own, "x0", 0.7)(x, t, label)).abs().max() > 1e-3  # the control
    assert moved.schedule is other and moved.null == 3
    exact = on_schedule(exact_denoiser(grid25(), own), other)
    torch.testing.assert_close(exact(x, t), exact_denoiser(grid25(), other)(x, t), rtol=1e-3, atol=1e-4)
