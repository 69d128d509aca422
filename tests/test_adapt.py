"""A decoder fitted further on a new recording."""

import shutil
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from offline.adaptation import adapt
from offline.checkpoint import read_checkpoint
from offline.export import export
from offline.simulation import simulate
from offline.workflow import train
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.preprocessing import Chain, read_steps
from rtdecode.recording import read_recording
from tests.test_training import configuration

CLOSED = {"network": "csp-lda", "settings": {}}
OWN = "nobodys_nets:Net"


def mirrored(recording):
    """The same subject with its cap the wrong way round: what was left is right."""
    names = recording.signal.ch_names
    swapped = [names.index(name.translate(str.maketrans("123456", "214365"))) for name in names]
    return replace(recording, samples=np.ascontiguousarray(recording.samples[:, swapped]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    simulate(48, 1).save(folder / "old.npz")
    mirrored(simulate(60, 2)).save(folder / "new.npz")
    return folder


def trained(folder, name, **changes):
    document = configuration(
        recordings={"pattern": "old.npz", "decoder_per": None},
        split={"kind": "stratified-blocks", "n_folds": 2},
        baseline=None,
        **changes,
    ).model_dump(mode="json")
    settings = type(configuration()).model_validate(document)
    run = train(settings, folder, folder / name, [], ["all"], 1, Console(file=StringIO()))
    return run.finals["all"]


@pytest.fixture(scope="module")
def network(folder):
    return trained(folder, "network")


@pytest.fixture(scope="module")
def closed(folder):
    return trained(
        folder, "closed", model=CLOSED, preprocessing=[{"step": "filter", "l_freq": 8, "h_freq": 30, "order": 4}]
    )


@pytest.fixture(scope="module")
def own(folder, network):
    """A checkpoint that speaks of a module that nobody has."""
    checkpoint = read_checkpoint(network)
    provenance = checkpoint.contract.provenance
    document = {**provenance.configuration, "model": {"network": OWN, "settings": {}}}
    changed = provenance.model_copy(update={"configuration": document})
    replace(checkpoint, contract=checkpoint.contract.model_copy(update={"provenance": changed})).save(
        folder / "own.pt"
    )
    return folder / "own.pt"


@pytest.mark.slow
def test_a_network_learns_a_cap_the_wrong_way_round(folder, network, tmp_path, capsys):
    output, file = tmp_path / "adapted.onnx", tmp_path / "old.onnx"
    export(read_checkpoint(network), file)
    # Of the file alone, nothing stands beside it.
    adapt(file, folder / "new.npz", [], output, 1.0)
    told = capsys.readouterr().out
    before, after = (float(told.partition(f"{when}: accuracy ")[2][:5]) for when in ("before", "after"))
    assert before < 0.4 < 0.6 < after and "20 trials that neither decoder learned from" in told
    old, new = read_checkpoint(network), read_checkpoint(output.with_suffix(".pt"))
    samples = np.random.default_rng(0).standard_normal((500, 16))
    steps = [Chain(read_steps(c.contract.preprocessing), c.contract.signal) for c in (old, new)]
    assert steps[0].process(samples).tobytes() == steps[1].process(samples).tobytes() and output.exists()
    assert any(not torch.equal(a, b) for a, b in zip(old.network.parameters(), new.network.parameters(), strict=True))
    provenance = new.contract.provenance
    assert provenance.recordings == ("old", "new") and provenance.data_fingerprint.count("+") == 1
    assert provenance.scores[0].value == pytest.approx(after, abs=5e-4) and provenance.scores[0].n == 20


@pytest.mark.parametrize(
    ("which", "recording", "trained_on", "told"),
    [
        ("network", "old.npz", [], "was trained on .*old.npz already"),
        ("network", "new.npz", ["old.npz"], "goes on from its weights"),
        ("closed", "new.npz", [], "cannot go on from its result"),
        ("closed", "new.npz", ["old.npz", "old.npz"], "names a recording twice"),
        ("closed", "new.npz", ["new.npz"], "is not what .* was trained on: old"),
        ("own", "new.npz", [], f"code would be run: if you trust .* give --network {OWN}"),
    ],
)
def test_what_cannot_be_adapted_is_refused(folder, request, tmp_path, which, recording, trained_on, told):
    with pytest.raises(ConfigurationError, match=told):
        model = request.getfixturevalue(which)
        adapt(model, folder / recording, [folder / name for name in trained_on], tmp_path / "a.onnx", 0.1)
    assert not list(tmp_path.iterdir())


def test_a_network_of_ones_own_that_is_named_is_looked_for(folder, own, tmp_path):
    with pytest.raises(ConfigurationError, match=f"Network '{OWN}' cannot be imported"):
        adapt(own, folder / "new.npz", [], tmp_path / "a.onnx", 0.1, OWN)


def test_what_is_fitted_in_closed_form_is_fitted_to_all_of_it(folder, closed, tmp_path, capsys):
    adapt(closed, folder / "new.npz", [folder / "old.npz"], tmp_path / "a.onnx", 0.1)
    assert "before: accuracy" in capsys.readouterr().out
    assert set(read_checkpoint(tmp_path / "a.pt").contract.provenance.recordings) == {"old", "new"}


def test_recordings_of_two_days_may_have_the_same_name(folder, closed, tmp_path):
    for day, name in (("day-1", "old.npz"), ("day-2", "new.npz")):
        (tmp_path / day).mkdir()
        shutil.copy(folder / name, tmp_path / day / "session.npz")
    old, new = (tmp_path / day / "session.npz" for day in ("day-1", "day-2"))
    adapt(closed, new, [old], tmp_path / "a.onnx", 0.1)
    assert read_checkpoint(tmp_path / "a.pt").contract.provenance.recordings == ("session-1", "session-2")


def test_trials_that_are_marked_bad_are_told(folder, closed, tmp_path, capsys):
    recording = read_recording(folder / "new.npz")
    at = recording.events[0].timestamp
    replace(recording, bad_spans=((at, at + 1.0),)).save(tmp_path / "new.npz")
    adapt(closed, tmp_path / "new.npz", [folder / "old.npz"], tmp_path / "a.onnx", 0.1)
    assert "trials left out, as samples of them are marked bad: 1 of 108 (in new.npz)" in capsys.readouterr().out


def test_a_decoder_file_without_its_weights_needs_its_checkpoint(folder, model_path, tmp_path):
    with pytest.raises(ModelError, match=r"does not hold the weights .* give the checkpoint"):
        adapt(model_path, folder / "new.npz", [], tmp_path / "a.onnx", 0.1)
