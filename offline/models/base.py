"""What every network is."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offline.models.stepping import Stepping
from rtdecode.errors import ConfigurationError


@dataclass(frozen=True)
class Inputs:
    """What a network is built for.

    Attributes
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes or regression targets.
    sfreq : float
        Rate of the samples in Hz.
    ch_names : tuple of str
        Names of the channels that leave the preprocessing.
    positions : tuple of (float, float), or None
        Where each of them is on a plane, both coordinates in [0, 1]; None when the recordings do not tell.
    ch_types : tuple of str, or None
        The type of each of them.
    unplaced : tuple of str
        The channels whose positions the recordings do not tell.
    n_subjects : int
        People whose data are told apart; 0: nobody's.
    """

    n_channels: int
    n_times: int
    n_outputs: int
    sfreq: float
    ch_names: tuple[str, ...]
    positions: tuple[tuple[float, float], ...] | None = None
    ch_types: tuple[str, ...] | None = None
    unplaced: tuple[str, ...] = ()
    n_subjects: int = 0

    def placed(self, network: str) -> tuple[tuple[float, float], ...]:
        """Return the positions; ConfigurationError if they are unknown and `network` needs them."""
        if self.positions is None:
            names = self.unplaced or self.ch_names
            some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise ConfigurationError(
                f"Network {network!r} asks where the sensors are, which the recordings do not tell of {some}. "
                "Set a montage in the recordings; behind bipolar or other spatial steps with new names there is none."
            )
        return self.positions


class Network(nn.Module, ABC):
    """A decoder's computational graph: windows in, logits out.

    A network is its `features`; dropout and the last layer `fc` follow.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes or regression targets.
    dropout : float
        Of the features.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer.
    causal : bool
        Whether the features that `sequence` gives rest on no later sample. False makes no claim; a claim is
        tried out at export.
    conditioned : bool
        Whether `forward` also takes a `subject` (batch,): whose each window is.
    n_bands : int
        How many bands the filter bank has that the network was made to stand behind; 1: none.
    state_names : tuple of str
        Tensors that are carried from one window to the next; a network without any sees each window by itself.
    """

    causal: bool = False
    conditioned: bool = False
    n_bands: int = 1
    state_names: tuple[str, ...] = ()
    fc: nn.Linear

    def __init__(self, n_channels: int, n_times: int, n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_channels, self.n_times, self.n_outputs = n_channels, n_times, n_outputs
        self.dropout: nn.Module = nn.Dropout(dropout)
        self.register_buffer("target_mean", None)
        self.register_buffer("target_std", None)
        self.target_mean: Tensor | None
        self.target_std: Tensor | None
        self.target_log = False
        self.register_buffer("sharpness", None)
        self.sharpness: Tensor | None

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, ...) of windows (batch, n_channels, n_times)."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits or standardised values (batch, n_outputs)."""
        return self.head(self.features(x))

    def head(self, features: Tensor) -> Tensor:
        """Turn features (batch, ...) into what `forward` gives (batch, n_outputs)."""
        raw: Tensor = self.fc(self.dropout(features).flatten(1))
        return raw

    def with_head(self, n_outputs: int) -> "Network":
        """Return a copy with all weights but those of the last layer, which starts anew with `n_outputs`."""
        network = copy.deepcopy(self)
        network.n_outputs, network.target_mean, network.target_std = n_outputs, None, None
        network.sharpness = None
        network.replace_head(n_outputs)
        network.constrain()
        return network.train(self.training)

    def replace_head(self, n_outputs: int) -> None:
        """Put a new last layer in the place of the old one."""
        self.fc = nn.Linear(self.fc.in_features, n_outputs).to(self.fc.weight)
        self.start_head()

    def start_head(self) -> None:
        """Give the last layer the weights it starts with: torch's own, unless the publication tells."""

    def set_targets(self, mean: Tensor, std: Tensor, log: bool = False) -> None:
        """Make it a regression: what `forward` gives is in standard deviations (n_outputs,) about the mean.

        With `log` these are of the targets' logarithms.
        """
        self.target_mean, self.target_std, self.target_log = mean, std, log

    def set_temperature(self, temperature: float) -> None:
        """Divide the logits by this before the softmax, in place of what was set before."""
        self.sharpness = torch.tensor(1 / temperature)

    def outputs(self, x: Tensor, **more: Tensor) -> Tensor:
        """Return what the decoder file gives: class probabilities, or values in the targets' units.

        `more` goes to `forward` (the `subject` of each window, for a network that is conditioned on people).
        """
        return self.told(self(x, **more))

    def initial_state(self, n_windows: int = 1) -> tuple[Tensor, ...]:
        """Return the state before the first window: zeros (n_windows, width) for each of `state_names`."""
        return ()

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Turn windows (batch, n_channels, n_times) and the state into what `forward` gives, and the next state."""
        return (self(x),)

    def step_outputs(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return what the decoder file gives for windows, and the next state."""
        raw, *following = self.step(x, *state)
        return self.told(raw), *following

    def told(self, raw: Tensor) -> Tensor:
        """Turn what `forward` gives (batch, n_outputs) into what the decoder file gives."""
        if self.target_mean is None or self.target_std is None:
            return torch.softmax(raw if self.sharpness is None else raw * self.sharpness, dim=-1)
        values = raw * self.target_std + self.target_mean
        return torch.exp(values) if self.target_log else values

    @property
    def output_scale(self) -> Tensor:
        """What differences of outputs are measured in: 1 for probabilities, a standard deviation for values.

        Of a logarithm: what one makes of its mean.
        """
        if self.target_mean is None or self.target_std is None:
            return torch.ones(self.n_outputs)
        return self.target_std * torch.exp(self.target_mean) if self.target_log else self.target_std

    def for_subject(self, subject: int) -> "Network":
        """Return the network for one person, which runs without being told whose data it sees."""
        return self

    def fused(self) -> "Network":
        """Return what computes the same outputs in evaluation mode with fewer operations: a copy, or itself.

        Only linear neighbours are merged, so it differs by rounding alone.
        """
        return self

    def stepping(self) -> Stepping:
        """Return the incremental form, of a network in evaluation mode that is `fused`.

        Raises
        ------
        ValueError
            It has none; the message says why, in the words of `inspect`.
        """
        raise ValueError("the network looks at the window as a whole")

    @property
    def receptive_field(self) -> int | None:
        """Samples of the window that one time step of the features rests on; None: the whole window."""
        return None

    def sequence(self, x: Tensor) -> Tensor:
        """Return a feature vector per sample, of a network that is `causal`.

        Parameters
        ----------
        x : Tensor, (batch, n_channels, n_times)
            Windows.

        Returns
        -------
        Tensor, (batch, width, n_times')
            The last column belongs to the newest sample. There are fewer than n_times where nothing is padded.
        """
        raise NotImplementedError(f"{type(self).__name__} has no features per sample")

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss in training, or None."""
        return None

    def constrain(self) -> None:
        """Bring the weights back to what the network allows (norms); called after every training step."""
