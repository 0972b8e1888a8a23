"""The index that most splits are tried on."""

import polars as pl
import pytest

from tests.data.prepare.splits.screens import DRUGS
from virtassay.schema import validate


@pytest.fixture(scope="module")
def index() -> pl.DataFrame:
    """Two batches of one plate each, ten wells a plate, five images a well; the last well holds a combination."""
    table = []
    for batch in ("b1", "b2"):
        for number, drug in enumerate([*DRUGS, "both"]):
            parts = ["taxol", "ALLN"] if drug == "both" else [drug]
            for site in range(5):
                table.append(
                    {
                        "image_id": f"{batch}-{number}-{site}", "plate": f"{batch}P1", "well": f"A{number + 1:02d}",
                        "batch": batch, "perturbation": parts, "is_control": drug == "DMSO", "site": str(site),
                        "dose_um": [None if drug == "DMSO" else 1.0] * len(parts),
                    }
                )  # fmt: skip
    return validate(pl.DataFrame(table))
