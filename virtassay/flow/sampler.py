"""A sampler: which solver takes how many steps over which grid of times, along which guided velocity."""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from virtassay.flow.guidance import Guidance
from virtassay.flow.solver import MeanSolver, Solver
from virtassay.flow.time import TimeGrid, uniform_grid
from virtassay.flow.traits import name_of, trait

STEPS = 20  # of a solver that names no usual number


@dataclass(frozen=True)
class Sampler:
    """x1 = solver(guidance(v), x0, grid(steps)): all that decides how a velocity becomes images.

    steps: None takes the solver's usual number. The solver's traits say what it asks of the velocity and who calls it:
    `draws_noise` (it takes `draw`, for seeds of each image), `mean_velocity` (it asks for velocities over whole steps),
    `controls_error` (rounding to bf16 would look like error to it), `from_noise` (it holds on the linear path from
    noise only).
    """

    solver: Solver | MeanSolver
    steps: int | None = None
    grid: TimeGrid = uniform_grid
    guidance: Guidance = field(default_factory=Guidance)

    @property
    def n_steps(self) -> int:
        """How many steps it takes."""
        return int(trait(self.solver, "usual_steps", STEPS)) if self.steps is None else self.steps

    def times(self) -> Float[Tensor, " steps_and_one"]:
        """Return the times from 0 to 1 that the solver steps along."""
        return self.grid(self.n_steps)

    def describe(self) -> dict[str, Any]:
        """Say how it samples in names and numbers, as generated folders and screens keep it."""
        return {
            "solver": name_of(self.solver),
            "steps": self.n_steps,
            "grid": name_of(self.grid),
            "guidance": {
                "scale": self.guidance.scales,
                "against": self.guidance.against,
                "interval": list(self.guidance.interval),
            },
        }
