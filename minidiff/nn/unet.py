"""The U-Net of DDPM: down to see widely, up to paint finely, with a bridge at every size.

Each residual block hears the noise level (and the class) as a scale and a shift of its features. Sizes halve by a
convolution of stride 2 and return by repeating pixels to exactly the size on the other side of the bridge, so 28 ->
14 -> 7 -> 4 works as well as 32. Attention between the pixels of a small size is an option.
Sources: Ronneberger et al. 2015, arXiv 1505.04597; Ho et al. 2020, arXiv 2006.11239, appendix B.
"""

import math
from copy import deepcopy

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from minidiff.checks import whole
from minidiff.nn.attention import Attention
from minidiff.nn.layers import LabelEmbedding, NoiseEmbedding


class ResBlock(nn.Module):
    """norm, conv, norm, (scale and shift from the context), conv, plus the input.

    x: (B,C,H,W), context: (B,E) -> (B,out,H,W).
    Example: `ResBlock(32, 64, 128)(torch.randn(2, 32, 8, 8), torch.randn(2, 128))` is (2, 64, 8, 8).
    """

    def __init__(self, channels: int, out: int, context: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.modulate = nn.Linear(context, 2 * out)
        self.norm2, self.conv2 = nn.GroupNorm(8, out, affine=False), nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)  # a fresh block passes its input through
        nn.init.zeros_(self.conv2.bias if self.conv2.bias is not None else self.conv2.weight)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulate(context)[:, :, None, None].chunk(2, dim=1)  # 2 x (B, out, 1, 1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


class PixelAttention(nn.Module):
    """Norm, attention between all pixels of one size, plus the input. x: (B,C,H,W) -> (B,C,H,W).

    Where a pixel stands, the convolutions around it tell. Source: Ho et al. 2020, appendix B.
    Example: `PixelAttention(64)(torch.randn(2, 64, 7, 7))`.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels, self.norm = channels, nn.GroupNorm(8, channels)
        heads = max(h for h in range(1, max(1, channels // 32) + 1) if channels % h == 0)
        self.attention = Attention(channels, heads, norm=False)
        nn.init.zeros_(self.attention.out.weight)  # a fresh one passes its input through
        nn.init.zeros_(self.attention.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = rearrange(self.norm(x), "b c h w -> b (h w) c")
        return x + rearrange(self.attention(tokens), "b (h w) c -> b c h w", h=x.shape[2])


class UNet(nn.Module):
    """`net(x (B,C,H,W), ell (B,), cond) -> y (B,C,H,W)` for images of any even size.

    channels: C. base: features at the largest size, a multiple of 8. mults: features at each size, in units of base;
    one halving between neighbours. blocks: residual blocks at each size on the way down (one more on the way up).
    classes: 0, or the number of class labels (label `classes` and None mean none). patch: pixels folded into channels
    at the door, patch x patch of them, and unfolded at the end: the largest size inside is H / patch, which costs
    patch^2 times less. attention: the sizes, counted from 0, the largest, whose blocks are each followed by attention;
    with the smallest, so is the first block at the bottom. ValueError for a size that is no multiple of 2 and patch,
    another number of channels or a label out of range.
    Example: `UNet(1, base=32, mults=(1, 2, 2))(torch.randn(2, 1, 28, 28), torch.zeros(2))` is (2, 1, 28, 28).
    """

    def __init__(
        self,
        channels: int,
        base: int = 32,
        mults: tuple[int, ...] = (1, 2, 2),
        blocks: int = 2,
        classes: int = 0,
        patch: int = 1,
        attention: tuple[int, ...] = (),
    ):
        super().__init__()
        if base % 8 or base < 8:
            raise ValueError(f"base={base}: expected a multiple of 8 (the group norms have 8 groups)")
        sizes = {"channels": channels, "patch": patch, "blocks": blocks, "sizes in mults": len(mults)}
        for name, value in (sizes | {f"mults[{i}]": m for i, m in enumerate(mults)}).items():
            whole(name, value, 1, 2**20)
        whole("classes", classes, 0, 2**20)
        if not set(attention) <= set(range(len(mults))):
            raise ValueError(f"attention={attention}: the sizes are 0..{len(mults) - 1}")
        self.channels, self.patch = channels, patch
        context = 4 * base
        self.level = NoiseEmbedding(context)
        self.label = LabelEmbedding(classes, context) if classes else None
        self.inp = nn.Conv2d(channels * patch**2, base, 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        widths, skips = [base * m for m in mults], [base]
        here = base
        for i, width in enumerate(widths):
            for _ in range(blocks):
                self.down.append(ResBlock(here, width, context))
                here = width
                skips.append(here)
            if i < len(widths) - 1:
                self.shrink.append(nn.Conv2d(here, here, 3, stride=2, padding=1))
                skips.append(here)
        self.mid = nn.ModuleList([ResBlock(here, here, context), ResBlock(here, here, context)])
        for i, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(ResBlock(here + skips.pop(), width, context))
                here = width
            if i > 0:
                self.grow.append(nn.Conv2d(here, here, 3, padding=1))
        self.out = nn.Sequential(nn.GroupNorm(8, here), nn.SiLU(), nn.Conv2d(here, channels * patch**2, 3, padding=1))
        self.blocks = blocks
        looks = [PixelAttention(width) if i in attention else nn.Identity() for i, width in enumerate(widths)]
        self.look_down = nn.ModuleList(deepcopy(look) for look in looks for _ in range(blocks))
        self.look_mid = deepcopy(looks[-1])
        self.look_up = nn.ModuleList(deepcopy(look) for look in reversed(looks) for _ in range(blocks + 1))
        for look in self.modules():
            if isinstance(look, PixelAttention):
                look.attention.qkv.reset_parameters()  # none a copy of another

    def forward(self, x: Tensor, ell: Tensor, cond: Tensor | None = None) -> Tensor:
        step = math.lcm(2, self.patch)
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % step or x.shape[3] % step:
            even = "even" if step == 2 else f"multiples of {step}"
            raise ValueError(
                f"this U-Net takes images (B, {self.channels}, H, W) with H and W {even}, got {tuple(x.shape)}"
            )
        if ell.shape != (len(x),):
            raise ValueError(f"ell of shape {tuple(ell.shape)} for {len(x)} images: expected one level each, (B,)")
        context = self.level(ell)  # (B, E)
        if self.label is not None:
            context = context + self.label(cond, len(x))  # (B, E)
        elif cond is not None:
            raise ValueError("this network was built without classes: it cannot be told cond")
        context = F.silu(context)

        h = self.inp(F.pixel_unshuffle(x, self.patch))  # (B, base, H/patch, W/patch)
        bridge = [h]
        for i, block in enumerate(self.down):
            h = self.look_down[i](block(h, context))
            bridge.append(h)
            level, nth = divmod(i, self.blocks)
            if nth == self.blocks - 1 and level < len(self.shrink):
                h = self.shrink[level](h)  # (B, C, H/2, W/2)
                bridge.append(h)
        first, last = self.mid
        h = last(self.look_mid(first(h, context)), context)
        for i, block in enumerate(self.up):
            h = self.look_up[i](block(torch.cat([h, bridge.pop()], dim=1), context))
            level, nth = divmod(i, self.blocks + 1)
            if nth == self.blocks and level < len(self.grow):
                size = bridge[-1].shape[-2:]  # the size before the halving, odd or even
                h = self.grow[level](F.interpolate(h, size=size, mode="nearest"))
        return F.pixel_shuffle(self.out(h), self.patch)  # (B, C, H, W)
