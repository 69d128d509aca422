"""A short-time Fourier transform as a convolution, so that it runs fast from a decoder file."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Spectrum(nn.Module):
    """Frames of `n_fft` samples, `n_fft / 2` apart, under a Hann window of unit norm.

    The end is padded with zeros to whole steps, then both sides by reflection: by n_fft / 4, and once more by
    n_fft / 2, so that every frame has its middle on the signal.

    Parameters
    ----------
    n_fft : int
        Samples of a frame; even.
    is_complex : bool
        Whether a frequency gives real and imaginary part, or its magnitude.
    """

    def __init__(self, n_fft: int, is_complex: bool) -> None:
        super().__init__()
        if n_fft < 4 or n_fft % 2:
            raise ValueError(f"n_fft must be even and at least 4; got {n_fft}")
        self.n_fft, self.hop, self._complex = n_fft, n_fft // 2, is_complex
        self.n_bins = (n_fft // 2 + 1) * (2 if is_complex else 1)
        window = torch.hann_window(n_fft, dtype=torch.float64)
        cycles = torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)).double() / n_fft
        phase = 2 * torch.pi * cycles
        basis = torch.stack([phase.cos(), -phase.sin()], dim=1)
        kernels = (basis * window / window.norm()).flatten(0, 1)[:, None]
        self.register_buffer("_kernels", kernels.float(), persistent=False)
        self._kernels: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, n_channels, n_times) into (batch, n_channels * n_bins, n_frames).

        Channel by channel, each frequency by frequency, each real then imaginary part.
        """
        x = F.pad(x, (0, -x.shape[2] % self.hop))
        for sides in (self.n_fft // 4, self.hop):
            x = F.pad(x, (sides, sides), mode="reflect")
        frames = F.conv1d(x.flatten(0, 1)[:, None], self._kernels, stride=self.hop)
        if not self._complex:
            power = frames.square().reshape(len(frames), self.n_bins, 2, -1).sum(dim=2)
            # Not of 0, where the root has no derivative.
            frames = torch.sqrt(torch.clamp(power, min=1e-30))
        return frames.reshape(len(x), x.shape[1] * self.n_bins, -1)
