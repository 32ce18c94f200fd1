"""Schedules: levels and rates against formulas written a second time, exact ends, levels of every allowed shape."""

import math

import pytest
import torch

from minidiff.schedule import VP, Betas, Cosine, Karras, Linear, add_noise, ell, expand, rho_grid, shifted, uniform_grid

F64 = torch.float64
SCHEDULES = [Linear(), Cosine(), VP(), Karras(), Betas()]
B, C, F, H, W = 2, 3, 4, 5, 6  # all different, so that a mix-up of two axes cannot pass
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def vp_alpha(t: float) -> float:
    """exp(-1/2 integral of beta), the integral as a sum over midpoints (exact for a linear beta)."""
    return math.exp(-0.5 * sum(t / 10 * (0.1 + (i + 0.5) * t / 10 * 19.9) for i in range(10)))


FORMULAS = {
    Linear: lambda t: (1 - t, t),
    Cosine: lambda t: (math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)),
    VP: lambda t: (vp_alpha(t), math.sqrt(1 - vp_alpha(t) ** 2)),
    Karras: lambda t: (1.0, 80 * t),
}


@pytest.mark.parametrize("schedule", SCHEDULES[:4], ids=lambda s: type(s).__name__)
def test_levels_follow_their_formula(schedule):
    for t in (0.001, 0.1, 0.37, 0.5, 0.83, 0.999):
        got = schedule.alpha(torch.tensor(t, dtype=F64)), schedule.sigma(torch.tensor(t, dtype=F64))
        assert [float(v) for v in got] == pytest.approx(FORMULAS[type(schedule)](t), rel=1e-12)


def test_parameters_of_a_schedule_count():
    t = torch.tensor(0.5, dtype=F64)
    assert float(Karras(top=10).sigma(t)) == 5
    assert float(VP(low=0.2, high=4).alpha(t)) == pytest.approx(math.exp(-0.5 * (0.5 * 0.2 + 0.125 * 3.8)), rel=1e-12)


@pytest.mark.parametrize("schedule", [Betas(), Betas(steps=100, low=1e-3, high=0.2)])
def test_betas_is_ddpms_table_at_every_knot(schedule):
    alpha_bar, table = 1.0, []
    for k in range(schedule.steps):  # Ho et al. 2020, section 2: one product, in plain Python
        alpha_bar *= 1 - (schedule.low + (schedule.high - schedule.low) * k / (schedule.steps - 1))
        table.append(alpha_bar)
    table = torch.tensor(table, dtype=F64)
    for dtype, rel in ((F64, 1e-11), (torch.float32, 2e-5)):
        t = torch.arange(1, schedule.steps + 1).to(dtype) / schedule.steps
        torch.testing.assert_close(schedule.alpha(t).to(F64), table.sqrt(), rtol=rel, atol=0)
        torch.testing.assert_close(schedule.sigma(t).to(F64), (1 - table).sqrt(), rtol=rel, atol=0)


def test_betas_between_the_knots():
    schedule = Betas()
    knots = torch.arange(1, 1001, dtype=F64) / 1000
    between = ell(schedule, 0.75 * knots[:-1] + 0.25 * knots[1:])  # ell is linear there
    torch.testing.assert_close(between, 0.75 * ell(schedule, knots)[:-1] + 0.25 * ell(schedule, knots)[1:])
    below = torch.tensor([1e-9, 1e-5, 4e-4, 9.99e-4], dtype=F64)  # sigma^2 grows linearly to beta_1 = 1e-4
    torch.testing.assert_close(schedule.sigma(below) ** 2, 0.1 * below, rtol=1e-10, atol=0)


@each_schedule
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_ends_are_exact(schedule, dtype):
    t = torch.tensor([0.0, 1.0], dtype=dtype)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0
    if isinstance(schedule, Linear | Cosine):
        assert alpha[1] == 0 and sigma[1] == 1
    if isinstance(schedule, VP | Betas):
        assert 0.006 < alpha[1] < 0.007  # 0.00635 and 0.00658: neither reaches pure noise


@each_schedule
def test_noise_grows_and_variance_is_kept(schedule):
    t = torch.linspace(0, 1, 3001, dtype=F64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert ((sigma / alpha).diff() > 0).all() and (alpha.diff() <= 0).all()
    if isinstance(schedule, Cosine | VP | Betas):
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))


@each_schedule
def test_rates_are_the_slopes(schedule):
    t, h = (torch.arange(0, 1000, 7, dtype=F64) + 0.37) / 1000, 1e-7  # no knot of Betas within h
    for rate, f in zip(schedule.rates(t), (schedule.alpha, schedule.sigma), strict=True):
        torch.testing.assert_close(rate, (f(t + h) - f(t - h)) / (2 * h), rtol=1e-6, atol=1e-7)
    knots = torch.arange(2, 1001, dtype=F64) / 1000  # at a knot of Betas: the slope of the segment to its left
    torch.testing.assert_close(
        schedule.rates(knots)[1], (schedule.sigma(knots) - schedule.sigma(knots - h)) / h, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("schedule", [VP(), Betas()])
def test_the_rate_of_sigma_is_infinite_at_data(schedule):
    assert schedule.rates(torch.tensor([0.0, 0.5]))[1].isinf().tolist() == [True, False]


@each_schedule
def test_ell(schedule):
    t = torch.linspace(0.001, 0.999, 50, dtype=F64)
    log_ratio = torch.log(schedule.sigma(t) / schedule.alpha(t))
    torch.testing.assert_close(ell(schedule, t), log_ratio)
    ends = ell(schedule, torch.tensor([0.0, 1.0]))  # floored and clipped, never infinite
    assert ends[0] == -10
    if isinstance(schedule, Linear | Cosine):
        assert ends[1] == 10
    else:
        assert 4 < ends[1] < 6  # log 80 = 4.38 for Karras, 5.0 and 5.1 for VP and Betas


@each_schedule
@pytest.mark.parametrize("shape", [(), (B,), (B, F)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_shape_and_dtype_of_t_are_kept(schedule, shape, dtype):
    t = torch.full(shape, 0.3, dtype=dtype)
    for value in (schedule.alpha(t), schedule.sigma(t), *schedule.rates(t), ell(schedule, t)):
        assert value.shape == t.shape and value.dtype == dtype


# --- levels and data of every shape


@each_schedule
@pytest.mark.parametrize("shape", [(), (B,), (B, F)])
def test_add_noise_gives_every_token_its_own_level(schedule, shape):
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(shape, generator=generator, dtype=F64)
    x0, eps = torch.randn((2, B, C, F, H, W), generator=generator, dtype=F64)
    x_t = add_noise(schedule, x0, eps, t)
    levels = (t[:, None] if t.ndim == 1 else t).expand(B, F)
    for b in range(B):
        for f in range(F):
            alpha, sigma = float(schedule.alpha(levels[b, f])), float(schedule.sigma(levels[b, f]))
            torch.testing.assert_close(x_t[b, :, f], alpha * x0[b, :, f] + sigma * eps[b, :, f])


@pytest.mark.parametrize(
    "level, data, lined_up",
    [
        ((), (B, C, H, W), ()),
        ((B,), (B,), (B,)),
        ((B,), (B, 2), (B, 1)),
        ((B,), (B, C, H, W), (B, 1, 1, 1)),
        ((4,), (4, C, H, 4), (4, 1, 1, 1)),  # the trap: W = B, where plain broadcasting would pick W
        ((B, F), (B, C, F), (B, 1, F)),
        ((B, F), (B, C, F, H, W), (B, 1, F, 1, 1)),
        ((F, F), (F, F, F, F, F), (F, 1, F, 1, 1)),
    ],
)
def test_expand(level, data, lined_up):
    got = expand(torch.rand(level, dtype=F64), torch.zeros(data))
    assert got.shape == lined_up and got.dtype == torch.float32  # the dtype of the data


def test_expand_takes_rows_as_samples_and_columns_as_frames():
    value = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(expand(value, torch.zeros(3, 3, 3, 3, 3))[:, 0, :, 0, 0], value)


@pytest.mark.parametrize(
    "level, data",
    [
        ((W,), (B, C, F, H, W)),
        ((F,), (B, C, F, H, W)),
        ((1,), (B, C, H, W)),
        ((1,), ()),
        ((B, C), (B, C, F, H, W)),
        ((F, B), (B, C, F, H, W)),
        ((B, 1), (B, C, F, H, W)),
        ((B, 2), (B, 2)),
        ((B, 1, F), (B, C, F, H, W)),
    ],
)
def test_a_level_that_does_not_fit_is_named(level, data):
    with pytest.raises(ValueError) as error:
        expand(torch.rand(level), torch.zeros(data))
    assert str(level) in str(error.value) and str(data) in str(error.value)


def test_add_noise_refuses_data_and_noise_of_different_shapes():
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 3\)"):
        add_noise(Linear(), torch.zeros(2, 3), torch.zeros(2, 1), torch.tensor(0.5))


# --- grids


def test_uniform_grid():
    assert uniform_grid(4).tolist() == [1, 0.75, 0.5, 0.25, 0] and uniform_grid(4).dtype == F64
    assert uniform_grid(2, 0.2, 1).tolist() == [0.2, 0.6, 1]
    with pytest.raises(ValueError, match="n=0"):
        uniform_grid(0)


def test_shifted_levels_have_so_many_times_the_noise():
    t, linear = torch.linspace(0, 1, 21, dtype=F64), Linear()
    for by in (0.3, 1.0, 3.0):
        there = shifted(t, by)
        ratio, before = (linear.sigma(x[:-1]) / linear.alpha(x[:-1]) for x in (there, t))
        torch.testing.assert_close(ratio, by * before)
        assert there[[0, -1]].tolist() == [0, 1] and there.shape == t.shape
    for by in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="from 1e-06 to 1e"):
            shifted(t, by)


def test_rho_grid_is_edms_equation_5():
    n, low, high, rho = 18, 0.002, 80.0, 7
    steps = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    torch.testing.assert_close(80 * rho_grid(n), torch.tensor([*steps, 0.0], dtype=F64), rtol=1e-10, atol=1e-12)
    assert rho_grid(5, rho=1, low=0.2, high=0.8).tolist() == pytest.approx([0.8, 0.65, 0.5, 0.35, 0.2, 0])
    with pytest.raises(ValueError, match="n=1"):
        rho_grid(1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_data(dtype):
    """Alpha, cast to the data's type, would be 0, and every picture black: seen with uint8 images."""
    x0 = torch.randint(0, 2, (4, 1, 8, 8)).to(dtype)
    with pytest.raises(ValueError, match=r"x.float\(\) / 127.5 - 1"):
        add_noise(Linear(), x0, torch.randn(x0.shape), torch.rand(4))
    with pytest.raises(ValueError, match="expected floating point"):
        expand(torch.rand(4), x0)
