"""Where objects are: the five things every store can do, and how they fail."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a listing. `etag` is the server's fingerprint of the content, None where there is none.

    A key that ends with the listing's delimiter is a folder: it has size 0 and no etag.
    """

    key: str
    size: int
    etag: str | None


@runtime_checkable
class Store(Protocol):
    """A bucket or a folder of objects. Every failure is a StoreError; a result is whole and right or not returned.

    Keys are text with "/" between their parts, as in S3; they may hold spaces. All methods may be called from
    several threads at once, and a store may be pickled or forked into another process.
    """

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound, AccessDenied, Exhausted, Corrupt or Refused."""
        ...

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1 of the object; Refused if they are not all inside it (0 <= start < stop <= size)."""
        ...

    def size(self, key: str) -> int:
        """The object's length in bytes."""
        ...

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix`, in the order of their keys' UTF-8 bytes.

        With a delimiter ("/"), only up to the next one: deeper keys appear once, as the folder that holds them.
        A prefix without objects gives an empty listing: a store cannot distinguish it from a mistyped one.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, completely or not at all; an existing one is replaced."""
        ...


class StoreError(OSError):
    """An object could not be read or written: its key, how often it was tried, and why, as text.

    `key` is the object's whole address: a path, or s3://bucket/key. Every attribute is plain text or a number, so
    that the error passes unchanged between processes (errors of boto3 do not, and a DataLoader that meets one never
    returns). `kind` is one word for tables.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, key: str, cause: str, attempts: int = 1) -> None:
        tried = "" if attempts == 1 else f" after {attempts} attempts"
        super().__init__(f"{key}{tried}: {cause}")
        self.key = key
        self.cause = cause
        self.attempts = attempts

    def __reduce__(self) -> tuple[type["StoreError"], tuple[str, str, int]]:
        return type(self), (self.key, self.cause, self.attempts)


class NotFound(StoreError, FileNotFoundError):
    """There is no such object (404). Never tried again."""

    kind = "missing"


class AccessDenied(StoreError, PermissionError):
    """The object may not be read or written with these credentials (401, 403). Never tried again."""

    kind = "denied"


class Refused(StoreError, ValueError):
    """The request itself is wrong: a range outside the object, a key outside the folder, another 4xx or 3xx."""

    kind = "refused"


class Corrupt(StoreError, ValueError):
    """Checksum mismatch on two attempts."""

    kind = "corrupt"


class Exhausted(StoreError, ConnectionError):
    """Attempts, time or the retry budget ran out; `cause` is the last failure (throttled, reset, truncated...)."""

    kind = "network"
