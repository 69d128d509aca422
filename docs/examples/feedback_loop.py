"""A bar that follows a decoder at the rate of the screen, drawn by PsychoPy where that is installed, else as text.

    rtdecode run --model lfcnn.onnx
    python docs/examples/feedback_loop.py rtdecode-lfcnn --seconds 30

The bar is the probability of the decoder's first class. It is empty while the decoder abstains, is away, or rests on
data that are too old to be called feedback.
"""

import argparse
import time

import rtdecode

MAX_AGE_S = 0.5


class PsychoPyScreen:
    """A bar in a window; `flip` waits for the screen."""

    def __init__(self):
        from psychopy import event, visual

        self._keys = event.getKeys
        self._window = visual.Window(units="norm")
        self._bar = visual.Rect(self._window, height=0.2, fillColor="white")
        self._text = visual.TextStim(self._window, pos=(0, -0.3))

    def show(self, text, fraction):
        self._bar.width = 2 * fraction
        self._text.text = text
        self._bar.draw()
        self._text.draw()
        self._window.flip()
        return "escape" not in self._keys(["escape"])


class Terminal:
    """A bar in a terminal, at 60 frames per second."""

    def __init__(self):
        self._next = time.perf_counter()

    def show(self, text, fraction):
        print(f"\r{text:<30} |{'#' * round(40 * fraction):<40}|", end="", flush=True)
        self._next += 1 / 60
        time.sleep(max(0.0, self._next - time.perf_counter()))
        return True


def screen():
    try:
        return PsychoPyScreen()
    except ModuleNotFoundError:
        return Terminal()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the decoder's, as given to `rtdecode run --name`")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()

    with rtdecode.Listener(arguments.name) as listener:
        shown, n_frames, n_decisions, longest_s = None, 0, 0, 0.0
        display, end = screen(), time.perf_counter() + arguments.seconds
        going = True
        while going and time.perf_counter() < end:
            begun = time.perf_counter()
            shown = listener.poll() or shown  # the newest; nothing new: what we have grows older
            decisions = listener.decisions()  # all of them, to act on or to keep
            longest_s = max(longest_s, time.perf_counter() - begun)

            n_frames, n_decisions = n_frames + 1, n_decisions + len(decisions)
            if not listener.connected:
                going = display.show("no decoder", 0.0)
            elif shown is None or shown.proba is None or shown.age_s > MAX_AGE_S:
                going = display.show("no feedback", 0.0)
            else:
                name, proba = next(iter(shown.proba.items()))
                going = display.show(f"{name} {proba:.2f}, {1e3 * shown.age_s:.0f} ms old", proba)
    print(f"\n{n_frames} frames, {n_decisions} decisions; taking them took {1e3 * longest_s:.3f} ms at most")


if __name__ == "__main__":
    main()
