"""Networks with published weights: how images go in, whose features come out, and what is said when they are missing.

The weights of Inception and DINOv2 here are STAND-INS: the published architectures with random numbers, saved as the
published files are. They prove the path from an image to a feature, not the published figures. torch-fidelity imports
torchvision, and torchmetrics does not load beside a torch-fidelity that cannot; so neither is in the extra dev:
    pip install --no-deps --target apart torch-fidelity==0.4.0
    PYTHONPATH=apart pytest tests/evaluation/test_pretrained.py
"""

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from virtassay.evaluation.featurizers import pretrained
from virtassay.evaluation.featurizers.pretrained import DINOv2, EfficientNetLite0, InceptionFID
from virtassay.evaluation.featurizers.torch_module import cellflux_rgb, rgb_or_grey
from virtassay.files import RemoteFile


def noise(n=2, channels=3, size=40, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (n, channels, size, size)).astype(dtype)


def stand_in(folder, name, save, state):
    """The file of stand-in weights, and what would be said of it if it were the published one."""
    path = folder / name
    save(state, path)
    return path, RemoteFile(name, f"http://nowhere.invalid/{name}", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VIRTASSAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def imagenet():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'imagenet' is not installed")
    return EfficientNetLite0(size=64)


@pytest.fixture(scope="module")
def fidelity():
    """torch-fidelity's extractor. Its package imports torchvision for other networks: where there is none, a shell."""
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchvision") is None:
            shell, sets, moves = (ModuleType(f"torchvision{part}") for part in ("", ".datasets", ".transforms"))
            for name in ("CIFAR10", "CIFAR100", "STL10"):
                setattr(sets, name, object)
            vars(moves)["functional"] = ModuleType("torchvision.transforms.functional")
            vars(shell).update(datasets=sets, transforms=moves)
            for module in (shell, sets, moves, vars(moves)["functional"]):
                patch.setitem(sys.modules, module.__name__, module)
        loaded = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    yield loaded
    _forget("torch_fidelity")


def _forget(package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def inception(fidelity, tmp_path_factory):
    """The featurizer with stand-in weights, and the network that they were saved from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = fidelity.FeatureExtractorInceptionV3("random", ["2048"])
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight *= 6**0.5  # He's variance, or the signal dies on its way
    path, file = stand_in(tmp_path_factory.mktemp("w"), "stand-in.pth", torch.save, network.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "INCEPTION", file)
        yield InceptionFID(path=str(path)), network
    pretrained._inception.cache_clear()
    path.unlink()  # 95 MB


def test_inception_is_torch_fidelitys_on_the_same_8_bits(inception):
    featurizer, network = inception
    images = noise()
    with torch.inference_mode():
        (own,) = network(torch.as_tensor(images))
    assert own.std() > 1e-2
    out = featurizer(images)
    assert out.shape == (2, 2048)
    np.testing.assert_array_equal(out, own.double().numpy())
    np.testing.assert_array_equal(featurizer(images.astype(np.uint16) * 257), out)  # the same intensities in 16 bits


def test_inception_shows_other_channels_as_its_view_says(inception):
    featurizer, _ = inception
    five = noise(1, 5)
    assert featurizer(five[:, :2]).shape == (1, 2 * 2048)
    only = replace(featurizer, view=cellflux_rgb)
    np.testing.assert_array_equal(only(five), featurizer(five[:, :3]))
    assert only.fingerprint() != featurizer.fingerprint()


def test_weights_that_are_not_the_published_ones_are_refused_before_they_are_opened(inception, monkeypatch):
    featurizer, _ = inception
    monkeypatch.setattr(pretrained, "INCEPTION", replace(pretrained.INCEPTION, sha256="0" * 64))
    monkeypatch.setattr(pretrained, "_inception", pretrained._inception.__wrapped__)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("an unknown file was unpickled"))
    with pytest.raises(ValueError, match=r"stand-in.pth is refused"):
        InceptionFID(path=featurizer.path)


def test_missing_weights_say_which_file_from_where_to_where(fidelity, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "_inception", pretrained._inception.__wrapped__)
    nowhere = RemoteFile("inception.pth", "http://127.0.0.1:9/inception.pth", "0" * 64)
    monkeypatch.setattr(pretrained, "INCEPTION", nowhere)
    place = tmp_path / "cache" / "inception.pth"
    with pytest.raises(FileNotFoundError, match=rf"inception.pth is not in the cache.*{nowhere.url}.*{place}"):
        InceptionFID()


def test_what_inception_is_shown(monkeypatch):
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(pretrained, "_inception", lambda _: lambda x: (shown.append(x), x.double().mean((2, 3)))[1:])
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    out = InceptionFID()(np.concatenate([levels, levels[:, :, ::-1]], 1))
    assert out.shape == (1, 6)  # two views of grey
    assert all(x.dtype == torch.uint8 for x in shown)
    np.testing.assert_array_equal(shown[0], np.broadcast_to(levels, (1, 3, 16, 16)))  # every one of the 256 levels
    InceptionFID()(np.array([0, 128, 129, 65535], np.uint16).reshape(1, 1, 2, 2))
    assert shown[-1][0, 0].flatten().tolist() == [0, 0, 1, 255]  # 16 bits are rounded to 8


def test_what_dinov2_is_shown_and_which_token_is_taken(monkeypatch):
    shown: list[torch.Tensor] = []

    def network(pixel_values):
        shown.append(pixel_values)
        tokens = torch.arange(3.0)[None, :, None].expand(len(pixel_values), 3, 4)
        return SimpleNamespace(last_hidden_state=tokens)

    monkeypatch.setattr(pretrained, "_dinov2", lambda _: network)
    grey = np.array([0, 255, 51], np.uint8)[None, :, None, None].repeat(20, 2).repeat(20, 3)
    assert (DINOv2(size=28)(grey) == np.zeros((1, 4))).all()
    assert shown[0].shape == (1, 3, 28, 28)
    wanted = (np.array([0, 1, 0.2]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(shown[0].mean((0, 2, 3)), wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def dinov2_weights(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="the extra 'dinov2' is not installed")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    shape = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
    )
    network = transformers.Dinov2Model(shape).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn(weight.shape)  # or the class token is nearly the same for all images
    # the names of the published file, which newer versions of transformers read but no longer use themselves
    names = {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key"}
    names |= {"attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense"}
    state = {}
    for name, weight in network.state_dict().items():
        for new, published in names.items():
            name = name.replace(new, published)
        state[name] = weight.contiguous()
    path, file = stand_in(tmp_path_factory.mktemp("w"), "stand-in.safetensors", safetensors.save_file, state)
    yield path, file, network
    pretrained._dinov2.cache_clear()
    path.unlink()  # 88 MB


def test_dinov2_is_the_class_token_of_transformers(dinov2_weights, monkeypatch):
    path, file, network = dinov2_weights
    monkeypatch.setattr(pretrained, "DINOV2_SMALL", file)
    featurizer, images = DINOv2(path=str(path), size=70), noise()
    x = functional.interpolate(torch.as_tensor(images / np.float32(255)), (70, 70), mode="bicubic", antialias=True)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        own = network(((x.clamp(0, 1).permute(0, 2, 3, 1) - mean) / sd).permute(0, 3, 1, 2)).pooler_output
    assert own.std(0).mean() > 0.1
    out = featurizer(images)
    np.testing.assert_allclose(out, own.double().numpy(), atol=1e-4)
    assert featurizer(noise(1, 2)).shape == (1, 2 * 384)
    assert "70x70" in featurizer.fingerprint()["resize"] and file.sha256[:16] in featurizer.fingerprint()["weights"]


def test_dinov2_weights_of_another_layout_are_refused_not_left_random(dinov2_weights, monkeypatch, tmp_path):
    safetensors = importlib.import_module("safetensors.torch")
    state = safetensors.load_file(dinov2_weights[0])
    del state["encoder.layer.3.mlp.fc1.weight"]
    path, file = stand_in(tmp_path, "short.safetensors", safetensors.save_file, state)
    monkeypatch.setattr(pretrained, "DINOV2_SMALL", file)
    with pytest.raises(ValueError, match=r"layout of short.safetensors.*layer.3.mlp.fc1.weight"):
        DINOv2(path=str(path))
    path.unlink()


def test_imagenet_maps_three_channels_as_colour_and_others_as_grey(imagenet):
    assert imagenet(noise(2, 3)).shape == (2, 1280)
    five = imagenet(noise(2, 5))
    assert five.shape == (2, 5 * 1280)
    assert five[:, :1280] == pytest.approx(imagenet(noise(2, 5)[:, :1]), abs=1e-5)
    told = imagenet.fingerprint()
    assert told["trained"] and "64x64" in told["resize"] and len(told["weights"].split()[1]) == 16


@pytest.mark.parametrize(
    ("make", "load", "extra"),
    [
        (EfficientNetLite0, "_efficientnet", "imagenet"),
        (InceptionFID, "_inception", "inception"),
        (DINOv2, "_dinov2", "dinov2"),
    ],
)
def test_a_missing_extra_says_what_to_install(make, load, extra, monkeypatch):
    def missing(name, *_):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(pretrained, load, getattr(pretrained, load).__wrapped__)  # as in a new process
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ValueError, match=rf"virtassay\[{extra}\].*~evaluation.featurizers"):
        make()


def test_inception_without_torchvision_says_so(monkeypatch):
    if importlib.util.find_spec("torch_fidelity") is None or importlib.util.find_spec("torchvision"):
        pytest.skip("needs torch-fidelity without torchvision")
    _forget("torch_fidelity")
    monkeypatch.setattr(pretrained, "_inception", pretrained._inception.__wrapped__)
    with pytest.raises(ValueError, match=r"No module named 'torchvision'.*torchvision of the same build as torch"):
        InceptionFID()


def test_a_size_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        EfficientNetLite0(size=50)
    with pytest.raises(ValueError, match="patch of 14"):
        DINOv2(size=50)


def test_views_of_one_to_six_channels():
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 4, 4) / 10
    assert [len(rgb_or_grey(x[:, :c])) for c in (1, 2, 3, 5)] == [1, 2, 1, 5]
    assert all((view == view[:, :1]).all() and view.shape == (2, 3, 4, 4) for view in rgb_or_grey(x))
    assert rgb_or_grey(x[:, :3])[0] is not None and (rgb_or_grey(x[:, :3])[0] == x[:, :3]).all()


def test_cellflux_mixes_six_channels_as_its_code_does_on_plus_minus_one():
    x = torch.rand(3, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    blue, green, red, cyan, magenta, yellow = (2 * x - 1).unbind(1)
    signed = torch.stack(
        [red + magenta / 2 + yellow / 2, green + cyan / 2 + yellow / 2, blue + cyan / 2 + magenta / 2], 1
    ).clamp(-1, 1)
    (out,) = cellflux_rgb(x)
    np.testing.assert_array_equal((255 * out).round(), (255 * (signed / 2 + 0.5) + 1e-3).floor())
    assert 0.05 < (out == 0).float().mean() < 0.5 and (out == 1).any()  # both clamps were met
    assert (cellflux_rgb(x[:, :3])[0] == x[:, :3]).all() and (cellflux_rgb(x[:, :5])[0] == x[:, :3]).all()
    with pytest.raises(ValueError, match="3, 5 and 6"):
        cellflux_rgb(x[:, :4])
