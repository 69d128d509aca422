"""VAR-CNN: LF-CNN whose temporal filters look at all components.

Zubarev et al. 2019, doi 10.1016/j.neuroimage.2019.04.068; defaults of its package MNEflow.
"""

from torch import nn

from offline.models.lfcnn import LFCNN


class VARCNN(LFCNN):
    """As LF-CNN, but each filtered component is a sum over kernels on every component.

    Parameters are those of `LFCNN`. Without `pool_padding` the pooling follows `padding`.
    """

    pool_follows_padding = True

    @staticmethod
    def temporal_filter(n_latent: int, filter_length: int) -> nn.Conv1d:
        """Return the temporal filters: a vector-autoregressive model of the components."""
        return nn.Conv1d(n_latent, n_latent, filter_length)
