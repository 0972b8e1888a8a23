"""Numbers as people read them."""

from virtassay.report.numbers import number


def test_numbers_are_short_and_readable():
    given = (None, float("nan"), 0.0, -0.1234, 0.01234, 12.34, 1234.5, -1e-5, float("inf"))
    assert [number(x) for x in given] == ["n/a", "n/a", "0.00", "−0.12", "0.012", "12.3", "1,234", "−1.0e−05", "∞"]
