"""What `rtdecode doctor` makes of stamps, times and files; and once of a real stream."""

import os
import sys
import time

import numpy as np
import pytest

from rtdecode.doctor import (
    examine_machine,
    interruptions,
    judge_configuration,
    judge_hop,
    judge_stamps,
    lsl_configuration,
    read_governors,
    stream_figures,
)
from tests.builders import build_recording
from tests.processes import rtdecode, run_rtdecode

SFREQ = 250.0
STAMPS = 1000.0 + np.arange(2500) / SFREQ


def advice(stamps, sfreq=SFREQ):
    findings = judge_stamps("eeg", stream_figures(stamps, sfreq), sfreq)
    return {f.subject.partition(", ")[2]: f.advice for f in findings if f.advice}


def test_a_regular_stream_needs_no_advice():
    figures = stream_figures(STAMPS, SFREQ)
    assert figures.sfreq == pytest.approx(SFREQ) and figures.jitter_s < 1e-9 and figures.worst_step_s < 1e-9
    assert (figures.n_samples, figures.n_lost, figures.n_backward, figures.n_bad) == (2500, 0, 0, 0)
    assert not advice(STAMPS)


def test_lost_samples_are_counted():
    lossy = np.delete(STAMPS, np.s_[700:712])
    figures = stream_figures(lossy, SFREQ)
    assert figures.n_lost == 12 and figures.worst_step_s == pytest.approx(12 / SFREQ)
    assert "Samples are lost" in advice(lossy)["count"]


def test_another_rate_than_the_declared_one_is_told():
    stamps = np.arange(2500) / 252.0
    assert stream_figures(stamps, SFREQ).sfreq == pytest.approx(252.0)
    assert "declares" in advice(stamps)["rate"]


def test_jitter_is_measured_and_is_no_loss():
    stamps = STAMPS + np.random.default_rng(0).normal(0, 3e-3, len(STAMPS))
    stamps[[0, -1]] = STAMPS[[0, -1]]
    assert stream_figures(stamps, SFREQ).jitter_s == pytest.approx(3e-3, rel=0.1)
    told = advice(stamps)
    assert list(told) == ["stamps"] and "--gap-tolerance-ms" in told["stamps"]


def packets(rng, lost=(), *, sfreq=256.0, size=12, jitter_s=8e-3, slower=0.0, n=1280):
    """Stamps of a source of packets, stamped as they arrive; its crystal is `slower`, and `lost` are left out."""
    count = np.arange(n)
    last = np.minimum((count // size + 1) * size - 1, n - 1)
    arrived = last * (1 + slower) / sfreq + rng.normal(0, jitter_s, n)[count // size]
    return np.delete(1000.0 + arrived - (last - count) / sfreq, lost)


@pytest.mark.parametrize("slower", [1e-3, -1e-3, 8e-3, -8e-3])
def test_a_crystal_that_is_off_loses_nothing(slower):
    stamps = packets(np.random.default_rng(0), sfreq=2048.0, size=1, jitter_s=0, slower=slower, n=5 * 2048)
    assert stream_figures(stamps, 2048.0).n_lost == 0 and "count" not in advice(stamps, 2048.0)


@pytest.mark.parametrize("n_lost", [1, 2, 12])
@pytest.mark.parametrize("at", [2, 5000, 10200])
def test_what_is_lost_is_counted_exactly_though_the_crystal_is_off(at, n_lost):
    lost = np.arange(at, at + n_lost)
    stamps = packets(np.random.default_rng(0), lost, sfreq=2048.0, size=1, jitter_s=0, slower=1e-3, n=5 * 2048)
    assert stream_figures(stamps, 2048.0).n_lost == n_lost and "lost" in advice(stamps, 2048.0)["count"]


def test_many_single_losses_are_counted_exactly():
    lost = np.random.default_rng(0).choice(np.arange(2, 1278), 60, replace=False)
    stamps = packets(np.random.default_rng(1), lost, size=1, jitter_s=1e-4, slower=1e-3)
    assert stream_figures(stamps, 256.0).n_lost == 60


@pytest.mark.parametrize("size", [1, 4, 12, 32])
@pytest.mark.parametrize("jitter_s", [2e-3, 8e-3])
def test_packets_that_arrive_unevenly_lose_nothing_and_need_a_tolerance(size, jitter_s):
    for seed in range(100):
        stamps = packets(np.random.default_rng(seed), size=size, jitter_s=jitter_s)
        assert stream_figures(stamps, 256.0).n_lost == 0, seed
    told = advice(stamps, 256.0)
    assert "count" not in told and "--gap-tolerance-ms" in told["stamps"]


@pytest.mark.parametrize("n_packets", [1, 3])
def test_lost_packets_are_told_among_packets_that_arrive_unevenly(n_packets):
    for seed in range(100):
        rng = np.random.default_rng(seed)
        first = 12 * rng.choice(np.arange(3, 100), n_packets, replace=False)
        lost = (first[:, None] + np.arange(12)).ravel()
        n_lost = stream_figures(packets(rng, lost, slower=1e-3), 256.0).n_lost
        assert abs(n_lost - len(lost)) <= 6, seed


def test_few_lost_samples_are_told_among_stamps_that_jitter():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        at = rng.integers(60, 1200)
        assert stream_figures(packets(rng, np.arange(at, at + 5), size=1, jitter_s=2e-3), 256.0).n_lost == 5, seed


def test_another_rate_and_repeated_stamps_are_no_losses():
    every = STAMPS[::2]
    assert stream_figures(every, SFREQ).n_lost == 0 and "declares" in advice(every)["rate"]
    repeated = STAMPS[np.arange(2500) // 12 * 12]
    assert stream_figures(repeated, SFREQ).n_lost == 0


def test_a_link_that_comes_back_with_all_it_held_has_lost_nothing():
    stamps = STAMPS.copy()
    stamps[1000:1200] = np.maximum(stamps[1000:1200], stamps[1200])
    assert stream_figures(stamps, SFREQ).n_lost == 0


def test_stamps_that_go_back_or_are_no_numbers_are_counted():
    stamps = STAMPS.copy()
    stamps[100] = np.nan
    stamps[200] -= 1.0
    figures = stream_figures(stamps, SFREQ)
    assert (figures.n_backward, figures.n_bad, figures.n_lost) == (1, 1, 0)


@pytest.mark.parametrize("stamps", [np.empty(0), np.full(9, np.nan), np.zeros(9)])
def test_where_no_rate_can_be_told_none_is(stamps):
    assert "no rate can be told" in str(next(judge_stamps("eeg", stream_figures(stamps, SFREQ), SFREQ)))


@pytest.mark.parametrize(("took_s", "mark", "code"), [(0.01, "ok", 0), (0.06, "look", 0), (0.2, "STOP", 3)])
def test_a_hop_is_compared_with_the_time_there_is_for_it(took_s, mark, code):
    finding = judge_hop("m.onnx", np.full(50, took_s), 0.1)
    assert finding.exit_code == code and str(finding).split()[0] == mark


def test_the_first_configuration_file_that_is_there_applies(tmp_path):
    here, home = tmp_path / "here", tmp_path / "home"
    last = [tmp_path / "etc" / "lsl_api" / "lsl_api.cfg", home / "lsl_api" / "lsl_api.cfg", here / "lsl_api.cfg"]
    assert lsl_configuration({}, here, home, tmp_path) is None
    for path in last:
        path.parent.mkdir(parents=True)
        path.touch()
        assert lsl_configuration({"LSLAPICFG": str(tmp_path / "gone.cfg")}, here, home, tmp_path) == path
    (tmp_path / "mine.cfg").touch()
    assert lsl_configuration({"LSLAPICFG": str(tmp_path / "mine.cfg")}, here, home, tmp_path) == tmp_path / "mine.cfg"


def test_what_a_configuration_hides_is_told(tmp_path):
    path = tmp_path / "lsl_api.cfg"
    path.write_text("[multicast]\nResolveScope = machine ; only here\n[lab]\nSessionID = mine\n", encoding="utf-8")
    scope, peers, session = judge_configuration(path)
    assert "other computers are not found" in scope.advice
    assert "multicast only" in peers.text and "mine" in session.text
    path.write_text("ResolveScope = machine\n", encoding="utf-8")
    assert "is not understood" in next(judge_configuration(path)).text


def test_governors_are_read_where_the_system_tells_them(tmp_path):
    assert read_governors(tmp_path) == set()
    for number, governor in enumerate(("powersave", "performance")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n", encoding="ascii")
    assert read_governors(tmp_path) == {"powersave", "performance"}


def test_a_system_without_posix_calls_is_examined_too(monkeypatch):
    for name in ("sched_getscheduler", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setitem(sys.modules, "resource", None)
    subjects = {f.subject for f in examine_machine()}
    assert {"system", "cores", "timer", "held up"} <= subjects and "scheduling" not in subjects


def test_whenever_busy_work_was_held_up_it_is_found(monkeypatch):
    ticks = iter([0.0, 0.00005, 0.01205, 0.0121, 0.4121, 0.6121])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert interruptions(0.5) == pytest.approx([0.012, 0.4, 0.2])


def test_without_a_stream_it_says_so_and_succeeds(model_path):
    code, output = run_rtdecode("doctor", "--model", model_path, "--wait", "0.2")
    assert code == 0, output
    for told in (
        "liblsl",
        "CPUExecutionProvider",
        "(--device may be cpu",
        "a hop takes",
        "none answered",
        "firewall",
        os.environ["LSLAPICFG"],
    ):
        assert told in output


@pytest.mark.parametrize(("arguments", "code"), [(("--stream", "gone"), 5), (("--model", "gone.onnx"), 3)])
def test_what_makes_running_impossible_is_in_the_exit_code(arguments, code):
    got, output = run_rtdecode("doctor", "--wait", "0.2", *arguments)
    assert got == code and "STOP" in output and "gone" in output and "Traceback" not in output


@pytest.mark.parametrize("speed", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_stream_that_loses_samples_is_found_out(tmp_path, names, model_path, eventually, speed):
    build_recording(700).save(tmp_path / "r.npz")
    (tmp_path / "f.yaml").write_text("faults: [{fault: drop, at_s: 1, n_samples: 40}]\n", encoding="utf-8")
    play = ("play", tmp_path / "r.npz", "--name", names[0], "--faults", tmp_path / "f.yaml", "--speed", speed)
    with rtdecode(*play) as player:
        eventually(lambda: player.saw("waiting for a consumer"), what="the outlet")
        with rtdecode("doctor", "--stream", names[0], "--seconds", 2, "--model", model_path, "--wait", 1) as doctor:
            assert doctor.wait() == 0, doctor.output
    assert doctor.saw(", 40 missing") and doctor.saw("Samples are lost")
    assert doctor.saw(f"declared {128 * speed}") and doctor.saw("a replay, 2 times as fast") == (speed == 2)
    assert doctor.saw("fits model.onnx") and doctor.saw("clock: this machine's")
