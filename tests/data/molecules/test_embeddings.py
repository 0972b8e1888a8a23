"""Embedding tables: what is read from parquet and npz, and every way in which a table can be wrong."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from virtassay.data.molecules.descriptors import Component
from virtassay.data.molecules.embeddings import EmbeddingTable, InvalidEmbeddings, with_sha256

ETHANOL, TAXOL = Component("ethanol", "CCO"), Component("taxol", "CCN(CC)CC", "TUBB")


def parquet(folder: Path, **columns: Any) -> Path:
    pl.DataFrame(columns, strict=False).write_parquet(folder / "table.parquet")
    return folder / "table.parquet"


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "table.npz", **arrays)
    return folder / "table.npz"


def test_list_column_numeric_columns_and_npz_hold_the_same(tmp_path):
    rows = np.array([[1, 2.5], [3, 4]], np.float32)
    for path in (
        parquet(tmp_path, smiles=["OCC", "C(C)N(CC)CC"], vector=rows.tolist()),
        parquet(tmp_path, smiles=["OCC", "C(C)N(CC)CC"], source=["a", "b"], x=[1, 3], y=[2.5, 4]),
        npz(tmp_path, keys=np.array(["OCC", "C(C)N(CC)CC"]), embeddings=rows.astype(np.float64)),
    ):
        table = EmbeddingTable(path)
        assert table.size == 2
        read = [table.reads(component) for component in (TAXOL, ETHANOL, TAXOL)]
        vectors = table([key for key in read if key is not None])  # SMILES are canonical on both sides
        assert vectors.dtype == np.float32
        assert vectors.tolist() == [[3, 4], [1, 2.5], [3, 4]]
        assert table([]).shape == (0, 2)


def test_a_fixed_size_array_column_is_a_list_column(tmp_path):
    vectors = pl.Series("vector", [[1.0, 2.0], [3.0, 4.0]], pl.Array(pl.Float64, 2))
    pl.DataFrame({"gene": ["A", "B"], "vector": vectors}).write_parquet(tmp_path / "t.parquet")
    assert EmbeddingTable(tmp_path / "t.parquet", key="gene")(["B"]).tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("key", "text", "needs"),
    [("smiles", "CCN(CC)CC", "SMILES"), ("inchikey", "ZMANZCXQSJIPKH-UHFFFAOYSA-N", "SMILES"),
     ("name", "taxol", "'perturbation'"), ("gene", "TUBB", "'gene'")],
)  # fmt: skip
def test_each_key_reads_its_part_of_a_component(tmp_path, key, text, needs):
    table = EmbeddingTable(parquet(tmp_path, **{key: [text], "x": [1.0]}), key=key)
    assert table.reads(TAXOL) == text
    assert table([text]).tolist() == [[1.0]]
    assert needs in table.needs
    assert table.reads(Component("nothing known")) == ("nothing known" if key == "name" else None)


def test_keys_that_the_table_lacks_are_named(tmp_path):
    table = EmbeddingTable(parquet(tmp_path, gene=["A"], x=[1.0]), key="gene")
    with pytest.raises(InvalidEmbeddings, match=r"6 of 7 .* 'B', 'C', 'D', 'E', 'F', …\. Add a row"):
        table(list("ABCDEFG"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"smiles": ["CCO", "C", "OCC"], "x": [1.0, 2, 3]}, r"2 rows share a key \(once canonical\): 'CCO', 'OCC'"),
        ({"smiles": ["CCO", "CCO"], "x": [1.0, 2]}, "2 rows share a key"),
        ({"smiles": ["CCO", "xyz"], "x": [1.0, 2]}, "1 SMILES cannot be parsed: 'xyz'"),
        ({"smiles": ["CCO", None, ""], "x": [1.0, 2, 3]}, r"empty in row\(s\) 1, 2"),
        ({"smiles": ["CCO", "C"], "x": [1.0, float("nan")]}, "1 vectors are NaN.*: 'C'"),
        ({"smiles": ["CCO", "C"], "x": [float("inf"), 1.0]}, "1 vectors are NaN.*: 'CCO'"),
        ({"smiles": ["CCO", "C"], "x": [None, 1.0]}, "1 vectors are NaN.*: 'CCO'"),
        ({"smiles": ["CCO"], "x": [1e300]}, "1 vectors are NaN"),  # infinite in float32
        ({"smiles": ["CCO"], "x": [[1.0, None]]}, "1 vectors are NaN"),
        ({"smiles": ["CCO", "C"], "x": [0.0, 1.0]}, 'all zero, which means "no structure": .CCO'),
        ({"smiles": ["CCO", "C", "CC"], "x": [[1.0], [1.0, 2], [3.0]]}, "most vectors have 1 numbers, .* 'C'"),
        ({"smiles": ["CCO", "C", "CC"], "x": [[1.0], None, [3.0]]}, "most vectors have 1 numbers, .* 'C'"),
        ({"smiles": ["CCO"], "x": [["a"]]}, "not lists of numbers"),
        ({"smiles": ["CCO"], "x": ["a"]}, "0 list .* 0 numeric"),
        ({"smiles": ["CCO"], "x": [[1.0]], "y": [2.0]}, r"1 list .*\['x'\] and 1 numeric .*\['y'\]"),
        ({"smiles": ["CCO"], "x": [[1.0]], "y": [[2.0]]}, "2 list"),
        ({"smiles": ["CCO"], "x": [1.0], "__index_level_0__": [0]}, "index=False"),
        ({"name": ["CCO"], "x": [1.0]}, r"no column 'smiles'; it has \['name', 'x'\]"),
        ({"smiles": pl.Series([], dtype=pl.String), "x": pl.Series([], dtype=pl.Float32)}, "is empty: 0 keys"),
        ({"smiles": pl.Series([], dtype=pl.String), "x": pl.Series([], dtype=pl.List(pl.Float32))}, "is empty: 0 keys"),
        ({"smiles": ["CCO"], "x": pl.Series([[]], dtype=pl.List(pl.Float32))}, "vectors of 0 numbers"),
    ],
)
def test_a_parquet_table_that_cannot_be_used_is_refused_by_name(tmp_path, columns, message):
    with pytest.raises(InvalidEmbeddings, match=message):
        EmbeddingTable(parquet(tmp_path, **columns))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"keys": np.array(["C"])}, "embeddings"),
        ({"keys": np.array(["C"]), "embeddings": np.ones(1)}, r"\(1,\)"),
        ({"keys": np.array(["C"]), "embeddings": np.ones((2, 3))}, r"keys <U1 \(1,\) and embeddings float64 \(2, 3\)"),
        ({"keys": np.array([1]), "embeddings": np.ones((1, 3))}, "int64"),
        ({"keys": np.array(["C"]), "embeddings": np.array([["a"]])}, "numbers"),
        ({"keys": np.array(["C"], dtype=object), "embeddings": np.ones((1, 3))}, "allow_pickle"),
        ({"keys": np.array(["C"]), "embeddings": np.array([[1], [1, 2]], dtype=object)}, "allow_pickle"),  # ragged
        ({"keys": np.array(["C", ""]), "embeddings": np.ones((2, 3))}, r"empty in row\(s\) 1"),
        ({"keys": np.array(["C"]), "embeddings": np.full((1, 3), 1e300)}, "1 vectors are NaN, infinite"),
    ],
)
def test_an_npz_table_that_cannot_be_used_is_refused(tmp_path, arrays, message):
    with pytest.raises(InvalidEmbeddings, match=message):
        EmbeddingTable(npz(tmp_path, **arrays))


def test_a_damaged_or_absent_file_and_an_unknown_key_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        EmbeddingTable(tmp_path / "none.npz")
    np.save(tmp_path / "t.npy", np.ones(3))
    (tmp_path / "t.npy").rename(tmp_path / "array.npz")
    with pytest.raises(InvalidEmbeddings, match="cannot be read"):
        EmbeddingTable(tmp_path / "array.npz")
    for name in ("t.npz", "t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(b"smiles,x\nCCO,1\n")
        with pytest.raises(InvalidEmbeddings, match="cannot be read"):
            EmbeddingTable(tmp_path / name)
    with pytest.raises(InvalidEmbeddings, match=r"'cas' is unknown.*'smiles', 'inchikey', 'name', 'gene'"):
        EmbeddingTable(parquet(tmp_path, cas=["64-17-5"], x=[1.0]), key="cas")


def test_a_run_is_never_rebuilt_on_another_table(tmp_path):
    path = parquet(tmp_path, smiles=["CCO"], x=[1.0])
    node = {
        "_target_": "virtassay.data.molecules.embeddings.EmbeddingTable",
        "path": str(path),
        "key": "smiles",
        "sha256": None,
    }
    other = {"_target_": "virtassay.data.molecules.descriptors.Morgan", "size": 64}
    stored = with_sha256({"molecules": {"first": node, "second": other}, "steps": [1, node], "seed": 0})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert stored["molecules"] == {"first": {**node, "sha256": digest}, "second": other}
    assert stored["steps"][1]["sha256"] == digest and stored["seed"] == 0
    assert node["sha256"] is None
    EmbeddingTable(path, sha256=digest)
    parquet(tmp_path, smiles=["CCO"], x=[2.0])
    with pytest.raises(InvalidEmbeddings, match=f"but {digest} is asked for: the table has changed"):
        EmbeddingTable(path, sha256=digest)
    assert with_sha256(stored) == stored  # what is there stays
