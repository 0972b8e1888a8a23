"""What training has seen is predicted, and doses are told, within those of training."""

import numpy as np
import pytest

from tests.screening.toy import recipe
from virtassay.screening.recipe import Stage
from virtassay.screening.reference import ReferenceEffects, training_query


def test_seen_effects_are_those_of_doses_that_training_has_seen(run):
    predictor = recipe(run).predictor(Stage(2, 1))
    vocabulary = predictor.assay.vocabulary
    reference = ReferenceEffects.of(predictor, (0.1, 1e6), (None,))
    assert reference.names and all(
        vocabulary.dose_ranges[vocabulary.perturbations.index(name)] for name in reference.names
    )
    for name, seen in zip(reference.names, reference.seen, strict=True):
        ends = vocabulary.dose_ranges[vocabulary.perturbations.index(name)]
        assert ends is not None
        there, far = (reference.effects([training_query(vocabulary, name, dose, None)])[0] for dose in (ends[1], 1e6))
        assert seen == pytest.approx(there.mean(0))
        assert np.abs(far.mean(0) - seen).max() > 1e-3
