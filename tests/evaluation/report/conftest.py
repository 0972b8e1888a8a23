"""What the tests of the report share."""

import pytest

from tests.evaluation.report.toy_judgement import TREATMENTS, judgement
from virtassay.evaluation.report.html import html


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A judgement and its page."""
    given = judgement(tmp_path_factory.mktemp("usual"), TREATMENTS)
    return given, html(given)
