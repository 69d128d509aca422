"""Files that are bad on purpose: rows F1 to F12 of docs/reliability.md, as far as no other test names them."""

import struct
import warnings
import zipfile

import mne
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rtdecode
from rtdecode.errors import ModelError, RecordingError, RecordingWarning
from rtdecode.model_file import read_model
from rtdecode.preprocessing import Decimate
from rtdecode.recording import read_recording
from tests.builders import build_contract, build_model, build_signal, build_state, graph, linear_graph
from tests.processes import run_rtdecode
from tests.test_recording import EEG, markers
from tests.xdf import chunk, write_xdf

N_CHANNELS, N_TIMES = 4, 32


def changed_model(path, change):
    """Write a sound decoder file whose graph was changed before."""
    proto = linear_graph(N_CHANNELS, N_TIMES)
    change(proto)
    return build_model(path / "m.onnx", proto=proto)


def opset_99(proto):
    proto.opset_import[0].version = 99


def ir_99(proto):
    proto.ir_version = 99


def foreign_node(proto):
    proto.graph.node[2].domain = "com.microsoft"


def foreign_import(proto):
    proto.opset_import.append(helper.make_opsetid("org.example", 1))


def own_function(proto):
    loop = helper.make_node("Loop", ["n", "c", "a"], ["b"], body=helper.make_graph([], "body", [], []))
    opsets = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("ai.onnx", "Forever", ["a"], ["b"], [loop], opsets))


def control_flow(kind):
    def change(proto):
        proto.graph.node.append(helper.make_node(kind, ["logits"], ["never"]))

    return change


def hidden_subgraph(proto):
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    proto.graph.node[0].attribute.append(helper.make_attribute("body", body))


def many_nodes(proto):
    proto.graph.node.extend([proto.graph.node[0]] * 20_001)


def many_weights(proto):
    tensor = numpy_helper.from_array(np.float32(1), "w")
    proto.graph.initializer.extend([tensor] * 20_001)


def giant_weight(proto):
    tensor = proto.graph.initializer.add(name="giant", data_type=TensorProto.FLOAT)
    tensor.dims.extend([1 << 40, 1 << 20])


def negative_weight(proto):
    proto.graph.initializer[0].dims[0] = -1


def giant_declaration(proto):
    proto.graph.value_info.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [1 << 31]))


def giant_intermediate(proto):
    """32 bytes that would become 4 TB."""
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["giant"]))


def doubling(proto):
    """Each of 30 nodes gives twice what it takes: no single weight is large."""
    name = "x"
    for i in range(30):
        proto.graph.node.insert(i, helper.make_node("Concat", [name, name], [f"twice{i}"], axis=2))
        name = f"twice{i}"


def constant(**fields):
    """A Constant node with a tensor of these fields."""

    def change(proto):
        value = numpy_helper.from_array(np.ones(2, np.float32))
        for name, content in fields.items():
            setattr(value, name, content)
        proto.graph.node.append(helper.make_node("Constant", [], ["aside"], value=value))

    return change


def sparse(proto):
    proto.graph.sparse_initializer.add().dims.append(1 << 50)


@pytest.mark.parametrize(
    ("row", "change", "told"),
    [
        ("F2", opset_99, r"needs opset 99, this runtime supports up to \d+. Update"),
        ("F2", ir_99, r"needs IR version 99, this runtime supports up to \d+. Update"),
        ("F4", constant(raw_data=np.array([1, np.nan], "<f4").tobytes()), "'aside' holds values that are not finite"),
        ("F6", constant(data_location=TensorProto.EXTERNAL), "'aside' lies outside of the file"),
        ("F7", foreign_node, "not ONNX's own, of 'com.microsoft'"),
        ("F7", foreign_import, "not ONNX's own, of 'org.example'"),
        ("F7", own_function, "functions of its own .'Forever'"),
        ("F8", control_flow("If"), r"control flow \(If\)"),
        ("F8", control_flow("Loop"), r"control flow \(Loop\)"),
        ("F8", control_flow("Scan"), r"control flow \(Scan\)"),
        ("F8", control_flow("SequenceMap"), r"control flow \(SequenceMap\)"),
        ("F8", hidden_subgraph, r"control flow \(Flatten\)"),
        ("F8", many_nodes, "20004 nodes; a decoder has at most"),
        ("F8", many_weights, "20002 weights; a decoder has at most"),
        ("F8", giant_weight, "'giant' has the shape"),
        ("F8", negative_weight, "'weights' has the shape"),
        ("F8", giant_declaration, "'flat' would hold 2147483648 values"),
        ("F8", giant_intermediate, "'giant' would hold 1099511627776 values"),
        ("F8", doubling, "'twice[0-9]+' would hold"),
        ("F8", sparse, "sparse weights"),
    ],
)
def test_a_model_is_refused(tmp_path, row, change, told):
    with pytest.raises(ModelError, match=told):
        rtdecode.load(changed_model(tmp_path, change))


def test_f5_a_state_that_the_graph_lacks_is_refused(tmp_path):
    path = build_model(tmp_path / "m.onnx", build_contract(states=(build_state(),)))
    with pytest.raises(ModelError, match="the graph takes"):
        rtdecode.load(path)


def test_f6_a_link_is_read_once_and_its_bytes_are_those_that_run(model_path, tmp_path):
    (tmp_path / "link.onnx").symlink_to(model_path)
    model = read_model(tmp_path / "link.onnx")
    model_path.write_bytes(b"something else")
    assert onnx.load_from_string(model.graph).graph.name == "test"


def test_f8_a_hop_that_no_memory_holds_is_refused(tmp_path):
    huge = build_signal(64)
    contract = build_contract(huge, [Decimate.design(2)], n_times=32, hop=1 << 22)
    with pytest.raises(ModelError, match="Retrain with a shorter hop"):
        rtdecode.load(build_model(tmp_path / "m.onnx", contract))


def slow_graph(n):
    """A product of (n, n) matrices for every window."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Add", ["square", "sum"], ["begin"]),
        helper.make_node("MatMul", ["begin", "square"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["flat"]),
        helper.make_node("Concat", ["flat", "flat"], ["proba"], axis=1),
    ]
    weights = {"square": np.full((n, n), 1 / n, np.float32), "one": np.array([1, 1])}
    return graph(nodes, weights, {"x": (1, 1, 1)}, {"proba": (1, 2)})


def slow_decoder(folder, n):
    """A decoder with a hop of 0.1 ms, and a graph that multiplies (n, n) matrices in it."""
    contract = build_contract(build_signal(1, 10_000.0), [], n_times=1, hop=1)
    return build_model(folder / "slow.onnx", contract, slow_graph(n))


def test_f9_a_model_slower_than_its_hop_says_so(tmp_path, model_path):
    slow = rtdecode.load(slow_decoder(tmp_path, 400))
    assert slow.engine.run_s > slow.hop_s == 1e-4
    assert "will fall behind the stream" in slow.slowness and "of the hop of 0.1 ms" in slow.slowness
    assert rtdecode.load(model_path).slowness == ""


@pytest.mark.slow
def test_f9_inspect_and_run_say_so_at_their_start(tmp_path, names):
    path = slow_decoder(tmp_path, 400)
    for command in (["inspect", path], ["run", "--model", path, "--stream", names[0], "--wait", 1]):
        _, output = run_rtdecode(*command)
        assert "TOO SLOW" in output and "will fall behind" in " ".join(output.split())


class TestXdf:
    """F10."""

    @pytest.fixture
    def path(self, tmp_path):
        eeg = {**EEG, "stamps": EEG["stamps"][:40], "values": EEG["values"][:40]}
        return write_xdf(tmp_path / "r.xdf", eeg, markers(["left", "right"], [50.1, 50.2]))

    def test_cut_anywhere_is_an_error_or_the_samples_before_the_cut(self, path):
        """At every byte: never a sample that was not recorded."""
        content, whole = path.read_bytes(), read_recording(path)
        outcomes = {"refused": 0, "read": 0}
        for length in range(len(content)):
            path.write_bytes(content[:length])
            try:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    part = read_recording(path)
            except RecordingError:
                outcomes["refused"] += 1
                continue
            n = len(part.samples)
            assert part.samples.tobytes() == whole.samples[:n].tobytes()
            assert part.timestamps.tobytes() == whole.timestamps[:n].tobytes()
            assert part.events == whole.events[: len(part.events)]
            assert any(w.category is RecordingWarning for w in told)
            outcomes["read"] += 1
        assert outcomes["refused"] > 100 and outcomes["read"] > 500

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            (b"<nominal_srate>100<", b"<nominal_srate>NaN<", r"at byte 67: .* float32 at nan Hz"),
            (b"<nominal_srate>100<", b"<nominal_srate>-10<", r"at byte 67: .* float32 at -10 Hz"),
            (b"<channel_count>2<", b"<channel_count>0<", "at byte 67: a stream of 0 channels"),
            (b"<channel_count>2<", b"<channel_count>x<", "at byte 67: the description of a stream cannot be read"),
            (b"float32<", b"float33<", "channels of float33"),
            (b"<info><name>eeg", b"<info<<name>eeg", "at byte 67: the description of a stream cannot be read"),
            (struct.pack("<HI", 3, 1), struct.pack("<HI", 3, 9), "stream 9 was not described before"),
            (struct.pack("<HI", 2, 2), struct.pack("<HI", 2, 1), "stream 1 is described twice"),
            (struct.pack("<HI", 3, 1), struct.pack("<HI", 77, 1), "there is no chunk of kind 77"),
            (b"\x04" + struct.pack("<I", 40), b"\x04" + struct.pack("<I", 41), "41 samples cannot be in 680 bytes"),
            (b"\x04" + struct.pack("<I", 40), b"\x03" + struct.pack("<I", 40), "a length of 3 bytes"),
        ],
    )
    def test_what_is_damaged_is_told_with_its_byte(self, path, old, new, told):
        content = path.read_bytes()
        assert old in content and len(old) == len(new)
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(RecordingError, match=told):
            read_recording(path)

    def test_more_samples_than_a_file_can_hold_are_refused(self, path):
        path.write_bytes(path.read_bytes() + chunk(3, struct.pack("<IBQ", 1, 8, 2**33) + bytes(100)))
        with pytest.raises(RecordingError, match="8589934592 samples cannot be in 100 bytes"):
            read_recording(path)

    def test_what_is_damaged_in_the_middle_is_not_taken_for_the_end(self, path):
        boundary = chunk(5, bytes.fromhex("43A546DCCBF5410FB30ED5467383CBE4"))
        content = path.read_bytes() + boundary
        at = content.index(struct.pack("<HI", 3, 1)) - 4
        path.write_bytes(content[:at] + struct.pack("<I", 1 << 30) + content[at + 4 :])
        with pytest.raises(RecordingError, match=f"damaged at byte {at - 1}: a chunk does not end where it says"):
            read_recording(path)


def build_raw(n_samples=1000):
    info = mne.create_info(["Cz", "Pz", "STI"], 200.0, ["eeg", "eeg", "stim"])
    data = np.random.default_rng(0).standard_normal((3, n_samples)) * np.array([[1e-5], [1e-5], [0.0]])
    return mne.io.RawArray(data, info, verbose="ERROR")


class TestFif:
    """F11."""

    def test_cut_between_any_two_tags_is_refused(self, tmp_path):
        path = tmp_path / "r_raw.fif"
        build_raw().save(path, buffer_size_sec=0.5, verbose="ERROR")
        content, ends, at = path.read_bytes(), [], 0
        while at < len(content):
            at += 16 + struct.unpack(">i", content[at + 8 : at + 12])[0]
            ends.append(at)
        # The last tag only says that there is none after it.
        *cuts, _, end = ends
        assert end == len(content) and len(cuts) > 20
        for length in [cut + more for cut in cuts for more in (0, 8)]:
            path.write_bytes(content[:length])
            with pytest.raises(RecordingError, match=r"cut off after byte \d+"):
                read_recording(path)

    @pytest.mark.parametrize("kind", ["gone", "cut"])
    def test_a_part_that_is_missing_or_cut_off_is_told(self, tmp_path, kind):
        build_raw(300_000).save(tmp_path / "r_raw.fif", split_size="2MB", verbose="ERROR")
        part = tmp_path / "r_raw-1.fif"
        if kind == "gone":
            part.unlink()
        else:
            part.write_bytes(part.read_bytes()[:-1000])
        told = "goes on in .*r_raw-1.fif, which does not exist" if kind == "gone" else "r_raw-1.fif is cut off"
        with pytest.raises(RecordingError, match=told):
            read_recording(tmp_path / "r_raw.fif")


def test_f11_an_edf_that_is_cut_off_says_so(tmp_path):
    path = tmp_path / "r.edf"
    mne.export.export_raw(path, build_raw().pick(["Cz", "Pz"]), verbose="ERROR")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.warns(RecordingWarning, match="may be cut off: .*file size"):
        assert len(read_recording(path).samples) < 1000


def test_f10_an_archive_that_would_become_too_large_is_refused(tmp_path):
    path = tmp_path / "r.npz"
    np.savez(path, samples=np.ones((100, 1), np.float32), sfreq=1, ch_names=["a"])
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("samples.npy")
    sizes = struct.pack("<II", entry.compress_size, entry.file_size)
    path.write_bytes(path.read_bytes().replace(sizes, struct.pack("<II", entry.compress_size, 4_000_000_000)))
    with pytest.raises(RecordingError, match="that would become 40000"):
        read_recording(path)
