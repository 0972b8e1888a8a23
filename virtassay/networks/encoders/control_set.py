"""ControlSet: the experimental batch, read off control images of it, so that a plate never in training has one too.

    batch = W mean_{i ≤ m} mean_{pixels} φ(control_i)

The mean makes the images a set (Zaheer et al. 2017, arXiv 1703.06114): their order does not matter, nor does how many
there are, and training on m of them still allows all controls of a plate to be given when images are generated.
"""

from torch import Tensor, nn

MOST_PX = 24  # what tells plates apart is brightness, background and density, which a thumbnail shows


class ControlSet(nn.Module):
    """Control images (n, m, c, h, w), m ≥ 1, of any size → (n, width); they are shrunk to at most 24×24 px first.

    images: how many control images training serves, and generation draws, of each batch.
    """

    def __init__(self, *, width: int, channels: int, images: int = 8) -> None:
        super().__init__()
        self.images = images
        self.channels = channels
        steps: list[nn.Module] = []
        for before, after in ((channels, 32), (32, 64), (64, 128)):
            steps += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.phi = nn.Sequential(*steps)  # no normalisation layer: it would take the brightness away
        self.project = nn.Linear(128, width)

    def forward(self, images: Tensor) -> Tensor:
        n, m, channels, height, breadth = images.shape
        if channels != self.channels:
            raise ValueError(f"the model reads control images of {self.channels} channels, got {channels}.")
        shrink = (-(-height // MOST_PX), -(-breadth // MOST_PX))
        small = nn.functional.avg_pool2d(images.flatten(0, 1), shrink)
        return self.project(self.phi(small).mean(dim=(2, 3)).unflatten(0, (n, m)).mean(dim=1))
