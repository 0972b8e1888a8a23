"""A sampler: the solver's usual number of steps unless another is given, and what generated folders keep of it."""

from functools import partial

from virtassay.flow.guidance import Guidance
from virtassay.flow.sampler import STEPS, Sampler
from virtassay.flow.solver import euler, jump, stochastic
from virtassay.flow.time import shifted_grid


def test_a_solver_takes_its_usual_number_of_steps_unless_another_is_given():
    assert Sampler(euler).n_steps == 50 and Sampler(partial(jump)).n_steps == 2
    assert Sampler(lambda velocity, x0, condition, times: x0).n_steps == STEPS
    assert Sampler(euler, 3).times().tolist() == Sampler(jump, 3).times().tolist()
    assert len(Sampler(euler, 3).times()) == 4


def test_it_describes_itself_in_names_and_numbers():
    guidance = Guidance({"perturbation": 2.0, "batch": 1.0})
    sampler = Sampler(partial(stochastic, churn=0.1), 5, partial(shifted_grid, factor=2.0), guidance)
    assert sampler.describe() == {
        "solver": "stochastic",
        "steps": 5,
        "grid": "shifted_grid",
        "guidance": {"scale": {"perturbation": 2.0}, "against": "null", "interval": [0.0, 1.0]},
    }
