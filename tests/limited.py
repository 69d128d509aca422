"""The command line in a process whose own memory may grow by so much: MIB ARGUMENT... (Linux).

What it maps from files does not count; what it allocates does.
"""

import re
import resource
import sys
from importlib import import_module
from pathlib import Path

from rtdecode.cli import main

if __name__ == "__main__":
    # What is loaded does not count either.
    import_module("offline.workflow")
    import_module("torch._dynamo")
    (used,) = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    most = (int(used) << 10) + (int(sys.argv[1]) << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    sys.argv[:2] = ["rtdecode"]
    main()
