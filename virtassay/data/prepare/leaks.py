"""The leak audit: does anything that a model is judged on stand in what it learns from, or chooses by?

"Seen" is train and val together; the test split is held against it. Each check says what it found; a leak that is not
accepted by name stops the preparation, a note is only logged. Among thousands of cells some look alike by chance: near
images are a leak once more than five in a thousand test images have one. `audit.json` in a dataset folder says it:

{"format": "virtassay-audit", "version": 1,
 "checks": [{"name": "wells", "leak": true, "passed": true, "accepted": false, "n": 0, "allowed": 0,
             "offenders": []}, …],
 "nearest_training_compound": [{"perturbation": "AZ841", "nearest": "AZ-C", "tanimoto": 0.62}, …]}
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.dataset.store import Dataset
from virtassay.data.molecules import similarity
from virtassay.data.prepare.duplicates import find_duplicates
from virtassay.files import write_text
from virtassay.schema import InvalidIndex, some, without_control

log = logging.getLogger(__name__)
KEPT = 1000  # offenders named in audit.json
BY_CHANCE = 5e-3  # of the test images: 2 pairs of 1,900 rounded nuclei on a real plate
MEANING = {  # every check: what it found, said of its offenders
    "wells": "wells are on both sides of the split",
    "fields": "fields of view are on both sides",
    "control_wells": "control wells serve both sides",
    "names": "perturbations held out for test are trained on under a name that differs in case or signs only",
    "molecules": "molecules held out for test (one InChIKey) are trained on under another name",
    "skeletons": "molecules held out for test are trained on as another salt, charge or stereoisomer",
    "same_images": "pairs of images are the same, byte by byte, on both sides",
    "near_images": "pairs of images are nearly the same on both sides",
    "watched_wells": "wells of training are watched (val) too",
    "borrowed_controls": "batches have no control of their own among the test wells",
}
NOTES = ("watched_wells", "borrowed_controls")  # logged, and no leak into what is judged
LEAKS = tuple(name for name in MEANING if name not in NOTES)


class LeakFound(InvalidIndex):
    """A test split that is not apart from what is trained on; the message names what is on both sides, and the fix."""


@dataclass(frozen=True)
class LeakCheck:
    """One question of the audit; `n` offenders were found, the first of which are named; `allowed` are no leak."""

    name: str
    n: int
    offenders: tuple[str, ...]
    accepted: bool = False
    allowed: int = 0

    @property
    def passed(self) -> bool:
        """Whether no more offenders were found than are allowed."""
        return self.n <= self.allowed

    @property
    def leak(self) -> bool:
        """Whether offenders are a leak into what is judged, not only worth a note."""
        return self.name in LEAKS

    def __str__(self) -> str:
        return f"{self.n} {MEANING[self.name]} ({self.name}: {some(self.offenders)})"


def audit_index(index: pl.DataFrame) -> list[LeakCheck]:
    """Hold test against train and val by wells, fields, controls and molecules: takes seconds for a million rows."""
    seen, test = index.filter(pl.col("split").is_in(["train", "val"])), index.filter(pl.col("split") == "test")
    well, control = ["plate", "well"], pl.col("is_control")
    return [
        _check("wells", _shared(seen.filter(~control), test.filter(~control), well)),
        _check("fields", _shared(seen, test, [*well, "site"]) if "site" in index.columns else []),
        _check("control_wells", _shared(seen.filter(control), test.filter(control), well)),
        *_compounds(seen, test),
        _check("watched_wells", _shared(index.filter(split="train"), index.filter(split="val"), well)),
        _check("borrowed_controls", without_control(test, "batch")),
    ]


def audit_images(dataset: Dataset) -> list[LeakCheck]:
    """Look for the same and nearly the same images in test and in train or val, in bounded memory."""
    same, near = find_duplicates(dataset, ("train", "val"), ("test",))
    name = dataset.index["image_id"]
    named = [[f"{name[a]} (test) = {name[b]}" for a, b in pairs] for pairs in (same, near)]
    allowed = int(BY_CHANCE * dataset.index.filter(split="test").height)
    return [_check("same_images", named[0]), replace(_check("near_images", named[1]), allowed=allowed)]


def audit(dataset: Dataset) -> list[LeakCheck]:
    """Hold the test split of a dataset folder against its train and val splits, by its index and its images."""
    return audit_index(dataset.index) + audit_images(dataset)


def refuse_leaks(checks: Sequence[LeakCheck], accept: Sequence[str], source: str) -> list[LeakCheck]:
    """Return the checks, marked where accepted; raises LeakFound unless every leak that was found is accepted.

    accept: names of LEAKS. Raises ValueError on other names.
    """
    unknown = sorted(set(accept) - set(LEAKS))
    if unknown:
        raise ValueError(f"accept={list(accept)}: {unknown} are no checks of the leak audit; those are {list(LEAKS)}.")
    judged = [replace(check, accepted=check.name in accept and not check.passed) for check in checks]
    for check in judged:
        if check.n and (check.passed or check.accepted or not check.leak):
            log.info("leak audit%s: %s", ", accepted" if check.accepted else "", check)
    leaks = [check for check in judged if check.leak and not check.passed and not check.accepted]
    if leaks:
        raise LeakFound(
            f"{source}: the test split is not apart from training: {'; '.join(map(str, leaks))}. Split by whole wells "
            f"and molecules, leave doubles out, or, if this is meant, say accept=[{','.join(c.name for c in leaks)}]."
        )
    return judged


def nearest_training_compounds(index: pl.DataFrame) -> list[dict[str, Any]]:
    """For each compound of test only, the most similar one of training and their Tanimoto similarity (ECFP4)."""
    if "smiles" not in index.columns:
        return []
    test = _molecules(index.filter(pl.col("split") == "test"))
    train = _molecules(index.filter(pl.col("split") == "train"))
    new = test.join(train, on="perturbation", how="anti").unique("perturbation", keep="first", maintain_order=True)
    if new.is_empty() or train.is_empty():
        return []
    number, alike = similarity.nearest(new["smiles"].to_list(), train["smiles"].to_list())
    near = new.select("perturbation", nearest=train["perturbation"].gather(number), tanimoto=pl.Series(alike).round(3))
    return near.sort("tanimoto", "perturbation", descending=[True, False]).to_dicts()


def write_audit(path: str | Path, checks: Sequence[LeakCheck], index: pl.DataFrame) -> None:
    """Write audit.json; the form stands at the top of this file."""
    results = [{**asdict(check), "leak": check.leak, "passed": check.passed} for check in checks]
    stored = {"format": "virtassay-audit", "version": 1, "checks": results}
    stored["nearest_training_compound"] = nearest_training_compounds(index)
    write_text(Path(path), json.dumps(stored, indent=1, ensure_ascii=False))


def _check(name: str, offenders: Sequence[str]) -> LeakCheck:
    return LeakCheck(name, len(offenders), tuple(offenders[:KEPT]))


def _shared(seen: pl.DataFrame, test: pl.DataFrame, key: list[str]) -> list[str]:
    both = seen.select(key).unique().join(test.select(key).unique(), on=key, how="inner").sort(key)
    return [" ".join(row) for row in both.iter_rows()]


def _compounds(seen: pl.DataFrame, test: pl.DataFrame) -> list[LeakCheck]:
    """Look for perturbations of test alone that are trained on under another name."""
    treated = ~pl.col("is_control")
    trained = set(seen.filter(treated)["perturbation"].explode(empty_as_null=False))
    new = set(test.filter(treated)["perturbation"].explode(empty_as_null=False)) - trained
    written = [[(name, similarity.plain(name)) for name in names] for names in (new, trained)]
    checks = [_check("names", _pairs(*written))]
    if "smiles" not in test.columns:
        return checks
    tested = _molecules(test).filter(pl.col("perturbation").is_in(list(new)))
    known = _molecules(seen) if tested.height else tested
    for name, key in (("molecules", similarity.inchikey), ("skeletons", similarity.skeleton)):
        keys = {text: key(text) for text in {*tested["smiles"], *known["smiles"]}}
        sides = [[(name, keys[text]) for name, text in table.iter_rows()] for table in (tested, known)]
        checks.append(_check(name, _pairs(*sides)))
    return checks


def _pairs(test: Iterable[tuple[str, str | None]], seen: Iterable[tuple[str, str | None]]) -> list[str]:
    """Name what has the same key on both sides."""
    known: dict[str, str] = {}
    for name, key in sorted(seen, key=lambda pair: pair[0]):
        if key:
            known.setdefault(key, name)
    return [f"{name} (test) = {known[key]}" for name, key in sorted(test, key=lambda p: p[0]) if key and key in known]


def _molecules(table: pl.DataFrame) -> pl.DataFrame:
    """Return the treated compounds that have a SMILES: (perturbation, smiles), each once."""
    parts = table.lazy().filter(~pl.col("is_control")).select("perturbation", "smiles").unique()
    return parts.explode("perturbation", "smiles").drop_nulls().unique().sort("perturbation", "smiles").collect()
