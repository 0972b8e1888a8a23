"""VirtualAssay: a trained model as an instrument. Load a run folder, ask for perturbations, get images.

    assay = VirtualAssay.load("runs/quickstart")
    images, nfe = assay.generate(requests, seeds, solver=midpoint, steps=10)

Run folders come from strangers: weights are read from safetensors only, and config.yaml may name classes of virtassay
only, so that nothing in the folder can execute code of its own.
"""

import hashlib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from virtassay.data.molecules import Morgan
from virtassay.data.vocabulary import Vocabulary
from virtassay.flow.guidance import Guidance
from virtassay.flow.solver import Solver
from virtassay.flow.source import Source, seeded_noise
from virtassay.flow.time import TimeGrid, uniform_grid
from virtassay.flow.velocity import Counted, Velocity
from virtassay.schema import Condition

FILES = ("config.yaml", "vocabulary.json", "model.safetensors")
GUIDE = "guide.safetensors"  # an early state of the model, for autoguidance; not every run keeps one


class BrokenRun(ValueError):
    """A run folder that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class VirtualAssay:
    """A network with its source and vocabulary, ready to generate; the hashes say which model, and guide, it is."""

    network: nn.Module
    source: Source
    vocabulary: Vocabulary
    molecules: Morgan | None
    config: dict[str, Any]
    model_sha256: str = ""
    guide: nn.Module | None = None  # only where it was asked for and the run kept one
    guide_sha256: str | None = None

    @classmethod
    def load(cls, run: str | Path, device: torch.device | str = "cpu", *, guide: bool = False) -> Self:
        """Read a run folder, `guide`: with the weights for autoguidance, where it kept them.

        Raises BrokenRun naming what is missing, damaged or not of virtassay.
        """
        folder = Path(run)
        if not folder.is_dir():
            raise BrokenRun(f"{folder} is no run folder: it does not exist. Train one, or correct run=….")
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise BrokenRun(
                f"the run folder {folder} lacks {', '.join(missing)} (a run needs {', '.join(FILES)}). "
                "model.safetensors appears at the first checkpoint: was the run killed before it? Try resume=true."
            )
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            vocabulary = Vocabulary.load(folder / "vocabulary.json")
            network = _network(config["network"], folder / "model.safetensors")
            guided = guide and (folder / GUIDE).is_file()
            weaker = _network(config["network"], folder / GUIDE).to(device) if guided else None
            source, molecules = build(config["source"]), build(config["molecules"])
        except BrokenRun:
            raise
        except Exception as error:
            raise BrokenRun(
                f"the run folder {folder} cannot be read: {error}. Is a file damaged, or of another run?"
            ) from error
        digest = _sha256(folder / "model.safetensors")
        of_guide = None if weaker is None else _sha256(folder / GUIDE)
        return cls(network.to(device), source, vocabulary, molecules, config, digest, weaker, of_guide)

    @torch.inference_mode()
    def generate(
        self,
        requests: pl.DataFrame,
        seeds: np.ndarray,
        *,
        solver: Solver,
        steps: int,
        grid: TimeGrid = uniform_grid,
        guidance: Guidance | None = None,
        minibatch_size: int = 256,
        controls: np.ndarray | None = None,
        bf16: bool = False,
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Yield (images (m, c, h, w) in stored integers, NFE for each of them) over the requests, in order.

        requests: an index in normal form (schema.validate). seeds: (n,), one for each image, which depends on nothing
        else. controls: (n, c, h, w) stored integers, where the source starts from them.
        """
        if self.source.needs_control and controls is None:
            raise ValueError(f"this model starts from control images ({self.source}): give `controls`, one a request.")
        table = self.vocabulary.encode(requests, self.molecules, "requests")
        device = next(self.network.parameters()).device
        times = grid(steps).to(device)
        scale = self.vocabulary.normalisation
        self.network.eval()
        for first in range(0, len(table), minibatch_size):
            rows = slice(first, first + minibatch_size)
            noise = seeded_noise(torch.tensor(seeds[rows]), self.vocabulary.image_shape).to(device)
            control = None if controls is None else scale.to_model(torch.from_numpy(controls[rows])).to(device)
            condition = table.condition(rows).to(device)
            counted = Counted(_velocity(self.network, bf16))
            weaker = None if self.guide is None else Counted(_velocity(self.guide, bf16))
            velocity = guidance(counted, weaker) if guidance else counted
            images = solver(velocity, self.source(noise, control), condition, times)
            if not images.isfinite().all():
                raise FloatingPointError(
                    f"the model generated values that are not finite (first seeds {seeds[rows][:3].tolist()}): "
                    "the weights may be damaged, or guidance.scale too large."
                )
            calls = counted.calls + (weaker.calls if weaker else 0)
            yield scale.to_stored(images, getattr(torch, self.vocabulary.dtype)).cpu().numpy(), calls


def _velocity(network: nn.Module, bf16: bool) -> Velocity:
    def velocity(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            return network(x, t, condition)

    return velocity


def _network(node: Any, weights: Path) -> nn.Module:
    network = build(node)
    network.load_state_dict(load_file(weights))
    return network.eval()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def build(node: Any) -> Any:
    """Build the objects that a stored config describes: `_target_` is a class of virtassay, the rest its arguments.

    The class must be defined in virtassay, not only reachable through it, or a config could name anything that some
    module of ours imports. Raises BrokenRun on any other name.
    """
    if isinstance(node, list):
        return [build(item) for item in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build(value) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return arguments
    module, _, name = str(node["_target_"]).rpartition(".")
    made = None
    if module.split(".")[0] == "virtassay":
        try:
            made = getattr(importlib.import_module(module), name, None)
        except ImportError:
            made = None
    if not inspect.isclass(made) or made.__module__ != module:
        raise BrokenRun(f"config.yaml names {node['_target_']!r}, which is no class of virtassay: it is not loaded.")
    return made(**arguments)
