"""What is measured beside effects, a file each: functions of arrays, the measurement, and its description."""

from virtassay.evaluation.metrics.c2st import told_apart
from virtassay.evaluation.metrics.classify import batches_shown, recognised
from virtassay.evaluation.metrics.counterfactual import moved
from virtassay.evaluation.metrics.manifold import manifolds
from virtassay.evaluation.metrics.map_scores import on_target, related
from virtassay.evaluation.metrics.memorisation import memorised
from virtassay.evaluation.metrics.pools import distances, extrapolated, published_kernel
from virtassay.evaluation.metrics.published import cellflux2025, jones2026
from virtassay.evaluation.metrics.recall import retrieved
from virtassay.evaluation.metrics.spread import spread

__all__ = [
    "batches_shown", "cellflux2025", "distances", "extrapolated", "jones2026", "manifolds", "memorised", "moved",
    "on_target", "published_kernel", "recognised", "related", "retrieved", "spread", "told_apart",
]  # fmt: skip
