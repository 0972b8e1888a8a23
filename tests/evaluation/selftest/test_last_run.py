"""The packaged tables."""

import polars as pl

from tests.evaluation.selftest.conftest import FAULTY
from virtassay.evaluation.selftest.caught import GLOSSARY
from virtassay.evaluation.selftest.generators import (
    DIALS,
)
from virtassay.evaluation.selftest.last_run import last_run


def test_the_packaged_tables_are_of_these_generators_and_all_are_caught():
    run = last_run()
    caught, dials = run.caught, run.dials
    assert run.made.endswith("benchmarks/selftest.py write")
    assert set(caught["generator"]) == set(FAULTY)
    assert set(caught.filter("verdict")["generator"]) == set(FAULTY)
    assert set(dials["dial"]) == set(DIALS)
    assert dials["rho"].is_between(-1, 1).all()
    assert all(GLOSSARY[name].better for name in pl.concat([caught["metric"], dials["metric"]]).unique())
