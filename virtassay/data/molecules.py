"""Molecules: SMILES → canonical SMILES → Morgan fingerprint, each computed once for each unique molecule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator


class InvalidSmiles(ValueError):
    """A SMILES that cannot be parsed; the message names the rows and the texts."""


def canonical_smiles(smiles: str) -> str | None:
    """Return RDKit's canonical SMILES of a molecule, or None where the text is no molecule.

    A CXSMILES suffix (` |...|`), as RxRx3-core writes it, is dropped.
    """
    with rdBase.BlockLogs():  # the caller reports the text and its row; RDKit's own lines would only repeat it
        molecule = Chem.MolFromSmiles(smiles.split(" |")[0].strip())
    return None if molecule is None or molecule.GetNumAtoms() == 0 else Chem.MolToSmiles(molecule)


def canonical_column(smiles: pl.Series, source: str) -> pl.Series:
    """Canonicalise a list column of SMILES (nulls stay), once for each unique text.

    Raises InvalidSmiles naming the first five rows and texts that RDKit cannot parse.
    """
    given = smiles.explode(empty_as_null=False).drop_nulls().unique(maintain_order=True).to_list()
    known = {text: canonical_smiles(text) for text in given}
    bad = {text for text, canonical in known.items() if canonical is None}
    if bad:
        rows = [(row, text) for row, texts in enumerate(smiles) for text in (texts if texts is not None else [])]
        rows = [(row, text) for row, text in rows if text in bad]
        shown = ", ".join(f"row {row}: {text!r}" for row, text in rows[:5])
        raise InvalidSmiles(
            f"{source}: {len(bad)} SMILES cannot be parsed ({shown}{', …' if len(rows) > 5 else ''}). Correct them, or "
            "leave 'smiles' empty in those rows (they then need an encoder that knows the perturbation by name)."
        )
    lists = [None if texts is None else [known.get(text) for text in texts] for texts in smiles]
    return pl.Series(smiles.name, lists, pl.List(pl.String))


@dataclass(frozen=True)
class Morgan:
    """Morgan (ECFP) fingerprints of `size` bits, or counts: (n,) SMILES → (n, size) uint8.

    Source: Rogers & Hahn 2010 (doi 10.1021/ci100050t); radius 2 is ECFP4. Counts above 255 are kept at 255.
    """

    radius: int = 2
    size: int = 2048
    counts: bool = False

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        generator = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.size)
        fingerprint = generator.GetCountFingerprintAsNumPy if self.counts else generator.GetFingerprintAsNumPy
        rows = [fingerprint(Chem.MolFromSmiles(text)).clip(max=255) for text in smiles]
        return np.stack(rows).astype(np.uint8) if rows else np.zeros((0, self.size), np.uint8)
