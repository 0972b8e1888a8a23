"""Splits: which images a model learns from (train), is watched on (val) and is judged on (test).

Each function takes an index in normal form and returns it with the column `split`. Whole wells, perturbations or
batches go to one side: images of one well are near copies of each other, and would leak.
"""

from virtassay.data.prepare.splits.assign import (
    WELL,
    Split,
    split_by_values,
    split_by_well,
    split_unseen,
    split_unseen_batch,
    split_unseen_perturbation,
)
from virtassay.data.prepare.splits.compounds import by_cluster, by_scaffold
from virtassay.data.prepare.splits.file import split_from_file, write_split

__all__ = [
    "WELL", "Split", "by_cluster", "by_scaffold", "split_by_values", "split_by_well", "split_from_file", "split_unseen",
    "split_unseen_batch", "split_unseen_perturbation", "write_split",
]  # fmt: skip
