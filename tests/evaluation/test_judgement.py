"""The rows of all strata together."""

from virtassay.evaluation.judgement import POOLED, pooled


def test_pooled_rows_are_found_and_those_of_strata_left_out():
    row = {"featurizer": "texture", "metric": "pds", "generator": "model", "stratum": POOLED}
    assert pooled([row, {**row, "stratum": "week1 | a"}]) == {("texture", "pds", "model"): row}
