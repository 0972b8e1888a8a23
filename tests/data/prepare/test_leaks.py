"""The leak audit finds what is planted on both sides of a split, and nothing where all is apart."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from tests.data.prepare.own_screen import N, screen
from virtassay.data.prepare import leaks
from virtassay.data.prepare.splits import split_by_values, split_unseen_perturbation
from virtassay.schema import validate

SMILES = {"taxol": "CC(C)O", "nocodazole": "c1ccccc1", "ALLN": "CCc1ccccc1"}


def index(*rows: tuple[str, str, str, str], **columns: list) -> pl.DataFrame:
    """An index of (well, site, drug, split), all on one plate."""
    table = pl.DataFrame(rows, schema=["well", "site", "perturbation", "split"], orient="row")
    table = table.with_columns(
        image_id=pl.format("i{}", pl.int_range(pl.len())), plate=pl.lit("P1"), batch=pl.lit("b1"),
        is_control=pl.col("perturbation") == "DMSO", smiles=pl.col("perturbation").replace_strict(SMILES, default=None),
    )  # fmt: skip
    return validate(table.with_columns(**{name: pl.Series(values) for name, values in columns.items()}))


CLEAN = [
    ("A1", "1", "DMSO", "train"), ("A2", "1", "DMSO", "test"), ("B1", "1", "taxol", "train"),
    ("B2", "1", "taxol", "val"), ("B3", "1", "taxol", "test"), ("C1", "1", "nocodazole", "test"),
]  # fmt: skip


def found(table: pl.DataFrame) -> dict[str, list[str]]:
    return {check.name: list(check.offenders) for check in leaks.audit_index(table) if not check.passed}


def test_a_clean_split_passes_every_check():
    checks = leaks.audit_index(index(*CLEAN))
    assert {check.name for check in checks} == set(leaks.MEANING) - {"same_images", "near_images"}
    assert all(check.passed for check in checks)
    assert leaks.refuse_leaks(checks, [], "screen") == checks


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("B3", "2", "taxol", "train"), {"wells": ["P1 B3"]}),
        (("B3", "1", "taxol", "val"), {"wells": ["P1 B3"], "fields": ["P1 B3 1"]}),
        (("A2", "2", "DMSO", "train"), {"control_wells": ["P1 A2"]}),
        (("B1", "2", "taxol", "val"), {"watched_wells": ["P1 B1"]}),
        (("D1", "1", "Nocodazole ", "train"), {"names": ["nocodazole (test) = Nocodazole "]}),
    ],
)
def test_what_is_planted_on_both_sides_is_found(row: tuple, expected: dict):
    assert found(index(*CLEAN, row)) == expected


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("C1=CC=CC=C1", {"molecules", "skeletons"}),  # the same molecule written otherwise
        ("c1ccccc1.Cl", {"skeletons"}),  # its salt
        ("[2H]c1ccccc1", {"skeletons"}),  # labelled
        ("Cc1ccccc1", set()),
    ],
)
def test_a_molecule_under_another_name_is_found(smiles: str, expected: set[str]):
    table = index(*CLEAN, ("D1", "1", "X-17", "train"))
    other = pl.when(pl.col("image_id") == "i6").then(pl.concat_list(pl.lit(smiles))).otherwise("smiles")
    assert set(found(table.with_columns(smiles=other))) == expected
    apart = [("C1", "1", "X-17", "train"), ("C2", "1", "nocodazole", "val"), ("C3", "1", "nocodazole", "test")]
    assert found(index(*CLEAN[:5], *apart)) == {}, "a molecule that is trained on by its own name is not claimed unseen"


def test_a_leak_stops_unless_it_is_accepted_by_name():
    checks = leaks.audit_index(index(*CLEAN, *[(f"E{i}", s, "taxol", s_) for i in range(7) for s, s_ in SIDES]))
    with pytest.raises(
        leaks.LeakFound, match=r"own.csv: .*7 wells are on both sides .*P1 E0, .*P1 E4, ….*accept=\[wells\]"
    ):
        leaks.refuse_leaks(checks, ["control_wells"], "own.csv")
    judged = {check.name: check for check in leaks.refuse_leaks(checks, ["wells"], "own.csv")}
    assert judged["wells"].accepted and judged["wells"].n == 7 and not judged["fields"].accepted
    with pytest.raises(ValueError, match=r"\['well'\] are no checks of the leak audit; those are \['wells'"):
        leaks.refuse_leaks(checks, ["well"], "own.csv")


SIDES = [("1", "train"), ("2", "test")]


def test_the_nearest_training_compound_of_each_unseen_one():
    near = leaks.nearest_training_compounds(index(*CLEAN, ("D1", "1", "ALLN", "train")))
    assert [(row["perturbation"], row["nearest"]) for row in near] == [("nocodazole", "ALLN")]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    one, other = (
        set(generator.GetFingerprint(Chem.MolFromSmiles(SMILES[d])).GetOnBits()) for d in ("nocodazole", "ALLN")
    )
    assert near[0]["tanimoto"] == pytest.approx(len(one & other) / len(one | other), abs=5e-4)
    assert leaks.nearest_training_compounds(index(*CLEAN[:5])) == []


def test_the_audit_is_written_beside_the_images(prepare: Callable, tmp_path: Path):
    table = screen().with_columns(smiles=pl.when(pl.col("conc") > 1).then(pl.lit("CCCO")).otherwise("smiles"))
    table = table.with_columns(compound=pl.when(pl.col("conc") > 1).then(pl.lit("ALLN")).otherwise("compound"))
    dataset = prepare(table=table, split=lambda i: split_unseen_perturbation(i, test=["ALLN"]))
    stored = json.loads((dataset.root / "audit.json").read_text())
    assert {check["name"]: check["passed"] for check in stored["checks"]} == dict.fromkeys(leaks.MEANING, True)
    assert [row["perturbation"] for row in stored["nearest_training_compound"]] == ["ALLN"]
    assert [row["nearest"] for row in stored["nearest_training_compound"]] == ["taxol"]
    assert all(check.passed for check in leaks.audit(dataset))


def test_a_leaking_screen_is_not_written_and_an_accepted_leak_is_recorded(prepare: Callable, tmp_path: Path):
    table = screen().with_columns(
        site=pl.Series(["1", "2"] * (N // 2)), Well=pl.Series([f"A{i // 8}" for i in range(N)])
    )
    table = table.with_columns(compound=pl.lit("DMSO"), conc=0.0, smiles=pl.lit(""))
    split = {"split": lambda i: split_by_values(i, test={"site": ["2"]})}
    with pytest.raises(leaks.LeakFound, match=r"control_wells: 000 A0"):
        prepare(table=table, **split)
    assert not (tmp_path / "out").exists()
    dataset = prepare(table=table, accept=["control_wells"], **split)
    checks = {check["name"]: check for check in json.loads((dataset.root / "audit.json").read_text())["checks"]}
    assert checks["control_wells"]["accepted"] and not checks["control_wells"]["passed"]


def test_a_few_pairs_may_be_alike_by_chance():
    few, many = (leaks.LeakCheck("near_images", n, ("a (test) = b",) * n, allowed=2) for n in (2, 3))
    assert leaks.refuse_leaks([few], [], "here") == [few] and few.passed
    with pytest.raises(leaks.LeakFound, match="3 pairs of images are nearly the same"):
        leaks.refuse_leaks([many], [], "here")
