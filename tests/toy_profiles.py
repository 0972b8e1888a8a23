"""A very small screen of profiles for tests: two batches, eight wells each of DMSO and of three drugs."""

import numpy as np
import polars as pl

FEATURES = tuple(
    f"{part}_{kind}_{i}" for part in ("Cells", "Nuclei") for kind in ("Shape", "Texture") for i in range(3)
)
COLUMNS = {
    "perturbation": "Metadata_compound",
    "dose_um": "Metadata_dose",
    "plate": "Metadata_Plate",
    "well": "Metadata_Well",
    "batch": "Metadata_batch",
}
DRUGS = ("DMSO", "taxol", "ALLN", "emetine")


def profiles(wells: int = 8) -> pl.DataFrame:
    """A row a well: metadata, and features in units of their own; each drug moves them in a direction of its own."""
    random = np.random.default_rng(0)
    rows = [(batch, drug, well) for batch in range(2) for drug in range(len(DRUGS)) for well in range(wells)]
    batch, drug, well = np.array(rows).T
    direction = 3 * random.normal(size=(len(DRUGS), len(FEATURES)))
    direction[0] = 0
    values = random.normal(size=(len(rows), len(FEATURES))) + direction[drug] + 0.5 * batch[:, None]
    units, offset = 10 ** random.uniform(-3, 3, len(FEATURES)), random.normal(size=len(FEATURES))
    metadata = pl.DataFrame(
        {
            "Metadata_Plate": [f"00{b}" for b in batch],
            "Metadata_Well": [f"{'ABCD'[d]}{w + 1:02d}" for d, w in zip(drug, well, strict=True)],
            "Metadata_batch": [f"week{b}" for b in batch],
            "Metadata_compound": [DRUGS[d] for d in drug],
            "Metadata_dose": [None if d == 0 else 3.0 for d in drug],
            "Metadata_Count": random.integers(50, 200, len(rows)),
        }
    )
    return pl.concat([metadata, pl.DataFrame(units * (values + offset), schema=FEATURES)], how="horizontal")
