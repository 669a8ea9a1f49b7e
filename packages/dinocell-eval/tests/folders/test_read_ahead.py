"""Reading ahead in threads."""

import threading
import time

import pytest

from dinocell_eval.folders.read_ahead import ReadAhead


def test_sources_are_read_in_order_and_counted():
    with ReadAhead(num_threads=3) as files:
        assert list(files.read(lambda number: number * 2, range(20))) == list(range(0, 40, 2))
    assert files.num_read == 20


def test_several_sources_are_read_at_the_same_time():
    meeting = threading.Barrier(2, timeout=60)  # passes only when two threads are inside
    with ReadAhead(num_threads=2) as files:
        assert len(list(files.read(lambda _: meeting.wait(), range(4)))) == 4


def test_at_most_one_source_more_than_threads_is_read_ahead():
    started = []
    with ReadAhead(num_threads=2) as files:
        contents = files.read(lambda number: started.append(number) or number, range(50))
        assert next(contents) == 0
        time.sleep(0.05)
        assert len(started) <= 3


def test_time_of_reading_and_of_waiting_are_kept_apart():
    with ReadAhead(num_threads=1) as files:
        for _ in files.read(time.sleep, [0.02] * 5):
            time.sleep(0.03)
    assert files.read_seconds >= 0.1
    assert 0 < files.waited_seconds < files.read_seconds


def test_an_error_of_reading_is_raised_where_its_content_was_due():
    def read(number):
        if number == 2:
            raise ValueError("file 2 is damaged")
        return number

    with ReadAhead(num_threads=4) as files:
        contents = files.read(read, range(10))
        assert [next(contents), next(contents)] == [0, 1]
        with pytest.raises(ValueError, match="file 2 is damaged"):
            next(contents)
