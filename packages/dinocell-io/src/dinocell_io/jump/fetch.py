"""A copy of chosen fields in a folder, under the keys they have in the bucket."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import NotFound, Store, StoreError
from dinocell_io.stream.decode import BadObject, decode_plane
from dinocell_io.stream.field import FieldList
from dinocell_io.stream.prefetch import FailedField
from dinocell_io.stream.quarantine import append_quarantine

_FIELDS_AT_ONCE = 64


@dataclass(frozen=True)
class FetchCounts:
    """What `fetch_fields` did: objects written, found there already, failed (see the quarantine file)."""

    num_fetched: int
    num_present: int
    num_failed: int
    num_bytes: int


def fetch_fields(
    fields: FieldList, folder: str | Path, *, store: Store | None = None, num_requests: int = 32
) -> FetchCounts:
    """Copy all objects of the fields below `folder`, each completely or not at all; called again, it continues.

    Every object is decoded before it is written, so nothing damaged is kept. What fails is listed in
    `quarantine.jsonl` in the folder and left out. Open the copy with `jump_fields(..., uri=folder)`.
    """
    prefix = ""
    if store is None:
        uri = fields.store_uri
        store, prefix = open_store(uri if uri.endswith("/") else f"{uri}/")
    copy = LocalStore(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    fetched = present = failed = num_bytes = 0
    with ThreadPoolExecutor(num_requests) as pool:
        wanted = _objects(fields)
        while part := list(islice(wanted, _FIELDS_AT_ONCE * 8)):
            for result in pool.map(lambda one: _fetched(store, prefix, copy, *one), part):
                if isinstance(result, FailedField):
                    append_quarantine(Path(folder, "quarantine.jsonl"), result)
                    failed += 1
                elif result == 0:
                    present += 1
                else:
                    fetched += 1
                    num_bytes += result
    return FetchCounts(fetched, present, failed, num_bytes)


def _objects(fields: FieldList) -> Iterator[tuple[str, str, str]]:
    for number in range(len(fields)):
        files = fields[number]
        for channel, key in files.objects.items():
            yield files.key, channel, key


def _fetched(store: Store, prefix: str, copy: LocalStore, field: str, channel: str, key: str) -> int | FailedField:
    """The bytes written, 0 if the object is there already, or why it could not be had."""
    try:
        copy.size(key)
        return 0
    except NotFound:
        pass
    try:
        data = store.get(prefix + key)
        decode_plane(data)
    except StoreError as error:
        return FailedField(field, channel, key, error.kind, error.attempts, error.cause)
    except BadObject as error:
        return FailedField(field, channel, key, error.kind, 1, str(error))
    copy.put(key, data)
    return len(data)
