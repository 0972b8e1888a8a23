"""The mathematics: source → coupling → path → objective, and back by guidance and solver. It knows no biology.

Each choice is a plain function or a frozen dataclass; what it needs or can do is an attribute beside it (`having`).
"""

from virtassay.flow.coupling import (
    Comparable,
    Coupling,
    conditional,
    entropic,
    exact,
    independent,
    pixels,
    pooled,
    quantiles,
    squared_distances,
    transport_ratio,
)
from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.guidance import Guidance, Guided, Nullable, Nulled
from virtassay.flow.objective import FlowMatching, Objective, SelfDistilled, squared_error
from virtassay.flow.path import BrownianBridge, Linear, Mix, Path, PathSample, SineSquared, Trigonometric, interpolate
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import MeanSolver, Solver, ab2, dopri5, euler, heun, jump, midpoint, rk4, stochastic
from virtassay.flow.source import Control, Noise, NoisyControl, SeededRandom, Source
from virtassay.flow.time import (
    TimeGrid,
    TimeLaw,
    Weighting,
    cosine_grid,
    cosmap,
    edm_grid,
    edm_weight,
    flat,
    logit_normal,
    shift,
    shifted,
    shifted_grid,
    uniform,
    uniform_grid,
)
from virtassay.flow.traits import having, name_of, trait
from virtassay.flow.velocity import Counted, MeanVelocity, Velocity, curvature, expand_time

__all__ = [
    "BrownianBridge", "Comparable", "Control", "Counted", "Coupling", "FlowMatching", "GaussianPair", "Guidance",
    "Guided", "Linear", "MeanSolver", "MeanVelocity", "Mix", "Noise", "NoisyControl", "Nullable", "Nulled",
    "Objective", "Path", "PathSample", "Sampler", "SeededRandom", "SelfDistilled", "SineSquared", "Solver", "Source",
    "TimeGrid", "TimeLaw", "Trigonometric", "Velocity", "Weighting", "ab2", "conditional", "cosine_grid", "cosmap",
    "curvature", "dopri5", "edm_grid", "edm_weight", "entropic", "euler", "exact", "expand_time", "flat", "having",
    "heun", "independent", "interpolate", "jump", "logit_normal", "midpoint", "name_of", "pixels", "pooled",
    "quantiles", "rk4", "shift", "shifted", "shifted_grid", "squared_distances", "squared_error", "stochastic",
    "trait", "transport_ratio", "uniform", "uniform_grid",
]  # fmt: skip
