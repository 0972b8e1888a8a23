"""A toy dataset of ten random images in two channels, and the rows of its index."""

import numpy as np
import polars as pl

from virtassay.data.dataset import DatasetInfo

N = 10
INFO = DatasetInfo("toy", ("DNA", "actin"), (2, 6, 5), "uint8", provenance={"source": "a test"})


def pixels(dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (N, 2, 6, 5), dtype=dtype, endpoint=True)


def rows(n: int = N) -> pl.DataFrame:
    number = pl.int_range(n, eager=True)
    return pl.DataFrame(
        {
            "image_id": [f"image{i}" for i in range(n)],
            "plate": "P1",
            "well": pl.Series([f"A{i % 4 + 1:02d}" for i in range(n)]),
            "batch": "b1",
            "perturbation": pl.Series(["DMSO" if i % 4 == 0 else "taxol" for i in range(n)]),
            "dose_um": pl.Series([None if i % 4 == 0 else 0.3 for i in range(n)], dtype=pl.Float64),
            "is_control": number % 4 == 0,
            "split": "train",
            "anything": number,
        }
    )
