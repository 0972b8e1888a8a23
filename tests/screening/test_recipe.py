"""A recipe scores a compound the same whatever else is scored, and says what is wrong with it."""

import polars as pl
import pytest

from tests.screening.toy import LAST, recipe, screened
from virtassay.screening import Likeness, Scorer, Stage


def test_a_compound_scores_the_same_alone(run, left_alone):
    hits = pl.read_parquet(left_alone / "hits.parquet")
    scorer = Scorer.load(recipe(run), LAST, left_alone / "stages" / "2" / "reference.npz")
    one = hits.row(2, named=True)
    again = scorer(pl.DataFrame({"compound": [one["compound"]], "smiles": [one["smiles"]]}))
    assert again["score"][0] == pytest.approx(one["score"], abs=0.02)  # other minibatches: rounding of pixels


def test_wrong_recipes_are_told(run, library, tmp_path):
    with pytest.raises(ValueError, match="give one dose in µM or more"):
        recipe(run, doses_um=())
    with pytest.raises(ValueError, match=r"batches=\['week9'\]: the model was trained on"):
        screened(run, library, tmp_path / "a", recipe=recipe(run, batches=("week9",)))
    with pytest.raises(ValueError, match="says nothing of chance"):
        screened(run, library, tmp_path / "b", recipe=recipe(run, batches=("week1",)), stages=(Stage(1, 2),))
    with pytest.raises(ValueError, match="'nonsense' is no perturbation that the model has seen"):
        screened(run, library, tmp_path / "c", recipe=recipe(run, goal=Likeness("nonsense")))
