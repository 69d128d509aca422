"""Cued recordings: what is asked of the subject, what is kept, and a decoder from it."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.collected import Trainer, adapted, verdict
from offline.configuration import TrainingConfiguration, read_configuration
from rtdecode.collector import Collector, CollectSettings
from rtdecode.cues import CueSettings, Prompts, draw_order, make_script
from rtdecode.errors import ConfigurationError, StreamError, StreamLostError
from rtdecode.interrupts import Interrupts
from rtdecode.lsl import OutputReader
from rtdecode.model_file import read_model
from rtdecode.prompter import Prompter
from rtdecode.recording import read_recording
from rtdecode.scoring import Figure
from tests.processes import Program, rtdecode, run_rtdecode
from tests.scripted import RECORDING, START, Script

CUES = {"classes": ("left", "right"), "trials": 3, "cue_s": 1.0, "rest_s": (0.5, 1.0)}
SEEN_S = 0.03


class Screen:
    """Needs a while to show something."""

    def __init__(self, world):
        self._world, self.told = world, []

    def show(self, label, trial):
        self._world.now += SEEN_S

    def tell(self, message):
        self.told.append(message)


class Session:
    """A cued recording of a scripted source; ended by its script, if not before."""

    def __init__(self, script, path, **settings):
        self.world, self.path, self.screen = script.world, path, Screen(script.world)
        interrupts = Interrupts()
        self.world.at(script.time, interrupts.ask)
        settings = CollectSettings(**{"cues": CUES, "check_s": 2.0, **settings})
        self.collector = Collector(path, settings, self.screen, self.world, self.world.clock, interrupts)

    def run(self):
        self.collected = self.collector.run()
        return self

    @property
    def pushed(self):
        return self.world.cues.pushed

    @property
    def recording(self):
        return read_recording(self.path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "collected.npz"


classes = st.integers(2, 5).map(lambda n: tuple("abcde"[:n]))


@given(classes=classes, trials=st.integers(1, 30), seed=st.integers(0, 1000))
def test_each_class_comes_as_often_and_never_four_times_in_a_row(classes, trials, seed):
    order = draw_order(classes, trials, seed)
    assert Counter(order) == dict.fromkeys(classes, trials)
    assert max(len(list(run)) for _, run in itertools.groupby(order)) <= 3
    for start in range(0, len(order), 2 * len(classes)):
        block = Counter(order[start : start + 2 * len(classes)])
        assert len(set(block.values())) == 1 and set(block) == set(classes)
    assert order == draw_order(classes, trials, seed)


def test_another_seed_gives_another_order():
    assert len({tuple(draw_order(("a", "b"), 20, seed)) for seed in range(10)}) == 10


@given(
    low=st.floats(0.1, 5, allow_subnormal=False),
    more=st.floats(0, 5, allow_subnormal=False),
    seed=st.integers(0, 1000),
)
def test_rests_are_within_their_range_and_differ(low, more, seed):
    script = make_script(CueSettings(classes=("a", "b"), trials=5, rest_s=(low, low + more), seed=seed))
    assert [cue.label == "rest" for cue in script] == [True] + [False, True] * 10
    rests = [cue.seconds for cue in script if cue.label == "rest"]
    assert all(low <= rest <= low + more for rest in rests) and (more < 1e-6 or len(set(rests)) > 1)


@given(late=st.lists(st.floats(0, 3, allow_subnormal=False), min_size=13, max_size=13))
def test_a_cue_stays_for_its_time_however_late_it_was_shown(late):
    script = make_script(CueSettings(**CUES))
    prompts, now, shown = Prompts(script), 0.0, []
    for delay in late:
        now += prompts.left_s(now)
        cue = prompts.take(now)
        prompts.shown(cue, now + delay)
        now += delay
        shown.append((now, cue))
        assert prompts.take(now) is None and prompts.left_s(now) == pytest.approx(cue.seconds)
    assert [cue for _, cue in shown] == script
    assert not prompts.over and prompts.take(now + prompts.left_s(now) + 1e-9) is None and prompts.over


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"classes": ("left",)}, "at least 2"),
        ({"classes": ("left", "left")}, "left"),
        ({"classes": ("left", "rest")}, "marked after every cue anyway"),
        ({"rest_s": (3.0, 2.0)}, "the shortest rest comes first"),
    ],
)
def test_what_cannot_be_cued_is_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        CueSettings(**{**CUES, **wrong})


def test_everything_the_source_sent_is_kept_with_an_event_per_cue(path):
    session = Session(Script().play(30), path).run()
    recording = session.recording
    (inlet,) = session.world.inlets
    n = len(recording.samples)
    sent, stamps = (np.concatenate(part) for part in zip(*inlet.received, strict=True))
    assert n > 128 * 10 and recording.samples.tobytes() == sent[:n].tobytes()
    assert recording.timestamps.tobytes() == stamps[:n].tobytes() and recording.signal == RECORDING.signal
    assert recording.events == tuple((stamp, label) for _, stamp, label in session.pushed)
    assert [label for _, label in recording.events] == [cue.label for cue in make_script(CueSettings(**CUES))]
    assert all(recording.covers(event.timestamp) for event in recording.events)
    assert session.collected.complete and session.collected.cued == {"left": 3, "right": 3}
    assert session.world.cues.name == "amplifier-cues" and not path.with_name("collected.npz.partial").exists()


def test_markers_are_stamped_when_the_cue_is_seen_and_come_at_its_time(path):
    session = Session(Script().play(30), path).run()
    assert all(at == stamp for at, stamp, _ in session.pushed)
    for (_, shown, _), (_, following, _), cue in zip(
        session.pushed, session.pushed[1:], make_script(CueSettings(**CUES)), strict=False
    ):
        assert following - shown - cue.seconds == pytest.approx(SEEN_S, abs=1e-6)


def test_events_are_in_the_clock_of_the_source(path):
    script = Script().play(30)
    script.world.corrections = [(-100.0, 0.0)]
    session = Session(script, path).run()
    assert [event.timestamp for event in session.recording.events] == [
        pytest.approx(stamp + 100.0) for _, stamp, _ in session.pushed
    ]


def test_the_first_cue_waits_for_a_sound_stream(path, monkeypatch):
    samples = RECORDING.samples.copy()
    samples[: 5 * 128, 2] = 1.0
    monkeypatch.setattr("tests.scripted.RECORDING", replace(RECORDING, samples=samples))
    session = Session(Script().play(30), path).run()
    *_, wrong, sound = session.screen.told
    assert "bad-channels" in wrong and "E2 flat" in wrong and sound == "channels and rate are sound again"
    assert 7.0 <= session.pushed[0][0] - START < 8.0


def test_a_gap_is_told_and_counted(path):
    session = Session(Script().play(8).pause(1).play(30), path).run()
    assert session.collected.incidents["gap"] == 1
    assert any(told.startswith("gap at sample") for told in session.screen.told)


def test_no_cue_is_given_while_no_sample_comes(path):
    script = Script().play(8).stall(6).play(30)
    session = Session(script, path).run()
    assert any("no sample comes" in told for told in session.screen.told)
    times = [at - START for at, _, _ in session.pushed]
    assert not any(8.6 < t < 14 for t in times) and any(t > 14 for t in times)
    assert session.collected.complete


def test_ctrl_c_loses_nothing(path):
    session = Session(Script().play(6), path).run()
    assert not session.collected.complete and session.screen.told[-1] == "interrupted"
    recording = session.recording
    assert len(recording.samples) == sum(len(stamps) for _, stamps in session.world.inlets[0].received)
    assert 0 < len(recording.events) < 13
    with np.load(path) as arrays:
        assert json.loads(str(arrays["about"]))["complete"] is False


def test_a_console_that_is_gone_loses_nothing(path, monkeypatch):
    session = Session(Script().play(6), path)

    def gone(message):
        raise BrokenPipeError(32, "Broken pipe")

    session.world.at(START + 5.0, lambda: monkeypatch.setattr(session.screen, "tell", gone))
    with pytest.raises(BrokenPipeError):
        session.run()
    received = sum(len(stamps) for _, stamps in session.world.inlets[0].received)
    assert len(session.recording.samples) == received


def test_everything_is_on_the_disk_while_it_is_recorded(path, eventually):
    script = Script().play(6)
    session, folder = Session(script, path), path.with_name("collected.npz.partial")

    def kept():
        samples, timestamps, labels = (
            (folder / name).read_bytes() for name in ("samples.f32", "timestamps.f64", "event_labels.txt")
        )
        return samples, timestamps, [json.loads(line) for line in labels.splitlines()]

    def look():
        sent, stamps = (np.concatenate(part) for part in zip(*session.world.inlets[0].received, strict=True))
        pushed = [label for _, _, label in session.pushed]
        assert len(pushed) > 2
        eventually(lambda: kept() == (sent.tobytes(), stamps.tobytes(), pushed), what="what is kept")

    script.world.at(script.time, look)
    session.run()


def test_a_source_that_goes_away_ends_it_and_loses_nothing(path):
    session = Session(Script().play(6).lost(5), path)
    with pytest.raises(StreamLostError, match="samples were saved to"):
        session.run()
    assert len(session.recording.samples) == sum(len(stamps) for _, stamps in session.world.inlets[0].received)


def test_two_that_could_be_meant_are_refused(path):
    with pytest.raises(StreamError, match="2 streams could be meant"):
        Session(Script().duplicate(5).play(5), path, stream={"name": "amplifier"}).run()
    assert not path.exists()


def test_two_recordings_at_once_are_refused(path):
    with pytest.raises(StreamError, match="our cues' name is there already"):
        Session(Script().duplicate(5, "amplifier-cues").play(5), path, stream={"name": "amplifier"}).run()


def test_a_terminal_shows_one_large_word_and_at_the_end_what_was_told():
    file = StringIO()
    console = Console(file=file, force_terminal=True, width=60, height=12)
    with Prompter(console, 4) as screen:
        screen.tell("a gap")
        screen.show("left", 1)
        shown = file.getvalue()
        screen.show("rest", 1)
    assert "L E F T" in shown and "1/4" in shown and "a gap" in shown
    assert file.getvalue().removeprefix(shown).rstrip().endswith("a gap")


def test_without_a_terminal_everything_is_a_line(capsys):
    with Prompter(Console(), 4) as screen:
        screen.tell("a [gap]")
        screen.show("left", 1)
    assert capsys.readouterr().out == "a [gap]\n1/4 left\n"


@pytest.mark.slow
def test_from_cap_to_closed_loop(tmp_path, names, eventually):
    """collect, train and run on a subject that reacts to the cues, with nobody there."""
    source, ours = names
    model = tmp_path / "session.onnx"
    collect = (
        "collect", tmp_path / "session.npz", "--stream", source, "--trials", 10, "--cue-s", 1.5, "--rest-s", 0.5, 0.8,
        "--check-s", 2, "--train", "collected", "--model", model,
    )  # fmt: skip
    with Program("-m", "tests.subject", source, "0") as subject:
        eventually(lambda: subject.saw("there"), what="the subject")
        with rtdecode(*collect) as session:
            assert session.wait(200) == 0, session.output
        figure = read_model(model).contract.provenance.scores[0]
        assert figure.name == "accuracy" and figure.low > figure.chance and figure.n == 20
        run = ("run", "--model", model, "--stream", source, "--name", ours, "--duration", 20)
        with rtdecode(*run) as decoder:
            reader, markers = OutputReader(ours), []
            while not decoder.ended:
                values, stamps, _ = reader.pull()
                markers += zip([row[0] for row in values], stamps, strict=True)
            reader.close()
            assert decoder.wait() == 0
        states = [(float(at), label) for label, at in (line.split() for line in subject.lines if " " in line)]
    assert session.saw(f"rtdecode run --model {model} --stream {source}")
    right = [label == decided for at, label in states for decided, stamp in markers if at + 1.5 <= stamp < at + 3.0]
    assert len(right) > 50 and np.mean(right) > 0.8


class TestTraining:
    """From a session to a decoder file."""

    CUES = CueSettings(**{**CUES, "trials": 10, "cue_s": 3.0})

    @pytest.mark.parametrize(
        ("name", "cues", "changed"),
        [
            ("collected", {"cue_s": 4.0}, []),
            ("collected", {"cue_s": 5.0}, []),
            ("collected", {"cue_s": 2.25}, ["trials: tmax_s 2.25", "window: length_s 1.0"]),
            ("collected", {"cue_s": 4.0, "classes": ("a", "b", "c")}, ["trials: classes"]),
            ("eegmmidb-csp-lda", {"cue_s": 4.0}, ["split: stratified-blocks"]),
        ],
    )
    def test_a_configuration_is_made_one_for_the_cues(self, name, cues, changed):
        cues = self.CUES.model_copy(update=cues)
        settings, told = adapted(read_configuration(name), Path("folder/s.npz"), cues)
        assert len(told) == len(changed) and all(map(str.startswith, told, changed))
        assert settings.recordings.pattern == "s.npz" and set(settings.class_names) == set(cues.classes)
        assert settings.trials.tmax_s <= cues.cue_s and settings.split.kind == "stratified-blocks"

    def test_rests_can_be_a_class(self):
        document = read_configuration("collected").model_dump(exclude_unset=True)
        document["trials"]["classes"]["rest"] = ("rest",)
        cues = self.CUES.model_copy(update={"cue_s": 4.0, "rest_s": (3.0, 4.0)})
        settings, _ = adapted(TrainingConfiguration.model_validate(document), Path("s.npz"), cues)
        assert settings.class_names == ("left", "right", "rest") and settings.trials.tmax_s == 3.0

    @pytest.mark.parametrize(
        ("name", "cue_s", "told"),
        [("electrode-lfcnn", 3.0, "has no trials"), ("collected", 0.4, "cues or rests end after 0.4 s")],
    )
    def test_what_does_not_fit_the_cues_is_refused(self, name, cue_s, told):
        with pytest.raises(ConfigurationError, match=told):
            adapted(read_configuration(name), Path("s.npz"), self.CUES.model_copy(update={"cue_s": cue_s}))

    def test_it_is_refused_before_anybody_is_cued(self, tmp_path):
        code, output = run_rtdecode("collect", tmp_path / "s.npz", "--train", "nonsense")
        assert code == 2 and "No configuration 'nonsense'" in output and "stream" not in output

    def test_nothing_is_overwritten(self, tmp_path):
        (tmp_path / "m.pt").touch()
        with pytest.raises(ConfigurationError, match=r"m\.pt exists already"):
            Trainer("collected", tmp_path / "s.npz", tmp_path / "m.onnx", self.CUES)

    @pytest.mark.parametrize(("low", "above"), [(0.51, True), (0.5, False)])
    def test_a_score_at_chance_is_called_so(self, low, above):
        told = verdict(Figure("accuracy", 0.7, low, 0.8, 0.5, 40), 5)
        assert ("NOT above chance" in told) is not above and "0.700 [0.5" in told and "5 blocks" in told

    @pytest.mark.slow
    def test_a_session_becomes_a_decoder_that_says_how_good_it_is(self, path, capsys):
        """Of noise: it is at chance, and says so."""
        cues = CueSettings(**{**CUES, "trials": 5, "cue_s": 2.0})
        session = Session(Script().play(40), path, cues=cues).run()
        model = path.with_name("m.onnx")
        Trainer("collected", path, model, cues).train(session.collected.stream.name)
        told = capsys.readouterr().out
        assert "NOT above chance" in told and f"rtdecode run --model {model} --stream amplifier" in told
        (score,) = read_model(model).contract.provenance.scores
        assert score.n == 10 and f"{score.value:.3f} [{score.low:.3f}" in told
        assert read_checkpoint(model.with_suffix(".pt")).contract.provenance.scores == (score,)
