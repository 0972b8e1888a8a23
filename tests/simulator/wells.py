"""What the tests of the simulator share: a well of one treatment, a drug at its top dose, a small screen."""

from functools import partial

from virtassay.simulator import compounds, simulate
from virtassay.simulator.plan import Treatment, Well, plan_wells

small = partial(
    simulate, n_batches=2, plates_per_batch=1, wells_per_treatment=3, control_wells=3, cells_per_well=12, size=24,
    n_compounds=2, n_doses=2, knock_outs=1, combinations=1,
)  # fmt: skip


def well(treatment: Treatment, number: int = 0, channels: int = 3) -> Well:
    (one,) = plan_wells([treatment], number, 1, 1, channels)
    return one


def top(name: str) -> Treatment:
    drug = next(drug for drug in compounds() if drug.name == name)
    return Treatment(((drug, drug.top_um),))
