"""What a decoder says, as Open Sound Control (Max, Pure Data, SuperCollider, TouchDesigner, games).

    pip install ".[osc]"
    python docs/examples/osc_out.py rtdecode-lfcnn --host 127.0.0.1 --port 9000

/decision   label (string), age in s (float)                       for every decision
/proba      probabilities in the order of the classes, age in s    for every hop; none while the decoder abstains
/connected  1 or 0                                                 when that changes

The receiver has no LSL clock, so the age is sent, not the time: age of the data when the message leaves.
"""

import argparse
import time

import rtdecode

try:
    from pythonosc.udp_client import SimpleUDPClient
except ModuleNotFoundError:
    raise SystemExit("OSC needs python-osc: pip install 'rtdecode[osc]'") from None

LOOK_EVERY_S = 0.002


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the decoder's, as given to `rtdecode run --name`")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()

    client = SimpleUDPClient(arguments.host, arguments.port)
    with rtdecode.Listener(arguments.name) as listener:
        end, connected = time.monotonic() + arguments.seconds, None
        while time.monotonic() < end:
            for decision in listener.decisions():
                client.send_message("/decision", [decision.label, decision.age_s])
            newest = listener.poll()
            if newest and newest.proba:
                client.send_message("/proba", [*newest.proba.values(), newest.age_s])
            if listener.connected != connected:
                connected = listener.connected
                client.send_message("/connected", int(connected))
            time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main()
