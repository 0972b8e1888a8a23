"""A known vignette is recovered from fields of cells, and divided out."""

import numpy as np
import pytest

from virtassay.data.prepare.fields.illumination import Illumination, corrected, enlarge

SHAPE, N = (2, 96, 128), 300


def vignette() -> np.ndarray:
    """Light that falls by about a third to the corners, less in the second channel."""
    y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[1]), np.linspace(-1, 1, SHAPE[2]), indexing="ij")
    fall = 0.18 * ((x - 0.2) ** 2 + y**2)
    return np.stack([1 - fall, 1 - 0.5 * fall])


def fields(light: np.ndarray) -> np.ndarray:
    """Fields of bright squares at random places on a dim ground, under `light`."""
    rng = np.random.default_rng(0)
    images = np.full((N, *SHAPE), 200.0)
    for image in images:
        for top, left in rng.integers(0, SHAPE[1:], (40, 2)):  # round the edge, so that all places are alike
            rows, columns = (np.arange(8) + top) % SHAPE[1], (np.arange(8) + left) % SHAPE[2]
            image[:, rows[:, None], columns] = 2000
    return images * light


def test_a_known_vignette_is_recovered():
    light = vignette()
    images = fields(light)
    found = enlarge(Illumination().estimate(images.mean(0), len(images), "P1"), SHAPE)
    truth = light / light.min((1, 2), keepdims=True)
    assert found.min() >= 1
    error = found / found.mean((1, 2), keepdims=True) / (truth / truth.mean((1, 2), keepdims=True)) - 1
    assert np.abs(error).mean() < 0.02
    assert np.percentile(np.abs(error), 95) < 0.04


def test_what_is_corrected_is_even_and_no_brighter():
    light = vignette()
    images = fields(light).astype(np.uint16)
    found = enlarge(Illumination().estimate(images.mean(0), len(images), "P1"), SHAPE)
    even = np.stack([corrected(image, found) for image in images])
    assert even.dtype == np.uint16
    assert (even <= images).all()

    def unevenness(stack: np.ndarray) -> float:
        ground = np.median(stack, 0)
        return float((ground.std((1, 2)) / ground.mean((1, 2))).max())

    assert unevenness(images) > 0.06
    assert unevenness(even) < 0.02


def test_even_light_changes_hardly_anything():
    images = fields(np.ones(SHAPE))
    found = Illumination().estimate(images.mean(0), len(images), "P1")
    assert np.abs(found / found.mean((1, 2), keepdims=True) - 1).max() < 0.06


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="plate P1 has 3 fields"):
        Illumination().estimate(np.ones(SHAPE), 3, "P1")
    black = np.stack([np.ones(SHAPE[1:]), np.zeros(SHAPE[1:])])
    with pytest.raises(ValueError, match=r"channel\(s\) \[1\] of plate P1 are black"):
        Illumination().estimate(black, 50, "P1")
    with pytest.raises(ValueError, match="smoothing=0"):
        Illumination(smoothing=0)
