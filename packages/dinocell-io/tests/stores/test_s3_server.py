"""The stores against a real S3 server, named by $DINOCELL_S3_ENDPOINT (see tools/s3_server.sh); run by hand."""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.stores.store import AccessDenied, NotFound, ObjectInfo, Refused

ENDPOINT = os.environ.get("DINOCELL_S3_ENDPOINT")
BUCKET = "dinocell-tests"
IMAGE = random.Random(0).randbytes(2_336_768)
KEYS = [
    "plate 1/Images/r01c01 f01-ch1 #1.tiff",
    "plate 1/Images/ä%20+&=?.tiff",
    "plate 1/Index.idx.xml",
    "plate-2/a.tif",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ENDPOINT is None, reason="$DINOCELL_S3_ENDPOINT names no server; see tools/s3_server.sh"),
]


def opened(**options: Any) -> S3Store:
    store, _ = open_store(f"s3://{BUCKET}", endpoint=ENDPOINT, **options)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture(scope="module", autouse=True)
def _bucket() -> Iterator[None]:
    boto = opened()._client().boto
    boto.create_bucket(Bucket=BUCKET)
    for key in KEYS:
        opened().put(key, IMAGE + key.encode())
    yield
    for page in boto.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for line in page.get("Contents", ()):
            boto.delete_object(Bucket=BUCKET, Key=line["Key"])
    boto.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def store() -> S3Store:
    return opened()


@pytest.mark.parametrize("verify", ["etag", "length"])
@pytest.mark.parametrize("key", KEYS)
def test_objects_come_back_as_they_were_written(store: S3Store, key: str, verify: str) -> None:
    store.verify = verify
    assert store.get(key) == IMAGE + key.encode()
    assert store.size(key) == len(IMAGE) + len(key.encode())


def test_ranges_are_exact(store: S3Store) -> None:
    whole = IMAGE + KEYS[0].encode()
    for start, stop in ((0, 1), (7, 1_500_000), (len(whole) - 1, len(whole))):
        assert store.get_range(KEYS[0], start, stop) == whole[start:stop]
    for start, stop in ((0, len(whole) + 1), (len(whole), len(whole) + 5)):
        with pytest.raises(Refused, match="inside the object"):
            store.get_range(KEYS[0], start, stop)


def test_listings_are_in_order_with_sizes_and_folders(store: S3Store) -> None:
    assert [info.key for info in store.list("")] == sorted(KEYS, key=str.encode)
    assert {info.key: info.size for info in store.list("plate 1/")} == {
        key: len(IMAGE) + len(key.encode()) for key in KEYS[:3]
    }
    assert [info.key for info in store.list("", delimiter="/")] == ["plate 1/", "plate-2/"]
    assert next(iter(store.list("plate 1/", delimiter="/"))) == ObjectInfo("plate 1/Images/", 0, None)
    assert list(store.list("nothing/")) == []


def test_a_listing_of_more_than_a_page_is_whole() -> None:
    store = opened()
    keys = [f"many/{n:05}.tif" for n in range(1100)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: store.put(key, b"x"), keys))
    try:
        assert [info.key for info in store.list("many/")] == keys
    finally:
        boto = store._client().boto
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: boto.delete_object(Bucket=BUCKET, Key=key), keys))


def test_what_is_missing_is_not_found(store: S3Store) -> None:
    with pytest.raises(NotFound):
        store.get("none.tif")
    with pytest.raises(NotFound):
        store.size("none.tif")


def test_without_permission_access_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccessDenied, match="without credentials"):
        opened(unsigned=True).get(KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a wrong one")
    with pytest.raises(AccessDenied, match="with the credentials that were found"):
        opened().get(KEYS[0])
    with pytest.raises(AccessDenied):
        list(opened().list(""))


def test_a_public_bucket_is_read_and_listed_without_credentials() -> None:
    boto = opened()._client().boto
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    allowed = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": resources}
    boto.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    try:
        store = opened(unsigned=True)
        assert store.get(KEYS[0]) == IMAGE + KEYS[0].encode()
        assert [info.key for info in store.list("plate-2/")] == ["plate-2/a.tif"]
        with pytest.raises(AccessDenied):
            store.put("not allowed.tif", b"x")
    finally:
        boto.delete_bucket_policy(Bucket=BUCKET)


def test_many_threads_read_at_once(store: S3Store) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: store.get(KEYS[n % 4]) == IMAGE + KEYS[n % 4].encode(), range(64)))
    assert all(found)
