"""Pairing of files."""

import shutil
import unicodedata

import pytest

from dinocell_eval.folders.pairing import names_of_split, pair_folders


@pytest.fixture
def folders(tmp_path):
    def make(truths, predictions):
        for folder, names in (("truth", truths), ("predicted", predictions)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).touch()
        return tmp_path / "truth", tmp_path / "predicted"

    return make


def shown(pairing):
    pairs = {pair.name: pair.predicted and pair.predicted.name for pair in pairing.pairs}
    return pairs, [path.name for path in pairing.predicted_only]


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ("a.tif", "a.tif"),
        ("a.png", "a.tif"),
        ("a.TIF", "a.tiff"),
        ("a.tif", "a_labels.tif"),
        ("a.tif", "a_masks.png"),
        ("a.tif", "a_mask.npy"),
        ("a_mask.tif", "a_labels.tif"),
        ("a_masks.tif", "a.tif"),
        ("a_masks.tif", "a_masks.tif"),
        ("a_labels.tif", "a_labels.tif"),
        ("a.ome.tif", "a_labels.ome.tif"),
    ],
)
def test_files_of_one_name_are_paired(folders, truth, predicted):
    pairs, left = shown(pair_folders(*folders([truth], [predicted])))
    assert list(pairs.values()) == [predicted]
    assert left == []


@pytest.mark.parametrize("ending", ["_masks.tif", ".ome.tif", ".tif", "_seg.npy"])
def test_names_pair_however_their_accents_are_written(folders, ending):
    apart, composed = (unicodedata.normalize(form, "Zürich") for form in ("NFD", "NFC"))
    assert apart != composed
    for truth, predicted in ((apart, composed), (composed, apart)):
        beside = [f"{truth}_flows.png"] if ending == "_seg.npy" else []  # of Cellpose, no labels
        pairing = pair_folders(*folders([truth + ending, *beside], [f"{predicted}_labels.tif"]))
        assert [pair.predicted and pair.predicted.name for pair in pairing.pairs] == [f"{predicted}_labels.tif"]
        for name in (apart, composed):
            chosen = pair_folders(pairing.pairs[0].truth.parent, pairing.pairs[0].predicted.parent, names={name})
            assert chosen.pairs == pairing.pairs
        for path in (pairing.pairs[0].truth.parent, pairing.pairs[0].predicted.parent):
            shutil.rmtree(path)


def test_unpaired_files_of_both_sides_are_kept_and_sorted(folders):
    pairing = pair_folders(*folders(["b.tif", "a.tif", "c.tif"], ["b.tif", "z.tif", "y.tif"]))
    assert shown(pairing) == ({"a": None, "b": "b.tif", "c": None}, ["y.tif", "z.tif"])
    assert [path.name for path in pairing.truth_only] == ["a.tif", "c.tif"]


def test_a_second_prediction_for_a_paired_name_is_left_over_not_swallowed(folders):
    assert shown(pair_folders(*folders(["a.tif"], ["a.tif", "a_labels.tif"]))) == ({"a": "a.tif"}, ["a_labels.tif"])


def test_a_truth_with_the_ending_of_predictions_does_not_lose_it(folders):
    """`_labels` is an ending of predictions only, so `a_labels` and `a` are two names."""
    pairing = pair_folders(*folders(["a_labels.tif", "b.tif"], ["a.tif", "b.tif"]))
    assert shown(pairing) == ({"a_labels": None, "b": "b.tif"}, ["a.tif"])


def test_overlay_pictures_and_tables_beside_labels_are_not_predictions(folders):
    written = ["a_labels.tif", "a_overlay.png", "a_distance_map.tif", "a_cells.csv", "a_run.json", ".hidden.tif"]
    pairing = pair_folders(*folders(["a.tif"], written))
    assert shown(pairing) == ({"a": "a_labels.tif"}, [])
    assert pairing.ignored == ()


def test_only_the_overlay_of_its_own_labels_is_left_out(folders):
    pairing = pair_folders(*folders(["a.tif"], ["a_labels.ome.tif", "a_overlay.png", "b_overlay.png"]))
    assert shown(pairing) == ({"a": "a_labels.ome.tif"}, ["b_overlay.png"])
    assert pairing.ignored == ()


def test_an_overlay_without_labels_is_a_file_like_any_other(folders):
    assert shown(pair_folders(*folders(["a.tif"], ["a.tif", "b_overlay.png"])))[1] == ["b_overlay.png"]


@pytest.mark.parametrize(
    ("truths", "predictions", "message"),
    [
        (["a.tif", "a.png"], ["a.tif"], r"truth holds a\.png and a\.tif, expected one file per name; remove one"),
        (["a.tif"], ["a_labels.tif", "a_masks.tif"], "holds a_labels and a_masks, expected one file for a; remove"),
        (["a.tif"], ["b.tif"], r"no file of .*predicted \(b\) has the name of one of .*truth \(a\); expected"),
        (["a.tif"], [], r"no file of .*predicted \(none\) has the name"),
        ([], ["a.tif"], r"truth holds no label images, expected files ending in \.png"),
    ],
)
def test_what_cannot_be_paired_without_guessing_is_refused(folders, truths, predictions, message):
    with pytest.raises(ValueError, match=message):
        pair_folders(*folders(truths, predictions))


def test_a_data_set_folder_gets_a_hint_to_its_masks(folders):
    truth, predicted = folders([], ["a.tif"])
    (truth / "masks").mkdir()
    with pytest.raises(ValueError, match=r"did you mean .*masks\?"):
        pair_folders(truth, predicted)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; pass a folder of label images"):
        pair_folders(tmp_path / "nowhere", tmp_path)


def test_names_restrict_both_folders(folders):
    truth, predicted = folders(["a_mask.tif", "b.tif", "c.tif"], ["a_labels.tif", "b_labels.tif", "d.tif"])
    assert shown(pair_folders(truth, predicted, names={"a", "c"})) == ({"a_mask": "a_labels.tif", "c": None}, [])
    assert shown(pair_folders(truth, predicted, names={"a_mask"})) == ({"a_mask": "a_labels.tif"}, [])


def test_a_name_is_its_own_file_before_one_with_an_ending(folders):
    truth, predicted = folders(["a.tif", "a_mask.tif"], ["a.tif", "a_mask.tif"])
    assert shown(pair_folders(truth, predicted, names={"a"}))[0] == {"a": "a.tif"}


def test_names_without_a_true_file_are_refused(folders):
    with pytest.raises(ValueError, match="truth has no label file for x; check the names of the split"):
        pair_folders(*folders(["a.tif"], ["a.tif"]), names={"a", "x"})


def test_splits_are_read_also_with_the_mark_of_spreadsheets(tmp_path):
    table = tmp_path / "splits.csv"
    table.write_bytes(b"\xef\xbb\xbfname,split,group\r\na,test,1\r\nb,train,1\r\nc,test,2\r\n")
    assert names_of_split(table, "test") == {"a", "c"}
    with pytest.raises(ValueError, match="has no split 'val'; its splits are: test, train"):
        names_of_split(table, "val")


def test_a_table_without_the_columns_is_refused(tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text("file,part\na,test\n")
    with pytest.raises(ValueError, match="has the columns file, part, separated by commas; name and split missing"):
        names_of_split(table, "test")


def test_an_image_beside_the_results_of_segment_is_not_taken_for_labels(folders):
    predicted = ["a.tif", "a_labels.tif", "a_overlay.png", "a_cells.csv", "a_run.json", "b_labels.tif", "b_run.json"]
    pairing = pair_folders(*folders(["a.tif", "b.tif"], predicted))
    assert shown(pairing) == ({"a": "a_labels.tif", "b": "b_labels.tif"}, [])
    assert [path.name for path in pairing.ignored] == ["a.tif"]
