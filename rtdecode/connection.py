"""One connection to the source: what arrives is decoded and published, until the source goes away."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder, Prediction
from rtdecode.errors import DeadlineError, StreamLostError
from rtdecode.network import Inlet
from rtdecode.pace import Correction, Pace
from rtdecode.reporter import Reporter, State
from rtdecode.session import SessionWriter

# Short enough for Ctrl-C to be heard.
_PULL_S = 0.2
# A queue that gives nothing for so long is empty.
_DRAIN_S = 4e-3
_CARE_EVERY_S = 1.0
_REPEAT_EVERY_S = 1.0
_JUMP_S = 1e-3


class Connection:
    """Pulls, decodes, publishes; minds stalls, backlogs, overruns and the clock offset.

    Parameters
    ----------
    inlet : Inlet
        Opened.
    decoder : Decoder
        Made for `inlet.signal`; fresh.
    reporter : Reporter
        Who publishes and tells.
    clock : callable
        Seconds in LSL's clock.
    strict : bool
        End at the first overrun.
    started : callable
        Called once, with the first raw stamp and the correction.
    saver : SessionWriter, optional
        Keeps what the decoder sees.

    Attributes
    ----------
    lost : Prediction or None
        The abstention that was published when the source went away.
    correction : Correction
        From the source's clock to ours.
    """

    def __init__(
        self,
        inlet: Inlet,
        decoder: Decoder,
        reporter: Reporter,
        clock: Callable[[], float],
        strict: bool,
        started: Callable[[float, float], None],
        saver: SessionWriter[Prediction] | None = None,
    ) -> None:
        self._inlet, self._decoder, self._reporter = inlet, decoder, reporter
        self._clock, self._strict, self._started, self._saver = clock, strict, started, saver
        self.correction = Correction(inlet.correction()[0])
        self.lost: Prediction | None = None
        self._sfreq = inlet.signal.sfreq
        self._hop_s = decoder.contract.window.hop / decoder.chain.output.sfreq
        self._pace = Pace(self._sfreq)
        self._seen, self._last = 0, float("nan")
        self._held: tuple[Prediction, float] | None = None
        self._repeat_at: float | None = None
        self._cared_at = clock()
        self._skipped = reporter.summary.abstained["skipped"]

    def decode(self, deadline: float) -> None:
        """Go on until the clock reaches `deadline`.

        Raises
        ------
        StreamLostError
            The source went away.
        DeadlineError
            With `strict`, at the first overrun.
        """
        try:
            while self._clock() < deadline:
                self._turn()
        except StreamLostError:
            self._release()
            if self._seen:
                self.lost = self._decoder.reset("stream-lost", self._last)
                self._publish(self.lost, self._clock())
                self._save(np.empty((0, self._inlet.signal.n_channels), np.float32), np.empty(0), [self.lost])
            raise
        finally:
            self._release()

    def _turn(self) -> None:
        asked = self._clock()
        timeout_s = self._timeout_s(asked)
        samples, timestamps = self._inlet.pull(timeout_s)
        arrived, n = self._clock(), len(timestamps)
        held_up = self._mind_overrun(arrived - asked - timeout_s, self._hop_s)
        if n:
            self._take(samples, timestamps, arrived)
        else:
            self._release()
            if held_up:
                self._pace.excuse(arrived)
            elif arrived >= self._silent_at(arrived):
                self._stall(arrived)
        if arrived - self._cared_at >= _CARE_EVERY_S:
            self._cared_at = arrived
            self._mind_offset()
            self._reporter.greet()
        self._mind_overrun(self._clock() - arrived, max(self._hop_s, n / self._sfreq))

    def _timeout_s(self, now: float) -> float:
        if self._held:
            return _DRAIN_S
        return min(max(self._silent_at(now) - now, 0.0), _PULL_S)

    def _silent_at(self, now: float) -> float:
        """Return when the silence is to be told, for the first time or again."""
        return self._pace.stalls_at(now) if self._repeat_at is None else self._repeat_at

    def _take(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], arrived: float) -> None:
        self._repeat_at = None
        self._pace.arrive(len(timestamps), arrived)
        if not self._seen:
            self._started(float(timestamps[0]), self.correction.seconds)
        predictions = self._decoder.push(samples, timestamps)
        for incident in self._decoder.guard.drain():
            self._reporter.incident(incident)
        self._seen += len(timestamps)
        self._last = float(timestamps[-1])
        self._reporter.summary.n_samples += len(timestamps)
        self._save(samples, timestamps, predictions)
        if self._held and predictions:
            self._publish(*self._held, out_of_date=True)
            self._held = None
        if self._pace.backlog and predictions:
            # Whether the newest of them is the newest of all, the next pull tells.
            for prediction in predictions[:-1]:
                self._publish(prediction, arrived, out_of_date=True)
            self._held = predictions[-1], arrived
        elif not self._pace.backlog:
            self._release()
            for prediction in predictions:
                self._publish(prediction, arrived)

    def _release(self) -> None:
        """Publish the result that was held back: nothing newer came."""
        if self._held:
            held, self._held = self._held, None
            self._publish(*held)
        skipped = self._reporter.summary.abstained["skipped"]
        if skipped > self._skipped:
            self._reporter.tell("skipped", self._clock(), count=skipped - self._skipped, sample=self._seen - 1)
            self._skipped = skipped

    def _stall(self, now: float) -> None:
        """Abstain when the source falls silent, and again every second: consumers see that we are there."""
        stalled = Prediction(self._last, self._seen - 1, None, -1, "stalled")
        if not self._seen:
            self._reporter.state(State.HOLD, "stalled", "no sample has come yet")
        elif self._repeat_at is None:
            self._publish(stalled, now)
        else:
            self._reporter.repeat(stalled, self.correction.seconds)
        self._repeat_at = now + _REPEAT_EVERY_S

    def _publish(self, prediction: Prediction, arrived: float, out_of_date: bool = False) -> None:
        self._reporter.publish(prediction, self.correction.seconds, arrived, out_of_date)

    def _save(
        self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], predictions: list[Prediction]
    ) -> None:
        if self._saver:
            self._saver.add(samples, timestamps, predictions)

    def _mind_offset(self) -> None:
        before, (seconds, uncertainty_s) = self.correction.seconds, self._inlet.correction()
        if self.correction.offer(seconds, uncertainty_s) and abs(seconds - before) > _JUMP_S:
            told = {"correction_s": seconds, "from_s": before, "uncertainty_s": uncertainty_s}
            self._reporter.tell("correction", self._clock(), **told, sample=self._seen - 1)

    def _mind_overrun(self, late_s: float, allowed_s: float) -> bool:
        """Tell when the loop came late; return whether it did."""
        if late_s <= allowed_s:
            return False
        self._reporter.summary.overruns += 1
        self._reporter.tell("overrun", self._clock(), late_s=late_s, allowed_s=allowed_s, sample=self._seen - 1)
        if self._strict:
            raise DeadlineError(
                f"The decoder was held up for {late_s:.3g} s; {allowed_s:.3g} s are allowed. Free the processor "
                "for it, choose a model with a longer hop, or leave --strict."
            )
        return True
