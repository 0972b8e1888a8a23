"""What a judgement is made by: featurizers, baselines and metrics, and the limits of what they look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.baselines import Baseline
from virtassay.evaluation.candidate import Candidate, Metric
from virtassay.evaluation.evaluation_set import EvaluationSet, Limits
from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.glossary import Glossary
from virtassay.evaluation.metrics.effects import effects
from virtassay.files import cache_folder
from virtassay.flow.traits import trait


@dataclass(frozen=True, kw_only=True)
class Criteria(Limits):
    """By what generated images are judged: `Limits`, and three mappings from a name that the user gives.

    featurizers: ways to look at images. baselines: what a model must beat, by the name that rows carry. metrics: what
    is measured beside effects. Each may be one's own function or class. cache: keep features on disk, so that images
    are not looked at twice (`download.cache_folder`).
    """

    featurizers: Mapping[str, Featurizer]
    baselines: Mapping[str, Baseline]
    metrics: Mapping[str, Metric]
    cache: bool = False

    def looks(self) -> list[Featurizer]:
        """The featurizers, cached if wished. Raises ValueError unless there are some, each with a name of its own."""
        names = [f.name for f in self.featurizers.values()]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"featurizers are {names}; give one or more, each with a name of its own.")
        return [Cached(f, cache_folder() / "features") if self.cache else f for f in self.featurizers.values()]

    def candidate(self, evaluation: EvaluationSet, generator: Baseline, *, is_model: bool = False) -> Candidate:
        """A generator, drawn as often as it needs, to be measured by the metrics."""
        draws = [generator(evaluation, k) for k in range(self.repeats if trait(generator, "repeated") else 1)]
        return Candidate(evaluation, draws, self.resamples, is_model, tuple(self.metrics.values()))

    def fingerprint(self, featurizer: Featurizer, real: Dataset) -> dict[str, Any]:
        """How the numbers of one featurizer are measured; each score adds what is its own.

        Two numbers whose fingerprints differ are not put side by side.
        """
        return {
            "featurizer": featurizer.name,
            **featurizer.fingerprint(),
            "features": "in units of the real controls' s.d. within a batch, at least half the s.d. and a tenth of the "
            "range of all real images",
            "quantisation": real.info.dtype,
            "image_shape": list(real.info.image_shape),
            "split": self.split,
            "controls": "real, of the batch, every split; disjoint thirds for real effect, generated effect and copy",
            "seed": self.seed,
            "resamples": self.resamples,
            "version": version(),
        }

    def glossary(self) -> Glossary:
        """What the effects and the metrics mean."""
        return Glossary.of([effects, *self.metrics.values()])


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("virtassay")
    except metadata.PackageNotFoundError:
        return "checkout, not installed"
