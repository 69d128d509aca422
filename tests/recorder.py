"""Listens to all streams whose names begin with PREFIX, in a process of its own: PREFIX N FILE.

Prints `listening` when it is connected to N of them, ends when all have gone away, and leaves what it heard in FILE.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import pylsl


def main(prefix, n, path):
    streams = pylsl.resolve_bypred(f"starts-with(name,'{prefix}')", minimum=int(n), timeout=60)
    inlets = [pylsl.StreamInlet(stream, recover=False) for stream in streams]
    heard = [(inlet.info(10).as_xml(), [], []) for inlet in inlets]
    for inlet in inlets:
        inlet.open_stream(10)
    print("listening", flush=True)
    there = set(range(len(inlets)))
    while there:
        for i in sorted(there):
            try:
                values, stamps = inlets[i].pull_chunk(timeout=0.01, max_samples=4096, as_numpy=True)
            except pylsl.util.LostError:
                there.remove(i)
                continue
            heard[i][1].append(values)
            heard[i][2].append(stamps)
    joined = [(info, np.concatenate(values), np.concatenate(stamps)) for info, values, stamps in heard]
    Path(path).write_bytes(pickle.dumps(joined))


if __name__ == "__main__":
    main(*sys.argv[1:])
