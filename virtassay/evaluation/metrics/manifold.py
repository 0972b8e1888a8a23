"""Manifolds: how far generated images lie among real ones, and real ones among generated ones.

The manifold of a set is the union of the balls around its images, each as wide as the distance to the image's k-th
nearest neighbour in the set. Precision asks for realism, recall and coverage for variety. Density is information only:
it grows above 1 when all generated images collapse to where real ones are densest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.glossary import HIGHER, Description, near
from virtassay.evaluation.intervals import Scores, pairwise, plain
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.distance import blocks, finite, pair
from virtassay.evaluation.metrics.pools import pools
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having


@dataclass(frozen=True)
class Manifold:
    """What holds for each image, real (n,) or generated (m,); the four scores are their means, larger is better.

    Shares of images are 0 to 1; density is 0 to n/k and about 1 for equal distributions. NaN: the manifold that the
    score needs does not exist (k images or fewer), or a feature is no finite number.
    """

    precision: Array  # (m,) generated images that lie in the real manifold
    recall: Array  # (n,) real images that lie in the generated manifold
    density: Array  # (m,) real balls that hold a generated image, over k
    coverage: Array  # (n,) real images whose own ball holds a generated image


def manifold(real: ArrayLike, generated: ArrayLike, k: int = 5) -> Manifold:
    """Precision, recall, density and coverage of generated images, by k nearest neighbours.

    With r_i the distance of x_i to its k-th nearest other real image, and q_j that of y_j among the generated:
    precision = mean_j [∃i ‖x_i − y_j‖ ≤ r_i], recall = mean_i [∃j ‖x_i − y_j‖ ≤ q_j],
    density = Σ_ij [‖x_i − y_j‖ ≤ r_i] / (k m), coverage = mean_i [∃j ‖x_i − y_j‖ ≤ r_i].
    Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), eq. 1–2 (precision, recall); Naeem et al. 2020 (arXiv
    2002.09797) (density, coverage).
    real: (n, d), generated: (m, d), n, m ≥ 2. Sets from one distribution have 1 − 2⁻ᵏ or so in coverage, and less than
    1 in precision and recall: show real against real beside them. A ball is closed, so that an image repeated more than
    k times still holds its copies. No more than 2,048 × 2,048 distances are in memory.
    Raises ValueError for other shapes, for fewer than two images on a side, and for k < 1.
    """
    x, y = pair(real, generated)
    if k < 1:
        raise ValueError(f"k is {k}; expected the number of nearest neighbours, 1 or more (5 is usual).")
    if not finite(x, y):
        none = np.full(len(y), NAN), np.full(len(x), NAN)
        return Manifold(*none, *none)
    of_real, of_generated = _radii(x, k), _radii(y, k)
    holders = np.zeros(len(y))  # real balls that hold each generated image
    covered, recalled = np.zeros(len(x), np.bool_), np.zeros(len(x), np.bool_)
    for i in blocks(len(x)):
        for j in blocks(len(y)):
            distance = pairwise(x[i], y[j])
            inside = distance <= of_real[i, None]
            holders[j] += inside.sum(0)
            covered[i] |= inside.any(1)
            recalled[i] |= (distance <= of_generated[j]).any(1)
    real_one, generated_one = (1.0 if len(side) > k else NAN for side in (x, y))
    return Manifold(
        precision=np.where(holders > 0, real_one, 0.0 * real_one),
        recall=np.where(recalled, generated_one, 0.0 * generated_one),
        density=holders / k * real_one,
        coverage=np.where(covered, real_one, 0.0 * real_one),
    )


def _radii(x: Array, k: int) -> Array:
    """Distance of each image to its k-th nearest other image, (n,); NaN, which holds nothing, for n ≤ k."""
    if len(x) <= k:
        return np.full(len(x), NAN)
    search: Any = NearestNeighbors(n_neighbors=k, algorithm="brute")
    distance: Array = search.fit(x - x.mean(0)).kneighbors()[0]
    return distance[:, -1] * (1 + 1e-9)  # a tie is inside, whatever its last digits are


PRECISION = Description(
    "precision", "Precision", HIGHER,
    "Share of generated images that lie among the real ones: nearer to a real image than its fifth neighbour is.",
    pooled=True,
)  # fmt: skip
RECALL = Description(
    "recall", "Recall", HIGHER,
    "Share of real images that lie among the generated ones: low where the generated images lack variety.",
    pooled=True,
)  # fmt: skip
DENSITY = Description(
    "density", "Density", near(1),
    "How many real neighbourhoods a generated image lies in. For information: it rewards collapse to the typical.",
    pooled=True,
)  # fmt: skip
COVERAGE = Description(
    "coverage", "Coverage", HIGHER,
    "Share of real images that have a generated one nearer than their fifth real neighbour.", pooled=True,
)  # fmt: skip


@having(describes=(PRECISION, RECALL, DENSITY, COVERAGE))
def manifolds(candidate: Candidate, space: FeatureSpace, *, k: int = 5) -> Scores:
    """Precision, recall, density and coverage of one generator's first draw, features in the controls' s.d."""
    (r, of_r), (g, of_g) = pools(candidate)
    x, y, n = space.of(r), space.of(g), (len(r), len(g))
    owners = {"precision": of_g, "recall": of_r, "density": of_g, "coverage": of_r}
    if min(n) < 2:
        return {(name, POOLED): plain(NAN, n) for name in owners}
    shares = manifold(x, y, k)
    detail = {"neighbours": k, "resampled": "the manifolds stay as they are"}
    return {
        (name, POOLED): candidate.pooled(getattr(shares, name), of.astype(str).tolist(), n=n, detail=detail)
        for name, of in owners.items()
    }
