"""Log files in the format of the official tools, line by line."""

import numpy as np
import pytest

from dinocell_eval import evaluate_tracking
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.cases.tracking_cases import film, tracks_of
from dinocell_eval.ctc.log import det_log, measure_line, seg_log, tra_log


@pytest.fixture
def found():
    """One object split off, one missed, one spurious; a wrong, a missing, a redundant edge and one of a wrong kind."""
    truth = film("1122..33\n1122..33\n1144..33")
    result = film("1111.7..\n1122..33\n2211..33")
    return evaluate_tracking(truth, tracks_of(truth, {4: 2}), result, tracks_of(result))


def test_measures_have_six_decimals():
    assert measure_line("seg", 0.7083333333) == "SEG measure: 0.708333"
    assert measure_line("tra", 1.0) == "TRA measure: 1.000000"


def test_seg_log_lists_j_with_six_digits_frame_by_frame(found):
    assert seg_log(found, 0.5).splitlines() == [
        "----------T=0 Z=0----------",
        "GT_label=1 J=0.5",
        "GT_label=2 J=0.5",
        "GT_label=3 J=0",
        "----------T=1 Z=0----------",
        "GT_label=1 J=1",
        "GT_label=2 J=1",
        "GT_label=3 J=1",
        "----------T=2 Z=0----------",
        "GT_label=1 J=1",
        "GT_label=3 J=1",
        "GT_label=4 J=1",
        "=" * 56,
        "SEG measure: 0.500000",
    ]


def test_seg_log_names_slices_and_rounds_to_six_digits():
    result = np.stack([drawn("111"), drawn("111")])
    slices = {0: {1: drawn("11.")}}
    found = evaluate_tracking([None], None, [result], None, segmentation_truths=slices)
    assert seg_log(found, 2 / 3).splitlines()[:2] == ["----------T=0 Z=1----------", "GT_label=1 J=0.666667"]


def test_det_log_lists_splits_missed_and_spurious_objects(found):
    expected = [
        "----------Splitting Operations (Penalty=5)----------",
        "T=0 Label=1",
        "----------False Negative Vertices (Penalty=10)----------",
        "T=0 GT_label=3",
        "----------False Positive Vertices (Penalty=1)----------",
        "T=0 Label=7",
        "=" * 56,
        "DET measure: 0.822222",
    ]
    assert det_log(found, found.det).splitlines() == expected
    without = det_log(found, found.det, spurious_weight=0).splitlines()
    assert without[4] == "----------False Positive Vertices (Penalty=0)----------"


def test_tra_log_lists_edges_too(found):
    assert tra_log(found, found.tra).splitlines()[6:] == [
        "----------Redundant Edges To Be Deleted (Penalty=1)----------",
        "[T=1 Label=1] -> [T=2 Label=1]",
        "[T=1 Label=2] -> [T=2 Label=2]",
        "----------Edges To Be Added (Penalty=1.5)----------",
        "[T=0 GT_label=1] -> [T=1 GT_label=1]",
        "[T=1 GT_label=1] -> [T=2 GT_label=1]",
        "[T=0 GT_label=2] -> [T=1 GT_label=2]",
        "[T=0 GT_label=3] -> [T=1 GT_label=3]",
        "[T=1 GT_label=2] -> [T=2 GT_label=4]",
        "----------Edges with Wrong Semantics (Penalty=1)----------",
        "=" * 81,
        f"TRA measure: {found.tra:.6f}",
    ]


def test_an_edge_of_the_wrong_kind_is_listed_with_the_labels_of_the_result():
    truth, result = film("11\n11"), film("55\n77")
    found = evaluate_tracking(truth, tracks_of(truth), result, tracks_of(result, {7: 5}))
    assert "Edges with Wrong Semantics (Penalty=1)----------\n[T=0 Label=5] -> [T=1 Label=7]\n" in tra_log(found, 1.0)


def test_without_tracks_there_is_no_tra_log():
    found = evaluate_tracking([drawn("1")], None, [drawn("1")], None)
    with pytest.raises(ValueError, match="the evaluation has no tracks, expected one with tracks of truth and result"):
        tra_log(found, 1.0)
