"""Which images the report shows."""

import polars as pl

from tests.evaluation.report.toy_judgement import judgement
from virtassay.evaluation.report.choice import by_stratum, worst_sheets
from virtassay.evaluation.report.sentences import treatments
from virtassay.evaluation.report.sheets import image_source


def test_the_worst_five_are_those_whose_clear_effect_is_explained_least(tmp_path):
    given = judgement(tmp_path, [(f"drug {i}", None, None) for i in range(8)], ("week1", "week2"))
    unclear = ["drug 6", "drug 7"]  # explained worst of all, but there is no effect
    found = treatments(given.effects, given.findings.with_columns(clear=~pl.col("treatment").is_in(unclear)))
    shown = worst_sheets(image_source(given.real, given.generated), by_stratum(given.effects), found)
    assert [(sheet.reason, sheet.treatment) for sheet, *_ in shown] == [
        (f"Worst {i + 1}", f"drug {5 - i}") for i in range(5)
    ]
    assert {sheet.batch for sheet, *_ in shown} == {"week2"}  # where they are worse
    assert all(said.startswith("Over its 2 batches: ") for *_, said in shown)
