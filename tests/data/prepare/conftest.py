"""The fixture that prepares the small own screen."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.prepare.own_screen import (
    CHANNELS,
    COLUMNS,
    pixels,
    screen,
)
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.prepare.sources import Stack
from virtassay.data.prepare.splits import split_by_well
from virtassay.data.prepare.table import prepare_table


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """Prepare the screen into tmp_path/out; keyword arguments override; a DataFrame as `table` is written as csv.

    Pictures take most of the time: they are drawn only in the test of them.
    """
    for name in ("plate_layout", "treatment_sheet"):
        monkeypatch.setattr(f"virtassay.data.prepare.table.{name}", lambda *_, **__: None)

    def run(**changes: Any) -> Dataset:
        table = changes.pop("table", screen())
        if isinstance(table, pl.DataFrame):
            table.write_csv(tmp_path / "screen.csv")
            table = tmp_path / "screen.csv"
        if "images" not in changes:
            np.save(tmp_path / "stack.npy", pixels())
            changes["images"] = Stack(str(tmp_path / "stack.npy"))
        settings = {
            "channels": CHANNELS, "scaling": None, "split": partial(split_by_well, seed=0), "columns": COLUMNS,
            "controls": ["DMSO"], "root": tmp_path / "out", "table": table,
        }  # fmt: skip
        return open_dataset(prepare_table(**(settings | changes)))

    return run


@pytest.fixture(autouse=True)
def nothing_half_written(tmp_path: Path):
    yield
    assert not list(tmp_path.glob(".out*"))
