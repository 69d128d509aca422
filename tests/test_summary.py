"""What a run tells in numbers at its end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.summary import Summary

seconds = st.floats(-10, 1e4, allow_subnormal=False)


@given(st.lists(seconds, min_size=1, max_size=300))
def test_percentiles_are_those_of_all_values_to_half_a_percent(values):
    summary = Summary()
    for value in values:
        summary.ages.add(value)
    told = summary.figures()["age_ms"]
    for p in (50, 95, 99):
        exact = 1e3 * np.percentile(values, p, method="inverted_cdf")
        assert told[f"p{p}"] == pytest.approx(exact, rel=6e-3, abs=1e-5)
    assert told["max"] == 1e3 * max(values)


def test_what_did_not_happen_is_not_told():
    assert "age_ms" not in Summary().figures()
