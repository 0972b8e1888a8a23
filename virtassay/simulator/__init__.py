"""Simulated screens: a world of drugs, genes and cells whose truth is known."""

from virtassay.simulator.pharmacology import AXES, CLASSES, Perturbation, compounds, knock_outs, read_drugs
from virtassay.simulator.screens import simulate

__all__ = ["AXES", "CLASSES", "Perturbation", "compounds", "knock_outs", "read_drugs", "simulate"]
