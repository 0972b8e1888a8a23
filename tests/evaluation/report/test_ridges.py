"""Ridges of single cells."""

import base64

import numpy as np

from virtassay.evaluation.report.ridges import Ridge, ridges


def test_images_that_are_all_alike_are_a_narrow_ridge():
    places = {"real": np.arange(5.0), "control": np.arange(5.0) - 2, "generated": np.ones(5)}
    drawn = base64.b64decode(
        ridges([[Ridge("t", "f", places, ""), Ridge("t", "g", {}, "")]]).partition(",")[2]
    ).decode()
    assert "nan" not in drawn.lower() and drawn.count("<!-- n/a -->") == 1
