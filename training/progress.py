"""One status line: how far, what now, how long still."""

from __future__ import annotations

import time

from rich.console import Console

_PLAIN_INTERVAL = 30.0  # seconds between lines where there is no terminal to rewrite


class StatusLine:
    """Rewrites one line on a terminal; elsewhere prints a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._first: tuple[float, float] | None = None  # time and work done at the first step of this process
        self._next = 0.0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, done: float, total: float, text: str) -> None:
        """Tell the state: work ``done`` of ``total``, in any unit."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        if now < self._next and done < total:
            return
        elapsed, worked = now - self._first[0], done - self._first[1]
        left = f"{(total - done) * elapsed / worked / 60:.1f} min left" if worked > 0 else "…"
        line = f"{done / total:6.1%}  {text}, {left}"
        if self.console.is_terminal:
            self._next = now + 0.2
            self.console.print(line.ljust(self.console.width - 1), end="\r", highlight=False, markup=False)
        else:
            self._next = now + _PLAIN_INTERVAL
            self.say(line)
