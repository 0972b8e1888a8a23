"""Which molecules are the same, share a scaffold, or resemble each other. All take SMILES that RDKit can parse."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.ML.Cluster import Butina

MOST = 10_000  # molecules whose distances to each other fit in memory


def inchikey(smiles: str) -> str | None:
    """Return the InChIKey, the same for every SMILES of one molecule; None for what InChI cannot describe.

    Source: Heller et al. 2015 (doi 10.1186/s13321-015-0068-4).
    """
    with rdBase.BlockLogs():  # InChI remarks on many a molecule
        return Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)) or None


def skeleton(smiles: str) -> str | None:
    """Return the first block of the InChIKey of the parent: the same for salts, charges, isotopes and stereoisomers."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if "." in smiles or Chem.GetFormalCharge(molecule):  # only these have another parent, and finding it is slow
            molecule = rdMolStandardize.ChargeParent(molecule)
        key = Chem.MolToInchiKey(molecule)
    return key.partition("-")[0] or None


def plain(name: str) -> str:
    """Return a compound's name without case, spaces and signs."""
    return "".join(filter(str.isalnum, name.casefold()))


def scaffold(smiles: str) -> str:
    """Return the SMILES of the ring systems and their linkers; "" for a molecule without rings.

    Source: Bemis & Murcko 1996 (doi 10.1021/jm9602928).
    """
    return MurckoScaffold.MurckoScaffoldSmiles(smiles, includeChirality=False)


def clusters(smiles: Sequence[str], similarity: float) -> list[list[int]]:
    """Group molecules around centres to which they have at least this Tanimoto similarity; returns their numbers.

    Source: Butina 1999 (doi 10.1021/ci9803381), on ECFP4. Raises ValueError for more molecules than fit in memory.
    """
    if len(smiles) > MOST:
        raise ValueError(
            f"{len(smiles)} molecules are too many to cluster ({MOST} at most): split by scaffold instead."
        )
    prints = fingerprints(smiles)
    rows = [1 - tanimoto(prints[i], prints[:i]) for i in range(1, len(prints))]
    distances = np.concatenate(rows) if rows else np.zeros(0)
    return [list(members) for members in Butina.ClusterData(distances, len(prints), 1 - similarity, isDistData=True)]


def nearest(smiles: Sequence[str], among: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each molecule, the number of its nearest one `among` others and their Tanimoto similarity (ECFP4), (n,) both.

    Raises ValueError where there are no others.
    """
    if not among:
        raise ValueError("there are no molecules to be near to.")
    others = fingerprints(among)
    rows = (tanimoto(fingerprint, others) for fingerprint in fingerprints(smiles))
    best = [(int(row.argmax()), float(row.max())) for row in rows]
    return np.array([number for number, _ in best], np.int64), np.array([value for _, value in best])


def tanimoto(
    fingerprint: DataStructs.ExplicitBitVect, others: Sequence[DataStructs.ExplicitBitVect]
) -> NDArray[np.float64]:
    """Return the Tanimoto similarity of a fingerprint to each of `others`, (n,): bits in both over bits in either."""
    return np.array(DataStructs.BulkTanimotoSimilarity(fingerprint, others))


def fingerprints(smiles: Sequence[str]) -> list[DataStructs.ExplicitBitVect]:
    """Return Morgan fingerprints of radius 2 in 2,048 bits (ECFP4), by which molecules are compared.

    Source: Rogers & Hahn 2010 (doi 10.1021/ci100050t).
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
