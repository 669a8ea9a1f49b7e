import multiprocessing

import pytest

from dinocell_io.stream.prefetch import FailedField
from dinocell_io.stream.quarantine import append_quarantine, lasting_keys, read_quarantine


def failure(key: str, kind: str = "missing") -> FailedField:
    return FailedField(key, "DNA", f"a folder/{key}.tif", kind, 1, "there is no such object")


def append_many(path, worker: int) -> None:
    for number in range(50):
        append_quarantine(path, failure(f"{worker}-{number}"))


def test_failures_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "bad.jsonl"
    written = (failure("a"), failure("µ", "network"))
    for one in written:
        append_quarantine(path, one)
    assert read_quarantine(path) == written


def test_a_missing_file_holds_no_failures(tmp_path):
    assert read_quarantine(tmp_path / "none.jsonl") == ()


def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "bad.jsonl"
    append_quarantine(path, failure("a"))
    append_quarantine(path, failure("b"))
    path.write_text(path.read_text()[:-5])
    assert [one.key for one in read_quarantine(path)] == ["a"]


@pytest.mark.parametrize("num_bytes", [1, 5, 60, -5, -10, -1])
def test_after_a_line_that_was_cut_the_next_begins_a_new_one(tmp_path, num_bytes):
    path = tmp_path / "bad.jsonl"
    append_quarantine(path, failure("a"))
    first = path.read_bytes()
    append_quarantine(path, failure("µµµ"))
    path.write_bytes(first + path.read_bytes()[len(first) :][:num_bytes])
    append_quarantine(path, failure("c"))
    append_quarantine(path, failure("d"))
    kept = ["µµµ"] if num_bytes == -1 else []  # only its line end was cut
    assert [one.key for one in read_quarantine(path)] == ["a", *kept, "c", "d"]


def test_a_line_cut_inside_of_a_letter_is_left_out(tmp_path):
    path = tmp_path / "bad.jsonl"
    append_quarantine(path, failure("µ"))
    path.write_bytes(path.read_bytes().partition("µ".encode()[1:])[0])
    assert read_quarantine(path) == ()
    append_quarantine(path, failure("b"))
    assert [one.key for one in read_quarantine(path)] == ["b"]


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("name,split\na,train\n")
    with pytest.raises(ValueError, match=r"bad.csv, line 1 is not a failed field .*choose another quarantine file"):
        read_quarantine(path)


def test_a_line_of_another_kind_is_refused_with_its_number(tmp_path):
    path = tmp_path / "bad.jsonl"
    append_quarantine(path, failure("a"))
    with path.open("a") as file:
        file.write('{"name": 1}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2 is not a failed field"):
        read_quarantine(path)


def test_processes_write_whole_lines_into_one_file(tmp_path):
    path = tmp_path / "bad.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({one.key for one in read_quarantine(path)}) == 200


def test_only_lasting_causes_keep_a_field_out():
    failures = (failure("a"), failure("b", "network"), failure("c", "constant"))
    assert lasting_keys(failures) == {"a", "c"}
