"""How a command that fails ends: one line, and an exit code that scripts can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

FAILED = 1  # data cannot be read, do not fit, or some were left out
WRONG_COMMAND_LINE = 2  # nothing was read or written


@contextmanager
def errors_told(exit_code: int, *more: type[Exception]) -> Iterator[None]:
    """Within, an error of the caller, of a file, of a missing package or of `more` ends the command with that code.

    It is told in one line on the error stream: a box of text would break paths, and logs are searched.
    """
    told: tuple[type[Exception], ...] = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, *more)
    try:
        yield
    except told as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(exit_code) from error
