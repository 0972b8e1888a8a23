"""Thirteen generators, each wrong in one way that is known, and six ways to be wrong by degrees.

A generator answers a request (batch and treatment) with images. It is made by the simulator itself, or from cells that
the simulator made for it; none but the memoriser has any image in common with the real ones.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as scipy_ndimage  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.evaluation_set import generator_for
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork
from virtassay.evaluation.selftest.simulated import Images, SimulatedScreen, drug_of, population, treated
from virtassay.simulator.plan import Well

ndimage: Any = scipy_ndimage  # untyped in scipy
Generator = Callable[[SimulatedScreen, Well], Images]
COMPONENTS = 10  # more would hardly shrink: far from the mean, distances are all alike


def oracle(screen: SimulatedScreen, well: Well, draw: int = 0) -> Images:
    """Other cells of the same treatment in the same batch: nothing is wrong. Draws have no cell in common."""
    return screen.cells[well.batch, drug_of(well)].images[draw * screen.images : (draw + 1) * screen.images]


def memoriser(screen: SimulatedScreen, well: Well) -> Images:
    """The training images of the treatment in the batch."""
    index = screen.real.index
    own = (index["batch"] == well.batch) & (index["split"] == "train")
    own &= index["perturbation"].list.first() == drug_of(well)
    return screen.real.images(np.resize(np.flatnonzero(own.to_numpy()), screen.images))


def unconditional(screen: SimulatedScreen, well: Well) -> Images:
    """Cells of the batch, each of any treatment or none, in the shares of the training images."""
    training = screen.real.index.filter(split="train", batch=well.batch)["perturbation"].list.first()
    rng = _random(well, "unconditional")
    names = rng.choice(training.to_numpy(), screen.images)
    pools = {name: screen.cells[well.batch, name].images for name in np.unique(names).tolist()}
    return np.stack([pools[name][rng.integers(len(pools[name]))] for name in names.tolist()])


def mean_effect(screen: SimulatedScreen, well: Well) -> Images:
    """Every treatment does what treatments do on average."""
    return _moved(screen, well, np.mean([w.treatment.effect for w in screen.requests], 0))


def control_copy(screen: SimulatedScreen, well: Well) -> Images:
    """Untreated cells of the batch."""
    return screen.cells[well.batch, "DMSO"].images[: screen.images]


def label_shuffled(screen: SimulatedScreen, well: Well) -> Images:
    """The right cells of the treatment of another mechanism, the next one; no two treatments get the same."""
    return oracle(screen, _another(screen, well))


def moa_mean(screen: SimulatedScreen, well: Well) -> Images:
    """Every treatment does what those of its mechanism do on average."""
    moa = well.treatment.parts[0][0].moa
    alike = [w.treatment.effect for w in screen.requests if w.treatment.parts[0][0].moa == moa]
    return _moved(screen, well, np.mean(alike, 0))


def effect_times(screen: SimulatedScreen, well: Well, factor: float) -> Images:
    """The right effect, `factor` times as strong."""
    return _moved(screen, well, factor * well.treatment.effect)


def spread_times(screen: SimulatedScreen, well: Well, factor: float) -> Images:
    """Cells of the treatment, the most usual ones only: as many as have factor² of the variance of all.

    The nearest to the mean, in the first principal components of the features of a random network that judges nothing.
    1: all cells; 0: one cell again and again.
    """
    cells = screen.cells[well.batch, drug_of(well)].images
    features = UntrainedNetwork(seeds=(99,))(cells)
    spread = features.std(0)
    axes = np.linalg.svd((features - features.mean(0))[:, spread > 0] / spread[spread > 0], full_matrices=False)
    z = (axes.U * axes.S)[:, :COMPONENTS]
    order = np.square(z).sum(1).argsort()
    n = np.arange(1, len(z) + 1)
    nearest = z[order]
    variance = np.square(nearest).sum(1).cumsum() / n - np.square(nearest.cumsum(0) / n[:, None]).sum(1)
    usual = order[: max(1, int((variance <= factor**2 * variance[-1]).sum()))]
    chosen = _random(well, "usual").choice(usual, screen.images, replace=len(usual) < screen.images)
    return cells[chosen]


def rare_dropped(screen: SimulatedScreen, well: Well) -> Images:
    """The cells that are not rare."""
    cells = screen.cells[well.batch, drug_of(well)]
    return cells.images[~cells.rare][: screen.images]


def wrong_batch(screen: SimulatedScreen, well: Well, share: float = 1.0) -> Images:
    """Cells stained and imaged as in the other batch, or `share` of the way to it."""
    other = next(w for w in screen.requests if w.batch != well.batch).optics
    mixed = {
        name: (1 - share) * getattr(well.optics, name) + share * getattr(other, name)
        for name in ("gain", "background", "psf", "tilt", "vignette")
    }
    return _grown(screen, replace(well, optics=replace(well.optics, **mixed)))


def mislabelled(screen: SimulatedScreen, well: Well, share: float) -> Images:
    """`share` of the images are of the treatment of another mechanism."""
    images = oracle(screen, well).copy()
    n = round(share * len(images))
    images[:n] = oracle(screen, _another(screen, well))[:n]
    return images


def blurred(screen: SimulatedScreen, well: Well, width_px: float) -> Images:
    """The right cells through a Gaussian blur of s.d. `width_px`."""
    soft: NDArray[np.float32] = ndimage.gaussian_filter(
        oracle(screen, well).astype(np.float32), (0, 0, width_px, width_px)
    )
    return soft.round().clip(0, 255).astype(np.uint8)


GENERATORS: dict[str, Generator] = {
    "oracle": oracle,
    "memoriser": memoriser,
    "unconditional": unconditional,
    "mean_effect": mean_effect,
    "control_copy": control_copy,
    "label_shuffled": label_shuffled,
    "moa_mean": moa_mean,
    "effect_halved": partial(effect_times, factor=0.5),
    "effect_doubled": partial(effect_times, factor=2.0),
    "no_spread": partial(spread_times, factor=0.0),
    "spread_0.6": partial(spread_times, factor=0.6),
    "rare_dropped": rare_dropped,
    "wrong_batch": wrong_batch,
}
DIALS: dict[str, list[Generator]] = {  # from right to most wrong
    "effect lost": [partial(effect_times, factor=f) for f in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)],
    "effect exaggerated": [partial(effect_times, factor=f) for f in (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)],
    "labels wrong": [partial(mislabelled, share=s) for s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)],
    "spread lost": [partial(spread_times, factor=f) for f in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)],
    "batch wrong": [partial(wrong_batch, share=s) for s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)],
    "blur": [partial(blurred, width_px=w) for w in (0.0, 0.3, 0.6, 0.9, 1.2, 1.5)],
}


def _another(screen: SimulatedScreen, well: Well) -> Well:
    """The request of the next treatment but those of the same mechanism, in the same batch."""
    requests_of_batch = sorted(
        (w for w in screen.requests if w.batch == well.batch), key=lambda w: w.treatment.parts[0][0].moa
    )
    each = sum(w.treatment.parts[0][0].moa == well.treatment.parts[0][0].moa for w in requests_of_batch)
    place = next(i for i, w in enumerate(requests_of_batch) if drug_of(w) == drug_of(well))
    return requests_of_batch[(place + each) % len(requests_of_batch)]


def _moved(screen: SimulatedScreen, well: Well, effect: Any) -> Images:
    """Cells that the treatment has moved by `effect` (on AXES) instead of its own."""
    drug = well.treatment.parts[0][0]
    return _grown(screen, replace(well, treatment=treated(drug, effect / well.treatment.response)))


def _grown(screen: SimulatedScreen, well: Well) -> Images:
    return population(well, screen.images, screen.real.info.image_shape[1], "generated").images


def _random(well: Well, name: str) -> np.random.Generator:
    return generator_for(0, well.batch, drug_of(well), name)
