"""Can it be explained by brightness or by cell count? Treated against control, with and without the confounder."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.metrics.checks import image_features
from virtassay.evaluation.metrics.classifier import NAN, Array, Auc, cross_validated_auc

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Explained:
    """How well treated differ from control images, by each of three views; NaN where it cannot be measured."""

    features: Auc
    confounder: Auc
    features_without: Auc


def explained_by(
    features: ArrayLike, confounder: ArrayLike, treated: ArrayLike, wells: ArrayLike, *, seed: int = 0
) -> Explained:
    """Cross-validated AUC of treated against control from φ, from c, and from φ − φ̂(c): one perturbation, one batch.

    φ̂(c) = a + B c is the least-squares fit on the controls that teach in each fold: how a control would look at that
    brightness or count. The confounder explains the contrast where its AUC is that of φ and 0.5 is left without it;
    it does not where φ keeps its AUC. Chance is 0.5, `null_sd` its spread. Linear: what φ owes to c² is left in it, and
    to a c measured with noise too; a line drawn through few controls leaves a little more than 0.5 (0.53 where 480
    of them fix the slope of a confounder that the treatment moves by 1.5 s.d.).
    Source: Frisch & Waugh 1933 (regressing out); AUC as in `cross_validated_auc`.
    features (n, d); confounder (n, c), e.g. the mean intensity of each channel, or the cell count; treated (n,) bool;
    wells (n,), unique over plates (each generated image is a well of its own).
    NaN where a side has fewer than two wells, a feature or a confounder is no number, or (the third alone) a fold has
    no more controls than c + 1 to fit with. ValueError for shapes that do not fit.
    """
    x = image_features("images", features, treated, wells)
    c = image_features("confounders", confounder, treated)
    of_treated = np.asarray(treated, np.bool_)
    well = np.asarray(wells)
    return Explained(
        cross_validated_auc(lambda _: x, of_treated, well, seed),
        cross_validated_auc(lambda _: c, of_treated, well, seed),
        cross_validated_auc(lambda teaches: _without(x, c, teaches & ~of_treated), of_treated, well, seed),
    )


def _without(x: Array, c: Array, fitted: Mask) -> Array:
    """x less what c predicts of it by least squares on the images `fitted`; NaN where they are too few."""
    controls = c[fitted]
    if len(controls) <= c.shape[1] + 1:
        return np.full_like(x, NAN)
    varies = (controls != controls[0]).any(0)  # nothing is known of a confounder that all controls share
    centred = (c - controls.mean(0))[:, varies]
    slope = cast(Array, np.linalg.lstsq(centred[fitted], x[fitted] - x[fitted].mean(0), rcond=None)[0])
    return x - centred @ slope
