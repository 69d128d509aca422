"""A network of the user's own, by import path."""

import os
import pickle
import sys
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from offline.checkpoint import Checkpoint, read_checkpoint
from offline.export import export
from offline.models import Inputs, make_network
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.preprocessing import Clamp
from tests.builders import build_contract, build_recording, build_signal

INPUTS = Inputs(4, 32, 2, 128.0, ("E0", "E1", "E2", "E3"))


class Mean(nn.Module):
    """The signature of braindecode's models."""

    def __init__(self, n_chans, n_outputs, n_times, sfreq, width=3):
        super().__init__()
        self.hidden, self.out = nn.Linear(n_chans, width), nn.Linear(width, n_outputs)
        self.told = (n_chans, n_outputs, n_times, sfreq)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x.mean(dim=2))))


class Placed(Mean):
    """Weighs its channels by where they are."""

    def __init__(self, n_chans, n_outputs, n_times, sfreq, positions):
        super().__init__(n_chans, n_outputs, n_times, sfreq)
        self.places = torch.tensor(positions).sum(dim=1)

    def forward(self, x):
        return super().forward(x * self.places[:, None])


class BatchNormalised(Mean):
    """Its statistics are those of the batch it happens to be in."""

    def forward(self, x):
        return super().forward(x - x.mean(dim=0)) if len(x) > 1 else super().forward(x)


class Normalised(Mean):
    """Its weights are parametrised, as braindecode's often are: such a module cannot be pickled."""

    def __init__(self, n_chans, n_outputs, n_times, sfreq):
        super().__init__(n_chans, n_outputs, n_times, sfreq)
        nn.utils.parametrizations.weight_norm(self.hidden)


class Crashing(Mean):
    def forward(self, x):
        if torch.compiler.is_exporting():
            os._exit(7)
        return super().forward(x)


class Hanging(Mean):
    def forward(self, x):
        if torch.compiler.is_exporting():
            threading.Event().wait()
        return super().forward(x)


class Branching(Mean):
    """What it does depends on what it sees."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class Shifted(Mean):
    """A feature per sample from this one and one `ahead` samples later; what is not there is zero."""

    causal = True

    def __init__(self, n_chans, n_outputs, n_times, sfreq, ahead):
        super().__init__(n_chans, n_outputs, n_times, sfreq)
        self.ahead = ahead

    def sequence(self, x):
        earlier, later = max(-self.ahead, 0), max(self.ahead, 0)
        padded = nn.functional.pad(x, (earlier, later))
        return x + padded[:, :, later : later + x.shape[2]]

    def forward(self, x):
        return super().forward(self.sequence(x))


class Valid(Shifted):
    """Without padding the features begin later."""

    def sequence(self, x):
        return super().sequence(x)[:, :, 5:]


class Averaged(Shifted):
    """Its features have no time."""

    def sequence(self, x):
        return super().sequence(x).mean(dim=2)

    def forward(self, x):
        return Mean.forward(self, x)


class Claiming(Mean):
    causal = True


class Wrong(Mean):
    def forward(self, x):
        return super().forward(x)[0]


class Broken(nn.Module):
    def __init__(self, n_chans):
        raise RuntimeError("no weights for you")


@pytest.mark.parametrize(
    "told",
    [lambda n: n.set_temperature(2.0), lambda n: n.set_targets(*torch.ones(2, 2))],
    ids=["calibrated", "values"],
)
def test_what_was_fitted_comes_back_from_another_process(told):
    network, x = make_network("tests.test_foreign:Normalised", INPUTS, {}).eval(), torch.ones(1, 4, 32)
    told(network)
    assert torch.equal(pickle.loads(pickle.dumps(network)).outputs(x), network.outputs(x))


def described(network, name="Mean", settings=None):
    configuration = {"model": {"network": f"tests.test_foreign:{name}", "settings": settings or {}}}
    contract = build_contract(build_signal(), steps=[Clamp(limit=50.0)], n_times=32, hop=8)
    provenance = contract.provenance.model_copy(update={"configuration": configuration})
    return Checkpoint(contract.model_copy(update={"provenance": provenance}), network, build_recording(300))


def test_it_gets_what_its_signature_asks_for():
    network = make_network("tests.test_foreign:Mean", INPUTS, {"width": 5})
    assert network.module.told == (4, 2, 32, 128.0) and network.module.hidden.out_features == 5


def test_it_exports_and_comes_back_from_its_checkpoint(tmp_path):
    network = make_network("tests.test_foreign:Mean", INPUTS, {"width": 5}).eval()
    checkpoint = described(network, "Mean", {"width": 5})
    checkpoint.save(tmp_path / "c.pt")
    again = read_checkpoint(tmp_path / "c.pt", "tests.test_foreign:Mean")
    x = torch.randn(3, 4, 32)
    assert torch.equal(again.network(x), checkpoint.network(x))
    assert export(again, tmp_path / "m.onnx").contract.parity.torch_onnx_max < 1e-5


def test_it_is_told_where_the_sensors_are_and_its_checkpoint_knows_it(tmp_path):
    places = {"E0": (0.0, 0.5), "E1": (1.0, 0.5), "E2": (0.5, 0.25), "E3": (0.5, 1.0)}
    network = make_network("tests.test_foreign:Placed", replace(INPUTS, positions=tuple(places.values())), {}).eval()
    assert network.module.places.tolist() == [0.5, 1.5, 0.75, 1.5]
    checkpoint = described(network, "Placed")
    replace(checkpoint, probe=replace(checkpoint.probe, positions=places)).save(tmp_path / "c.pt")
    again, x = read_checkpoint(tmp_path / "c.pt", "tests.test_foreign:Placed"), torch.randn(3, 4, 32)
    assert torch.equal(again.network(x), network(x))
    assert export(again, tmp_path / "m.onnx").contract.parity.torch_onnx_max < 1e-5


@pytest.mark.parametrize("named", [None, "tests.test_foreign:Placed"])
def test_code_that_a_checkpoint_speaks_of_is_not_run_unless_it_is_named(tmp_path, monkeypatch, named):
    described(make_network("tests.test_foreign:Mean", INPUTS, {})).save(tmp_path / "c.pt")
    monkeypatch.setitem(sys.modules, "tests.test_foreign", None)
    with pytest.raises(ConfigurationError, match=r"c\.pt has a network of .*if you trust .* --network tests\.test_f"):
        read_checkpoint(tmp_path / "c.pt", named)


def test_a_network_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "lab_nets.py").write_text("from tests.test_foreign import Normalised as MyNet\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    network = make_network("lab_nets:MyNet", INPUTS, {}).eval()
    assert network.module.told == (4, 2, 32, 128.0)
    assert export(described(network), tmp_path / "m.onnx").contract.parity.torch_onnx_max < 1e-5


@pytest.mark.parametrize(
    ("name", "timeout_s", "told"),
    [
        ("BatchNormalised", 100, "a window's outputs change by .* with the other windows of its batch"),
        ("Branching", 100, "torch cannot turn the network into an ONNX graph .*data-dependent"),
        ("Crashing", 100, "exporting it crashed the process that did it .exit code 7.."),
        ("Hanging", 1, "exporting it did not finish within 1 s"),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_written(tmp_path, name, timeout_s, told):
    network = make_network(f"tests.test_foreign:{name}", INPUTS, {}).eval()
    with pytest.raises(ModelError, match=told):
        export(described(network), tmp_path / "m.onnx", timeout_s)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "ahead"), [("Shifted", 0), ("Shifted", -5), ("Valid", -5)])
def test_a_causal_network_is_exported(tmp_path, name, ahead):
    network = make_network(f"tests.test_foreign:{name}", INPUTS, {"ahead": ahead}).eval()
    assert network.causal and export(described(network), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("name", "ahead", "told"),
    [
        ("Shifted", 1, "called causal, but its features at sample 0 of the window depend on samples after 0"),
        ("Shifted", 7, "depend on samples after 0"),
        ("Valid", 3, "its features at sample 5 of the window depend on samples after 5"),
        ("Averaged", 0, r"its sequence gives \(1, 4\) for a window"),
    ],
)
def test_a_network_that_looks_ahead_while_called_causal_is_refused(tmp_path, name, ahead, told):
    network = make_network(f"tests.test_foreign:{name}", INPUTS, {"ahead": ahead}).eval()
    with pytest.raises(ModelError, match=told):
        export(described(network), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("path", "settings", "told"),
    [
        ("no_such_lab.nets:MyNet", {}, "cannot be imported: No module named 'no_such_lab'"),
        ("tests.test_foreign:Gone", {}, "has no 'Gone'"),
        ("tests.test_foreign:Mean", {"depth": 3}, "takes no depth; it takes n_chans"),
        ("tests.test_foreign:Placed", {}, "asks where the sensors are, which .* do not tell of E0, E1, E2, E3"),
        ("tests.test_foreign:Broken", {}, "cannot be used: RuntimeError: no weights for you"),
        ("tests.test_foreign:Claiming", {}, "called causal .* but has no method `sequence`"),
        ("tests.test_foreign:Wrong", {}, r"gives \(2,\) for 2 windows; logits of shape \(2, 2\)"),
    ],
)
def test_what_cannot_be_used_is_told(path, settings, told):
    with pytest.raises(ConfigurationError, match=told):
        make_network(path, INPUTS, settings)
