"""Figures of a screen's report: SVGs that load nothing and show what they were given."""

import base64

import numpy as np

from virtassay.screening.enrichment import enrichment_curve
from virtassay.screening.figures import dose_curves, enrichment_figure, scores_figure, structure


def svg(uri: str) -> str:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


def test_figures_are_svgs_of_their_own():
    scores, active = np.array([3.0, 2.0, 1.0, np.nan]), np.array([True, False, False, False])
    drawn = [
        scores_figure(scores, np.array([0.5]), "strength"),
        enrichment_figure(enrichment_curve(active, np.array([3.0, 2, 1, 0])), 1, 4),
        dose_curves(
            ["$x$", "y"], [1.0, 10.0], np.ones((2, 2)), np.array([np.zeros((2, 2)), np.full((2, 2), 2.0)]), "s"
        ),
        structure("CCO"),
    ]
    assert all("<svg" in svg(uri) and "<image" not in svg(uri) for uri in drawn)
    assert len({*drawn}) == 4 and structure("CCO") == drawn[3] != structure("CCN")
