"""Effects of the toy's own treatments, and of copies of controls."""

import numpy as np
import pytest

from virtassay.evaluation import baselines
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.effects import effects, effects_table


@pytest.mark.parametrize(
    ("generator", "low", "high"), [(baselines.model, 0.6, 1.1), (baselines.control_copy, -0.3, 0.3)]
)
def test_the_truth_explains_the_effects_and_a_control_none(laid_out, pixels, generator, low, high):
    draw = generator(laid_out, 0)
    rows = np.concatenate([side.generated for side in draw.values()])
    assert (rows < laid_out.n_images).all()
    scores, unmeasured = effects(Candidate(laid_out, [draw], 50, is_model=True), pixels)
    assert low < scores["effect_explained", POOLED].value < high and not unmeasured
    table = effects_table(laid_out, draw, pixels, scores)
    assert table["stratum"].to_list() == [s.name for s in laid_out.strata]
    assert table["n_generated"].to_list() == [len(side.generated) for side in draw.values()]
