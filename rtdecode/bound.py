"""A graph whose inputs and outputs keep their places from run to run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.device import DeviceSettings
from rtdecode.model_file import ModelFile
from rtdecode.ring import aligned
from rtdecode.runtime import open_session, place, run_options


class Bound:
    """A graph in ONNX Runtime, bound to the memory it reads and writes, and what it carries from run to run.

    What is carried has two places: a run reads the one and writes the other, which the next run reads. So nothing is
    copied, and a run allocates nothing. All memory is aligned: vector code may sum in another order where it is not.
    On another device than the CPU what is carried stays there; what is given is copied to it, what is told from it.

    Parameters
    ----------
    model : ModelFile
        Whose it is.
    graph : bytes
        The model's graph or a part of it. Each output is told, or carried to the input that is called as it is
        without `next_`; the first one is told.
    given : array of float32
        Where the first input is read from at every run: write to it.
    initial : mapping of str to array of float32
        What is carried to the first run, by the names of the inputs.
    device : DeviceSettings
        What it is run on.
    more : mapping of str to array of float32, optional
        Where inputs beyond these are read from.

    Attributes
    ----------
    told : dict of str to array of float32
        What the last run told, by the names of the outputs, where it runs on the CPU; the next one overwrites it.
    """

    def __init__(
        self,
        model: ModelFile,
        graph: bytes,
        given: NDArray[np.float32],
        initial: Mapping[str, NDArray[np.float32]],
        device: DeviceSettings,
        more: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    ) -> None:
        self._device, self._here = device, device.name == "cpu"
        self._session = open_session(model, graph, device)
        (self._name,) = {value.name for value in self._session.get_inputs()}.difference(initial, more)
        carried = {f"next_{name}" for name in initial}
        shapes = {value.name: value.shape for value in self._session.get_outputs() if value.name not in carried}
        self.told = {name: aligned(tuple(shape)) for name, shape in shapes.items()}
        told_there = {name: place(memory, device) for name, memory in self.told.items()}
        self._first, self._first_there = next(iter(self.told.values())), next(iter(told_there.values()))
        self._initial, self._turn = initial, 0
        # What carries nothing has one place for it.
        self._carried = [
            {name: place(aligned(value.shape), device) for name, value in initial.items()}
            for _ in range(2 if initial else 1)
        ]
        self._bindings = [self._session.io_binding() for _ in self._carried]
        self._options = [run_options(device, turn) for turn, _ in enumerate(self._bindings)]
        for turn, binding in enumerate(self._bindings):
            for name, value in told_there.items():
                binding.bind_ortvalue_output(name, value)
            for name, value in self._carried[turn].items():
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(f"next_{name}", self._carried[1 - turn][name])
        self.read(given)
        for name, memory in more.items():
            self.read(memory, name)
        self.reset()

    @property
    def carried(self) -> list[NDArray[np.float32]]:
        """Copies of what is carried to the next run."""
        return [value.numpy() for value in self._carried[self._turn].values()]

    def reset(self) -> None:
        """Set what is carried back to what it was before the first run."""
        for name, value in self._carried[self._turn].items():
            value.update_inplace(self._initial[name])

    def read(self, memory: NDArray[np.float32], name: str = "") -> None:
        """Read the first input, or that of a name, from there from now on."""
        if not self._here:
            # Of what was given it is a copy that is read: each run renews it.
            self._given, self._given_there = memory, place(memory, self._device)
        for binding in self._bindings:
            if self._here:
                binding.bind_cpu_input(name or self._name, memory)
            else:
                binding.bind_ortvalue_input(name or self._name, self._given_there)

    def read_next(self, memory: Any, name: str = "") -> None:
        """Read an input in the next run from what `runtime.place` returned, on the CPU."""
        self._bindings[self._turn].bind_ortvalue_input(name or self._name, memory)

    def run(self) -> NDArray[np.float32]:
        """Return the first output without its first dimension; it may be overwritten by the next run."""
        if not self._here:
            self._given_there.update_inplace(self._given)
        self.run_bare()
        self._turn = (self._turn + 1) % len(self._bindings)
        told: NDArray[np.float32] = (self._first if self._here else self._first_there.numpy())[0]
        return told

    def run_bare(self) -> None:
        """Run, and carry nothing."""
        self._session.run_with_iobinding(self._bindings[self._turn], self._options[self._turn])
