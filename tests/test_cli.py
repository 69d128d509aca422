"""The command line: exit codes, messages, what is loaded when."""

import subprocess
import sys

import numpy as np
import pytest

import rtdecode
from rtdecode.contract import Calibration, Policy
from tests.builders import build_contract, build_model, build_recording, build_signal
from tests.processes import run_rtdecode

COMMANDS = [
    "train",
    "adapt",
    "export",
    "config",
    "models",
    "store",
    "runs",
    "tune",
    "inspect",
    "verify",
    "replay",
    "evaluate",
    "streams",
    "collect",
    "run",
    "play",
    "listen",
    "demo",
    "doctor",
    "bench",
    "latency",
]


def python(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120)


def refused(*arguments, code):
    got, output = run_rtdecode(*arguments)
    assert "Traceback" not in output
    assert got == code, output
    return output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(called, command):
    code, output = called(command, "--help")
    assert code == 0 and "Usage: " in output and f"rtdecode {command} " in output


def test_inspect_shows_what_a_person_wants_to_know(model_path):
    code, output = run_rtdecode("inspect", model_path)
    assert code == 0
    for word in ("E0 E1 E2 E3", "4 eeg (uV) at 128 Hz", "left | right", "average reference", "group delay", "median"):
        assert word in output


def test_inspect_tells_the_policy_and_the_calibration(tmp_path):
    calibration = Calibration(temperature=0.5, nll_before=0.7, nll_after=0.6, n_trials=20)
    contract = build_contract(policy=Policy(threshold=0.9), calibration=calibration)
    _, output = run_rtdecode("inspect", build_model(tmp_path / "m.onnx", contract))
    told = " ".join(output.split())
    assert Policy(threshold=0.9).told() in told and "temperature 0.50; NLL 0.700 before, 0.600 after" in told


def test_verify_proves_a_sound_decoder(model_path, recording_path):
    code, output = run_rtdecode("verify", model_path, recording_path)
    assert code == 0 and "identical" in output


def test_verify_refuses_to_prove_nothing(model_path, tmp_path):
    build_recording(20).save(tmp_path / "short.npz")
    assert "Nothing is proven" in refused("verify", model_path, tmp_path / "short.npz", code=3)


def test_verify_finds_a_decoder_that_depends_on_chunking(model_path, recording_path, tmp_path, monkeypatch):
    """A clamp that looks at its whole chunk: the defect that `verify` is there to find."""
    # In every Python started from here: `verify` does its work in a process of its own.
    (tmp_path / "sitecustomize.py").write_text(
        "from rtdecode.preprocessing import Clamp\n"
        "Clamp.process = lambda self, samples, state: samples - samples.mean(axis=0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "depends on chunking" in refused("verify", model_path, recording_path, code=3)


def test_replay_writes_and_scores(called, model_path, recording_path, tmp_path):
    code, output = called("replay", recording_path, "--model", model_path, "-o", tmp_path / "p.csv")
    assert code == 0 and "accuracy over trials" in output and "chance" in output
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "timestamp,sample,label,reason,decision,proba_left,proba_right"
    decoder = rtdecode.load(model_path)
    recording = build_recording()
    expected = decoder.push(recording.samples, recording.timestamps)
    assert len(lines) == 1 + len(expected)
    last = lines[-1].split(",")
    assert float(last[0]) == expected[-1].timestamp and int(last[1]) == expected[-1].sample
    assert last[4] == last[2] == decoder.output_names[expected[-1].decision]
    assert np.array([float(v) for v in last[5:]], np.float32).tobytes() == expected[-1].proba.tobytes()


def test_replay_can_begin_later(called, model_path, recording_path, tmp_path):
    code, _ = called("replay", recording_path, "--model", model_path, "--start", 300, "-o", tmp_path / "p.npz")
    assert code == 0
    recording = build_recording()
    expected = rtdecode.load(model_path).push(recording.samples[300:], recording.timestamps[300:])
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["prediction_timestamps"].tolist() == [p.timestamp for p in expected]
        decided = [-1 if p.decision is None else p.decision for p in expected]
        assert arrays["prediction_decisions"].tolist() == decided and max(decided) >= 0


def test_models_tells_what_each_network_costs_and_why_one_does_not_fit(called):
    shape = ("--channels", 3, "--times", 60, "--outputs", 2, "--sfreq", 100)
    code, output = called("models", "lfcnn", "deep4", *shape)
    assert code == 0, output
    lfcnn = next(line for line in output.splitlines() if line.strip().startswith("lfcnn")).split()
    assert lfcnn[1:3] == ["3", "2,306"] and 0 < float(lfcnn[-2]) <= float(lfcnn[-1])
    assert "deep4: Network 'deep4' cannot be built: a window of 60 samples is too short" in output


def test_config_prints_what_train_reads(called, tmp_path):
    code, listed = called("config")
    assert code == 0 and "eegmmidb-lfcnn" in listed.split()
    code, text = called("config", "eegmmidb-lfcnn")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    assert code == 0
    told = refused("train", tmp_path / "mine.yaml", "--data", tmp_path, code=2)
    assert "no file matches" in told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "--model", "gone.onnx"], 3, "gone.onnx does not exist"),
        (["run", "--model", "{recording}"], 3, "not an ONNX file"),
        (["run", "--model", "{model}", "--marker-format", "xml"], 2, "marker_format"),
        (["run", "--model", "{model}", "--duration", "-3"], 2, "duration_s"),
        (["run", "--model", "{model}", "--config", "gone.yaml"], 2, "gone.yaml does not exist"),
        (["run", "--model", "{model}", "--config", "{typo}"], 2, "did you mean 'gap_tolerance_ms'"),
        (["run", "--model", "{model}", "--log", "log.txt"], 2, ".jsonl"),
        (["run", "--model", "{model}", "--max-age", "0"], 2, "max_age_s"),
        (["run", "--model", "{model}", "--wait", "inf"], 2, "wait_s: Input should be a finite number"),
        (["run"], 2, "--model"),
        (["inspect", "gone.onnx"], 3, "does not exist"),
        (["verify", "{model}", "gone.fif"], 4, "gone.fif does not exist"),
        (["verify", "{model}", "{other}"], 4, "lacks 1 of the 4"),
        (["replay", "gone.fif", "--model", "{model}"], 4, "gone.fif does not exist"),
        (["replay", "{slow}", "--model", "{model}"], 4, "runs at 64 Hz"),
        (["replay", "{recording}", "--model", "{model}", "-o", "p.txt"], 2, ".csv or .npz"),
        (["replay", "{recording}", "--model", "{model}", "--start", "99999"], 4, "1500 samples; none at 99999"),
        (["play", "gone.fif"], 4, "gone.fif does not exist"),
        (["play", "{recording}", "--wait", "-1"], 2, "wait_s"),
        (["train", "gone"], 2, "neither a file"),
        (["train", "eegmmidb-lfcnn"], 2, "Give --data DIR, or set RTDECODE_DATA"),
        (["train", "eegmmidb-lfcnn", "--data", "gone"], 2, "gone does not exist"),
        (["train", "demo", "--jobs", "2", "--dask", "tcp://localhost:1"], 2, "--jobs and --dask"),
        (["tune", "{model}", "gone.fif"], 4, "gone.fif does not exist"),
        (["evaluate", "{model}", "gone.fif"], 4, "gone.fif does not exist"),
        (["evaluate", "{model}", "{recording}", "-o", "e.pdf"], 2, "must end in .html"),
        (["tune", "{model}", "{recording}", "--rest", "idle"], 2, "--rest: the policy speaks of idle"),
        (["export", "gone.pt", "-o", "m.onnx"], 3, "gone.pt does not exist"),
        (["config", "gone"], 2, "No shipped configuration 'gone'"),
        (["dance"], 2, "No such command 'dance'"),
    ],
)
def test_bad_input_gets_one_sentence_and_its_exit_code(
    tmp_path, monkeypatch, called, model_path, recording_path, arguments, code, told
):
    monkeypatch.delenv("RTDECODE_DATA", raising=False)
    places = {"model": model_path, "recording": recording_path}
    for name, source in {"other": build_signal(3), "slow": build_signal(4, 64.0)}.items():
        places[name] = tmp_path / f"{name}.npz"
        build_recording(300, source).save(places[name])
    places["typo"] = tmp_path / "typo.yaml"
    places["typo"].write_text("guard: {gap_tolerance: 3}\n")
    # An outlet that was made before the refusal is gone with its process.
    call = run_rtdecode if arguments[0] in ("run", "play") else called
    got, output = call(*(a.format(**places) for a in arguments))
    assert got == code and "Traceback" not in output, output
    assert told in " ".join(output.replace("│", " ").split())


LATE = ("torch", "mne", "sklearn", "skorch", "matplotlib", "offline", "pyxdf", "joblib")


@pytest.mark.parametrize(
    "code",
    ["import rtdecode", "import sys; sys.argv = ['rtdecode', 'run', '--help']; from rtdecode.cli import app; "
     "app(standalone_mode=False)"],
)  # fmt: skip
def test_what_is_slow_is_loaded_late(code):
    done = python(f"{code}\nimport sys\nprint('LOADED', *(m for m in {LATE!r} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_running_a_decoder_loads_no_trainer(model_path):
    code = f"""
import numpy as np, rtdecode, rtdecode.runner, sys
rtdecode.load({str(model_path)!r}).push(np.zeros((50, 4)), np.arange(50) / 128)
print("LOADED", *(m for m in {LATE!r} if m in sys.modules))
"""
    assert python(code).stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    ("modules", "late"),
    [
        ("offline.commands, offline.comparison", ("onnx_ir", "onnxscript", "onnxruntime", "matplotlib", "mne")),
        ("offline.catalogue", ("torch", "sklearn", "skorch", "mne")),
    ],
    ids=["train", "runs"],
)
def test_commands_load_what_they_need_only(modules, late):
    done = python(f"import {modules}, sys\nprint('LOADED', *(m for m in {late!r} if m in sys.modules))")
    assert done.stdout.splitlines() == ["LOADED"], done.stderr


def without(*modules):
    """Code that makes modules look as if they were not installed."""
    return f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("missing", ["torch", "skorch", pytest.param("sklearn", marks=pytest.mark.slow)])
def test_training_without_its_extra_says_what_to_install(tmp_path, missing):
    code = without(missing) + (
        f"sys.argv = ['rtdecode', 'train', 'demo', '--data', {str(tmp_path)!r}]\n"
        "from rtdecode.cli import main\nmain()"
    )
    done = python(code)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert missing in done.stderr and "pip install 'rtdecode[offline,cpu]'" in done.stderr


def test_decoding_without_onnx_runtime_says_what_to_install(model_path):
    code = without("onnxruntime") + (
        f"sys.argv = ['rtdecode', 'run', '--model', {str(model_path)!r}]\nfrom rtdecode.cli import main\nmain()"
    )
    done = python(code)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip install 'rtdecode[cpu]'" in done.stderr


NO_LSL = {
    "RuntimeError('LSL binary library file was not found. Please make sure\\n (that) it is.\\n conda')": (
        "liblsl (LSL binary library file was not found): conda install -c conda-forge liblsl, or set PYLSL_LIB"
    ),
    "OSError('liblsl.so: wrong ELF class')": "liblsl (liblsl.so: wrong ELF class): conda install",
    "ImportError('No module of that name')": "(No module of that name): pip install --force-reinstall pylsl",
}


@pytest.fixture(params=NO_LSL)
def without_lsl(tmp_path, monkeypatch, request):
    """A pylsl that cannot be imported: what is to be told of it."""
    (tmp_path / "pylsl.py").write_text(f"raise {request.param}\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return NO_LSL[request.param]


@pytest.mark.parametrize("without_lsl", list(NO_LSL)[:1], indirect=True)
@pytest.mark.parametrize(
    "arguments",
    [("run", "--model", "model.onnx"), ("play", "recording.npz"), ("collect",), ("listen", "decoder")],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_lsl_says_in_a_sentence_that_it_is_not_there(
    without_lsl, arguments, model_path, recording_path, monkeypatch
):
    monkeypatch.chdir(model_path.parent)
    assert without_lsl in refused(*arguments, code=2)


def test_why_there_is_no_lsl_is_told_with_what_to_install(without_lsl):
    output = refused("streams", code=2)
    assert without_lsl in output and len(output.splitlines()) == 1


def test_the_doctor_tells_why_there_is_no_lsl(without_lsl):
    output = refused("doctor", code=5)
    assert without_lsl in output and "STOP liblsl" in output


def test_another_module_called_offline_is_told(tmp_path):
    (tmp_path / "offline.py").write_text("")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.argv = ["rtdecode", "train", "demo"]
from rtdecode.cli import main
main()
"""
    done = python(code)
    assert done.returncode == 2 and "hides rtdecode's" in done.stderr and "Traceback" not in done.stderr


def test_everything_public_is_there():
    assert sorted(rtdecode.__all__) == rtdecode.__all__
    for name in rtdecode.__all__:
        assert getattr(rtdecode, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = rtdecode.nothing


POSIX = ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "readline")


def test_imports_and_help_work_without_posix_modules():
    """As far as another system can be imitated here; on Windows itself nothing was run."""
    code = (
        "import subprocess, multiprocessing, asyncio, tempfile, uuid, numpy, pydantic, typer, rich.console\n"
        + without(*POSIX)
        + """
import platform, os, importlib, pkgutil, rtdecode
for name in [*sys.modules]:
    if name in ("fcntl", "resource", "termios", "pwd", "grp"):
        del sys.modules[name]
for module in pkgutil.walk_packages(rtdecode.__path__, "rtdecode."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from rtdecode.cli import app
app(["run", "--help"], standalone_mode=False)
"""
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
