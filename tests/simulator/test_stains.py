"""What the stains show of a drug's effect."""

import numpy as np
from scipy.ndimage import gaussian_filter

from tests.simulator.wells import top, well
from virtassay.simulator.grow import grow
from virtassay.simulator.plan import Treatment


def crops(treatment: Treatment, wells: int = 5) -> np.ndarray:
    """Crops of cells that do not divide."""
    grown = [grow(well(treatment, i), 40, 48, 3) for i in range(wells)]
    return np.concatenate([images[truth["truth_cycle"] != "M"] for images, truth in grown])


def test_drugs_change_structure_and_not_brightness_alone():
    def fine(images: np.ndarray) -> float:  # tubulin's contrast at the scale of fibres, relative to its amount
        tubulin = images[:, 2].astype(float) - np.percentile(images[:, 2], 1)
        band = gaussian_filter(tubulin, (0, 0.8, 0.8)) - gaussian_filter(tubulin, (0, 2, 2))
        return float(band[:, 12:-12, 12:-12].std() / tubulin[:, 12:-12, 12:-12].mean())

    def nuclear_area(images: np.ndarray) -> float:
        dna = images[:, 0, 13:-13, 13:-13]
        return float((dna > (dna.max(axis=(1, 2), keepdims=True) + dna.min(axis=(1, 2), keepdims=True)) / 2).mean())

    control = crops(Treatment())
    assert fine(crops(top("colchicine"))) < 0.9 * fine(control)
    assert fine(crops(top("docetaxel"))) > 1.1 * fine(control)
    assert nuclear_area(crops(top("etoposide"))) > 1.25 * nuclear_area(control)
