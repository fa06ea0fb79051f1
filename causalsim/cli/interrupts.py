"""Ctrl-C that is heard wherever it falls."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.5


@contextmanager
def heard() -> Iterator[None]:
    """Inside, an interruption is repeated every ``AGAIN`` seconds until it has left this block.

    JAX hangs a callback into the garbage collector, and Python drops what is raised in one:
    a ``KeyboardInterrupt`` that falls into it would be printed and forgotten.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
