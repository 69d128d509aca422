"""Whole sessions: what is read of a file, what is pushed when, and what a listener in another process gets."""

import pickle
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.faults import FaultSettings, read_faults, schedule
from rtdecode.guard import Guard
from rtdecode.lsl import SignalInlet, StreamChoice, list_streams
from rtdecode.player import PlayerSettings
from rtdecode.recording import Layout, Session, Stream, read_recording, read_session
from rtdecode.schedule import Close, Open, Push, Schedule, in_turn
from tests.builders import build_recording, build_signal
from tests.processes import Program, rtdecode, run_rtdecode
from tests.test_recording import EEG, markers
from tests.xdf import write_xdf

RNG = np.random.default_rng(0)
FORMATS = ("double64", "int8", "int16", "int32", "int64")
DESC = (
    "<maker kind='a &amp; b'>Ünï<model>x</model></maker><channels><channel><label>a</label></channel>"
    "<channel><label>b</label></channel></channels><maker>twice</maker>"
)


def numbers(channel_format):
    kind = np.dtype(channel_format.rstrip("64") if channel_format == "double64" else channel_format)
    values = RNG.standard_normal((60, 2)) if kind.kind == "f" else RNG.integers(*_limits(kind), (60, 2))
    stamps = 50 + np.sort(RNG.uniform(0, 9, 60))
    return {"name": channel_format, "kind": "Other", "n_channels": 2, "sfreq": 0, "format": channel_format,
            "stamps": stamps, "values": values, "desc": DESC}  # fmt: skip


def _limits(kind):
    return np.iinfo(kind).min, np.iinfo(kind).max


TEXTS = {**markers(["left", "rechts äöü", ""], [51.0, 52.5, 57.25]), "desc": DESC}
PAIRS = {
    "name": "pairs", "kind": "Gaze", "n_channels": 2, "sfreq": 0, "format": "string", "stamps": [50.5, 58.0],
    "values": [["a", "b"], ["c\n<d>", "e"]],
}  # fmt: skip
EMPTY = {**EEG, "name": "empty", "stamps": [], "values": [], "sfreq": 0.5}
JITTERED = EEG["stamps"] + RNG.normal(0, 0.02, 1000)
JITTERY = {**EEG, "name": "jittery", "kind": "Gyro", "stamps": JITTERED, "desc": DESC}
ALL = (EEG, *map(numbers, FORMATS), TEXTS, PAIRS, EMPTY, JITTERY)


def listened(session_path, tmp_path, names, *options):
    """Play a file for a listener in another process; return what that heard by name: (info, values, stamps)."""
    prefix, heard = names[0] + "-", tmp_path / "heard.pickle"
    n = len(read_session(session_path).streams)
    listener = Program("-m", "tests.recorder", prefix, str(n), str(heard))
    with listener, rtdecode("play", session_path, "--prefix", prefix, "--for-all", *options) as player:
        assert player.wait(120) == 0, player.output
        assert listener.wait() == 0, listener.output
    found = {}
    for info, values, stamps in pickle.loads(heard.read_bytes()):
        root = ElementTree.fromstring(info)
        found[root.findtext("name").removeprefix(prefix)] = root, values, stamps
    return found


def canonical(desc):
    return ElementTree.canonicalize(desc, strip_text=True)


def check(heard, session, speed, shift):
    """A stream as it was heard is what was recorded; stamps are the recorded ones, divided, plus a constant."""
    root, values, stamps = heard
    layout = session.layout
    assert (root.findtext("type"), root.findtext("channel_format")) == (layout.type, layout.channel_format)
    assert (float(root.findtext("nominal_srate")), int(root.findtext("channel_count"))) == (
        layout.sfreq,
        layout.n_channels,
    )
    desc = ElementTree.tostring(root.find("desc"), "unicode")
    assert canonical(desc) == canonical(layout.at_speed(speed).desc)
    if layout.channel_format == "string":
        assert [[v.decode() for v in row] for row in values] == session.values.tolist()
    else:
        assert values.dtype == session.values.dtype and values.tobytes() == session.values.tobytes()
    assert stamps == pytest.approx(shift + session.timestamps / speed, abs=1e-6)


def check_all(heard, session, speed=10.0):
    assert len(heard) == len(session.streams)
    longest = max(session.streams, key=lambda s: len(s.timestamps))
    shift = heard[longest.layout.name][2][0] - longest.timestamps[0] / speed
    for stream in session.streams:
        check(heard[stream.layout.name], stream, speed, shift)


def test_a_listener_gets_every_sample_of_every_stream_as_it_was_recorded(tmp_path, names):
    path = write_xdf(tmp_path / "r.xdf", *ALL)
    heard = listened(path, tmp_path, names, "--speed", 10)
    check_all(heard, read_session(path))
    for written in ALL:
        root, values, _ = heard[written["name"]]
        assert root.findtext("channel_format") == written["format"] and len(values) == len(written["values"])
    assert heard["int64"][1].tolist() == numbers_written("int64")
    assert heard["pairs"][1].tolist() == [[b"a", b"b"], [b"c\n<d>", b"e"]]


def numbers_written(name):
    return next(s["values"] for s in ALL if s["name"] == name).tolist()


@pytest.mark.parametrize(
    "name",
    ["minimal", "empty_streams", "openbci_8ch_1000hz_9s", pytest.param("clock_resets", marks=pytest.mark.slow)],
)
def test_files_of_others_play_whole(shared, tmp_path, names, name):
    path = shared / "data/xdf_examples" / f"{name}.xdf"
    check_all(listened(path, tmp_path, names, "--speed", 10), read_session(path))


@pytest.mark.slow
def test_a_replay_that_was_recorded_plays_as_what_it_was(tmp_path, names):
    """Record what is heard at speed 10, play that at speed 0.5: a twentieth of the time was left, a tenth is."""
    build_recording(500).save(tmp_path / "r.npz")
    heard = listened(tmp_path / "r.npz", tmp_path, names, "--speed", 10)
    written = [
        {"info": ElementTree.tostring(info, "unicode"), "format": info.findtext("channel_format"),
         "values": values.tolist(), "stamps": stamps, "offsets": [(stamps[0], 0.0), (stamps[-1], 0.0)]}
        for info, values, stamps in heard.values()
    ]  # fmt: skip
    path = write_xdf(tmp_path / "r.xdf", *written)
    recording, original = read_recording(path), build_recording(500)
    assert recording.samples.tobytes() == original.samples.tobytes()
    assert recording.timestamps - recording.timestamps[0] == pytest.approx(np.arange(500) / 128, abs=1e-5)
    assert [e.label for e in recording.events] == [e.label for e in original.events]
    assert [s.layout.speed for s in read_session(path).streams] == [10, 10]
    again = listened(path, tmp_path, names, "--speed", 0.5)
    root, values, stamps = next(v for n, v in again.items() if n.endswith("rtdecode-play"))
    assert float(root.findtext("desc/rtdecode/speed")) == 5
    assert values.tobytes() == original.samples.tobytes()
    assert stamps - stamps[0] == pytest.approx(np.arange(500) / 128 / 5, abs=1e-5)


def test_every_round_is_heard(tmp_path, names):
    path = write_xdf(tmp_path / "r.xdf", EEG, TEXTS)
    heard = listened(path, tmp_path, names, "--speed", 10, "--loop", 2, "--part", "1:3")
    part = EEG["values"][100:300].astype(np.float32)
    _, values, stamps = heard["eeg"]
    assert values.tobytes() == np.concatenate([part, part]).tobytes()
    assert np.diff(stamps)[199] > 0.09 > 0.0011 > np.delete(np.diff(stamps), 199).max()
    assert heard["markers"][1].tolist() == [[b"left"], [b"rechts \xc3\xa4\xc3\xb6\xc3\xbc"]] * 2


@pytest.mark.slow
def test_an_endless_replay_ends_when_it_is_told_to(tmp_path, names, eventually):
    path, prefix = write_xdf(tmp_path / "r.xdf", EEG, TEXTS), names[0] + "-"
    with rtdecode("play", path, "--prefix", prefix, "--speed", 10, "--loop", 0, "--part", ":1") as player:
        choice, heard = StreamChoice(name=prefix + "eeg"), []
        inlet = SignalInlet(eventually(lambda: choice.among(list_streams(0.5)), what="the stream"))
        inlet.open()

        def three_rounds():
            heard.extend(inlet.pull()[1])
            return len(heard) > 300

        eventually(three_rounds, what="the third round")
        player.interrupt()
        assert player.wait() == 0 and player.saw("played ")
        inlet.close()


def test_a_clock_that_was_reset_is_one_clock_again(shared):
    session = read_session(shared / "data/xdf_examples/clock_resets.xdf")
    for stream, n, gap in zip(session.streams, (175, 27815), (308.7, 273.6), strict=True):
        steps = np.diff(stream.timestamps)
        assert len(stream.timestamps) == n and steps.min() > 0 and steps.max() == pytest.approx(gap, abs=0.1)
        assert stream.arrivals.tobytes() == stream.timestamps.tobytes()


def test_streams_meet_in_the_clock_of_the_recorder(tmp_path):
    late = {**markers(["x"], [3657.0]), "offsets": [(3600 + t, -3600.0) for t in (50.0, 55.0, 60.0)]}
    eeg, marker = read_session(write_xdf(tmp_path / "r.xdf", EEG, late)).streams
    assert eeg.timestamps.tobytes() == EEG["stamps"].tobytes()
    assert marker.timestamps == pytest.approx([57.0])


def signal(stamps, sfreq=100.0, values=None):
    values = np.arange(len(stamps))[:, None] if values is None else values
    return Stream(Layout("s", "EEG", 1, sfreq, "double64"), np.asarray(stamps, float), values)


def test_a_clock_set_back_stops_no_sample():
    stamps = np.concatenate([np.arange(100) / 100 + 1000, np.arange(100) / 100 + 5])
    pushes = list(Schedule(Session((signal(stamps),)), chunk=1).actions())
    assert [p.due_s for p in pushes] == pytest.approx(np.arange(200) / 100)
    assert np.concatenate([p.timestamps for p in pushes]) == pytest.approx(stamps - 1000)


def test_what_came_before_a_silence_does_not_wait_for_its_end():
    stamps = np.concatenate([np.arange(12) / 100, 60 + np.arange(12) / 100])
    pushes = list(Schedule(Session((signal(stamps),)), chunk=8).actions())
    assert [(len(p.timestamps), round(p.due_s, 2)) for p in pushes] == [(8, 0.07), (4, 0.11), (4, 60.03), (8, 60.11)]


def test_a_slow_stream_is_not_kept_back_by_the_size_of_chunks():
    slow = replace(signal(np.arange(10)), layout=Layout("slow", "Temperature", 1, 1.0, "double64"))
    session = Session((signal(np.arange(1000) / 100), slow))
    pushes = [p for p in Schedule(session, chunk=8).actions() if p.stream == 1]
    assert [(p.due_s, len(p.timestamps)) for p in pushes] == [(float(i), 1) for i in range(10)]


STAMPS = st.lists(st.floats(0, 20, allow_subnormal=False) | st.just(np.nan), max_size=60).filter(
    lambda stamps: not stamps or np.isfinite(stamps).any()
)


@given(st.lists(st.tuples(STAMPS, st.sampled_from([0.0, 1.0, 100.0])), min_size=1, max_size=4), st.integers(0, 9))
def test_every_sample_of_every_stream_is_pushed_once_in_its_order_with_its_stamp(streams, chunk):
    session = Session(tuple(signal(stamps, sfreq) for stamps, sfreq in streams))
    pushes = list(Schedule(session, chunk).actions())
    assert np.all(np.diff([p.due_s for p in pushes]) >= 0)
    for index, stream in enumerate(session.streams):
        own = [p for p in pushes if p.stream == index]
        assert [v for p in own for v in p.values[:, 0]] == stream.values[:, 0].tolist()
        stamps = np.array([t for p in own for t in p.timestamps])
        assert np.array_equal(stamps, stream.timestamps - session.begin, equal_nan=True)


@pytest.mark.parametrize(("parts", "rounds"), [([(0, 100)], 3), ([(5, 7), (1, 3)], 1), ([(0, 2), (2, 4)], 2)])
def test_each_round_and_part_begins_after_a_gap(parts, rounds):
    recording = build_recording(1280)
    session = Session.of_recording(recording, "s")
    played = [Schedule(session.crop(*part)) for part in parts]
    pushes = [p for p in in_turn(played, rounds) if p.stream == 0]
    stamps = np.concatenate([p.timestamps for p in pushes])
    cuts = [slice(*np.searchsorted(np.arange(1280) / 128, part)) for part in parts]
    assert np.concatenate([p.values for p in pushes]).tobytes() == b"".join(
        recording.samples[cut].tobytes() for _ in range(rounds) for cut in cuts
    )
    faults = [s.fault for s in Guard(128.0).check(np.zeros((len(stamps), 4)), stamps) if s.fault]
    assert faults == ["gap"] * (len(parts) * rounds - 1)


def test_a_round_begins_with_the_outlet_as_it_was():
    session = Session.of_recording(build_recording(640), "s")
    faults = FaultSettings.model_validate(
        {"faults": [{"fault": "restart", "at_s": 1, "for_s": 1, "shuffled": True, "source_id": "other"}]}
    )
    found = list(in_turn([schedule(session, faults)], 2))
    outlets = [a for a in found if isinstance(a, Close | Open)]
    assert [type(a) for a in outlets] == [Close, Open] * 3
    assert outlets[3].layout == session.streams[0].layout and outlets[3].source_id is None
    values = [a.values for a in found[found.index(outlets[3]) :] if isinstance(a, Push) and a.stream == 0]
    assert np.concatenate(values)[:128].tobytes() == build_recording(640).samples[:128].tobytes()


def test_markers_move_with_a_signal_that_is_taken_slower():
    recording = build_recording(640)
    faults = FaultSettings.model_validate({"faults": [{"fault": "rate", "at_s": 0, "sfreq": 64}]})
    pushes = list(schedule(Session.of_recording(recording, "s"), faults).actions())
    due = [p.due_s for p in pushes if isinstance(p, Push) and p.stream == 1]
    first = recording.timestamps[0]
    expected = [2 * (e.timestamp - first) + 1 / 128 for e in recording.events]
    assert due == pytest.approx(expected)


def test_shuffled_channels_are_described_in_their_order(tmp_path):
    session = read_session(write_xdf(tmp_path / "r.xdf", EEG))
    layout = session.streams[0].layout
    assert layout.ch_names == ("a", "b")
    turned = layout.pick([1, 0])
    assert turned.ch_names == ("b", "a") and turned.pick([1, 0]) == layout
    assert turned.pick([0]).ch_names == ("b",) and turned.pick([0]).n_channels == 1


@given(st.integers(0, 99), st.sampled_from([0.1, 0.5, 3.0, 10.0]))
def test_the_guard_judges_a_replay_as_at_its_own_speed(seed, speed):
    rng = np.random.default_rng(seed)
    stamps = np.delete(np.arange(2000), np.r_[700:701, 1200:1230]) / 128 + rng.normal(0, 2e-4, 1969)
    stamps[[300, 1500]] += (0.5, -40.0)
    samples = np.zeros((1969, 4))
    verdicts = []
    for factor in (1.0, speed):
        segments = Guard(128.0, speed=factor).check(samples, stamps / factor)
        verdicts.append([(s.start, s.stop, s.fault, s.reason, s.imputed) for s in segments])
    assert verdicts[0] == verdicts[1] and {f for *_, f, _, _ in verdicts[0]} >= {"gap"}


def test_list_tells_what_is_in_a_file(tmp_path):
    code, output = run_rtdecode("play", write_xdf(tmp_path / "r.xdf", EEG, TEXTS), "--list")
    assert code == 0
    assert output.splitlines() == [
        "'eeg' (EEG): 2 x float32, at 100 Hz, 1000 samples in 10.0 s",
        "'markers' (Markers): 1 x string, irregular, 3 samples in 6.2 s",
    ]


@pytest.fixture
def session(tmp_path):
    """A signal of 1000 samples and three markers."""
    return read_session(write_xdf(tmp_path / "r.xdf", EEG, TEXTS))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--name", "x"), "keep their names"),
        (("--part", "3:2"), "--part 3:2 is no part; give two times in seconds, as 30:60"),
        (("--speed", "11"), "speed: Input should be less than or equal to 10"),
    ],
)
def test_what_play_cannot_do_is_told_in_one_sentence(session, options, told):
    code, output = run_rtdecode("play", session.path, *options)
    assert code == 2 and told in output and "Traceback" not in output


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"parts": [(100.0, 200.0)]}, "no sample from 100 to 200 s of its 10.0 s"),
        ({"start": 5000}, "has 1000 samples; none at 5000"),
    ],
)
def test_a_part_that_is_not_there_is_refused(session, settings, told):
    with pytest.raises(RecordingError, match=told):
        PlayerSettings.model_validate(settings).cut(session)


def test_samples_cannot_be_counted_without_a_signal(session):
    with pytest.raises(RecordingError, match="has no one signal whose samples could be counted"):
        session.chosen(["markers"]).since(5)


def test_a_stream_that_is_not_there_cannot_be_chosen(session):
    with pytest.raises(RecordingError, match="has no stream 'eg'; it has 'eeg', 'markers'"):
        session.chosen(["eg"])


def test_a_file_without_streams_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="holds no stream"):
        read_session(write_xdf(tmp_path / "r.xdf"))


def test_streams_of_one_name_are_told_apart(tmp_path):
    session = read_session(write_xdf(tmp_path / "r.xdf", EEG, TEXTS, EEG))
    assert session.source_ids() == ["rtdecode-play-eeg", "rtdecode-play-markers", "rtdecode-play-eeg-2"]
    assert session.signal is None


def test_only_a_signal_has_faults(session):
    with pytest.raises(ConfigurationError, match="has not exactly one"):
        schedule(session.chosen(["markers"]), read_faults("example"))


def test_play_begins_at_a_sample_of_the_signal_with_what_is_nearest_to_it(session):
    (part,) = PlayerSettings(start=725).cut(session)
    assert part.streams[0].values.tobytes() == session.streams[0].values[725:].tobytes()
    assert part.streams[0].first == 725 and part.streams[1].values.tolist() == [[""]]


def test_integers_cannot_be_made_no_numbers(tmp_path):
    eeg = {**EEG, "format": "int16"}
    faults = FaultSettings.model_validate({"faults": [{"fault": "nan", "at_s": 1}]})
    with pytest.raises(ConfigurationError, match="stream 'eeg' is int16"):
        schedule(read_session(write_xdf(tmp_path / "r.xdf", eeg)), faults)


def test_a_stream_without_any_stamp_is_refused():
    with pytest.raises(RecordingError, match="has no stamp that is a number"):
        signal([np.nan, np.nan])


def test_a_signal_is_described_with_its_units():
    described = Layout.of_signal("s", build_signal(2)).root
    assert [c.findtext("unit") for c in described.iter("channel")] == ["microvolts"] * 2
