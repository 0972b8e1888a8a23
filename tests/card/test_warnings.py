"""What a card warns of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.card.conftest import read


def test_warnings_stand_at_the_top_of_the_page_in_plain_words(screen: Path):
    page, stored = read(screen / "card.html")
    assert any(sentence.startswith("Edge wells hold 100 % of the controls") for sentence in stored["warnings"])
    assert any("Plate explains" in sentence for sentence in stored["warnings"])  # week2 is brighter, by design
    assert not any("Batch explains" in sentence for sentence in stored["warnings"])  # each plate is a batch: said once
    assert any("No licence" in sentence for sentence in stored["warnings"])
    assert page.index("Before you train") < page.index("Edge wells hold") < page.index('id="facts"')


CONTROL, WEEK1 = pl.col("is_control"), pl.col("batch") == "week1"
ETHANOL, TWO_CONTROLS = pl.col("well").str.starts_with("C"), pl.col("well").is_in(["A01", "A02"])
FLAG = pl.when(pl.col("_row") < 5).then(pl.lit("debris: DNA"))
SAME = pl.when(~CONTROL).then(pl.lit("CCO"))
CHANGES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "There is no split": lambda i: i.drop("split"),
    "There is one plate only": lambda i: i.filter(WEEK1),
    "1 batch without control wells (week2)": lambda i: i.filter(~CONTROL | WEEK1),
    "2 batches without control wells (week1, week2)": lambda i: i.filter(~CONTROL),
    "2 plates with fewer than 4 control wells": lambda i: i.filter(~TWO_CONTROLS),
    "1 batch holds only one treatment (week1)": lambda i: i.filter(~WEEK1 | ~ETHANOL),
    "5 images (3 %) are flagged": lambda i: i.with_columns(flagged=FLAG),
    "1 structure under more than one name (ethanol = taxol)": lambda i: i.with_columns(smiles=SAME),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("warning", CHANGES)
def test_what_is_wrong_with_the_index_is_said(changed, warning: str):
    page, stored = changed(CHANGES[warning])
    assert [sentence for sentence in stored["warnings"] if sentence.startswith(warning)], stored["warnings"]
    assert "Before you train" in page


@pytest.mark.usefixtures("undrawn")
def test_what_is_wrong_with_the_pixels_is_said(changed):
    def spoil(images: np.ndarray) -> np.ndarray:
        spoilt = images.copy()
        spoilt[:, 1, :2] = 255  # a sixth of actin
        spoilt[1] = spoilt[0]
        return spoilt

    _, stored = changed(images=spoil, licence="CC0", pixel_size_um=0.5)
    assert "2 images have an exact copy (1 group)." in stored["warnings"]
    clipped = "actin: more than 1 % of the pixels are saturated on 2 plates (week1-p1, week2-p1)."
    assert clipped in stored["warnings"]
    assert not any("licence" in sentence or "pixel size" in sentence for sentence in stored["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_dim_and_blurred_plates_are_named(changed):
    def plates(index: pl.DataFrame) -> pl.DataFrame:
        return index.with_columns(plate=pl.concat_str(pl.col("batch"), pl.col("well").str.slice(1)))

    def spoil(images: np.ndarray) -> np.ndarray:
        spoilt = images.copy()
        well = np.arange(len(images)) // 8 % 4
        spoilt[well == 3] //= 3
        spoilt[well == 2] = np.kron(spoilt[well == 2][:, :, ::4, ::4], np.ones((1, 1, 4, 4))).astype(np.uint8)
        return spoilt

    _, stored = changed(plates, spoil)
    dim = "DNA: the controls of 2 plates (week104, week204) are more than 1.5 times brighter or dimmer"
    assert any(sentence.startswith(dim) for sentence in stored["warnings"]), stored["warnings"]
