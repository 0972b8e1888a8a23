"""A dataset folder → minibatches, which are functions of (seed, step); and the vocabulary that a run keeps of it."""

from typing import TYPE_CHECKING, Any

from virtassay.data.loading.controls import ControlPool, Controls
from virtassay.data.loading.normalisation import Normalisation
from virtassay.data.loading.order import JoinedOrder, MinibatchOrder
from virtassay.data.loading.vocabulary import UnknownToModel, Vocabulary

if TYPE_CHECKING:
    from virtassay.data.loading.datamodule import AssayData

__all__ = [
    "AssayData", "ControlPool", "Controls", "JoinedOrder", "MinibatchOrder", "Normalisation", "UnknownToModel",
    "Vocabulary",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import AssayData when it is named: it brings Lightning, which a trained model does without."""
    if name == "AssayData":
        from virtassay.data.loading.datamodule import AssayData

        return AssayData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
