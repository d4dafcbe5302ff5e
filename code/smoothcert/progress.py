"""Progress of a long loop: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Progress:
    """Counts ``total`` steps, ``done`` of which were finished before."""

    def __init__(self, total: int, unit: str, done: int = 0, seconds_between_lines: float = 10.0):
        self._total, self._unit, self._first, self._done = total, unit, done, done
        self._between = seconds_between_lines
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True)

    def step(self, text: str) -> None:
        """Count one step; ``text`` says how things stand."""
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last_line >= self._between or self._done == self._total:
            self._last_line = now
            left = (now - self._started) / (self._done - self._first) * (self._total - self._done)
            say(f"{self._unit} {self._done}/{self._total}  {text}  {_duration(left)} left")

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()


def say(line: str) -> None:
    """Print one line to standard error, where progress goes, without tearing a bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
