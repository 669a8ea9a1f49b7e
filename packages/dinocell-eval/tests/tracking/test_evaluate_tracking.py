"""Sequences as arrays: what may be given, what is held in memory, what is refused and with which words."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest

from dinocell_eval import evaluate, evaluate_tracking, tracking_json
from dinocell_eval.cases.image_cases import CASES, drawn
from dinocell_eval.cases.tracking_cases import TRACKING_CASES, film, tracks_of
from dinocell_eval.tracking.tracking_report import COUNTS, MEASURES

PERFECT = TRACKING_CASES["perfect_division"]


def measures(found):
    return {name: getattr(found, name) for name in [*MEASURES, *COUNTS]}


def test_static_images_have_the_pooled_seg_and_det_of_evaluate():
    cases = [case for name, case in CASES.items() if name != "labels_above_16_bits"]
    truths, predictions = [case.truth for case in cases], [case.predicted for case in cases]
    found, pooled = evaluate_tracking(truths, None, predictions, None), evaluate(truths, predictions).pooled
    for name in ("seg", "det", "op_csb", "ns", "fn", "fp"):
        assert getattr(found, name) == pooled[name], name
    assert found.n_result == pooled["n_predicted"]
    assert {name for name, value in measures(found).items() if value is None} == {
        "tra", "op_ctb", "lnk", "aogm", "ct", "tf", "tf_stable", "cca", "chota", "ed", "ea", "ec",
        "n_truth_edges", "n_truth_tracks", "n_result_tracks",
    }  # fmt: skip
    assert found.bc == found.bio == found.op_clb == (None,) * 4
    assert found.notes == ()


def test_one_list_of_tracks_is_not_enough_and_is_noted():
    found = evaluate_tracking(PERFECT.truth_frames, PERFECT.truth_tracks, PERFECT.truth_frames, None)
    assert (found.tra, found.det) == (None, 1)
    assert found.notes == ("no tracks of the result: only SEG and DET are computed",)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64", "float32"])
def test_labels_of_any_type_give_the_same_measures(dtype):
    case = TRACKING_CASES["shorter_cell_cycle"]
    expected = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    truth, result = ([frame.astype(dtype) for frame in frames] for frames in (case.truth_frames, case.result_frames))
    found = evaluate_tracking(truth, case.truth_tracks, result, case.result_tracks)
    assert measures(found) == measures(expected)


def test_labels_far_above_16_bits_are_exact():
    case = TRACKING_CASES["shorter_cell_cycle"]
    expected = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    far = 2**40 + 2**16 * np.arange(10) * (np.arange(10) > 0)
    far[0] = 0
    rows = [(int(far[a]), b, e, int(far[p])) for a, b, e, p in case.result_tracks]
    found = evaluate_tracking(case.truth_frames, case.truth_tracks, [far[frame] for frame in case.result_frames], rows)
    assert measures(found) == measures(expected)


def test_the_planes_of_a_volume_count_together():
    truth = [np.stack([drawn("11."), drawn("1.2")]), np.stack([drawn("11."), drawn("1.2")])]
    result = [np.stack([drawn("11."), drawn("..2")]), np.stack([drawn("11."), drawn("1.2")])]
    found = evaluate_tracking(truth, [(1, 0, 1, 0), (2, 0, 1, 0)], result, [(1, 0, 1, 0), (2, 0, 1, 0)])
    assert found.seg == pytest.approx((2 / 3 + 1 + 1 + 1) / 4)
    assert found.tra == 1


def test_one_true_and_one_result_frame_are_held_at_a_time():
    made = []
    most = 0

    class Frame(np.ndarray):
        pass

    def frame():
        nonlocal most
        array = np.ones((4, 4), np.int32).view(Frame)
        made.append(weakref.ref(array))
        most = max(most, sum(reference() is not None for reference in made))
        return array

    class Truths(dict):
        def __getitem__(self, number):
            return frame()

    rows = [(1, 0, 9, 0)]
    lazy = Truths.fromkeys(range(0, 10, 2))
    for segmentation_truths in (None, lazy):
        most = 0
        found = evaluate_tracking(
            (frame() for _ in range(10)), rows, (frame() for _ in range(10)), rows,
            segmentation_truths=segmentation_truths,
        )  # fmt: skip
        assert (found.tra, found.seg, most) == (1, 1, 2)
    held = [frame() for _ in range(5)]
    assert most == 5  # the count counts
    del held


def test_seg_may_have_a_truth_of_its_own_for_some_frames():
    truth, result = film("1..2\n1..2\n1..2"), film("11.2\n1122\n1..2")
    seg = {1: drawn("1112"), 2: drawn("1222")}
    tracks, result_tracks = tracks_of(truth), tracks_of(result)
    found = evaluate_tracking(truth, tracks, result, result_tracks, segmentation_truths=seg)
    assert found.det == found.tra == 1
    assert found.seg == pytest.approx((2 / 3 + 1 / 2 + 1 + 0) / 4)
    assert found.segmented.frame.tolist() == [1, 1, 2, 2]
    assert found.segmented.jaccard.tolist() == [2 / 3, 1 / 2, 1, 0]


def test_seg_of_single_slices_compares_each_with_its_slice_and_counts_its_objects_alone():
    result = np.stack([drawn("11.."), drawn("11.."), drawn("1122")])
    slices = {0: {0: drawn("11.."), 2: drawn("1111")}}
    found = evaluate_tracking([None], None, [result], None, segmentation_truths=slices)
    assert found.segmented.z.tolist() == [0, 2]
    assert found.segmented.jaccard.tolist() == [1, 0]
    assert found.seg == 1 / 2
    assert found.det is None


def test_a_true_frame_that_is_not_annotated_counts_for_nothing_and_forbids_tracks():
    truth, result = film("11\n11\n11"), film("1.\n..\n11")
    rows = [(1, 0, 2, 0)]
    found = evaluate_tracking([truth[0], None, truth[2]], rows, result, [(1, 0, 0, 0), (2, 2, 2, 0)])
    assert (found.n_truth, found.fn, found.tra) == (2, 1, None)
    assert found.notes == ("no true image of frame 1: only SEG and DET are computed, TRA needs every frame",)


def test_frames_behind_the_last_annotated_one_do_not_forbid_tracks():
    truth, rows = film("11\n11"), [(1, 0, 1, 0)]
    found = evaluate_tracking([*truth, None], rows, [*truth, None], rows, segmentation_truths={2: drawn("1.")})
    assert (found.tra, found.seg, found.num_frames) == (1, 0, 3)


def test_a_result_frame_that_is_none_has_no_object():
    truth = film("11\n11")
    found = evaluate_tracking(truth, [(1, 0, 1, 0)], [truth[0], None], [(1, 0, 0, 0)])
    empty = evaluate_tracking(truth, [(1, 0, 1, 0)], [truth[0], 0 * truth[1]], [(1, 0, 0, 0)])
    assert measures(found) == measures(empty)
    assert (found.fn, found.ea) == (1, 1)


def test_images_without_pixels_have_no_objects():
    empty = np.zeros((0, 4), int)
    assert evaluate_tracking([empty], None, [empty], None).n_truth == 0


def test_no_frames_at_all_are_undefined():
    found = evaluate_tracking([], [], [], [])
    assert {found.seg, found.det, found.tra, found.ct, found.chota} == {None}


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("empty_first_frame", ["the first true frame has no object; the official TRA refuses such a sequence"]),
        ("objects_after_the_truth", ["the result has objects after the last true one, in frame 1; the official TRA"]),
        ("truth_empty", ["no true object in the images of SEG", "no true object in the images of the tracks"]),
        ("perfect_division", []),
    ],
)
def test_what_the_official_tools_refuse_is_computed_and_noted(name, notes):
    case = TRACKING_CASES[name]
    found = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    assert len(found.notes) == len(notes)
    for note, expected in zip(found.notes, notes, strict=True):
        assert note.startswith(expected)


def test_a_result_track_may_go_on_after_the_last_frame_and_is_noted():
    frames = film("11.22\n11.22")
    truth, result = [(1, 0, 1, 0), (2, 0, 1, 0)], [(1, 0, 3, 0), (2, 0, 1, 0), (4, 5, 6, 1)]
    found = evaluate_tracking(frames, truth, frames, result)
    assert found.tra == 1
    assert found.ct == 2 * 1 / 5
    assert found.notes == ("result tracks go on after the last frame, 1: labels 1, 4",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, 0, 1, 0)], "label 2 is in frames 0, 1 but no track has it"),
        ([(1, 0, 1, 0), (2, 0, 0, 0)], r"track 2 \(0 to 0\) is in frame 1, outside of it"),
        ([(1, 0, 1, 0), (2, 1, 1, 0)], r"track 2 \(1 to 1\) is in frame 0, outside of it"),
        ([(1, 0, 1, 0), (2, 1, 2, 0)], r"track 2 \(1 to 2\) .*is in frame 0, outside of it"),
        ([(1, 0, 1, 0), (2, 0, 1, 0), (3, 0, 1, 0)], r"track 3 \(0 to 1\) is missing in frames 0, 1"),
    ],
)
@pytest.mark.parametrize("role", ["truth", "result"])
def test_tracks_that_contradict_the_images_are_refused(rows, message, role):
    frames, right = film("11.22\n11.22"), [(1, 0, 1, 0), (2, 0, 1, 0)]
    truth, result = (rows, right) if role == "truth" else (right, rows)
    with pytest.raises(ValueError, match=f"the {role} tracks are not consistent with the image data: .*{message}"):
        evaluate_tracking(frames, truth, frames, result)


def test_a_track_with_a_hole_is_refused():
    frames = film("11\n..\n11")
    with pytest.raises(ValueError, match=r"track 1 \(0 to 2\) is missing in frame 1; correct either of them"):
        evaluate_tracking(frames, [(1, 0, 2, 0)], frames, [(1, 0, 2, 0)])


def test_a_true_track_must_not_go_on_after_the_last_frame():
    frames = film("11\n11")
    with pytest.raises(ValueError, match=r"the truth tracks .* track 1 \(0 to 4\) is missing in frames 2, 3, 4"):
        evaluate_tracking(frames, [(1, 0, 4, 0)], frames, [(1, 0, 1, 0)])


def test_all_contradictions_are_listed_up_to_eight():
    frames = film("123456789")
    with pytest.raises(ValueError, match=r"label 1 is .*; label 8 is in frame 0 but no track.* and 1 more; corr"):
        evaluate_tracking(frames, [], frames, tracks_of(frames))


@pytest.mark.parametrize(
    ("truth", "result", "message"),
    [
        ([drawn("1")], [], "1 true frames but 0 result frames, expected equal numbers; pass None"),
        (iter([drawn("1")]), iter([]), "the result frames ended after 0 but there are more true frames"),
        (iter([]), iter([drawn("1")]), "the true frames ended after 0 but there are more result frames"),
        ([drawn("11")], [drawn("1")], r"frame 0: truth has shape \(1, 2\) and result \(1, 1\), expected the same"),
        ([drawn("11")], [drawn("11")[None]], r"frame 0: truth has shape \(1, 2\) and result \(1, 1, 2\)"),
        ([drawn("1"), -drawn("1")], [drawn("1")] * 2, "frame 1: the truth labels contain -1"),
        ([drawn("1")], [-drawn("1")], "frame 0: the predicted labels contain -1"),
        ([drawn("1") * 0.5], [drawn("1")], "frame 0.* not whole numbers"),
        ([drawn("1")], [drawn("1") * np.nan], "frame 0.* not whole numbers"),
        ([drawn("1") > 0], [drawn("1")], "frame 0.* boolean mask"),
        ([np.array(3)], [drawn("1")], "frame 0: .*expected a label image"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(truth, result, message):
    with pytest.raises(ValueError, match=message):
        evaluate_tracking(truth, None, result, None)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({4: drawn("1")}, "there is a truth of SEG for frame 4, but the sequence has 1 frame"),
        ({0: drawn("11")}, r"frame 0, truth of SEG: truth has shape \(1, 2\) and result \(1, 1\)"),
        ({0: {0: drawn("1")}}, r"frame 0, slice 0 .*: the result has shape \(1, 1\), expected \(z, y, x\) with z > 0"),
    ],
)
def test_a_truth_of_seg_that_does_not_fit_is_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        evaluate_tracking([drawn("1")], None, [drawn("1")], None, segmentation_truths=segmentation)


def test_a_slice_that_the_volume_lacks_is_refused():
    with pytest.raises(ValueError, match=r"slice 2 .*shape \(2, 1, 1\), expected \(z, y, x\) with z > 2"):
        evaluate_tracking([None], None, [np.ones((2, 1, 1), int)], None, segmentation_truths={0: {2: drawn("1")}})


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="max_bc_tolerance is -1, expected 0 or more frames"):
        evaluate_tracking([], None, [], None, max_bc_tolerance=-1)


def test_every_measure_and_correction_is_in_the_table_of_definitions():
    text = (Path(__file__).parents[4] / "docs" / "cell-tracking.md").read_text()
    for name in [*MEASURES, "ns", "fn", "fp", "ed", "ea", "ec"]:
        assert f"`{name}`" in text, name


def test_json_holds_every_measure_with_its_definition():
    case = TRACKING_CASES["shorter_cell_cycle"]
    found = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    written = json.loads(tracking_json(found))
    assert written["measures"]["tra"] == found.tra
    assert written["measures"]["bc"] == list(found.bc)
    assert written["counts"]["ea"] == found.ea
    assert written["definitions"].keys() == written["measures"].keys() | written["counts"].keys()
    fields = set(found.__dataclass_fields__) - {"corrections", "segmented", "notes"}
    assert fields == MEASURES.keys() | COUNTS.keys()
    undefined = json.loads(tracking_json(evaluate_tracking([], None, [], None)))
    assert undefined["measures"]["seg"] is None
