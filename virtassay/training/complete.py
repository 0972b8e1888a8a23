"""What a configuration leaves open, because only the data set, the objective or another run knows it."""

from collections.abc import Mapping
from typing import Any

from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.data.molecules.descriptors import Descriptor
from virtassay.data.molecules.embeddings import with_sha256
from virtassay.flow.objective import Objective
from virtassay.flow.traits import trait

MARK = "???"  # a value that a yaml leaves open
GROUPS = ("condition", "network", "training", "start")


def fill_in(
    config: Mapping[str, Any],
    vocabulary: Vocabulary,
    molecules: Descriptor | None,
    objective: Objective,
    start_sha256: str | None = None,
) -> dict[str, Any]:
    """Return a resolved configuration of training with nothing left open, as a run stores it.

    Filled in by their key, wherever the network, its condition encoder or `start` has ??? beside it: image_shape,
    channels, n_perturbations, n_batches, n_cell_types (of the vocabulary), structure_size (of the descriptor of
    molecules), average (whether the objective needs a network of mean velocities) and sha256 (of the weights that
    training starts from). What somebody has given stays. Tables of embeddings get the hash of their file.
    """
    values = {
        "image_shape": list(vocabulary.image_shape),
        "channels": len(vocabulary.channels),
        "n_perturbations": len(vocabulary.perturbations),
        "n_batches": len(vocabulary.batches),
        "n_cell_types": len(vocabulary.cell_types),
        "average": bool(trait(objective, "mean_velocity")),
    }
    if molecules is not None:
        values["structure_size"] = molecules.size
    if start_sha256 is not None:
        values["sha256"] = start_sha256
    return with_sha256({key: _filled(node, values) if key in GROUPS else node for key, node in config.items()})


def _filled(node: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_filled(item, values) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: values.get(key, MARK) if value == MARK else _filled(value, values) for key, value in node.items()}
