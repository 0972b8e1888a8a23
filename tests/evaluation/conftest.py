import pytest

from virtassay.data.store import open_dataset

from . import toy


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    return open_dataset(toy.write(tmp_path_factory.mktemp("toy") / "real", toy.real_plan()))
