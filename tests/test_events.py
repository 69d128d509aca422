"""Windows at events: each event gives one prediction or one reason, however samples and events arrive."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contract import Event, EventWindow
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import ModelError
from rtdecode.model_file import read_model
from rtdecode.proof import prove_chunking
from tests.builders import SFREQ, build_contract, build_model, build_recording, build_signal

N = 900
LAG_S = 0.5
# A tenth of a second before the event to 0.4 s after it, against what was before; decimated by 2.
AT_EVENTS = EventWindow(first=-13, before=6, baseline=(1, 9), max_event_lag_s=LAG_S, labels=("row-*",))
LAST = -13 + 2 * 38


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    contract = build_contract(events=AT_EVENTS, hop=1)
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx", contract))


def at(sample, label="left", recording=None):
    """An event a little off a sample's stamp."""
    stamps = (recording or build_recording(N)).timestamps
    return Event(float(stamps[sample]) + 0.3 / SFREQ, label)


def decode(model, recording, events, sizes=(), delays=(), finish=True):
    """Push in chunks of these sizes; each event comes so many samples after its own one (or with the first chunk).

    Where a stream is broken that may be the first sample of its stamp, or the one that would have it in a whole one:
    from the earlier of the two on.
    """
    decoder = Decoder(model, recording.signal)
    whole = recording.timestamps[0] + np.arange(N) / SFREQ
    at_sample = [min(recording.sample_at(e.timestamp), int(np.argmin(np.abs(whole - e.timestamp)))) for e in events]
    coming = [(i + d, e) for i, e, d in zip(at_sample, events, [*delays, *[-N] * len(events)], strict=False)]
    predictions, start = [], 0
    for size in [*sizes, *[64] * (len(recording.samples) // 64 + 1)]:
        cut = slice(start, start + size)
        start += size
        now = [e for due, e in coming if due < start]
        coming = [(due, e) for due, e in coming if due >= start]
        predictions += decoder.push(recording.samples[cut], recording.timestamps[cut], now)
    predictions += decoder.push(recording.samples[:0], [], [e for _, e in coming])
    return predictions + decoder.finish() if finish else predictions


@pytest.mark.parametrize("stamp", [math.nan, math.inf, 1e308, -1e308])
def test_a_stamp_that_cannot_be_is_refused(model, stamp):
    recording = build_recording(N)
    (refused,) = Decoder(model, recording.signal).push(
        recording.samples, recording.timestamps, [Event(stamp, "left")]
    )
    assert refused.reason == "bad-stamp"


def test_an_event_without_a_stamp_does_not_depend_on_chunking(model):
    recording = replace(build_recording(N), events=(Event(math.nan, "left"), at(400)))
    assert not prove_chunking(recording, lambda: Decoder(model, recording.signal)).differing


def by_event(predictions):
    """What each event gave, to the last bit; none twice."""
    found = {p.event: p._bits() for p in predictions}
    assert len(found) == len(predictions)
    return found


def reference(model, recording, event):
    """Preprocess everything, cut the window out, subtract the baseline, run the graph."""
    decoder = Decoder(model, recording.signal)
    features = decoder.chain.process(decoder.adapted(recording.samples)).astype(np.float32)
    sample = int(np.argmin(np.abs(recording.timestamps - event.timestamp)))
    first = math.ceil((sample - 13) / 2)
    window, baseline = features[first + 6 : first + 38].T, features[first + 1 : first + 9].T
    level = np.ascontiguousarray(baseline, np.float64).mean(axis=1, keepdims=True)
    newest = 2 * (first + 37)
    return newest, Engine(model).run((window - level).astype(np.float32))


samples = st.integers(0, N - 1)
events = st.lists(samples, max_size=12, unique=True).map(lambda found: [at(i, f"row-{i % 3}") for i in found])
chunk_sizes = st.lists(st.integers(0, 90), max_size=20)
# From long before the event to as late as is allowed.
LATEST = LAST + round(LAG_S * SFREQ)
delays = st.lists(st.integers(-N, LATEST), min_size=12, max_size=12)
# What is lost counts too: two samples of each of four faults at most, and one more on either side of an event there.
safe_delays = st.lists(st.integers(-N, LATEST - 10), min_size=12, max_size=12)
faults = st.dictionaries(st.integers(1, 850), st.sampled_from(["nan", "gap", "back", "lost"]), max_size=4)


def test_without_events_of_its_own_a_recording_proves_a_decoder_too(tmp_path):
    # Nothing decimates: there is a block at every sample.
    contract = build_contract(steps=(), events=EventWindow(first=0), hop=1)
    model = read_model(build_model(tmp_path / "model.onnx", contract))
    recording = replace(build_recording(400), events=())
    proof = prove_chunking(recording, lambda: Decoder(model, recording.signal))
    assert not proof.differing and proof.n_predictions > 100


def test_an_event_gives_what_its_window_gives_in_one_shot(model):
    recording, decided = build_recording(N), 0
    some = [at(i, "left") for i in range(300, 800, 37)]
    for p in decode(model, recording, some):
        newest, expected = reference(model, recording, p.event)
        assert p.proba.tobytes() == expected.tobytes()
        assert (p.sample, p.timestamp) == (newest, recording.timestamps[newest])
        decided += 1
    assert decided == len(some)


@settings(max_examples=25)
@given(events=events, sizes=chunk_sizes, delays=delays, seed=st.randoms())
def test_neither_chunks_nor_order_nor_delay_of_events_change_a_bit(model, events, sizes, delays, seed):
    recording = build_recording(N)
    plain = by_event(decode(model, recording, events))
    assert plain.keys() == set(events)
    shuffled = seed.sample(events, len(events))
    assert by_event(decode(model, recording, shuffled, sizes, delays)) == plain


def broken(kind_at):
    recording = build_recording(N)
    stamps, kept = recording.timestamps, np.ones(N, bool)
    for start, kind in kind_at.items():
        if kind == "nan":
            recording.samples[start : start + 6, 1] = np.nan
        elif kind == "gap":
            stamps[start:] += 0.25
        elif kind == "back":
            stamps[start:] -= 0.25
        else:
            kept[start : start + 2] = False
    return replace(recording, samples=recording.samples[kept], timestamps=stamps[kept])


def outcomes(predictions):
    # Stamps that are replaced are those of a fit that rounds with the chunks.
    return by_event([replace(p, timestamp=0.0) for p in predictions])


@settings(max_examples=25)
@given(events=events, sizes=chunk_sizes, faults=faults)
def test_of_a_broken_stream_too_every_event_gives_one_result_whatever_the_chunks(model, events, sizes, faults):
    recording = broken(faults)
    plain = outcomes(decode(model, recording, events))
    assert plain.keys() == set(events)
    assert outcomes(decode(model, recording, events, sizes)) == plain


@settings(max_examples=25)
@given(events=events, sizes=chunk_sizes, delays=safe_delays, faults=faults)
def test_of_a_broken_stream_too_results_do_not_depend_on_when_events_come(model, events, sizes, delays, faults):
    recording = broken(faults)
    plain = outcomes(decode(model, recording, events))
    assert outcomes(decode(model, recording, events, sizes, delays)) == plain


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A model of windows so short that only the channels, not judged yet, keep it from decoding."""
    contract = build_contract(events=EventWindow(first=0, max_event_lag_s=LAG_S), n_times=4, hop=1, steps=[])
    return read_model(build_model(tmp_path_factory.mktemp("early") / "model.onnx", contract))


@settings(max_examples=25)
@given(
    sizes=chunk_sizes,
    delays=st.lists(st.integers(-N, round(LAG_S * SFREQ)), min_size=50, max_size=50),
    lost=st.sets(st.integers(1, 80), max_size=6),
    broken_at=st.integers(70, 200),
)
def test_no_event_is_decoded_before_the_channels_were_judged(early, sizes, delays, lost, broken_at):
    whole, kept = build_recording(250), ~np.isin(np.arange(250), list(lost))
    whole.timestamps[broken_at:] += 1.0
    wrong = replace(whole, samples=1e3 * whole.samples[kept], timestamps=whole.timestamps[kept])
    told = decode(early, wrong, some := [at(i) for i in range(40, 140, 2)], sizes, delays)
    assert all(p.reason for p in told)
    assert outcomes(told) == outcomes(decode(early, wrong, some))


@settings(max_examples=25)
@given(n=st.integers(1, N - 1), sizes=chunk_sizes)
def test_no_prediction_knows_the_future(model, n, sizes):
    some = [at(i) for i in range(100, N, 50)]
    recording, changed = build_recording(N), build_recording(N)
    changed.samples[n:] *= -7
    plain, other = (
        by_event([p for p in decode(model, r, some, sizes) if p.sample < n]) for r in (recording, changed)
    )
    assert plain == other


def test_overlapping_events_give_a_prediction_each(model):
    some = [at(i, f"row-{i}") for i in range(400, 440)]
    predictions = decode(model, build_recording(N), some)
    assert [p.event for p in predictions] == some and all(p.reason is None for p in predictions)


def test_what_comes_later_than_the_lag_is_late(model):
    delay = LAST + round(LAG_S * SFREQ)
    (early,), (late,) = (decode(model, build_recording(N), [at(400)], [400 + d], [d]) for d in (delay - 8, delay + 8))
    assert early.reason is None and late.reason == "late"
    assert (late.timestamp, late.sample) == (at(400).timestamp, 400)


@pytest.mark.parametrize("shift", [0.0, 0.4, -0.4])
def test_what_comes_twice_is_told_and_decoded_once(model, shift):
    recording, decoder = build_recording(N), Decoder(model)
    twice = Event(at(400).timestamp + shift / SFREQ, "left")
    other = Event(at(400).timestamp, "right")
    predictions = decoder.push(recording.samples, recording.timestamps, [at(400), twice, other])
    assert [p.event for p in predictions] == [at(400), other]
    assert [i.reason for i in decoder.guard.drain()] == ["duplicate-event"]


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        (999.9, "before-start"),
        (1000.0, "warming-up"),
        (1002.0, None),
        (1006.9, "end"),
        (1020.0, "end"),
        (math.nan, "bad-stamp"),
    ],
)
def test_events_without_data_are_told_why(model, timestamp, reason):
    (p,) = decode(model, build_recording(N), [Event(timestamp, "left")])
    assert p.reason == reason


@pytest.mark.parametrize(("sample", "reason"), [(630, None), (680, "gap"), (700, "warming-up")])
def test_events_about_a_gap(model, sample, reason):
    recording = build_recording(N)
    recording.timestamps[700:] += 1.0
    (p,) = decode(model, recording, [at(sample, recording=recording)])
    assert p.reason == reason
    (lost,) = decode(model, recording, [Event(float(recording.timestamps[699]) + 0.5, "left")])
    assert (lost.reason, lost.sample) == ("gap", -1)


def test_a_reset_breaks_the_windows_that_are_open(model):
    recording, decoder = build_recording(N), Decoder(model)
    assert not decoder.push(recording.samples[:420], recording.timestamps[:420], [at(400)])
    decoder.reset("stream-lost")
    (p,) = decoder.push(recording.samples[420:430], recording.timestamps[420:430])
    assert (p.reason, p.event) == ("stream-lost", at(400))


def test_what_stands_in_for_lost_samples_is_counted(model):
    recording = broken({410: "lost"})
    inside, outside = decode(model, recording, [at(400), at(600)])
    assert (inside.imputed, outside.imputed) == (2, 0)


def test_only_labels_of_classes_and_patterns_are_events(model):
    labels = ["left", "right", "row-1", "row", "pause"]
    predictions = decode(model, build_recording(N), [at(500 + 20 * i, label) for i, label in enumerate(labels)])
    assert [p.event.label for p in predictions] == labels[:3]


def test_of_two_equally_near_samples_the_earlier_is_meant(model):
    recording = build_recording(N)
    middle = Event(float(recording.timestamps[400] + recording.timestamps[401]) / 2, "left")
    (p,), (q,) = (decode(model, recording, [e]) for e in (middle, middle._replace(timestamp=middle.timestamp + 1e-4)))
    # With half the rate the window of sample 401 begins one output later.
    assert (p.sample, q.sample) == (reference(model, recording, at(400))[0],) * 2
    assert reference(model, recording, at(400))[0] == 2 * (math.ceil(387 / 2) + 37)


def test_more_than_can_be_kept_is_refused(tmp_path):
    contract = build_contract(build_signal(64), events=EventWindow(first=10_000_000), hop=1)
    with pytest.raises(ModelError, match="shorter max_event_lag_s"):
        Decoder(read_model(build_model(tmp_path / "m.onnx", contract)))
