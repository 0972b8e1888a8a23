"""What a classifier can tell: the label of real images when taught on generated ones, and the batch of either.

Every accuracy is balanced (the mean over labels of the share answered right), so that chance is 1 / labels, and comes
as one number for each label, over which a bootstrap can draw. All use the classifier of `classifier.py`.
Real images whose features are no numbers make a score NaN: it cannot be measured. Generated ones count against the
generator, as each function says.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.glossary import HIGHER, Description, near
from virtassay.evaluation.intervals import Scores, plain
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.checks import check_same_width, image_features
from virtassay.evaluation.metrics.classifier import FOLDS, NAN, Array, Labels, fit, folds
from virtassay.evaluation.space import FeatureSpace
from virtassay.flow.traits import having

Names = NDArray[np.str_]
UNKNOWN = -1  # the number of a label that is left out, and of no answer


@dataclass(frozen=True)
class CrossAccuracy:
    """Share answered right of each label, (labels,), taught and tried on real or generated images.

    NaN throughout where fewer than two labels can be tried, or a real feature is no number.
    """

    labels: Names  # those with real images in two wells or more
    real_to_real: Array
    generated_to_real: Array
    real_to_generated: Array
    n_unasked: int  # real images of other labels
    n_unknown: int  # generated images of other labels
    n_unusable: int  # generated images with features that are no numbers

    @property
    def chance(self) -> float:
        """Accuracy of a guess, 1 / labels."""
        return 1 / len(self.labels) if len(self.labels) else NAN

    @property
    def cas(self) -> float:
        """Classification accuracy score, generated→real over real→real: 1 teaches as real images do, larger is better.

        Source: Ravuri & Vinyals 2019 (arXiv 1905.10887). Chance is `chance` / mean real→real. NaN where real images
        teach no more than chance.
        """
        return self._over_real(self.generated_to_real)

    @property
    def accuracy_on_generated(self) -> float:
        """real→generated over real→real: 1 is right. Chance and NaN as for `cas`.

        By itself it rewards exaggeration and collapse (above 1: easier than real images), which `cas` does not.
        """
        return self._over_real(self.real_to_generated)

    def _over_real(self, share: Array) -> float:
        if len(self.labels) < 2 or not self.real_to_real.mean() > self.chance:
            return NAN
        return float(share.mean() / self.real_to_real.mean())


def cross_accuracy(
    real: ArrayLike,
    real_labels: ArrayLike,
    wells: ArrayLike,
    generated: ArrayLike,
    generated_labels: ArrayLike,
    *,
    seed: int = 0,
) -> CrossAccuracy:
    """Teach the label on real or generated images, and try it on the other kind and on real images of other wells.

    In each of five folds of whole wells: teach with the real images outside the fold, and with at most as many
    generated images of each label (drawn with `seed`), and try both on the real images in it; the teacher from real
    images is also tried on all the generated ones. So cas and its yardstick differ in nothing but the images taught.
    real: (n, d), generated: (m, d). Labels (n,) and (m,): a treatment, a mechanism. wells (n,): unique over plates.
    A label of a single well is left out. A generated image with a feature that is no number teaches nothing and is
    answered wrong; so is a label without any. ValueError for shapes that do not fit, or a well of two labels.
    """
    x = image_features("real images", real, real_labels, wells)
    y = image_features("generated images", generated, generated_labels)
    check_same_width(x, y)
    names, number = np.unique(np.asarray(real_labels, np.str_), return_inverse=True)
    well, well_number = np.asarray(wells), np.unique(np.asarray(wells), return_inverse=True)[1]
    wells_of = np.bincount(np.unique(np.stack([number, well_number]), axis=1)[0], minlength=len(names))
    labels = names[wells_of > 1]
    answerable = (wells_of > 1)[number]
    n_unasked = int((~answerable).sum())
    x, well, of_real = x[answerable], well[answerable], _number(names[number[answerable]], labels)
    of_generated = _number(np.asarray(generated_labels, np.str_), labels)
    known = of_generated != UNKNOWN
    y, of_generated = y[known], of_generated[known]
    usable = np.asarray(np.isfinite(y).all(1), np.bool_)
    counts = n_unasked, int((~known).sum()), int((~usable).sum())
    if len(labels) < 2 or not np.isfinite(x).all():
        nothing = np.full(len(labels), NAN)
        return CrossAccuracy(labels, nothing, nothing, nothing, *counts)

    fold = folds(of_real, well, FOLDS, seed)
    by_real, by_generated = np.full(len(x), UNKNOWN, np.int64), np.full(len(x), UNKNOWN, np.int64)
    on_generated: list[Array] = []
    for f in np.unique(fold).tolist():
        teaches, tried = fold != f, fold == f
        teacher = fit(x[teaches], of_real[teaches])
        by_real[tried] = teacher.predict(x[tried])
        if usable.any():
            limit = np.bincount(of_real[teaches], minlength=len(labels))
            drawn = _at_most_each(of_generated, usable, limit, np.random.default_rng([seed, f]))
            by_generated[tried] = fit(y[drawn], of_generated[drawn]).predict(x[tried])
        on_generated.append(_right(_answers(teacher, y), of_generated, len(labels)))
    return CrossAccuracy(
        labels,
        _right(by_real, of_real, len(labels)),
        _right(by_generated, of_real, len(labels)),
        np.mean(on_generated, axis=0),
        *counts,
    )


@dataclass(frozen=True)
class BatchLeak:
    """Share of each batch's images whose batch is answered right, (batches,), by a classifier taught on real controls.

    The generated mean should equal the real one; the two after subtracting the mean of the batch's controls should be
    chance: above it, a mark of the batch is left that the controls do not have; below it, one was taken off that was
    never there. NaN with fewer than two batches, or where a control or a real feature is no number.
    """

    batches: Names
    real: Array
    generated: Array
    real_less_controls: Array
    generated_less_controls: Array

    @property
    def chance(self) -> float:
        """Accuracy of a guess, 1 / batches."""
        return 1 / len(self.batches) if len(self.batches) else NAN


def batch_leak(
    control: ArrayLike,
    control_batches: ArrayLike,
    real: ArrayLike,
    real_batches: ArrayLike,
    generated: ArrayLike,
    generated_batches: ArrayLike,
) -> BatchLeak:
    """Does the batch show in generated images as in real ones, and is it gone once controls are subtracted?

    A classifier of the batch is taught on φ of the real controls, and tried on φ of treated images, real and generated,
    and on φ − mean φ(C_b) + the mean of those means, at which it cannot tell batches. (One taught on φ − mean φ(C_b)
    would find every batch at 0, and could answer nothing but chance.) Balanced accuracy, chance 1 / batches; where
    treatments differ between batches they tell of the batch too, in real images as in generated ones.
    control (n, d), real (m, d), generated (l, d), batches (n,), (m,), (l,). Asked are the batches with controls and
    real treated images; a generated image with a feature that is no number is answered wrong, and so is a batch without
    any. ValueError for shapes that do not fit.
    """
    sides = [
        image_features("controls", control, control_batches),
        image_features("real images", real, real_batches),
        image_features("generated images", generated, generated_batches),
    ]
    check_same_width(*sides)
    names = [np.asarray(of, np.str_) for of in (control_batches, real_batches, generated_batches)]
    batches = np.intersect1d(names[0], names[1])
    numbers = [_number(of, batches) for of in names]
    c, r, g = (side[number != UNKNOWN] for side, number in zip(sides, numbers, strict=True))
    of_c, of_r, of_g = (number[number != UNKNOWN] for number in numbers)
    if len(batches) < 2 or not (np.isfinite(c).all() and np.isfinite(r).all()):
        return BatchLeak(batches, *[np.full(len(batches), NAN)] * 4)
    teacher = fit(c, of_c)
    zero = np.stack([c[of_c == b].mean(0) for b in range(len(batches))])
    zero -= zero.mean(0)
    return BatchLeak(
        batches,
        _right(_answers(teacher, r), of_r, len(batches)),
        _right(_answers(teacher, g), of_g, len(batches)),
        _right(_answers(teacher, r - zero[of_r]), of_r, len(batches)),
        _right(_answers(teacher, g - zero[of_g]), of_g, len(batches)),
    )


def _answers(teacher: Any, x: Array) -> Labels:
    """What the classifier makes of each image; UNKNOWN for one with a feature that is no number."""
    answers = np.full(len(x), UNKNOWN, np.int64)
    usable = np.isfinite(x).all(1)
    if usable.any():
        answers[usable] = teacher.predict(x[usable])
    return answers


def _number(names: Names, known: Names) -> Labels:
    """Place of each name in the sorted `known`; UNKNOWN where it is not there."""
    return np.where(np.isin(names, known), np.searchsorted(known, names), UNKNOWN).astype(np.int64)


def _right(answers: Labels, labels: Labels, k: int) -> Array:
    """Share answered right of each label 0…k−1; 0 for a label without an image."""
    total = np.bincount(labels, minlength=k)
    right = np.bincount(labels, answers == labels, minlength=k)
    return np.divide(right, total, out=np.zeros(k), where=total > 0)


def _at_most_each(labels: Labels, usable: NDArray[np.bool_], limit: Labels, rng: np.random.Generator) -> Labels:
    """Rows of usable images, at random, and no more of label l than limit[l]."""
    rows = rng.permutation(np.flatnonzero(usable))
    rows = rows[np.argsort(labels[rows], kind="stable")]
    of = labels[rows]
    rank = np.arange(len(rows)) - np.searchsorted(of, of)
    return rows[rank < limit[of]]


CAS = Description(
    "cas", "Teaches as real images do (CAS)", HIGHER,
    "Accuracy on real images of a classifier of treatments taught by generated ones, over that of one taught by real "
    "ones.",
)  # fmt: skip
ACCURACY_ON_GENERATED = Description(
    "accuracy_on_generated", "Recognised as real images are", near(1),
    "Accuracy on generated images of a classifier taught by real ones, over that on real images. Above 1: the "
    "generated images are easier, exaggerated or too uniform.",
)  # fmt: skip
BATCH_LEAK = Description(
    "batch_leak", "Batch shown", near(0),
    "Accuracy of a classifier of batches, taught by real controls, on generated less that on real images. Below 0: "
    "the generated images do not look like their batch.", pooled=True,
)  # fmt: skip
BATCH_LEAK_ALIGNED = Description(
    "batch_leak_aligned", "Batch shown after alignment", near(0),
    "The same once the mean of the batch's controls is subtracted: what a comparison across batches would suffer.",
    pooled=True,
)  # fmt: skip


@having(describes=(CAS, ACCURACY_ON_GENERATED))
def recognised(candidate: Candidate, space: FeatureSpace) -> Scores:
    """cas and accuracy_on_generated of treatments, on features less the mean of the batch's controls."""
    evaluation = candidate.evaluation
    real, wells = _less_controls(candidate, space, "reference"), evaluation.well[candidate.rows("reference")]
    generated = _less_controls(candidate, space, "generated")
    labels, of = (candidate.labels(side, "treatment") for side in ("reference", "generated"))
    accuracy = cross_accuracy(real, labels, wells, generated, of, seed=evaluation.seed)
    owner = {s.treatment: s.perturbation for s in evaluation.strata}
    names = [owner[str(label)] for label in accuracy.labels]
    teachable = len(names) > 1 and float(accuracy.real_to_real.mean()) > accuracy.chance
    below = accuracy.real_to_real if teachable else np.full(len(names), NAN)
    detail = {"chance": accuracy.chance if len(names) else None}
    shares = {"cas": accuracy.generated_to_real, "accuracy_on_generated": accuracy.real_to_generated}
    return {(metric, POOLED): candidate.pooled(above, names, below, detail=detail) for metric, above in shares.items()}


@having(describes=(BATCH_LEAK, BATCH_LEAK_ALIGNED))
def batches_shown(candidate: Candidate, space: FeatureSpace) -> Scores:
    """batch_leak: accuracy on generated less that on real images; _aligned: on φ less a batch's mean control."""
    division = candidate.evaluation.controls[0]
    batches = sorted({s.batch for s in candidate.evaluation.strata})
    controls = np.concatenate([division[b].real for b in batches])
    of_controls = np.repeat(batches, [len(division[b].real) for b in batches])
    real, generated = (candidate.rows(side) for side in ("reference", "generated"))
    labels, of = (candidate.labels(side, "batch") for side in ("reference", "generated"))
    leak = batch_leak(space.of(controls), of_controls, space.of(real), labels, space.of(generated), of)
    several = len(leak.batches) > 1
    return {
        (metric, POOLED): plain(
            float(np.mean(on_generated - on_real)) if several else NAN,
            candidate.counts,
            accuracy_on_real=float(np.mean(on_real)) if several else None,
        )
        for metric, on_generated, on_real in (
            ("batch_leak", leak.generated, leak.real),
            ("batch_leak_aligned", leak.generated_less_controls, leak.real_less_controls),
        )
    }


def _less_controls(candidate: Candidate, space: FeatureSpace, side: str) -> Array:
    """φ of a side less the mean of its controls, stratum by stratum."""
    control = "control" if side == "reference" else "generated_control"
    strata = [candidate.draws[0][s.name] for s in candidate.evaluation.strata]
    return np.concatenate([space.of(getattr(s, side)) - space.of(getattr(s, control)).mean(0) for s in strata])
