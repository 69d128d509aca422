"""BrainModule (SimpleConv): residual dilated convolutions, for all channels and people at once.

Défossez, Caucheteux, Rapin, Kabeli, King (2023), Decoding speech perception from non-invasive brain recordings.
Nature Machine Intelligence 5, 1097-1107, doi 10.1038/s42256-023-00714-5.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network, one_of

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": torch.relu, "elu": F.elu}


class BrainModule(Network):
    """Spatial attention, subject layer and embedding (each optional), projection, encoder, mean over time.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    hidden : int
        Width of the encoder's first block.
    depth : int
        Blocks.
    kernel : int
        Samples of a block's kernel, as many zeros on both sides as keep the length.
    growth : float
        Width of each block over that of the one before.
    dilation_growth : float
        Dilation of each block over that of the one before.
    dilation_period : int or None
        Blocks after which the dilation starts at 1 again.
    dropout, dropout_input : float
        After every block but the last, and of the encoder's input.
    batch_norm : bool
        Whether the blocks' convolutions are followed by one.
    activation : str
        `gelu` (exact), `relu` or `elu`.
    skip : bool
        Whether a block adds its input, through a 1x1 convolution where the widths differ.
    glu : int
        A gated linear unit after every so many blocks; 0: none.
    glu_context : int
        Samples it sees on either side.
    channel_dropout : float
        Probability with which a whole channel is set to zero in training; the others are scaled up.
    n_subjects : int
        People the network is conditioned on; 0: none.
    subject_layers : bool
        Whether each has a matrix of their own over the channels.
    subject_layers_identity : bool
        Whether these start as the identity.
    subject_dim : int
        Width of each one's embedding, set beside the channels; 0: none.
    embedding_scale : float
        What the embedding is multiplied with, which raises its learning rate.
    positions : array, (n_channels, 2), optional
        Sensors on a plane, both coordinates in [0, 1]. With them, spatial attention comes first.
    n_virtual : int
        Channels the spatial attention makes.
    attention_dropout : float
        Radius around a random place within which it ignores the sensors in training.
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
        channel_dropout: float = 0.0,
        n_subjects: int = 0,
        subject_layers: bool = False,
        subject_layers_identity: bool = False,
        subject_dim: int = 0,
        embedding_scale: float = 1.0,
        positions: ArrayLike | None = None,
        n_virtual: int = 270,
        attention_dropout: float = 0.2,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        one_of("activation", activation, _ACTIVATIONS)
        if (subject_layers or subject_dim) and not n_subjects:
            raise ValueError("subject_layers and subject_dim need n_subjects")
        self.attention = None
        n_inputs = n_channels
        if positions is not None:
            self.attention = SpatialAttention(positions, n_virtual, attention_dropout)
            n_inputs = n_virtual
        self.channel_dropout = channel_dropout
        self.subject_layer = nn.Parameter(torch.empty(n_subjects, n_inputs, n_inputs)) if subject_layers else None
        if self.subject_layer is not None:
            with torch.no_grad():
                if subject_layers_identity:
                    self.subject_layer.copy_(torch.eye(n_inputs).expand_as(self.subject_layer))
                else:
                    self.subject_layer.normal_(std=n_inputs**-0.5)
        self.embedding = nn.Embedding(n_subjects, subject_dim) if subject_dim else None
        if self.embedding is not None:
            with torch.no_grad():
                self.embedding.weight.div_(embedding_scale)
        self._embedding_scale, self._n_inputs = embedding_scale, n_inputs
        self.projection = nn.Conv1d(n_inputs + subject_dim, hidden, 1)
        self.encoder = Encoder(
            [hidden, *(round(hidden * growth**k) for k in range(depth))],
            kernel,
            [dilation_growth ** (k % dilation_period if dilation_period else k) for k in range(depth)],
            (dropout_input, dropout),
            batch_norm,
            _ACTIVATIONS[activation],
            skip,
            (glu, glu_context),
        )
        self.fc = nn.Linear(self.encoder.n_out, n_outputs)

    def features(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Return features (batch, width) of windows (batch, n_channels, n_times).

        `subject` (batch,) tells whose each window is; a network for several people needs it.
        """
        if self.attention is not None:
            x = self.attention(x)
        if self.training and self.channel_dropout:
            kept = (torch.rand(x.shape[0], x.shape[1], 1, device=x.device) >= self.channel_dropout).to(x)
            x = x * kept * (x.shape[1] / kept.sum(dim=1, keepdim=True).clamp(min=1))
        if subject is None and (self.subject_layer is not None or self.embedding is not None):
            raise ValueError("this network needs to be told whose data it sees; see for_subject")
        if self.subject_layer is not None:
            x = torch.einsum("bct,bcd->bdt", x, self.subject_layer[subject])
        if self.embedding is not None:
            embedded = self.embedding(subject) * self._embedding_scale
            x = torch.cat([x, embedded[:, :, None].expand(-1, -1, x.shape[2])], dim=1)
        encoded: Tensor = self.encoder(self.projection(x)).mean(dim=2)
        return encoded

    def forward(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.features(x, subject))
        return logits

    def for_subject(self, subject: int) -> "BrainModule":
        """Return the same network for one person: attention, matrix and embedding folded into the projection."""
        weight, bias = self.projection.weight[:, :, 0], self.projection.bias
        assert bias is not None
        mixing, bias = weight[:, : self._n_inputs], bias.clone()
        if self.embedding is not None:
            bias = bias + weight[:, self._n_inputs :] @ self.embedding.weight[subject] * self._embedding_scale
        if self.subject_layer is not None:
            mixing = mixing @ self.subject_layer[subject].T
        if self.attention is not None:
            mixing = mixing @ self.attention.weights()
        plain = BrainModule(self.n_channels, self.n_times, self.n_outputs, hidden=len(bias), depth=0)
        with torch.no_grad():
            plain.projection.weight.copy_(mixing[:, :, None])
            plain.projection.bias.copy_(bias)  # type: ignore[union-attr]
        plain.encoder, plain.fc = self.encoder, self.fc
        return plain.train(self.training)


class Encoder(nn.Module):
    """Blocks x = skip(x) + activation(norm(convolution(x))), with a gated linear unit after every few."""

    def __init__(
        self,
        widths: Sequence[int],
        kernel: int,
        dilations: Sequence[float],
        dropouts: tuple[float, float],
        batch_norm: bool,
        activation: Callable[[Tensor], Tensor],
        skip: bool,
        glu: tuple[int, int],
    ) -> None:
        super().__init__()
        every, context = glu
        self.blocks, self.skips, self.glus = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        self._pads: list[tuple[int, int]] = []
        for k, dilation in enumerate(dilations):
            n_in, n_out, step = widths[k], widths[k + 1], int(dilation)
            layers: list[nn.Module] = [nn.Conv1d(n_in, n_out, kernel, dilation=step)]
            if batch_norm:
                layers.append(nn.BatchNorm1d(n_out))
            self.blocks.append(nn.Sequential(*layers))
            self.skips.append(nn.Identity() if n_in == n_out else nn.Conv1d(n_in, n_out, 1))
            self._pads.append(((kernel - 1) * step // 2, (kernel - 1) * step - (kernel - 1) * step // 2))
            if every and (k + 1) % every == 0:
                self.glus[str(k)] = nn.Conv1d(n_out, 2 * n_out, 1 + 2 * context, padding=context)
        self.n_out = widths[-1]
        self._dropouts, self._activation, self._skip = dropouts, activation, skip

    def forward(self, x: Tensor) -> Tensor:
        """Encode (batch, widths[0], n_times) to (batch, widths[-1], n_times)."""
        x = F.dropout(x, self._dropouts[0], self.training)
        for k, (block, skip, pad) in enumerate(zip(self.blocks, self.skips, self._pads, strict=True)):
            new = self._activation(block(F.pad(x, pad)))
            if k < len(self.blocks) - 1:
                new = F.dropout(new, self._dropouts[1], self.training)
            x = skip(x) + new if self._skip else new
            if str(k) in self.glus:
                x = F.glu(self.glus[str(k)](x), dim=1)
        return x


class SpatialAttention(nn.Module):
    """Virtual channels, each a weighted mean of the sensors; weights depend on where the sensors are.

    A softmax over sensors of learned heads times a two-dimensional Fourier embedding of their positions.
    """

    def __init__(
        self, positions: ArrayLike, n_virtual: int, dropout: float, n_frequencies: int = 32, margin: float = 0.2
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
