"""Whether results can be written to a folder, asked before the work begins."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dinocell_io.formats.zarr.ome_zarr_path import is_zarr
from dinocell_io.system.file_lock import held_alone


def check_output_folder(output: Path, *, name: str = "--output") -> None:
    """Raise ValueError if no folder can be written there: an address, inside an OME-Zarr, below a file, forbidden,
    or on a file system that takes none.

    A folder that does not exist is made where it is written. `name` is what the error calls it.
    """
    # a Path has one slash of the two after a scheme
    if re.match(r"[a-z][a-z0-9]+:/", output.as_posix()):
        raise ValueError(f"{name} {output} is an address; give a folder of this machine, then copy it there")
    if is_zarr(output):
        raise ValueError(f"{name} {output} is in an OME-Zarr; give a folder outside, results are files")
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{name} {output}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{name} {output}: the folder {there} may not be written by this user; change its permissions, or give "
            "another folder"
        )
    try:  # what the permissions do not tell: a file system that is read-only or takes no folders, such as /proc
        os.rmdir(tempfile.mkdtemp(prefix=".dinocell", dir=there))
    except OSError as error:
        raise ValueError(
            f"{name} {output}: nothing can be written in {there} ({error.strerror}); give another folder"
        ) from error


@contextmanager
def run_folder(output: Path, *, doing: str) -> Iterator[None]:
    """Make the folder of a run and keep other processes out of it; a folder that stays empty is removed again.

    Raises ValueError if another process has it; `doing` is what it does there ("trains").
    """
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    busy = f"another process {doing} into {output}; wait for it, or choose another folder"
    try:
        with held_alone(output / ".lock", busy=busy):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # it holds something
                output.rmdir()
