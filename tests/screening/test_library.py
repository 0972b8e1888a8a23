"""Libraries as people have them: each molecule once, and everything that was left out is listed with its reason."""

import gzip
import tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from virtassay.files import identity
from virtassay.screening import library
from virtassay.screening.library import InvalidLibrary, LibraryColumns, parent, prepare_library, rows_of

ROWS = [
    ("ethanol", "CCO"),
    ("ethanol again", "OCC"),
    ("nonsense", "C1CC"),
    ("a salt", "CC(=O)[O-].[Na+]"),
    ("its acid", "CC(=O)O"),
    ("with an extension", "c1ccccc1O |c:0|"),
    ("nothing", ""),
    ("L-alanine", "C[C@H](N)C(=O)O"),
    ("D-alanine", "C[C@@H](N)C(=O)O"),
    ("table salt", "[Na+].[Cl-]"),
]


def written(tmp_path, ending):
    path = tmp_path / f"library{ending}"
    table = pl.DataFrame(ROWS, schema=["name", "smiles"], orient="row")
    if ending == ".parquet":
        table.write_parquet(path)
    elif ending == ".smi":
        path.write_text("".join(f"{smiles.split(' ')[0]} {name}\n" for name, smiles in ROWS if smiles), "utf-8")
    elif ending == ".sdf":
        with Chem.SDWriter(str(path)) as writer:
            for name, smiles in ROWS:
                molecule = Chem.MolFromSmiles(smiles.split(" ")[0]) if name not in ("nonsense", "nothing") else None
                if molecule is not None:
                    molecule.SetProp("_Name", name)
                    writer.write(molecule)
    else:
        text = table.write_csv(separator="\t" if ".tsv" in ending else ",")
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet", ".smi", ".sdf"])
def test_each_molecule_once_whatever_the_file(tmp_path, ending):
    found = prepare_library(written(tmp_path, ending), tmp_path / "out")
    table = pl.read_parquet(found.table)
    assert table["name"].to_list() == ["ethanol", "a salt", "with an extension", "L-alanine", "D-alanine"]
    assert table["smiles"].to_list() == ["CCO", "CC(=O)O", "Oc1ccccc1", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"]
    assert table["is_salt"].to_list() == [False, True, False, False, False]
    assert table["compound"].to_list() == list(range(5)) and found.compounds == 5
    assert rows_of(found, np.array([1, 2]))["name"].to_list() == ["a salt", "with an extension"]
    rejected = pl.read_csv(tmp_path / "out" / "rejected.csv")
    assert rejected.height == found.rejected
    reasons = dict(zip(rejected["name"], rejected["reason"], strict=True))
    assert reasons["ethanol again"].startswith("the same molecule as row 1")
    assert reasons["its acid"].startswith("the same molecule as row ")
    assert reasons["table salt"] == "a single atom or ion, which has no structure to tell from"
    if ending not in (".smi", ".sdf"):
        assert reasons["nonsense"] == reasons["nothing"] == "no molecule that RDKit can read"
    assert not list((tmp_path / "out").glob("*.partial*"))


def test_the_same_library_has_the_same_hash_and_another_has_another(tmp_path):
    one, same = (prepare_library(written(tmp_path, ".csv"), tmp_path / place) for place in "ab")
    other = prepare_library(written(tmp_path, ".smi"), tmp_path / "c")
    assert one.sha256 == same.sha256 == other.sha256
    (tmp_path / "d.smi").write_text("CCO ethanol\n")
    assert prepare_library(tmp_path / "d.smi", tmp_path / "d").sha256 != one.sha256


def test_columns_can_be_named_and_a_wrong_one_is_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("structure,code\nCCO,A1\nCCC,\n")
    found = prepare_library(path, tmp_path, LibraryColumns("structure", "code"))
    assert pl.read_parquet(found.table)["name"].to_list() == ["A1", "row 2"]
    with pytest.raises(InvalidLibrary, match=r"no column of SMILES .*it has \['structure', 'code'\]: say smiles="):
        prepare_library(path, tmp_path)
    with pytest.raises(InvalidLibrary, match="no column 'smile'"):
        prepare_library(path, tmp_path, LibraryColumns("smile"))


def test_what_is_no_library_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no library"):
        prepare_library(tmp_path / "none.csv", tmp_path / "out")
    (tmp_path / "x.docx").write_text("CCO")
    with pytest.raises(InvalidLibrary, match=r"unknown kind; \.smi"):
        prepare_library(tmp_path / "x.docx", tmp_path / "out")
    (tmp_path / "empty.smi").write_text("")
    with pytest.raises(InvalidLibrary, match="the file is empty"):
        prepare_library(tmp_path / "empty.smi", tmp_path / "out")
    (tmp_path / "bad.smi").write_text("xyz\nC1CC\n")
    with pytest.raises(InvalidLibrary, match=r"none of 2 rows is a molecule \(row 1: 'xyz'"):
        prepare_library(tmp_path / "bad.smi", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "CHUNK", 200)
    peaks = []
    for n in (400, 4000):
        path = tmp_path / f"{n}.smi"
        path.write_text("".join(f"{'C' * (1 + i % 40)}{'N' * (i // 40 + 1)} m{i}\n" for i in range(n)))
        tracemalloc.start()
        assert prepare_library(path, tmp_path / str(n)).compounds > 0.9 * n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_parent_is_the_organic_part_without_charge():
    assert parent("C[NH3+].[Cl-]") == ("CN", True)
    assert parent("[Na+].[Cl-]") == ("", True) and parent("[Li+]") == parent("C") == ("", False)
    assert parent("garbage(") is None


def test_rows_are_found_in_whatever_group_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "CHUNK", 4)
    path = tmp_path / "x.smi"
    path.write_text("".join(f"{'C' * n} m{n}\n" + "nonsense x\n" * (n % 3) for n in range(2, 16)))
    found = prepare_library(path, tmp_path)
    assert pq.ParquetFile(found.table).num_row_groups > 3
    for numbers in ([0], [13], [2, 3, 4], [0, 7, 9, 13], list(range(14))):
        rows = rows_of(found, np.array(numbers), ["compound", "smiles"])
        assert rows["compound"].to_list() == numbers and rows["smiles"].to_list() == ["C" * (n + 2) for n in numbers]


@pytest.fixture
def store():
    """An object store, as far as fsspec knows: files in the memory of this process."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def web(tmp_path):
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet", ".sdf"])
def test_a_library_can_lie_elsewhere(tmp_path, store, web, ending):
    path = written(tmp_path, ending)
    here = prepare_library(path, tmp_path / "here")
    (tmp_path / "served" / path.name).write_bytes(path.read_bytes())
    store.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    for place, url in (("a", f"memory://bucket/{path.name}"), ("b", f"{web}/{path.name}")):
        found = prepare_library(url, tmp_path / place)
        assert (found.compounds, found.rejected, found.sha256) == (here.compounds, here.rejected, here.sha256)
        assert sorted(p.name for p in (tmp_path / place).iterdir()) == ["library.parquet", "rejected.csv"]
        assert str(path.stat().st_size) in identity(url)


@pytest.mark.parametrize("url", ["{web}/none.csv", "http://127.0.0.1:1/x.csv", "nostore://x.csv", "memory://no/x.csv"])
def test_a_url_that_cannot_be_read_is_told(tmp_path, web, url):
    url = url.format(web=web)
    with pytest.raises(OSError, match=f"{url} cannot be read .*is the address right"):
        prepare_library(url, tmp_path / "out")
    with pytest.raises(OSError, match=f"{url} cannot be read"):
        identity(url)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_library_is_told(tmp_path):
    path = written(tmp_path, ".csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidLibrary, match="is damaged or no text"):
        prepare_library(path, tmp_path / "out")
