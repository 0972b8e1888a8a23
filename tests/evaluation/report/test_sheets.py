"""Pictures of the report where the data are vectors: heat maps in place of image strips."""

import base64
import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.report import sheets

FEATURES = tuple(f"Cells_{i}" for i in range(20))


def side(root, effect):
    """Four vectors each of controls and of a drug at three doses, in two batches that lie apart."""
    doses = (None, 0.1, 1.0, 10.0)
    rows = [(batch, dose, i) for batch in ("week1", "week2") for dose in doses for i in range(4)]
    index = pl.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(len(rows))],
            "plate": [batch for batch, _, _ in rows],
            "well": [f"{dose} {i}" for _, dose, i in rows],
            "batch": [batch for batch, _, _ in rows],
            "perturbation": ["drug" if dose else "DMSO" for _, dose, _ in rows],
            "is_control": [dose is None for _, dose, _ in rows],
            "dose_um": pl.Series([dose for _, dose, _ in rows], dtype=pl.Float64),
        }
    )
    noise = np.random.default_rng(0).normal(size=(len(rows), 20))
    level = np.array([[100.0 * (batch == "week2") + effect * (dose or 0)] for batch, dose, _ in rows])
    info = DatasetInfo(root.name, FEATURES, (20, 1, 1), "float32")
    vectors = (noise + level).astype(np.float32)[:, :, None, None]
    return open_dataset(write_dataset(root, info, vectors, index))


@pytest.fixture
def source(tmp_path):
    return sheets.image_source(side(tmp_path / "real", effect=2.0), side(tmp_path / "generated", effect=-2.0))


def pixels(picture):
    with Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))) as image:
        return np.asarray(image).astype(int)


def redness(picture):
    """Mean of red less blue: positive above the controls, negative below."""
    shown = pixels(picture)
    return float((shown[..., 0] - shown[..., 2]).mean())


@pytest.mark.parametrize("batch", ["week1", "week2"])
def test_a_contact_sheet_of_vectors_shows_each_against_the_controls_of_its_batch(source, batch):
    sheet = sheets.large_sheet(source, "why", "drug 10 µM", batch, per_channel=True)
    real, generated, control = (picture for _, picture in sheet.rows)
    assert [label for label, _ in sheet.rows] == ["Real", "Generated", "Control"] and not sheet.channels
    assert redness(real) > 40 and redness(generated) < -40 and abs(redness(control)) < 20
    assert real is not None and real.n == 4
    assert pixels(real).shape[:2] == (real.height, real.width) == (4 * 18, 900)


def test_small_sheets_and_dose_ladders_show_means(source):
    sheet = sheets.small_sheet(source, "drug 10 µM", "week2")
    shown = [picture for _, picture in sheet.rows if picture is not None]
    assert len(shown) == 3
    assert {picture.height for picture in shown} == {sheets.MEAN} and max(picture.width for picture in shown) <= 285
    steps = [(f"{dose:g} µM", f"drug {dose:g} µM") for dose in (0.1, 1.0, 10.0)]
    ladder = sheets.dose_ladder(source, "drug", "week1", steps)
    assert ladder.headings == ("control", "0.1 µM", "1 µM", "10 µM")
    (_, real), (_, generated) = ladder.rows
    assert redness(real[3]) > redness(real[2]) > abs(redness(real[0]))
    assert redness(generated[3]) < redness(generated[2]) < -abs(redness(generated[0]))
    assert sum(picture.width for picture in real if picture is not None) <= sheets.WIDTH


def test_a_treatment_without_vectors_has_no_picture(source):
    assert sheets.small_sheet(source, "another drug", "week1").rows[0][1] is None
