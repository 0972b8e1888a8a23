"""Blur, saturation and debris are flagged, each by its name; good fields are not."""

import numpy as np
import pytest
from scipy import ndimage

from tests.data.prepare.fields.fields_of_cells import simulated
from virtassay.data.prepare.fields.quality import FieldMeasures, Quality, measure

CHANNELS = ("GFP", "DNA")


def good(seed: int) -> np.ndarray:
    return np.concatenate([simulated(seed)[0], simulated(seed + 100)[0]])


@pytest.fixture(scope="module")
def plate() -> list[FieldMeasures]:
    return [measure(good(seed)) for seed in range(12)]


def judged(image: np.ndarray, plate: list[FieldMeasures]) -> str | None:
    quality = Quality()
    return quality.judge(image, quality.typical(plate), CHANNELS)[1]


def test_good_fields_are_not_flagged(plate: list[FieldMeasures]):
    assert [judged(good(seed), plate) for seed in range(20, 26)] == [None] * 6


def test_a_blurred_channel_is_flagged(plate: list[FieldMeasures]):
    image = good(30)
    image[1] = ndimage.gaussian_filter(image[1].astype(float), 3).round()
    assert judged(image, plate) == "out of focus: DNA"


def test_focus_does_not_depend_on_brightness(plate: list[FieldMeasures]):
    image = good(31)
    assert np.allclose(measure(image).slope, measure(image.astype(np.uint16) * 7 + 20).slope, atol=1e-3)


def test_saturation_is_flagged(plate: list[FieldMeasures]):
    image = good(32)
    image[0] = np.minimum(image[0], np.percentile(image[0], 95))
    flagged = judged(image, plate)
    assert flagged is not None and "saturated: GFP" in flagged


def test_debris_is_flagged(plate: list[FieldMeasures]):
    image = good(33).astype(np.uint16)
    rows, columns = np.indices(image.shape[1:])
    fibre = np.abs(rows - columns - 20) < 2
    image[1] += (fibre * (8 * np.percentile(image[1], 99.9) + 11 * rows)).astype(np.uint16)
    flagged = judged(image, plate)
    assert flagged is not None and "debris: DNA" in flagged


def test_an_empty_image_is_saturated_and_no_number_breaks(plate: list[FieldMeasures]):
    flagged = judged(np.zeros_like(good(0)), plate)
    assert flagged is not None and "saturated: GFP, DNA" in flagged
