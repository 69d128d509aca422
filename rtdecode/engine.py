"""Running a graph, as its form says."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Incremental
from rtdecode.errors import ModelError
from rtdecode.model_file import ModelFile
from rtdecode.ring import Features, aligned
from rtdecode.runtime import one_line, open_session

_WARM_UP_RUNS = 50
_WARM_UP_S = 5.0


class Engine:
    """Runs a graph, as its form says: a window at a time, or what is new of it.

    The input has an aligned place of its own: vector code may sum in another order where memory is aligned
    differently, and a result must not depend on where a window happened to lie.

    Parameters
    ----------
    model : ModelFile
        What to run.

    Attributes
    ----------
    n_times : int
        Samples that `run` takes.
    run_s : float
        Seconds that `run` takes here: the median of the runs that warmed it up.
    """

    def __init__(self, model: ModelFile) -> None:
        self._x = aligned(model.inputs["x"])
        self.n_times = self._x.shape[2]
        form, outputs = model.contract.form, list(model.outputs)
        self._head: _Session | None = None
        if isinstance(form, Incremental):
            # Needed for this form alone, and it takes its time to load.
            from rtdecode.parts import divided

            shapes = {name: shape for name, shape in model.inputs.items() if name.startswith("past_")}
            past = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            following = [f"next_{name}" for name in ("features", *past)]
            front, head = divided(model, ["x", *past], following)
            self._front, self._head = _Session(model, front, following, past), _Session(model, head, outputs[:1])
            width = model.inputs["features"][2]
            self._features = Features(form.n_features, width, form.stride, form.behind)
            self._n_window, self._n_outputs = model.contract.window.n_times, len(model.contract.outputs.names)
        else:
            states = {f"state_{s.name}": s.initial.astype(np.float32) for s in model.contract.states}
            self._front = _Session(model, model.graph, outputs, states)
        self.reset()
        try:
            self.run_s, output = self._warm_up()
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot run {model.path}: {one_line(error)}.") from None
        if not np.isfinite(output).all():
            raise ModelError(f"{model.path} does not give finite values for a window of zeros.")
        self.reset()

    def _warm_up(self) -> tuple[float, NDArray[np.float32]]:
        """Run often, unless that takes too long: (median of the seconds of a run, what the last one gave)."""
        if self._head:
            self._features.written = self._n_window
        took: list[float] = []
        while len(took) < _WARM_UP_RUNS and sum(took) < _WARM_UP_S:
            before = time.perf_counter()
            output = self.run(self._x[0])
            took.append(time.perf_counter() - before)
        return float(np.median(took)), output

    def reset(self) -> None:
        """Void what is carried from run to run."""
        self._front.reset()
        if self._head:
            self._features.clear()

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the newest samples (n_channels, n_times); return probabilities or values (n_outputs,).

        NaN, and the states are as at the start, if these would hold what is not finite. In the incremental form NaN
        until the samples of a whole window have been run; what is not finite leaves it with the window.
        """
        self._x[0] = samples
        given = self._front.run("x", self._x)
        if self._head is None:
            return self._sound(given)
        self._features.write(given)
        if self._features.written < self._n_window:
            return np.full(self._n_outputs, np.nan, np.float32)
        return self._head.run("features", self._features.window()[None])

    def _sound(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        carried = self._front.carried
        if carried and not all(np.isfinite(values).all() for values in (outputs, *carried)):
            # One artefact would stay in the state for ever.
            self._front.reset()
            return np.full_like(outputs, np.nan)
        return outputs

    def run_bare(self) -> None:
        """Run the graph on what lies there since the last run, and keep nothing: what ONNX Runtime costs alone."""
        self._front.run_bare()
        if self._head:
            self._head.run_bare()


class _Session:
    """A graph in ONNX Runtime, and what it carries from run to run.

    Parameters
    ----------
    model : ModelFile
        Whose it is.
    graph : bytes
        The model's graph or a part of it.
    outputs : sequence of str
        What it gives: the first one is told, the others are those that are carried.
    initial : mapping of str to array
        What they are before the first run, by the names of the inputs.

    Attributes
    ----------
    carried : list of array
        What is carried to the next run.
    """

    def __init__(
        self,
        model: ModelFile,
        graph: bytes,
        outputs: Sequence[str],
        initial: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self._session = open_session(model, graph)
        self._outputs, self._initial = list(outputs), initial or {}
        self._following = [name.removeprefix("next_") for name in outputs[1:]]
        self.reset()

    def reset(self) -> None:
        """Set what is carried back to what it was before the first run."""
        self._feed: dict[str, Any] = dict(self._initial)
        self.carried: list[NDArray[np.float32]] = list(self._initial.values())

    def run_bare(self) -> None:
        """Run on what was given last, and keep nothing."""
        self._session.run(self._outputs, self._feed)

    def run(self, name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the graph an input; return the first output without its first dimension."""
        self._feed[name] = value
        told, *self.carried = self._session.run(self._outputs, self._feed)
        self._feed.update(zip(self._following, self.carried, strict=True))
        first: NDArray[np.float32] = told[0]
        return first
