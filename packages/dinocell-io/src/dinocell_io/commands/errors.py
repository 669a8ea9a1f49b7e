"""How a command that fails ends: with one line, and an exit code that scripts can distinguish."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

FAILED = 1  # data cannot be read, do not fit, or some were left out
WRONG_COMMAND_LINE = 2  # nothing was read or written


@contextmanager
def errors_told(exit_code: int, *more: type[Exception]) -> Iterator[None]:
    """Errors in the block (of the caller, of files, of missing packages, of `more`) end the command with that code.

    The message is one line on the error stream: a box of text would break paths, and logs are searched.
    """
    expected: tuple[type[Exception], ...] = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, *more)
    try:
        yield
    except expected as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(exit_code) from error
