"""Small classifiers of images and of clips, in whose features the course measures Frechet distance and the like."""

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images (B,C,size,size) in [-1, 1] to class scores (B,classes); `features` gives the layer before, (B, features).

    Four convolutions, two of which halve the image, then two linear layers with dropout. size: a multiple of 4 patch.
    patch: pixels folded into channels at the door, patch x patch of them.
    Example: `Classifier(1, 10)(torch.zeros(2, 1, 28, 28))` is (2, 10).
    """

    def __init__(self, channels: int, classes: int, base: int = 32, features: int = 64, size: int = 28, patch: int = 1):
        super().__init__()
        self.shape = (channels, size, size)

        def stage(inp: int, out: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(inp, out, 3, stride=stride, padding=1), nn.GroupNorm(8, out), nn.SiLU()]

        self.body = nn.Sequential(
            *([nn.PixelUnshuffle(patch)] if patch > 1 else []),
            *stage(channels * patch**2, base, 1),
            *stage(base, 2 * base, 2),
            *stage(2 * base, 2 * base, 1),
            *stage(2 * base, 2 * base, 2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * base * (size // (4 * patch)) ** 2, features),
        )
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(features, classes))

    def features(self, x: Tensor) -> Tensor:
        """The 64 numbers (by default) from which the classes are read, (B, features). ValueError for another shape."""
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"this classifier takes images (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}"
            )
        return self.body(x)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each of the four convolutions sees, (B,c,h,w) each, for a loss in features (`nn.vae.vae_loss`)."""
        found = []
        for layer in self.body:
            if isinstance(layer, nn.Flatten):
                break
            x = layer(x)
            found += [x] if isinstance(layer, nn.SiLU) else []
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class ClipClassifier(nn.Module):
    """Clips (B,C,F,size,size) in [-1, 1] to scores (B,classes); `features` gives the layer before, (B, features).

    Each frame becomes a vector through three convolutions, two of which halve it; two convolutions along time compare
    neighbours; what they find is averaged over the clip, beside how far it varies. size: a multiple of 8. F: 6 or more.
    Example: `ClipClassifier(3, 16)(torch.zeros(2, 3, 12, 32, 32))` is (2, 16).
    """

    def __init__(self, channels: int, classes: int, base: int = 32, features: int = 32, size: int = 32):
        super().__init__()
        self.shape = (channels, size, size)

        def stage(inp: int, out: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(inp, out, 3, stride=stride, padding=1), nn.GroupNorm(8, out), nn.SiLU()]

        self.frame = nn.Sequential(
            nn.PixelUnshuffle(2),
            *stage(4 * channels, base, 1),
            *stage(base, 2 * base, 2),
            *stage(2 * base, 2 * base, 2),
            nn.Flatten(),
            nn.Linear(2 * base * (size // 8) ** 2, 4 * base),
        )
        self.time = nn.Sequential(
            nn.SiLU(), nn.Conv1d(4 * base, 4 * base, 3), nn.SiLU(), nn.Conv1d(4 * base, 4 * base, 3), nn.SiLU()
        )
        self.body = nn.Linear(8 * base, features)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(features, classes))

    def features(self, x: Tensor) -> Tensor:
        """The 32 numbers (by default) from which the classes are read, (B, features). ValueError for another shape."""
        if x.ndim != 5 or (x.shape[1], *x.shape[3:]) != self.shape or x.shape[2] < 6:
            c, h, w = self.shape
            raise ValueError(
                f"this classifier takes clips (B, {c}, F, {h}, {w}) of 6 frames or more, got {tuple(x.shape)}"
            )
        each = self.frame(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1))  # (B, F, 4 base)
        found = self.time(each.mT)  # (B, 4 base, F-4)
        return self.body(torch.cat([found.mean(-1), found.std(-1)], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
