"""The command line: arguments to scenarios, results to tables and files. Imports lazily."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

from causalsim.cli.exit_codes import BAD_INPUT, BUG, FAILS, HOLDS, INTERRUPTED, UNREAD

if TYPE_CHECKING:
    from causalsim.errors import CausalsimError


__all__ = ["BAD_INPUT", "BUG", "FAILS", "HOLDS", "INTERRUPTED", "UNREAD", "main", "message"]

# Set to anything, it shows where an error came from that causalsim did not raise on purpose.
TRACEBACK = "CAUSALSIM_TRACEBACK"


def command() -> NoReturn:
    """Be a process that runs one command line: ``main``, but for interruptions at any moment.

    The process is left at once, since XLA's threads may still use what Python would tear down.
    """
    from causalsim.cli.interrupts import heard

    code = INTERRUPTED
    try:
        with heard():
            code = main()
    except KeyboardInterrupt:  # It fell beside the work: into the first lines of main, or the last.
        code = INTERRUPTED
        _tell_interruption()
    finally:
        _leave(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: What stands behind ``causalsim``; the process's own by default.

    Returns:
        0 if every verdict holds, 1 if one fails, 2 for bad input (one message on stderr), 70 for a
        bug of causalsim, 130 if interrupted, 141 if nobody reads on.
    """
    from causalsim.cli.interrupts import undisguised
    from causalsim.errors import CausalsimError

    for stream in (sys.stdout, sys.stderr):
        _write_whatever(stream)
    try:
        with undisguised():
            code = _run(arguments)
            print(end="", flush=True)
        return code
    except CausalsimError as error:
        print(message(error), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        _tell_interruption()
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough of it; the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        print(f"causalsim: the system refused: {error}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(_out_of_memory(error), file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        print(_bug(error), file=sys.stderr)
        return BUG


def _run(arguments: Sequence[str] | None) -> int:
    if [*(sys.argv[1:] if arguments is None else arguments)] in ([], ["--help"], ["-h"]):
        from causalsim.cli.overview import overview

        print(overview(), flush=True)
        return HOLDS
    from cyclopts import CycloptsError

    from causalsim.cli.app import app
    from causalsim.cli.terminal import console
    from causalsim.cli.usage import as_input_error

    try:
        code = app(arguments, console=console())
    except CycloptsError as error:
        raise as_input_error(error) from None
    return HOLDS if code is None else int(code)


def _tell_interruption() -> None:
    print("causalsim: interrupted.", file=sys.stderr)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        # There may be none, or nobody who reads it any more.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


def message(error: CausalsimError) -> str:
    """Write an error for the terminal.

    Args:
        error: The error.

    Returns:
        The rule, and a line each for what was got, what was expected and the hint.
    """
    lines = [f"  {name + ':':<10}{clause}" for name, clause in error.clauses.items() if clause is not None]
    return "\n".join([f"causalsim: {error.rule}", *lines])


def _out_of_memory(error: MemoryError) -> str:
    from causalsim.errors import CausalsimError

    hint = "Take shorter texts, fewer layers or fewer orders."
    got = " ".join(str(error).split()) or None
    return message(CausalsimError("what is asked for fits into memory", got=got, hint=hint))


def _bug(error: Exception) -> str:
    """One line about what nobody foresaw, below its traceback where that is asked for."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    line = f"causalsim: this is a bug of causalsim: {words}"
    if os.environ.get(TRACEBACK):
        from traceback import format_exception

        return "".join([*format_exception(error), line])
    return f"{line} ({TRACEBACK}=1 shows where)"


def _write_whatever(stream: TextIO) -> None:
    """Let a stream of a narrow encoding replace what it lacks instead of failing halfway."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
