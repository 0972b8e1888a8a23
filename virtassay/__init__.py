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
    from virtassay.data.dataset import Dataset, open_dataset
    from virtassay.data.loading import ControlPool
    from virtassay.data.prepare import prepare_table
    from virtassay.evaluation import Criteria, compare, judge
    from virtassay.flow import Guidance, Sampler
    from virtassay.generation import inline_requests, like_dataset, read_requests, write_samples
    from virtassay.screening import screen
    from virtassay.simulator import simulate

__all__ = [
    "ControlPool", "Criteria", "Dataset", "Guidance", "Sampler", "VirtualAssay", "compare", "inline_requests", "judge",
    "like_dataset", "open_dataset", "prepare_table", "read_requests", "screen", "simulate", "write_samples",
]  # fmt: skip

try:
    __version__ = version("virtassay")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

_HOMES = {  # where each name is public
    "assay": ("VirtualAssay",),
    "data.dataset": ("Dataset", "open_dataset"),
    "data.loading": ("ControlPool",),
    "data.prepare": ("prepare_table",),
    "evaluation": ("Criteria", "compare", "judge"),
    "flow": ("Guidance", "Sampler"),
    "generation": ("inline_requests", "like_dataset", "read_requests", "write_samples"),
    "screening": ("screen",),
    "simulator": ("simulate",),
}


def __getattr__(name: str) -> Any:
    """Import a public name, or raise AttributeError (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
