"""Folders of the Cell Tracking Challenge: which files are read, which are missing, and what is said about it."""

import numpy as np
import pytest
import tifffile

from dinocell_eval import evaluate_ctc_sequence, evaluate_tracking, open_ctc_sequence, write_tracks
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.cases.tracking_cases import TRACKING_CASES, film, tracks_of
from dinocell_eval.tracking.tracking_report import COUNTS, MEASURES


def write_labels(path, labels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels).astype(options.pop("dtype", np.uint16))
    tifffile.imwrite(path, labels, photometric=options.pop("photometric", "minisblack"), metadata=None, **options)


def write_case(folder, case, *, digits=3, sequence="01", seg=True):
    truth, result = folder / f"{sequence}_GT", folder / f"{sequence}_RES"
    for number, (true, found) in enumerate(zip(case.truth_frames, case.result_frames, strict=True)):
        write_labels(truth / "TRA" / f"man_track{number:0{digits}d}.tif", true)
        if seg:
            write_labels(truth / "SEG" / f"man_seg{number:0{digits}d}.tif", true)
        write_labels(result / f"mask{number:0{digits}d}.tif", found)
    write_tracks(truth / "TRA" / "man_track.txt", case.truth_tracks)
    write_tracks(result / "res_track.txt", case.result_tracks)


@pytest.fixture
def dataset(tmp_path):
    write_case(tmp_path, TRACKING_CASES["shorter_cell_cycle"])
    return tmp_path


def evaluated(dataset, **options):
    opening = {name: options.pop(name) for name in ("digits", "silver_truth") if name in options}
    return evaluate_ctc_sequence(open_ctc_sequence(dataset, "01", **opening), **options)


def measures(found):
    return {name: getattr(found, name) for name in [*MEASURES, *COUNTS]}


@pytest.mark.parametrize("digits", [3, 4])
@pytest.mark.parametrize("name", ["perfect_division", "shorter_cell_cycle", "merged_for_a_frame", "single_frame"])
def test_files_have_the_measures_of_their_arrays(tmp_path, name, digits):
    case = TRACKING_CASES[name]
    write_case(tmp_path, case, digits=digits, sequence="any name")
    found = evaluate_ctc_sequence(open_ctc_sequence(tmp_path, "any name", digits=digits))
    expected = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    assert measures(found) == measures(expected)
    assert found.notes == expected.notes


def test_frames_above_999_have_more_digits(tmp_path):
    for number in (999, 1000):
        write_labels(tmp_path / "01_GT" / "SEG" / f"man_seg{number}.tif", drawn("11"))
        write_labels(tmp_path / "01_RES" / f"mask{number}.tif", drawn("11"))
    assert list(open_ctc_sequence(tmp_path, "01").segmentation) == [999, 1000]
    assert evaluated(tmp_path).seg == 1


def test_only_the_files_of_the_measures_are_read(dataset):
    (dataset / "01_RES" / "res_track.txt").write_text("nonsense")
    (dataset / "01_GT" / "TRA" / "man_track000.tif").write_bytes(b"nonsense")
    found = evaluated(dataset, measures=["seg"])
    assert (found.seg, found.det, found.tra, found.notes) == (3 / 4, None, None, ())
    (dataset / "01_GT" / "SEG" / "man_seg000.tif").write_bytes(b"nonsense")
    write_labels(dataset / "01_GT" / "TRA" / "man_track000.tif", drawn(".11111"))
    found = evaluated(dataset, measures=["det"])
    assert (found.seg, found.tra) == (None, None)
    assert found.det == pytest.approx(57 / 80)
    with pytest.raises(ValueError, match=r"res_track\.txt: line 1 is 'nonsense'"):
        evaluated(dataset, measures=["tra"])


def test_sparse_truth_of_seg_needs_no_other_frame(tmp_path):
    write_labels(tmp_path / "01_GT" / "SEG" / "man_seg002.tif", drawn("1122"))
    write_labels(tmp_path / "01_RES" / "mask002.tif", drawn("1112"))
    found = evaluated(tmp_path)
    assert found.seg == pytest.approx((2 / 3 + 0) / 2)
    assert found.segmented.frame.tolist() == [2, 2]
    (note,) = found.notes
    assert note.startswith("no man_track000.tif and so on: ")
    assert note.endswith("TRA is not a folder: DET and TRA are left out")


def test_single_slices_are_compared_with_their_slice(tmp_path):
    volume = np.stack([drawn("11.."), drawn("11.."), drawn("1122")])
    write_labels(tmp_path / "01_RES" / "mask000.tif", volume)
    write_labels(tmp_path / "01_GT" / "SEG" / "man_seg_000_000.tif", drawn("11.."))
    write_labels(tmp_path / "01_GT" / "SEG" / "man_seg_000_002.tif", drawn("1112"))
    found = evaluated(tmp_path, measures=["seg"])
    assert found.segmented.z.tolist() == [0, 2, 2]
    assert found.seg == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_volumes_are_sequences_of_pages(tmp_path):
    write_labels(tmp_path / "01_GT" / "TRA" / "man_track000.tif", np.stack([drawn("11.."), drawn("1.22")]))
    write_labels(tmp_path / "01_RES" / "mask000.tif", np.stack([drawn("11.."), drawn("..22")]))
    assert evaluated(tmp_path, measures=["det"]).fn == 0


def test_silver_truth_is_in_a_folder_of_its_own(dataset):
    write_labels(dataset / "01_ST" / "SEG" / "man_seg000.tif", drawn("111111"))
    assert evaluated(dataset, silver_truth=True, measures=["seg"]).seg == pytest.approx(5 / 6)


def test_missing_result_files_are_named_or_counted_as_empty(dataset):
    (dataset / "01_RES" / "mask000.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"01_RES lacks mask000\.tif, expected a result for each of the 4 tr"):
        evaluated(dataset)
    write_tracks(dataset / "01_RES" / "res_track.txt", [(2, 1, 1, 0), (3, 1, 3, 0), (4, 2, 3, 2), (5, 2, 3, 2)])
    found = evaluated(dataset, missing_as_empty=True)
    assert found.fn == 3
    assert found.notes[0] == "missing result files are counted as empty images: mask000.tif"


def test_all_results_may_be_missing_but_not_because_of_the_digits(dataset):
    for path in (dataset / "01_RES").glob("*"):
        path.unlink()
    found = evaluated(dataset, missing_as_empty=True)
    assert (found.seg, found.det, found.tra) == (0, 0, None)
    write_labels(dataset / "01_RES" / "mask0000.tif", drawn(".11111"))
    with pytest.raises(FileNotFoundError, match=r"no mask000\.tif and so on, but mask0000\.tif; .* is 4, not 3"):
        evaluated(dataset, missing_as_empty=True)


def test_result_files_without_truth_are_ignored_and_noted(dataset):
    write_labels(dataset / "01_RES" / "mask009.tif", drawn("123456"))
    found = evaluated(dataset)
    assert found.fp == 3
    assert found.notes == ("result files of frames without truth are ignored: 9",)
    assert evaluated(dataset, measures=["seg"]).seg == 3 / 4


def test_a_gap_in_the_truth_leaves_seg_and_det_and_is_noted(dataset):
    (dataset / "01_GT" / "TRA" / "man_track001.tif").unlink()
    found = evaluated(dataset)
    assert (found.n_truth, found.tra, found.seg) == (6, None, 3 / 4)
    assert found.notes == ("no true image of frame 1: only SEG and DET are computed, TRA needs every frame",)


def test_what_has_no_truth_is_left_out_and_noted(dataset):
    (dataset / "01_RES" / "res_track.txt").unlink()
    found = evaluated(dataset)
    assert (found.tra, found.seg) == (None, 3 / 4)
    (note,) = found.notes
    assert note.endswith("res_track.txt not found: TRA and all that needs tracks are left out")
    for path in (dataset / "01_GT" / "SEG").iterdir():
        path.unlink()
    assert (
        "SEG has no man_seg000.tif and so on, its TIFF files are: none: SEG is left out" in evaluated(dataset).notes[0]
    )


@pytest.mark.parametrize("name", ["truth_empty", "both_empty", "result_empty"])
def test_empty_images_are_valid(tmp_path, name):
    write_case(tmp_path, TRACKING_CASES[name])
    found = evaluated(tmp_path)
    assert found.det == (0 if name == "result_empty" else None)


def test_wrong_digits_say_which_files_were_looked_for_and_which_are_there(tmp_path):
    write_case(tmp_path, TRACKING_CASES["perfect_track"], digits=4)
    with pytest.raises(ValueError, match=r"TRA has no man_track000\.tif and so on, but man_track0000\.tif, man_tr"):
        evaluated(tmp_path)
    with pytest.raises(ValueError, match=r"SEG has no man_seg000\.tif .*; the number of digits is 4, not 3"):
        evaluated(tmp_path, measures=["seg"])
    with pytest.raises(ValueError, match=r"TRA has no man_track00000\.tif .* is 4, not 5"):
        evaluated(tmp_path, measures=["tra"], digits=5)
    for path in (tmp_path / "01_GT" / "TRA").glob("*.tif"):
        path.rename(path.with_name(path.name.replace("man_track0", "man_track")))
    with pytest.raises(FileNotFoundError, match=r"01_RES has no mask000\.tif and so on, but mask0000\.tif"):
        evaluated(tmp_path, measures=["det"])


def test_missing_folders_are_named(dataset):
    with pytest.raises(FileNotFoundError, match=r"02_GT is not a folder; expected .*02_GT/TRA, .*02_GT/SEG and .*02"):
        open_ctc_sequence(dataset, "02")
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        open_ctc_sequence(dataset / "nowhere", "01")
    with pytest.raises(FileNotFoundError, match="01_ST is not a folder"):
        open_ctc_sequence(dataset, "01", silver_truth=True)


def test_unknown_measures_and_digits_are_refused(dataset):
    with pytest.raises(ValueError, match=r"measures are \['fun', 'seg'\], expected one or more of seg, det, tra"):
        evaluated(dataset, measures=["fun", "seg"])
    with pytest.raises(ValueError, match=r"measures are \[\], expected one or more of seg, det, tra"):
        evaluated(dataset, measures=[])
    with pytest.raises(ValueError, match="digits is 0, expected the digits of the frame numbers"):
        open_ctc_sequence(dataset, "01", digits=0)


def test_a_frame_twice_is_refused(tmp_path):
    seg = tmp_path / "01_GT" / "SEG"
    (tmp_path / "01_RES").mkdir()
    write_labels(seg / "man_seg_000_001.tif", drawn("1"))
    write_labels(seg / "man_seg_000_01.tif", drawn("1"))
    with pytest.raises(ValueError, match=r"man_seg_000_001\.tif and man_seg_000_01\.tif, expected each slice once"):
        open_ctc_sequence(tmp_path, "01")
    (seg / "man_seg_000_01.tif").rename(seg / "man_seg000.tif")
    with pytest.raises(ValueError, match="frame 0 both as one file and as slices, expected one of the two; remove"):
        open_ctc_sequence(tmp_path, "01")


def test_wrong_images_are_named(dataset):
    write_labels(dataset / "01_RES" / "mask002.tif", drawn("11"))
    with pytest.raises(ValueError, match=r"frame 2: truth has shape \(1, 6\) and result \(1, 2\)"):
        evaluated(dataset)
    write_labels(dataset / "01_RES" / "mask002.tif", drawn("111111") * 0.5, dtype=np.float32)
    with pytest.raises(ValueError, match=r"mask002\.tif holds float32 that are not all whole numbers"):
        evaluated(dataset)
    (dataset / "01_GT" / "TRA" / "man_track001.tif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"man_track001\.tif cannot be read as TIFF"):
        evaluated(dataset)


def test_files_that_the_official_tools_misread_are_read_and_noted_once_for_all(dataset):
    expected = measures(evaluated(dataset))
    for number, frame in enumerate(TRACKING_CASES["shorter_cell_cycle"].result_frames):
        write_labels(dataset / "01_RES" / f"mask{number:03d}.tif", frame, compression="zstd")
    found = evaluated(dataset)
    assert measures(found) == expected
    (note,) = found.notes
    assert note.endswith(
        "mask000.tif is compressed with ZSTD, which the official tools read as garbage (4 files in all)"
    )
    with pytest.raises(ValueError, match="leave out --strict"):
        evaluated(dataset, strict=True)


def test_objects_entirely_in_the_margin_do_not_count(tmp_path):
    # 1 leaves the field of interest for a frame, 2 never enters it, 3 divides in it
    truth = film("........3333..\n....1...3333..\n........4.5...")
    result = film("21......3333..\n2...1...3333..\n21......4455..")
    parents = {4: 3, 5: 3}
    write_case(tmp_path, type(TRACKING_CASES["single_frame"])(
        truth, tracks_of(truth, parents), result, tracks_of(result, parents)
    ))  # fmt: skip
    for number in range(3):
        for folder, name in (("01_GT/TRA", "man_track"), ("01_GT/SEG", "man_seg"), ("01_RES", "mask")):
            path = tmp_path / folder / f"{name}{number:03d}.tif"
            write_labels(path, np.repeat(tifffile.imread(path), 9, axis=0))
    whole, inner = evaluated(tmp_path), evaluated(tmp_path, field_of_interest=2)
    assert whole.fp == 5
    assert (inner.fp, inner.fn, inner.tra) == (0, 0, 1)
    assert inner.notes[0] == "result objects entirely within 2 pixels of the border are left out"
    assert evaluated(tmp_path, field_of_interest=2, measures=["det"]).det == 1
    assert evaluated(tmp_path, field_of_interest=2, measures=["seg"]).seg == inner.seg


def test_a_gap_in_the_truth_is_no_contradiction_in_the_field_of_interest(dataset):
    (dataset / "01_GT" / "TRA" / "man_track001.tif").unlink()
    assert evaluated(dataset, field_of_interest=1).tra is None


def test_the_field_of_interest_hides_no_contradiction(dataset):
    write_tracks(dataset / "01_RES" / "res_track.txt", [(1, 0, 3, 0)])
    with pytest.raises(ValueError, match="the result tracks are not consistent with the image data"):
        evaluated(dataset, field_of_interest=1)
