"""A small image classifier, in whose features the course measures Frechet distance, precision and recall."""

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
