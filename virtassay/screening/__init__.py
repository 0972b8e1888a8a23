"""Screening: a library of compounds → effects of their generated images → a goal's scores → ranked hits."""

from virtassay.screening.dose_response import HillFit, hill
from virtassay.screening.effects import Context, EffectPredictor, EffectScale, TreatmentQuery
from virtassay.screening.engines import Engine, Execution, Local, Ray
from virtassay.screening.goals import Disagreement, Goal, Likeness, Novelty, Rescue, Score, Selectivity, Strength
from virtassay.screening.images import DatasetImages, ImageWriter, OmeTiffImages, OmeZarrImages
from virtassay.screening.library import Library, LibraryColumns, prepare_library
from virtassay.screening.pipeline import Evidence, screen
from virtassay.screening.plate import Plate
from virtassay.screening.recipe import Recipe, Scorer, Stage
from virtassay.screening.reference import ReferenceEffects

__all__ = [
    "Context", "DatasetImages", "Disagreement", "EffectPredictor", "EffectScale", "Engine", "Evidence", "Execution",
    "Goal", "HillFit", "ImageWriter", "Library", "LibraryColumns", "Likeness", "Local", "Novelty", "OmeTiffImages",
    "OmeZarrImages", "Plate", "Ray", "Recipe", "ReferenceEffects", "Rescue", "Score", "Scorer", "Selectivity",
    "Stage", "Strength", "TreatmentQuery", "hill", "prepare_library", "screen",
]  # fmt: skip
