"""What damaged files raise inside the libraries that decode them, turned into one error that names the file."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from dinocell_io.stores.store import StoreError
from dinocell_io.system.image_file_error import ImageFileError

# parsers of broken bytes fail in every one of these ways (codecs: RuntimeError; XML: SyntaxError); interrupts pass
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)


@contextmanager
def damage_named(uri: str, kind: str, *library_errors: type[Exception]) -> Iterator[None]:
    """Turn DAMAGE into an ImageFileError that says the kind of the file; one that is raised inside passes unchanged.

    library_errors: what the library of this format raises of its own.
    """
    errors: tuple[type[Exception], ...] = (*DAMAGE, *library_errors)
    try:
        yield
    except (StoreError, ImageFileError):  # they name the file already
        raise
    except errors as error:
        raise damaged(uri, kind, str(error) or type(error).__name__) from error


def damaged(uri: str, kind: str, reason: str) -> ImageFileError:
    """The error itself."""
    return ImageFileError(
        f"{uri} cannot be read as {kind} ({reason}); it is damaged, cut short or of another format, "
        "copy or export it again"
    )
