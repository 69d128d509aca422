"""BrainModule's encoder (doi 10.1038/s42256-023-00714-5): residual dilated convolutions and gated linear units."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.layers import Nonlinearity, folded, one_of
from offline.models.stepping import Stepped


class Encoder(nn.Module):
    """Blocks x = skip(x) + activation(norm(convolution(x))), with a gated linear unit after every few.

    Parameters
    ----------
    hidden, depth, kernel : int
        Width of the input and of the first block, blocks, samples of their kernels.
    growth : float
        Width of each block over that of the one before; rounded.
    dilation : tuple of (float, int or None)
        Dilation of each block over that of the one before, and after how many blocks it starts at 1 again.
    dropouts : tuple of (float, float)
        Of the input, and after every block but the last.
    batch_norm : bool
        Whether the convolutions are followed by one.
    activation : str
        See `offline.models.layers.NONLINEARITIES`.
    skip : bool
        Whether a block adds its input, through a 1x1 convolution where the widths differ.
    glu : tuple of (int, int)
        After how many blocks there is a gated linear unit (0: never), and how many samples it sees on either side.
    padding : str
        Zeros on both sides (`same`; of an odd number one more on the right), on the left (`causal`), none (`valid`).
    """

    def __init__(
        self,
        hidden: int,
        depth: int,
        kernel: int,
        growth: float,
        dilation: tuple[float, int | None],
        dropouts: tuple[float, float],
        batch_norm: bool,
        activation: str,
        skip: bool,
        glu: tuple[int, int],
        padding: str,
    ) -> None:
        super().__init__()
        one_of("padding", padding, ("same", "causal", "valid"))
        every, context = glu
        if min(hidden, depth, kernel) < 1 or min(every, context) < 0:
            raise ValueError("hidden, depth and kernel must be at least 1, glu and glu_context 0 or more")
        self.padding, self._reaches, self._context = padding, list[int](), 2 * context
        self.blocks, self.skips, self.glus = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        n_in = hidden
        for k, step in enumerate(_dilations(depth, *dilation)):
            n_out = round(hidden * growth**k)
            norm = nn.BatchNorm1d(n_out) if batch_norm else nn.Identity()
            self.blocks.append(nn.Sequential(nn.Conv1d(n_in, n_out, kernel, dilation=step), norm))
            self.skips.append(nn.Conv1d(n_in, n_out, 1) if skip and n_in != n_out else nn.Identity())
            self._reaches.append((kernel - 1) * step)
            if every and (k + 1) % every == 0:
                self.glus[str(k)] = nn.Conv1d(n_out, 2 * n_out, 1 + 2 * context)
            n_in = n_out
        self.n_out = n_in
        self.activation = Nonlinearity(activation)
        self._dropouts, self._skip = dropouts, skip

    def forward(self, x: Tensor) -> Tensor:
        """Encode (batch, hidden, n_times) to (batch, n_out, n_times or n_times - receptive_field + 1)."""
        x = F.dropout(x, self._dropouts[0], self.training)
        for k, reach in enumerate(self._reaches):
            x = self.block(k, x, self._padded(x, reach))
            if str(k) in self.glus:
                x = F.glu(self.glus[str(k)](self._padded(x, self._context)), dim=1)
        return x

    def block(self, k: int, x: Tensor, seen: Tensor) -> Tensor:
        """Return what block k makes of x (batch, width, n_times), of which its convolution sees `seen`."""
        new: Tensor = self.activation(self.blocks[k](seen))
        if k < len(self.blocks) - 1:
            new = F.dropout(new, self._dropouts[1], self.training)
        # Of what is longer the newest samples: every value stays beside that of the same sample.
        if self._skip:
            new = self.skips[k](x[:, :, x.shape[2] - new.shape[2] :]) + new
        return new

    def stepped(self) -> Iterator[Stepped]:
        """Yield its layers as those of a front, for which nothing is padded."""
        for k, reach in enumerate(self._reaches):
            yield Stepped(_Block(self, k), reach)
            if str(k) in self.glus:
                yield Stepped(nn.Sequential(self.glus[str(k)], nn.GLU(dim=1)), self._context)

    def _padded(self, x: Tensor, reach: int) -> Tensor:
        """Pad for a convolution that sees `reach` samples besides its own."""
        left = {"same": reach // 2, "causal": reach, "valid": 0}[self.padding]
        return x if self.padding == "valid" or not reach else F.pad(x, (left, reach - left))

    @property
    def receptive_field(self) -> int:
        """Steps of the input that one of the output rests on."""
        return 1 + sum(self._reaches) + len(self.glus) * self._context

    def fuse(self) -> None:
        """Fold the batch norms into the convolutions; in evaluation mode only."""
        for block in self.blocks:
            assert isinstance(block, nn.Sequential)
            convolution = block[0]
            assert isinstance(convolution, nn.Conv1d)
            block[0], block[1] = folded(convolution, block[1])


class _Block(nn.Module):
    def __init__(self, encoder: Encoder, k: int) -> None:
        super().__init__()
        self.encoder, self.k = encoder, k

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder.block(self.k, x, x)


def _dilations(depth: int, growth: float, period: int | None) -> Iterator[int]:
    if growth < 1:
        raise ValueError(f"dilation_growth must be at least 1; got {growth}")
    dilation = 1.0
    for k in range(depth):
        if period and k % period == 0:
            dilation = 1.0
        yield int(dilation)
        dilation *= growth
