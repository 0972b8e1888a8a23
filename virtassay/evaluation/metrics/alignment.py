"""Alignment: features of all batches into one space, in which the controls of each batch are the origin.

The steps of EFAAR, each fitted on the rows that `is_control` (or `fitted`) marks and applied to all rows: fit them on
real images only, and give the generated ones along unmarked, so that both sides are seen through the same map. A row
with a feature that is not finite comes back as NaN, and is refused among the rows that are fitted on.
Source: Celik et al. 2024, PLOS Comput. Biol. 20 (EFAAR); Ando et al. 2017, bioRxiv 161422 (TVN).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.metrics.checks import image_features

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
COMPONENTS = 128
RIDGE = 0.5  # of coral, in variances of a whitened control
ROUNDING = 1e-10  # a spread is none below this share of the feature, and a variance below this share of the largest


def align(features: ArrayLike, is_control: ArrayLike, fitted: ArrayLike, batch: ArrayLike) -> Array:
    """Features as EFAAR compares them: centre_scale on each batch's controls, principal components, tvn, coral.

    features (n, d); is_control (n,), the real controls; fitted (n,), the real images, which the components are fitted
    to; batch (n,). Returns (n, k), k ≤ 128, in standard deviations of the controls; their mean is 0 in every batch.
    EFAAR's own first step uses all images of a batch, which moves the origin with what was tested in it.
    """
    x = centre_scale(features, is_control, batch)
    x = principal_components(x, fitted, COMPONENTS)
    return coral(tvn(x, is_control), is_control, batch)


def centre_scale(features: ArrayLike, is_control: ArrayLike, batch: ArrayLike) -> Array:
    """Features in standard deviations of the controls of the same batch, (n, d): (x − mean C_b) / sd C_b.

    A feature in which those controls do not vary is centred only. Raises ValueError for a batch without two controls.
    """
    x, control = _checked(features, is_control)
    aligned = np.empty_like(x)
    for rows, of_batch in _batches(x, control, batch):
        aligned[rows] = _standardised(x[rows], of_batch)
    return aligned


def principal_components(features: ArrayLike, fitted: ArrayLike, components: int) -> Array:
    """The leading principal components of the rows that `fitted` marks, of all rows, (n, k).

    k = min(components, what the rank of the fitted rows gives); components without variance are left out.
    """
    x, of = _checked(features, fitted)
    return _components(x, x[of], components)


def tvn(features: ArrayLike, is_control: ArrayLike) -> Array:
    """Typical variation normalisation: all principal components of the controls, whitened on them, (n, k).

    Variation that controls show is noise, and counts the less the more of it there is: after it, controls have mean 0
    and covariance 1. Directions in which no control varies (k < d, as with fewer controls than features) are left out:
    there is nothing to divide by. Raises ValueError for fewer than two controls.
    """
    x, control = _checked(features, is_control)
    x = _standardised(x, x[control])
    x = _components(x, x[control], x.shape[1])
    return _standardised(x, x[control])


def coral(features: ArrayLike, is_control: ArrayLike, batch: ArrayLike) -> Array:
    """Gives the controls of every batch the same covariance, (n, d): x (cov C_b + ½ I)^−½, on the output of tvn.

    Source: Sun et al. 2016 (arXiv 1511.05547), with the identity as target. Raises ValueError for a batch without two
    controls.
    """
    x, control = _checked(features, is_control)
    aligned = np.empty_like(x)
    for rows, of_batch in _batches(x, control, batch):
        centred = of_batch - of_batch.mean(0)
        values, vectors = np.linalg.eigh(centred.T @ centred / (len(of_batch) - 1))
        aligned[rows] = x[rows] @ (vectors / np.sqrt(values.clip(min=0) + RIDGE)) @ vectors.T
    return aligned


def _standardised(x: Array, by: Array) -> Array:
    spread = by.std(0)
    varies = spread > ROUNDING * np.abs(by).max(0)  # a constant feature has the spread of its rounding
    return (x - by.mean(0)) / np.where(varies, spread, 1.0)


def _components(x: Array, of: Array, most: int) -> Array:
    if not np.ptp(of, axis=0).any():
        raise ValueError(f"the {len(of)} images that principal components are fitted on are all the same.")
    centre = of.mean(0)  # before the covariance is formed, where it would cost digits
    pca: Any = PCA(svd_solver="covariance_eigh" if len(of) > of.shape[1] else "full")
    variance: Array = pca.fit(of - centre).explained_variance_
    axes: Array = pca.components_[:most][variance[:most] > ROUNDING * variance[0]]
    return (x - centre) @ axes.T


def _checked(features: ArrayLike, fitted: ArrayLike) -> tuple[Array, Mask]:
    """Features with every row that is not finite all NaN, and the rows to fit on; ValueError unless they are sound."""
    of = np.asarray(fitted, bool)
    x = image_features("the map", features, of)
    lost = ~np.all(np.isfinite(x), axis=1)
    if of.sum() < 2 or (lost & of).any():
        raise ValueError(
            f"alignment is fitted on {of.sum()} images, {(lost & of).sum()} of them not finite (the first rows: "
            f"{np.flatnonzero(lost & of)[:5].tolist()}); it needs two or more, all finite. Leave the others out."
        )
    return np.where(lost[:, None], np.nan, x), of


def _batches(x: Array, control: Mask, batch: ArrayLike) -> Iterator[tuple[Mask, Array]]:
    """The rows of each batch, and the features of its controls."""
    label = np.asarray(batch)
    if label.shape != control.shape:
        raise ValueError(f"batch names {label.shape} images, there are {control.shape}; expected a batch for each.")
    poor = [name for name in np.unique(label).tolist() if (control & (label == name)).sum() < 2]
    if poor:
        raise ValueError(
            f"{len(poor)} batches have fewer than two controls to align on: {poor[:5]}. Leave these batches out, or "
            "align on coarser batches."
        )
    for name in np.unique(label):
        yield label == name, x[control & (label == name)]
