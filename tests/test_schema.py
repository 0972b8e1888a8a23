"""What an index may hold, how each fault of it is told, and what its rows are called."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import torch

from virtassay.schema import (
    FIELDS,
    NULL,
    Condition,
    InvalidIndex,
    Minibatch,
    lower,
    offenders,
    require_controls,
    treatment,
    treatment_name,
    validate,
)

N = 8


def rows(**changes: Any) -> pl.DataFrame:
    """Eight images of one plate, four of controls; a list of values or one value replaces or adds a column."""
    table = pl.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(N)],
            "plate": "007",
            "well": [f"A{k // 2 + 1:02d}" for k in range(N)],
            "batch": "b1",
            "perturbation": ["DMSO"] * 4 + ["taxol"] * 4,
            "is_control": [True] * 4 + [False] * 4,
        }
    )
    series = {k: pl.Series(k, v if isinstance(v, list) else [v] * N) for k, v in changes.items()}
    return table.with_columns(**series)


def test_the_normal_form_is_typed_and_lists_what_may_be_combined():
    index = validate(rows(plate=7, dose_um=[0] * 4 + [1] * 4, smiles=None, is_control=[1, 1, 1, 1, 0, 0, 0, 0]))
    assert index["plate"].dtype == pl.String and index["is_control"].dtype == pl.Boolean
    assert index["perturbation"].to_list() == [["DMSO"]] * 4 + [["taxol"]] * 4
    assert index["dose_um"].to_list() == [[0.0]] * 4 + [[1.0]] * 4
    assert index["smiles"].to_list() == [[None]] * N  # not given, once for each perturbation
    assert validate(index).equals(index)


def test_lists_are_undone_only_where_no_well_holds_a_combination():
    one = validate(rows(dose_um=0.5))
    assert lower(one)["perturbation"].dtype == pl.String and lower(one)["dose_um"].to_list() == [0.5] * N
    assert validate(lower(one)).equals(one)
    both = validate(rows(perturbation=[["a"]] * 7 + [["a", "b"]]))
    assert lower(both).equals(both)


WRONG = {
    "empty": (rows().head(0), "the table is empty"),
    "missing column": (rows().drop("plate", "well"), r"\['plate', 'well'\] are missing. Columns found"),
    "repeated": (rows(image_id=["a", "b", "c", "a", "d", "e", "f", "g"]), r"repeats at row 0 \('a'\), row 3 \('a'\);"),
    "no plate": (rows(plate=["P"] * 7 + [""]), r"'plate' is empty at row 7 \(''\)"),
    "null well": (rows(well=["A01"] * 7 + [None]), r"'well' is empty at row 7 \(None\)"),
    "null control": (rows(is_control=[None] + [True] * 7), r"'is_control' is empty at row 0"),
    "no perturbation": (rows(perturbation=["x"] * 6 + ["", None]), r"'perturbation' is empty at row 6 .*, row 7 "),
    "null in a combination": (rows(perturbation=[["a", "b"]] * 7 + [["a", None]]), "'perturbation' is empty at row 7"),
    "empty in a combination": (rows(perturbation=[["a", "b"]] * 7 + [["a", ""]]), "'perturbation' is empty at row 7"),
    "no entries": (rows(perturbation=[["a"]] * 7 + [[]]), "'perturbation' is empty at row 7"),
    "dose as text": (
        rows(dose_um=["1", "2", "3", "4", "5", "6", "0.3 uM", None]),
        r"'dose_um' holds String where numbers are expected: row 6 \('0.3 uM'\)\. Write bare numbers",
    ),
    "numbers as text": (rows(dose_um=["1"] * N), r"'dose_um' holds String .*: row 0 \('1'\), .* 8 rows in all"),
    "doses as text": (
        rows(dose_um=[["1"]] * 7 + [["high"]]),
        r"'dose_um' holds String where numbers are expected: row 7 \(\['high'\]\)\.",
    ),
    "doses as truth": (rows(dose_um=True), r"'dose_um' holds Boolean"),
    "negative dose": (rows(dose_um=[1.0] * 7 + [-1.0]), r"negative or not finite at row 7 \(\[-1.0\]\); give µM ≥ 0"),
    "infinite dose": (rows(dose_um=[float("inf")] + [1.0] * 7), "negative or not finite at row 0"),
    "nan dose": (rows(dose_um=[float("nan")] + [1.0] * 7), "negative or not finite at row 0"),
    "one dose for two": (rows(perturbation=[["a", "b"]] * N, dose_um=[[1.0, 2.0]] * 7 + [[1.0]]), r"than 'pert.*row 7"),
    "two wells": (rows(well=[["A01"]] * N), r"'well' holds lists; only \['perturbation'"),
    "yes": (rows(is_control="yes"), r"'is_control' holds String: row 0 \('yes'\).*write true/false"),
    "two": (rows(is_control=[0, 1, 2, 0, 0, 0, 1, 1]), r"'is_control' holds Int64: row 2 \(2\); write true/false"),
    "split": (rows(split=["train"] * 7 + ["tset"]), r"'split' is unknown at row 7 \('tset'\); valid: \['train', 'val'"),
    "kind": (rows(perturbation_type="drug"), r"'perturbation_type' is unknown at .*valid: \['compound', 'crispr'"),
    "position": (rows(x_px="left"), "'x_px' holds String where numbers are expected"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_index_is_told_with_its_column_and_rows(case: str):
    table, message = WRONG[case]
    with pytest.raises(InvalidIndex, match=f"^my.csv: .*{message}"):
        validate(table, "my.csv")


def test_the_first_five_offenders_are_shown_and_all_counted():
    table = pl.DataFrame({"a": list(range(9))})
    assert offenders(table, pl.col("a") == 3, "a") == "row 3 (3)"
    assert (
        offenders(table, pl.col("a") > 0, "a")
        == "row 1 (1), row 2 (2), row 3 (3), row 4 (4), row 5 (5), … 8 rows in all"
    )


def test_a_treatment_is_named_by_its_perturbations_and_doses_in_any_order():
    index = validate(
        rows(
            perturbation=[["DMSO"]] * 4 + [["b", "a"], ["a", "b"], ["a"], ["a"]],
            dose_um=[[0.0]] * 4 + [[0.3, 10.0], [10.0, 0.3], [None], [1e-4]],
        )
    )
    assert treatment(index).to_list() == ["DMSO"] * 4 + ["a 10 µM + b 0.3 µM"] * 2 + ["a", "a 0.0001 µM"]
    assert treatment(index.drop("dose_um"))[4] == "a + b"
    assert treatment_name(["taxol"], None) == "taxol"


def test_a_batch_without_controls_is_named():
    require_controls(rows())
    with pytest.raises(InvalidIndex, match=r"s.csv: no control images in batch\(es\) \['b2'\]\. .*leave those"):
        require_controls(rows(batch=["b1"] * 6 + ["b2"] * 2), "s.csv")
    many = rows(batch=[f"b{k}" for k in range(N)], is_control=[True] + [False] * 7)
    with pytest.raises(InvalidIndex, match=r"\['b1', 'b2', 'b3', 'b4', 'b5'\] and 2 more"):
        require_controls(many)


def condition(n: int = 3) -> Condition:
    return Condition(
        perturbation=torch.arange(n)[:, None], structure=torch.ones(n, 1, 4), log_dose=torch.zeros(n, 1),
        batch=torch.arange(n), cell_type=torch.full((n,), NULL),
    )  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_nulled_sample_by_sample_and_the_others_stay(field: str):
    whole = replace(condition(), cell_type=torch.zeros(3, dtype=torch.long), control_set=torch.ones(3, 2, 1, 2, 2))
    half = whole.without(field, torch.tensor([True, False, True]))
    assert torch.equal(half[[1]].log_dose, whole[[1]].log_dose)
    gone = {"perturbation": half.perturbation == NULL, "dose": half.log_dose.isnan(), "batch": half.batch == NULL,
            "cell_type": half.cell_type == NULL}  # fmt: skip
    for name, null in gone.items():
        takes = name == field or (field, name) == ("perturbation", "dose")
        assert null.reshape(-1).tolist() == ([True, False, True] if takes else [False] * 3), name
    assert half.control_set is not None
    assert half.control_set.isnan().flatten(1).all(1).tolist() == (
        [True, False, True] if field == "batch" else [False] * 3
    )


def test_a_condition_has_no_other_fields():
    with pytest.raises(ValueError, match="'dosage'"):
        condition().without("dosage")


def test_treatments_are_as_far_apart_as_their_structures_doses_and_names():
    c = replace(
        condition(4), perturbation=torch.tensor([[0, 1], [1, 0], [2, NULL], [2, NULL]]),
        structure=torch.tensor([[[2.0, 0], [0, 3]], [[0, 1], [1, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]]]),
        log_dose=torch.tensor([[0.0, 0.5], [0.5, 0.0], [1.0, torch.nan], [2.0, torch.nan]]),
    )  # fmt: skip
    apart = c.distance()
    assert apart[0, 1].item() == pytest.approx(0, abs=1e-6), "the order of a combination does not matter"
    assert apart[2, 3].item() == pytest.approx(1) and apart[0, 2].item() == pytest.approx(1 + 0.25 + 1)


def test_a_condition_without_its_perturbation_keeps_the_batch():
    null = condition().without("perturbation")
    assert (null.perturbation == NULL).all() and (null.structure == 0).all() and null.log_dose.isnan().all()
    assert null.batch.tolist() == [0, 1, 2] and len(null) == 3


@pytest.mark.parametrize("control", [None, torch.ones(3, 1, 2, 2, dtype=torch.uint8)])
def test_a_minibatch_is_taken_apart_and_moved_with_its_condition(control: torch.Tensor | None):
    whole = Minibatch(
        torch.zeros(3, 1, 2, 2, dtype=torch.uint8), control, None, condition(), torch.arange(3), torch.arange(3)
    )
    part = whole[torch.tensor([2, 0])]
    assert part.row.tolist() == [2, 0] and part.condition.batch.tolist() == [2, 0]
    assert (part.control is None) == (control is None)
    assert whole.to("meta").condition.log_dose.device.type == "meta"
