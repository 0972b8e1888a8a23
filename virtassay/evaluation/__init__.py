"""The judgement of generated images: what is compared with what, by what, and what follows.

An evaluation set (strata of real and generated images, controls, baselines) is looked at by featurizers; metrics score
every generator in each, in one loop; rows with floor and ceiling become a verdict, a report or a comparison.
"""

from virtassay.evaluation.baselines import Baseline
from virtassay.evaluation.candidate import Candidate, Metric
from virtassay.evaluation.comparison.compare import compare, names_of
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet, Limits, Stratum, StratumImages
from virtassay.evaluation.glossary import HIGHER, LOWER, NEITHER, Description, near
from virtassay.evaluation.intervals import Score, Scores, over_perturbations
from virtassay.evaluation.judge import assess, judge
from virtassay.evaluation.judgement import POOLED, Judgement
from virtassay.evaluation.space import FeatureSpace
from virtassay.evaluation.verdict import IncomparableScores, comparable

__all__ = [
    "HIGHER", "LOWER", "NEITHER", "POOLED", "Assignment", "Baseline", "Candidate", "Criteria", "Description",
    "EvaluationSet", "FeatureSpace", "IncomparableScores", "Judgement", "Limits", "Metric", "Score", "Scores",
    "Stratum", "StratumImages", "assess", "comparable", "compare", "judge", "names_of", "near", "over_perturbations",
]  # fmt: skip
