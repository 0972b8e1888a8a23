"""The report's page and its numbers."""

import json

import polars as pl

from tests.screening.toy import screened


def test_truth_is_held_against_the_ranking_and_changes_nothing(run, library, tmp_path, left_alone):
    lines = [line.split(" ") for line in library.read_text().splitlines()]
    best = pl.read_parquet(left_alone / "hits.parquet")["name"][0]
    rows = "".join(f"{smiles},{name},{int(name == best)}\n" for smiles, name in lines)
    (tmp_path / "library.csv").write_text("smiles,name,works\n" + rows)
    assert screened(run, tmp_path / "library.csv", tmp_path / "s", truth="works")
    hits = pl.read_parquet(tmp_path / "s" / "hits.parquet")
    assert hits.drop("truth").equals(pl.read_parquet(left_alone / "hits.parquet"))
    assert hits.filter(pl.col("truth") == 1)["rank"].to_list() == [1]
    told = json.loads((tmp_path / "s" / "report.json").read_text())
    assert told["enrichment"] == {
        "compounds": 14, "actives": 1, "yes_or_no": True, "roc_auc": 1.0, "ef1": 14.0, "ef5": 14.0
    }  # fmt: skip
    assert "Against what is known" in (tmp_path / "s" / "report.html").read_text()
    assert "Against what is known" not in (left_alone / "report.html").read_text()
    assert any("doses within a factor of 1:" in warning for warning in told["warnings"])  # the toy screen has one dose
