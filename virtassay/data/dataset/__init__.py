"""The dataset folder: an index and image arrays, written whole or not at all, here or elsewhere, alone or several."""

from virtassay.data.dataset.joined import JoinedDataset, open_images
from virtassay.data.dataset.manifest import DatasetInfo
from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset, DatasetWriter, open_dataset, write_dataset
from virtassay.schema import BrokenDataset, InvalidIndex

__all__ = [
    "BrokenDataset", "Dataset", "DatasetInfo", "DatasetWriter", "InvalidIndex", "JoinedDataset", "Rows", "open_dataset",
    "open_images", "write_dataset",
]  # fmt: skip
