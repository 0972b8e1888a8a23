"""What the tests of the dataset folder share: a toy folder of their own."""

from pathlib import Path

import pytest

from tests.data.dataset.toy import INFO, pixels, rows
from virtassay.data.dataset import write_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "toy", INFO, pixels(), rows())
