"""The latency measurement: marks, stages, figures, verdict, certificate, and the command from end to end."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.commands import Commands
from rtdecode.decoder import Decoder
from rtdecode.errors import DeadlineError
from rtdecode.latency.certificate import certificate
from rtdecode.latency.hops import hop_ends
from rtdecode.latency.measure import Block, Measurement
from rtdecode.latency.report import report
from rtdecode.latency.stages import STAGES, ages_when_replaced, figures_ms, timing, verdict
from rtdecode.model_file import read_model
from rtdecode.tracer import TRACE_FIELDS
from tests.builders import build_contract, build_model, build_recording, build_signal
from tests.processes import run_rtdecode
from tests.scripted import Script
from tests.test_hygiene import slow_graph

SFREQ = 128.0
durations = st.floats(1e-6, 1.0)


def marks(stamp, transport, preprocessing, graph, policy, rest, publish, *, sample=7):
    """A row of a `trace` event, as the tracer tells it."""
    arrived = stamp + transport
    decoded = arrived + preprocessing + graph + policy + rest
    row = (sample, stamp, arrived, preprocessing, graph, policy, decoded, decoded + publish)
    assert len(row) == len(TRACE_FIELDS)
    return row


def steady(n, total_s=1e-3):
    """Stage times of n predictions that took a seventh of the total in each stage, with a chunk of 2."""
    part = total_s / 7
    rows = [marks(i / SFREQ, part, part, part, part, part, part, sample=2 * i + 1) for i in range(n)]
    return timing(rows, {row[1]: row[-1] + part for row in rows}, 2, SFREQ)


class TestStages:
    @given(st.lists(durations, min_size=7, max_size=7), st.integers(0, 1000), st.integers(1, 64))
    def test_they_sum_to_the_total_whatever_they_are(self, parts, sample, chunk):
        *parts, reception = parts
        waits = -(sample + 1) % chunk / SFREQ
        row = marks(1000.0, waits + parts[0], *parts[1:], sample=sample)
        told = timing([row], {1000.0: row[-1] + reception}, chunk, SFREQ)
        assert told.sums_up.all()
        assert sum(v[0] for v in told.stages.values()) == pytest.approx(told.total[0], abs=1e-9)
        expected = [waits, parts[0], parts[4], *parts[1:4], parts[5], reception]
        assert [v[0] for v in told.stages.values()] == pytest.approx(expected, abs=1e-9)

    def test_they_are_told_in_the_order_of_the_list(self):
        assert list(steady(3).stages) == [stage.name for stage in STAGES]

    def test_what_was_not_received_is_left_out(self):
        rows = [marks(float(i), 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3) for i in range(3)]
        assert timing(rows, {0.0: 0.1, 2.0: 2.1}, 1, SFREQ).timestamps.tolist() == [0.0, 2.0]

    def test_marks_of_another_prediction_do_not_sum_up(self):
        sound, other = (marks(stamp, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3) for stamp in (1.0, 1.5))
        mixed = (*sound[:2], *other[2:7], sound[7])
        told = timing([sound, mixed], {1.0: sound[-1] + 1e-3}, 1, SFREQ)
        assert told.sums_up.tolist() == [True, False]

    def test_a_wrong_chunk_is_found_out(self):
        row = marks(1.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, sample=0)
        assert not timing([row], {1.0: 1.01}, 8, SFREQ).sums_up.any()

    def test_a_listener_that_is_faster_than_push_leaves_no_stage_below_zero(self):
        row = marks(1.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 5e-3)
        told = timing([row], {1.0: row[-1] - 2e-3}, 1, SFREQ)
        assert told.stages["publish"][0] == pytest.approx(3e-3) and told.stages["reception"][0] == 0.0
        assert told.sums_up.all()


class TestFigures:
    def test_they_are_those_of_a_known_sample(self):
        found = figures_ms(np.arange(1, 101) / 1e3)
        assert found["p50"] == 50 and found["p95"] == 95 and found["p99"] == 99 and found["max"] == 100
        assert found["mean"] == pytest.approx(50.5) and found["p99-p50"] == 49
        assert found["sd"] == pytest.approx(np.sqrt((100**2 - 1) / 12))

    @given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=300), st.floats(1e-3, 1e4))
    def test_a_budget_is_met_exactly_when_99_of_100_are_within_it(self, total, budget_ms):
        judged = verdict(np.array(total), budget_ms)
        assert judged.met == (judged.p99_ms <= budget_ms)

    def test_what_was_never_received_is_late(self):
        in_time = np.full(99, 1e-3)
        assert verdict(in_time, 20.0, n_missing=1).met and not verdict(in_time, 20.0, n_missing=2).met

    def test_what_a_consumer_holds_ages_until_the_next_one_comes(self):
        stamps, received = np.array([0.0, 1.0, 2.0]), np.array([0.1, 1.3, 2.2])
        assert ages_when_replaced(stamps, received).tolist() == [1.3, 1.2000000000000002]


def test_the_echo_answers_the_samples_that_the_decoder_answers(model_path):
    recording, decoder = build_recording(), Decoder(read_model(model_path))
    ends = hop_ends(decoder, 20)
    predictions = decoder.push(recording.samples, recording.timestamps)
    assert ends == [p.sample + 1 for p in predictions if p.reason is None][:20]


class TestTracer:
    @pytest.fixture
    def model(self, model_path):
        return read_model(model_path)

    def test_every_prediction_is_told_once_with_its_marks_in_order(self, model):
        record = Script().play(8.0).run(model, trace=True)
        rows = [row for told in record.of("trace") for row in told["rows"]]
        assert all(told["fields"] == list(TRACE_FIELDS) for told in record.of("trace"))
        assert [(r[0], r[1]) for r in rows] == [(p.sample, stamp) for _, stamp, p in record.decided]
        assert all(r[1] <= r[2] <= r[6] <= r[7] for r in rows) and len(rows) > 50

    def test_it_is_told_once_a_second_and_at_the_end(self, model):
        record = Script().play(8.0).run(model, trace=True)
        assert 2 < len(record.of("trace")) <= 9

    def test_a_source_that_comes_back_is_traced_anew(self, model):
        record = Script().play(5.0).lost().back().play(5.0).run(model, trace=True)
        rows = [row for told in record.of("trace") for row in told["rows"]]
        assert len(rows) == len(record.decided)

    def test_without_it_nothing_is_told_and_the_same_is_published(self, model):
        plain, traced = (Script().play(8.0).run(model, trace=trace) for trace in (False, True))
        assert not plain.of("trace")
        assert all(a[2].same_as(b[2]) for a, b in zip(plain.rows, traced.rows, strict=True))


class Page(HTMLParser):
    """Reads a page strictly: every element that is opened is closed, in order."""

    EMPTY = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.found = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


class TestCertificate:
    @pytest.fixture
    def make(self, model_path):
        def make(total_s=1e-3, budget_ms=None, n=200, **asked):
            told = steady(n, total_s)
            block = Block(told, told.timestamps, told.total / 2, 0, 0)
            return report(Decoder(read_model(model_path)), [block, block], asked, 2, budget_ms)

        return make

    @pytest.mark.parametrize(
        ("total_s", "budget_ms", "word"), [(1e-3, 20.0, "20 ms met"), (0.05, 20.0, "20 ms missed"), (1e-3, None, "")]
    )
    def test_it_is_well_formed_and_says_the_verdict(self, make, total_s, budget_ms, word):
        page = Page(certificate(make(total_s, budget_ms)))
        assert word in page.text
        assert ("met" in page.text.split() or "missed" in page.text.split()) == (budget_ms is not None)
        assert [tag for tag, _ in page.found].count("svg") == 3

    def test_it_tells_every_stage_the_machine_and_the_decoder(self, make):
        made = make(source="noise")
        page = Page(certificate(made))
        for told in [s.name for s in STAGES] + [
            made.model["sha256"],
            made.machine["processor"],
            "noise",
            "2.00 times",
        ]:
            assert told in page.text

    def test_it_needs_nothing_but_itself(self, make):
        text = certificate(make())
        for outside in ("://", "url(", "@import", " src=", " href=", "<script"):
            assert outside not in text

    def test_names_are_text_and_not_markup(self, make):
        page = Page(certificate(make(source="<script>alert(1)</script>")))
        assert "<script>alert(1)</script>" in page.text and "script" not in [tag for tag, _ in page.found]

    def test_a_single_prediction_can_be_drawn(self, make):
        Page(certificate(make(n=1)))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One short measurement: (exit code, output, the JSON, the page)."""
    folder = tmp_path_factory.mktemp("latency")
    build_model(folder / "m.onnx")
    build_recording(1500).save(folder / "r.npz")
    code, output = run_rtdecode(
        "latency", "--model", folder / "m.onnx", "--recording", folder / "r.npz", "--seconds", 1, "--chunk", 8,
        "--budget-ms", 10_000, "--output", folder / "c.html", "--json", folder / "c.json",
    )  # fmt: skip
    assert code == 0, output
    return output, json.loads((folder / "c.json").read_text()), (folder / "c.html").read_text(encoding="utf-8")


class TestCommand:
    def test_stages_sum_to_the_total_of_every_prediction(self, measured):
        _, told, _ = measured
        columns = told["predictions_s"]
        stages, total = np.array([columns[stage.name] for stage in STAGES]), np.array(columns["total"])
        assert len(total) == told["received"] > 5 and len(told["echo_s"]) > 5
        assert (np.abs(stages.sum(axis=0) - total) <= np.maximum(0.05 * total, 20e-6)).all()
        assert (stages > -20e-6).all() and told["summed_up"] == told["received"]

    def test_it_says_what_it_found(self, measured):
        output, told, page = measured
        assert told["verdict"]["met"] and "times the bare echo" in output
        assert "10000 ms met" in Page(page).text and "recording r.npz" in Page(page).text

    @pytest.mark.slow
    def test_a_slow_model_misses_its_budget(self, tmp_path):
        contract = build_contract(build_signal(1, 100.0), [], n_times=1, hop=10)
        path = build_model(tmp_path / "slow.onnx", contract, slow_graph(500))
        page = tmp_path / "slow.html"
        code, output = run_rtdecode(
            "latency", "--model", path, "--seconds", 1, "--chunk", 10, "--budget-ms", 1, "--output", page
        )
        assert code == 6, output
        assert "The budget of 1 ms is missed" in output
        assert "1 ms missed" in Page(page.read_text(encoding="utf-8")).text

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (("--recording", "r.npz", "--stream", "x"), 2, "Give --recording or --stream"),
            (("--output", "certificate.pdf"), 2, "its name must end in .html"),
            (("--json", "figures.txt"), 2, "its name must end in .json"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_measured(self, model_path, arguments, code, told):
        got, output = run_rtdecode("latency", "--model", model_path, *arguments)
        assert got == code and told in output

    def test_a_stream_that_is_not_there_is_told(self, model_path, tmp_path):
        code, output = run_rtdecode(
            "latency", "--model", model_path, "--stream", "gone", "--output", tmp_path / "c.html"
        )
        assert code == 5 and "No stream 'gone'" in output

    def test_a_recording_too_short_for_a_prediction_is_refused(self, model_path, tmp_path):
        build_recording(100).save(tmp_path / "r.npz")
        code, output = run_rtdecode(
            "latency", "--model", model_path, "--recording", tmp_path / "r.npz", "--output", tmp_path / "c.html"
        )
        assert code == 4 and "for its first prediction" in output


class TestWhatProcessesSay:
    @pytest.fixture(autouse=True)
    def windows(self, monkeypatch):
        """A redirected output has the code page of the console."""
        monkeypatch.setenv("PYTHONIOENCODING", "cp1252")

    def test_a_name_that_the_console_writes_in_its_own_way_is_told(self, tmp_path):
        model = read_model(build_model(tmp_path / "größe.onnx"))
        measurement = Measurement(Decoder(model), build_recording(600), 8, tmp_path)
        (tmp_path / "größe.onnx").unlink()
        with pytest.raises(DeadlineError, match=r"größe\.onnx"):
            list(measurement.blocks(0.1))

    def test_all_commands_write_one_log_and_what_is_no_text_ends_nothing(self, tmp_path):
        (tmp_path / "said.log").write_bytes(b"said by others before")
        commands = Commands(tmp_path / "said.log")
        for name in ("erst-größer.onnx", "dann-kürzer.onnx"):
            with commands.running() as start:
                assert start("inspect", str(tmp_path / name)).wait(60) == 3
        with (tmp_path / "said.log").open("ab") as log:
            log.write(b"liblsl: Gr\xf6\xdfe\n")
        first, second, third = commands.said()
        assert "erst-größer.onnx" in first and "dann-kürzer.onnx" in second and third.startswith("liblsl: Gr")

    def test_a_command_ends_with_the_block_that_started_it(self, tmp_path):
        with Commands(tmp_path / "said.log").running() as start:
            process = start("listen", "nobody", "--wait", "100")
            assert process.poll() is None
        assert process.poll() is not None
