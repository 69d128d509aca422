"""BrainModule (SimpleConv): residual dilated convolutions, for all channels and people at once.

Défossez, Caucheteux, Rapin, Kabeli, King (2023), Decoding speech perception from non-invasive brain recordings.
Nature Machine Intelligence 5, 1097-1107, doi 10.1038/s42256-023-00714-5.
"""

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from offline.models.base import Network
from offline.models.encoder import Encoder
from offline.models.layers import Single, one_of
from offline.models.spectrum import Spectrum
from offline.models.stepping import ZEROS, Front, Mean, Stepping, over_time, stepping


class BrainModule(Network):
    """Spatial attention, spectrum, subject layer and embedding (each optional), projection, encoder, mean over time.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    hidden : int
        Width of the encoder's first block.
    depth : int
        Blocks.
    kernel : int
        Samples of a block's kernel.
    growth : float
        Width of each block over that of the one before; rounded.
    dilation_growth : float
        Dilation of each block over that of the one before; its whole part counts.
    dilation_period : int or None
        Blocks after which the dilation starts at 1 again.
    dropout, dropout_input : float
        After every block but the last, and of the encoder's input.
    batch_norm : bool
        Whether the blocks' convolutions are followed by one.
    activation : str
        Of the blocks; see `offline.models.layers.NONLINEARITIES`. `gelu` is the exact one.
    skip : bool
        Whether a block adds its input, through a 1x1 convolution where the widths differ.
    glu : int
        A gated linear unit after every so many blocks; 0: none.
    glu_context : int
        Samples it sees on either side.
    n_fft : int or None
        With it, the encoder sees a short-time Fourier transform of every channel, of so many samples (even) and
        half as many from one frame to the next.
    fft_complex : bool
        Whether that is real and imaginary part, or the magnitude.
    channel_dropout : float
        Probability with which a whole channel is set to zero in training.
    channel_dropout_type : str or None
        The type of channel that may be (`eeg`); None: all.
    channel_dropout_rescale : bool
        Whether the others are scaled up by all channels / those that are left.
    n_subjects : int
        People the network is conditioned on; 0: none.
    subject_layers : bool
        Whether each has a matrix of their own over the channels.
    subject_layers_dim : str
        What this gives: as many signals as it gets (`input`), or `hidden` ones.
    subject_layers_identity : bool
        Whether it starts as the identity.
    subject_dim : int
        Width of each one's embedding, set beside the channels; 0: none.
    embedding_scale : float
        What the embedding is multiplied with, which raises its learning rate.
    spatial_attention : bool
        Whether `n_virtual` channels are made first, each a weighted mean of the sensors that depends on where these
        are.
    n_virtual : int
        How many.
    attention_dropout : float
        Radius around a random place within which the attention ignores the sensors in training.
    padding : str
        `same` as published: as many zeros on both sides of every convolution as keep the length; `valid`: none, so
        that the first receptive field - 1 samples of the window are context only.
    causal : bool
        Variant of `same` with all zeros on the left: no value rests on later samples.
    positions : array, (n_channels, 2), optional
        Sensors on a plane, both coordinates in [0, 1]; for spatial attention.
    ch_types : sequence of str, optional
        Types of the channels, for `channel_dropout_type`.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        hidden: int = 320,
        depth: int = 10,
        kernel: int = 3,
        growth: float = 1.0,
        dilation_growth: float = 2.0,
        dilation_period: int | None = 5,
        dropout: float = 0.0,
        dropout_input: float = 0.0,
        batch_norm: bool = True,
        activation: str = "gelu",
        skip: bool = True,
        glu: int = 2,
        glu_context: int = 1,
        n_fft: int | None = None,
        fft_complex: bool = True,
        channel_dropout: float = 0.0,
        channel_dropout_type: str | None = None,
        channel_dropout_rescale: bool = True,
        n_subjects: int = 0,
        subject_layers: bool = False,
        subject_layers_dim: str = "input",
        subject_layers_identity: bool = False,
        subject_dim: int = 0,
        embedding_scale: float = 1.0,
        spatial_attention: bool = False,
        n_virtual: int = 270,
        attention_dropout: float = 0.2,
        padding: str = "same",
        causal: bool = False,
        positions: ArrayLike | None = None,
        ch_types: Sequence[str] | None = None,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        one_of("subject_layers_dim", subject_layers_dim, ("input", "hidden"))
        if (subject_layers or subject_dim) and not n_subjects:
            raise ValueError(
                "subject_layers and subject_dim need to be told who is who: recordings.subject names the part of "
                "the pattern that tells"
            )
        if channel_dropout_type is not None and (ch_types is None or spatial_attention):
            why = "spatial attention makes channels without one" if spatial_attention else "nobody tells them"
            raise ValueError(f"channel_dropout_type needs the types of the channels, and {why}")
        if spatial_attention and positions is None:
            raise ValueError("spatial_attention needs the positions of the sensors")
        n = n_virtual if spatial_attention else n_channels
        self.attention = SpatialAttention(positions, n, attention_dropout) if spatial_attention else None
        self.spectrum = Spectrum(n_fft, fft_complex) if n_fft else None
        self.channel_dropout = None
        if channel_dropout:
            may = [True] * n if channel_dropout_type is None else [t == channel_dropout_type for t in ch_types or ()]
            self.channel_dropout = ChannelDropout(channel_dropout, may, channel_dropout_rescale)
        n *= self.spectrum.n_bins if self.spectrum else 1
        n_layer = hidden if subject_layers_dim == "hidden" else n
        self.subject_layer = nn.Parameter(torch.empty(n_subjects, n, n_layer)) if subject_layers else None
        if self.subject_layer is not None:
            _start_subject_layer(self.subject_layer, subject_layers_identity)
            n = n_layer
        self.embedding = nn.Embedding(n_subjects, subject_dim) if subject_dim else None
        if self.embedding is not None:
            with torch.no_grad():
                self.embedding.weight.div_(embedding_scale)
        self._embedding_scale = embedding_scale
        self.projection = nn.Conv1d(n + subject_dim, hidden, 1)
        self.encoder = Encoder(
            hidden,
            depth,
            kernel,
            growth,
            (dilation_growth, dilation_period),
            (dropout_input, dropout),
            batch_norm,
            activation,
            skip,
            (glu, glu_context),
            "causal" if causal and padding == "same" else padding,
        )
        self.causal = self.encoder.padding != "same"
        self.conditioned = subject_layers or subject_dim > 0
        if self.causal and self.spectrum:
            raise ValueError("a frame of the spectrum rests on later samples: n_fft goes with padding same only")
        if padding == "valid" and self.receptive_field > n_times:
            raise ValueError(
                f"padding valid needs a window of at least {self.receptive_field} samples, the receptive field; "
                f"it has {n_times}"
            )
        self.fc = nn.Linear(self.encoder.n_out, n_outputs)

    def sequence(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Return what the encoder gives (batch, width, n) of windows (batch, n_channels, n_times).

        n is the samples of the window, less the context with padding `valid`, or the frames of the spectrum.
        `subject` (batch,) tells whose each window is; a network for several people needs it.
        """
        if self.attention is not None:
            x = self.attention(x)
        if self.spectrum is not None:
            x = self.spectrum(x)
        if self.channel_dropout is not None:
            x = self.channel_dropout(x)
        if subject is None and self.conditioned:
            raise ValueError("this network needs to be told whose data it sees; see for_subject")
        if self.subject_layer is not None:
            x = torch.einsum("bct,bcd->bdt", x, self.subject_layer[subject])
        if self.embedding is not None:
            embedded = self.embedding(subject) * self._embedding_scale
            x = torch.cat([x, embedded[:, :, None].expand(-1, -1, x.shape[2])], dim=1)
        encoded: Tensor = self.encoder(self.projection(x))
        return encoded

    def features(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Return features (batch, width) of windows (batch, n_channels, n_times): the mean over time."""
        return self.sequence(x, subject).mean(dim=2)

    def forward(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        return self.head(self.features(x, subject))

    @property
    def receptive_field(self) -> int:
        """Samples of the window that one time step of what the encoder gives rests on; zeros count."""
        if self.spectrum is None:
            return self.encoder.receptive_field
        return (self.encoder.receptive_field - 1) * self.spectrum.hop + self.spectrum.n_fft

    def stepping(self) -> Stepping:
        """See Network."""
        if self.encoder.padding != "valid":
            raise ValueError(ZEROS)
        layers = (self.projection, *self.encoder.stepped())
        if self.n_outputs > self.fc.in_features:
            front = Front(self.n_channels, layers)
            return stepping(front, nn.Sequential(Mean(), Single(self.fc)), self.n_times)
        # The mean of what is linear is that of its mean; of fewer values it takes less.
        return stepping(Front(self.n_channels, (*layers, over_time(self.fc))), Mean(), self.n_times)

    def for_subject(self, subject: int) -> Self:
        """Return a copy for one person: matrix, embedding and spatial attention folded into the projection.

        The attention stays where a spectrum stands between.
        """
        network = copy.deepcopy(self)
        # In training the attention ignores the sensors of a random disc: that is not for keeps.
        network.eval()
        weight, bias = self.projection.weight[:, :, 0], self.projection.bias
        assert bias is not None
        if self.embedding is not None:
            n_mixed = weight.shape[1] - self.embedding.embedding_dim
            bias = bias + weight[:, n_mixed:] @ self.embedding.weight[subject] * self._embedding_scale
            weight = weight[:, :n_mixed]
        if self.subject_layer is not None:
            weight = weight @ self.subject_layer[subject].T
        if self.attention is not None and self.spectrum is None:
            assert network.attention is not None
            weight = weight @ network.attention.weights()
            network.attention = network.channel_dropout = None
        network.subject_layer = network.embedding = None
        network.conditioned = False
        network.projection = nn.Conv1d(weight.shape[1], weight.shape[0], 1).to(weight)
        with torch.no_grad():
            network.projection.weight.copy_(weight[:, :, None])
            network.projection.get_parameter("bias").copy_(bias)
        return network.train(self.training)

    def fused(self) -> Self:
        """Return a copy without batch norms, and without spatial attention where it can be folded away."""
        network = copy.deepcopy(self).eval()
        network = network if self.conditioned else network.for_subject(0)
        network.encoder.fuse()
        return network


def _start_subject_layer(layer: nn.Parameter, identity: bool) -> None:
    n_in, n_out = layer.shape[1:]
    if identity and n_in != n_out:
        raise ValueError(f"subject_layers_identity: a matrix from {n_in} to {n_out} signals cannot be the identity")
    with torch.no_grad():
        layer.copy_(torch.eye(n_in).expand_as(layer)) if identity else layer.normal_(std=n_in**-0.5)


class ChannelDropout(nn.Module):
    """Sets whole channels to zero in training.

    Parameters
    ----------
    probability : float
        Of each channel that may be.
    may : sequence of bool
        Which may be.
    rescale : bool
        Whether the others are scaled up by all channels / those that are left.
    """

    def __init__(self, probability: float, may: Sequence[bool], rescale: bool) -> None:
        super().__init__()
        self.probability, self.rescale = probability, rescale
        self.register_buffer("_may", torch.tensor(may), persistent=False)
        self._may: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of (batch, n_channels * n_bins, n_times), a channel with all its bins."""
        if not self.training:
            return x
        n = len(self._may)
        kept = ~((torch.rand(len(x), n, device=x.device) < self.probability) & self._may)
        factor = kept.to(x)
        if self.rescale:
            factor = factor * (n / factor.sum(dim=1, keepdim=True).clamp(min=1))
        return x * factor.repeat_interleave(x.shape[1] // n, dim=1)[:, :, None]


class SpatialAttention(nn.Module):
    """Virtual channels, each a weighted mean of the sensors; weights depend on where the sensors are.

    A softmax over sensors of learned heads times a two-dimensional Fourier embedding of their positions.
    """

    def __init__(
        self,
        positions: ArrayLike | None,
        n_virtual: int,
        dropout: float,
        n_frequencies: int = 32,
        margin: float = 0.2,
    ) -> None:
        super().__init__()
        places = torch.as_tensor(np.asarray(positions, np.float32))
        self.register_buffer("positions", places)
        frequency = 2 * torch.pi * torch.arange(n_frequencies) / (1 + 2 * margin)
        x, y = (places + margin).T
        phase = (x[:, None, None] * frequency[:, None] + y[:, None, None] * frequency).flatten(1)
        self.register_buffer("embedding", torch.cat([torch.cos(phase), torch.sin(phase)], dim=1))
        self.heads = nn.Parameter(torch.randn(n_virtual, 2 * n_frequencies**2) / (2 * n_frequencies**2) ** 0.5)
        self._dropout = dropout
        self.positions: Tensor
        self.embedding: Tensor

    def weights(self) -> Tensor:
        """Return the weights (n_virtual, n_channels); in training without the sensors of a random disc."""
        scores = self.heads @ self.embedding.T
        if self.training and self._dropout:
            centre = torch.rand(2, device=scores.device)
            near = (self.positions - centre).norm(dim=1) <= self._dropout
            if not near.all():
                scores = scores.masked_fill(near, -torch.inf)
        return torch.softmax(scores, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, n_channels, n_times) into (batch, n_virtual, n_times)."""
        return self.weights() @ x
