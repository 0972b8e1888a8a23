"""VirtualAssay: a trained model as an instrument. Load a run folder, ask for perturbations, get images.

assay = VirtualAssay.load("runs/quickstart")
images, nfe = assay.generate(requests, seeds, Sampler(midpoint, steps=10))
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from virtassay.data.dataset.rows import Rows
from virtassay.data.loading.controls import ControlPool
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.data.molecules.descriptors import Descriptor
from virtassay.files import sha256
from virtassay.flow.path import Path as FlowPath
from virtassay.flow.sampler import Sampler
from virtassay.flow.source import SeededRandom, Source
from virtassay.flow.traits import name_of, trait
from virtassay.flow.velocity import Counted
from virtassay.precision import best_device
from virtassay.run_folder import GUIDE, BrokenRun, build, build_network, read_config
from virtassay.schema import Condition


@dataclass(frozen=True)
class VirtualAssay:
    """A network with its source, path and vocabulary, ready to generate; the hashes say which model, and guide, it is.

    What it can do are attributes of its parts: `needs_control` of the source; `linear` of the path; `any_channels` and
    `mean_velocity` of the network, and `has_null` and `control_images` of its `condition`.
    """

    network: nn.Module
    source: Source
    path: FlowPath
    vocabulary: Vocabulary
    molecules: Descriptor | None
    config: dict[str, Any]
    model_sha256: str = ""
    guide: nn.Module | None = None  # only where it was wanted and the run kept one
    guide_sha256: str | None = None

    @classmethod
    def load(
        cls, run: str | Path, device: torch.device | str = "cpu", *, guide: bool = False, trust: Sequence[str] = ()
    ) -> Self:
        """Read a run folder onto a device ("auto": a GPU where there is one).

        guide: with the weights for autoguidance, where it kept them. trust: packages besides virtassay whose classes
        config.yaml may name, e.g. ["mylab"]; their code is run.
        Raises BrokenRun naming what is missing, damaged, of another format or neither of virtassay nor trusted.
        """
        folder = Path(run)
        try:
            config = read_config(folder)
            vocabulary = Vocabulary.load(folder / "vocabulary.json")
            network = build_network(config["network"], folder / "model.safetensors", trust)
            guided = guide and (folder / GUIDE).is_file()
            weaker = build_network(config["network"], folder / GUIDE, trust) if guided else None
            source, path, descriptor = (build(config[part], trust) for part in ("source", "path", "molecules"))
        except BrokenRun:
            raise
        except Exception as error:
            raise BrokenRun(
                f"the run folder {folder} cannot be read: {error}. Is a file damaged, or of another run?"
            ) from error
        device = best_device() if device == "auto" else device
        return cls(
            network.to(device),
            source,
            path,
            vocabulary,
            descriptor,
            config,
            model_sha256=sha256(folder / "model.safetensors"),
            guide=None if weaker is None else weaker.to(device),
            guide_sha256=None if weaker is None else sha256(folder / GUIDE),
        )

    @property
    def control_set(self) -> int:
        """How many control images of the batch the condition encoder reads."""
        return int(trait(self.network.condition, "control_images", 0))

    @property
    def any_channels(self) -> bool:
        """Whether it paints any of the channels that it knows, in any order, or all of them in theirs."""
        return bool(trait(self.network, "any_channels"))

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
        """Whether images begin at control images of their batch, or its encoder reads some."""
        return self.source.needs_control or self.control_set > 0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

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
        names, stain = self._shown(channels)
        scale = self.vocabulary.normalisation.take(stain)
        table = self.vocabulary.encode(Rows.of(requests), self.molecules, "requests")
        times = sampler.times().to(self.device)
        bf16 = bf16 and not trait(sampler.solver, "controls_error")
        begins = self.source.needs_control or counterfactual
        pool = controls if begins or self.control_set else None
        if pool is not None:  # (n, begins + control_set) rows of it; a seed draws first what its image begins at
            drawn = pool.draw(requests["batch"].to_list(), seeds, begins + self.control_set)
        else:
            drawn = np.zeros((len(seeds), 0), np.int64)
        self.network.eval()
        for first in range(0, len(table), minibatch_size):
            rows = slice(first, first + minibatch_size)
            random = SeededRandom(torch.tensor(seeds[rows]))
            noise, chance = random.normal(self.vocabulary.image_shape)[:, stain[0]], random.uniform()
            control = shown = None
            if pool is not None and begins:
                control = self._read(pool, drawn[rows, 0], names).to(self.device)
            if pool is not None and self.control_set:
                shown = self._read(pool, drawn[rows, begins:], self.vocabulary.channels)
            stains = stain.expand(len(noise), -1)
            condition = replace(table.condition(rows), stain=stains, control_set=shown).to(self.device)
            counted = Counted(_velocity(self.network, bf16))
            weaker = None if self.guide is None else Counted(_velocity(self.guide, bf16))
            velocity = sampler.guidance(counted, weaker)
            solve = _seeded(sampler.solver, random)
            if counterfactual and pool is not None and control is not None:
                of_controls = pool.controls.rows.take(drawn[rows, 0])
                own = self.vocabulary.encode(of_controls, self.molecules, "controls").condition(slice(None))
                own = replace(own, stain=stains, control_set=shown).to(self.device)
                x0 = solve(counted, control, own, times.flip(0))
            else:
                x0 = self.source(noise.to(self.device), control, chance.to(self.device))
            images = solve(velocity, x0, condition, times)
            if not images.isfinite().all():
                raise FloatingPointError(
                    f"the model generated values that are not finite (first seeds {seeds[rows][:3].tolist()}): "
                    "the weights may be damaged, or guidance.scale too large."
                )
            calls = counted.calls + (weaker.calls if weaker else 0)
            stored = scale.to_stored(images, getattr(torch, self.vocabulary.dtype))
            yield stored.cpu().numpy(), calls

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
        stored, images = pool.controls.info.channels, pool.controls.images(rows.ravel())
        missing = sorted(set(channels) - set(stored))
        if missing:
            raise ValueError(
                f"{pool.source}: its control images show {list(stored)}, and {missing} too are needed of them: name "
                "another dataset=…, or ask for channels=… that it has."
            )
        if channels != stored:
            images = images[:, [stored.index(name) for name in channels]]
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
        if sampler.guidance.needs_null and not trait(self.network.condition, "has_null"):
            raise ValueError(
                "this model was trained without a null (condition.dropout=0), so that there is nothing to guide away "
                "from: sample with guidance=none, or train with condition.dropout=0.1."
            )
        solver = name_of(sampler.solver)
        if trait(sampler.solver, "from_noise") and (self.source.needs_control or not trait(self.path, "linear")):
            raise ValueError(
                f"the {solver} solver is for models that go from noise along the linear path: use midpoint."
            )
        if trait(sampler.solver, "mean_velocity") and not trait(self.network, "mean_velocity"):
            raise ValueError(
                f"solver={solver} needs a model of mean velocities: train one with objective=self_distilled."
            )


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
