"""What every metric asks of the arrays it is given."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def image_features(name: str, features: ArrayLike, *columns: ArrayLike) -> NDArray[np.float64]:
    """`features` as float64; ValueError unless they are (n, d), and each of `columns`, one value an image, (n,)."""
    x = np.asarray(features, np.float64)
    shapes = [np.shape(column) for column in columns]
    if x.ndim != 2 or any(shape != x.shape[:1] for shape in shapes):
        described = f", and what describes each image (labels, wells …) {shapes}" if columns else ""
        raise ValueError(
            f"the features of {name} have shape {x.shape}{described}; expected (n, d) for n images of d features"
            f"{', and (n,) each' if columns else ''}."
        )
    return x


def check_same_width(*sides: NDArray[np.float64]) -> None:
    """Raise ValueError unless all sides (n, d) have the same d."""
    if len({side.shape[1] for side in sides}) > 1:
        raise ValueError(
            f"features have shapes {[side.shape for side in sides]}; expected the same d. Measure all sides with one "
            "featurizer."
        )
