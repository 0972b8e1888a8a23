"""A user's own network as a featurizer: any torch module, or a file of one. And how images are shown to networks.

A view maps (n, C, H, W) in [0, 1] to one or more (n, C′, H, W), for a network that takes C′ channels; the network's
features of each stand side by side. Its name goes into the fingerprint.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass
from torch.nn import functional

from virtassay.evaluation.featurizers.features import Features, Images, digest, in_minibatches, way_of_looking
from virtassay.precision import best_device

View = Callable[[Tensor], list[Tensor]]
CELLFLUX_ROWS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))


def rgb_or_grey(x: Tensor) -> list[Tensor]:
    """Three channels as red, green and blue; with any other number each channel as grey: C views."""
    if x.shape[1] == 3:
        return [x]
    return [x[:, i : i + 1].expand(-1, 3, -1, -1) for i in range(x.shape[1])]


def cellflux_rgb(x: Tensor) -> list[Tensor]:
    """The one RGB view that CellFlux's FID sees: 3 channels as they are, the first 3 of 5, and 6 mixed.

    Six channels become B, G, R, ½(G+B), ½(R+B), ½(R+G); the published code sums and clamps intensities v = 2x − 1, so
    that r = clamp(Σ w x − ½, 0, 1), rounded down to 8 bits: what is dimmer than a quarter in all channels is black.
    Source: Zhang et al. 2025 (arXiv 2502.09775), `convert_6ch_to_3ch` and `eval_loop` of the published code.
    Raises ValueError for any other number of channels.
    """
    channels = x.shape[1]
    if channels not in (3, 5, 6):
        raise ValueError(f"images have {channels} channels; CellFlux's mapping to RGB knows 3, 5 and 6 only.")
    if channels < 6:
        return [x[:, :3]]
    rows = torch.tensor(CELLFLUX_ROWS, dtype=x.dtype, device=x.device)
    mixed = (torch.einsum("nchw,ck->nkhw", x, rows) - 0.5).clamp(0, 1)
    return [(255 * mixed + 1e-3).floor() / 255]  # 1e-3: a grey level that was exact stays itself in float32


def unchanged(x: Tensor) -> list[Tensor]:
    """All channels at once, for a network of as many."""
    return [x]


def in_views(images: Images, view: View, network: Callable[[Tensor], Tensor], label: str) -> Features:
    """The features of each view of the images, side by side, a minibatch at a time: (n, d) for each view."""
    return in_minibatches(images, lambda x: torch.cat([network(shown) for shown in view(x)], 1), label)


@dataclass(frozen=True)
class TorchModule:
    """Features of a network of the user's: (n, C′, H, W) float32 in, (n, d) out; d for each view side by side.

    module: an nn.Module (it is put into evaluation mode), or the path of a file: `.pt2` of torch.export.save with a
    dynamic number of images, any other TorchScript. Both kinds of file hold code: open only those that you trust.
    size: the edge in pixels to which images are resized (bilinear, antialias), None for as they are. Intensities in
    [0, 1] become (x − mean)/sd, one value or one a channel of the view. The fingerprint holds the file's hash, or the
    hash of the module's weights and the name of its class; a class that changes its code should change its name.
    Raises FileNotFoundError, or ValueError for an output that is not (n, d).
    """

    name: str
    module: nn.Module | str
    size: int | None = None
    mean: tuple[float, ...] = (0.0,)
    sd: tuple[float, ...] = (1.0,)
    view: View = rgb_or_grey

    def __post_init__(self) -> None:
        if min(self.sd, default=0) <= 0 or len(self.mean) != len(self.sd):
            raise ValueError(f"mean is {self.mean}, sd {self.sd}; give as many of each, and sd above 0.")
        _ = self._loaded  # a broken file is an error now, not after an hour of sampling

    @cached_property
    def _loaded(self) -> tuple[Callable[[Tensor], Any], str]:
        if not isinstance(self.module, str):
            kind, state = type(self.module), self.module.state_dict()
            weights = f"{kind.__module__}.{kind.__qualname__}, {' '.join(state)}, sha256 {digest(state.values())}"
            return self.module.eval().to(best_device()), weights
        path = Path(self.module).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"featurizer {self.name!r}: there is no file {path}; give the path of a module.")
        with path.open("rb") as file:
            weights = f"file, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
        return _load(path), weights

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            self.view.__name__,
            f"(x - {list(self.mean)}) / {list(self.sd)}",
            resize="none" if self.size is None else f"bilinear, antialias, {self.size}x{self.size}",
            weights=self._loaded[1],
            trained="as the user says",
        )

    def __call__(self, images: Images) -> Features:
        return in_views(images, self.view, self._ask, self.name)

    def _ask(self, x: Tensor) -> Tensor:
        if self.size is not None:
            x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        mean, sd = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.mean, self.sd))
        output = self._loaded[0]((x - mean) / sd)
        if not isinstance(output, Tensor) or output.shape[:-1] != x.shape[:1]:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"featurizer {self.name!r} returned {shape} for {len(x)} images; it must return a tensor (n, d): "
                "pool maps and tokens inside the module."
            )
        return output


def _load(path: Path) -> Callable[[Tensor], Any]:
    if path.suffix == ".pt2":
        return move_to_device_pass(torch.export.load(path), best_device()).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch would rather have everything exported
        script: Any = torch.jit  # untyped in torch
        return script.load(str(path), map_location=best_device()).eval()
