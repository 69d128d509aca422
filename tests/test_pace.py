"""How data arrive, from arrivals alone; stalls and backlogs as the loop tells them: test_runner."""

import pytest

from rtdecode.pace import Pace


def test_a_chunk_that_one_pull_does_not_hold_is_one_arrival():
    pace = Pace(1024.0)
    for chunk in range(6):
        for part in range(3):
            pace.arrive(512, 1.5 * chunk + 0.02 * part, goes_on=part > 0)
    assert pace.stall_s == pytest.approx(3 * 1.5) and not pace.backlog
