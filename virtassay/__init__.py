"""virtassay: train, sample and judge virtual assays, generative models of microscopy images under perturbation.

    import virtassay as va
    from virtassay.flow import midpoint

    va.simulate(root="datasets/simulated")  # or va.prepare_table, of a screen of your own
    # then train: virtassay train experiment=quickstart
    assay = va.VirtualAssay.load("runs/quickstart")
    requests = va.inline_requests({"perturbation": "taxol", "dose_um": [0.1, 1.0], "n": 16}, assay.vocabulary)
    folder = va.write_samples(assay, requests, root=Path("made"), sampler=va.Sampler(midpoint, steps=20))
    images = va.open_dataset(folder).images()  # (n, c, h, w), as they are stored

What they are made of is in virtassay.flow, virtassay.networks and virtassay.data.molecules. Each name below is imported
when it is first used, so that `virtassay --help` need not wait for torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtassay.assay import VirtualAssay
    from virtassay.data.dataset.store import Dataset, open_dataset
    from virtassay.data.loading.controls import ControlPool
    from virtassay.data.prepare.table import prepare_table
    from virtassay.evaluation.comparison.compare import compare
    from virtassay.evaluation.judge import judge
    from virtassay.flow.guidance import Guidance
    from virtassay.flow.sampler import Sampler
    from virtassay.generation.requests import inline_requests, like_dataset, read_requests
    from virtassay.generation.write import write_samples
    from virtassay.screening.screen import screen
    from virtassay.simulator.simulate import simulate

__all__ = [
    "ControlPool",
    "Dataset",
    "Guidance",
    "Sampler",
    "VirtualAssay",
    "compare",
    "inline_requests",
    "judge",
    "like_dataset",
    "open_dataset",
    "prepare_table",
    "read_requests",
    "screen",
    "simulate",
    "write_samples",
]

try:
    __version__ = version("virtassay")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

_HOMES = {  # where each name is defined
    "ControlPool": "data.loading.controls",
    "Dataset": "data.dataset.store",
    "Guidance": "flow.guidance",
    "Sampler": "flow.sampler",
    "VirtualAssay": "assay",
    "compare": "evaluation.comparison.compare",
    "inline_requests": "generation.requests",
    "judge": "evaluation.judge",
    "like_dataset": "generation.requests",
    "open_dataset": "data.dataset.store",
    "prepare_table": "data.prepare.table",
    "read_requests": "generation.requests",
    "screen": "screening.screen",
    "simulate": "simulator.simulate",
    "write_samples": "generation.write",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or raise AttributeError (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
