"""Molecules: what a network is given of them, and how alike they are."""

from virtassay.data.molecules.descriptors import Descriptor, Joined, MiniMol, Morgan
from virtassay.data.molecules.embeddings import EmbeddingTable
from virtassay.data.molecules.graphs import MoleculeGraph

__all__ = ["Descriptor", "EmbeddingTable", "Joined", "MiniMol", "MoleculeGraph", "Morgan"]
