"""What figures share."""

import base64
import io

import numpy as np
from PIL import Image

from virtassay.report.figures import evenly, new_figure, png_uri, style, svg_uri


def test_pixels_survive_their_data_uri():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    head, _, data = png_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels)


def test_the_same_figure_gives_the_same_text():
    def drawn() -> str:
        with style():
            figure = new_figure(2, 1)
            figure.subplots().set_title("a $x^{$ dollar")
            return svg_uri(figure)

    assert drawn() == drawn() and drawn().startswith("data:image/svg+xml;base64,")


def test_numbers_are_chosen_evenly_with_both_ends():
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(3, 7) == [0, 1, 2]
    assert evenly(0, 7) == []
