"""Decoder files: what is refused, and with which words."""

import base64
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import rtdecode
from rtdecode.contract import SCHEMA_VERSION, read_metadata, write_metadata
from rtdecode.errors import ModelError
from rtdecode.model_file import read_model
from tests.builders import build_contract, build_model, linear_graph

FROZEN = Path(__file__).parent / "data" / "decoder-schema-1.0.onnx"


def edited(path, edit):
    """Change the ONNX document of a file."""
    proto = onnx.load(str(path))
    edit(proto)
    onnx.save(proto, str(path))
    return path


def edit_document(proto, **changes):
    for entry in proto.metadata_props:
        if entry.key == "rtdecode":
            document = json.loads(entry.value)
            document.update(changes)
            entry.value = json.dumps(document)


def test_a_contract_survives_the_file(tmp_path):
    contract = build_contract()
    again = read_model(build_model(tmp_path / "m.onnx", contract)).contract
    assert write_metadata(again) == write_metadata(contract)


def test_arrays_stand_apart_as_little_endian_float64():
    metadata = write_metadata(build_contract())
    text = metadata["rtdecode.array/amplitude/std"]
    assert np.frombuffer(base64.b64decode(text), "<f8").tolist() == [1.0] * 4
    assert json.loads(metadata["rtdecode"])["amplitude"]["std"] == {"array": "amplitude/std", "shape": [4]}


def test_a_file_of_schema_1_0_is_read_for_ever():
    model = read_model(FROZEN)
    assert model.contract.signal.ch_names == ("E0", "E1", "E2", "E3")
    decoder = rtdecode.load(FROZEN)
    samples = np.random.default_rng(0).standard_normal((400, 4))
    last = decoder.push(samples, np.arange(400) / 128)[-1]
    assert last.proba == pytest.approx([0.47056, 0.52944], abs=1e-4)


def test_a_file_of_schema_1_1_is_read_for_ever():
    path = FROZEN.with_name("decoder-schema-1.1.onnx")
    decoder = rtdecode.load(path)
    assert decoder.contract.targets.channels == decoder.output_names == ("x", "y")
    last = decoder.push(np.random.default_rng(0).standard_normal((400, 4)), np.arange(400) / 128)[-1]
    assert last.values == pytest.approx([0.47056, 0.52944], abs=1e-4)


def test_a_file_of_schema_1_2_is_read_for_ever():
    decoder = rtdecode.load(FROZEN.with_name("decoder-schema-1.2.onnx"))
    assert decoder.contract.calibration.temperature == 0.5
    predictions = decoder.push(np.random.default_rng(0).standard_normal((400, 4)), np.arange(400) / 128)
    made = [(p.sample, p.decision) for p in predictions if p.decision is not None]
    assert made == [(166, 0), (270, 0), (342, 0)]


def test_a_file_of_schema_1_3_is_read_for_ever():
    decoder = rtdecode.load(FROZEN.with_name("decoder-schema-1.3.onnx"))
    assert decoder.contract.form.kind == "incremental"
    last = decoder.push(np.random.default_rng(0).standard_normal((400, 4)), np.arange(400) / 128)[-1]
    assert last.proba == pytest.approx([0.23242, 0.76758], abs=1e-4)


def test_the_form_of_an_older_file_is_windowed():
    assert rtdecode.load(FROZEN).contract.form.kind == "windowed"


def test_the_policy_of_an_older_file_was_empty_and_is_none():
    assert rtdecode.load(FROZEN).contract.policy is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\x00\x01garbage" * 50, "not an ONNX file"),
        (b"<html><body>404</body></html>", "not an ONNX file"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, told):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=told):
        read_model(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is a folder"):
        read_model(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_file_is_refused(model_path, share):
    content = model_path.read_bytes()
    model_path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError):
        rtdecode.load(model_path)


def test_a_graph_without_description_is_refused(tmp_path):
    onnx.save(linear_graph(4, 32), str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="without a decoder's description"):
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema_version": "2.0"}, f"reads up to {SCHEMA_VERSION}. Update rtdecode"),
        ({"schema_version": None}, "no readable schema_version"),
        ({"schema_version": {}}, "no readable schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"window": {"n_times": 0, "hop": 4}}, "window.n_times"),
        ({"outputs": {"kind": "classification", "class_names": ["a", "a"]}}, "stands twice"),
        ({"outputs": {"class_names": ["a", "b"]}}, "outputs: .*kind"),
        ({"outputs": {"kind": "regression", "names": ["x"], "units": []}}, "0 units for 1 targets"),
        ({"signal": {}}, "signal.ch_names"),
        ({"amplitude": {"low": {"array": "gone", "shape": [4]}}}, "'gone' is missing"),
        ({"amplitude": {"low": {"array": "amplitude/low", "shape": [np.inf]}}}, "'amplitude/low' is damaged"),
        ({"preprocessing": [{"step": "fft"}]}, "step 1 is wrong"),
        ({"preprocessing": []}, "the graph takes"),
        ({"window": {"n_times": 31, "hop": 4}}, "the graph takes"),
        ({"outputs": {"kind": "classification", "class_names": ["left", "right", "c"]}}, "the graph gives"),
        ({"targets": {"channels": ["force"]}}, "targets are for a regression"),
        ({"events": {"first": 0, "baseline": [5, 5]}}, "a start before its stop"),
        ({"events": {"first": 0, "baseline": [0, 33]}}, "beyond the end of the window"),
        ({"events": {"first": 0}, "trials": None}, "windows at events need trials"),
        ({"policy": {"rest": ["nothing"]}}, "the policy speaks of nothing; the classes are left, right"),
        ({"policy": {"threshold": 2}}, "policy.threshold"),
    ],
)
def test_a_description_that_does_not_hold_is_refused(tmp_path, changes, told):
    path = build_model(tmp_path / "m.onnx", build_contract(steps=[]) if "preprocessing" in changes else None)
    if changes.get("preprocessing") == []:
        path = build_model(tmp_path / "m.onnx", build_contract(steps=[]), linear_graph(5, 32))
    edited(path, lambda proto: edit_document(proto, **changes))
    with pytest.raises(ModelError, match=told):
        rtdecode.load(path)


def test_a_name_out_of_a_file_cannot_steer_the_terminal(model_path):
    def rename(proto):
        proto.graph.input[0].name = "x\n\x1b[2J"

    with pytest.raises(ModelError, match=r"the graph takes|cannot load") as caught:
        rtdecode.load(edited(model_path, rename))
    assert str(caught.value).isprintable()


def test_a_damaged_array_is_refused():
    metadata = write_metadata(build_contract())
    metadata["rtdecode.array/amplitude/std"] = "AAAA"
    with pytest.raises(ModelError, match="is damaged"):
        read_metadata(metadata, "m.onnx")


def test_weights_that_are_not_finite_are_refused_by_name(model_path):
    def poison(proto):
        values = numpy_helper.to_array(proto.graph.initializer[0]).copy()
        values[0, 0] = np.nan
        proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "weights"))

    with pytest.raises(ModelError, match="'weights' holds values that are not finite"):
        read_model(edited(model_path, poison))


def test_weights_outside_of_the_file_are_refused(model_path):
    def point_away(proto):
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secrets")

    content = onnx.load(str(model_path), load_external_data=False)
    point_away(content)
    model_path.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match="outside of the file"):
        read_model(model_path)


def test_a_free_batch_size_is_refused(model_path):
    def free(proto):
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"

    with pytest.raises(ModelError, match="not fixed"):
        read_model(edited(model_path, free))


def test_an_operator_the_runtime_does_not_have_is_refused(model_path):
    def rename(proto):
        proto.graph.node[0].op_type = "Flutten"

    with pytest.raises(ModelError, match="cannot load"):
        rtdecode.load(edited(model_path, rename))


def test_the_hash_is_that_of_the_bytes_that_run(model_path):
    import hashlib

    model = read_model(model_path)
    assert model.sha256 == hashlib.sha256(model_path.read_bytes()).hexdigest()
    assert model.graph == model_path.read_bytes()
