import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    return open_dataset(toy.write(tmp_path_factory.mktemp("toy") / "real", toy.real_plan()))
