"""A user's own network: from Python or a file, what it is shown, what its fingerprint says, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from virtassay.evaluation.featurizers.torch_module import TorchModule, cellflux_rgb, rgb_or_grey, unchanged


class Shown(nn.Module):
    """Returns what it was shown, (n, 3), so that a test sees the view, the size and the range."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.mean((2, 3)), torch.full((x.shape[0], 1), x.shape[2])], 1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def noise(n=5, channels=3, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size)).astype(np.uint8)


def exported(path, module, size):
    batch = {0: torch.export.Dim("n")}
    program = torch.export.export(module.eval(), (torch.zeros(2, 3, size, size),), dynamic_shapes=(batch,))
    torch.export.save(program, path)
    return str(path)


def scripted(path, module):
    torch.jit.save(torch.jit.script(module), path)
    return str(path)


def by_hand(module, images, mean, sd, size):
    x = torch.as_tensor(images / np.float32(255))
    x = nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    with torch.inference_mode():
        return module.eval()((x - mean) / sd).double().numpy()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_module_and_both_kinds_of_file_give_the_same(tmp_path):
    own = by_hand(network(), noise(), 0.5, 0.25, 12)
    for module in (
        network(),
        exported(tmp_path / "m.pt2", network(), 12),
        scripted(tmp_path / "m.pt", network()),
    ):
        featurizer = TorchModule("mine", module, size=12, mean=(0.5,), sd=(0.25,))
        np.testing.assert_allclose(featurizer(noise()), own, atol=1e-5)
        assert featurizer(noise()).dtype == np.float64


def test_the_network_is_shown_what_the_fingerprint_says():
    images = np.stack([np.full((16, 16), grey) for grey in (0, 51, 102, 153, 255)]).astype(np.uint8)[None]
    plain = TorchModule("shown", Shown())
    assert plain(images[:, :3])[0] == pytest.approx([0, 0.2, 0.4, 16])
    assert plain(images)[0, ::4] == pytest.approx([0, 0.2, 0.4, 0.6, 1])  # five views of grey, side by side
    all_at_once = TorchModule("shown", Shown(), size=8, mean=(0.0, 0.2, 0.4, 0.6, 1.0), sd=(0.5,) * 5, view=unchanged)
    assert all_at_once(images)[0] == pytest.approx([0, 0, 0, 0, 0, 8], abs=1e-6)
    told = all_at_once.fingerprint()
    assert told["channel_mapping"] == "unchanged" and "8x8" in told["resize"] and "0.6" in told["value_range"]


def test_evaluation_mode_is_used():
    module = network().train()
    featurizer = TorchModule("mine", module)
    alone = np.concatenate([featurizer(noise(4)[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(featurizer(noise(4)), alone, atol=1e-6)
    assert not module.training


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_fingerprint_tells_weights_code_size_range_and_view_apart(tmp_path):
    prints = [
        TorchModule("mine", network()),
        TorchModule("mine", network(1)),
        TorchModule("mine", network(), size=8),
        TorchModule("mine", network(), mean=(0.1,)),
        TorchModule("mine", network(), sd=(2.0,)),
        TorchModule("mine", network(), view=cellflux_rgb),
        TorchModule("mine", nn.ModuleList(network())),
        TorchModule("mine", scripted(tmp_path / "a.pt", network())),
        TorchModule("mine", scripted(tmp_path / "b.pt", nn.Sequential(network()))),
    ]
    told = [str(f.fingerprint()) for f in prints]
    assert len(set(told)) == len(told)
    assert TorchModule("mine", network()).fingerprint() == prints[0].fingerprint()
    assert TorchModule("mine", network(), view=rgb_or_grey).fingerprint() == prints[0].fingerprint()


class Tuple(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("module", "got"), [(nn.Identity(), r"\(5, 3, 16, 16\)"), (Tuple(), "tuple"), (nn.Flatten(0), "3840")]
)
def test_an_output_that_is_no_table_is_refused(module, got):
    with pytest.raises(ValueError, match=rf"returned .*{got}.* pool"):
        TorchModule("mine", module)(noise())


def test_a_missing_file_and_a_senseless_range_are_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt2"):
        TorchModule("mine", str(tmp_path / "nothing.pt2"))
    for mean, sd in (((0.0,), (0.0,)), ((0.0, 0.0), (1.0,)), ((), ())):
        with pytest.raises(ValueError, match="sd above 0"):
            TorchModule("mine", nn.Identity(), mean=mean, sd=sd)
