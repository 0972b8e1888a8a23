"""A screen with its card, and changes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.toy_screen import write_screen
from virtassay import card
from virtassay.data.dataset.store import open_dataset, write_dataset
from virtassay.schema import validate


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy screen of two batches with a card."""
    root = write_screen(tmp_path_factory.mktemp("card") / "screen")
    card.write(root)
    return root


@pytest.fixture
def changed(screen: Path, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Change the index (and the images) of the screen; returns the page and the numbers of its card."""

    def run(
        change: Callable[[pl.DataFrame], pl.DataFrame] = lambda index: index,
        images: Callable[[np.ndarray], np.ndarray] = lambda images: images,
        **info: Any,
    ) -> tuple[str, dict[str, Any]]:
        dataset = open_dataset(screen)
        index = change(dataset.index.drop("shard", "offset", "treatment").with_row_index("_row"))
        pixels = images(dataset.images(index["_row"].to_numpy()))
        write_dataset(tmp_path / "d", replace(dataset.info, **info), pixels, validate(index.drop("_row")))
        return read(card.write(tmp_path / "d"))

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time: they are drawn only in tests of them."""
    names = ("examples", "by_plate", "maps", "treatment_map", "scatter", "contrast")
    monkeypatch.setattr("virtassay.card.writer._pictures", lambda *_: dict.fromkeys(names))


def read(page: Path) -> tuple[str, dict[str, Any]]:
    return page.read_text(encoding="utf-8"), json.loads((page.parent / "card.json").read_text(encoding="utf-8"))
