"""Files and folders that appear complete or not at all."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; on success it becomes `final` in one step.

    If the process is killed at any point, `final` is the complete old file or the complete new one: the new content is
    on the disk (fsync) before the rename. The temporary name is hidden (it starts with a dot) and keeps
    the suffix, so that writers that look at it work. An existing file's permissions are kept, a new file
    gets those that open() gives under the umask, whatever the writer chose; a link is followed. On an
    exception the temporary file is removed and `final` left as it was; after a kill it stays and may be
    deleted.
    Raises FileNotFoundError if the folder is missing or if the block wrote nothing, PermissionError if nothing may
    be written to the folder.
    """
    target = Path(os.path.realpath(final))
    _check_parent(target)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written to {temporary}, which was to become {final}")
        _flush(temporary)
        _set_permissions(temporary, _permissions(target) if target.exists() else _usual_permissions(target))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)


@contextmanager
def atomic_folder(final: str | Path) -> Iterator[Path]:
    """Yield a new, empty temporary folder beside `final`; on success it becomes `final` in one step.

    Killed at any point, `final` does not exist. Its files get the permissions that open() gives under the
    umask, whatever their writers chose. `final` must be absent or an empty folder
    (FileExistsError otherwise): a folder of results is never merged into or replaced.
    """
    target = Path(os.path.realpath(final))
    _check_parent(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{final} exists already; expected a new or empty folder, choose another one")
    temporary = _temporary_beside(target)
    temporary.mkdir()
    try:
        yield temporary
        permissions = _usual_permissions(target)
        for folder, _, names in os.walk(temporary):
            for name in names:
                file = Path(folder, name)
                _flush(file)
                if not file.is_symlink():  # what a link leads to is not ours
                    _set_permissions(file, permissions)
            _flush_folder(Path(folder))
        if target.exists():
            target.rmdir()  # Windows does not rename onto an empty folder
        os.rename(temporary, target)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
    _flush_folder(target.parent)


def _check_parent(target: Path) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it to write {target.name}")
    if not os.access(target.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(
            f"the folder {target.parent} may not be written by this user; change its permissions, or write "
            f"{target.name} elsewhere"
        )


def _temporary_beside(target: Path) -> Path:
    # the name's end is kept short: a name of 255 bytes must not become too long
    return target.with_name(f".{target.stem[:40]}.{os.urandom(6).hex()}.partial{target.suffix}")


def _usual_permissions(target: Path) -> int:
    # safetensors writes files that only their owner reads; asking the umask would change it for all threads meanwhile
    probe = _temporary_beside(target)
    try:
        with probe.open("xb") as file:
            return _permissions(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _permissions(file: Path | int) -> int:
    return stat.S_IMODE(os.stat(file).st_mode)


def _set_permissions(path: Path, permissions: int) -> None:
    # only where they differ: mounts whose permissions are fixed refuse the call
    if _permissions(path) != permissions:
        os.chmod(path, permissions)


def _flush(path: Path) -> None:
    with path.open("rb" if os.name == "posix" else "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems have no handle of a folder to flush
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
