"""Toy sources: density, score and denoiser against integrals, gradients and brute force."""

import math

import pytest
import torch

from minidiff.data import stamps
from minidiff.data.toy import FiniteSet, Mixture, grid25, swiss_roll, two_peaks

F64 = torch.float64
ONE_D = Mixture(
    torch.tensor([[-1.2], [0.1], [0.9]], dtype=F64),
    torch.tensor([0.3, 0.1, 0.5], dtype=F64),
    torch.tensor([0.2, 0.5, 0.3], dtype=F64),
)
THREE_D = Mixture(
    torch.tensor([[0.5, -1, 0.2], [-0.3, 0.4, 1.0]], dtype=F64),
    torch.tensor([0.4, 0.9], dtype=F64),
    torch.tensor([0.35, 0.65], dtype=F64),
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(x: torch.Tensor, mean: torch.Tensor | float, std: float) -> torch.Tensor:
    return torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def data_density(x0: torch.Tensor) -> torch.Tensor:
    """The density of ONE_D, term by term."""
    return sum(w * normal(x0, m, s) for w, m, s in [(0.2, -1.2, 0.3), (0.5, 0.1, 0.1), (0.3, 0.9, 0.5)])


@pytest.mark.parametrize("alpha, sigma", [(1.0, 0.05), (0.8, 0.6), (0.3, 0.95), (0.0, 1.0), (1.0, 7.0)])
def test_mixture_against_integrals(alpha, sigma):
    """Bayes' rule by the trapezium rule: p(x0 | x_t) is p(x0) N(x_t; alpha x0, sigma^2), normalised."""
    x0 = torch.linspace(-6, 6, 6001, dtype=F64)
    x_t = torch.linspace(-2, 2, 9, dtype=F64)
    joint = data_density(x0) * normal(x_t[:, None], alpha * x0, sigma)  # (9, 6001)
    evidence = torch.trapezoid(joint, x0)
    mean = torch.trapezoid(joint * x0, x0) / evidence
    var = torch.trapezoid(joint * (x0 - mean[:, None]) ** 2, x0) / evidence
    torch.testing.assert_close(ONE_D.posterior_mean(x_t[:, None], alpha, sigma)[:, 0], mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ONE_D.log_prob(x_t[:, None], alpha, sigma), evidence.log(), rtol=1e-6, atol=1e-7)
    r, means, stds = ONE_D.parts(x_t[:, None], alpha, sigma)
    torch.testing.assert_close(r.sum(1), torch.ones(9, dtype=F64))
    total = (r * (stds**2 + means[:, :, 0] ** 2)).sum(1) - (r * means[:, :, 0]).sum(1) ** 2
    torch.testing.assert_close(total, var, rtol=1e-5, atol=1e-7)


def test_log_prob_integrates_to_one():
    x = torch.linspace(-6, 6, 4001, dtype=F64)
    assert float(torch.trapezoid(ONE_D.log_prob(x[:, None]).exp(), x)) == pytest.approx(1, abs=1e-7)
    flat = Mixture(torch.tensor([[0.2, -0.4], [0.5, 1.0]], dtype=F64), torch.tensor([0.3, 0.6]))
    axis = torch.linspace(-5, 5, 301, dtype=F64)
    density = flat.log_prob(torch.cartesian_prod(axis, axis), 0.8, 0.5).exp().reshape(301, 301)
    assert float(torch.trapezoid(torch.trapezoid(density, axis), axis)) == pytest.approx(1, abs=1e-6)


def test_score_is_the_gradient_and_gives_the_denoiser():
    """In three dimensions, with a level for each point: autograd, then Tweedie's formula."""
    x = torch.randn((20, 3), generator=seeded(), dtype=F64).requires_grad_()
    alpha, sigma = torch.rand((2, 20), generator=seeded(1), dtype=F64) + 0.1
    gradient = torch.autograd.grad(THREE_D.log_prob(x, alpha, sigma).sum(), x)[0]
    x = x.detach()
    torch.testing.assert_close(THREE_D.score(x, alpha, sigma), gradient)
    tweedie = (x + sigma[:, None] ** 2 * gradient) / alpha[:, None]
    torch.testing.assert_close(THREE_D.posterior_mean(x, alpha, sigma), tweedie)
    torch.testing.assert_close(THREE_D.score(x), THREE_D.score(x, 1.0, 0.0))  # the defaults: the data itself


def test_mixture_levels_are_those_of_each_point():
    x, alpha, sigma = torch.randn((5, 3), generator=seeded(), dtype=F64), torch.rand(5) + 0.1, torch.rand(5) + 0.1
    for method in (THREE_D.posterior_mean, THREE_D.log_prob, THREE_D.score):
        whole = method(x, alpha, sigma)
        for i in range(5):
            torch.testing.assert_close(whole[i : i + 1], method(x[i : i + 1], alpha[i], sigma[i]))


def test_mixture_samples():
    x = THREE_D.sample(100_000, seeded())
    assert x.shape == (100_000, 3) and x.dtype == F64
    mean = 0.35 * THREE_D.means[0] + 0.65 * THREE_D.means[1]
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.015)
    second = 0.35 * (THREE_D.means[0] ** 2 + 0.4**2) + 0.65 * (THREE_D.means[1] ** 2 + 0.9**2)
    torch.testing.assert_close((x**2).mean(0), second, rtol=0, atol=0.03)
    assert THREE_D.sd == pytest.approx(float((second - mean**2).mean().sqrt()), rel=1e-6)
    assert float((two_peaks().sample(20_000, seeded()) > 0).double().mean()) == pytest.approx(0.3, abs=0.015)
    assert torch.equal(THREE_D.sample(9, seeded(1)), THREE_D.sample(9, seeded(1)))


def test_the_usual_sources():
    assert sorted(map(tuple, grid25().means.tolist())) == [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
    assert grid25(0.5, 0.1).means.max() == 1 and grid25(0.5, 0.1).sample(3).shape == (3, 2)
    assert torch.equal(grid25(0.5, 0.1).stds, torch.full((25,), 0.1))
    assert two_peaks().means.tolist() == [[-1], [1]] and two_peaks(0.3).stds.tolist() == pytest.approx([0.3, 0.3])


def test_swiss_roll_is_a_spiral():
    points = swiss_roll(400, seed=3)
    assert torch.equal(points, swiss_roll(400, seed=3)) and not torch.equal(points, swiss_roll(400, seed=4))
    radius = points.norm(dim=1)
    assert points.shape == (400, 2) and radius.max() <= 1 and radius.min() >= 1 / 3
    # the angle is the radius, up to whole turns
    turns = (torch.atan2(points[:, 1], points[:, 0]) - 4.5 * math.pi * radius) / (2 * math.pi)
    assert float((turns - turns.round()).abs().max()) < 1e-4


def test_swiss_roll_is_even_along_the_arc():
    inner = swiss_roll(20_000).square().sum(1) < (1 + 1 / 9) / 2  # arc length grows as radius^2: half of it is inside
    assert float(inner.double().mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.zeros(3), 0.1), r"means of shape \(3,\)"),
        ((torch.zeros(2, 1), 0.0), "std must be positive"),
        ((torch.zeros(2, 1), float("nan")), "std must be positive"),
        ((torch.zeros(2, 1), torch.tensor([0.1, -0.1])), "std must be positive"),
        ((torch.zeros(2, 1), 0.1, torch.tensor([0.5, 0.6])), r"shape \(2,\), be 0 or more and sum to 1"),
        ((torch.zeros(2, 1), 0.1, torch.tensor([0.5, 0.3, 0.2])), r"shape \(2,\), be 0 or more and sum to 1"),
    ],
)
def test_a_wrong_mixture_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(*arguments)


@pytest.mark.parametrize("source", [THREE_D, FiniteSet(torch.randn(4, 3))], ids=["mixture", "finite"])
@pytest.mark.parametrize("shape", [(3,), (1, 2), (2, 1)])
def test_levels_that_do_not_fit_are_named(source, shape):
    for levels in ((torch.full(shape, 0.5), 0.5), (0.5, torch.full(shape, 0.5))):
        with pytest.raises(ValueError, match="alpha or sigma of shape") as error:
            source.posterior_mean(torch.zeros(2, 3), *levels)
        assert str(shape) in str(error.value) and "(2, 3)" in str(error.value)


# --- finite sets


@pytest.mark.parametrize("shape", [(2,), (1, 3, 2)])
def test_finite_set_against_brute_force(shape):
    points = torch.randn((7, *shape), generator=seeded(), dtype=F64)
    x_t = torch.randn((5, *shape), generator=seeded(1), dtype=F64)
    alpha, sigma = torch.rand((2, 5), generator=seeded(2), dtype=F64) + 0.2

    def by_hand(x, alpha, sigma):
        weights = [math.exp(-float(((x - alpha * p) ** 2).sum()) / (2 * float(sigma) ** 2)) for p in points]
        return sum(w * p for w, p in zip(weights, points, strict=True)) / sum(weights)

    source = FiniteSet(points)
    each = torch.stack([by_hand(*one) for one in zip(x_t, alpha, sigma, strict=True)])
    torch.testing.assert_close(source.posterior_mean(x_t, alpha, sigma), each)
    one = torch.stack([by_hand(x, 0.6, 0.8) for x in x_t])
    torch.testing.assert_close(source.posterior_mean(x_t, 0.6, 0.8), one)
    torch.testing.assert_close(source.posterior_weights(x_t, 0.6, 0.8).sum(1), torch.ones(5, dtype=F64))


def test_finite_set_without_noise_is_the_nearest_point():
    source = FiniteSet(torch.tensor([[0.0, 0], [1, 0], [0, 3]]))
    x_t = torch.tensor([[0.3, 0.2], [0.4, 0.1], [0.2, 0.9]])
    assert source.posterior_mean(x_t, 1.0, 0.0).tolist() == [[0, 0], [0, 0], [0, 0]]
    assert source.posterior_mean(x_t, 0.5, 0.0).tolist() == [[1, 0], [1, 0], [0, 3]]  # alpha shrinks the points
    mixed = source.posterior_mean(x_t, torch.tensor([1.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 1e6]))
    torch.testing.assert_close(mixed, torch.tensor([[0, 0], [1, 0], [1 / 3, 1]]), rtol=1e-4, atol=1e-4)


def test_finite_set_is_a_mixture_of_vanishing_width():
    points = torch.randn((6, 2), generator=seeded(), dtype=F64)
    x = torch.randn((9, 2), generator=seeded(1), dtype=F64)
    torch.testing.assert_close(
        FiniteSet(points).posterior_mean(x, 0.7, 0.4), Mixture(points, 1e-6).posterior_mean(x, 0.7, 0.4)
    )


def test_finite_set_samples_its_points():
    source = FiniteSet(torch.arange(8.0).reshape(4, 1, 2))
    x = source.sample(4000, seeded())
    assert x.shape == (4000, 1, 2) and torch.equal(x[:, 0, 1], x[:, 0, 0] + 1)
    shares = torch.bincount((x[:, 0, 0] / 2).long(), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.03)
    assert source.sd == pytest.approx(math.sqrt(5))
    for points in (torch.zeros(3), torch.zeros(0, 2)):
        with pytest.raises(ValueError, match="expected .N, ..."):
            FiniteSet(points)


def test_points_of_whole_numbers_are_refused():
    """Alpha, cast to their type, would be 0 or 1: NaN came back."""
    with pytest.raises(ValueError, match="dtype int64: expected floating point"):
        grid25().posterior_mean(torch.zeros(3, 2, dtype=torch.long), 0.6, 0.8)


def test_pages_of_the_colouring_book():
    """Each shape once in colour and one once in black; the twin has the shape of the tile that asks, and the answer."""
    book = stamps.pages(200, torch.Generator().manual_seed(0))
    assert book.images.shape == (200, 3, 48, 48) and (book.asks != book.twin).all()
    tiles = book.images.unflatten(3, (8, 6)).unflatten(2, (8, 6)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    every, ink = torch.arange(200), (tiles < 0.99).any(2)  # (N, 64, 6, 6): where a tile is not white
    assert torch.equal(ink[every, book.asks], ink[every, book.twin])
    assert (ink.flatten(2).any(2).sum(1) == 7).all()
    black, twin = tiles[every, book.asks], tiles[every, book.twin]
    assert (black.amin((1, 2, 3)) < -0.8).all() and torch.equal(black[:, 0], black[:, 1])
    colours = 2 * torch.tensor(list(stamps.COLOURS.values())) - 1
    shown = twin.flatten(2).masked_fill(~ink[every, book.twin].flatten(1)[:, None], 0).sum(2)
    torch.testing.assert_close(shown / ink[every, book.twin].sum((1, 2))[:, None], colours[book.answer])
    assert len({tuple(shape.flatten().tolist()) for shape in stamps.outlines()}) == 6
    for counts, parts in ((book.answer.bincount(minlength=6), 6), (book.asks.div(8).long().bincount(minlength=8), 8)):
        assert (counts - 200 / parts).abs().max() < 4 * (200 / parts) ** 0.5  # each as likely as any other
    assert torch.equal(stamps.pages(200, torch.Generator().manual_seed(0)).images, book.images)
    with pytest.raises(ValueError, match="n=0"):
        stamps.pages(0, torch.Generator())
