"""The README's first command."""

import pytest

from tests.processes import rtdecode

pytestmark = pytest.mark.slow


def test_the_demo_ends_in_its_summary(tmp_path):
    with rtdecode("demo", "--output", tmp_path / "demo") as program:
        code = program.wait(240)
    assert code == 0, program.output
    for word in ("Simulated data", "Latency, ms", "Decisions against truth"):
        assert program.saw(word)
    (line,) = [line for line in program.lines if line.startswith("live == replay")]
    same, n = [int(word) for word in line.split() if word.isdigit()][:2]
    assert same == n > 300
