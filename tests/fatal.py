"""A network that kills the process it learns in, once."""

import os
import signal
from pathlib import Path

from torch import nn


class Fatal(nn.Module):
    """Linear; the first time that it learns in another process than `pid`, that one is killed.

    Parameters
    ----------
    pid : int
        The process it spares.
    flag : str
        The file that tells that it was done; "": it is done every time.
    """

    def __init__(self, n_chans, n_times, n_outputs, pid, flag):
        super().__init__()
        self.fc = nn.Linear(n_chans * n_times, n_outputs)
        self._pid, self._flag = pid, flag

    def forward(self, x):
        if self.training and os.getpid() != self._pid and not (self._flag and Path(self._flag).exists()):
            if self._flag:
                Path(self._flag).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(x.flatten(1))
