"""Mistakes in the formulas of what a decoder has learned: the tests of tests/test_interpretation.py notice each.

The tests that need reference data beside the project are left out: the others notice them too.
"""

import sys
from importlib import import_module
from inspect import getsource
from pathlib import Path
from types import ModuleType

import pytest

from offline import interpretation

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent / "test_interpretation.py"
OF = {
    "patterns": "TestPatterns or TestFilterPatterns or TestOutputPatterns",
    "relevance": "TestRelevance",
    "spectra": "TestSpectra",
    "waveforms": "TestWaveforms",
}
# What stands there, and the mistake.
MISTAKES = {
    "patterns": [
        ("samples = samples - samples.mean(axis=(0, 2), keepdims=True)", "samples = samples + 0"),
        ("samples.mean(axis=(0, 2), keepdims=True)", "samples.mean(axis=2, keepdims=True)"),
        ("samples.mean(axis=(0, 2), keepdims=True)", "samples.mean(axis=0, keepdims=True)"),
        ("    if demean:\n        samples", "    if True:\n        samples"),
        ("if not 1 <= n_lags <= n_times", "if not 1 <= n_lags"),
        ("if not 1 <= n_lags <= n_times", "if not 0 <= n_lags <= n_times"),
        ("n = n_times - lag", "n = n_times"),
        ("samples[:, :, lag:], samples[:, :, :n]", "samples[:, :, :n], samples[:, :, lag:]"),
        ("moments / (n_windows * n - 1)", "moments / (n_windows * n)"),
        ("moments / (n_windows * n - 1)", "moments / (n_windows * n_times - 1)"),
        ("moments / (n_windows * n - 1)", "moments / (n - 1)"),
        ("lagged_covariances(windows, 1, demean)[0]", "lagged_covariances(windows, 1)[0]"),
        ("if form not in get_args(PatternForm)", "if False"),
        ("shared = filters @ cov", "shared = filters"),
        ('if form == "mneflow"', "if True"),
        ('if form == "mneflow"', "if False"),
        ("np.linalg.pinv(shared @ filters.T, hermitian=True)", "np.linalg.inv(shared @ filters.T)"),
        ("np.linalg.pinv(shared @ filters.T, hermitian=True)", "np.linalg.pinv(filters @ filters.T)"),
        ("np.linalg.pinv(shared @ filters.T, hermitian=True)", "(shared @ filters.T)"),
        ("np.linalg.pinv(shared @ filters.T, hermitian=True)", "np.diag(1 / np.diag(shared @ filters.T))"),
        ("kernels.ndim == 2", "True"),
        ("kernels.ndim == 2", "False"),
        ('"kc,okt->oct"', '"kc,kot->oct"'),
        ("if len(lagged) < n_taps", "if False"),
        ("lagged[tap - other] if tap >= other else lagged[other - tap].T", "lagged[abs(tap - other)]"),
        ("lagged[tap - other] if tap >= other else lagged[other - tap].T", "lagged[0]"),
        (
            "lagged[tap - other] if tap >= other else lagged[other - tap].T",
            "lagged[tap - other].T if tap >= other else lagged[other - tap]",
        ),
        ("filters[:, :, other] @ cov.T", "filters[:, :, tap] @ cov.T"),
        ("filters[:, :, other] @ cov.T", "filters[:, :, other] @ cov"),
        ("whole /= np.sqrt(np.where(power > 0, power, 1))", "whole /= np.where(power > 0, power, 1)"),
        ("whole /= np.sqrt(np.where(power > 0, power, 1))", "whole /= np.sqrt(power)"),
        ("whole /= np.sqrt(np.where(power > 0, power, 1))", "whole *= np.sqrt(np.where(power > 0, power, 1))"),
        ("course = temporal[:, 0]", "course = temporal[:, :, 0]"),
        ("np.abs(course).argmax(axis=1)", "course.argmax(axis=1)"),
        ("np.abs(course).argmax(axis=1)", "course.argmin(axis=1)"),
        ("singular[:, 0] ** 2, total", "singular[:, 0], total"),
        ("total = (singular**2).sum(axis=1)", "total = singular.sum(axis=1) ** 2"),
        ("where=total > 0", "where=total > 1e9"),
        ("singular[:, :1] * peak", "singular[:, :1]"),
        ("singular[:, :1] * peak", "peak"),
        ("course / peak, share", "course, share"),
        ("spatial[:, :, 0] * singular", "spatial[:, 0] * singular"),
        ("np.linalg.pinv(outputs - outputs.mean(axis=0))", "np.linalg.pinv(outputs)"),
        ("np.linalg.pinv(outputs - outputs.mean(axis=0))", "(outputs - outputs.mean(axis=0)).T"),
        ("np.tensordot(regression, values, axes=1)", "np.tensordot(outputs.T, values, axes=1)"),
        ("in output_patterns(windows, outputs)", "in windows[: outputs.shape[1]]"),
        ("lagged_covariances(along[None], n_taps)", "lagged_covariances(windows, n_taps)"),
        ("relevance, np.float64).T @", "relevance, np.float64).T**2 @"),
    ],
    "relevance": [
        ("return self.targets.ndim == 1", "return True"),
        ("return self.targets.ndim == 1", "return False"),
        ("self.targets.astype(np.float64)", "np.sign(self.targets)"),
        ("np.eye(len(self.bias))[self", "np.eye(len(self.bias))[::-1][self"),
        ('"nkt,okt->nko"', '"nkt,okt->nk"'),
        ("shares = self.wanted.mean(axis=0)", "shares = np.full(len(self.bias), 1 / len(self.bias))"),
        ("self.weights - np.tensordot(shares", "self.weights + np.tensordot(shares"),
        ("bias=self.bias - shares @ self.bias", "bias=self.bias"),
        ("if not self.classifies:\n            raise", "if False:\n            raise"),
        ("self.features.mean(axis=0, dtype=np.float64)", "np.median(self.features, axis=0)"),
        ("self.features.mean(axis=0, dtype=np.float64)", "self.features.mean(axis=(0, 2), keepdims=True)[0]"),
        ('self.bias + np.einsum("kt,okt->o"', 'self.bias - np.einsum("kt,okt->o"'),
        ("features=self.features - means, bias=bias", "features=self.features - means"),
        ("features=self.features - means, bias=bias", "bias=bias"),
        ("given.sum(axis=1) + self.bias", "given.sum(axis=1)"),
        ("given.sum(axis=1) + self.bias", "given.mean(axis=1) + self.bias"),
        ("given = self.contributions if contributions is None else contributions", "given = self.contributions"),
        ("log_softmax(raw, axis=1)", "log_softmax(raw, axis=0)"),
        ("log_softmax(raw, axis=1)", "raw"),
        ("float(-(log_softmax", "float((log_softmax"),
        (".sum(axis=1).mean())", ".sum(axis=1).sum())"),
        ("((raw - self.wanted) ** 2).mean()", "np.abs(raw - self.wanted).mean()"),
        ("features, wanted = rankdata(features, axis=0), rankdata(wanted, axis=0)", "pass"),
        ("rankdata(features, axis=0), rankdata(wanted, axis=0)", "rankdata(features, axis=0), wanted"),
        ("rankdata(features, axis=0), rankdata(wanted, axis=0)", "features, rankdata(wanted, axis=0)"),
        ("if not self.classifies:\n            features", "if True:\n            features"),
        ("features - features.mean(axis=0), wanted - wanted.mean(axis=0)", "features, wanted - wanted.mean(axis=0)"),
        ("(wanted**2).sum(axis=0)", "(wanted**2).mean(axis=0)"),
        ("(features**2).sum(axis=0)", "(features**2).sum()*np.ones(features.shape[1:])"),
        ("where=norms > 0", "where=norms > -1"),
        ("np.linalg.norm(readout.weights, axis=2)", "readout.weights.sum(axis=2)"),
        ("np.linalg.norm(readout.weights, axis=2)", "np.abs(readout.weights).sum(axis=2)"),
        ("readout.weights.max(axis=2).T", "readout.weights.mean(axis=2).T"),
        ("readout.weights.max(axis=2).T", "np.abs(readout.weights).max(axis=2).T"),
        ("readout.correlations.max(axis=2)", "readout.correlations.mean(axis=2)"),
        ("readout.correlations.max(axis=2)", "np.abs(readout.correlations).max(axis=2)"),
        ("np.abs(readout.weights * readout.correlations)", "(readout.weights * readout.correlations)"),
        ("np.abs(readout.weights * readout.correlations)", "np.abs(readout.weights)"),
        ("np.abs(readout.weights * readout.correlations)", "np.abs(readout.correlations)"),
        ("if not readout.classifies", "if False"),
        ("-log_expit(features), -log_expit(-features)", "-log_expit(-features), -log_expit(features)"),
        ("-log_expit(features), -log_expit(-features)", "log_expit(features), log_expit(-features)"),
        ('np.einsum("no,nkt->okt", 1 - wanted, miss)', "0"),
        ("-distance.min(axis=2)", "distance.min(axis=2)"),
        ("-distance.min(axis=2)", "-distance.max(axis=2)"),
        (".T / len(features)", ".T"),
        ("readout.loss(without) - whole", "whole - readout.loss(without)"),
        ("readout.loss(without) - whole", "readout.loss(without)"),
        ("without[:, k, o] = 0", "without[:, k] = 0"),
        ("without = readout.contributions.copy()", "without = readout.contributions"),
        ("readout.wanted.sum(axis=0)[:, None, None]", "len(readout.wanted)"),
        ("(readout.weights * means).max(axis=2)", "means.max(axis=2)"),
        ("(readout.weights * means).max(axis=2)", "(readout.weights * means).sum(axis=2)"),
        ("left, order = readout.contributions.copy()", "left, order = readout.contributions"),
        ("kept[:, k] = 0", "kept[:, k, 0] = 0"),
        ("least = int(np.argmin(found))", "least = int(np.argmax(found))"),
        ("least = int(np.argmin(found))", "least = 0"),
        ("left[:, order[-1]] = 0", "pass"),
        ("losses.append(found[least])", "losses.append(min(found) - losses[0])"),
        ("shuffled = readout.contributions.copy()", "shuffled = readout.contributions"),
        ("random.permutation(shuffled[:, k])", "0"),
        ("random.permutation(shuffled[:, k])", "random.permuted(shuffled[:, k], axis=1)"),
        ("readout.loss(shuffled) - whole", "readout.loss(shuffled)"),
        ("row[k] = before - loss", "row[k] = loss - before"),
        ("there, loss = nothing.copy(), readout.loss(nothing)", "there, loss = nothing.copy(), readout.loss()"),
        ("in random.permutation(len(row))", "in range(len(row))"),
        ("there, loss = nothing.copy()", "there, loss = nothing"),
        ("np.argsort(-np.asarray(relevance)", "np.argsort(np.asarray(relevance)"),
        ("np.argsort(-np.asarray(relevance), axis=0", "np.argsort(-np.asarray(relevance), axis=1"),
    ],
    "spectra": [
        ("taps[::-1]", "taps"),
        ("fs=sfreq)[1]", "fs=2 * sfreq)[1]"),
        ("(*kernels.shape[:-1], -1)", "(-1, *kernels.shape[:-1])"),
        ('get_window("hann", n_segment)', 'get_window("boxcar", n_segment)'),
        ('get_window("hann", n_segment)', 'get_window("hann", n_segment, fftbins=False)'),
        ("min(n_fft, latent.shape[-1])", "latent.shape[-1]"),
        ("n_segment - n_segment // 2", "n_segment"),
        ('type="constant"', 'type="linear"'),
        ('detrend(segments, type="constant")', "segments"),
        ("* taper, n_fft)", ", n_fft)"),
        ('"kf,nksf->nksf"', '"kf,nksf->nks"'),
        ('if kernels.ndim == 2 else "okf,nksf->nosf"', 'if True else ""'),
        ("response, parts)\n", "np.abs(response), parts)\n"),
        ("response, parts)\n", "np.sqrt(np.abs(response)), parts)\n"),
        ("np.where((freqs == 0) | (2 * freqs == sfreq), 1, 2)", "2"),
        ("np.where((freqs == 0) | (2 * freqs == sfreq), 1, 2)", "1"),
        ("| (2 * freqs == sfreq)", ""),
        ("(sfreq * np.sum(taper**2))", "(sfreq * np.sum(taper) ** 2)"),
        ("(sfreq * np.sum(taper**2))", "np.sum(taper**2)"),
        ("np.abs(part) ** 2", "np.abs(part)"),
        (".mean(axis=(0, 2))", ".sum(axis=(0, 2))"),
        ("Spectra(freqs, power, passed)", "Spectra(freqs, power, power)"),
    ],
    "waveforms": [
        ("np.bincount(classes, minlength=n_classes)", "np.bincount(classes)"),
        ("(2, n_classes, *activations.shape[1:]), np.nan", "(2, n_classes, *activations.shape[1:]), 0"),
        ("activations[classes == c]", "activations[classes >= c]"),
        ("of_class.mean(axis=0)", "np.median(of_class, axis=0)"),
        ("if n > 1", "if n"),
        ("std(axis=0, ddof=1) / np.sqrt(n)", "std(axis=0) / np.sqrt(n)"),
        ("std(axis=0, ddof=1) / np.sqrt(n)", "std(axis=0, ddof=1)"),
        ("np.add.at(sums, of_trial, activations)", "sums[of_trial] = activations"),
        ("np.unique(np.asarray(trials), return_inverse=True)[1]", "np.arange(len(activations))"),
        ("random.multinomial(n_trials,", "random.multinomial(n_trials // 8,"),
        ("np.abs(np.tensordot(drawn, sums, axes=1)).argmax", "np.tensordot(drawn, sums, axes=1).argmax"),
        ("[2.5, 97.5]", "[25, 75]"),
        ("np.abs(sums.sum(axis=0)).argmax", "sums.sum(axis=0).argmax"),
        ("np.abs(sums.sum(axis=0)).argmax", "np.abs(sums[0]).argmax"),
        ("Latency(times[", "Latency(np.arange(len(times))["),
    ],
}  # fmt: skip


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Run the tests of a module of offline.interpretation, given as text, by themselves."""
    tests, settings = tmp_path / "test_copy.py", tmp_path / "pytest.ini"
    tests.write_text(TESTS.read_text(encoding="utf-8"), encoding="utf-8")
    settings.write_text("[pytest]\n", encoding="utf-8")

    def run(name, source):
        other = ModuleType(f"offline.interpretation.{name}")
        exec(compile(source, name, "exec"), vars(other))
        for public in set(interpretation.__all__) & set(vars(other)):
            monkeypatch.setattr(interpretation, public, getattr(other, public))
        plain = ["--import-mode=importlib", "--assert=plain", "-x", "-q", "-W", "error"]
        without = [
            f"-pno:{plugin}"
            for plugin in ("xdist", "timeout", "cacheprovider", "hypothesispytest", "unraisableexception")
        ]
        return pytest.main(["-c", str(settings), *plain, *without, "-k", OF[name], str(tests)])

    yield run
    # Each run is to import it anew.
    sys.modules.pop("test_copy", None)


def source_of(name):
    return getsource(import_module(f"offline.interpretation.{name}"))


@pytest.mark.parametrize("name", MISTAKES)
def test_without_a_mistake_they_pass(outcome, name):
    assert outcome(name, source_of(name)) == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("name", "right", "wrong"), [(name, *mistake) for name, mistakes in MISTAKES.items() for mistake in mistakes]
)
def test_a_mistake_is_noticed(outcome, name, right, wrong):
    source = source_of(name)
    assert source.count(right) == 1
    assert outcome(name, source.replace(right, wrong)) == pytest.ExitCode.TESTS_FAILED
