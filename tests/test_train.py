"""Training: it learns, it resumes exactly, it survives kill -9 and Ctrl-C, and it trusts no file it should not."""

import json
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from minidiff import draws
from minidiff.data import toybox
from minidiff.data.toy import two_peaks
from minidiff.draws import normal, on
from minidiff.nn.dit import DiT
from minidiff.nn.mlp import MLP
from minidiff.predict import Denoiser
from minidiff.recipes import run as runs
from minidiff.schedule import Linear
from minidiff.train import checkpoint
from minidiff.train.batches import fresh, shuffled, step_generator
from minidiff.train.checkpoint import CheckpointError
from minidiff.train.ema import EMA
from minidiff.train.fit import Tally, denoising_loss, fit, learning_rate, logit_normal, noisier

RUN = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from test_train import start
for state in start(sys.argv[1], steps=int(sys.argv[2]), save_every=3):
    print(state.step, flush=True)
"""


def start(folder: Path | str | None, steps: int = 60, save_every: int = 500, seed: int = 0, **options):
    """A short run whose network also draws from torch's global random state (dropout): a resume must restore it."""
    torch.manual_seed(0)
    model = Denoiser(MLP(1, width=16, depth=1), Linear(), "v")
    model.net.blocks.append(nn.Dropout(0.1))
    batch = fresh(two_peaks().sample, 32, seed)
    return fit(
        model,
        batch,
        steps,
        every=5,
        folder=folder,
        save_every=save_every,
        progress=False,
        seed=seed,
        warmup=5,
        **options,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "state.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_resume_after_leaving_the_loop_is_bit_exact(tmp_path):
    list(start(tmp_path / "whole"))
    for state in start(tmp_path / "parts"):
        if state.step == 25:
            break
    list(start(tmp_path / "parts"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    logs = [
        [json.loads(line) for line in (tmp_path / f / "log.jsonl").read_text().splitlines()] for f in ("whole", "parts")
    ]
    assert [(row["step"], row["loss"]) for row in logs[0]] == [(row["step"], row["loss"]) for row in logs[1]]


def test_another_seed_gives_another_run(tmp_path):
    list(start(tmp_path / "a"))
    list(start(tmp_path / "b", seed=1))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_kill_9_at_random_moments_resumes_bit_exact(tmp_path):
    list(start(tmp_path / "whole", steps=300))
    script = RUN.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path / "killed"), "300"]
    chance, kills = random.Random(os.getpid()), 0
    for attempt in range(12):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if attempt < 3:
            for _ in range(chance.randint(1, 12)):  # somewhere inside the run, not at its start
                process.stdout.readline()
            time.sleep(chance.random() * 0.02)
            process.kill()
            process.wait()
            kills += process.returncode == -signal.SIGKILL
            continue
        process.communicate()
        assert process.returncode == 0
        break
    assert kills > 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_ctrl_c_saves_a_whole_step(tmp_path):
    list(start(tmp_path / "whole"))
    run = start(tmp_path / "stopped")
    next(run)
    signal.setitimer(signal.ITIMER_REAL, 0.004)
    previous = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in run:
                time.sleep(0.02)
    finally:
        signal.signal(signal.SIGALRM, previous)
    run.close()
    assert checkpoint.read_header(tmp_path / "stopped" / "state.safetensors")["step"] > 0
    list(start(tmp_path / "stopped"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_a_half_line_in_the_log_is_dropped(tmp_path):
    for state in start(tmp_path):
        if state.step == 20:
            break
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 25, "loss": 0.1}\n{"step": 30, "lo')
    list(start(tmp_path))
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(5, 61, 5))


def test_other_settings_are_refused_by_name(tmp_path):
    list(start(tmp_path))
    with pytest.raises(CheckpointError, match=r"another run \(lr 0.001, now 0.01\)"):
        list(start(tmp_path, lr=0.01))


def test_training_reaches_the_floor_of_the_exact_denoiser():
    """The loss falls to that of the exact answer, which no network can beat (mean of many batches)."""
    from minidiff.predict import exact_denoiser, row
    from minidiff.schedule import add_noise, expand

    source, schedule = two_peaks(), Linear()
    torch.manual_seed(0)
    model = Denoiser(MLP(1, width=64, depth=2), schedule, "v", sd=source.sd)
    *_, state = fit(model, fresh(source.sample, 256), 500, lr=3e-3, every=100, decay_from=0.5, progress=False)
    generator = torch.Generator().manual_seed(1)
    x0, t = source.sample(40_000, generator), torch.rand(40_000, generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    a, b = (expand(v, x0) for v in row("v", schedule, t))
    x_t, y = add_noise(schedule, x0, eps, t), a * x0 + b * eps
    x0_hat = exact_denoiser(source, schedule)(x_t, t)
    eps_hat = (x_t - expand(schedule.alpha(t), x0) * x0_hat) / expand(schedule.sigma(t), x0).clamp(min=1e-6)
    floor = (a * x0_hat + b * eps_hat - y).square().mean().item()
    with torch.no_grad(), state.ema.applied(model.net):
        reached = (model.output(x_t, t) - y).square().mean().item()
    assert floor < reached * 1.001 and reached < 1.1 * floor, (floor, reached)


def test_a_loss_that_is_not_finite_stops_and_does_not_spoil_the_saved_state(tmp_path):
    for state in start(tmp_path):
        if state.step == 20:
            break
    before = weights(tmp_path)

    def broken(model, batch, generator):
        losses = model.net(batch[0], torch.zeros(len(batch[0]))).square().mean(1) * float("nan")
        return losses, torch.zeros(len(losses))

    with pytest.raises(FloatingPointError, match="lower lr"):
        list(start(tmp_path, loss=broken))
    assert same(before, weights(tmp_path))


def test_fit_averages_the_weights_as_the_formula_says():
    torch.manual_seed(0)
    net = MLP(1, width=8, depth=1)
    by_hand = net.out.weight.detach().clone()
    run = fit(Denoiser(net, Linear(), "v"), fresh(two_peaks().sample, 16), 30, every=1, ema=0.6, progress=False)
    for k, state in enumerate(run):
        decay = min(0.6, (1 + k) / (10 + k))
        by_hand = decay * by_hand + (1 - decay) * net.out.weight.detach()
        torch.testing.assert_close(state.ema.weights["out.weight"], by_hand)


def test_learning_rate_by_hand():
    values = [learning_rate(step, 100, 1.0, 10, 0.5) for step in (0, 4, 9, 49, 50, 75, 99)]
    assert values == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0, 0.5, 0.02])


def test_loss_by_level_by_hand():
    tally = Tally(torch.device("cpu"))
    tally.add(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.0, 0.19, 1.0]))
    tally.add(torch.tensor([4.0]), torch.tensor([[0.3, 0.5]]))  # a level per frame: the mean level counts
    means = tally.means()
    assert means[:2] == pytest.approx([3.25, 1.5]) and means[3] == 4.0 and means[5] == 6.0
    assert means[2] != means[2] and means[4] != means[4]  # NaN where nothing was seen


def test_shuffled_sees_every_row_once_an_epoch_and_depends_on_the_step_alone():
    x = torch.arange(40)[:, None]
    batch = shuffled([x, x + 1], 8)
    epochs = [torch.cat([batch(5 * e + i)[0] for i in range(5)])[:, 0] for e in range(2)]
    assert all(sorted(e.tolist()) == list(range(40)) for e in epochs) and not torch.equal(epochs[0], epochs[1])
    assert torch.equal(shuffled([x, x + 1], 8)(7)[0], batch(7)[0])
    assert torch.equal(batch(3)[0] + 1, batch(3)[1])
    with pytest.raises(ValueError, match="batches of 50"):
        shuffled([x], 50)


# --- files --------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.safetensors"
    checkpoint.write(path, {"w": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16)}, {"recipe": "toy-mlp"})
    return path


def test_round_trip(good):
    tensors, header = checkpoint.read(good, "toy-mlp")
    assert torch.equal(tensors["w"], torch.arange(4.0)) and header["recipe"] == "toy-mlp"
    assert not list(good.parent.glob(".*"))  # no scratch file is left


def test_truncated_file_is_refused(good):
    good.write_bytes(good.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="good.safetensors is truncated"):
        checkpoint.read(good)


@pytest.mark.parametrize("position", [-1, -20])
def test_tampered_file_is_refused(good, position):
    content = bytearray(good.read_bytes())
    content[position] ^= 1
    good.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        checkpoint.read(good)


def test_foreign_files_are_refused(good, tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no minidiff header"):
        checkpoint.read(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="made by recipe 'toy-mlp', expected 'fashion-unet'"):
        checkpoint.read(good, "fashion-unet")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.read(tmp_path / "absent.safetensors")


class Bomb:
    """Unpickling this writes a file: proof that somebody opened a pickle."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", ["torch", 0, 2, 5])
def test_a_pickle_is_never_opened(tmp_path, protocol):
    path, mark = tmp_path / "model.safetensors", tmp_path / "opened"
    if protocol == "torch":
        torch.save({"w": Bomb(str(mark))}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(str(mark)), protocol))
    with pytest.raises(CheckpointError):
        checkpoint.read(path)
    assert not mark.exists()


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path):
    """The first byte of a safetensors file is the low byte of a length: one length in 256 begins like a pickle."""
    path, firsts = tmp_path / "lengths.safetensors", set()
    for padding in range(0, 600, 8):
        checkpoint.write(path, {"w": torch.ones(1)}, {"recipe": "x" * padding})
        firsts.add(path.read_bytes()[:1])
        assert checkpoint.read(path)[1]["recipe"] == "x" * padding
    assert b"\x80" in firsts


def test_weights_that_do_not_fit_are_named():
    net = nn.Linear(3, 2)
    with pytest.raises(
        CheckpointError, match=r"missing: bias; unexpected: extra; wrong shape: weight \(2, 2\) for \(2, 3\)"
    ):
        checkpoint.load_into(net, {"weight": torch.ones(2, 2), "extra": torch.ones(1)}, "a file")


@pytest.mark.parametrize("steps, save_every", [(2, 500), (60, 1), (60, 2)])
def test_a_diverged_run_saves_nothing_and_fails_again(tmp_path, steps, save_every):
    """Found by trying: the second call of a diverged run used to find it finished, and to write its weights."""
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="not finite near step .*nothing of it was saved"):
            list(start(tmp_path, steps=steps, save_every=save_every, lr=1e30))
        path = tmp_path / "state.safetensors"
        if path.exists():  # a state from before it diverged
            assert all(bool(v.isfinite().all()) for v in weights(tmp_path).values() if v.is_floating_point())
            assert checkpoint.read_header(path)["step"] < steps


def test_leaving_a_diverged_loop_saves_nothing(tmp_path):
    run = start(tmp_path)
    state = next(run)
    for value in state.ema.weights.values():
        value.fill_(torch.nan)
    with pytest.raises(FloatingPointError):
        run.close()
    assert not (tmp_path / "state.safetensors").exists()


def test_what_else_makes_a_run_is_compared_and_a_note_is_kept(tmp_path):
    list(start(tmp_path, identity={"batch": 64}, note={"revision": "first"}))
    for other, said in (({"batch": 128}, "batch 64, now 128"), (None, "batch 64, now None")):
        with pytest.raises(CheckpointError, match=f"another run .{said}."):
            list(start(tmp_path, identity=other))
    list(start(tmp_path, identity={"batch": 64}, note={"revision": "second"}))  # finished: nothing is trained
    assert checkpoint.read_header(tmp_path / "state.safetensors")["note"] == {"revision": "first"}


def test_a_run_of_two_revisions_tells_both(tmp_path):
    for state in start(tmp_path, identity={"sizes": (1, 2)}, note={"revision": "first"}):
        if state.step == 20:
            break
    list(start(tmp_path, identity={"sizes": (1, 2)}, note={"revision": "second"}))  # a tuple comes back as a list
    note = checkpoint.read_header(tmp_path / "state.safetensors")["note"]
    assert note == {"revision": "second", "earlier": [{"revision": "first"}]}
    with pytest.raises(TypeError):  # before the first step, not at the first save
        next(start(tmp_path / "other", identity={"folder": tmp_path}))


def test_weights_are_checked_without_a_folder_too():
    run = start(None, steps=5)
    state = None
    with pytest.raises(FloatingPointError):
        for state in start(None, steps=60):
            for value in state.ema.weights.values():
                value.fill_(torch.nan)
    assert state is not None and list(run)


def test_an_average_that_would_forget_something_is_refused():
    with pytest.raises(ValueError, match="num_batches_tracked is no parameter"):
        EMA(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


@pytest.mark.parametrize("drop, classes", [(-0.1, 3), (10, 3), (float("nan"), 3), (0.1, 0)])
def test_a_share_of_hidden_labels_that_makes_no_sense_is_refused(drop, classes):
    denoise = Denoiser(MLP(1, width=16, depth=1, classes=classes), Linear())
    batch = (torch.zeros(4, 1), torch.zeros(4, dtype=torch.long)) if classes else (torch.zeros(4, 1),)
    with pytest.raises(ValueError, match="drop="):
        denoising_loss(denoise, batch, torch.Generator(), drop=drop)


def test_logit_normal_levels_favour_the_middle_and_reach_the_loss():
    """Against the normal distribution's own table; and what the loss reports is what was drawn."""
    t = logit_normal(20_000, torch.Generator().manual_seed(0))
    for z, below in ((-1.0, 0.1587), (0.0, 0.5), (1.5, 0.9332)):
        edge = 1 / (1 + math.exp(-z))
        assert abs(float((t < edge).float().mean()) - below) < 0.012
    denoise, x0 = Denoiser(MLP(2, width=16, depth=1), Linear()), torch.randn(4000, 2)
    drawn = denoising_loss(denoise, (x0,), torch.Generator().manual_seed(1), levels=logit_normal)[1]
    plain = denoising_loss(denoise, (x0,), torch.Generator().manual_seed(1))[1]
    assert drawn.std() < 0.23 < 0.27 < plain.std()


def test_noisier_levels_are_those_of_logit_normal_with_three_times_the_noise():
    t = noisier(20_000, torch.Generator().manual_seed(0))
    odds = (t / (1 - t)).log()
    assert abs(float(odds.mean()) - math.log(3)) < 0.03 and abs(float(odds.std()) - 1) < 0.03


def test_a_share_of_the_batches_has_a_level_for_every_frame():
    """The loss of a frame is then that of its own level: with an exact denoiser of zeros, sigma^2 in the row eps."""
    denoise = Denoiser(DiT(3, 32, 1, 1, patch=(1, 4, 4)), Linear(), "eps")  # fresh: it answers 0
    clips, drawn = torch.zeros(64, 3, 5, 8, 8), []
    for seed in range(60):
        losses, t = denoising_loss(denoise, (clips,), torch.Generator().manual_seed(seed), apart=0.3)
        drawn.append(t.ndim)
        assert losses.shape == (64,) and t.shape in ((64,), (64, 5))
    assert 0.15 < drawn.count(2) / len(drawn) < 0.45
    losses, t = denoising_loss(denoise, (clips,), torch.Generator().manual_seed(0), apart=1.0, space="x0")
    losses, gain = (
        losses.detach(),
        ((t / (1 - t)) ** 2).mean(1),
    )  # an error in eps counts (sigma/alpha)^2 in x0, frame by frame
    assert float((losses / gain).log().abs().mean()) < 0.3 < float((losses / gain.roll(1)).log().abs().mean())
    assert denoising_loss(denoise, (clips,), torch.Generator(), apart=0.0)[1].ndim == 1
    for share, data in ((1.5, clips), (-0.1, clips), (0.5, clips[:, :, 0])):
        with pytest.raises(ValueError, match="apart="):
            denoising_loss(denoise, (data,), torch.Generator(), apart=share)


def test_batches_drawn_ahead_are_a_function_of_the_step_alone():
    ahead = fresh(two_peaks().sample, 4, seed=3, ahead=3)
    forward = [ahead(step)[0] for step in range(7)]
    again = fresh(two_peaks().sample, 4, seed=3, ahead=3)
    for step in (6, 1, 5, 0):
        assert torch.equal(again(step)[0], forward[step])
    flat = torch.cat(forward).flatten().tolist()
    assert len(set(flat)) == len(flat)  # never the same twice
    for step in (4, 0):  # several tensors a sample keep together
        x, doubled = fresh(lambda n, g: (x := two_peaks().sample(n, g), 2 * x), 4, seed=3, ahead=3)(step)
        assert torch.equal(x, forward[step]) and torch.equal(doubled, 2 * x)


def test_noise_is_drawn_where_it_is_needed(monkeypatch):
    """On the CPU from the step's own generator; elsewhere from one of that device, whose seed is the step's."""
    x = torch.zeros(3, 2)
    assert torch.equal(normal(x, step_generator(0, 1)), torch.randn(3, 2, generator=step_generator(0, 1)))
    assert normal(x.double(), step_generator(0, 1)).dtype == torch.float64
    generator = step_generator(0, 1)
    assert on("cpu", generator) is generator
    seeds = []

    class Elsewhere:
        def __init__(self, device):
            assert device.type == "cuda"

        def manual_seed(self, seed):
            seeds.append(seed)

    monkeypatch.setattr(draws, "Generator", Elsewhere)
    for step in (1, 1, 2):
        on("cuda", step_generator(0, step))
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_clips_that_a_processor_draws():
    spec = toybox.sample(64, step_generator(0, 0))
    here, there = toybox.render(spec), toybox.render(spec.to("cuda")).cpu()
    torch.testing.assert_close(here, there, atol=2e-3, rtol=0)
    assert toybox.render(toybox.sample(2_000, on("cuda", step_generator(0, 1)))).device.type == "cuda"


def test_bfloat16_is_refused_where_it_would_crawl(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_OUTPUTS", str(tmp_path))
    for has in (False, True):
        monkeypatch.setattr(runs, "has_bfloat16", lambda has=has: has)
        if has:
            assert list(runs.train("toy-mlp", "smoke", bfloat16=True))
        else:
            with pytest.raises(ValueError, match="this processor has no such products"):
                next(runs.train("toy-mlp", "smoke", bfloat16=True))
            assert not any(tmp_path.iterdir())


def test_bfloat16_on_a_cpu_learns_the_same(tmp_path):
    """Attention is written out there: products in bfloat16 come to the same loss, to within their precision."""

    def run(folder, steps=12, **options):
        torch.manual_seed(0)
        denoise = Denoiser(DiT(3, 32, 2, 2, patch=4, context=5), Linear(), "x0")
        data = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        losses = []
        for state in fit(denoise, shuffled([data], 16), steps, every=4, folder=folder, progress=False, **options):
            losses.append(state.loss)
        return losses, denoise.net.state_dict()

    exact, _ = run(tmp_path / "a")
    rough, weights = run(tmp_path / "b", bfloat16=True)
    assert exact != rough and exact == pytest.approx(rough, rel=0.02)
    assert all(w.dtype == torch.float32 for w in weights.values())


def test_attention_written_out_is_attention():
    from minidiff.nn.attention import average

    q, k, v = (torch.randn(2, 3, n, 8) for n in (5, 7, 7))
    mask = torch.rand(2, 1, 1, 7) > 0.3
    mask[..., 0] = True
    for seen in (None, mask):
        with torch.autocast("cpu", torch.bfloat16):
            rough = average(q, k, v, seen)
        assert rough.dtype == torch.bfloat16
        torch.testing.assert_close(rough.float(), average(q, k, v, seen), atol=0.03, rtol=0.03)
