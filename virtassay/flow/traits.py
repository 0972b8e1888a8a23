"""Traits: what a choice needs or can do, said beside it, so that no one compares it with what it is.

    @having(draws_noise=True)
    def stochastic(...): ...

    trait(partial(stochastic, churn=0.2), "draws_noise")  # True

A user's own function or class has the same attributes where it needs them: `my_solver.draws_noise = True`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def having(**traits: Any) -> Callable[[Function], Function]:
    """Decorate a function with attributes."""

    def mark(function: Function) -> Function:
        function.__dict__.update(traits)
        return function

    return mark


def trait(choice: Any, name: str, default: Any = False) -> Any:
    """Return the attribute `name` of a function, of the one inside a partial, or of an object; else `default`."""
    return getattr(getattr(choice, "func", choice), name, default)


def name_of(choice: Any) -> str:
    """Return the name of a function, or of the one inside a partial."""
    return str(trait(choice, "__name__", str(choice)))
