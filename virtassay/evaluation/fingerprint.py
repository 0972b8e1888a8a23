"""How a number was measured: two numbers whose fingerprints differ are not put side by side."""

from importlib import metadata
from typing import Any

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers.features import Featurizer


def fingerprint(featurizer: Featurizer, real: Dataset, limits: Limits) -> dict[str, Any]:
    """What all numbers of one featurizer share; each score adds what is its own."""
    return {
        "featurizer": featurizer.name,
        **featurizer.fingerprint(),
        "features": "in units of the real controls' s.d. within a batch, at least half the s.d. and a tenth of the "
        "range of all real images",
        "quantisation": real.info.dtype,
        "image_shape": list(real.info.image_shape),
        "split": limits.split,
        "controls": "real, of the batch, every split; disjoint thirds for real effect, generated effect and copy",
        "seed": limits.seed,
        "resamples": limits.resamples,
        "version": version(),
    }


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("virtassay")
    except metadata.PackageNotFoundError:
        return "checkout, not installed"
