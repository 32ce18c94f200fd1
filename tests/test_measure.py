"""Numbers about samples: exact constructions, independent implementations, and mistakes planted in place."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional

from minidiff.data.fashion import load
from minidiff.measure import frechet as module
from minidiff.measure import neighbours
from minidiff.measure.frechet import FrechetReport, extrapolated, frechet, report
from minidiff.measure.modes import mode_report
from minidiff.measure.neighbours import nearest, precision_recall


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exactly(n: int, mean: Tensor, std: Tensor, seed: int) -> Tensor:
    """n rows whose *sample* mean is exactly `mean` and sample covariance exactly diag(std^2)."""
    x = torch.randn(n, len(mean), generator=generator(seed), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T * std + mean


# two Gaussians with a known distance: |mu|^2 + sum (std_x - std_y)^2
D = 16
STD_X = torch.linspace(1, -2, D, dtype=torch.float64).exp()
STD_Y = STD_X * (1 + 0.3 * torch.linspace(0, 1, D, dtype=torch.float64))
MEAN = 0.1 * STD_X
EXACT = float(MEAN.square().sum() + (STD_X - STD_Y).square().sum())


def pair(n: int, m: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, D, generator=g, dtype=torch.float64) * STD_X
    return x, torch.randn(m, D, generator=g, dtype=torch.float64) * STD_Y + MEAN


def test_frechet_of_diagonal_covariances_is_the_closed_form():
    x, y = exactly(200, torch.zeros(D), STD_X, 1), exactly(300, MEAN, STD_Y, 2)
    assert frechet(x, y) == pytest.approx(EXACT, abs=1e-10)
    assert frechet(y, x) == pytest.approx(EXACT, abs=1e-10)


@pytest.mark.parametrize("d", [1, 5, 64])
def test_frechet_agrees_with_a_matrix_square_root(d: int):
    g = generator(d)
    x = torch.randn(300, d, generator=g) @ torch.randn(d, d, generator=g)
    y = torch.randn(400, d, generator=g) @ torch.randn(d, d, generator=g) + 0.3
    a, b = x.double().numpy(), y.double().numpy()
    cov_a, cov_b = np.cov(a.T).reshape(d, d), np.cov(b.T).reshape(d, d)
    root = np.real(np.asarray(scipy.linalg.sqrtm(cov_a @ cov_b)))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet(x, y) == pytest.approx(float(expected), rel=1e-8)


def test_frechet_bears_singular_covariances():
    x, y = pair(500, 500, generator(3))
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)
    # the same features turned into 64 dimensions, where 48 directions are empty, as dead ReLUs leave them
    turn = torch.linalg.qr(torch.randn(64, D, generator=generator(4), dtype=torch.float64)).Q.T  # (16, 64)
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), abs=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(9), torch.zeros(9), "expected features"),
        (torch.zeros(9, 2, 2), torch.zeros(9, 2, 2), "expected features"),
        (torch.zeros(9, 2), torch.zeros(9, 3), "expected features"),
        (torch.zeros(1, 1), torch.zeros(9, 1), "first set has 1 samples of 1 features, expected at least 2"),
        (torch.zeros(9, 8), torch.zeros(8, 8), "second set has 8 samples of 8 features, expected at least 9"),
        (torch.zeros(9, 2), torch.full((9, 2), torch.inf), "second set holds nan or inf"),
        (torch.full((9, 2), torch.nan), torch.zeros(9, 2), "first set holds nan or inf"),
    ],
)
def test_frechet_refuses_what_it_cannot_measure(x: Tensor, y: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        frechet(x, y)


def test_the_raw_distance_is_biased_upwards_as_one_over_n():
    g = generator(4)
    bias = {n: np.mean([frechet(*pair(n, n, g)) for _ in range(200)]) - EXACT for n in (100, 200, 400)}
    assert bias[400] > 0.1 * EXACT
    assert bias[100] / bias[200] == pytest.approx(2, rel=0.15)
    assert bias[200] / bias[400] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("m", [800, 2400])
def test_the_interval_holds_the_exact_distance(m: int):
    g, n, runs = generator(5), 800, 60
    limits = [extrapolated(*pair(n, m, g)) for _ in range(runs)]
    value = np.array([limit.value for limit in limits])
    half = np.array([limit.high - limit.low for limit in limits]) / 2
    raw = np.mean([frechet(*pair(n, m, g)) for _ in range(runs)])
    assert np.mean(np.abs(value - EXACT) <= half) >= 0.85
    assert abs(value.mean() - EXACT) < 0.25 * (raw - EXACT)  # the bias is gone
    assert 2.1 < half.mean() / value.std() < 3.2  # it is as wide as it must be: the t quantile is 2.26


def test_the_interval_of_no_distance_reaches_zero():
    g = generator(6)
    limits = [extrapolated(pair(800, 800, g)[0], pair(800, 800, g)[0]) for _ in range(20)]
    assert sum(limit.low <= 0 <= limit.high for limit in limits) >= 17


def test_a_bootstrap_excludes_its_own_estimate():
    """The reason for the design above: resampling adds the bias of n samples once more."""

    def bootstrap(x: Tensor, y: Tensor, g: torch.Generator, times: int = 100) -> tuple[float, float]:
        def again(z: Tensor) -> Tensor:
            return z[torch.randint(len(z), (len(z),), generator=g)]

        low, high = np.percentile([frechet(again(x), again(y)) for _ in range(times)], [2.5, 97.5])
        return float(low), float(high)

    g = generator(7)
    x, y = torch.randn(1000, 48, generator=g), 1.05 * torch.randn(1000, 48, generator=g)
    exact, value, (low, high), limit = 48 * 0.05**2, frechet(x, y), bootstrap(x, y, g), extrapolated(x, y)
    assert exact < value < low < high  # it excludes the estimate, and the truth by more
    assert limit.low < exact < limit.high < value


def test_leaving_out_a_block_moves_no_row_to_another_part():
    x = torch.arange(1000.0).reshape(-1, 1)
    blocks = module._blocks(x, seed=0)
    assert blocks.shape == (10, 96, 1) and len(blocks.unique()) == 960
    gone = set(blocks[0].flatten().tolist())
    for k in module.FOLDS:
        for part, rest in zip(module._parts(blocks, k), module._parts(blocks[1:], k), strict=True):
            assert set(rest.flatten().tolist()) == set(part.flatten().tolist()) - gone


def test_the_order_of_rows_does_not_matter():
    x, y = pair(2000, 2000, generator(8))
    ordered = extrapolated(x[x[:, 0].argsort()], y[y[:, 0].argsort()])
    mixed = extrapolated(x, y)
    assert ordered.value == pytest.approx(mixed.value, abs=0.2 * EXACT)
    assert ordered.high - ordered.low < 3 * (mixed.high - mixed.low)
    assert extrapolated(x, y) == mixed and extrapolated(x, y, seed=1) != mixed


def test_report_says_everything_on_one_line():
    g = generator(9)
    fake, real = pair(800, 1200, g)
    other = pair(1, 3000, g)[1]
    found = report(fake, real, other)
    assert (found.n, found.m, found.value) == (800, 1200, frechet(fake, real))
    assert (found.limit, found.low, found.high) == extrapolated(fake, real)
    order = module._order(3000, seed=0)  # the null is at n, not at 3000: the mean over three disjoint draws
    draws = [frechet(other[order[i : i + 800]], real) for i in (0, 800, 1600)]
    assert found.null == pytest.approx(np.mean(draws)) and frechet(other, real) < found.null < found.value
    assert report(fake, real, other) == found
    assert str(FrechetReport(3.214, 10000, 10000, 2.9, 2.6, 3.2, 0.4)) == (
        "Frechet 3.21 at n=10000 (limit 2.9 [2.6, 3.2], real against real 0.4 at n=10000)"
    )
    assert "at n=800, m=1200 (" in str(found)
    with pytest.raises(ValueError, match="other_real has 799 rows, fake 800"):
        report(fake, real, other[:799])
    with pytest.raises(ValueError, match="has 335 samples of 16 features, expected at least 336"):
        report(fake[:335], real, other)


def test_the_distance_moves_under_damage_and_not_under_resampling():
    """Real images at 7x7, as 49 features, in thirds: one plays the generated images, whole and damaged."""
    images, labels = load("test", size=7)
    order, n = torch.randperm(len(images), generator=generator(10)), len(images) // 3
    third, real, other = (images[order[i * n : (i + 1) * n]] for i in range(3))

    def measured(fake: Tensor) -> FrechetReport:
        return report(fake.flatten(1), real.flatten(1), other.flatten(1))

    resampled = measured(third)
    assert resampled.low < 0 < resampled.high and resampled.value < 2 * resampled.null
    padded = functional.pad(third, (1, 1, 1, 1), mode="replicate")
    damaged = {
        "blur": functional.avg_pool2d(padded, 3, stride=1),
        "noise": third + 0.2 * torch.randn(third.shape, generator=generator(11)),
        "imbalance": third[labels[order[:n]] != 9],  # no ankle boots
    }
    for name, fake in damaged.items():
        found = measured(fake)
        assert found.low > 0 and found.value > 5 * found.null, f"{name}: {found}"


def rings(centres: list[float], n: int, seed: int, d: int = 8) -> Tensor:
    """n samples around each centre, 1000 times further apart than they are wide."""
    x = torch.randn(len(centres) * n, d, generator=generator(seed))
    x[:, 0] += torch.tensor(centres).repeat_interleave(n) * 1000
    return x


def test_precision_and_recall_of_exact_constructions():
    both = rings([0, 1], 200, seed=1)
    assert precision_recall(both, both) == (1, 1)
    assert precision_recall(rings([2, 3], 200, seed=2), both) == (0, 0)
    assert precision_recall(both[:200], both) == (1, 0.5)  # one mode of two: plausible, half missing
    assert precision_recall(both, both[:200]) == (0.5, 1)  # one mode too many
    precision, recall = precision_recall(rings([0], 200, seed=3), both)
    assert 0.7 < precision < 1 and 0.35 < recall < 0.5  # new samples of the same mode stay below


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_agree_with_the_definition(k: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbours, "CHUNK", 1100)  # several chunks, the last one short
    fake, real = torch.randn(40, 4, generator=generator(4)) * 1.2, torch.randn(60, 4, generator=generator(5))

    def inside(queries: Tensor, support: Tensor) -> float:
        radius = [sorted(float(torch.dist(s, o)) for o in support)[k] for s in support]
        balls = list(zip(support, radius, strict=True))
        return sum(any(float(torch.dist(q, s)) <= r for s, r in balls) for q in queries) / len(queries)

    assert precision_recall(fake, real, k) == pytest.approx((inside(fake, real), inside(real, fake)))


def test_nearest_agrees_with_brute_force(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbours, "CHUNK", 1100)
    x, pool = torch.rand(50, 1, 6, 6, generator=generator(6)), torch.rand(80, 1, 6, 6, generator=generator(7))
    x[7] = pool[31]
    distance, index = nearest(x, pool)
    brute = (x[:, None] - pool).square().sum((2, 3, 4)).sqrt()  # (50, 80)
    assert torch.equal(index, brute.argmin(1)) and distance.shape == index.shape == (50,)
    torch.testing.assert_close(distance, brute.amin(1))
    assert index[7] == 31 and distance[7] == 0
    pool = 1000 + 10 * pool  # digits are not lost far from the origin: 36 values off by 0.01 each
    assert nearest(pool + 1e-2, pool)[0] == pytest.approx([0.06] * 80, rel=0.05)


@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (torch.zeros(9, 2), torch.zeros(9, 3), 3, "rows of one shape"),
        (torch.zeros(0, 2), torch.zeros(9, 2), 3, "rows of one shape"),
        (torch.zeros(9, 1, 2), torch.zeros(9, 1, 2), 3, "flatten"),
        (torch.zeros(3, 2), torch.zeros(9, 2), 3, "k=3"),
        (torch.zeros(9, 2), torch.full((9, 2), torch.nan), 3, "second set holds nan or inf"),
    ],
)
def test_neighbours_refuse_what_they_cannot_measure(x: Tensor, y: Tensor, k: int, message: str):
    with pytest.raises(ValueError, match=message):
        precision_recall(x, y, k)
    if "k=" not in message and "flatten" not in message:
        with pytest.raises(ValueError, match=message):
            nearest(x, y)


GRID = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)) * 2  # (25, 2)


def mixture(n: int, seed: int, std: float = 0.1) -> Tensor:
    g = generator(seed)
    return GRID[torch.randint(25, (n,), generator=g)] + std * torch.randn(n, 2, generator=g)


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.0])
def test_exact_samples_land_in_modes_as_often_as_expected(radius: float):
    n = 40_000
    found = mode_report(mixture(n, 1), GRID, 0.1, radius)
    p = 1 - math.exp(-(radius**2) / 2)
    assert found.expected == pytest.approx(p, abs=1e-12)
    assert found.share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    one_d = mode_report(torch.randn(n, 1), torch.zeros(1, 1), 1.0, radius)
    assert one_d.expected == pytest.approx(math.erf(radius / math.sqrt(2)), abs=1e-12)


@pytest.mark.parametrize("n", [500, 1000, 10_000])
def test_exact_samples_cover_all_modes(n: int):
    assert all(mode_report(mixture(n, seed), GRID, 0.1).covered == 25 for seed in range(20))


def test_a_stray_sample_covers_nothing():
    x = torch.cat([GRID[:3].repeat_interleave(300, 0), GRID[3:4]])  # 901 samples, one in a fourth mode
    found = mode_report(x, GRID, 0.1)
    assert (found.covered, found.total, found.least, found.n) == (3, 25, 3, 901)
    assert found.counts == (300, 300, 300, 1) + (0,) * 21
    edge = torch.tensor([[0.29, 0.0], [0.31, 0.0], [1e37, 0.0]])  # in, out, and a sampler that ran away
    assert mode_report(edge, GRID, 0.1).counts == (1,) + (0,) * 24
    assert str(found) == (
        "3 of 25 modes covered (at least 3 of 901 samples each), 100.0% of samples in a mode (exact samples: 98.9%)"
    )


@pytest.mark.parametrize(
    ("x", "means", "std", "message"),
    [
        (torch.zeros(4, 3), GRID, 0.1, r"expected x \(N, D\)"),
        (torch.zeros(0, 2), GRID, 0.1, r"expected x \(N, D\)"),
        (torch.zeros(4, 2), GRID, 0.0, "std=0.0"),
        (torch.tensor([[torch.nan, 0], [1, 1]]), GRID, 0.1, "1 of 2 samples"),
    ],
)
def test_mode_report_refuses_what_it_cannot_measure(x: Tensor, means: Tensor, std: float, message: str):
    with pytest.raises(ValueError, match=message):
        mode_report(x, means, std)
