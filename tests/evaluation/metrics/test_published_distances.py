"""fd and kd_subsets against torch-fidelity and pytorch-fid, whose figures are stored.

Both packages import torchvision, so they are in no extra, and torchmetrics does not load beside a torch-fidelity that
has none. To hold the stored figures against the packages themselves, keep them apart:
    pip install --no-deps --target apart torch-fidelity==0.4.0 pytorch-fid==0.3.0
    PYTHONPATH=.:apart pytest -rs tests/evaluation/test_published_distances.py
"""

import sys
from dataclasses import astuple
from importlib.util import find_spec
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from virtassay.evaluation.metrics import distance

TORCHVISION = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
SETS = ("plain", "skewed", "few")
FD = {"plain": 2.594223868826589, "skewed": 0.09369820782295202, "few": 157.5202469686596}
KD = {  # mean and s.d. of 100 subsets of 100
    "plain": (0.18660167532700014, 0.041488483817565994),
    "skewed": (0.009897292164536253, 0.0032452045325094265),
    "few": (0.1447199198136067, 0.0037913886897871455),
}


def features(name):
    """Two sets: of plain numbers; of skewed and correlated ones; of fewer images than features."""
    local = np.random.RandomState(7)  # whose stream never changes
    n, m, d = {"plain": (300, 250, 20), "skewed": (400, 400, 60), "few": (110, 100, 160)}[name]
    x, y = local.normal(size=(n, d)), 1.2 * local.normal(size=(m, d)) + 0.2
    if name == "skewed":
        mix = local.normal(size=(d, d)) / np.sqrt(d) * np.exp(-np.arange(d) / 10)
        x, y = np.exp(0.3 * x @ mix), np.exp(0.3 * y @ mix)
    return x, y


@pytest.mark.parametrize("name", SETS)
def test_fd_has_the_published_value(name):
    digits = 1e-7 if name == "few" else 1e-11  # eigvals rounds the zeros of a singular product
    assert distance.fd(*features(name)) == pytest.approx(FD[name], rel=digits)


@pytest.mark.parametrize("name", SETS)
def test_kd_subsets_has_the_published_value(name):
    x, y = features(name)
    assert astuple(distance.kd_subsets(x, y)) == pytest.approx(KD[name], rel=1e-11)
    half = distance.kd_subsets(x.astype(np.float32), y.astype(np.float32))  # as extractors store them
    assert half.mean == pytest.approx(KD[name][0], rel=1e-5)


@pytest.fixture
def package(monkeypatch):
    """Import a package's module; where torchvision is missing, an empty one stands in, as its mathematics need none."""
    if find_spec("torchvision") is None:
        for module in TORCHVISION:
            monkeypatch.setitem(sys.modules, module, MagicMock())
    return lambda name: pytest.importorskip(name, reason="kept apart: see the top of this file", exc_type=ImportError)


@pytest.mark.parametrize("name", SETS)
def test_the_stored_figures_are_those_of_torch_fidelity(name, package):
    fid: Any = package("torch_fidelity.metric_fid")
    kid: Any = package("torch_fidelity.metric_kid")
    x, y = (torch.as_tensor(side) for side in features(name))
    value = fid.fid_statistics_to_metric(fid.fid_features_to_statistics(x), fid.fid_features_to_statistics(y), False)
    assert value["frechet_inception_distance"] == pytest.approx(FD[name], rel=1e-9)
    value = kid.kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=100, verbose=False)
    figures = (value["kernel_inception_distance_mean"], value["kernel_inception_distance_std"])
    assert figures == pytest.approx(KD[name], rel=1e-12)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["plain", "skewed"])  # it moves singular covariances
def test_the_stored_figures_are_those_of_pytorch_fid(name, package):
    fid: Any = package("pytorch_fid.fid_score")
    x, y = features(name)
    value = fid.calculate_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert value == pytest.approx(FD[name], rel=1e-9)
