import os
import pickle
from pathlib import Path

import pytest

from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import AccessDenied, Corrupt, Exhausted, NotFound, ObjectInfo, Refused, Store, StoreError
from dinocell_io.stores.uri import split_uri

KEYS = ["a-b/1.tif", "a/.zarray", "a/1.tif", "a/deep/2.tif", "a/z.tif", "a0.tif", "plate 1/r01 c01.tif"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path)
    for key in reversed(KEYS):
        store.put(key, key.encode())
    return store


def keys(store: LocalStore, prefix: str, delimiter: str | None = None) -> list[str]:
    return [info.key for info in store.list(prefix, delimiter=delimiter)]


def test_a_folder_is_a_store(store: LocalStore) -> None:
    assert isinstance(store, Store)
    assert not isinstance(store.root, Store)


def test_an_object_is_read_whole_in_part_and_measured(store: LocalStore) -> None:
    assert store.get("a/1.tif") == b"a/1.tif"
    assert store.get_range("a/1.tif", 2, 5) == b"1.t"
    assert store.size("a/1.tif") == 7


def test_putting_replaces_the_whole_object(store: LocalStore) -> None:
    store.put("a/1.tif", b"new")
    assert store.get("a/1.tif") == b"new"


def test_keys_are_listed_in_the_order_of_their_bytes(store: LocalStore) -> None:
    assert keys(store, "") == sorted(KEYS, key=str.encode) == KEYS


def test_a_prefix_need_not_end_at_a_folder(store: LocalStore) -> None:
    assert keys(store, "a") == [key for key in KEYS if key.startswith("a")]
    assert keys(store, "a/") == [key for key in KEYS if key.startswith("a/")]
    assert keys(store, "a/d") == ["a/deep/2.tif"]


def test_a_delimiter_gives_each_folder_once(store: LocalStore) -> None:
    assert list(store.list("a/", delimiter="/")) == [
        ObjectInfo("a/.zarray", 9, None),
        ObjectInfo("a/1.tif", 7, None),
        ObjectInfo("a/deep/", 0, None),
        ObjectInfo("a/z.tif", 7, None),
    ]
    assert keys(store, "", "/") == ["a-b/", "a/", "a0.tif", "plate 1/"]


def test_a_prefix_that_nothing_has_lists_nothing(store: LocalStore) -> None:
    assert keys(store, "nothing/here") == []


def test_a_file_that_is_still_written_is_not_listed(store: LocalStore) -> None:
    Path(store.root, "a", ".z.0123456789ab.partial.tif").write_bytes(b"half")
    assert keys(store, "a/") == [key for key in KEYS if key.startswith("a/")]


def test_a_listing_does_not_follow_linked_folders_in_circles(store: LocalStore) -> None:
    Path(store.root, "a", "circle").symlink_to(store.root)
    Path(store.root, "a", "nothing.tif").symlink_to(store.root / "gone.tif")
    assert keys(store, "") == KEYS


def test_a_missing_object_is_not_found(store: LocalStore) -> None:
    for missing in ("a/2.tif", "a0.tif/inside", "a"):
        with pytest.raises(NotFound, match=r"there is no such file|this is a folder"):
            store.get(missing)
    with pytest.raises(FileNotFoundError):
        store.size("a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_object_is_access_denied(store: LocalStore) -> None:
    Path(store.root, "a", "1.tif").chmod(0)
    with pytest.raises(AccessDenied, match="change its permissions"):
        store.get("a/1.tif")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a\0b", "a/./1.tif"])
def test_a_key_that_leads_out_of_the_folder_is_refused(store: LocalStore, key: str) -> None:
    with pytest.raises(Refused, match="keys are paths below"):
        store.get(key)
    with pytest.raises(Refused, match="keys are paths below"):
        store.put(key, b"")


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 2), (0, 8), (7, 9)])
def test_a_range_outside_the_object_is_refused(store: LocalStore, start: int, stop: int) -> None:
    with pytest.raises(Refused, match=f"bytes {start} to {stop} requested of 7"):
        store.get_range("a/1.tif", start, stop)


@pytest.mark.parametrize("key", ["", "a/"])
def test_a_folders_key_is_no_object(store: LocalStore, key: str) -> None:
    with pytest.raises(Refused, match="expected the key of an object"):
        store.put(key, b"")
    with pytest.raises(Refused, match="expected the key of an object"):
        store.get(key)


def test_another_delimiter_than_a_slash_is_refused(store: LocalStore) -> None:
    with pytest.raises(Refused, match="delimiter of a folder"):
        list(store.list("", delimiter="_"))


@pytest.mark.parametrize("kind", [StoreError, NotFound, AccessDenied, Refused, Corrupt, Exhausted])
def test_a_failure_passes_between_processes_unchanged(kind: type[StoreError]) -> None:
    error = pickle.loads(pickle.dumps(kind("plate/1.tif", "503 SlowDown", 4)))
    assert type(error) is kind
    assert (error.key, error.cause, error.attempts) == ("plate/1.tif", "503 SlowDown", 4)
    assert str(error) == "plate/1.tif after 4 attempts: 503 SlowDown"


def test_failures_are_the_built_in_errors_that_people_catch() -> None:
    for kind, built_in in (
        (NotFound, FileNotFoundError),
        (AccessDenied, PermissionError),
        (Exhausted, ConnectionError),
        (Corrupt, ValueError),
        (Refused, ValueError),
    ):
        assert issubclass(kind, built_in)
        assert issubclass(kind, OSError)


def test_a_path_opens_the_store_that_holds_it(store: LocalStore) -> None:
    opened, key = open_store(store.root / "a" / "1.tif")
    assert opened.get(key) == b"a/1.tif"
    opened, key = open_store((store.root / "plate 1" / "r01 c01.tif").as_uri())
    assert opened.get(key) == b"plate 1/r01 c01.tif"


def test_the_folder_of_an_address_keeps_its_slash(store: LocalStore) -> None:
    opened, prefix = open_store(f"{store.root}/a/")
    assert [info.key.removeprefix(prefix) for info in opened.list(prefix)] == [
        ".zarray",
        "1.tif",
        "deep/2.tif",
        "z.tif",
    ]


def test_an_s3_key_is_taken_as_it_stands() -> None:
    assert split_uri("s3://bucket/a b/100%25 #1?.tif") == ("s3", "bucket", "a b/100%25 #1?.tif")
    assert split_uri("s3://bucket") == ("s3", "bucket", "")


def test_a_relative_path_is_made_absolute(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.root)
    opened, key = open_store("a/../a/1.tif")
    assert opened.get(key) == b"a/1.tif"


def test_unknown_addresses_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gs://.*expected a path, file:// or s3://bucket/key"):
        open_store("gs://bucket/key")
    with pytest.raises(ValueError, match="names no bucket"):
        open_store("s3:///key")
    with pytest.raises(ValueError, match="takes no options, got region"):
        open_store("a.tif", region="us-east-1")
