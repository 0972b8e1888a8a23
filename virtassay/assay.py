"""VirtualAssay: a trained model as an instrument. Load a run folder, ask for perturbations, get images.

    assay = VirtualAssay.load("runs/quickstart")
    images, nfe = assay.generate(requests, seeds, Sampler(midpoint, steps=10))

Run folders come from strangers: weights are read from safetensors only, and config.yaml may name classes of virtassay
only, so that nothing in the folder can execute code of its own.
"""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from virtassay.data.dataset.rows import Rows
from virtassay.data.loading.controls import ControlPool
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.data.molecules.descriptors import Descriptor
from virtassay.flow.sampler import Sampler
from virtassay.flow.source import SeededRandom, Source
from virtassay.flow.traits import name_of, trait
from virtassay.flow.velocity import Counted
from virtassay.networks.channel_dit import ChannelDiT
from virtassay.precision import best_device
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
    molecules: Descriptor | None
    config: dict[str, Any]
    model_sha256: str = ""
    guide: nn.Module | None = None  # only where it was asked for and the run kept one
    guide_sha256: str | None = None

    @classmethod
    def load(cls, run: str | Path, device: torch.device | str = "cpu", *, guide: bool = False) -> Self:
        """Read a run folder onto a device ("auto": a GPU where there is one).

        guide: with the weights for autoguidance, where it kept them.

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
            weaker = _network(config["network"], folder / GUIDE) if guided else None
            source, molecules = build(config["source"]), build(config["molecules"])
        except BrokenRun:
            raise
        except Exception as error:
            raise BrokenRun(
                f"the run folder {folder} cannot be read: {error}. Is a file damaged, or of another run?"
            ) from error
        device = best_device() if device == "auto" else device
        digest = _sha256(folder / "model.safetensors")
        if weaker is None:
            return cls(network.to(device), source, vocabulary, molecules, config, digest)
        of_guide = _sha256(folder / GUIDE)
        return cls(network.to(device), source, vocabulary, molecules, config, digest, weaker.to(device), of_guide)

    @property
    def control_set(self) -> int:
        """How many control images of the batch the condition is told."""
        return int(self.config.get("loader", {}).get("control_set", 0))

    @property
    def any_channels(self) -> bool:
        """Whether it paints any of the channels that it knows, in any order, or all of them in theirs."""
        return isinstance(self.network, ChannelDiT)

    @property
    def folder(self) -> str:
        """The dataset folder that it was trained on. Raises ValueError where there were several."""
        folder = self.config["loader"]["folder"]
        if isinstance(folder, str):
            return folder
        if len(folder) > 1:
            raise ValueError(f"this model was trained on several folders, {folder}: say by dataset=… which is meant.")
        return folder[0]

    @property
    def needs_controls(self) -> bool:
        """Whether images begin at, or are told of, control images of their batch."""
        return self.source.needs_control or self.control_set > 0

    @torch.inference_mode()
    def generate(
        self,
        requests: pl.DataFrame,
        seeds: np.ndarray,
        sampler: Sampler,
        *,
        minibatch_size: int = 256,
        channels: Sequence[str] | None = None,
        controls: ControlPool | None = None,
        counterfactual: bool = False,
        bf16: bool = False,
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Yield (images (m, c, h, w) as they are stored, NFE for each of them) over the requests, in order.

        requests: an index in normal form (schema.validate). seeds: (n,), one for each image, which depends on nothing
        else. channels: what the images show, by default all that the model knows; the noise that a channel begins at is
        the same whatever stands beside it. controls: where the model needs them; each image's own seed draws from those
        of its batch.
        counterfactual: carry a control image back to noise under its own condition, and forward under the request:
        "this cell, treated"; x0 = Φ⁻¹(x; own), x1 = Φ(x0; request), both along the same grid. Guidance acts forwards.
        Raises ValueError for what the model cannot do.
        """
        self._check(sampler, controls, counterfactual)
        shown, stain = self._shown(channels)
        scale = self.vocabulary.normalisation.take(stain)
        table = self.vocabulary.encode(Rows.of(requests), self.molecules, "requests")
        times = sampler.times().to(self.device)
        bf16 = bf16 and not trait(sampler.solver, "controls_error")
        begins = self.source.needs_control or counterfactual
        pool = controls if begins or self.control_set else None
        drawn = None if pool is None else pool.draw(requests["batch"].to_list(), seeds, begins + self.control_set)
        self.network.eval()
        for first in range(0, len(table), minibatch_size):
            rows = slice(first, first + minibatch_size)
            random = SeededRandom(torch.tensor(seeds[rows]))
            noise, chance = random.normal(self.vocabulary.image_shape)[:, stain[0]], random.uniform()
            condition, start, own = replace(table.condition(rows), stain=stain.expand(len(noise), -1)), None, None
            if pool is not None and drawn is not None:
                start = self._read(pool, drawn[rows, 0], shown).to(self.device) if begins else None
                told = self._read(pool, drawn[rows, begins:], self.vocabulary.channels) if self.control_set else None
                condition = replace(condition, control_set=told)
                if counterfactual:
                    of_controls = self.vocabulary.encode(
                        pool.controls.rows.take(drawn[rows, 0]), self.molecules, "controls"
                    )
                    given = of_controls.condition(slice(None))
                    own = replace(given, stain=condition.stain, control_set=told).to(self.device)
            condition = condition.to(self.device)
            counted = Counted(_velocity(self.network, bf16))
            weaker = None if self.guide is None else Counted(_velocity(self.guide, bf16))
            velocity = sampler.guidance(counted, weaker)
            solve = _seeded(sampler.solver, random)
            if own is not None and start is not None:
                x0 = solve(counted, start, own, times.flip(0))
            else:
                x0 = self.source(noise.to(self.device), start, chance.to(self.device))
            images = solve(velocity, x0, condition, times)
            if not images.isfinite().all():
                raise FloatingPointError(
                    f"the model generated values that are not finite (first seeds {seeds[rows][:3].tolist()}): "
                    "the weights may be damaged, or guidance.scale too large."
                )
            calls = counted.calls + (weaker.calls if weaker else 0)
            stored = scale.to_stored(images, getattr(torch, self.vocabulary.dtype))
            yield stored.cpu().numpy(), calls

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def _shown(self, channels: Sequence[str] | None) -> tuple[tuple[str, ...], Tensor]:
        """Return the names of the channels to paint, and their rows of the vocabulary, (1, c)."""
        known = self.vocabulary.channels
        if channels is None or tuple(channels) == known:
            return known, torch.arange(len(known))[None]
        if not self.any_channels:
            raise ValueError(
                f"this model paints the channels {list(known)}, all of them and in this order: leave "
                f"channels={list(channels)} out, or train one with network=channel_dit_s, which paints any."
            )
        return tuple(channels), torch.from_numpy(self.vocabulary.stain(channels))[None]

    def _read(self, pool: ControlPool, rows: np.ndarray, channels: tuple[str, ...]) -> Tensor:
        """Read these channels of the controls `rows`, (n) or (n, m), scaled as the network sees them: (…, c, h, w)."""
        there, images = pool.controls.info.channels, pool.controls.images(rows.ravel())
        missing = sorted(set(channels) - set(there))
        if missing:
            raise ValueError(
                f"{pool.source}: its control images show {list(there)}, and {missing} too are needed of them: name "
                "another dataset=…, or ask for channels=… that it has."
            )
        if channels != there:
            images = images[:, [there.index(name) for name in channels]]
        scale = self.vocabulary.normalisation.take(self._shown(channels)[1])
        return scale.to_model(torch.from_numpy(images)).unflatten(0, rows.shape)

    def _check(self, sampler: Sampler, controls: ControlPool | None, counterfactual: bool) -> None:
        if controls is None and (self.needs_controls or counterfactual):
            raise ValueError("control images are needed, to begin at or to be told of: give `controls`.")
        if counterfactual and self.source.needs_control:
            raise ValueError(
                f"a counterfactual goes back to noise, and this model begins at controls ({self.source}), each of "
                "which it shows treated as it is: leave counterfactual=true out."
            )
        if sampler.guidance.needs_null and self.config["condition"]["dropout"] == 0:
            raise ValueError(
                "this model was trained without a null (condition.dropout=0), so that there is nothing to guide away "
                "from: sample with guidance=none, or train with condition.dropout=0.1."
            )
        solver = name_of(sampler.solver)
        if trait(sampler.solver, "from_noise") and (self.source.needs_control or not self._linear):
            raise ValueError(
                f"the {solver} solver is for models that go from noise along the linear path: use midpoint."
            )
        if trait(sampler.solver, "mean_velocity") and not self.config["network"].get("average", False):
            raise ValueError(
                f"solver={solver} needs a model of mean velocities: train one with objective=self_distilled."
            )

    @property
    def _linear(self) -> bool:
        return str(self.config["objective"]["path"]["_target_"]).endswith(".Linear")


def _seeded(solver: Callable[..., Tensor], random: SeededRandom) -> Callable[..., Tensor]:
    """Give a solver that draws noise the generators of its images."""
    if not trait(solver, "draws_noise"):
        return solver
    return partial(solver, draw=lambda x: random.normal(tuple(x.shape[1:])).to(x))


def _velocity(network: nn.Module, bf16: bool) -> Callable[..., Tensor]:
    def velocity(x: Tensor, t: Tensor, condition: Condition, *step: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            return network(x, t, condition, *step)

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
