"""The decider: what each setting promises, whatever the probabilities are."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rtdecode.contract import Accumulated, Exponential, Mean, Policy
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError
from rtdecode.model_file import read_model
from rtdecode.policy import Decider
from tests.builders import VALUES, assert_same, build_contract, build_model, build_recording, push_in_chunks

CLASSES = ("left", "right", "rest")
HOP_S, SFREQ = 0.1, 160.0
HOP = 16


def decide(policy, course, class_names=CLASSES):
    """Return what is decided at each hop of probabilities, or of None for an abstention."""
    decider = Decider(policy, class_names, HOP_S, SFREQ)
    return [decider.decide(None if p is None else np.array(p, np.float32), HOP * i) for i, p in enumerate(course)]


def decided(policy, course, class_names=CLASSES):
    return [None if d is None else d.index for d in decide(policy, course, class_names)]


def of_right(values):
    """Probabilities of two classes, of which `right` has these."""
    return [None if v is None else (1 - v, v) for v in values]


def floats(low, high):
    """Numbers between; no subnormal ones, which ONNX Runtime takes for zero in this thread, as we have told it to."""
    return st.floats(low, high, allow_subnormal=False)


hops = st.one_of(
    st.none(), st.lists(floats(0.01, 1), min_size=3, max_size=3).map(lambda p: [value / sum(p) for value in p])
)
courses = st.lists(hops, max_size=60)
evidences = st.one_of(
    st.builds(Mean, over_s=floats(0, 0.6)),
    st.builds(Exponential, tau_s=floats(0.05, 1)),
    st.builds(
        Accumulated,
        independent_s=floats(0, 1),
        timeout_s=st.one_of(st.none(), floats(0.1, 2)),
    ),
)
policies = st.builds(
    Policy,
    evidence=evidences,
    threshold=floats(0, 1),
    dwell_s=floats(0, 0.5),
    refractory_s=floats(0, 2),
    rest=st.sampled_from([(), ("rest",)]),
)


@given(course=courses)
def test_without_settings_every_prediction_is_its_own_decision(course):
    expected = [None if p is None else int(np.array(p, np.float32).argmax()) for p in course]
    assert decided(Policy(), course) == expected


@given(policy=policies, course=courses)
def test_the_refractory_time_is_never_violated(policy, course):
    at = [HOP * i / SFREQ for i, index in enumerate(decided(policy, course)) if index is not None]
    assert all(b - a >= policy.refractory_s - 1e-9 for a, b in itertools.pairwise(at))


@given(policy=policies, course=courses)
def test_a_decision_has_reached_its_threshold_and_is_never_rest(policy, course):
    for decision in decide(policy, course):
        if decision is not None:
            assert decision.evidence >= policy.threshold
            assert CLASSES[decision.index] not in policy.rest
            assert decision.used_s > 0


@given(policy=policies, course=courses, more=courses)
def test_no_decision_knows_the_future(policy, course, more):
    assert decide(policy, course + more)[: len(course)] == decide(policy, course)


@given(policy=policies, course=courses, after=courses)
def test_an_abstention_voids_everything_but_the_refractory_time(policy, course, after):
    policy = policy.model_copy(update={"refractory_s": 0.0})
    assert decide(policy, [*course, None, *after])[len(course) + 1 :] == decide(policy, after)


@given(policy=policies, course=courses)
def test_reset_forgets_the_refractory_time_too(policy, course):
    decider = Decider(policy, CLASSES, HOP_S, SFREQ)
    rows = [(None if p is None else np.array(p, np.float32), HOP * i) for i, p in enumerate(course)]
    first = [decider.decide(*row) for row in rows]
    decider.reset()
    assert [decider.decide(*row) for row in rows] == first


@given(dwell=st.integers(1, 5), labels=st.lists(st.sampled_from([0, 1, None]), max_size=40))
def test_a_class_is_decided_at_the_hop_that_fills_its_dwell(dwell, labels):
    course = [None if label is None else (0.9, 0.1) if label == 0 else (0.1, 0.9) for label in labels]
    runs = [
        n + 1
        for _, run in itertools.groupby(labels)
        for n, _ in enumerate(run)
    ]  # fmt: skip
    expected = [label if run >= dwell else None for label, run in zip(labels, runs, strict=True)]
    policy = Policy(threshold=0.8, dwell_s=dwell * HOP_S)
    assert decided(policy, course, ("left", "right")) == expected


@given(values=st.lists(st.one_of(st.none(), floats(0.01, 0.99)), max_size=60))
def test_hysteresis_gives_one_decision_for_one_activation(values):
    # What rounding could move to the other side of a threshold is none of this test's business.
    assume(all(v is None or min(abs(v - 0.5), abs(v - 0.8)) > 1e-5 for v in values))
    policy = Policy(thresholds={"right": 0.8, "left": 1.0}, hysteresis=0.3)
    active, expected = False, []
    for value in values:
        active = active and value is not None and value >= 0.5
        expected.append(1 if value is not None and value >= 0.8 and not active else None)
        active = active or expected[-1] == 1
    assert decided(policy, of_right(values), ("left", "right")) == expected


class TestEvidence:
    def test_the_mean_is_that_of_log_probabilities_over_so_many_hops(self):
        rng = np.random.default_rng(0)
        course = rng.dirichlet([1, 1, 1], 20).astype(np.float32)
        made = decide(Policy(evidence=Mean(over_s=0.4)), course)
        assert made[:3] == [None] * 3
        for i in range(3, 20):
            geometric = np.exp(np.log(course[i - 3 : i + 1].astype(float)).mean(axis=0))
            expected = geometric / geometric.sum()
            assert made[i].index == expected.argmax() and made[i].evidence == pytest.approx(expected.max())

    def test_the_exponential_one_has_gone_all_but_1_over_e_of_the_way_after_its_time_constant(self):
        decider = Decider(Policy(evidence=Exponential(tau_s=1.0)), ("left", "right"), HOP_S, SFREQ)
        for i in range(10):
            decider.decide(np.array([0.1, 0.9], np.float32), HOP * i)
        left, right = decider.probabilities
        assert np.log(right / left) / np.log(9) == pytest.approx(1 - np.exp(-1), rel=1e-5)

    def test_accumulated_evidence_is_the_posterior_of_independent_observations(self):
        course = [(0.4, 0.6), (0.45, 0.55), (0.3, 0.7)]
        decider = Decider(Policy(evidence=Accumulated(), threshold=1.0), ("left", "right"), HOP_S, SFREQ)
        for i, p in enumerate(course):
            decider.decide(np.array(p, np.float32), HOP * i)
        joint = np.prod(course, axis=0)
        assert decider.probabilities == pytest.approx(joint / joint.sum(), rel=1e-5)

    def test_hops_that_share_samples_count_as_the_part_that_is_new(self):
        """Ten of them, a tenth of the window apart, are one observation."""
        policy = Policy(evidence=Accumulated(independent_s=1.0), threshold=0.79999)
        made = decide(policy, [(0.2, 0.8)] * 10, ("left", "right"))
        assert [d is not None for d in made] == [False] * 9 + [True]
        assert made[-1].evidence == pytest.approx(0.8, abs=1e-6) and made[-1].used_s == pytest.approx(1.0)

    def test_evidence_that_comes_too_slowly_is_given_up(self):
        course = [(0.4, 0.6)] * 30
        without = Policy(evidence=Accumulated(), threshold=0.9)
        assert decided(without, course, ("left", "right"))[:6] == [None] * 5 + [1]
        limited = Policy(evidence=Accumulated(timeout_s=0.5), threshold=0.9)
        assert set(decided(limited, course, ("left", "right"))) == {None}

    def test_evidence_begins_anew_after_a_decision_and_its_refractory_time(self):
        policy = Policy(evidence=Accumulated(), threshold=0.9, refractory_s=0.4)
        made = decided(policy, [(0.4, 0.6)] * 16, ("left", "right"))
        assert [i for i, index in enumerate(made) if index is not None] == [5, 14]

    def test_rest_that_reaches_its_bound_takes_the_evidence_with_it(self):
        course = [(0.2, 0.2, 0.6)] * 3 + [(0.6, 0.2, 0.2)] * 3
        policy = Policy(evidence=Accumulated(), threshold=0.9, rest=("rest",))
        assert decided(policy, course) == [None] * 5 + [0]
        assert set(decided(policy.model_copy(update={"thresholds": {"rest": 1.0}}), course)) == {None}


def test_a_rest_class_competes_and_is_never_decided():
    policy = Policy(threshold=0.3, rest=("rest",))
    assert decided(policy, [(0.4, 0.2, 0.4001), (0.5, 0.2, 0.3), (0.2, 0.2, 0.6)]) == [None, 0, None]


def test_each_class_may_have_its_own_threshold():
    policy = Policy(threshold=0.5, thresholds={"right": 0.9})
    course = [(0.6, 0.4), (0.2, 0.8), (0.05, 0.95), (0.49, 0.51)]
    assert decided(policy, course, ("left", "right")) == [0, None, 1, None]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rest": ["relax"]}, "the policy speaks of relax; the classes are left, right, rest"),
        ({"thresholds": {"up": 0.5}}, "the policy speaks of up"),
        ({"rest": CLASSES}, "calls every class rest"),
    ],
)
def test_classes_that_are_none_are_refused(settings, told):
    with pytest.raises(ConfigurationError, match=told):
        Decider(Policy(**settings), CLASSES, HOP_S, SFREQ)


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 1.1},
        {"refractory_s": -1},
        {"evidence": {"kind": "sum"}},
        {"evidence": {"kind": "accumulated", "over_s": 1}},
        {"evidence": {"kind": "accumulated"}, "hysteresis": 0.1},
        {"patience": 3},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        Policy.model_validate(settings)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    policy = Policy(evidence=Exponential(tau_s=0.2), threshold=0.7, refractory_s=0.5)
    return read_model(build_model(tmp_path_factory.mktemp("model") / "m.onnx", build_contract(policy=policy)))


class TestDecoder:
    @given(sizes=st.lists(st.integers(0, 90), max_size=20), gap=st.integers(1, 1400))
    def test_any_chunking_gives_the_same_decisions(self, model, sizes, gap):
        recording = build_recording()
        recording.timestamps[gap:] += 0.25
        # Stamps after a gap are fitted anew as they come, so only what is decided is compared.
        some, others = (push_in_chunks(Decoder(model), recording, s) for s in (sizes, ()))
        assert [(p.sample, p.decision, p.evidence) for p in some] == [
            (p.sample, p.decision, p.evidence) for p in others
        ]

    def test_it_decides_what_the_decider_says_of_its_probabilities(self, model):
        recording = build_recording()
        decoder = Decoder(model)
        decider = Decider(decoder.policy, decoder.output_names, decoder.hop_s, 128.0)
        predictions = decoder.push(recording.samples, recording.timestamps)
        expected = [decider.decide(p.proba, p.sample) for p in predictions]
        assert [p.decision for p in predictions] == [None if d is None else d.index for d in expected]
        assert 3 < sum(d is not None for d in expected) < len(expected) / 4

    def test_without_a_policy_the_decision_is_the_label(self, tmp_path):
        recording = build_recording()
        predictions = Decoder(read_model(build_model(tmp_path / "m.onnx"))).push(
            recording.samples, recording.timestamps
        )
        assert [p.decision for p in predictions] == [None if p.reason else p.label for p in predictions]

    def test_a_policy_given_overrides_the_file_and_changes_nothing_else(self, model):
        recording = build_recording()
        some, others = (
            Decoder(model, policy=policy).push(recording.samples, recording.timestamps)
            for policy in (None, Policy(threshold=1.0))
        )
        assert any(p.decision is not None for p in some) and all(p.decision is None for p in others)
        assert [p.label for p in some] == [p.label for p in others]

    def test_a_regression_has_nothing_to_decide(self, tmp_path):
        model = read_model(build_model(tmp_path / "m.onnx", build_contract(truth=VALUES)))
        with pytest.raises(ConfigurationError, match="is a regression"):
            Decoder(model, policy=Policy())

    def test_the_refractory_time_outlasts_a_gap(self, tmp_path):
        policy = Policy(refractory_s=5.0)
        contract = build_contract(steps=[], n_times=4, hop=4, policy=policy)
        recording = build_recording(640)
        recording.timestamps[300:] += 1.0
        predictions = Decoder(read_model(build_model(tmp_path / "m.onnx", contract))).push(
            recording.samples, recording.timestamps
        )
        at = [p.sample for p in predictions if p.decision is not None]
        assert len(at) == 1 and any(p.reason == "gap" for p in predictions) and predictions[-1].reason is None


def test_the_same_stream_gives_the_same_decisions_bit_by_bit(model):
    recording = build_recording()
    assert_same(push_in_chunks(Decoder(model), recording, [1, 9, 33]), push_in_chunks(Decoder(model), recording, ()))
