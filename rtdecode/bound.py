"""A graph whose inputs and outputs keep their places from run to run."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtdecode.model_file import ModelFile
from rtdecode.ring import aligned
from rtdecode.runtime import open_session, place


class Bound:
    """A graph in ONNX Runtime, bound to the memory it reads and writes, and what it carries from run to run.

    What is carried has two places: a run reads the one and writes the other, which the next run reads. So nothing is
    copied, and a run allocates nothing. All memory is aligned: vector code may sum in another order where it is not.

    Parameters
    ----------
    model : ModelFile
        Whose it is.
    graph : bytes
        The model's graph or a part of it, with one input besides those that are carried. Its first output is told;
        the others are carried, each to the input that is called as it is without `next_`.
    given : array of float32
        Where that input is read from at every run: write to it.
    initial : mapping of str to array of float32
        What is carried to the first run, by the names of the inputs.
    """

    def __init__(
        self, model: ModelFile, graph: bytes, given: NDArray[np.float32], initial: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._session = open_session(model, graph)
        (self._name,) = (value.name for value in self._session.get_inputs() if value.name not in initial)
        self._told = aligned(tuple(self._session.get_outputs()[0].shape))
        self._initial, self._turn = initial, 0
        # What carries nothing has one place for it.
        self._carried = [
            {name: place(aligned(value.shape)) for name, value in initial.items()} for _ in range(2 if initial else 1)
        ]
        self._bindings = [self._session.io_binding() for _ in self._carried]
        for turn, binding in enumerate(self._bindings):
            binding.bind_ortvalue_output(self._session.get_outputs()[0].name, place(self._told))
            for name, value in self._carried[turn].items():
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(f"next_{name}", self._carried[1 - turn][name])
        self.read(given)
        self.reset()

    @property
    def carried(self) -> list[NDArray[np.float32]]:
        """Copies of what is carried to the next run."""
        return [value.numpy() for value in self._carried[self._turn].values()]

    def reset(self) -> None:
        """Set what is carried back to what it was before the first run."""
        for name, value in self._carried[self._turn].items():
            value.update_inplace(self._initial[name])

    def read(self, given: NDArray[np.float32]) -> None:
        """Read the input from there from now on."""
        for binding in self._bindings:
            binding.bind_cpu_input(self._name, given)

    def run(self) -> NDArray[np.float32]:
        """Return the first output without its first dimension; it is overwritten by the next run."""
        self.run_bare()
        self._turn = (self._turn + 1) % len(self._bindings)
        told: NDArray[np.float32] = self._told[0]
        return told

    def run_bare(self) -> None:
        """Run, and carry nothing."""
        self._session.run_with_iobinding(self._bindings[self._turn])
