"""Runs side by side: intervals over seeds, and a multirun that ends in one table."""

import polars as pl
import pytest

from tests.processes import execute
from tests.toy_screen import train_overrides, write_screen
from virtassay.evaluation.leaderboard import cell, over_seeds


def test_the_interval_of_a_mean_over_seeds_has_the_error_of_judging_and_that_of_seeds():
    rows = pl.DataFrame({"name": ["a", "a", "b"], "value": [1.0, 3.0, 5.0], "lower": [0.02, 2.02, 5.0],
                         "upper": [1.98, 3.98, 5.0]})  # fmt: skip
    a, b = over_seeds(rows, ["name"]).iter_rows(named=True)
    assert a["value"] == 2 and a["seeds"] == 2
    assert a["plus"] == pytest.approx(1.96 * ((0.5**2 + 2) / 2) ** 0.5)  # var(1, 3) = 2, standard error 1.96 / 3.92
    assert b["plus"] == 0 and cell(b) == "5.00 ± 0.00"
    assert cell({"value": None, "plus": None}) == "not measured" and cell({"value": 1.0, "plus": None}) == "1.00"


def test_a_multirun_ends_in_one_table(tmp_path):
    write_screen(tmp_path / "screen")
    overrides = [o for o in train_overrides(tmp_path) if not o.startswith("name=")]
    command = [
        "train", "-m", *overrides, "after=judge", "seed=0,1", "coupling=independent,ot",
        "~after.judge.featurizers.efficientnet_lite0", "~after.judge.featurizers.untrained_network",
        "after.most=4", "after.judge.resamples=20", "after.judge.repeats=2",
        "name=${hydra:runtime.choices.coupling}", f"run={tmp_path}/sweep/${{name}}-${{seed}}",
    ]  # fmt: skip
    code, log = execute(command, tmp_path)
    assert code == 0, log
    lines = (tmp_path / "sweep" / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| run | seeds | images seen | calls | effect_explained ")
    assert [line.split(" | ")[:4] for line in lines[2:]] == [
        ["| independent", "2", "80", "4"], ["| ot", "2", "80", "4"],
    ]  # fmt: skip
    assert "±" in lines[2] and len(lines) == 4
