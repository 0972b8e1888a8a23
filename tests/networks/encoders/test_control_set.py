"""Control images → the batch: a set of any number of images of any size, told apart by their brightness."""

import pytest
import torch

from virtassay.networks.encoders.control_set import ControlSet


@pytest.mark.parametrize("size", [(4, 4), (12, 16), (25, 24), (96, 96), (70, 129)])
def test_any_size_and_number_of_images_in_any_order(size):
    encode = ControlSet(width=8, channels=3)
    images = torch.randn(2, 5, 3, *size)
    out = encode(images)
    assert out.shape == (2, 8)
    assert torch.allclose(encode(images[:, torch.randperm(5)]), out, atol=1e-6)
    assert torch.allclose(encode(images.repeat(1, 3, 1, 1, 1)), out, atol=1e-6)  # more of the same says the same
    assert encode(images[:, :1]).shape == (2, 8)


def test_images_are_shrunk_by_averaging_first():
    encode = ControlSet(width=8, channels=1)
    small = torch.randn(1, 2, 1, 24, 24)
    large = small.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    assert torch.allclose(encode(large), encode(small), atol=1e-6)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="3 channels, got 5"):
        ControlSet(width=8, channels=3)(torch.zeros(1, 2, 5, 12, 12))


def test_plates_never_in_training_are_told_by_their_controls():
    torch.manual_seed(0)
    encode, readout = ControlSet(width=16, channels=2), torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*encode.parameters(), *readout.parameters()], lr=5e-3)

    def plates(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        traits = torch.rand(n, 2)  # brightness of the first channel, noise of the second
        images = torch.randn(n, 4, 2, 12, 12)
        images[:, :, 0] += traits[:, 0, None, None, None]
        images[:, :, 1] *= 0.5 + traits[:, 1, None, None, None]
        return images, traits

    for _ in range(60):
        images, traits = plates(16)
        optimizer.zero_grad()
        ((readout(encode(images)) - traits) ** 2).mean().backward()
        optimizer.step()
    images, traits = plates(100)
    with torch.no_grad():
        error = ((readout(encode(images)) - traits) ** 2).mean(dim=0) / traits.var(dim=0)
    assert (error < 0.2).all()  # of the variance between plates
