"""Memorisation: are generated images nearer to the training images than real images that were held out?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.glossary import Description, near
from virtassay.evaluation.intervals import Scores, plain
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.distance import blocks, finite
from virtassay.evaluation.metrics.pools import pools
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Memorisation:
    """How near generated images are to training images, beside how near held-out real images are."""

    distance_ratio: float  # 1 is right, 0 is copying, above 1 is away from the real images
    authpct: dict[str, float]  # label → per cent of its generated images that are authentic; 0 is copying
    authpct_held_out: float  # per cent of the held-out real images: what is right


def memorisation(generated: ArrayLike, held_out: ArrayLike, train: ArrayLike, labels: Sequence[str]) -> Memorisation:
    """Distance of generated images to training images in units of held-out images' distance, and AuthPct per label.

    With t(x) the training image nearest to x: distance_ratio = median_G ‖g − t(g)‖ / median_H ‖h − t(h)‖. An image is
    authentic if ‖g − t(g)‖ > ‖t(g) − t′‖, t′ the training image nearest to t(g): a copy is nearer to its original than
    any other training image. Neighbours are sought among all training images, whatever their label, so that AuthPct of
    a perturbation that was never trained on is defined, and a copy under a wrong label is found.
    Source: Alaa et al. 2022 (arXiv 2102.08921) (authenticity); Stein et al. 2023 (arXiv 2306.04675) (AuthPct).
    generated: (n, d), held_out: (m, d), train: (l, d), `labels`: n names. A median sees no copies while they are fewer
    than half; AuthPct does. Its value for real images depends on the data, a third to a half or so.
    NaN: no images on a side, fewer than two training images, a feature that is no finite number in the images that a
    score looks at, half of the held-out images copies themselves (distance_ratio).
    Raises ValueError unless features are (·, d) with the same d and there is a label for each generated image.
    """
    g, h, t = (np.asarray(side, np.float64) for side in (generated, held_out, train))
    if any(side.ndim != 2 or side.shape[1:] != t.shape[1:] for side in (g, h, t)):
        raise ValueError(f"features have shapes {g.shape}, {h.shape} and {t.shape}; expected (·, d) with the same d.")
    if len(labels) != len(g):
        raise ValueError(f"there are {len(labels)} labels of {len(g)} generated images; expected one for each.")
    (near, spread), (near_held_out, spread_held_out) = _nearest(g, t), _nearest(h, t)
    unit = _median(near_held_out)
    of = np.asarray(labels, np.str_)
    return Memorisation(
        distance_ratio=_median(near) / unit if unit > 0 else NAN,
        authpct={str(label): _authpct(near[of == label], spread[of == label]) for label in np.unique(of)},
        authpct_held_out=_authpct(near_held_out, spread_held_out),
    )


def _nearest(x: Array, train: Array) -> tuple[Array, Array]:
    """‖x − t(x)‖ and ‖t(x) − t′‖ of each image, (n,) each; NaN where they are undefined.

    Neighbours are found by products, which round; the distances are then taken by subtraction: that of a copy is 0.
    """
    near, spread = np.full(len(x), NAN), np.full(len(x), NAN)
    if len(train) < 2 or not finite(train):
        return near, spread
    centre = train.mean(0)
    centred = train - centre
    search: Any = NearestNeighbors(algorithm="brute")
    search.fit(centred)
    measurable = np.flatnonzero(np.isfinite(x).all(1))
    for rows in blocks(len(measurable)):
        images = x[measurable[rows]] - centre
        t: Rows = search.kneighbors(images, 1, return_distance=False)[:, 0]
        # one of the two is t, unless t is there thrice
        two: Rows = search.kneighbors(centred[t], 2, return_distance=False)
        other = np.where(two[:, 0] == t, two[:, 1], two[:, 0])
        near[measurable[rows]] = np.linalg.norm(images - centred[t], axis=1)
        spread[measurable[rows]] = np.linalg.norm(centred[t] - centred[other], axis=1)
    return near, spread


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else NAN


def _authpct(near: Array, spread: Array) -> float:
    defined = len(near) > 0 and bool(np.isfinite(near).all())
    return float(100 * (near > spread).mean()) if defined else NAN


MEMORISATION = Description(
    "memorisation", "Distance to training images", near(1),
    "How near generated images are to training images, in units of how near unseen real images are. 1 is right; far "
    "below it the model copies what it was trained on.", pooled=True,
)  # fmt: skip
AUTHENTICITY = Description(
    "authenticity", "Authentic images", near(1),
    "Share of generated images that are no near copy of a training image, over that share of unseen real images.",
    pooled=True,
)  # fmt: skip


@having(describes=(MEMORISATION, AUTHENTICITY))
def memorised(candidate: Candidate, space: FeatureSpace) -> Scores:
    """How near generated images of the first draw are to training images, beside held-out real ones of the wells."""
    (r, _), (g, of_g) = pools(candidate)
    train = space.of(candidate.evaluation.memory)
    copies = memorisation(space.of(g), space.of(r), train, [str(label) for label in of_g.tolist()])
    shares = np.array(list(copies.authpct.values())) / 100
    held_out = np.full(len(shares), copies.authpct_held_out / 100)
    n = (len(r), len(g))
    return {
        ("memorisation", POOLED): plain(copies.distance_ratio, n),
        ("authenticity", POOLED): candidate.pooled(shares, list(copies.authpct), held_out, n),
    }
