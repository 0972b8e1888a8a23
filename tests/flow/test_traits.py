"""Traits stand beside a choice, and are read through a partial."""

from functools import partial

from virtassay.flow.path import Linear, Trigonometric
from virtassay.flow.solver import dopri5, euler, jump, stochastic
from virtassay.flow.traits import having, name_of, trait


def test_a_trait_is_that_of_the_function_inside_a_partial():
    assert trait(partial(dopri5, rtol=1e-3), "controls_error") and not trait(euler, "controls_error")
    assert trait(stochastic, "draws_noise") and trait(jump, "mean_velocity") and trait(lambda: 0, "any", 3) == 3


def test_functions_and_objects_of_ones_own_have_traits_too():
    @having(usual_steps=7)
    def mine(x: float) -> float:
        return x

    assert mine(2.0) == 2.0 and trait(mine, "usual_steps") == 7
    assert trait(Linear(), "linear") and not trait(Trigonometric(), "linear")
    assert name_of(partial(mine, x=1.0)) == "mine" and name_of(Linear()) == "Linear()"
