"""Samplers: equal to each other and to the papers where they must be, of the promised order, on every kind of grid."""

import math
from functools import partial

import pytest
import torch

from minidiff.data.toy import Mixture, grid25, two_peaks
from minidiff.nn.mlp import MLP
from minidiff.predict import ROWS, Denoiser, exact_denoiser, guide
from minidiff.sample import ddim, dpmpp_2m, euler, heun, last, prior, slerp
from minidiff.schedule import VP, Betas, Cosine, Karras, Linear, add_noise, rho_grid, uniform_grid

F64 = torch.float64
SCHEDULES = [Linear(), Cosine(), VP(), Karras(), Betas()]
SAMPLERS = {"ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
B, C, F, H, W = 2, 3, 4, 5, 6  # all different, so that a mix-up of two axes cannot pass
SMOOTH = Mixture(torch.tensor([[-1.0], [0.2], [1.3]], dtype=F64), torch.tensor([0.5, 0.35, 0.4]).double())

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
each_sampler = pytest.mark.parametrize("name", SAMPLERS)


def gauss(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Net(torch.nn.Module):
    """A fixed network on data of any shape that treats tokens (samples, frames) alone and hears their level."""

    def forward(self, x, ell, cond=None):
        level = ell.to(x).reshape(len(x), 1, *ell.shape[1:], *[1] * (x.ndim - 1 - ell.ndim))
        return torch.sin(1.3 * x + 0.4 * level) + (0 if cond is None else cond.to(x).reshape(-1, *[1] * (x.ndim - 1)))


# --- steps, against formulas written a second time


@each_schedule
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_step_is_the_gaussian_it_should_be(schedule, eta, monkeypatch):
    """Given x0, the noise of x_s has variance sigma_s^2 for every eta; eta=1 is q(x_s | x_t, x0) by conditioning."""
    grid, x0, eps, z = torch.tensor([0.7, 0.4], dtype=F64), gauss(6), gauss(6, seed=1), gauss(6, seed=2)
    (alpha_t, alpha_s), (sigma_t, sigma_s) = schedule.alpha(grid), schedule.sigma(grid)
    monkeypatch.setattr(torch, "randn", lambda *a, **k: z)
    x_t = alpha_t * x0 + sigma_t * eps
    x_s = last(ddim(lambda *_: x0, x_t, grid, schedule, eta=eta))
    step = alpha_t / alpha_s  # q(x_t | x_s) = N(step x_s, added)
    added = sigma_t**2 - step**2 * sigma_s**2
    var = 1 / (1 / sigma_s**2 + step**2 / added)
    if eta == 1:
        mean = var * (alpha_s * x0 / sigma_s**2 + step * x_t / added)
        torch.testing.assert_close(x_s, mean + var.sqrt() * z)
    fresh = eta * var.sqrt()
    torch.testing.assert_close(x_s, alpha_s * x0 + (sigma_s**2 - fresh**2).sqrt() * eps + fresh * z)


def test_ddim_with_eta_1_is_ddpms_posterior_over_1000_steps():
    """Ho et al. 2020, eq. 6-7, from the table of betas, with the same noise."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=F64)
    alpha_bar = (1 - beta).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=F64), alpha_bar])
    generator, x = seeded(3), gauss(7, 2)
    ours = ddim(lambda x, t, _: torch.tanh(x + t), x, uniform_grid(1000), Betas(), eta=1, generator=seeded(3))
    for k, (_, x_s, _) in zip(range(999, -1, -1), ours, strict=True):
        x0_hat = torch.tanh(x + (k + 1) / 1000)
        mean = before[k].sqrt() * beta[k] / (1 - alpha_bar[k]) * x0_hat
        mean = mean + (1 - beta[k]).sqrt() * (1 - before[k]) / (1 - alpha_bar[k]) * x
        var = (1 - before[k]) / (1 - alpha_bar[k]) * beta[k]
        x = mean + var.sqrt() * torch.randn(x.shape, generator=generator, dtype=F64)
        torch.testing.assert_close(x_s, x, rtol=1e-9, atol=1e-9)


@each_schedule
def test_ddim_is_euler_exactly_where_alpha_and_sigma_are_lines(schedule):
    grid = torch.tensor([0.95, 0.9, 0.6, 0.55, 0.2, 0.0], dtype=F64)
    denoise, x = Denoiser(Net(), schedule, "v"), gauss(8, 3)
    gap = float((last(ddim(denoise, x, grid, schedule)) - last(euler(denoise, x, grid, schedule))).abs().max())
    assert gap < 1e-12 if isinstance(schedule, Linear | Karras) else gap > 1e-3


def test_heun_is_edms_algorithm_1():
    """Karras et al. 2022, algorithm 1 without churn, in sigma, with the denoiser called as often as it should be."""
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return torch.tanh(x / (1 + sigma**2) ** 0.5)

    sigma, x = [80 * float(t) for t in rho_grid(18)], 80 * gauss(9, 2)
    ours = last(heun(lambda x, t, _: denoise(x, 80 * float(t)), x, rho_grid(18), Karras()))
    assert len(calls) == 35
    for now, after in zip(sigma[:-1], sigma[1:], strict=True):
        d = (x - denoise(x, now)) / now
        end = x + (after - now) * d
        if after:
            end = x + (after - now) * (d + (end - denoise(end, after)) / after) / 2
        x = end
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-10)


def test_2m_is_dpm_solver_pp_algorithm_2():
    """Lu et al. 2022 (2211.01095), algorithm 2, with steps of unequal length; the last step is of order 1."""
    grid, x, schedule = torch.tensor([0.95, 0.7, 0.62, 0.3, 0.28, 0.0], dtype=F64), gauss(9, 2), Cosine()
    ours = list(dpmpp_2m(lambda x, t, _: torch.tanh(x + t), x, grid, schedule))
    alpha, sigma = torch.cos(math.pi / 2 * grid), torch.sin(math.pi / 2 * grid)
    lam, guesses = (alpha / sigma).log(), []
    for i in range(1, 6):
        guesses.append(torch.tanh(x + grid[i - 1]))
        d, h = guesses[-1], lam[i] - lam[i - 1]
        if 1 < i < 5:
            r = (lam[i - 1] - lam[i - 2]) / h
            d = (1 + 1 / (2 * r)) * guesses[-1] - 1 / (2 * r) * guesses[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * torch.expm1(-h) * d
        for mine, theirs in zip(ours[i - 1], (grid[i], x, guesses[-1]), strict=True):
            torch.testing.assert_close(mine, theirs)


def quantile(u: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """Where the distribution function of x_t is u, by bisection."""
    low, high = torch.full_like(u, -30.0), torch.full_like(u, 30.0)
    spread = (alpha**2 * SMOOTH.stds**2 + sigma**2).sqrt()
    for _ in range(70):
        mid = (low + high) / 2
        below = torch.special.ndtr((mid[:, None] - alpha * SMOOTH.means[:, 0]) / spread).mean(1) < u
        low, high = torch.where(below, mid, low), torch.where(below, high, mid)
    return (low + high) / 2


@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=lambda s: type(s).__name__)
def test_orders_of_convergence(schedule):
    """In one dimension the flow keeps every point at its quantile, so the exact end point is known in closed form."""
    u, ends = torch.linspace(0.05, 0.95, 16, dtype=F64), torch.tensor([0.95, 0.05], dtype=F64)
    start, truth = (quantile(u, float(schedule.alpha(t)), float(schedule.sigma(t))) for t in ends)
    orders = {}
    for name, sampler in SAMPLERS.items():
        errors = []
        for n in (256, 512):
            x = last(sampler(exact_denoiser(SMOOTH, schedule), start[:, None], uniform_grid(n, 0.95, 0.05), schedule))
            errors.append(float((x[:, 0] - truth).square().mean().sqrt()))
        orders[name] = math.log2(errors[0] / errors[1])
    assert orders == pytest.approx({"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2}, abs=0.15)


# --- grids


def frames_grid() -> torch.Tensor:
    """(6,B,F): frames that fall from 1, are held at 0, are held at 0.37, start late, or stop early; (B,F) in (2,4)."""
    fall = torch.tensor([1, 0.8, 0.5, 0.3, 0.1, 0], dtype=F64)
    late, early = fall[[0, 0, 1, 2, 4, 5]], fall[[0, 1, 3, 4, 4, 4]]
    zero, level, pause = torch.zeros(6), torch.full((6,), 0.37), fall[[0, 1, 1, 1, 3, 5]]
    columns = [fall, zero, level, late, early, pause, zero, fall]
    return torch.stack([c.double() for c in columns], 1).reshape(6, B, F)


@each_sampler
@each_schedule
@pytest.mark.parametrize("pred", ROWS)
def test_pure_noise_is_finite_and_held_tokens_stay(pred, schedule, name):
    grid, x = frames_grid(), gauss(B, C, F, H, W) + 2
    singular = pred == "eps" and isinstance(schedule, Linear | Cosine)
    if singular:
        with pytest.raises(ValueError, match="'eps' is singular on .* at t=1 "):
            last(SAMPLERS[name](Denoiser(Net(), schedule, pred), x, grid, schedule))
        grid = grid.clamp(max=0.99)
    held = (grid == grid[0]).all(0)
    assert held.sum() == 3
    for eta in (0, 1) if name == "ddim" else (None,):
        sampler = partial(ddim, eta=eta, generator=seeded()) if eta is not None else SAMPLERS[name]
        before, moved = x, grid.diff(dim=0) != 0
        for i, (s, now, x0_hat) in enumerate(sampler(Denoiser(Net(), schedule, pred), x, grid, schedule)):
            assert torch.equal(s, grid[i + 1]) and now.dtype == F64 and now.isfinite().all() and x0_hat.isfinite().all()
            changed = (now != before).flatten(3).any(3).any(1)  # (B, F)
            assert torch.equal(changed, moved[i])
            before = now
        assert torch.equal(before.movedim(2, 1)[held], x.movedim(2, 1)[held])


@each_schedule
@pytest.mark.parametrize("name", [*SAMPLERS, "ancestral"])
def test_every_token_follows_its_own_grid(schedule, name, monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda shape, **k: torch.full(shape, 0.7, dtype=F64))
    sampler = partial(ddim, eta=1) if name == "ancestral" else SAMPLERS[name]
    denoise, x, grid = Denoiser(Net(), schedule, "v"), gauss(B, C, F, H, W), frames_grid()
    whole = last(sampler(denoise, x, grid, schedule))
    for b in range(B):
        for f in range(F):
            alone = last(sampler(denoise, x[b : b + 1, :, f : f + 1], grid[:, b, f], schedule))
            torch.testing.assert_close(whole[b : b + 1, :, f : f + 1], alone)
    columns = grid[:, :, 3]  # (6, B): a grid per sample
    whole = last(sampler(denoise, x, columns, schedule))
    for b in range(B):
        torch.testing.assert_close(whole[b : b + 1], last(sampler(denoise, x[b : b + 1], columns[:, b], schedule)))


@each_sampler
def test_the_condition_reaches_the_denoiser(name):
    x, grid = gauss(B, 3), uniform_grid(3)
    labels = torch.tensor([2, 5])
    seen = []

    def denoise(x, t, cond):
        seen.append(cond)
        return x / 2

    last(SAMPLERS[name](denoise, x, grid, Linear(), labels))
    assert seen and all(cond is labels for cond in seen)


@each_sampler
def test_inversion_comes_back(name):
    """Up from a small t and down again; what is lost shrinks with the step at the sampler's order."""
    denoise, x, lost = exact_denoiser(SMOOTH, Cosine()), gauss(16, 1), []
    for n in (50, 100):
        up = last(SAMPLERS[name](denoise, x, uniform_grid(n, 0.02, 0.98), Cosine()))
        down = last(SAMPLERS[name](denoise, up, uniform_grid(n, 0.98, 0.02), Cosine()))
        lost.append(float((down - x).abs().max()))
    assert lost[1] < (0.35 if name in ("heun", "dpmpp_2m") else 0.7) * lost[0] and lost[1] < 0.1


WRONG_GRIDS = {
    "shape \\(1,\\)": torch.tensor([1.0]),
    "shape \\(\\)": torch.tensor(1.0),
    "shape \\(3, 2, 4, 1\\)": torch.zeros(3, 2, 4, 1),
    r"level of shape \(3,\).*data of shape \(2, 3, 4\)": torch.zeros(4, 3),
    r"level of shape \(2, 3\).*data of shape \(2, 3, 4\)": torch.zeros(4, 2, 3),
    "got nan": torch.tensor([1.0, float("nan"), 0.0]),
    "got 0 to 1.5": torch.tensor([1.5, 0.5, 0.0]),
    "got -0.1 to 1": torch.tensor([1.0, 0.5, -0.1]),
    "not monotone": torch.tensor([1.0, 0.2, 0.5]),
    "not monotone.*": torch.tensor([[1.0, 0.2], [0.5, 0.5]]),
    "above t=0": torch.tensor([0.0, 0.5, 1.0]),
}


@each_sampler
@pytest.mark.parametrize("message", WRONG_GRIDS)
def test_a_wrong_grid_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        next(SAMPLERS[name](lambda x, *_: x, gauss(B, 3, 4), WRONG_GRIDS[message], Linear()))


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_eta_out_of_range_is_refused(eta):
    with pytest.raises(ValueError, match=f"eta={eta}"):
        next(ddim(lambda x, *_: x, gauss(B, 3), uniform_grid(2), Linear(), eta=eta))


def test_inversion_with_fresh_noise_is_refused():
    with pytest.raises(ValueError, match="eta=0.5 on a rising grid"):
        next(ddim(lambda x, *_: x, gauss(B, 3), uniform_grid(2, 0.1, 1), Linear(), eta=0.5))


# --- seeds, the prior, the end


@each_schedule
def test_the_prior_is_noise_at_sigma(schedule):
    x = prior(schedule, (20000, 2), seeded(1))
    assert x.dtype == torch.float32 and x.shape == (20000, 2)
    assert float(x.std()) == pytest.approx(float(schedule.sigma(torch.tensor(1.0))), rel=0.02)
    torch.testing.assert_close(prior(Karras(), (5,), seeded(1), t=0.25), 20 * torch.randn(5, generator=seeded(1)))


def test_seeds_make_samples_reproducible():
    def sample(seed):
        generator = seeded(seed)
        x = prior(Linear(), (4, 2), generator)
        return last(ddim(lambda x, t, _: torch.tanh(x), x, uniform_grid(5, 0.9), Linear(), eta=1, generator=generator))

    assert torch.equal(sample(1), sample(1)) and not torch.equal(sample(1), sample(2))
    torch.manual_seed(0)
    first = prior(Linear(), (3,))
    torch.manual_seed(0)
    assert torch.equal(first, prior(Linear(), (3,)))  # without a generator: torch's own


def test_samples_have_the_mean_and_spread_of_the_source():
    """End to end, from noise to the mixture, with every sampler: mean 0.167, standard deviation 1.03."""
    for name, sampler in SAMPLERS.items():
        for schedule in (Linear(), Betas()):
            x = last(sampler(exact_denoiser(SMOOTH, schedule), gauss(2000, 1), uniform_grid(40), schedule))
            assert float(x.mean()) == pytest.approx(float(SMOOTH.means.mean()), abs=0.1), name
            assert float(x.std()) == pytest.approx(SMOOTH.sd, abs=0.06), name


def test_samplers_need_no_gradient_and_last_needs_a_step():
    net = torch.nn.Linear(2, 2)
    for sampler in SAMPLERS.values():
        x = last(sampler(lambda x, *_: net(x), torch.randn(4, 2), uniform_grid(2), Linear()))
        assert not x.requires_grad
    with pytest.raises(ValueError, match="no step"):
        last(iter(()))


def test_noise_then_one_exact_step_back():
    """With the truth for a denoiser every sampler returns it in one step to t=0."""
    x0, eps = gauss(B, C, F, H, W), gauss(B, C, F, H, W, seed=1)
    for schedule in SCHEDULES:
        x_t = add_noise(schedule, x0, eps, torch.tensor(0.6, dtype=F64))
        for sampler in SAMPLERS.values():
            end = last(sampler(lambda *_: x0, x_t, torch.tensor([0.6, 0.0], dtype=F64), schedule))
            if sampler in (ddim, dpmpp_2m) or isinstance(schedule, Linear | Karras):
                torch.testing.assert_close(end, x0)


def test_slerp_stays_on_the_arc():
    """Against the closed form for orthogonal vectors, its ends, its length, and the chord, which is too short."""
    a, b = torch.zeros(2, 1, 4, 4, dtype=torch.float64), torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    a[:, 0, 0, 0], b[:, 0, 1, 1] = 3.0, 3.0
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = torch.tensor(share * torch.pi / 2, dtype=torch.float64)
        torch.testing.assert_close(slerp(a, b, share), angle.cos() * a + angle.sin() * b, rtol=1e-9, atol=1e-9)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 784, generator=generator)
    middle, chord = slerp(a, b, 0.5).norm(dim=1), ((a + b) / 2).norm(dim=1)
    assert (middle / a.norm(dim=1)).sub(1).abs().max() < 0.05 and (chord / a.norm(dim=1)).max() < 0.8
    torch.testing.assert_close(slerp(a, a, 0.3), a, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="must be equal"):
        slerp(a, b[:, :5], 0.5)


@each_sampler
def test_one_call_gives_the_posterior_mean(name):
    """A grid of a single step from t=1 to 0 lands on x0_hat: along straight lines, whatever the sampler."""
    source, schedule = two_peaks(), Linear()
    exact, x = exact_denoiser(source, schedule), prior(schedule, (5, 1), torch.Generator().manual_seed(0)).double()
    end = last(SAMPLERS[name](exact, x, uniform_grid(1), schedule))
    torch.testing.assert_close(end, exact(x, torch.tensor(1.0, dtype=F64)), rtol=1e-6, atol=1e-6)


# --- a sampler walks on its denoiser's schedule ----------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ddim, euler, heun, dpmpp_2m])
def test_the_denoiser_brings_its_schedule(sampler):
    source, x = grid25(), 40 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    for schedule in (Karras(), Linear()):
        denoise = exact_denoiser(source, schedule)
        told = last(sampler(denoise, x, uniform_grid(9), schedule))
        assert torch.equal(last(sampler(denoise, x, uniform_grid(9))), told)
        plain = last(sampler(lambda x_t, t, cond=None: denoise(x_t, t), x, uniform_grid(9), schedule))  # noqa: B023
        assert torch.equal(plain, told)
    with pytest.raises(ValueError, match=r"lives on Linear\(\), the sampler was told Betas"):
        last(sampler(denoise, x, uniform_grid(9), Betas()))
    with pytest.raises(ValueError, match="plain function, which knows no schedule"):
        last(sampler(lambda x_t, t, cond=None: x_t, x, uniform_grid(9)))


def test_a_partial_does_not_hide_the_schedule():
    denoise = exact_denoiser(grid25(), Linear())
    with pytest.raises(ValueError, match="leave the schedule out"):
        last(heun(partial(denoise), torch.randn(4, 2), uniform_grid(3), Cosine()))


def test_equal_schedules_are_one_and_their_settings_count():
    denoise, x = exact_denoiser(grid25(), Betas()), torch.randn(4, 2)
    last(ddim(denoise, x, uniform_grid(2), Betas()))
    for other in (Betas(steps=500), Betas(high=0.03), Karras(40.0)):
        with pytest.raises(ValueError, match="leave the schedule out"):
            last(ddim(denoise, x, uniform_grid(2), other))


def test_networks_and_guided_denoisers_know_their_schedule():
    torch.manual_seed(0)
    labelled = Denoiser(MLP(2, width=16, depth=1, classes=3), Cosine())
    x, labels = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    for denoise in (labelled, guide(labelled, 2.0)):
        assert torch.isfinite(last(heun(denoise, x, uniform_grid(3), cond=labels))).all()
        with pytest.raises(ValueError, match="leave the schedule out"):
            last(heun(denoise, x, uniform_grid(3), Linear(), cond=labels))
