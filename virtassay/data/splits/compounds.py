"""Which compounds to hold out so that nothing like them is trained on: whole scaffolds, or whole clusters."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from virtassay.data import likeness
from virtassay.schema import InvalidIndex


def by_scaffold(index: pl.DataFrame, *, fraction: float = 0.2, seed: int = 0) -> list[str]:
    """Choose whole Bemis–Murcko scaffolds at random until `fraction` of the compounds are held out, by name.

    Molecules without rings count as one scaffold. Raises InvalidIndex where there are no SMILES.
    """
    names, smiles = _compounds(index)
    return _choose(names, [likeness.scaffold(text) for text in smiles], fraction, seed)


def by_cluster(index: pl.DataFrame, *, fraction: float = 0.2, similarity: float = 0.4, seed: int = 0) -> list[str]:
    """Choose whole Butina clusters of Tanimoto `similarity` (ECFP4) at random until `fraction` is held out, by name.

    Two clusters may still touch: audit.json tells how near each held-out compound is to the trained ones.
    Raises InvalidIndex where there are no SMILES.
    """
    names, smiles = _compounds(index)
    unique = sorted(set(smiles))
    group = {unique[i]: k for k, members in enumerate(likeness.clusters(unique, similarity)) for i in members}
    return _choose(names, [str(group[text]) for text in smiles], fraction, seed)


def _compounds(index: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return the names and SMILES of the treated compounds, sorted by name."""
    if "smiles" not in index.columns:
        raise InvalidIndex("compounds are grouped by structure, and there is no column 'smiles': map it in columns.")
    table = (
        index.lazy().filter(~pl.col("is_control")).select("perturbation", "smiles").unique()
        .explode("perturbation", "smiles").drop_nulls().group_by("perturbation").agg(pl.col("smiles").min())
        .sort("perturbation").collect()
    )  # fmt: skip
    if table.height < 2:
        raise InvalidIndex(f"compounds are grouped by structure, and {table.height} have SMILES: 2 are needed.")
    return table["perturbation"].to_list(), table["smiles"].to_list()


def _choose(names: Sequence[str], groups: Sequence[str], fraction: float, seed: int) -> list[str]:
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} of the compounds to hold out must lie between 0 and 1.")
    members: dict[str, list[str]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    if len(members) < 2:
        raise InvalidIndex(f"all {len(names)} compounds fall into one group: holding it out leaves none for training.")
    order = [sorted(members)[i] for i in np.random.default_rng(seed).permutation(len(members))]
    most = max(round(fraction * len(names)), min(len(members[group]) for group in order))
    held: list[str] = []
    for group in order:
        if len(held) + len(members[group]) <= most:
            held += members[group]
    return sorted(held)
