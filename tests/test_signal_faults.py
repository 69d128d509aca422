"""The invariant: whatever arrives, every hop gives a prediction on sound data or an abstention with its reason.

Once in a while: pytest tests/test_signal_faults.py tests/test_runner.py -k whatever --hypothesis-profile once
"""

from itertools import groupby, takewhile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtdecode.decoder import Decoder
from rtdecode.model_file import read_model
from tests.builders import SFREQ, assert_same, build_model, build_recording, push_in_chunks

MAX_GAP = 2
# After these it goes on where it was.
OF_HOPS = (None, "warming-up", "bad-stamp")

KINDS = ["gap", "nan", "inf", "flat", "jump", "repeat", "back", "no-stamp", "scale"]
scripts = st.lists(
    st.tuples(st.integers(0, 1300), st.sampled_from(KINDS), st.integers(1, 300)), max_size=5, unique_by=lambda e: e[0]
)
chunk_sizes = st.lists(st.integers(0, 90), max_size=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


def play(script, n_samples=1400):
    """Return a recording in which these events (sample, kind, size) happen, and what is lost before each sample."""
    recording = build_recording(n_samples)
    samples, stamps, lost = recording.samples, recording.timestamps, np.zeros(n_samples, int)
    for at, kind, size in script:
        few = slice(at, at + size % 5 + 1)
        if kind == "gap" and at:
            stamps[at:] += size / SFREQ
            lost[at] = size
        elif kind in ("nan", "inf"):
            samples[few, size % 4] = np.nan if kind == "nan" else -np.inf
        elif kind == "flat":
            samples[at : at + 2 * size, : size % 4 + 1] = 7.0
        elif kind in ("jump", "back"):
            stamps[at:] += 1e5 if kind == "jump" else -size / 100
        elif kind == "repeat":
            stamps[few] = stamps[max(at - 1, 0)]
        elif kind == "no-stamp":
            stamps[few] = np.nan
        else:
            samples[at : at + 2 * size] *= np.float32((1e3, 1e-3, 1e6, 1e-6)[size % 4])
    return recording, lost


def runs(flags):
    return [len(list(group)) for flag, group in groupby(flags) if flag]


def check_invariant(model, script, sizes):
    recording, lost = play(script)
    decoder = Decoder(model)
    predictions = push_in_chunks(decoder, recording, sizes)
    whole = Decoder(model)
    assert_same(predictions, push_in_chunks(whole, recording, []))
    assert decoder.guard.incidents == whole.guard.incidents and decoder.guard.drain() == whole.guard.drain()
    bad = ~np.isfinite(recording.samples).all(axis=1)
    length = decoder.chain.newest_input(model.contract.window.n_times - 1) + 1
    hop = decoder.chain.newest_input(model.contract.window.hop)
    told = [p.sample for p in predictions]
    # Hops are counted anew after a stretch that is passed over, of which less than a hop may go untold.
    assert told == sorted(told) and all(np.diff([0, *told, len(bad)]) < 2 * hop + MAX_GAP)
    for p in predictions:
        assert (p.reason is None) == (p.proba is not None)
        if p.proba is None:
            continue
        assert np.isfinite(p.proba).all() and np.isfinite(p.timestamp)
        within = slice(max(p.sample - length + 1 + p.imputed, 0), p.sample + 1)
        assert max(runs(bad[within]), default=0) <= MAX_GAP
        # The first of them follows nothing in the window.
        assert lost[within][1:].max(initial=0) <= MAX_GAP
        assert p.imputed >= bad[within].sum()
    faults = [p.reason for p in predictions if p.reason not in (None, "warming-up")]
    assert set(faults) <= set(decoder.guard.incidents)
    check_like_fresh(model, recording, predictions)
    return decoder, predictions


def check_like_fresh(model, recording, predictions):
    """From every fault on it decodes as a fresh decoder that begins there does, to the last bit; return where."""
    compared = []
    for of_hops, rows in groupby(predictions, lambda p: p.reason in OF_HOPS):
        rows = list(rows)
        if not of_hops or all(p.proba is None for p in rows):
            continue
        fresh = Decoder(model)
        start = rows[0].sample - fresh.end_of(0) + 1
        cut = slice(start, rows[-1].sample + 1)
        alone = fresh.push(recording.samples[cut], recording.timestamps[cut])
        # It judges channels over other half seconds, and learns anew how much stamps jitter: only as long as it
        # finds no fault of its own does it decode the same.
        sound = takewhile(lambda p: p.reason in OF_HOPS, alone)
        by_sample = {p.sample + start: p for p in sound if p.proba is not None}
        for p in rows:
            q = by_sample.get(p.sample)
            if p.proba is not None and q and p.imputed == q.imputed == 0:
                assert p.proba.tobytes() == q.proba.tobytes()
                compared.append(p.sample)
    return compared


@settings(max_examples=2 * settings.default.max_examples)
@given(script=scripts, sizes=chunk_sizes)
# What is not finite comes while nothing is decoded for another reason.
@example(script=[(238, "flat", 39), (318, "inf", 2)], sizes=[])
def test_the_invariant_holds_whatever_happens(model, script, sizes):
    check_invariant(model, script, sizes)


@pytest.mark.parametrize("kind", ["jump", "back", "repeat", "no-stamp"])
def test_a_loss_among_wrong_stamps_is_in_no_window(model, kind):
    # Once in 52,000 scripts.
    check_invariant(model, [(907, kind, 4), (909, "gap", 3)], [])


@pytest.mark.slow
@settings(max_examples=2000)
@given(script=scripts, sizes=chunk_sizes)
def test_the_invariant_holds_whatever_happens_2000_times(model, script, sizes):
    check_invariant(model, script, sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_fault_it_decodes_as_a_fresh_decoder_does(model, kind):
    recording, _ = play([(600, kind, 43)])
    compared = check_like_fresh(model, recording, Decoder(model).push(recording.samples, recording.timestamps))
    assert sum(sample > 1000 for sample in compared) > 20


@pytest.mark.parametrize("at", [700, 707, 711, 740])
@pytest.mark.parametrize(("kind", "size", "imputed"), [("nan", 0, 1), ("nan", 1, 2), ("gap", 1, 1), ("gap", 2, 2)])
def test_what_is_stood_in_for_is_counted_as_long_as_it_is_in_the_window(model, at, kind, size, imputed):
    decoder, predictions = check_invariant(model, [(at, kind, size)], [])
    length = decoder.chain.newest_input(model.contract.window.n_times - 1) + 1
    there = [p.sample for p in predictions if p.imputed == imputed]
    assert all(p.proba is not None for p in predictions if p.sample > 200)
    assert at - 1 <= there[0] <= at + 8 and at + length - 16 <= there[-1] <= at + length
    assert decoder.guard.incidents["imputed"] >= 1
