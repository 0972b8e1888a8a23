"""Names ↔ numbers: what the model knows, what it can know, and what it must refuse."""

import json

import numpy as np
import polars as pl
import pytest

from virtassay.data.images import Normalisation
from virtassay.data.molecules import Morgan
from virtassay.data.store import DatasetInfo
from virtassay.data.vocabulary import UnknownToModel, Vocabulary
from virtassay.schema import NULL, validate

INFO = DatasetInfo("x", ("a",), (1, 4, 4), "uint8")
SCALE = Normalisation((-0.8,), (0.2,))


def index(**columns: list) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    table = {
        "image_id": [str(i) for i in range(n)],
        "plate": ["p"] * n,
        "well": ["A1"] * n,
        "batch": ["week1"] * n,
        "is_control": [False] * n,
    }
    return validate(pl.DataFrame(table | columns))


TRAINED = index(
    perturbation=["DMSO", "taxol", "ethanol", "KO"],
    is_control=[True, False, False, False],
    dose_um=[None, 0.3, 30.0, None],
    smiles=["CS(C)=O", "CCCN", "OCC", None],
)
MODEL = Vocabulary.from_index(TRAINED, info=INFO, normalisation=SCALE, dose_in_label=False)


def test_controls_are_a_perturbation_without_structure():
    table = MODEL.encode(TRAINED, Morgan(size=64))
    assert MODEL.perturbations == ("DMSO", "KO", "ethanol", "taxol")
    assert table.perturbation[:, 0].tolist() == [0, 3, 2, 1]
    fingerprints = table.condition(slice(None)).structure[:, 0]
    assert (fingerprints.sum(1) > 0).tolist() == [False, True, True, False]


def test_doses_are_standardised_logs_and_nan_where_none_was_given():
    doses = MODEL.encode(TRAINED, None).log_dose[:, 0]
    assert np.isnan(doses[[0, 3]]).all()
    assert doses[1:3].tolist() == pytest.approx([-1, 1])


def test_an_unseen_molecule_needs_an_encoder_that_reads_structures():
    unseen = index(perturbation=["new"], smiles=["c1ccccc1"])
    with pytest.raises(UnknownToModel, match=r"'new' \(row 0\).*condition=morgan"):
        MODEL.encode(unseen, None)
    table = MODEL.encode(unseen, Morgan(size=64))
    assert table.perturbation.tolist() == [[4]]  # not a row of the vocabulary, but something
    with pytest.raises(UnknownToModel, match="give the SMILES"):
        MODEL.encode(index(perturbation=["new"]), Morgan(size=64))


def test_a_seen_molecule_is_known_by_its_smiles_under_any_name():
    other_name = MODEL.encode(index(perturbation=["C2H5OH"], smiles=["C(C)O"]), None)
    assert other_name.perturbation.tolist() == [[2]]
    by_name = MODEL.encode(index(perturbation=["taxol"]), Morgan(size=64))  # its SMILES is remembered
    assert by_name.condition(slice(None)).structure.sum() > 0


def test_an_unknown_batch_is_the_null_and_an_unknown_cell_type_is_refused(caplog):
    table = MODEL.encode(index(perturbation=["taxol"], batch=["week9"]), None)
    assert table.batch.tolist() == [NULL]
    assert "week9" in caplog.text
    with pytest.raises(UnknownToModel, match="HeLa"):
        MODEL.encode(index(perturbation=["taxol"], cell_type=["HeLa"]), None)


def test_labels_of_compound_and_dose():
    model = Vocabulary.from_index(TRAINED, info=INFO, normalisation=SCALE, dose_in_label=True)
    assert "taxol 0.3 µM" in model.perturbations
    with pytest.raises(UnknownToModel, match="taxol 1 µM"):
        model.encode(index(perturbation=["taxol"], dose_um=[1.0]), None)


def test_combinations_fill_their_places_with_null():
    pair = index(perturbation=[["taxol", "ethanol"], ["DMSO"]], dose_um=[[1.0, 2.0], [None]])
    assert MODEL.encode(pair, None).perturbation.tolist() == [[3, 2], [0, NULL]]


def test_the_vocabulary_survives_its_file(tmp_path):
    (tmp_path / "v.json").write_text(json.dumps(MODEL.as_json()))
    assert Vocabulary.load(tmp_path / "v.json") == MODEL
