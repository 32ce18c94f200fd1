"""Our samplers against diffusers' schedulers: the same denoiser, the same levels, the same noise.

Conventions. Their timestep i counts from 0, so it is our t = (i+1)/1000. "Trailing" spacing visits 999, 979, ..., 19
and then the data, which is `uniform_grid(50)`. Their table is float32; where they compute in float64 it is replaced by
the same table in float64, so that the comparison is sharp.
"""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from minidiff.data.toy import Mixture
from minidiff.predict import exact_denoiser, row
from minidiff.sample import ddim, dpmpp_2m, euler
from minidiff.schedule import Betas, Linear, uniform_grid

F64 = torch.float64
SOURCE = Mixture(torch.tensor([[-0.8, 0.3], [0.9, 0.6], [0.1, -1.0]], dtype=F64), 0.2)
TABLE = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
ALPHA_BAR = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)
each_output = pytest.mark.parametrize("pred, theirs", [("eps", "epsilon"), ("v", "v_prediction"), ("x0", "sample")])


def start() -> torch.Tensor:
    return torch.randn((40, 2), generator=torch.Generator().manual_seed(5), dtype=F64)


def network(pred, schedule, x, t):
    """What a perfect network with this row would say."""
    t = torch.tensor(t, dtype=F64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x0_hat = SOURCE.posterior_mean(x, alpha, sigma)
    a, b = row(pred, schedule, t)
    return a * x0_hat + b * (x - alpha * x0_hat) / sigma


def run(scheduler, pred, schedule, **options):
    """The states that diffusers' loop passes through, from t=1 to the data."""
    x, states = start(), []
    for i in scheduler.timesteps:
        t = (float(i) + 1) / 1000 if isinstance(schedule, Betas) else float(i) / 1000
        x = scheduler.step(network(pred, schedule, x, t), i, x, **options, return_dict=False)[0]
        states.append(x)
    return torch.stack(states)


def ours(steps):
    return torch.stack([x for _, x, _ in steps])


def test_the_tables_agree():
    theirs = DDPMScheduler(**TABLE).alphas_cumprod.double()
    torch.testing.assert_close(Betas().alpha(torch.arange(1, 1001, dtype=F64) / 1000) ** 2, theirs, rtol=1e-4, atol=0)


@each_output
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(pred, theirs, eta):
    scheduler = DDIMScheduler(**TABLE, clip_sample=False, prediction_type=theirs, timestep_spacing="trailing")
    scheduler.alphas_cumprod = ALPHA_BAR
    scheduler.set_timesteps(50)
    other = run(scheduler, pred, Betas(), eta=eta, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    mine = ddim(exact_denoiser(SOURCE, Betas()), start(), uniform_grid(50), Betas(), eta=eta, generator=generator)
    torch.testing.assert_close(ours(mine), other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n, pred, theirs", [(1000, "eps", "epsilon"), (50, "v", "v_prediction"), (50, "x0", "sample")])
def test_ddpm(n, pred, theirs):
    scheduler = DDPMScheduler(**TABLE, clip_sample=False, prediction_type=theirs, timestep_spacing="trailing")
    scheduler.alphas_cumprod = ALPHA_BAR
    scheduler.set_timesteps(n)
    other = run(scheduler, pred, Betas(), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    mine = ddim(exact_denoiser(SOURCE, Betas()), start(), uniform_grid(n), Betas(), eta=1, generator=generator)
    torch.testing.assert_close(ours(mine), other, rtol=1e-8, atol=1e-8)


@each_output
def test_dpm_solver_pp_2m(pred, theirs):
    scheduler = DPMSolverMultistepScheduler(
        **TABLE,
        prediction_type=theirs,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing="trailing",
        final_sigmas_type="zero",  # the last step goes to the data, and is then of order 1, as ours
        lower_order_final=True,
    )
    scheduler.set_timesteps(20)
    other = run(scheduler, pred, Betas())
    mine = dpmpp_2m(exact_denoiser(SOURCE, Betas()), start(), uniform_grid(20), Betas())
    torch.testing.assert_close(ours(mine), other, rtol=1e-4, atol=2e-5)  # they step in float32


def test_flow_euler():
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 30, 30))
    other = run(scheduler, "flow", Linear())
    mine = euler(exact_denoiser(SOURCE, Linear()), start(), uniform_grid(30), Linear())
    torch.testing.assert_close(ours(mine), other, rtol=1e-4, atol=2e-5)  # they step in float32
