import numpy as np
import pytest

from rtdecode.contract import canonical_unit
from rtdecode.errors import StreamError
from tests.builders import build_signal


@pytest.mark.parametrize(
    ("text", "ch_type", "unit"),
    [
        ("microvolts", "eeg", "uV"), ("µV", "eeg", "uV"), ("μV", "eeg", "uV"), ("uV", "eeg", "uV"),
        ("Volts", "eeg", "V"), ("-6", "eeg", "uV"), ("0", "eeg", "V"), ("0", "grad", "T/m"), ("0", "mag", "T"),
        ("fT/cm", "grad", "fT/cm"), ("-15", "mag", "fT"), ("none", "stim", "none"), ("0", "stim", "none"),
        ("furlongs", "eeg", None), ("-7", "eeg", None),
    ],
)  # fmt: skip
def test_units_have_one_spelling(text, ch_type, unit):
    assert canonical_unit(text, ch_type) == unit


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [("uV", "uV", 1.0), ("uV", "V", 1e6), ("V", "nV", 1e-9), ("fT", "T", 1e15), ("fT/cm", "T/m", 1e13)],
)
def test_units_of_one_dimension_convert(ours, theirs, factor):
    names = ("a",)
    model = build_signal(1).with_channels(names, ("eeg",), (ours,))
    adapter = model.adapt(model.with_channels(names, ("eeg",), (theirs,)), "S", "M", StreamError)
    assert adapter.factors == pytest.approx([factor], rel=1e-12)


def test_tesla_for_femtotesla_of_another_dimension_is_refused():
    model = build_signal(1).with_channels(("a",), ("grad",), ("fT/cm",))
    source = model.with_channels(("a",), ("grad",), ("T",))
    with pytest.raises(StreamError, match=r"a \(T instead of fT/cm\)"):
        model.adapt(source, "S", "M", StreamError)


def test_equal_units_change_nothing():
    signal = build_signal()
    samples = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    out = np.empty((5, 4))
    signal.adapt(signal, "S", "M", StreamError)(samples, out)
    assert out.astype(np.float32).tobytes() == samples.tobytes()


def test_all_that_differs_is_told_at_once():
    source = build_signal(3, 250.0).with_channels(("E0", "E1", "zz"), ("eeg",) * 3, ("none", "uV", "uV"))
    with pytest.raises(StreamError) as caught:
        build_signal().adapt(source, "Stream 'x'", "model 'm'", StreamError)
    told = str(caught.value)
    assert "E2, E3" in told and "250 Hz" in told and "E0 (none instead of uV)" in told


@pytest.mark.parametrize(
    "change", [{"ch_names": ("a", "a")}, {"units": ("uV",)}, {"units": ("uV", "pound")}, {"sfreq": 0.0}]
)
def test_a_signal_that_contradicts_itself_is_refused(change):
    with pytest.raises(ValueError):
        type(build_signal())(**{**build_signal(2).model_dump(), **change})
