"""Training: a flow is fitted to a dataset folder, and leaves a run folder."""

from virtassay.training.complete import fill_in
from virtassay.training.ema import EMA
from virtassay.training.module import FlowTraining, NonFiniteLoss
from virtassay.training.optimisers import Muon
from virtassay.training.runs import claim, fit
from virtassay.training.warm_start import start_from, take_scales

__all__ = ["EMA", "FlowTraining", "Muon", "NonFiniteLoss", "claim", "fill_in", "fit", "start_from", "take_scales"]
