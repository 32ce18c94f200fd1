"""A variational autoencoder of images and clips: a picture as a small grid of numbers, and back.

The encoder gives each latent number a mean and a spread, q(z|x) = N(m, s^2); the decoder paints x_hat from a draw of
it. Training weighs what a picture costs against what is lost (the ELBO, with beta before its second term):

    loss = |x - x_hat|^2  +  beta KL(q(z|x) | N(0, 1)),      KL = (m^2 + s^2 - 1)/2 - log s  for each latent number

KL is what the draw tells over the prior, in nats; over log 2 it is in bits, so the sum over a latent is the rate of a
code. Without the draw any number could hold any amount; noise of size s blurs it to log2(spread of m / s) bits.

The latents that leave `encode` are (m - mean) / scale, with mean and scale of each channel measured after training and
stored with the weights: a diffusion model assumes data about as wide as its noise, and nothing here would see to that.
A clip is coded frame by frame down to the grid; there, layers that see the present and the past alone join the frames.
The first frame has a latent of its own, every `time` frames after it share one: 1 + time k frames become 1 + k, and an
image is the clip of one frame. So a long clip can be coded as it comes, and images and clips have one latent space.
Sources: Kingma & Welling 2013, arXiv 1312.6114; Higgins et al. 2017 (beta); Rombach et al. 2022, arXiv 2112.10752,
section 3.1 and appendix G (a small KL weight, a grid of latents, scaling them); Yu et al. 2023, arXiv 2310.05737,
section 3.2 (causal along time).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from minidiff.checks import whole


class Block(nn.Module):
    """norm, conv, norm, conv, plus the input: (B,C,H,W) -> (B,C,H,W). Example: `Block(32)`."""

    def __init__(self, channels: int):
        super().__init__()

        def stage() -> list[nn.Module]:
            return [nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]

        self.body = nn.Sequential(*stage(), *stage())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Each(nn.Module):
    """Layers for images, on every frame of a clip: (B,C,F,H,W) -> (B,C',F,H',W'). Example: `Each(Block(32))`."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x.transpose(1, 2).flatten(0, 1))  # (B F, C', H', W')
        return y.unflatten(0, (len(x), -1)).transpose(1, 2)


class Past(nn.Conv3d):
    """A convolution over 3x3 places and the present and two past frames, from no frame that is yet to come.

    (B,C,F,H,W) -> (B,C',F,H,W), or with `stride` 2 every other frame, the first one kept. Example: `Past(32, 64)`.
    """

    def __init__(self, channels: int, to: int, stride: int = 1):
        super().__init__(channels, to, 3, stride=(stride, 1, 1), padding=(0, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, 0, 0, 0, 2, 0)))


class Joined(nn.Module):
    """norm, conv over the past, plus the input; the norm is of each frame, or it would tell of those to come."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.conv = Each(nn.GroupNorm(8, channels), nn.SiLU()), Past(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.norm(x))


class Doubled(nn.Module):
    """Every frame twice but the first, (B,C,1+k,H,W) -> (B,C,1+2k,H,W)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, :1], x[:, :, 1:].repeat_interleave(2, dim=2)], 2)


class VAE(nn.Module):
    """Images (B,C,H,W) in [-1, 1] to latents (B,latent,H/down,W/down) of about unit spread, and back.

    channels: C. latent: channels of the grid. down: pixels to a side of one latent, a power of 2, 2 to 16. base:
    features at the largest size inside, a multiple of 8; they grow by `base` at each halving. blocks: residual blocks
    at each size. patch: pixels folded into channels at the door and unfolded at the end (2 costs a quarter of 1).
    time: None for images. 1, 2, 4 or 8 for clips (B,C,1+time*k,H,W), whose latents are (B,latent,1+k,H/down,W/down).
    ValueError for a `down`, `patch` or `time` that is none of these, and in use for pictures of other channels, sizes
    that `down` does not divide, other numbers of frames, another dtype, NaN, and latents of another shape.
    Example: `VAE(3, latent=8, down=8).encode(torch.zeros(2, 3, 64, 64))` is (2, 8, 8, 8).
    """

    def __init__(
        self,
        channels: int = 3,
        latent: int = 8,
        down: int = 8,
        base: int = 32,
        blocks: int = 1,
        patch: int = 2,
        time: int | None = None,
    ):
        super().__init__()
        if time not in (None, 1, 2, 4, 8):
            raise ValueError(f"time={time}: expected None for images, or 1, 2, 4 or 8 frames a latent")
        if down not in (2, 4, 8, 16) or patch not in (1, 2, 4, 8, 16) or patch > down:
            raise ValueError(
                f"down={down}, patch={patch}: expected down 2, 4, 8 or 16, and patch 1 or a power of 2 up to it"
            )
        for name, value in (("channels", channels), ("latent", latent), ("blocks", blocks)):
            whole(name, value, 1, 2**20)
        if base % 8 or base < 8:
            raise ValueError(f"base={base}: expected a multiple of 8 (the group norms have 8 groups)")
        self.channels, self.latent, self.down, self.time = channels, latent, down, time
        halvings = int(math.log2(down // patch))
        widths = [base * (i + 1) for i in range(halvings + 1)]  # from the largest size inside to the latents' own
        front: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, base, 3, padding=1)]
        back: list[nn.Module] = [nn.Conv2d(latent, widths[-1], 3, padding=1)] if time is None else []
        for i, width in enumerate(widths):
            front += [Block(width) for _ in range(blocks)]
            if i < halvings:
                front += [nn.Conv2d(width, widths[i + 1], 3, stride=2, padding=1)]
        for i, width in reversed(list(enumerate(widths))):
            back += [Block(width) for _ in range(blocks + 1)]
            if i > 0:
                back += [nn.Upsample(scale_factor=2), nn.Conv2d(width, widths[i - 1], 3, padding=1)]
        front += [nn.GroupNorm(8, widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * latent, 3, padding=1)]
        back += [nn.GroupNorm(8, base), nn.SiLU(), nn.Conv2d(base, channels * patch**2, 3, padding=1)]
        back += [nn.PixelShuffle(patch)]
        if time is not None:
            front, back = along(front, back, widths[-1], latent, int(math.log2(time)))
        self.front, self.back = nn.Sequential(*front), nn.Sequential(*back)
        self.mean = nn.Parameter(torch.zeros(latent), requires_grad=False)  # not trained: measured afterwards
        self.scale = nn.Parameter(torch.ones(latent), requires_grad=False)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log spread of q(z|x), before scaling, (B,latent,h,w) each."""
        clip, (h, w) = self.time is not None, x.shape[-2:]
        if x.ndim != 4 + clip or x.shape[1] != self.channels or h % self.down or w % self.down:
            kind = f"clips (B, {self.channels}, F, H, W)" if clip else f"images (B, {self.channels}, H, W)"
            wanted = f"{kind} with H and W multiples of {self.down}"
            alone = "; an image is a clip of one frame, x[:, :, None]" if clip and x.ndim == 4 else ""
            raise ValueError(f"this autoencoder takes {wanted}, got {tuple(x.shape)}{alone}")
        if self.time is not None and ((x.shape[2] - 1) % self.time or not x.shape[2]):
            low = max(0, x.shape[2] - 1) // self.time * self.time + 1
            raise ValueError(
                f"{x.shape[2]} frames: this autoencoder takes 1 + {self.time} k of them, {low} or {low + self.time} say"
            )
        if x.dtype != self.mean.dtype:
            kind = str(x.dtype).removeprefix("torch.")
            raise ValueError(
                f"the images are {kind}, the weights {str(self.mean.dtype)[6:]}: bytes become x / 127.5 - 1"
            )
        if not torch.isfinite(x).all():
            raise ValueError("the images hold NaN or infinite values: find them with `x.isfinite().flatten(1).all(1)`")
        m, log_s = self.front(x).chunk(2, dim=1)
        return m, log_s.clamp(-10, 4)

    def forward(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """What training sees: x_hat (B,C,H,W) from a draw of q(z|x), and KL (B,) in nats."""
        m, log_s = self.moments(x)
        noise = torch.randn(m.shape, generator=generator).to(m)
        return self.back(m + log_s.exp() * noise), divergence(m, log_s)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images (B,C,H,W) to latents (B,latent,H/down,W/down) of mean 0 and spread 1 a channel: the mean of q."""
        return (self.moments(x)[0] - self._of(self.mean)) / self._of(self.scale)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents (B,latent,h,w), as `encode` gives them, to images (B,C,down h,down w)."""
        if z.ndim != 4 + (self.time is not None) or z.shape[1] != self.latent or 0 in z.shape:
            shape = f"(B, {self.latent}, h, w)" if self.time is None else f"(B, {self.latent}, f, h, w)"
            raise ValueError(f"this autoencoder has latents {shape}, got {tuple(z.shape)}")
        if not torch.isfinite(z).all():
            raise ValueError("the latents hold NaN or infinite values: look at the denoiser that made them")
        return self.back(z * self._of(self.scale) + self._of(self.mean))

    @torch.no_grad()
    def bits(self, x: Tensor) -> Tensor:
        """The rate of each image (B,C,H,W): KL of its latent in bits, (B,)."""
        return divergence(*self.moments(x)) / math.log(2)

    @torch.no_grad()
    def measure_scale(self, batches: Iterable[Tensor]) -> None:
        """Set mean and scale of each latent channel to those of these images, (B,C,H,W) each.

        ValueError for a channel that is the same everywhere, and so cannot be scaled.
        """
        z = torch.cat([self.moments(x.to(self.mean.device))[0] for x in batches])
        over = [axis for axis in range(z.ndim) if axis != 1]
        mean, scale = z.mean(over), z.std(over)
        if bad := [i for i, s in enumerate(scale.tolist()) if not 0 < s < math.inf]:
            raise ValueError(f"latent channels {bad} tell nothing here: show more pictures, or train with a lower beta")
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def _of(self, values: Tensor) -> Tensor:
        return values.view(1, -1, *[1] * (2 + (self.time is not None)))


def along(
    front: list[nn.Module], back: list[nn.Module], width: int, latent: int, halvings: int
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Layers of encoder and decoder of images as those of clips: frames are joined where the grid is smallest.

    width: features there. halvings: of the number of frames after the first.
    """
    last = Past(width, 2 * latent)
    joined: list[nn.Module] = [Joined(width)]
    parted: list[nn.Module] = [Past(latent, width), Joined(width)]
    for _ in range(halvings):
        joined += [Past(width, width, stride=2), Joined(width)]
        parted += [Doubled(), Past(width, width), Joined(width)]
    return [Each(*front[:-3]), *joined, Each(*front[-3:-1]), last], [*parted, Each(*back)]


def divergence(m: Tensor, log_s: Tensor) -> Tensor:
    """KL of N(m, s^2) from N(0, 1) in nats, summed over each latent (B,c,h,w) or (B,c,f,h,w), (B,).

    Example: `divergence(*vae.moments(x))`.
    """
    return ((m**2 + (2 * log_s).exp() - 1) / 2 - log_s).flatten(1).sum(1)


def vae_loss(
    vae: VAE,
    x: Tensor,
    generator: Generator,
    beta: float = 1e-4,
    features: Callable[[Tensor], list[Tensor]] | None = None,
    perceptual: float = 0.0,
) -> Tensor:
    """|x - x_hat|^2 a pixel value, plus beta times KL a pixel value, (B,). x: (B,C,H,W).

    features: image -> feature maps; with it, `perceptual` times their squared difference joins, each map normalised
    over channels, so that what a network sees counts beside what a ruler sees.
    Source: Zhang et al. 2018, arXiv 1801.03924 (distance in features).
    Example: `vae_loss(VAE(), torch.zeros(2, 3, 64, 64), Generator())` is (2,).
    """
    if perceptual and features is None:
        raise ValueError(f"perceptual={perceptual}: it needs the features of a network")
    x_hat, kl = vae(x, generator)
    loss = (x - x_hat).square().flatten(1).mean(1) + beta * kl / x[0].numel()
    if perceptual and features is not None:
        for a, b in zip(features(x), features(x_hat), strict=True):
            gap = F.normalize(a, dim=1) - F.normalize(b, dim=1)  # (B, C, h, w)
            loss = loss + perceptual * gap.square().sum(1).flatten(1).mean(1)
    return loss
