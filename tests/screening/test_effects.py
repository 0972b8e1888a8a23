"""What is asked of an assay for effects, in which order, and the units of effects, by hand."""

import hashlib
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from virtassay.screening.effects import EffectPredictor, EffectScale, TreatmentQuery


def test_the_scale_is_the_spread_within_batches_by_its_degrees_of_freedom():
    untreated = np.array([[1.0, 0, 7], [3, 0, 7], [10, 0, 7], [14, 0.01, 7]])  # two batches of two cells
    treated = np.array([[[5.0, 4, 7]] * 4])
    scale = EffectScale.of(untreated, treated, n_batches=2)
    right = np.sqrt((1 + 1 + 4 + 4) / (4 - 2))  # about the means 2 and 12, which cost a degree each
    assert scale.values == pytest.approx([right, 0.4, 1])  # a tenth of the range of what hardly varies; a constant
    assert scale.effects(treated[0], untreated)[:, 0] == pytest.approx(np.array([4, 2, -5, -9]) / right)


def test_the_scale_of_few_cells_by_hand():
    one = EffectScale.of(np.array([[1.0], [3.0]]), np.array([[[2.0]]]), n_batches=1)
    assert one.values == pytest.approx([np.sqrt(2)]), "two cells of a batch leave one degree of freedom"
    each = EffectScale.of(np.array([[1.0], [3.0]]), np.array([[[11.0]]]), n_batches=2)
    assert each.values == pytest.approx([1.0]), "one cell a batch varies not at all: a tenth of the range"
    nearly = EffectScale.of(np.array([[1e3, 1e3], [1e3 + 1e-7, 1e3 + 1e-4]]), np.full((1, 1, 2), 1e3), n_batches=2)
    assert nearly.values == pytest.approx([1, 1e-5]), "to within rounding it is constant"


class Assay:
    """An assay whose images show the dose and the row of their requests; conditions show 1 + dose and how many."""

    def __init__(self):
        self.vocabulary = SimpleNamespace(controls=("DMSO", "water"), encode=self.encode)
        self.molecules, self.device = "molecules", "cpu"
        self.network = SimpleNamespace(condition=torch.nn.Linear(2, 2, bias=False))
        torch.nn.init.eye_(self.network.condition.weight)

    def generate(self, requests, seeds, sampler, **options):
        self.requests, self.seeds, self.sampler, self.options = requests, seeds, sampler, options
        doses = requests["dose_um"].list.sum().to_list()
        images = np.array([[dose, row] for row, dose in enumerate(doses)])[:, :, None, None]
        for first in range(0, len(images), 5):
            yield images[first : first + 5], 3

    def encode(self, rows, molecules):
        assert molecules == "molecules"
        self.requests = rows.table
        doses = rows.table["dose_um"].list.sum().to_list()
        table: Any = torch.tensor([[1 + dose, len(doses)] for dose in doses])
        table.condition = lambda some: table[some]
        return table


def shown(images: Any) -> Any:
    return images[:, :, 0, 0].astype(np.float32)


def predictor(assay: Any, **changes) -> EffectPredictor:
    sampler, featurizer = cast(Any, SimpleNamespace(n_steps=7)), cast(Any, shown)
    return EffectPredictor(assay, featurizer, ("b1", "b2"), 3, sampler, 11, 5, **changes)


DRUGS = [
    TreatmentQuery(("taxol",), ("CCO",), (2.0,), "U2OS"),
    TreatmentQuery(("sick", "taxol"), (None, "CCO"), (None, 3.0)),
    TreatmentQuery(("DMSO", "water"), (None, None), (None, None)),
]


def seed_of(batch: str, k: int) -> int:
    digest = hashlib.sha256(f"11:3×7:{batch}:{k}".encode()).digest()
    return int.from_bytes(digest[:8], "little") // 2


SEEDS = [seed_of(batch, k) for batch in ("b1", "b2") for k in range(3)]


def test_every_treatment_is_asked_for_in_every_batch_from_the_same_seeds():
    assay = Assay()
    of = predictor(assay)
    assert of.units == [("b1", 0), ("b1", 1), ("b1", 2), ("b2", 0), ("b2", 1), ("b2", 2)]
    features = of.features(DRUGS)
    assert features.dtype == np.float64 and features.shape == (3, 6, 2)
    assert features[..., 0].tolist() == [[2.0] * 6, [3.0] * 6, [0.0] * 6]
    assert features[..., 1].ravel().tolist() == list(range(18)), "treatment by treatment, over all minibatches"
    assert assay.seeds.tolist() == SEEDS * 3
    assert assay.options == {"minibatch_size": 5, "controls": None, "bf16": False}
    requests = assay.requests
    assert requests["image_id"].to_list() == [f"s{n}" for n in range(18)]
    assert requests["batch"].to_list() == ["b1", "b1", "b1", "b2", "b2", "b2"] * 3
    for name, values in (
        ("perturbation", [["taxol"], ["sick", "taxol"], ["DMSO", "water"]]),
        ("smiles", [["CCO"], [None, "CCO"], [None, None]]),
        ("dose_um", [[2.0], [None, 3.0], [None, None]]),
        ("cell_type", ["U2OS", None, None]),
        ("is_control", [False, False, True]),
        ("well", ["0", "1", "2"]),
    ):
        assert requests[name].to_list() == [value for value in values for _ in range(6)], name
    assert set(requests["split"]) == {"generated"} and set(requests["plate"]) == {"screen"}
    controls: Any = "controls"
    predictor(assay, controls=controls, bf16=True).untreated()
    assert assay.options == {"minibatch_size": 5, "controls": "controls", "bf16": True}


def test_untreated_cells_are_those_of_the_first_control():
    assay = Assay()
    assert predictor(assay).untreated("U2OS")[:, 1].tolist() == [0, 1, 2, 3, 4, 5]
    assert assay.requests["perturbation"].to_list() == [["DMSO"]] * 6 and assay.requests["is_control"].all()
    assert assay.requests["cell_type"].to_list() == ["U2OS"] * 6
    predictor(assay).untreated()
    assert assay.requests["cell_type"].to_list() == [None] * 6


def test_images_of_chosen_units_are_those_of_their_batch_and_seed():
    assay = Assay()
    images = predictor(assay).images(DRUGS, np.array([4, 0]))
    assert images.shape == (3, 2, 2, 1, 1)
    assert images[..., 1, 0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert images[:, 0, 0, 0, 0].tolist() == [2, 3, 0]
    assert assay.seeds.tolist() == [SEEDS[4], SEEDS[0]] * 3
    assert assay.requests["batch"].to_list() == ["b2", "b1"] * 3
    assert assay.requests["well"].to_list() == ["0", "0", "1", "1", "2", "2"]


def test_directions_lead_from_the_first_control_whatever_batch_and_cell_type():
    assay = Assay()
    assert predictor(assay).directions(DRUGS[:2]).tolist() == [[2, 0], [3, 0]]  # of (3, 3) and (4, 3) less (1, 3)
    assert assay.requests["perturbation"].to_list() == [["DMSO"], ["taxol"], ["sick", "taxol"]]
    assert assay.requests["cell_type"].to_list() == [None] * 3
