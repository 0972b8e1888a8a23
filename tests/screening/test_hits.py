"""Hits say how far to trust each of them."""

import polars as pl

from tests.screening.toy import recipe, screened


def test_a_score_at_a_dose_beyond_training_is_flagged(run, library, tmp_path):
    assert screened(run, library, tmp_path / "out", recipe=recipe(run, doses_um=(1.0, 1e6)))
    hits = pl.read_parquet(tmp_path / "out" / "hits.parquet")
    far = hits["flags"].str.contains("beyond the doses of training")
    assert far.to_list() == (hits["dose_um"] == 1e6).to_list() and far.sum() > 0
