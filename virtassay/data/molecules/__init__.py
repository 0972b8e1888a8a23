"""Molecules: what describes them as vectors, and which of them are the same or alike."""

from virtassay.data.molecules.descriptors import (
    Component,
    Descriptor,
    InvalidSmiles,
    Joined,
    MiniMol,
    Morgan,
    canonical_smiles,
)
from virtassay.data.molecules.embeddings import EmbeddingTable, InvalidEmbeddings
from virtassay.data.molecules.graphs import MoleculeGraph
from virtassay.data.molecules.similarity import clusters, fingerprints, inchikey, nearest, scaffold, skeleton, tanimoto

__all__ = [
    "Component", "Descriptor", "EmbeddingTable", "InvalidEmbeddings", "InvalidSmiles", "Joined", "MiniMol",
    "MoleculeGraph", "Morgan", "canonical_smiles", "clusters", "fingerprints", "inchikey", "nearest", "scaffold",
    "skeleton", "tanimoto",
]  # fmt: skip
