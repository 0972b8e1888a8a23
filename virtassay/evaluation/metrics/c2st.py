"""Classifier two-sample test within each stratum: do generated images differ from the real ones of their own kind?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.glossary import Description, near
from virtassay.evaluation.intervals import Scores
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.checks import check_same_width, image_features
from virtassay.evaluation.metrics.classifier import NAN, Array, Auc, Labels, cross_validated_auc
from virtassay.evaluation.space import FeatureSpace
from virtassay.flow.traits import having

Names = NDArray[np.str_]


@dataclass(frozen=True)
class C2st:
    """AUC of real against generated images in each stratum, (strata,): 0.5 is indistinguishable, 1 is the worst.

    NaN where the real images cannot say: fewer than two wells, or a feature that is no number.
    """

    strata: Names
    auc: Array
    null_sd: Array  # of one stratum's AUC where nothing differs; 0 where no classifier was needed
    n_unmeasured: int  # strata that are NaN
    n_unknown: int  # generated images of other strata

    @property
    def mean(self) -> Auc:
        """Mean over the strata that could be measured, and its spread where nothing differs; NaN without any."""
        measured = np.isfinite(self.auc)
        n = int(measured.sum())
        if n == 0:
            return Auc(NAN, NAN)
        return Auc(float(self.auc[measured].mean()), float(np.sqrt(np.square(self.null_sd[measured]).sum())) / n)


def c2st_conditional(
    real: ArrayLike,
    real_strata: ArrayLike,
    wells: ArrayLike,
    generated: ArrayLike,
    generated_strata: ArrayLike,
    *,
    seed: int = 0,
) -> C2st:
    """Classifier two-sample test within each stratum of real images: do generated differ from real?

    AUC by cross-validation with whole wells of real images and single generated images held out (see
    `cross_validated_auc`). Source: Lopez-Paz & Oquab 2017 (arXiv 1610.06545), with AUC for accuracy. Chance is 0.5;
    far below it, generated images are copies of real ones.
    real: (n, d), generated: (m, d), strata (n,) and (m,): batch and treatment. wells (n,): unique over plates.
    A stratum with fewer than two generated images, or with a generated feature that is no number, has AUC 1. ValueError
    for shapes that do not fit.
    """
    x = image_features("real images", real, real_strata, wells)
    y = image_features("generated images", generated, generated_strata)
    check_same_width(x, y)
    strata, of_real = np.unique(np.asarray(real_strata, np.str_), return_inverse=True)
    of_generated = np.asarray(generated_strata, np.str_)
    well = np.unique(np.asarray(wells), return_inverse=True)[1]
    aucs = [
        _stratum_auc(x[of_real == s], well[of_real == s], y[of_generated == name], seed)
        for s, name in enumerate(strata)
    ]
    auc, null_sd = np.array([(a.value, a.null_sd) for a in aucs]).reshape(-1, 2).T
    return C2st(strata, auc, null_sd, int(np.isnan(auc).sum()), int((~np.isin(of_generated, strata)).sum()))


def _stratum_auc(real: Array, well: Labels, generated: Array, seed: int) -> Auc:
    if len(np.unique(well)) < 2 or not np.isfinite(real).all():
        return Auc(NAN, NAN)
    if len(generated) < 2 or not np.isfinite(generated).all():
        return Auc(1.0, 0.0)
    both = np.concatenate([real, generated])
    group = np.concatenate([well, well.max() + 1 + np.arange(len(generated))])
    return cross_validated_auc(lambda _: both, np.arange(len(both)) >= len(real), group, seed)


C2ST = Description(
    "c2st", "Told from real (C2ST)", near(0.5),
    "Can a classifier tell generated from real images of one treatment and batch? AUC: 0.5 is guessing, 1 always.",
)  # fmt: skip


@having(describes=(C2ST,))
def told_apart(candidate: Candidate, space: FeatureSpace) -> Scores:
    """c2st of one generator's first draw: the mean over strata of the AUC of generated against real images."""
    evaluation, draw = candidate.evaluation, candidate.draws[0]
    real, generated = (candidate.rows(side) for side in ("reference", "generated"))
    test = c2st_conditional(
        space.of(real),
        candidate.labels("reference", "name"),
        evaluation.well[real],
        space.of(generated),
        candidate.labels("generated", "name"),
        seed=evaluation.seed,
    )
    owner = {s.name: s.perturbation for s in evaluation.strata}
    missing = [s.name for s in evaluation.strata if not candidate.is_model and len(draw[s.name].generated) == 0]
    auc = np.where(np.isin(test.strata, missing), NAN, test.auc)
    names = [owner[str(name)] for name in test.strata]
    return {("c2st", POOLED): candidate.pooled(auc, names)}
