"""The stream as its reader sees it: which fields come, in which order, and what happens when some cannot."""

import io
import json
import pickle
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io import (
    DiskCache,
    FieldFiles,
    FieldPixels,
    FieldStream,
    ResampleTo,
    StreamError,
    StreamLimits,
    StreamReads,
    StreamStalled,
    TooManyFailures,
)
from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.cache.ram_cache import RamCache
from dinocell_io.stores.store import AccessDenied, Exhausted, NotFound, ObjectInfo

SMALL = StreamLimits(num_requests=4, fields_ahead=4)


def tiff(value: int, *, shape=(8, 10), dtype=np.uint16, **options) -> bytes:
    """A noisy plane whose mean tells which it is."""
    pixels = (100 * value + np.arange(shape[0] * shape[1]).reshape(shape) % 7).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack", **options)
    return file.getvalue()


@dataclass
class FakeStore:
    """Objects in memory; `faults` gives for a key what its successive requests do, the last for ever."""

    objects: dict[str, bytes]
    faults: dict[str, list[object]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    uri: str | None = None

    def get(self, key: str) -> bytes:
        self.requests[key] += 1
        faults = self.faults.get(key)
        if faults:
            fault = faults.pop(0) if len(faults) > 1 else faults[0]
            if isinstance(fault, Exception):
                raise fault
            if isinstance(fault, bytes):
                return fault
            if isinstance(fault, float):
                time.sleep(fault)
        return self.objects[key]

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.get(key)[start:stop]

    def size(self, key: str) -> int:
        return len(self.objects[key])

    def list(self, prefix: str, *, delimiter: str | None = None):
        return iter([ObjectInfo(key, len(data), None) for key, data in self.objects.items() if key.startswith(prefix)])

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data


@dataclass(frozen=True)
class NumberedFields:
    """Fields "0", "1" ... of two channels, on plates of ten."""

    count: int
    missing_expected: tuple[int, ...] = ()
    store_uri: str = "s3://nowhere"

    @property
    def fingerprint(self) -> str:
        return f"numbered {self.count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> FieldFiles:
        return FieldFiles(
            str(row),
            {"DNA": f"{row}/dna.tif", "ER": f"{row}/er.tif"},
            plate=f"P{row // 10}",
            pixel_size_um=0.6,
            may_be_missing=row in self.missing_expected,
        )


def store_of(count: int, **faults) -> FakeStore:
    objects = {}
    for row in range(count):
        objects |= {f"{row}/dna.tif": tiff(row), f"{row}/er.tif": tiff(row + 300)}
    return FakeStore(objects, **faults)


def stream_of(count: int, store: FakeStore | None = None, **options) -> FieldStream:
    options.setdefault("limits", SMALL)
    return FieldStream(NumberedFields(count), store=store or store_of(count), **options)


def keys(stream: FieldStream, count: int | None = None) -> list[int]:
    got = []
    if count == 0:
        return got
    for pixels in stream:
        got.append(int(pixels.key))
        if len(got) == count:
            break
    return got


def test_every_field_comes_once_with_its_own_pixels():
    stream = stream_of(30)
    got = list(stream)
    assert sorted(int(one.key) for one in got) == list(range(30))
    assert len(got) == len(stream)
    for one in got:
        assert list(one.channels) == ["DNA", "ER"]
        assert one.pixel_size_um == 0.6
        assert one.shape == (8, 10)
        assert one.channels["DNA"].min() == 100 * int(one.key)
        assert one.channels["ER"].min() == 100 * (int(one.key) + 300)
        assert one.channels["DNA"].dtype == np.uint16
        assert one.num_bytes == 2 * 2 * 80


def test_without_a_seed_the_list_decides_the_order():
    assert keys(stream_of(9, seed=None)) == list(range(9))


def test_the_order_is_new_in_each_epoch_and_the_same_for_each_run():
    first = keys(stream_of(40, num_epochs=2))
    assert first == keys(stream_of(40, num_epochs=2))
    assert first[:40] != first[40:]
    assert sorted(first[:40]) == sorted(first[40:]) == list(range(40))
    assert first[:40] != keys(stream_of(40, seed=1))


def test_without_a_number_of_epochs_it_never_ends():
    assert Counter(keys(stream_of(3, num_epochs=None), 12)) == {0: 4, 1: 4, 2: 4}


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 25),
    st.sampled_from([(1, 1, 1), (2, 1, 1), (2, 2, 2), (4, 2, 1), (3, 1, 2)]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.booleans(),
)
def test_all_parts_together_read_every_field_once_per_epoch(count, ranks, reuses, seed, ordered):
    world_size, ranks_per_node, num_workers = ranks
    parts = [
        keys(
            stream_of(
                count,
                rank=rank,
                world_size=world_size,
                ranks_per_node=ranks_per_node,
                worker=worker,
                num_workers=num_workers,
                seed=seed,
                reuses=reuses,
                buffer_fields=6,
                ordered=ordered,
                limits=StreamLimits(num_requests=2, num_decoders=1, fields_ahead=3),
            )
        )
        for rank in range(world_size)
        for worker in range(num_workers)
    ]
    shares = world_size * num_workers
    assert {len(part) for part in parts} == {-(-count // shares) * reuses}
    read = Counter(key for part in parts for key in part)
    assert set(read) == set(range(count))
    # what does not divide is read again, by nobody twice more than by others
    assert sum(times - reuses for times in read.values()) == (-count % shares) * reuses


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 3), st.integers(0, 130), st.booleans())
def test_a_run_resumed_anywhere_goes_on_with_the_same_fields(count, reuses, stop, through_json):
    options = {"reuses": reuses, "buffer_fields": 7, "num_epochs": 2, "seed": 3}
    store = store_of(count)
    whole = keys(stream_of(count, store, **options))
    stop = min(stop, len(whole))
    begun = stream_of(count, store, **options)
    assert keys(begun, stop) == whole[:stop]
    state = begun.state_dict()
    if through_json:
        state = json.loads(json.dumps(state))
    resumed = stream_of(count, store, **options)
    resumed.load_state_dict(state)
    assert keys(resumed) == whole[stop:]


def test_iterating_again_goes_on_where_the_last_iteration_was_left():
    stream = stream_of(20)
    whole = keys(stream_of(20))
    assert keys(stream, 7) + keys(stream) == whole
    assert keys(stream) == []


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 38), st.integers(0, 10))
def test_an_unordered_run_resumed_anywhere_gives_the_rest_once(stop, slow):
    store = store_of(20)
    store.faults[f"{slow}/er.tif"] = [0.02, None]
    options = {"ordered": False, "reuses": 2, "buffer_fields": 6}
    begun = stream_of(20, store, **options)
    before = keys(begun, stop)
    resumed = stream_of(20, store, **options)
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert Counter(before + keys(resumed)) == dict.fromkeys(range(20), 2)


def test_unordered_gives_what_is_there_while_a_slow_object_is_under_way():
    slow = keys(stream_of(12))[0]
    store = store_of(12)
    store.faults[f"{slow}/dna.tif"] = [0.3]
    ordered = keys(stream_of(12, store))
    assert ordered[0] == slow
    unordered = keys(stream_of(12, store, ordered=False))
    assert unordered[0] != slow
    assert sorted(unordered) == list(range(12))


def test_a_state_of_another_stream_is_refused_with_what_differs():
    state = stream_of(8, seed=1).state_dict()
    with pytest.raises(ValueError, match="seed 1 instead of 2"):
        stream_of(8, seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match=r"'numbered 8' instead of 'numbered 9'.*num_fields 8 instead of 9"):
        stream_of(9, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"partition.*world_size"):
        stream_of(8, seed=1, world_size=2).load_state_dict(state)
    with pytest.raises(ValueError, match="epoch 0, position 9; an epoch has 8"):
        stream_of(8, seed=1).load_state_dict({**state, "position": 9})


def test_the_reader_may_set_the_place_of_the_state_itself():
    whole = keys(stream_of(10, num_epochs=2))
    stream = stream_of(10, num_epochs=2)
    stream.load_state_dict({**stream.state_dict(), "epoch": 0, "position": 10})
    assert keys(stream) == whole[10:]


def test_each_fetched_field_is_used_several_times_and_asked_for_once():
    store = store_of(20)
    stream = stream_of(20, store, reuses=3, buffer_fields=9)
    assert Counter(keys(stream)) == dict.fromkeys(range(20), 3)
    assert set(store.requests.values()) == {1}
    report = stream.report()
    assert (report.num_used, report.num_read, report.num_objects) == (60, 20, 40)


def test_no_more_fields_are_under_way_than_allowed():
    lock, under_way, most = threading.Lock(), set(), []

    class Watched(FakeStore):
        def get(self, key: str) -> bytes:
            with lock:
                under_way.add(key.split("/")[0])
                most.append(len(under_way))
            time.sleep(0.001)
            return super().get(key)

    limits = StreamLimits(num_requests=16, fields_ahead=3)
    for pixels in stream_of(40, Watched(store_of(40).objects), limits=limits):
        with lock:
            under_way.discard(pixels.key)
    assert max(most) <= 4  # three ahead, and the one that the reader holds


def test_a_reader_that_pauses_lets_only_the_fields_ahead_be_fetched():
    store = store_of(40)
    iteration = iter(stream_of(40, store))
    next(iteration)
    time.sleep(0.05)
    assert len({key.split("/")[0] for key in store.requests}) <= 1 + SMALL.fields_ahead
    iteration.close()


def test_the_threads_end_with_the_iteration():
    before = set(threading.enumerate())
    keys(stream_of(10), 3)
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("dinocell-")]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (NotFound("k", "there is no such object"), "missing"),
        (AccessDenied("k", "403"), "denied"),
        (Exhausted("k", "connection reset", 4), "network"),
        (b"", "damaged"),
        (bytes(3000), "damaged"),
        (b"<Error>AccessDenied</Error>", "damaged"),
        (tiff(4)[:-40], "damaged"),
        (tiff(4, compression="lzw")[:150], "damaged"),
        (tiff(4, dtype=np.uint8), "dtype"),
        (tiff(4, dtype=np.int16), "dtype"),
        (tiff(4, dtype=np.float32), "dtype"),
        (tiff(4, shape=(8, 1)), "shape"),
        (tiff(0, shape=(1, 1)), "constant"),
    ],
)
def test_a_field_that_cannot_be_read_is_replaced_by_the_next_in_the_order_and_told(tmp_path, fault, kind):
    whole = keys(stream_of(12))
    lost = whole[4]
    store = store_of(12)
    store.faults[f"{lost}/er.tif"] = [fault]
    stream = stream_of(12, store, quarantine=tmp_path / "bad.jsonl")
    assert keys(stream) == [*whole[:4], whole[5], *whole[5:]]
    (line,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["key"], told["channel"], told["object_key"], told["kind"]) == (
        str(lost),
        "ER",
        f"{lost}/er.tif",
        kind,
    )
    report = stream.report()
    assert report.num_quarantined == report.num_replaced == 1
    assert report.failures == {(kind, f"P{lost // 10}"): 1}


def test_a_constant_plane_is_refused_and_one_different_pixel_accepted():
    flat = np.full((40, 40), 7, np.uint16)
    dot = flat.copy()
    dot[3, 5] = 8
    store = store_of(3)
    for name, pixels in (("1/dna.tif", flat), ("2/dna.tif", dot), ("2/er.tif", dot)):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels)
        store.objects[name] = file.getvalue()
    stream = stream_of(3, store, seed=None)
    list(stream)
    assert stream.report().failures == {("constant", "P0"): 1, ("shape", "P0"): 1}  # 2 is of another shape than 0


def test_a_damaged_object_is_fetched_once_more():
    store = store_of(5)
    store.faults["3/dna.tif"] = [tiff(3)[:-30], None]
    stream = stream_of(5, store, seed=None)
    assert keys(stream) == [0, 1, 2, 3, 4]
    assert store.requests["3/dna.tif"] == 2
    assert stream.report().num_retries == 1
    assert stream.report().num_quarantined == 0


def test_a_cache_forgets_a_damaged_object_before_it_is_fetched_again():
    origin = store_of(5)
    origin.faults["3/dna.tif"] = [tiff(3)[:-30], None]
    store = CachedStore(origin, ram=RamCache(max_bytes=1 << 20), name="fake")
    stream = stream_of(5, store, seed=None)
    assert keys(stream) == [0, 1, 2, 3, 4]
    assert origin.requests["3/dna.tif"] == 2
    assert stream.report().num_quarantined == 0


def test_a_plate_with_two_shapes_keeps_the_shape_of_its_first_field():
    store = store_of(4)
    for channel in ("dna", "er"):
        store.objects[f"2/{channel}.tif"] = tiff(2, shape=(8, 12))
    stream = stream_of(4, store, seed=None, limits=StreamLimits(num_requests=1, num_decoders=1, fields_ahead=1))
    assert keys(stream) == [0, 1, 3, 3]
    assert stream.report().failures == {("shape", "P0"): 1}


def test_fields_in_quarantine_are_not_asked_for_again_but_network_failures_are(tmp_path):
    quarantine = tmp_path / "bad.jsonl"
    store = store_of(6)
    store.faults = {"1/er.tif": [NotFound("k", "none")], "4/er.tif": [Exhausted("k", "reset", 4)]}
    keys(stream_of(6, store, seed=None, quarantine=quarantine))
    again = store_of(6)
    stream = stream_of(6, again, seed=None, quarantine=quarantine)
    assert keys(stream) == [0, 2, 2, 3, 4, 5]
    assert again.requests["1/er.tif"] == again.requests["1/dna.tif"] == 0
    assert stream.report().num_replaced == 1
    assert stream.report().num_quarantined == 0


def test_too_many_failures_stop_the_run_with_a_table():
    store = store_of(50)
    store.faults = {f"{row}/er.tif": [NotFound("k", "there is no such object")] for row in range(10, 50, 2)}
    limits = StreamLimits(num_requests=2, fields_ahead=2, max_failed_share=0.1, failure_window=100)
    with pytest.raises(TooManyFailures, match=r"11 of the last \d+ fields.*er.tif: there is no such object") as caught:
        keys(stream_of(50, store, seed=None, limits=limits))
    assert "5  missing    P1" in str(caught.value)
    assert type(pickle.loads(pickle.dumps(caught.value))) is TooManyFailures


def test_failures_within_the_limit_do_not_stop_the_run():
    store = store_of(50)
    store.faults = {f"{row}/er.tif": [NotFound("k", "there is no such object")] for row in range(10, 30, 2)}
    limits = StreamLimits(num_requests=2, fields_ahead=2, max_failed_share=0.1, failure_window=100)
    assert len(keys(stream_of(50, store, seed=None, limits=limits))) == 50


def test_keys_that_the_deny_list_calls_missing_do_not_count():
    store = store_of(20)
    store.faults = {f"{row}/er.tif": [NotFound("k", "none")] for row in range(10)}
    limits = StreamLimits(num_requests=2, fields_ahead=2, max_failed_share=0.0, failure_window=10)
    stream = FieldStream(NumberedFields(20, tuple(range(10))), store=store, limits=limits, seed=None)
    assert len(keys(stream)) == 20
    assert stream.report().num_expected_missing == stream.report().num_quarantined == 10


def test_when_no_field_can_be_read_the_run_stops():
    store = FakeStore({}, {f"{row}/{name}.tif": [NotFound("k", "none")] for row in range(3) for name in ("dna", "er")})
    message = r"none of the 3 fields of this part can be read; the last that failed is \d/(dna|er).tif: none"
    with pytest.raises(StreamError, match=message):
        keys(stream_of(3, store))


def test_when_the_quarantine_file_names_every_field_the_run_stops_and_names_the_file(tmp_path):
    store = FakeStore({}, {f"{row}/{name}.tif": [NotFound("k", "none")] for row in range(3) for name in ("dna", "er")})
    for _ in range(2):
        with pytest.raises(StreamError) as caught:
            keys(stream_of(3, store, quarantine=tmp_path / "bad.jsonl"))
    assert f"the quarantine file {tmp_path / 'bad.jsonl'} names them all" in str(caught.value)


def test_a_store_that_hangs_ends_as_an_error_that_shows_where():
    release = threading.Event()

    class Hanging(FakeStore):
        def get(self, key: str) -> bytes:
            release.wait(20)
            return super().get(key)

    limits = StreamLimits(num_requests=2, fields_ahead=2, stall_seconds=0.2)
    stream = stream_of(5, Hanging(store_of(5).objects), limits=limits)
    try:
        with pytest.raises(StreamStalled, match=r"no field arrived for 0 s(.|\n)*dinocell-fetch-0(.|\n)*release.wait"):
            keys(stream)
    finally:
        release.set()


def test_a_mistake_in_the_program_is_raised_in_the_reader():
    class Wrong(FakeStore):
        def get(self, key: str) -> bytes:
            raise TypeError("a mistake in the store")

    with pytest.raises(TypeError, match="a mistake in the store"):
        keys(stream_of(5, Wrong({})))


def test_a_second_iteration_ends_the_first():
    stream = stream_of(9)
    first = iter(stream)
    next(first)
    second = iter(stream)
    next(second)
    with pytest.raises(StreamError, match="another iteration of this stream has begun"):
        next(first)
    second.close()


def double(files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
    return FieldPixels(pixels.key, {name: plane * 2 for name, plane in pixels.channels.items()}, 2.0)


def test_prepare_is_applied_to_every_field():
    store = store_of(5)
    plain = {one.key: one.channels["DNA"] for one in stream_of(5, store)}
    for one in stream_of(5, store, prepare=double):
        np.testing.assert_array_equal(one.channels["DNA"], 2 * plain[one.key])
        assert one.pixel_size_um == 2.0


def without_size(files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
    return FieldPixels(pixels.key, pixels.channels, None if pixels.key == "3" else 0.6)


def refusing(files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
    if pixels.key == "3":
        raise ValueError("this plate has no map")
    return pixels


@pytest.mark.parametrize(
    ("steps", "kind", "cause"),
    [
        ([without_size, ResampleTo(0.65)], "pixel_size", "has pixels of None um and cannot be resampled"),
        ([refusing], "prepare", "this plate has no map"),
    ],
)
def test_a_field_that_a_step_refuses_is_quarantined_and_the_others_come(tmp_path, steps, kind, cause):
    stream = stream_of(5, prepare=steps, quarantine=tmp_path / "bad.jsonl")
    assert {0, 1, 2, 4} == {*keys(stream)}
    (line,) = map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    assert (line["key"], line["kind"]) == ("3", kind)
    assert cause in line["cause"]


def test_a_stream_passes_to_another_process_with_its_state():
    stream = stream_of(12, prepare=double)
    whole = keys(stream_of(12))
    keys(stream, 5)
    assert keys(pickle.loads(pickle.dumps(stream))) == whole[5:]


def test_the_report_tells_latencies_bytes_and_waiting(tmp_path):
    store = store_of(6)
    store.faults = {key: [0.01] for key in store.objects}
    stream = stream_of(6, store)
    keys(stream)
    report = stream.report()
    assert report.num_bytes == sum(map(len, store.objects.values()))
    assert report.num_objects == 12
    assert 0.01 <= report.p50_seconds <= report.p99_seconds
    assert 0 < report.data_wait_share <= 1.1
    assert report.first_field_seconds >= 0.01
    text = str(report)
    assert "6 used, 6 read, 0 quarantined" in text
    assert "12 of 12 requested, 0.0 MB; 0 fetched again" in text
    assert "p99" in text
    assert "waiting" in text
    stream.write_report(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["num_used"] == 6


def test_the_report_shows_which_tier_of_a_cached_store_answered():
    cached = CachedStore(store_of(4), ram=RamCache(max_bytes=1 << 20), name="fake")
    stream = stream_of(4, cached, num_epochs=2)
    keys(stream)
    tiers = stream.report().tiers
    size = stream.report().num_bytes // 2  # each object came twice
    assert tiers["ram"] == {"reads": 8, "rate": 0.5, "bytes": size}
    assert tiers["origin"] == {"reads": 8, "rate": 0.5, "bytes": size}
    assert "tier     ram: 8 reads, 50.0 %" in str(stream.report())


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="holds no field"):
        FieldStream(NumberedFields(0))
    with pytest.raises(ValueError, match="rank 2 of 2"):
        stream_of(5, rank=2, world_size=2)
    with pytest.raises(ValueError, match="2 ranks per node of 3, expected a divisor"):
        stream_of(5, world_size=3, ranks_per_node=2)
    with pytest.raises(ValueError, match="4 uses per field and a buffer of 3"):
        stream_of(5, reuses=4, buffer_fields=3)
    with pytest.raises(ValueError, match="num_requests=0"):
        StreamLimits(num_requests=0)


def test_a_stream_with_a_cache_asks_for_each_object_once(tmp_path):
    store = store_of(6, uri="fake://bucket")
    cache = DiskCache(tmp_path / "cache", quota_bytes=10**7)
    stream = stream_of(6, store, cache=cache, num_epochs=3)
    assert len(keys(stream)) == 18
    assert set(store.requests.values()) == {1}
    reads = stream.reads()
    assert (reads.fetched, reads.kept) == (12, 24)
    assert reads.kept_share == pytest.approx(2 / 3)
    assert reads.fetched_bytes == sum(map(len, store.objects.values()))
    # a read that waited for another one of the same object took no bytes itself
    assert reads.fetched_bytes < reads.kept_bytes <= 2 * reads.fetched_bytes
    assert reads.kept_bytes == stream.report().tiers["disk"]["bytes"]
    assert reads - reads == StreamReads()
    again = stream_of(6, FakeStore({}, uri="fake://bucket"), cache=DiskCache(tmp_path / "cache"))
    assert len(keys(again)) == 6  # another process, and a store that has lost everything


def test_a_stream_without_a_cache_fetches_all():
    stream = stream_of(3, num_epochs=2)
    assert stream.reads().kept_share is None
    assert len(keys(stream)) == 6
    assert stream.reads() == StreamReads(fetched=12, fetched_bytes=stream.report().num_bytes)
