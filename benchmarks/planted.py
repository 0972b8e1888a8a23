"""A library whose truth is known: planted actives, inactives and decoys of unseen structure.

Held-out drugs, small edits of all drugs (their mechanism, their own structure), molecules of the class that does
nothing with such edits, and decoys, which are property-matched, of other structure, and do nothing. What each does at
each dose is known (virtassay/data/simulator/pharmacology.py). A decoy's truth is a decree: nothing in training images
says that an unlike molecule does nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, rdChemReactions, rdMolDescriptors

from virtassay.screening.confidence import TrainingCompounds
from virtassay.screening.library import parent, prepare_library
from virtassay.simulator.pharmacology import Perturbation, compounds, compounds_of

Array = NDArray[np.float64]
EDITS = (  # atom by atom: methyl, halogens, ethers, chains
    "[cH:1]>>[c:1]F", "[cH:1]>>[c:1]Cl", "[cH:1]>>[c:1]C", "[cH:1]>>[c:1]OC", "[c:1]Cl>>[c:1]F", "[c:1]F>>[c:1]Cl",
    "[c:1][OX2][CH3]>>[c:1]O", "[OX2H:1][#6:2]>>[#6:2][O:1]C", "[NX3;H1:1]>>[N:1]C", "[CH3:1]>>[CH2:1]C",
)  # fmt: skip
EDITED = 3  # molecules of each active drug
OF_INACTIVE = 8
UNLIKE = 0.35  # Tanimoto similarity to every drug that decoys stay below


@dataclass(frozen=True)
class Planted:
    """A library whose truth is known. parent: the drug that each was made from, itself for drugs and decoys."""

    table: pl.DataFrame  # name, smiles, moa, top_um, parent, kind: drug, analogue, inactive or decoy
    truth: tuple[Perturbation, ...]

    def effects(self, doses: Sequence[float]) -> Array:
        """True shifts of the phenotype, (n, doses, 17)."""
        return np.array([[p.effect(dose) for dose in doses] for p in self.truth])


def planted(unseen: Sequence[str], decoys: Path | None, seed: int = 0) -> Planted:
    """Make the library; unseen: names of the drugs that training has not seen."""
    rng = Random(seed)
    drugs = pl.DataFrame([{"name": p.name, "smiles": p.smiles, "moa": p.moa, "top_um": p.top_um} for p in compounds()])
    taken = {_plain(smiles) for smiles in drugs["smiles"]}
    rows: list[dict[str, object]] = []
    for drug in drugs.iter_rows(named=True):
        inactive = drug["moa"] == "inactive"
        if drug["name"] in unseen:
            rows.append(drug | {"parent": drug["name"], "kind": "drug"})
        for k, smiles in enumerate(_edited(drug["smiles"], OF_INACTIVE if inactive else EDITED, taken, rng), start=1):
            rows.append(
                drug | {"name": f"{drug['name']} {k}", "smiles": smiles, "parent": drug["name"],
                        "kind": "inactive" if inactive else "analogue"}
            )  # fmt: skip
    pool = _chimeras(drugs["smiles"].to_list()) if decoys is None else _library(decoys)
    likeness = TrainingCompounds(drugs["name"].to_list(), drugs["smiles"].to_list())
    pool = [s for s, near in zip(pool, likeness.nearest(pool)[1], strict=True) if near < UNLIKE and s not in taken]
    matched = _matched([str(row["smiles"]) for row in rows], pool)
    rows += [
        {"name": f"decoy {k}", "smiles": smiles, "moa": "inactive", "top_um": 10.0, "parent": f"decoy {k}",
         "kind": "decoy"} for k, smiles in enumerate(matched, start=1)
    ]  # fmt: skip
    table = pl.DataFrame(rows, infer_schema_length=None)
    return Planted(table, compounds_of(table))


def _edited(smiles: str, n: int, taken: set[str], rng: Random) -> list[str]:
    """n molecules one edit away, each of another edit while there are any; adds them to `taken`."""
    molecule = Chem.MolFromSmiles(smiles)
    edits = [rdChemReactions.ReactionFromSmarts(text) for text in EDITS]
    found: list[str] = []
    for edit in (*rng.sample(edits, len(edits)), *edits):
        with rdBase.BlockLogs():
            products = [p for (p,) in edit.RunReactants((molecule,)) if not Chem.SanitizeMol(p, catchErrors=True)]
        new = sorted({_plain(Chem.MolToSmiles(p)) for p in products} - taken)
        if new and len(found) < n:
            found.append(rng.choice(new))
            taken.add(found[-1])
    return found


def _plain(smiles: str) -> str:
    read = parent(smiles)
    assert read is not None, f"{smiles} is a molecule"
    return read[0]


def _library(path: Path) -> list[str]:
    with TemporaryDirectory() as out:
        return pl.read_parquet(prepare_library(path, out).table)["smiles"].to_list()


def _chimeras(smiles: Sequence[str], n: int = 600) -> list[str]:
    """Molecules put together from fragments of several (BRICS; Degen et al. 2008, doi 10.1002/cmdc.200800178)."""
    fragments = sorted({f for text in smiles for f in BRICS.BRICSDecompose(Chem.MolFromSmiles(text))})
    small = [m for m in map(Chem.MolFromSmiles, fragments) if m.GetNumHeavyAtoms() < 16]
    with rdBase.BlockLogs():
        built = islice(BRICS.BRICSBuild(small, maxDepth=1, scrambleReagents=False), n)
        return sorted({_plain(Chem.MolToSmiles(molecule)) for molecule in built})


def _matched(smiles: Sequence[str], pool: Sequence[str]) -> list[str]:
    """For each molecule the one of the pool most like it in size, lipophilicity, …, each once (DUD-E's idea).

    Source: Mysinger et al. 2012 (doi 10.1021/jm300687e).
    """
    wanted, there = _properties(smiles), _properties(pool)
    scale = there.std(0) + 1e-9
    distance = np.linalg.norm((wanted[:, None] - there) / scale, axis=-1)
    picked: list[int] = []
    for row in distance[: len(pool)]:
        row[picked] = np.inf
        picked.append(int(row.argmin()))
    return [pool[i] for i in picked]


def _properties(smiles: Sequence[str]) -> Array:
    wanted: tuple[Callable[..., float], ...] = (
        rdMolDescriptors.CalcExactMolWt,
        lambda molecule: rdMolDescriptors.CalcCrippenDescriptors(molecule)[0],  # log P
        rdMolDescriptors.CalcNumHBA,
        rdMolDescriptors.CalcNumHBD,
        rdMolDescriptors.CalcNumRotatableBonds,
        rdMolDescriptors.CalcTPSA,
    )
    return np.array([[f(m) for f in wanted] for m in map(Chem.MolFromSmiles, smiles)])
