"""Which compounds to hold out so that nothing like them is trained on: whole scaffolds, or whole clusters.

Compounds that are one molecule but for salt, charge or stereochemistry, or whose names differ in case or signs only,
stay together whatever their scaffold: RxRx3 has 29 and 21 such pairs.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from virtassay.data.molecules.similarity import clusters, plain, scaffold, skeleton
from virtassay.schema import InvalidIndex


def by_scaffold(index: pl.DataFrame, *, fraction: float = 0.2, seed: int = 0) -> list[str]:
    """Choose whole Bemis–Murcko scaffolds at random until `fraction` of the compounds are held out, by name.

    Molecules without rings count as one scaffold. Raises InvalidIndex where there are no SMILES.
    """
    names, smiles = _compounds(index)
    return _choose(names, smiles, [scaffold(text) for text in smiles], fraction, seed)


def by_cluster(index: pl.DataFrame, *, fraction: float = 0.2, similarity: float = 0.4, seed: int = 0) -> list[str]:
    """Choose whole Butina clusters of Tanimoto `similarity` (ECFP4) at random until `fraction` is held out, by name.

    Two clusters may still touch: audit.json says how near each held-out compound is to the trained ones.
    Raises InvalidIndex where there are no SMILES.
    """
    names, smiles = _compounds(index)
    unique = sorted(set(smiles))
    group = {unique[i]: k for k, members in enumerate(clusters(unique, similarity)) for i in members}
    return _choose(names, smiles, [str(group[text]) for text in smiles], fraction, seed)


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


def _choose(
    names: Sequence[str], smiles: Sequence[str], groups: Sequence[str], fraction: float, seed: int
) -> list[str]:
    if not 0 < fraction < 1:
        raise ValueError(f"fraction={fraction} of the compounds to hold out must lie between 0 and 1.")
    members: dict[int, list[str]] = {}
    keys = [groups, [skeleton(text) or text for text in smiles], [plain(name) for name in names]]
    for name, group in zip(names, _together(keys), strict=True):
        members.setdefault(group, []).append(name)
    if len(members) < 2:
        raise InvalidIndex(f"all {len(names)} compounds fall into one group: holding it out leaves none for training.")
    order = sorted(members.values())  # by name: whatever order the rows had
    most = max(round(fraction * len(names)), min(map(len, order)))
    chosen: list[str] = []
    for number in np.random.default_rng(seed).permutation(len(order)):
        if len(chosen) + len(order[number]) <= most:
            chosen += order[number]
    return sorted(chosen)


def _together(keys: Sequence[Sequence[str]]) -> list[int]:
    """Number the groups of compounds that share one of their keys, directly or through others."""
    n = len(keys[0])
    number = {pair: n + i for i, pair in enumerate({(k, key) for k, column in enumerate(keys) for key in column})}
    ends = [(row, number[k, key]) for k, column in enumerate(keys) for row, key in enumerate(column)]
    row, column = np.array(ends).T
    size = n + len(number)
    graph = coo_array((np.ones(len(ends)), (row, column)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n].tolist()
