"""The one function that opens a store."""

from pathlib import Path
from typing import Any

from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import split_uri


def open_store(uri: str | Path, **options: Any) -> tuple[Store, str]:
    """The store that holds `uri`, and the key or prefix of `uri` in it.

    A path or `file://` address opens a LocalStore and takes no options; "s3://bucket/key" opens an S3Store with
    `options` (endpoint, region, unsigned ...), or with `backend="obstore"` an ObstoreStore with the same options.
    A key that ends with "/" keeps it, so that it can be the prefix of a listing.
    Raises ValueError for another kind of address.
    """
    scheme, place, key = split_uri(uri)
    if scheme == "file":
        from dinocell_io.stores.local_store import LocalStore

        if options:
            raise ValueError(f"{uri} is a local file and takes no options, got {', '.join(options)}; drop them")
        return LocalStore(place), key
    backend = options.pop("backend", "boto3")
    if backend == "boto3":
        from dinocell_io.stores.s3_store import S3Store

        return S3Store(place, **options), key
    if backend == "obstore":
        from dinocell_io.stores.obstore_store import ObstoreStore

        return ObstoreStore(place, **options), key
    raise ValueError(f"backend {backend!r} is unknown; choose boto3 or obstore")
