"""Running a graph, as its form says."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.bound import Bound
from rtdecode.contract import Incremental
from rtdecode.device import DeviceSettings
from rtdecode.errors import ModelError
from rtdecode.model_file import ModelFile
from rtdecode.ring import Features, aligned
from rtdecode.runtime import one_line, place

_WARM_UP_RUNS = 50
_WARM_UP_S = 5.0
# Of a longer window some are made anew.
_MOST_PLACED = 1 << 14
# CUDA loads, allocates and records in the first runs, of either turn.
_UNTIMED_RUNS = {"cpu": 0, "cuda": 4}


class Engine:
    """Runs a graph, as its form says: a window at a time, or what is new of it.

    The input has an aligned place of its own: vector code may sum in another order where memory is aligned
    differently, and a result must not depend on where a window happened to lie.

    Parameters
    ----------
    model : ModelFile
        What to run.
    device : DeviceSettings, optional
        What to run it on; the CPU when not given.

    Attributes
    ----------
    device : DeviceSettings
        What it is run on.
    n_times : int
        Samples that `run` takes.
    run_s : float
        Seconds that `run` takes here: the median of the runs that warmed it up.

    Raises
    ------
    ModelError
        ONNX Runtime cannot load or run the graph.
    ConfigurationError
        The device is not there, or does not run all of it.
    """

    def __init__(self, model: ModelFile, device: DeviceSettings | None = None) -> None:
        device = device or DeviceSettings()
        self._path, self.device = model.path, device
        self._x = aligned(model.inputs["x"])
        self.n_times, self._n_window = self._x.shape[2], model.contract.window.n_times
        self._graph: Bound | _Together | _Divided
        self._stateful: Bound | None = None
        form = model.contract.form
        if isinstance(form, Incremental) and device.name == "cpu":
            self._graph = _in_parts(model, form, self._x, device)
        elif isinstance(form, Incremental):
            self._graph = _joined(model, form, self._x, device)
        else:
            initial = {f"state_{s.name}": s.initial.astype(np.float32) for s in model.contract.states}
            self._graph = Bound(model, model.graph, self._x, initial, device)
            self._stateful = self._graph if initial else None
        self.reset()
        self.run_s, output = self._warm_up()
        if not np.isfinite(output).all():
            raise ModelError(f"{model.path} does not give finite values for a window of zeros.")
        self.reset()

    def _warm_up(self) -> tuple[float, NDArray[np.float32]]:
        """Run often, unless that takes too long: (median of the seconds of a run, what the last one gave)."""
        self._n_run = self._n_window
        for _ in range(_UNTIMED_RUNS[self.device.name]):
            self.run(self._x[0])
        took: list[float] = []
        while len(took) < _WARM_UP_RUNS and sum(took) < _WARM_UP_S:
            before = time.perf_counter()
            output = self.run(self._x[0])
            took.append(time.perf_counter() - before)
        return float(np.median(took)), output

    def reset(self) -> None:
        """Void what is carried from run to run."""
        self._graph.reset()
        self._n_run = 0

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the newest samples (n_channels, n_times); return probabilities or values (n_outputs,).

        NaN, and the states are as at the start, if these would hold what is not finite. In the incremental form NaN
        until the samples of a whole window have been run; what is not finite leaves it with the window.
        """
        self._x[0] = samples
        self._n_run += self.n_times
        try:
            outputs = self._graph.run().copy()
        except Exception as error:  # the runtime's exceptions have no common base
            raise self._cannot_run(error) from None
        if self._n_run < self._n_window or not self._is_sound(outputs):
            outputs.fill(np.nan)
        return outputs

    def _is_sound(self, outputs: NDArray[np.float32]) -> bool:
        if not self._stateful or all(np.isfinite(values).all() for values in (outputs, *self._stateful.carried)):
            return True
        # One artefact would stay in the state for ever.
        self._stateful.reset()
        return False

    def run_bare(self) -> None:
        """Run the graph on what lies there since the last run, and keep nothing: what ONNX Runtime costs alone."""
        try:
            self._graph.run_bare()
        except Exception as error:
            raise self._cannot_run(error) from None

    def _cannot_run(self, error: Exception) -> ModelError:
        return ModelError(f"ONNX Runtime cannot run {self._path}: {one_line(error)}.")


def _joined(model: ModelFile, form: Incremental, x: NDArray[np.float32], device: DeviceSettings) -> Bound:
    from rtdecode.parts import joined

    graph, carried = joined(model, form)
    return Bound(model, graph, x, carried, device)


def _in_parts(
    model: ModelFile, form: Incremental, x: NDArray[np.float32], device: DeviceSettings
) -> "_Together | _Divided":
    from rtdecode.parts import divided, together  # loads late: this form alone needs it

    features = Features(form.n_features, model.inputs["features"][2], form.stride, form.behind)
    if (parts := together(model, features.n_missing(x.shape[2]))) is not None:
        return _Together(model, parts, features, x, device)
    return _Divided(model, divided(model), features, x, device)


class _Windows:
    """What is taken of features, as ONNX Runtime reads it where it stands; made once for each place."""

    def __init__(self, features: Features, n_coming: int, shape: tuple[int, ...], device: DeviceSettings) -> None:
        self._features, self._n_coming, self._shape, self._device = features, n_coming, shape, device
        self._placed = dict[int, Any]()

    def view(self) -> NDArray[np.float32]:
        return self._features.window(self._n_coming).reshape(self._shape)

    def placed(self) -> Any:
        at = self._features.place(self._n_coming)
        if at not in self._placed:
            if len(self._placed) == _MOST_PLACED:
                self._placed.clear()
            self._placed[at] = place(self.view(), self._device)
        return self._placed[at]


class _Together:
    """An incremental graph in one, but for the features of earlier runs: it reads them where they are kept."""

    def __init__(
        self,
        model: ModelFile,
        parts: tuple[bytes, dict[str, NDArray[np.float32]], tuple[int, ...]],
        features: Features,
        x: NDArray[np.float32],
        device: DeviceSettings,
    ) -> None:
        graph, past, shape = parts
        self._features, self._older = features, _Windows(features, x.shape[2], shape, device)
        self._graph = Bound(model, graph, x, past, device, {"features": self._older.view()})
        self._new = self._graph.told["next_features"][0]

    def reset(self) -> None:
        self._graph.reset()
        self._features.clear()

    def run(self) -> NDArray[np.float32]:
        self._graph.read_next(self._older.placed(), "features")
        outputs = self._graph.run()
        self._features.write(self._new)
        return outputs

    def run_bare(self) -> None:
        self._graph.run_bare()


class _Divided:
    """An incremental graph in two parts, and the features between them."""

    def __init__(
        self,
        model: ModelFile,
        parts: tuple[bytes, bytes, dict[str, NDArray[np.float32]]],
        features: Features,
        x: NDArray[np.float32],
        device: DeviceSettings,
    ) -> None:
        front, head, past = parts
        self._features, self._window = features, _Windows(features, 0, model.inputs["features"], device)
        self._front = Bound(model, front, x, past, device)
        self._head = Bound(model, head, self._window.view(), {}, device)

    def reset(self) -> None:
        self._front.reset()
        self._features.clear()

    def run(self) -> NDArray[np.float32]:
        self._features.write(self._front.run())
        self._head.read_next(self._window.placed())
        return self._head.run()

    def run_bare(self) -> None:
        self._front.run_bare()
        self._head.run_bare()
