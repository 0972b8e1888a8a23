"""What descriptions say of values, and how they are looked up."""

import math

import pytest

from virtassay.evaluation.glossary import HIGHER, LOWER, NEITHER, Description, Glossary, near
from virtassay.flow.traits import having


@pytest.mark.parametrize(("better", "good"), [(HIGHER, 0.7), (LOWER, -0.7), (near(1), -0.3)])
def test_goodness_grows_with_what_is_better(better, good):
    assert Description("m", "M", better, "").goodness(0.7) == pytest.approx(good)


def test_where_none_is_better_no_value_is_good():
    assert math.isnan(Description("m", "M", NEITHER, "").goodness(0.7))


def test_a_metric_is_found_by_its_kind_and_an_unknown_one_is_for_information():
    @having(describes=(Description("gap", "Gap", LOWER, "How far."),))
    def gap():
        pass

    glossary = Glossary.of([gap, len])
    assert glossary["gap:same_moa"].label == "Gap: same-moa" and glossary["gap"].better == LOWER
    assert (glossary["my_own"].label, glossary["my_own"].better) == ("my own", NEITHER)
