"""A consumer in a process of its own: NAME `reads` prints sample and age of every JSON marker; `never-reads` none."""

import json
import sys
import threading

from rtdecode.lsl import OutputReader


def main(name, manner):
    markers, *_ = [OutputReader(stream) for stream in (name, f"{name}-proba", f"{name}-status")]
    print("listening", flush=True)
    if manner == "never-reads":
        threading.Event().wait()
    while True:
        values, stamps, now = markers.pull()
        for row, stamp in zip(values, stamps, strict=True):
            print(json.loads(row[0])["sample"], now - stamp, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
