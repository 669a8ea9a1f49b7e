"""The one function that opens a store."""

from pathlib import Path
from typing import Any

from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import split_uri


def open_store(uri: str | Path, **options: Any) -> tuple[Store, str]:
    """The store that holds `uri`, and the key or prefix of `uri` in it.

    A path or `file://` address opens a LocalStore and takes no options; "s3://bucket/key" opens an S3Store with
    `options` (endpoint, region, unsigned ...). A key that ends with "/" keeps it, so that it can be the prefix of a
    listing.
    Raises ValueError for another kind of address.
    """
    scheme, place, key = split_uri(uri)
    if scheme == "file":
        from dinocell_io.stores.local_store import LocalStore

        if options:
            raise ValueError(f"{uri} is a local file and takes no options, got {', '.join(options)}; drop them")
        return LocalStore(place), key
    from dinocell_io.stores.s3_store import S3Store

    return S3Store(place, **options), key
