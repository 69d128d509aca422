"""Memory from window to window: a recurrent cell between a network's features and its last layer."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from offline.models.base import Network
from offline.models.closed_form import ClosedForm
from offline.models.layers import one_of
from offline.models.stepping import Stepping


class Recurrent(Network):
    """A network that is trained on sequences of successive windows and run one window at a time.

    Parameters
    ----------
    network : Network
        What gives the features of each window; copied. Its last layer starts anew behind the cell.
    cell : str
        `gru` (Cho et al. 2014, doi 10.3115/v1/D14-1179) or `lstm` (Hochreiter and Schmidhuber 1997, doi
        10.1162/neco.1997.9.8.1735).
    hidden : int
        Width of the cell's state.

    Its state is `h`, with `lstm` also `c`, each (batch, hidden).

    Raises
    ------
    ValueError
        The network has no last layer `fc`, is fitted in closed form, or tells people apart.
    """

    def __init__(self, network: Network, cell: str = "gru", hidden: int = 32) -> None:
        super().__init__(network.n_channels, network.n_times, network.n_outputs)
        one_of("cell", cell, ("gru", "lstm"))
        last = getattr(network, "fc", None)
        if not isinstance(last, nn.Linear):
            raise ValueError("a recurrent cell needs a network whose last layer is its `fc`")
        if isinstance(network, ClosedForm):
            raise ValueError("a recurrent cell needs a network that learns by gradient descent")
        if network.conditioned:
            raise ValueError("a recurrent cell needs a network that does not tell people apart")
        self.network = copy.deepcopy(network)
        self.network.fc = nn.Linear(hidden, network.n_outputs)
        self.network.start_head()
        self.network.constrain()
        make = nn.GRU if cell == "gru" else nn.LSTM
        self.cell = make(last.in_features, hidden, batch_first=True)
        self.state_names = ("h",) if cell == "gru" else ("h", "c")

    def features(self, x: Tensor) -> Tensor:
        """Return the cell's states (batch, n_windows, hidden) over sequences (batch, n_windows, n_channels, n_times).

        Each sequence starts from a state of zeros.
        """
        hidden: Tensor = self.cell(self._features(x.flatten(0, 1)).reshape(*x.shape[:2], -1))[0]
        return hidden

    def head(self, features: Tensor) -> Tensor:
        """Turn states (batch, n_windows, hidden) into what `forward` gives (batch, n_windows, n_outputs)."""
        raw: Tensor = self.network.fc(features)
        return raw

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See Network."""
        weights = [self.cell.get_parameter(f"{kind}_l0") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        features = self._features(x)
        following: tuple[Tensor, ...]
        if isinstance(self.cell, nn.LSTM):
            following = torch.lstm_cell(features, state, *weights)
        else:
            following = (torch.gru_cell(features, state[0], *weights),)
        return self.network.fc(following[0]), *following

    def stepping(self) -> Stepping:
        """See Network: none."""
        raise ValueError("its cell goes from window to window")

    def initial_state(self, n_windows: int = 1) -> tuple[Tensor, ...]:
        """See Network."""
        return tuple(torch.zeros(n_windows, self.cell.hidden_size) for _ in self.state_names)

    def penalty(self) -> Tensor | None:
        """See Network."""
        return self.network.penalty()

    def constrain(self) -> None:
        """See Network."""
        self.network.constrain()

    def replace_head(self, n_outputs: int) -> None:
        """See Network."""
        self.network.replace_head(n_outputs)

    def fused(self) -> Self:
        """Return a copy that computes the same outputs in evaluation mode with fewer operations."""
        recurrent = copy.deepcopy(self).eval()
        recurrent.network = recurrent.network.fused()
        return recurrent.eval()

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.dropout(self.network.features(x))
        return features.flatten(1)
