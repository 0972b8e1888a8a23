"""Run folders: whole, of a known format, and naming only classes of virtassay and of packages that are trusted."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.test_profiles import run as script
from tests.toy_screen import train_overrides, write_screen
from tests.training.test_runs import train
from virtassay.assay import VirtualAssay
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import midpoint
from virtassay.generation.requests import inline_requests
from virtassay.run_folder import FORMAT, PUBLIC, BrokenRun, build

FIXTURE = Path(__file__).parent / "fixtures" / "run_format_1"
MYLAB = '''
from dataclasses import dataclass
from subprocess import Popen
from typing import ClassVar

import torch
from torch import nn

from virtassay.flow import Mix


class Tiny(nn.Module):
    """dx/dt = a · x + what the condition says, pixel by pixel."""

    def __init__(self, *, image_shape, condition):
        super().__init__()
        self.condition = condition
        self.scale = nn.Parameter(torch.zeros(image_shape[0], 1, 1))
        self.tint = nn.Linear(condition.width, image_shape[0])

    def forward(self, x, t, condition):
        return self.scale * x + self.tint(self.condition(condition))[:, :, None, None]


class Rows(nn.Module):
    """A vector for each perturbation."""

    def __init__(self, *, width, n_perturbations, structure_size):
        super().__init__()
        self.table = nn.Embedding(n_perturbations, width)

    def forward(self, condition):
        return self.table(condition.perturbation.clamp(min=0))


@dataclass(frozen=True)
class Quadratic:
    """x_t = (1 − t²) x0 + t² x1."""

    needs_noise: ClassVar[bool] = False

    def mix(self, t):
        return Mix(1 - t**2, t**2, torch.zeros_like(t))

    def rate(self, t):
        return Mix(-2 * t, 2 * t, torch.zeros_like(t))


@dataclass(frozen=True)
class Faint:
    """x0 = ε / 2."""

    needs_control: ClassVar[bool] = False

    def __call__(self, noise, control, chance):
        return noise / 2
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_screen(folder / "screen")
    return train(folder, "images_total=16", "fit.validate_every_images=16")


def rewritten(run: Path, to: Path, **changes: object) -> Path:
    """Copy a run folder, and change keys of its config.yaml; None takes one away."""
    copy = shutil.copytree(run, to)
    config = yaml.safe_load((copy / "config.yaml").read_text()) | changes
    (copy / "config.yaml").write_text(yaml.safe_dump({key: v for key, v in config.items() if v is not None}))
    return copy


@pytest.mark.parametrize("name", ["config.yaml", "vocabulary.json", "model.safetensors"])
def test_a_run_folder_with_a_missing_or_damaged_file_is_named(run, tmp_path, name):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / name).write_bytes(b"\x00 damaged")
    with pytest.raises(BrokenRun, match="copy"):
        VirtualAssay.load(copy)
    (copy / name).unlink()
    with pytest.raises(BrokenRun, match=name):
        VirtualAssay.load(copy)
    with pytest.raises(BrokenRun, match="does not exist"):
        VirtualAssay.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "virtassay.assay.importlib.import_module", "virtassay.data.dataset.rows.pl.read_csv",
     "virtassay.assay.build", "virtassay.flow.source.torch.load", "torch.nn.Linear", "virtassay.no.such.Class", "x"],
)  # fmt: skip
def test_a_run_folder_cannot_name_anything_but_classes_of_virtassay(run, tmp_path, target):
    copy = shutil.copytree(run, tmp_path / "copy")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["source"] = {"_target_": target, "command": f"touch {tmp_path / 'harm'}"}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(BrokenRun, match="no class of virtassay"):
        VirtualAssay.load(copy)
    assert not (tmp_path / "harm").exists()


def test_a_config_with_python_objects_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "config.yaml").write_text(f"network: !!python/object/apply:os.system ['touch {tmp_path / 'harm'}']\n")
    with pytest.raises(BrokenRun):
        VirtualAssay.load(copy)
    assert not (tmp_path / "harm").exists()


def test_build_makes_nested_objects():
    source = build({"_target_": "virtassay.flow.Noise"})
    assert type(source).__name__ == "Noise"
    assert build({"a": [1, {"_target_": "virtassay.flow.Linear"}]})["a"][0] == 1


def test_what_a_run_may_name_is_public_and_has_its_name_from_its_package():
    assert {"virtassay.networks.DiT", "virtassay.flow.Linear", "virtassay.data.molecules.Morgan"} <= PUBLIC.keys()
    assert "virtassay.data.dataset.store.DatasetWriter" not in PUBLIC


def test_a_run_says_its_format_and_another_is_refused(run, tmp_path):
    assert yaml.safe_load((run / "config.yaml").read_text())["format"] == FORMAT
    with pytest.raises(BrokenRun, match=rf"of format 99, and this version of virtassay reads format {FORMAT}"):
        VirtualAssay.load(rewritten(run, tmp_path / "new", format=99))
    with pytest.raises(BrokenRun, match=rf"names no format, and this version of virtassay reads format {FORMAT}"):
        VirtualAssay.load(rewritten(run, tmp_path / "old", format=None))


def test_a_run_of_format_1_loads_and_paints_what_it_did():
    assay = VirtualAssay.load(FIXTURE)
    requests = inline_requests({"perturbation": "taxol", "dose_um": 3.0, "batch": "week1", "n": 4}, assay.vocabulary)
    ((images, calls),) = assay.generate(requests, np.arange(4), Sampler(midpoint, 3))
    assert images.shape == (4, 2, 12, 12) and images.dtype == np.uint8 and calls == 6
    assert images.mean((0, 2, 3)) == pytest.approx([49.32, 29.96], abs=0.5)


@pytest.fixture
def mylab(tmp_path, monkeypatch) -> str:
    """A package of a user's own, on the path."""
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text(MYLAB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mylab", raising=False)
    return "mylab"


def test_ones_own_classes_train_and_others_load_them_when_they_trust_the_package(tmp_path, mylab):
    write_screen(tmp_path / "screen")
    own = {
        "network": {"_target_": "mylab.Tiny", "image_shape": "???", "condition": "${condition}"},
        "path": {"_target_": "mylab.Quadratic"},
        "source": {"_target_": "mylab.Faint"},
    }
    for group, node in own.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(yaml.safe_dump(node))
    plain = [key for key in train_overrides(tmp_path) if not key.startswith("network")]
    chosen = [f"{group}=mine" for group in own]
    script(
        "train",
        f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        *plain,
        *chosen,
        "condition.perturbation._target_=mylab.Rows",
    )
    run = tmp_path / "runs" / "toy"
    assay = VirtualAssay.load(run, trust=[mylab])
    assert {type(part).__module__ for part in (assay.network, assay.path, assay.source)} == {mylab}
    table = inline_requests({"perturbation": "taxol", "dose_um": 3.0, "n": 2}, assay.vocabulary)
    ((images, _),) = assay.generate(table, np.arange(2), Sampler(midpoint, 2))
    assert images.shape == (2, 2, 12, 12)
    del sys.modules[mylab]
    for trust in ((), ["another"]):
        with pytest.raises(BrokenRun, match=r"mylab\..* no class of virtassay.*trust=\[mylab\] loads it"):
            VirtualAssay.load(run, trust=trust)
    assert mylab not in sys.modules, "what is not trusted is not even imported"


def test_a_trusted_package_gives_only_what_it_defines(mylab):
    with pytest.raises(BrokenRun, match=r"mylab\.Popen.* no class of mylab"):
        build({"_target_": "mylab.Popen", "args": "true"}, [mylab])
    with pytest.raises(BrokenRun, match=r"mylab\.nothing.*install 'mylab'"):
        build({"_target_": "mylab.nothing.Net"}, [mylab])
