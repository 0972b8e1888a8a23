"""What stands on which side: controls that are never shared, and baselines that draw what they say."""

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.strata import build_evaluation_set


def world_of(real, generated):
    limits = Limits(repeats=2, max_images=100, max_controls=60, max_training=60, max_memory=400)
    return build_evaluation_set(real, generated, limits)


def test_baselines_draw_what_they_say(real, tmp_path):
    evaluation = world_of(real, open_dataset(toy.write(tmp_path / "g", toy.generated_plan())))
    index = real.index.with_row_index()
    by_name = {s.name: s for s in evaluation.strata}
    shuffled = baselines.label_shuffled(evaluation, 0)
    for name, sides in shuffled.items():
        owner = next(s for s in evaluation.strata if np.array_equal(s.generated, sides.generated))
        assert owner.name != name
        assert owner.batch == by_name[name].batch
    for name, sides in baselines.control_copy(evaluation, 0).items():
        rows = index[sides.generated.tolist()]
        assert rows["is_control"].all()
        assert set(rows["batch"]) == {by_name[name].batch}
    for name, sides in baselines.mean_treated(evaluation, 0).items():
        rows = index[sides.generated.tolist()]
        assert not rows["is_control"].any()
        assert set(rows["split"]) == {"train"}
        assert rows["treatment"].n_unique() > 3
        assert set(rows["batch"]) == {by_name[name].batch}
    for sides in baselines.real_replicate(evaluation, 0).values():
        assert sides.halved == "wells"
        assert not set(evaluation.well[sides.reference]) & set(evaluation.well[sides.generated])
    mixed = [index[s.generated.tolist()]["is_control"].mean() for s in baselines.unconditional(evaluation, 0).values()]
    assert np.mean(mixed) == pytest.approx(80 / 200, abs=0.03)  # the share of controls in training


def test_baselines_that_are_told_more_draw_other_treatments_of_training(real, tmp_path):
    evaluation = world_of(real, open_dataset(toy.write(tmp_path / "g", toy.generated_plan())))
    index = real.index.with_row_index()

    def drawn(baseline):
        return {
            (s.batch, s.perturbation): index[sides.generated.tolist()]
            for s, sides in zip(evaluation.strata, baseline(evaluation, 0).values(), strict=True)
        }

    nearest = drawn(baselines.nearest_seen)
    mechanism, copied = drawn(baselines.moa_mean), drawn(baselines.memoriser)
    for (batch, name), rows in nearest.items():
        assert set(rows["split"]) == {"train"} and set(rows["batch"]) == {batch}
        expected = {"a": "b", "b": "a", "c": "d", "d": "c", "e": "a"}.get(name)  # by structure
        assert expected is None or set(rows["perturbation"].explode()) == {expected}
        assert expected is not None or rows["treatment"].n_unique() > 3, "without a structure: the mean treated"
    for (batch, name), rows in mechanism.items():
        other = {"a": "b", "b": "a", "c": "d", "d": "c", "e": "f", "f": "e"}[name]
        assert set(rows["perturbation"].explode()) == {other} and set(rows["batch"]) == {batch}
    for (batch, name), rows in copied.items():
        assert set(rows["perturbation"].explode()) == {name} and set(rows["split"]) == {"train"}
        assert set(rows["batch"]) == {batch}


def test_baselines_that_make_images_have_the_brightness_and_no_more(real, tmp_path):
    evaluation = world_of(real, open_dataset(toy.write(tmp_path / "g", toy.generated_plan())))
    shifted, mixed = baselines.mean_shift(evaluation, 0), baselines.noise(evaluation, 0)
    for s in evaluation.strata:
        controls = evaluation.images(evaluation.controls[0][s.batch].copy).astype(float)
        treated = evaluation.images(evaluation.treated_training[s.batch]).astype(float)
        images = evaluation.images(shifted[s.name].generated).astype(float)
        assert len(images) == 20
        assert images.mean((0, 2, 3)) == pytest.approx(treated.mean((0, 2, 3)), rel=0.1)  # 20 of 60 controls
        noisy = evaluation.images(mixed[s.name].generated).astype(float)
        assert noisy.mean((0, 2, 3)) == pytest.approx(controls.mean((0, 2, 3)), rel=0.1)

        def neighbours(x):
            return np.corrcoef((x - x.mean((2, 3), keepdims=True))[..., :-1].ravel(), x[..., 1:].ravel())[0, 1]

        assert abs(neighbours(noisy)) < 0.1 < 0.2 < neighbours(controls)
    rows = np.array([0, len(real), evaluation.n_images - 1])
    assert np.array_equal(evaluation.images(rows)[0], real.images(np.array([0]))[0])
    assert np.array_equal(evaluation.images(rows)[1], evaluation.generated.images(np.array([0]))[0])
    assert np.array_equal(evaluation.images(rows)[2], evaluation.made[-1][-1])
