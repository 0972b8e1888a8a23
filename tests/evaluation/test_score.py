"""The loop that scores: features by one path, and what could not be measured."""

import numpy as np
import pytest

from virtassay.evaluation import baselines, score
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.featurizers.features import PixelStatistics


def test_features_do_not_depend_on_the_chunk_and_are_of_the_rows_asked(laid_out, monkeypatch):
    rows = np.array([5, 3, len(laid_out.real) + 2])
    whole = score.features_of(PixelStatistics(), rows, laid_out)
    monkeypatch.setattr(score, "CHUNK", 2)
    assert (score.features_of(PixelStatistics(), rows, laid_out) == whole).all()
    assert (whole == PixelStatistics()(laid_out.images(rows))).all()


def test_features_of_another_shape_are_refused(laid_out):
    class Flat(PixelStatistics):
        def __call__(self, images):
            return np.zeros(len(images))

    with pytest.raises(ValueError, match=r"shape \(2,\) for 2 images"):
        score.features_of(Flat(), np.arange(2), laid_out)


def test_every_candidate_is_measured_on_the_rows_that_it_needs(laid_out):
    candidates = {"model": Candidate(laid_out, [baselines.model(laid_out, 0)], 20, is_model=True)}
    rows = score.rows_needed(candidates.values())
    assert (np.diff(rows) > 0).all() and np.isin(candidates["model"].rows("generated"), rows).all()
    [(featurizer, space, measured)] = score.score(candidates, [PixelStatistics()])
    assert featurizer.name == space.featurizer and list(measured) == ["model"] and not measured["model"].unmeasured


def test_reasons_are_named_in_order_with_their_strata():
    measurement = score.Measurement({}, {"b": "no images", "a": "no images", "c": "a hole"})
    assert measurement.warnings("texture", "count") == [
        "texture: 1 strata count (a hole): c.",
        "texture: 2 strata count (no images): b, a.",
    ]
