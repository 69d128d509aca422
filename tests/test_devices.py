"""What a graph is run on: what is asked of ONNX Runtime, told and refused. CUDA itself: test_engine with -m gpu."""

import json
import math
import warnings

import numpy as np
import pytest

from rtdecode.audit import Verdict
from rtdecode.cli.device import device_settings
from rtdecode.decoder import Decoder
from rtdecode.device import DeviceSettings
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from rtdecode.model_file import read_model
from rtdecode.pace import Pace
from rtdecode.runtime import provider_options, runtime_devices
from rtdecode.warmth import Warmth
from tests.builders import build_model
from tests.processes import run_rtdecode
from tests.scripted import Script
from tests.test_audit import Recorded
from tests.test_runner import check_every_hop

CUDA = DeviceSettings(name="cuda")
without_cuda = pytest.mark.skipif("cuda" in runtime_devices(), reason="this ONNX Runtime was built with CUDA")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


class TestAsked:
    def test_cuda_is_asked_for_float32_recorded_runs_and_algorithms_that_stay(self):
        assert provider_options(CUDA) == {
            "use_tf32": "0", "enable_cuda_graph": "1", "cudnn_conv_algo_search": "HEURISTIC"
        }  # fmt: skip

    def test_tf32_is_allowed_when_asked_for(self):
        assert provider_options(DeviceSettings(name="cuda", tf32=True))["use_tf32"] == "1"

    def test_tf32_is_no_matter_of_the_cpu(self):
        with pytest.raises(ValueError, match="tf32 is a matter of cuda"):
            DeviceSettings(tf32=True)

    @pytest.mark.parametrize(
        ("settings", "idle_s"),
        [({}, math.inf), ({"name": "cuda"}, 0.05), ({"name": "cuda", "keep_warm_s": 0}, math.inf),
         ({"keep_warm_s": 0.1}, 0.1)],
    )  # fmt: skip
    def test_the_cpu_is_kept_warm_only_if_asked_for(self, settings, idle_s):
        assert DeviceSettings(**settings).idle_s == idle_s


class TestStrict:
    @without_cuda
    @pytest.mark.parametrize(
        "command",
        [
            ("run", "--model", "{model}"),
            ("replay", "{recording}", "--model", "{model}"),
            ("verify", "{model}", "{recording}"),
            ("bench", "{model}", "--no-lsl"),
        ],
        ids=lambda command: command[0],
    )
    def test_a_device_that_is_not_there_is_one_sentence_and_no_fallback(self, command, model_path, recording_path):
        places = {"model": model_path, "recording": recording_path}
        code, output = run_rtdecode(*(word.format(**places) for word in command), "--device", "cuda")
        assert code == 2 and "Traceback" not in output
        told = " ".join(output.split())
        assert "Device 'cuda' was asked for, but ONNX Runtime" in told and "has no CUDAExecutionProvider" in told
        assert "pip install 'rtdecode[gpu]'" in told

    @without_cuda
    def test_a_device_that_is_listed_but_does_nothing_is_refused_too(self, model, monkeypatch):
        # As where the driver or a library is missing: ONNX Runtime would leave the graph to the CPU, and print it.
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
        with warnings.catch_warnings(), pytest.raises(ConfigurationError, match=r"does not run all of .*model\.onnx"):
            warnings.simplefilter("ignore")
            Engine(model, CUDA)

    @without_cuda
    @pytest.mark.parametrize(
        ("options", "told"),
        [((), "device: tf32 is a matter of cuda"), (("--device", "cuda"), "has no CUDAExecutionProvider")],
        ids=["configuration", "and option"],
    )
    def test_a_configuration_and_options_are_taken_together(self, model_path, tmp_path, options, told):
        (tmp_path / "run.yaml").write_text("device: {tf32: true}\n", encoding="utf-8")
        code, output = run_rtdecode("run", "--model", model_path, "--config", tmp_path / "run.yaml", *options)
        assert code == 2 and told in " ".join(output.split())

    def test_another_word_is_refused(self):
        with pytest.raises(ConfigurationError, match=r"should be 'cpu' or 'cuda' \(got 'gpu'\)"):
            device_settings("gpu")


class TestTold:
    def test_the_start_tells_what_a_run_ran_on(self, model):
        (start,) = Script().play(4.0).run(model).of("start")
        assert start["settings"]["device"] == {"name": "cpu", "tf32": False, "keep_warm_s": None}

    def test_a_session_that_ran_on_cuda_is_compared_within_rounding(self, model, tmp_path):
        session = Recorded(model, Script().play(8.0))
        texts = session.status["values"]
        for i, document in enumerate(map(json.loads, texts)):
            if document["event"] == "start":
                document["settings"]["device"] = CUDA.model_dump()
                texts[i] = json.dumps(document)
        row = next(i for i, values in enumerate(session.proba["values"]) if np.isfinite(values).all())
        session.proba["values"][row][0] += np.float32(2e-6)
        (one,) = session.audit(tmp_path / "s.xdf")
        assert one.versions == {"device": ("cuda, TF32 off", "cpu")} and not one.wrong
        assert one.count("predictions")[Verdict.CLOSE] == 1


class TestKeptWarm:
    def warmth(self, model, keep_warm_s=0.05):
        self.now, self.ran, self.pace = 0.0, [], Pace(128.0)
        engine = Decoder(model, device=DeviceSettings(keep_warm_s=keep_warm_s)).engine
        engine.run_bare, engine.run_s = lambda: self.ran.append(self.now), 1e-3
        return Warmth(engine, self.pace, lambda: self.now)

    def test_it_is_time_when_nothing_was_run_for_so_long(self, model):
        warmth = self.warmth(model)
        warmth.used(1.0)
        assert warmth.left_s(1.02) == pytest.approx(0.03) and warmth.left_s(1.06) == 0

    def test_after_a_run_for_nothing_there_is_time_for_data(self, model):
        warmth = self.warmth(model)
        self.now = 1.0
        warmth.renew()
        assert self.ran == [1.0] and warmth.left_s(1.0) == pytest.approx(0.05)

    def test_data_that_are_due_come_first(self, model):
        warmth = self.warmth(model)
        for time in (0.0, 0.1, 0.2):
            self.pace.arrive(13, time)
        # They are due from 0.298 to 0.302.
        warmth.used(0.2479)
        assert warmth.left_s(0.2979) == pytest.approx(0.0041) and warmth.left_s(0.303) == 0

    def test_it_is_never_time_on_cpu(self, model):
        assert self.warmth(model, keep_warm_s=None).left_s(1e9) == math.inf

    def test_the_loop_runs_for_nothing_between_chunks_and_publishes_the_same(self, model, monkeypatch):
        script, ran = Script(64), []
        monkeypatch.setattr(Engine, "run_bare", lambda _: ran.append(script.world.now))
        record = script.play(6.0).stall(2.0).play(4.0).run(model, device={"keep_warm_s": 0.1})
        check_every_hop(model, script)
        (end,) = record.of("end")
        assert end["overruns"] == 0
        # Chunks are 0.5 s apart: four times or five between two.
        assert 4 * 20 <= len(ran) <= 5 * 24
