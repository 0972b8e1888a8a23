"""The warnings of a card: what somebody who trains on this dataset must know first, in plain words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MOSTLY = 0.5  # a share of the contrast, of the variance, or of wells
CLIPPED = 1.0  # % of pixels
PLATES = 3  # with controls: of fewer none is the odd one
FACTOR = 1.5  # between the brightness of a plate's controls and that of the median plate
BLUR = 0.5  # between the slopes of the spectrum of a plate and of the median plate
NOTABLE = 0.05  # share of the variance among control wells


def warnings(card: Mapping[str, Any]) -> list[str]:
    """Say what is wrong, or may mislead a model, gravest first; the numbers are those of the card."""
    return [*_leaks(card), *_design(card), *_confounded(card), *_pixels(card), *_described(card)]


def _leaks(card: Mapping[str, Any]) -> Iterable[str]:
    copies = card["duplicates"]
    if copies["across_splits"]:
        yield f"Two splits share {_n(copies['across_splits'], 'image')}, byte for byte: that test is no test."
    if copies["n_images"]:
        across = f", {_n(copies['across_wells'], 'group')} of them across wells" if copies["across_wells"] else ""
        yield f"{_n(copies['n_images'], 'image')} have an exact copy ({_n(copies['n_groups'], 'group')}{across})."
    for check in (card["audit"] or {}).get("checks", []):
        if check["leak"] and not check["passed"]:
            accepted = ", accepted when the dataset was prepared" if check["accepted"] else ""
            yield f"The leak audit found {_n(check['n'], 'case')} of {check['name'].replace('_', ' ')}{accepted}."
    if not card["splits"]:
        yield "There is no split: nothing says which images to learn from and which to judge on."


def _design(card: Mapping[str, Any]) -> Iterable[str]:
    confounding, plates = card["confounding"], card["counts"]["plates"]
    lonely = confounding["batches_without_controls"]
    if lonely:
        yield f"{_n(len(lonely), 'batch')} without control wells ({_names(lonely)}): no effect can be measured there."
    same = confounding["batches_of_one_treatment"]
    if same:
        hold = "holds" if len(same) == 1 else "hold"
        yield (
            f"{_n(len(same), 'batch')} {hold} only one treatment ({_names(same)}): batch and treatment cannot be told "
            "apart, except by the batch's controls."
        )
    alone, treatments = confounding["treatments_in_one_batch"], card["counts"]["treatments"]
    if alone and alone > MOSTLY * treatments:
        yield f"{alone:,} of {treatments:,} treatments are in one batch only: nothing shows that their effect repeats."
    if plates == 1:
        yield "There is one plate only: nothing can be said of how plates differ."
    none, few = confounding["plates_without_controls"], confounding["plates_of_few_controls"]
    if none:
        yield f"{_n(len(none), 'plate')} without control wells ({_names(none)})."
    if few:
        yield f"{_n(len(few), 'plate')} with fewer than 4 control wells ({_names(few)}): their brightness is uncertain."
    layout = card["layout"]
    if layout is not None:
        control, treated = layout["control_wells_on_edge"], layout["treated_wells_on_edge"]
        if control is not None and treated is not None and control > MOSTLY and treated < control / 2:
            yield (
                f"Edge wells hold {_percent(control)} of the controls and {_percent(treated)} of the treated wells: "
                "what evaporation and cold do at the edge looks like the reverse of a treatment."
            )


def _confounded(card: Mapping[str, Any]) -> Iterable[str]:
    for share in card["explained"]["by"]:
        if share["explained"] is not None and share["explained"] >= MOSTLY:
            name = {"brightness": "mean intensity", "cell count": "the number of cells"}[share["confounder"]]
            yield (
                f"{_percent(share['explained'])} of the treated-control contrast is {name}: a model that gets nothing "
                "else right gets most of it."
            )
    counts = card["counts"]
    for effect in card["batch_effect"]:
        if effect["factor"] == "batch" and counts["plates"] == counts["batches"]:
            continue  # said of the plates, which are the batches
        stored, less = effect["stored"], effect["less_batch"]
        if stored is None or stored < NOTABLE:
            continue
        left = f", {_percent(max(less, 0))} once the batch's controls are taken off" if less is not None else ""
        yield f"{effect['factor'].title()} explains {_percent(stored)} of how control wells differ{left}."


def _pixels(card: Mapping[str, Any]) -> Iterable[str]:
    measured = [plate for plate in card["plates"] if plate["intensity"] is not None]
    controlled = [plate for plate in measured if plate["control_wells"]]
    for channel in card["dataset"]["channels"] if measured else ():
        clipped = [plate["plate"] for plate in measured if plate["saturated"][channel] > CLIPPED]
        if clipped:
            plates = f"{_n(len(clipped), 'plate')} ({_names(clipped)})"
            yield f"{channel}: more than {CLIPPED:g} % of the pixels are saturated on {plates}."
        if len(controlled) >= PLATES:
            yield from _odd(channel, controlled)
    flagged = sum((card["flagged"] or {}).values())
    if flagged:
        share = _percent(flagged / card["counts"]["images"])
        yield f"{_n(flagged, 'image')} ({share}) are flagged by the check of the fields: look at flagged.png."


def _odd(channel: str, plates: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Name the plates whose controls are unlike those of the median plate."""
    names = [plate["plate"] for plate in plates]
    light = np.array([plate["intensity"][channel] for plate in plates])
    middle = np.median(light)
    far = [name for name, x in zip(names, light, strict=True) if not middle / FACTOR <= x <= middle * FACTOR]
    if far:
        yield (
            f"{channel}: the controls of {_n(len(far), 'plate')} ({_names(far)}) are more than {FACTOR:g} times "
            "brighter or dimmer than those of the median plate."
        )
    slope = np.array([np.nan if plate["focus"][channel] is None else plate["focus"][channel] for plate in plates])
    blurred = [name for name, x in zip(names, slope - np.median(slope), strict=True) if x < -BLUR]
    if blurred:
        yield f"{channel}: {_n(len(blurred), 'plate')} ({_names(blurred)}) may be out of focus."


def _described(card: Mapping[str, Any]) -> Iterable[str]:
    if card["dataset"]["licence"] is None:
        yield "No licence is given: find out what may be done with these data before you publish anything made of them."
    if card["dataset"]["pixel_size_um"] is None and card["plates"][0]["intensity"] is not None:
        yield "The pixel size is not given: nothing here can be compared in µm."
    molecules = card["molecules"]
    if molecules is not None:
        if molecules["unreadable"]:
            yield f"{_n(len(molecules['unreadable']), 'SMILES')} cannot be parsed ({_names(molecules['unreadable'])})."
        if molecules["same_structure"]:
            pairs = [" = ".join(names) for names in molecules["same_structure"]]
            yield f"{_n(len(pairs), 'structure')} under more than one name ({_names(pairs)})."


def _n(number: int, noun: str) -> str:
    plural = noun if noun == "SMILES" else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", … {len(names)} in all" if len(names) > 5 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
