"""What is laid out beside what."""

import math

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.baselines import BASELINES
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.judge import assess
from virtassay.evaluation.metrics.pools import distances
from virtassay.evaluation.strata import build_evaluation_set

PAIR = {"pixel_statistics": features.PixelStatistics(), "texture": features.Texture()}
CRITERIA = Criteria(
    featurizers=PAIR, baselines=BASELINES, metrics={"distances": distances},
    resamples=200, max_images=100, max_controls=60, max_training=60, max_memory=400,
)  # fmt: skip


def pooled(judgement, metric, generator="model"):
    rows = [r for r in judgement.rows if (r["metric"], r["generator"], r["stratum"]) == (metric, generator, "all")]
    return {r["featurizer"]: r for r in rows}


def test_a_batch_outside_training_is_served_by_the_others(tmp_path):
    plan = [(p, b, w, "train" if b == "week1" else "test", n) for p, b, w, _, n in toy.real_plan(6)]
    real = open_dataset(toy.write(tmp_path / "real", plan))
    generated = [(p, "week2", 200 + i, "generated", 12) for i, p in enumerate(toy.PERTURBATIONS)]
    judgement = assess(real, open_dataset(toy.write(tmp_path / "g", generated, 1)), CRITERIA)
    assert "not in training" in " ".join(judgement.verdict["warnings"])
    assert all(math.isfinite(r["value"]) for r in pooled(judgement, "effect_explained", "mean_treated").values())


def world_of(real, generated):
    limits = Limits(repeats=2, max_images=100, max_controls=60, max_training=60, max_memory=400)
    return build_evaluation_set(real, generated, limits)


def test_no_real_control_stands_on_two_sides_and_wells_are_whole(real, tmp_path):
    evaluation = world_of(real, open_dataset(toy.write(tmp_path / "g", toy.generated_plan())))
    for division in evaluation.controls:
        for parts in division.values():
            wells = [set(evaluation.well[p].tolist()) for p in (parts.real, parts.generated, parts.copy)]
            assert not (wells[0] & wells[1] or wells[0] & wells[2] or wells[1] & wells[2])
    assert any(
        set(a.real.tolist()) != set(b.real.tolist())
        for a, b in zip(evaluation.controls[0].values(), evaluation.controls[1].values(), strict=True)
    )
    draws = [f(evaluation, 0) for f in (baselines.control_copy, baselines.unconditional, baselines.mean_treated)]
    for draw in draws:
        for name, sides in draw.items():
            used = set(sides.control.tolist()) | set(sides.generated_control.tolist()) | set(sides.reference.tolist())
            assert not used & set(sides.generated.tolist()), name
            assert len(sides.generated) == 20
