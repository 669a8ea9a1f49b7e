"""Tracks as rows and as files: what is read, what is refused and with which words."""

import re

import numpy as np
import pytest

from dinocell_eval import Tracks, read_tracks, write_tracks
from dinocell_eval.tracking.tracks import as_tracks

ROWS = [(1, 0, 3, 0), (2, 4, 6, 1), (5, 4, 4, 1), (7, 6, 6, 5)]


@pytest.fixture
def file(tmp_path):
    def write(text, **options):
        path = tmp_path / "res_track.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_tracks(path, **options)

    return write


def test_rows_in_any_order_become_tracks_in_ascending_order():
    for rows in (ROWS, ROWS[::-1], np.array(ROWS), np.array(ROWS, np.uint16), [list(row) for row in ROWS], iter(ROWS)):
        tracks = as_tracks(rows, role="truth")
        assert tracks.rows() == ROWS
        assert tracks.num_tracks == 4
    assert as_tracks(tracks, role="truth") is tracks
    assert as_tracks([], role="truth").num_tracks == 0


def test_parents_children_and_forks_are_rows_of_the_table():
    tracks = as_tracks(ROWS, role="truth")
    assert tracks.parent_row.tolist() == [-1, 0, 0, 2]
    assert tracks.num_children.tolist() == [2, 0, 1, 0]
    assert tracks.is_fork.tolist() == [True, False, False, False]
    assert [tracks.children(row) for row in range(4)] == [[1, 2], [], [3], []]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(1, 0, 1)],
            r"row 0 of the truth tracks is \(1, 0, 1\), expected four whole numbers: label, begin, end",
        ),
        ([(1, 0, 1.5, 0)], "expected four whole numbers"),
        ([(1, 0, float("nan"), 0)], "expected four whole numbers"),
        ([("1", "0", "1", "0")], r"row 0 of the truth tracks is \('1', '0', '1', '0'\), expected four whole numbers"),
        ([(1, 0, 1, None)], "expected four whole numbers"),
        ([(0, 0, 1, 0)], r"the truth tracks: row 0: the label is 0, expected 1 or more \(0 is background\)"),
        ([(-3, 0, 1, 0)], "the label is -3"),
        ([(1, 0, 1, 0), (1, 3, 4, 0)], "row 1: label 1 was already used in row 0, expected each label once"),
        ([(1, 3, 2, 0)], "track 1 begins in frame 3 and ends in 2, expected 0 <= begin <= end"),
        ([(1, -1, 2, 0)], "track 1 begins in frame -1"),
        ([(1, 0, 2, 1)], "track 1 is its own parent; write 0 for a track without parent"),
        ([(1, 0, 2, 9)], "the parent of track 1 is 9, which is not a track; write 0 for no parent"),
        ([(1, 0, 2, -1)], "the parent of track 1 is -1, which is not a track"),
        (
            [(1, 0, 2, 0), (2, 2, 3, 1)],
            "track 2 begins in frame 2 but its parent 1 ends in 2, expected the parent",
        ),
        ([(1, 0, 2, 0), (2, 1, 3, 1)], "but its parent 1 ends in 2"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        as_tracks(rows, role="truth")


def test_all_wrong_rows_are_listed_up_to_eight():
    with pytest.raises(ValueError, match=r"row 0: .*; row 1: .*; row 7: .* and 4 more$"):
        as_tracks([(label, 5, 4, 0) for label in range(1, 13)], role="result")


@pytest.mark.parametrize(
    "text",
    [
        "1 0 3 0\n2 4 6 1\n5 4 4 1\n7 6 6 5\n",
        "1 0 3 0\n2 4 6 1\n5 4 4 1\n7 6 6 5",
        "7 6 6 5\r\n1 0 3 0\r\n5 4 4 1\r\n2 4 6 1\r\n",
        "1\t0\t3\t0\n2   4 6\t1\n  5 4 4 1\n7 6 6 5\n",
        "\ufeff1 0 3 0\n2 4 6 1\n5 4 4 1\n7 6 6 5\n",
    ],
)
def test_tabs_blanks_line_ends_and_the_order_of_lines_do_not_matter(file, text):
    tracks = file(text, strict=True)
    assert tracks.rows() == ROWS
    assert tracks.notes == ()


def test_an_empty_file_has_no_tracks(file):
    assert file("").num_tracks == 0


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("1 0 3 0 \n", "blanks at the end of line 1, which the official tools refuse"),
        ("1 0 3 0\n2 0 1 0\t\r\n", "blanks at the end of line 2"),
        ("1 0 3 0\n\n", "empty lines at its end, which the official tools refuse"),
        ("1 0 3 0\r\n\r\n", "empty lines at its end"),
        ("1 0 3 0\n  \n", "empty lines at its end"),
        ("70000 0 3 0\n", r"labels above 65535 \(70000\), which the official tools refuse"),
    ],
)
def test_harmless_departures_are_noted_and_refused_if_strict(file, text, note):
    (found,) = [given for given in file(text).notes if "res_track.txt has " in given]
    assert re.search(note, found)
    with pytest.raises(ValueError, match=note + ".*leave out --strict"):
        file(text, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 3\n", "line 1 is '1 0 3', expected four whole numbers `label begin end parent`"),
        ("1 0 3 0\n2 0 3 0 0\n", "line 2 is '2 0 3 0 0'"),
        ("# tracks\n1 0 3 0\n", "line 1 is '# tracks'"),
        ("1 0 3 0 # one\n", "line 1 is '1 0 3 0 # one'"),
        ("1 0 3.0 0\n", "line 1 is '1 0 3.0 0'"),
        ("1 0 3 0\n\n2 0 3 0\n", "line 2 is ''"),
        ("1,0,3,0\n", "line 1 is '1,0,3,0'"),
        ("1 0 1_0 0\n", "line 1 is"),
        ("1 0 3 0\n1 5 6 0\n", "line 2: label 1 was already used in line 1"),
        ("5 4 3 0\n", "line 1: track 5 begins in frame 4 and ends in 3"),
        ("1 0 3 8\n", "line 1: the parent of track 1 is 8, which is not a track"),
        ("1 0 3 -1\n", "line 1: the parent of track 1 is -1"),
        ("1 0 3 0\n2 3 4 1\n", "line 2: track 2 begins in frame 3 but its parent 1 ends in 3"),
        ("1 0 3 1\n", "line 1: track 1 is its own parent"),
        (b"\xff\xfe\x00\xd8", "is not a text file"),
    ],
)
def test_wrong_files_are_refused_with_the_file_and_the_line(file, text, message):
    with pytest.raises(ValueError, match=r"res_track\.txt") as caught:
        file(text)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist; expected a track file"):
        read_tracks(tmp_path / "nowhere.txt")


def test_written_tracks_are_read_back(tmp_path):
    path = tmp_path / "res_track.txt"
    write_tracks(path, ROWS[::-1])
    assert path.read_bytes() == b"1 0 3 0\n2 4 6 1\n5 4 4 1\n7 6 6 5\n"
    assert isinstance(read_tracks(path, strict=True), Tracks)
    assert read_tracks(path).rows() == ROWS


def test_wrong_tracks_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="the given tracks: row 0: track 1 is its own parent"):
        write_tracks(tmp_path / "res_track.txt", [(1, 0, 0, 1)])
    assert list(tmp_path.iterdir()) == []
