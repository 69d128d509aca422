"""Programs in processes of their own, ended by the test that started them."""

import shutil
import signal
import subprocess
import sys
import threading


def shifted(seconds):
    """Return the prefix of a program whose clock is ahead of ours by so much; it ends with its prefix."""
    clocks = ("--monotonic", str(seconds), "--boottime", str(seconds))
    return ("unshare", "-r", "-T", *clocks, "-f", "--kill-child", "--")


def can_shift_clocks():
    """Tell whether this system allows a program another clock."""
    return bool(shutil.which("unshare")) and not subprocess.run([*shifted(1), "true"], capture_output=True).returncode


class Program:
    """A Python program whose output is collected; use as a context manager."""

    def __init__(self, *arguments, prefix=()):
        self._process = subprocess.Popen(
            [*prefix, sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self):
        return "\n".join(self.lines)

    def saw(self, text):
        return any(text in line for line in self.lines)

    @property
    def pid(self):
        return self._process.pid

    def interrupt(self, number=signal.SIGTERM):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self, timeout_s=200):
        """Return the exit code. Patience says nothing about speed: other work may have the machine."""
        code = self._process.wait(timeout_s)
        self._reader.join(10)
        return code

    @property
    def ended(self):
        return self._process.poll() is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.ended:
            self._process.kill()
        self.wait()
        self._process.stdout.close()


def rtdecode(*arguments, prefix=()):
    """Start the command line."""
    return Program("-m", "rtdecode", *map(str, arguments), prefix=prefix)


def run_rtdecode(*arguments):
    """Run the command line to its end: (exit code, output)."""
    with rtdecode(*arguments) as program:
        return program.wait(), program.output
