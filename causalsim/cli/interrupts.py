"""Ctrl-C that is heard wherever it falls, once, and taken for nothing else."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN = 0.5

_asked = False


@contextmanager
def heard() -> Iterator[None]:
    """Inside, an interruption is repeated every ``AGAIN`` seconds until something handles it.

    JAX hangs a callback into the garbage collector, and Python drops what is raised in one: a
    ``KeyboardInterrupt`` that falls into it is not said, but raised again. One that is being handled
    is left to it, however often it is asked for, so that whatever cleans up comes to its end.
    Afterwards the process is leaving, and nothing is heard any more.
    """
    report = sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if _is_interruption(dropped) else report(dropped)
    # Not every system has a timer.
    numbers = [signal.SIGINT, *([signal.SIGALRM] if hasattr(signal, "setitimer") else [])]
    for number in numbers:
        signal.signal(number, _interrupted)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def undisguised() -> Iterator[None]:
    """Make of whatever ends this an interruption, if one was asked for.

    What is raised while a library is imported or called back can come out as another error, or as
    none at all.

    Raises:
        KeyboardInterrupt: An interruption was asked for.
    """
    try:
        yield
    except BaseException:
        if not _asked:
            raise
    if _asked:
        raise KeyboardInterrupt


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    global _asked
    _asked = True
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    if not _is_handled():
        raise KeyboardInterrupt


def _is_handled() -> bool:
    """An interruption is what the code that this falls into is busy with."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_interruption(dropped: UnraisableHookArgs) -> bool:
    return dropped.exc_type is not None and issubclass(dropped.exc_type, KeyboardInterrupt)
