"""The autoencoder: shapes at every downsampling, the KL against torch's, rate, scaled latents, clear refusals."""

import math

import pytest
import torch
from torch import Generator
from torch.distributions import Normal, kl_divergence

from minidiff.nn.classifier import Classifier
from minidiff.nn.vae import VAE, vae_loss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def vae(**changes) -> VAE:
    return VAE(**({"channels": 3, "latent": 4, "down": 4, "base": 8} | changes))


@pytest.mark.parametrize("down, patch", [(2, 1), (2, 2), (4, 1), (4, 4), (8, 2), (16, 2), (16, 16)])
@pytest.mark.parametrize("channels, latent", [(1, 3), (3, 8)])
def test_shapes_at_every_downsampling(down, patch, channels, latent):
    net, x = vae(down=down, patch=patch, channels=channels, latent=latent), torch.randn(2, channels, 32, 48)
    z = net.encode(x)
    assert z.shape == (2, latent, 32 // down, 48 // down)
    assert net.decode(z).shape == x.shape
    x_hat, kl = net(x)
    assert x_hat.shape == x.shape and kl.shape == (2,) and (kl > 0).all()


def test_kl_is_that_of_torch_distributions():
    net, x = vae().double(), torch.randn(3, 3, 16, 16, dtype=torch.float64)
    m, log_s = net.moments(x)
    exact = kl_divergence(Normal(m, log_s.exp()), Normal(torch.zeros_like(m), 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(net(x)[1], exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(net.bits(x), exact / math.log(2), rtol=1e-12, atol=0)


def test_the_draw_has_the_mean_and_the_spread_that_the_encoder_says():
    net, x = vae(), torch.randn(1, 3, 16, 16)
    seen = []
    net.back.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        net(x.expand(4000, -1, -1, -1), Generator().manual_seed(0))
        m, log_s = net.moments(x)
    assert ((seen[0].mean(0) - m[0]) / log_s[0].exp()).abs().max() < 5 / 4000**0.5
    assert (seen[0].std(0) / log_s[0].exp() - 1).abs().max() < 5 / 8000**0.5


def test_loss_is_error_plus_rate_a_pixel_value():
    net, x, generator = vae(), torch.randn(2, 3, 16, 16), Generator().manual_seed(1)
    x_hat, kl = net(x, Generator().manual_seed(1))
    by_hand = [((x[i] - x_hat[i]) ** 2).mean() + 0.3 * kl[i] / (3 * 16 * 16) for i in range(2)]
    torch.testing.assert_close(vae_loss(net, x, generator, beta=0.3), torch.stack(by_hand))


def test_perceptual_loss_is_zero_for_the_same_picture_and_reaches_the_decoder():
    net, x, eyes = vae(), torch.randn(2, 3, 64, 64), Classifier(3, 11, base=8, size=64, patch=2).eval()
    plain = vae_loss(net, x, Generator().manual_seed(0), 0.1)
    both = vae_loss(net, x, Generator().manual_seed(0), 0.1, eyes.maps, 1.0)
    assert (both > plain).all() and [m.shape[-1] for m in eyes.maps(x)] == [32, 16, 16, 8]
    net.forward = lambda x, generator=None: (x, torch.zeros(2))  # type: ignore[method-assign]  # a perfect one
    assert vae_loss(net, x, Generator(), 0.1, eyes.maps, 1.0).tolist() == [0, 0]
    with pytest.raises(ValueError, match="perceptual=1.0.*features"):
        vae_loss(net, x, Generator(), perceptual=1.0)


def test_latents_are_scaled_to_unit_spread_and_back():
    net, x = vae(), torch.randn(8, 3, 16, 16)
    before = net.decode(net.encode(x))
    net.measure_scale(x.split(3))
    z = net.encode(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4))
    torch.testing.assert_close(net.decode(z), before, atol=1e-5, rtol=1e-4)
    assert {"mean", "scale"} <= net.state_dict().keys()  # stored with the weights
    assert not net.mean.requires_grad and not net.scale.requires_grad


def test_every_other_weight_is_trained():
    net = vae(down=8)
    vae_loss(net, torch.randn(2, 3, 16, 16), Generator(), 0.1).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == ["mean", "scale"]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda net: net.encode(torch.zeros(2, 3, 30, 32)), r"multiples of 4, got \(2, 3, 30, 32\)"),
        (lambda net: net.encode(torch.zeros(2, 1, 32, 32)), r"\(B, 3, H, W\).*got \(2, 1, 32, 32\)"),
        (lambda net: net(torch.zeros(3, 32, 32)), r"got \(3, 32, 32\)"),
        (lambda net: net.encode(torch.full((1, 3, 32, 32), math.nan)), "images hold NaN"),
        (lambda net: net.decode(torch.zeros(2, 8, 4, 4)), r"latents \(B, 4, h, w\), got \(2, 8, 4, 4\)"),
        (lambda net: net.decode(torch.full((1, 4, 4, 4), math.inf)), "latents hold NaN or infinite"),
        (lambda net: vae(down=3), "down=3.*2, 4, 8 or 16"),
        (lambda net: vae(down=2, patch=4), "down=2, patch=4"),
        (lambda net: vae(base=12), "base=12.*multiple of 8"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(vae())


def test_a_channel_that_tells_nothing_is_named():
    net = vae()
    net.front[-1].weight.data[1] = 0  # type: ignore[union-attr, index]
    with pytest.raises(ValueError, match=r"channels \[1\] tell nothing"):
        net.measure_scale([torch.randn(4, 3, 16, 16)])
    with pytest.raises(ValueError, match="uint8, the weights float32"):
        net.encode(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def clip_vae(time: int = 4, seed: int = 0) -> VAE:
    """A small autoencoder of clips, in float64, with weights that leave nothing at zero."""
    torch.manual_seed(seed)
    return VAE(3, latent=4, down=4, base=8, time=time).double().eval()


@pytest.mark.parametrize("time", [1, 2, 4, 8])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_clips_have_a_latent_for_the_first_frame_and_one_for_every_few_more(time, k):
    vae, clip = clip_vae(time), torch.randn(2, 3, 1 + time * k, 8, 12).double()
    z = vae.encode(clip)
    assert z.shape == (2, 4, 1 + k, 2, 3) and vae.decode(z).shape == clip.shape
    x_hat, kl = vae(clip, torch.Generator().manual_seed(0))
    assert x_hat.shape == clip.shape and kl.shape == vae.bits(clip).shape == (2,)


@pytest.mark.parametrize("time", [1, 2, 4])
def test_no_latent_sees_a_frame_that_is_yet_to_come(time):
    """A frame is changed, and the latents that change are its own and later ones; the same when decoding."""
    vae, clip = clip_vae(time), torch.randn(1, 3, 1 + 3 * time, 8, 8).double()
    z = vae.encode(clip)
    for frame in range(clip.shape[2]):
        other = clip.clone()
        other[:, :, frame] += 1
        moved = (vae.encode(other) - z).abs().amax((0, 1, 3, 4)) > 1e-9
        own = -(-frame // time)  # frame 0 is alone
        assert not moved[:own].any() and moved[own], (frame, moved)
    x = vae.decode(z)
    for k in range(z.shape[2]):
        other = z.clone()
        other[:, :, k] += 1
        moved = (vae.decode(other) - x).abs().amax((0, 1, 3, 4)) > 1e-9
        own = 0 if k == 0 else 1 + (k - 1) * time
        assert not moved[:own].any() and moved[own], (k, moved)


def test_an_image_is_a_clip_of_one_frame_and_a_long_clip_is_coded_as_it_comes():
    vae, clip = clip_vae(4), torch.randn(2, 3, 13, 8, 8).double()
    z = vae.encode(clip)
    torch.testing.assert_close(z[:, :, :1], vae.encode(clip[:, :, :1]))
    torch.testing.assert_close(z[:, :, :3], vae.encode(clip[:, :, :9]))
    torch.testing.assert_close(vae.decode(z[:, :, :2]), vae.decode(z)[:, :, :5])


def test_latents_of_clips_are_scaled_channel_by_channel():
    vae = clip_vae(2)
    batches = [torch.randn(3, 3, 5, 8, 8).double() for _ in range(4)]
    vae.measure_scale(batches)
    z = torch.cat([vae.encode(x) for x in batches])
    assert float(z.mean((0, 2, 3, 4)).abs().max()) < 1e-6 and float((z.std((0, 2, 3, 4)) - 1).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 12, 8, 8), r"12 frames: .* takes 1 \+ 4 k of them, 9 or 13"),
        ((1, 3, 0, 8, 8), r"0 frames: .* 1 or 5"),
        ((1, 3, 2, 8, 8), r"2 frames: .* 1 or 5"),
        ((1, 3, 5, 8, 10), "multiples of 4"),
        ((1, 1, 5, 8, 8), r"clips \(B, 3, F, H, W\)"),
        ((1, 3, 8, 8), "an image is a clip of one frame"),
    ],
)
def test_clips_that_cannot_be_coded_are_refused_in_words(shape, message):
    with pytest.raises(ValueError, match=message):
        clip_vae(4).encode(torch.zeros(shape).double())


def test_other_bad_input_to_an_autoencoder_of_clips():
    for time in (0, 3, -1, 16):
        with pytest.raises(ValueError, match="None for images, or 1, 2, 4 or 8"):
            VAE(time=time)
    vae = clip_vae(4)
    for shape in ((1, 4, 2, 2), (1, 5, 1, 2, 2), (1, 4, 0, 2, 2)):
        with pytest.raises(ValueError, match=r"latents \(B, 4, f, h, w\)"):
            vae.decode(torch.zeros(shape).double())
    with pytest.raises(ValueError, match="float32, the weights float64"):
        vae.encode(torch.zeros(1, 3, 5, 8, 8))
    with pytest.raises(ValueError, match="takes images"):
        VAE(3, 4, 4, 8).encode(torch.zeros(1, 3, 5, 8, 8))
