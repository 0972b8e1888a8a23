"""Curves with known potency, p-values of chance, and rates of false discovery that hold."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.screening.test_screen import LAST, recipe
from virtassay.data.dataset.rows import Rows
from virtassay.screening import confidence as trust
from virtassay.screening.confidence import Calibration, Known, p_values, q_values, taken_for
from virtassay.screening.dose_response import hill
from virtassay.screening.effects import Ask

DOSES = np.array([0.01, 0.03, 0.1, 0.3, 1, 3, 10])


def curve(ec50, top=2.0, h=1.0):
    return top / (1 + (ec50 / DOSES) ** h)


@pytest.mark.parametrize(("ec50", "h"), [(0.05, 1.0), (0.3, 2.0), (1.0, 0.7), (2.0, 1.5)])
def test_a_curve_gives_its_potency_back(ec50, h):
    found = hill(DOSES, curve(ec50, h=h), np.full(7, 0.01))
    assert found.ec50_um == pytest.approx(ec50, rel=0.02)
    assert (found.top, found.slope) == (pytest.approx(2, rel=0.05), pytest.approx(h, rel=0.05))
    assert found.lower < ec50 < found.upper and found.r2 > 0.999


def test_intervals_of_noisy_curves_hold_the_truth():
    rng = np.random.default_rng(0)
    found = [hill(DOSES, curve(0.3) + rng.normal(0, 0.1, 7), np.full(7, 0.1)) for _ in range(200)]
    assert np.mean([f.lower < 0.3 < f.upper for f in found]) > 0.9
    assert np.median([f.ec50_um for f in found]) == pytest.approx(0.3, rel=0.1)


def test_what_is_no_curve_says_why():
    assert "too few for a curve" in hill(DOSES[:3], curve(0.3)[:3], np.full(3, 0.1)).warning
    nothing = hill(DOSES, np.random.default_rng(1).normal(0, 0.1, 7), np.full(7, 0.2))
    assert nothing.warning == "no dose has an effect" and np.isnan(nothing.ec50_um)
    assert hill(DOSES, curve(300, top=50), np.full(7, 0.01)).warning == "EC50 lies outside the doses asked for"
    assert hill(DOSES, curve(5), np.full(7, 0.001)).warning == "no plateau at the highest dose"
    with pytest.raises(ValueError, match="needs positive ones"):
        hill([0.0, 1, 2, 3], [0, 1, 1, 1], [1, 1, 1, 1])


def test_the_nearest_seen_compound_is_named():
    known = Known.of(["ethanol", "toluene"], ["CCO", "Cc1ccccc1"])
    names, values = known.nearest(["OCC", "CCc1ccccc1", "CCCO"])
    assert names == ["ethanol", "toluene", "ethanol"]
    assert values[0] == 1 and 0 < values[1] < 1
    with pytest.raises(ValueError, match="no compound with a structure"):
        Known.of([], [])


def test_a_compound_is_taken_for_what_the_encoder_makes_of_it(run, monkeypatch):
    instrument = recipe(run).instrument(LAST)
    known = Known.of(["taxol", "ethanol"], ["CCN(CC)CC", "CCO"])
    smiles = ["OCC", "CCN(CC)CC", "CCCO", "c1ccccc1"]
    names, cosines = taken_for(instrument, known, smiles, [1.0, 3.0, 3.0, 1.0])
    assert names[:2] == ["ethanol", "taxol"] and cosines[:2] == pytest.approx([1, 1])
    assert (np.abs(cosines) <= 1 + 1e-9).all() and (cosines[2:] < 1 - 1e-6).all()

    encode: Any = instrument.assay.network.condition
    rows = instrument.requests([Ask(("DMSO",), (None,), (None,)), *(Ask((s,), (s,), (3.0,)) for s in ("CCCO", "CCO"))],
                               np.array([len(instrument.units) - 1]))  # fmt: skip
    with torch.inference_mode():
        table = instrument.assay.vocabulary.encode(Rows.of(rows), instrument.assay.molecules)
        zero, own, ethanol = encode(table.condition(slice(None))).double().numpy()
    right = (own - zero) @ (ethanol - zero) / np.linalg.norm(own - zero) / np.linalg.norm(ethanol - zero)
    assert taken_for(instrument, Known.of(["ethanol"], ["CCO"]), ["CCCO"], [3.0])[1] == pytest.approx(
        right, abs=1e-5
    )  # in another batch: the same
    monkeypatch.setattr(trust, "AT_ONCE", 1)
    again = taken_for(instrument, known, smiles, [1.0, 3.0, 3.0, 1.0])
    assert again[0] == names and again[1] == pytest.approx(cosines)


def test_the_expected_error_is_that_of_held_out_compounds_alike():
    rng = np.random.default_rng(0)
    similarity = rng.random(4000)
    predicted = rng.normal(size=4000)
    observed = predicted + rng.normal(size=4000) * (1.1 - similarity)
    found = Calibration(similarity, predicted, observed).expected_error([0.3, 0.8])
    assert found == pytest.approx([0.8, 0.3], rel=0.12)
    few = Calibration(np.array([0.2, 0.2]), np.zeros(2), np.ones(2))
    assert np.isnan(few.expected_error([0.2, 0.9])).all()


def test_p_values_of_inactive_compounds_are_uniform_and_never_zero():
    rng = np.random.default_rng(0)
    p = p_values(rng.normal(size=4000), rng.normal(size=999))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert p_values([100.0], np.zeros(9)) == pytest.approx(0.1)
    assert np.isnan(p_values([np.nan], np.zeros(9))).all()


def test_q_values_by_hand_and_the_rate_holds():
    assert q_values([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(q_values([0.5, np.nan])[1])
    assert q_values([0.01, 0.02], tried=100) == pytest.approx([1, 1])  # the best two of a hundred, one by chance each
    assert q_values([1e-4, 2e-3], tried=100) == pytest.approx([0.01, 0.1])
    rates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        active = np.arange(1000) < 100
        scores = rng.normal(size=1000) + 4 * active
        hits = q_values(p_values(scores, rng.normal(size=5000))) < 0.1
        rates.append((hits & ~active).sum() / max(1, hits.sum()))
        assert hits[active].mean() > 0.6
    assert np.mean(rates) < 0.12
