"""Queries and their addresses."""

from urllib.parse import parse_qsl

import pytest

from tests.browse.conftest import EVIL
from virtassay.browse.query import BadQuery, Query


def test_a_query_survives_its_own_address():
    asked = Query(perturbation=EVIL, dose="0.3", low=2.5, page=3)
    _, _, query = asked.url("/images").partition("?")
    assert Query.of(dict(parse_qsl(query))) == asked
    assert asked.url("/images", page=1, perturbation="", dose="", low=1.0) == "/images"


@pytest.mark.parametrize("query", [{"page": "x"}, {"low": "nan"}, {"low": "9", "high": "3"}, {"high": "1e999"}])
def test_queries_without_sense_are_refused(query):
    with pytest.raises(BadQuery):
        Query.of(query)
