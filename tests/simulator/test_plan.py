"""The plan: how batches and plates differ, who is killed, and wells of every treatment on every side."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from virtassay.data.prepare.splits import split_by_well
from virtassay.simulator.plan import Treatment, plan_treatments, plan_wells, well_table


def test_batches_differ_more_than_plates_of_one():
    optics = {w.plate: w.optics for w in plan_wells([Treatment()], 0, 8, 2, 3)}
    gain = np.log([o.gain for o in optics.values()]).reshape(8, 2, 3)
    assert np.abs(gain[:, 0] - gain[:, 1]).mean() < 0.5 * gain.mean(axis=1).std(axis=0).mean()


def test_batches_differ_as_strongly_as_asked():
    def gains(strength: float) -> np.ndarray:
        wells = plan_wells([Treatment()], 0, 30, 1, 3, strength)
        return np.log(np.stack([w.optics.gain for w in wells]))

    none, usual, strong = (gains(strength).std(0) for strength in (0.0, 1.0, 3.0))
    assert (none < 0.08).all(), "plates of a batch still differ a little"
    assert strong / usual == pytest.approx([3, 3, 3], rel=0.15)


@pytest.mark.parametrize("name", ["simulated", "quickstart"])
def test_shipped_screens_have_wells_on_every_side(repo: Path, name: str):
    prepare = OmegaConf.load(repo / "conf" / "data" / f"{name}.yaml").prepare
    treatments = plan_treatments(
        prepare.n_compounds, prepare.n_doses, prepare.dilution, prepare.knock_outs, prepare.combinations
    )
    layout = [Treatment()] * prepare.control_wells + treatments * prepare.wells_per_treatment
    table = well_table(list(plan_wells(layout, 0, prepare.n_batches, prepare.plates_per_batch, prepare.channels)))
    table = split_by_well(table, val=prepare.split.val, test=prepare.split.test, seed=prepare.split.seed)
    sides = table.group_by("batch", "perturbation", "dose_um").agg(pl.col("split").n_unique())
    assert (sides["split"] == 3).all()


def test_toxicity_scales_the_cells_that_are_killed_and_leaves_the_phenotype():
    whole, third, none = (plan_treatments(3, 2, 4.0, 2, 1, toxicity=factor) for factor in (1.0, 1 / 3, 0.0))
    for a, b, c in zip(whole, third, none, strict=True):
        assert (a.effect == b.effect).all() and (a.effect == c.effect).all()
        assert c.survival == 1
        if len(a.parts) == 1:
            assert 1 - b.survival == pytest.approx((1 - a.survival) / 3)
    assert min(t.survival for t in whole) < 0.7
