"""Names ↔ numbers: what the model knows, what it can know, and what it must refuse."""

import json

import numpy as np
import polars as pl
import pytest

from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import DatasetInfo
from virtassay.data.loading.normalisation import Normalisation
from virtassay.data.loading.vocabulary import UnknownToModel, Vocabulary
from virtassay.data.molecules.descriptors import Joined, Morgan
from virtassay.data.molecules.embeddings import EmbeddingTable, InvalidEmbeddings
from virtassay.schema import NULL, validate

INFO = DatasetInfo("x", ("a",), (1, 4, 4), "uint8")
SCALE = Normalisation((-0.8,), (0.2,))


def index(**columns: list) -> Rows:
    n = len(next(iter(columns.values())))
    table = {
        "image_id": [str(i) for i in range(n)],
        "plate": ["p"] * n,
        "well": ["A1"] * n,
        "batch": ["week1"] * n,
        "is_control": [False] * n,
    }
    return Rows.of(validate(pl.DataFrame(table | columns)))


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


def test_the_doses_of_each_perturbation_are_remembered(tmp_path):
    rows = index(
        perturbation=["DMSO", "taxol", "taxol", "taxol", "ethanol"], is_control=[True, False, False, False, False],
        dose_um=[None, 0.3, 3.0, None, None],
    )  # fmt: skip
    model = Vocabulary.from_index(rows, info=INFO, normalisation=SCALE, dose_in_label=False)
    assert model.dose_ranges == (None, None, (0.3, 3.0))
    assert [model.seen_dose("taxol", dose) for dose in (0.1, 1.0, 100.0, None)] == [0.3, 1.0, 3.0, 3.0]
    assert (model.seen_dose("ethanol", 7.0), model.seen_dose("ethanol", None)) == (7.0, None)
    (tmp_path / "vocabulary.json").write_text(json.dumps(model.as_json()))
    assert Vocabulary.load(tmp_path / "vocabulary.json") == model


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


KNOCKOUTS = index(
    perturbation=["untreated", "KO-1", "KO-2", "taxol"],
    is_control=[True, False, False, False],
    gene=[None, "TP53", "KRAS", None],
    smiles=[None, None, None, "CCCN"],
)


@pytest.fixture
def genes(tmp_path) -> EmbeddingTable:
    table = pl.DataFrame({"gene": ["TP53", "KRAS", "MYC"], "x": [1.0, 2.0, 3.0], "y": [0.5, 0.0, -1.0]})
    table.write_parquet(tmp_path / "genes.parquet")
    return EmbeddingTable(tmp_path / "genes.parquet", key="gene")


def test_genes_are_described_by_a_table_and_what_has_none_keeps_its_row(genes):
    model = Vocabulary.from_index(KNOCKOUTS, info=INFO, normalisation=SCALE, dose_in_label=False)
    assert model.genes == ("TP53", "KRAS", None, None)
    table = model.encode(KNOCKOUTS, genes)
    assert table.structures.dtype == np.float32
    vectors = table.condition(slice(None)).structure[:, 0]
    assert vectors.tolist() == [[0, 0], [1, 0.5], [2, 0], [0, 0]]
    assert table.perturbation[:, 0].tolist() == [3, 0, 1, 2]
    named = model.encode(index(perturbation=["KO-2"]), genes)  # its gene is remembered
    assert named.condition(slice(None)).structure.tolist() == [[[2, 0]]]


def test_an_unseen_gene_needs_its_symbol_and_a_row_of_the_table(genes):
    model = Vocabulary.from_index(KNOCKOUTS, info=INFO, normalisation=SCALE, dose_in_label=False)
    table = model.encode(index(perturbation=["KO-9"], gene=["MYC"]), genes)
    assert table.perturbation.tolist() == [[4]]
    assert table.condition(slice(None)).structure.tolist() == [[[3, -1]]]
    with pytest.raises(UnknownToModel, match=r"'KO-9' \(row 0\).* give the gene's symbol in the column 'gene'"):
        model.encode(index(perturbation=["KO-9"]), genes)
    with pytest.raises(InvalidEmbeddings, match="1 of 1 needed keys are missing: 'BRAF'"):
        model.encode(index(perturbation=["KO-9"], gene=["BRAF"]), genes)


def test_compounds_and_genes_of_one_screen_are_described_together(genes):
    both = Joined(Morgan(size=64), genes)
    model = Vocabulary.from_index(KNOCKOUTS, info=INFO, normalisation=SCALE, dose_in_label=False)
    pair = index(perturbation=[["new", "KO-9"]], smiles=[["c1ccccc1", None]], gene=[[None, "MYC"]])
    structure = model.encode(pair, both).condition(slice(None)).structure[0]
    assert (structure[:, :64].norm(dim=1)).tolist() == pytest.approx([1, 0])
    assert (structure[:, 64:].norm(dim=1)).tolist() == pytest.approx([0, 1])
    with pytest.raises(UnknownToModel, match="'smiles' or the gene's symbol"):
        model.encode(index(perturbation=["new"]), both)


def test_a_molecule_under_another_name_is_looked_up_by_the_name_of_training(tmp_path):
    np.savez(tmp_path / "names.npz", keys=np.array(["ethanol", "taxol", "KO"]), embeddings=np.eye(3))
    table = EmbeddingTable(tmp_path / "names.npz", key="name")
    encoded = MODEL.encode(index(perturbation=["C2H5OH"], smiles=["C(C)O"]), table)
    assert encoded.perturbation.tolist() == [[2]]
    assert encoded.condition(slice(None)).structure.tolist() == [[[1, 0, 0]]]


def test_each_molecule_is_described_once(monkeypatch):
    described: list[str] = []

    def call(self: Morgan, read: list[str]) -> np.ndarray:
        described.extend(read)
        return np.ones((len(read), self.size), np.uint8)

    monkeypatch.setattr(Morgan, "__call__", call)
    repeated = index(perturbation=["a", "b", "c"], smiles=["CCO", "OCC", "C"])
    table = MODEL.encode(repeated, Morgan(size=4))
    assert described == ["CCO", "C"]
    assert table.structures.dtype == np.uint8 and table.structures.shape == (3, 4)


def test_with_doses_in_the_labels_a_described_compound_is_known_at_any_dose():
    model = Vocabulary.from_index(TRAINED, info=INFO, normalisation=SCALE, dose_in_label=True)
    table = model.encode(index(perturbation=["taxol"] * 2, dose_um=[0.3, 1.0], smiles=["CCCN"] * 2), Morgan(size=64))
    assert table.perturbation[:, 0].tolist() == [model.perturbations.index("taxol 0.3 µM"), 4]
    structure = table.condition(slice(None)).structure
    assert structure.sum() > 0 and (structure[0] == structure[1]).all()
    assert table.log_dose[0, 0] < table.log_dose[1, 0]
