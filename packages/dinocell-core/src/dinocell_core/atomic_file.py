"""A file that appears whole or not at all."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`, which becomes `final` in one step when the block succeeds.

    Killed at any point, `final` is the whole old file or the whole new one. A link is followed. The permissions are
    those of the old file, or those that open() gives under the umask, whatever the writer chose. This is the rule of
    `dinocell_io.atomic_path` for one file, without the image libraries that dinocell-io installs.
    Raises FileNotFoundError if the folder is missing, PermissionError if nothing may be written there.
    """
    target = Path(os.path.realpath(final))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it to write {target.name}")
    # the name's end is kept short: a name of 255 bytes must not become too long
    temporary = target.with_name(f".{target.stem[:40]}.{os.urandom(6).hex()}.partial{target.suffix}")
    permissions = _created(temporary)
    try:
        if target.exists():
            permissions = _permissions(target)
        yield temporary
        if _permissions(temporary) != permissions:  # mounts whose permissions are fixed refuse the call
            os.chmod(temporary, permissions)
        _flush(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # other systems cannot open a folder to flush it
        _flush(target.parent)


def not_written(path: str | Path, reason: object) -> OSError:
    """The error of a file whose writer failed, with the room that is left: safetensors does not name a full disk."""
    free = shutil.disk_usage(Path(path).absolute().parent).free
    # torch says of a full disk only where in its own code the positions in a file differ
    why = "" if "[enforce fail at inline_container" in str(reason) else f": {reason}"
    return OSError(f"{path} could not be written ({free / 1e6:.0f} MB free){why}")


def _created(temporary: Path) -> int:
    """Permissions of the new, empty file; asking for the umask would change it for all threads meanwhile."""
    try:
        temporary.touch(exist_ok=False)
    except PermissionError as error:
        raise PermissionError(
            f"the folder {temporary.parent} may not be written by this user; change its permissions, or write elsewhere"
        ) from error
    return _permissions(temporary)


def _permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
