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
from virtassay.flow.guidance import Guided
from virtassay.flow.solver import Solver
from virtassay.flow.source import Source, seeded_noise
from virtassay.flow.time import TimeGrid, uniform_grid
from virtassay.flow.velocity import Counted
from virtassay.schema import Condition

FILES = ("config.yaml", "vocabulary.json", "model.safetensors")


class BrokenRun(ValueError):
    """A run folder that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class VirtualAssay:
    """A network with its source and vocabulary, ready to generate; `images_seen` and hash say which model it is."""

    network: nn.Module
    source: Source
    vocabulary: Vocabulary
    molecules: Morgan | None
    config: dict[str, Any]
    model_sha256: str = ""

    @classmethod
    def load(cls, run: str | Path, device: torch.device | str = "cpu") -> Self:
        """Read a run folder; raises BrokenRun naming what is missing, damaged or not of virtassay."""
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
            network = build(config["network"])
            network.load_state_dict(load_file(folder / "model.safetensors"))
            source, molecules = build(config["source"]), build(config["molecules"])
        except BrokenRun:
            raise
        except Exception as error:
            raise BrokenRun(
                f"the run folder {folder} cannot be read: {error}. Is a file damaged, or of another run?"
            ) from error
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        return cls(network.to(device).eval(), source, vocabulary, molecules, config, digest)

    @torch.inference_mode()
    def generate(
        self,
        requests: pl.DataFrame,
        seeds: np.ndarray,
        *,
        solver: Solver,
        steps: int,
        grid: TimeGrid = uniform_grid,
        guidance_scale: float = 1.0,
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
            counted = Counted(self._velocity(bf16))
            velocity = Guided(counted, guidance_scale)
            images = solver(velocity, self.source(noise, control), condition, times)
            if not images.isfinite().all():
                raise FloatingPointError(
                    f"the model generated values that are not finite (first seeds {seeds[rows][:3].tolist()}): "
                    "the weights may be damaged, or guidance_scale too large."
                )
            yield scale.to_stored(images, getattr(torch, self.vocabulary.dtype)).cpu().numpy(), counted.calls

    def _velocity(self, bf16: bool):
        def velocity(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                return self.network(x, t, condition)

        return velocity


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
