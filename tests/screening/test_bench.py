"""What training has seen is predicted, and doses are told, within those of training."""

import numpy as np
import polars as pl
import pytest

from tests.screening.test_screen import done, recipe
from virtassay.screening.bench import Bench, seen_treatment
from virtassay.screening.recipe import Stage


def test_seen_effects_are_those_of_doses_that_training_has_seen(run):
    instrument = recipe(run).instrument(Stage(2, 1))
    vocabulary = instrument.assay.vocabulary
    bench = Bench.of(instrument, (0.1, 1e6), (None,))
    assert bench.names and all(vocabulary.dose_ranges[vocabulary.perturbations.index(name)] for name in bench.names)
    for name, seen in zip(bench.names, bench.seen, strict=True):
        ends = vocabulary.dose_ranges[vocabulary.perturbations.index(name)]
        assert ends is not None
        there, far = (bench.effects([seen_treatment(vocabulary, name, dose, None)])[0] for dose in (ends[1], 1e6))
        assert seen == pytest.approx(there.mean(0))
        assert np.abs(far.mean(0) - seen).max() > 1e-3


def test_a_score_at_a_dose_beyond_training_is_flagged(run, library, tmp_path):
    assert done(run, library, tmp_path / "out", recipe=recipe(run, doses_um=(1.0, 1e6)))
    hits = pl.read_parquet(tmp_path / "out" / "hits.parquet")
    far = hits["flags"].str.contains("beyond the doses of training")
    assert far.to_list() == (hits["dose_um"] == 1e6).to_list() and far.sum() > 0
