"""The one classifier of the evaluation, and the folds in which it is tried: what do features say?

Multinomial logistic regression on standardised features, always tried on wells that did not teach it: images of a well
share its illumination and its pipetting, and would be recognised by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier  # pyright: ignore[reportMissingTypeStubs]
from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingTypeStubs]
from sklearn.metrics import roc_auc_score  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from sklearn.pipeline import make_pipeline  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # pyright: ignore[reportMissingTypeStubs]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
FOLDS = 5
NAN = float("nan")


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve, 0 to 1, chance 0.5, and its standard deviation where nothing differs."""

    value: float
    null_sd: float


def fit(x: Array, label: Labels) -> Any:
    """Teach the classifier, x (n, d) finite, label (n,), n ≥ 1; it has scikit-learn's `predict`, `decision_function`.

    Features are standardised by the teaching images; a constant one has no say. Every label weighs the same, however
    many images it has. The penalty is ‖w‖² d/2 (C = 1/d): a logit has the same prior variance for 10 features as for
    2,000, and a feature that is listed twice counts once. Taught one label, it answers that.
    """
    if (label == label[0]).all():
        constant: Any = DummyClassifier(strategy="most_frequent")
        return constant.fit(x, label)
    single: Any = FunctionTransformer(_single)  # twice as fast, and the penalty keeps what is lost from mattering
    logistic = LogisticRegression(C=1 / x.shape[1], class_weight="balanced", max_iter=1000)
    model: Any = make_pipeline(StandardScaler(), single, logistic)
    return model.fit(x, label)


def _single(x: Array) -> NDArray[np.float32]:
    return x.astype(np.float32)


def folds(label: Labels, group: NDArray[Any], k: int, seed: int) -> Labels:
    """Deal whole groups (wells) into folds 0…k−1, (n,): at random, and each label's groups as evenly as can be.

    A label of w groups is in min(w, k) folds. ValueError if a group holds images of two labels.
    """
    groups, first, member = np.unique(group, return_index=True, return_inverse=True)
    owner = label[first]
    mixed = np.unique(member[owner[member] != label])
    if len(mixed):
        raise ValueError(
            f"{len(mixed)} of {len(groups)} wells hold images of two labels (the first: well {groups[mixed[0]]}); a "
            "well has one label. Number the wells over all plates, e.g. by (plate, well)."
        )
    order = np.lexsort((np.random.default_rng(seed).permutation(len(groups)), owner))
    fold = np.empty(len(groups), np.int64)
    fold[order] = np.arange(len(groups)) % k
    return fold[member]


def cross_validated_auc(features: Callable[[Mask], Array], positive: Mask, group: NDArray[Any], seed: int) -> Auc:
    """How well the classifier tells positive from negative images of groups that did not teach it.

    The mean over folds of the AUC within the fold (scores of classifiers taught differently are never ranked together,
    which would pull the AUC below 0.5 where nothing differs). At most 5 folds, as many as either side has groups,
    so that each holds both. null_sd² = 2 Σ_folds (n₊ + n₋ + 1)/(12 n₊ n₋)/folds², images taken as independent; the 2,
    because any two folds that are alike by chance are so twice, each with the other among its teachers.
    Source: Mann & Whitney 1947 (the null variance); Hanley & McNeil 1982 (AUC).
    features: the features (n, d), given which images (n,) teach. NaN where a side has fewer than two groups, or a
    feature is no number.
    """
    k = min(FOLDS, len(np.unique(group[positive])), len(np.unique(group[~positive])))
    if k < 2:
        return Auc(NAN, NAN)
    fold = folds(positive.astype(np.int64), group, k, seed)
    values: list[float] = []
    variance = 0.0
    for f in range(k):
        teaches, tried = fold != f, fold == f
        x = features(teaches)
        if not np.isfinite(x).all():
            return Auc(NAN, NAN)
        scores = fit(x[teaches], positive[teaches].astype(np.int64)).decision_function(x[tried])
        values.append(cast(float, roc_auc_score(positive[tried], scores)))
        n, m = int(positive[tried].sum()), int((~positive[tried]).sum())
        variance += 2 * (n + m + 1) / (12 * n * m)
    return Auc(float(np.mean(values)), float(np.sqrt(variance)) / k)
