"""Files written from an evaluation."""

import csv
import hashlib
import json
from importlib.metadata import version

import numpy as np

from dinocell_eval import describe_inputs, evaluate, pair_folders, stratify, summary_json, write_report
from dinocell_eval.cases.image_cases import CASES, drawn


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def some_evaluation():
    cases = {name: CASES[name] for name in ("split_cell", "both_empty", "greedy_matching_fails")}
    return evaluate(
        [case.truth for case in cases.values()], [case.predicted for case in cases.values()], names=list(cases)
    )


def test_images_csv_has_a_row_for_each_image_and_empty_cells_where_undefined(tmp_path):
    write_report(tmp_path, some_evaluation())
    rows = read_csv(tmp_path / "images.csv")
    assert [row["image"] for row in rows] == ["split_cell", "both_empty", "greedy_matching_fails"]
    assert [row["seg"] for row in rows] == ["0.625", "", repr((5 / 13 + 4 / 9) / 2)]
    assert [row["n_predicted"] for row in rows] == ["2", "0", "2"]


def test_objects_csv_has_a_row_for_each_object_with_its_class(tmp_path):
    write_report(tmp_path, some_evaluation())
    rows = read_csv(tmp_path / "objects.csv")
    assert list(rows[0]) == [
        "image", "kind", "label", "area", "matched_label", "iou", "jaccard", "class", "on_border",
    ]  # fmt: skip
    assert len(rows) == 3 + 4
    assert list(rows[0].values()) == ["split_cell", "truth", "1", "8", "1", "0.625", "0.625", "correct", "1"]
    spurious = [row for row in rows if row["image"] == "split_cell" and row["class"] == "fragment"]
    assert [(row["label"], row["matched_label"], row["jaccard"]) for row in spurious] == [("2", "", "0.0")]


def test_boxes_and_outlines_are_columns_where_they_were_asked_for(tmp_path):
    truth, predicted = drawn("......\n.111.2\n.111.2"), drawn("......\n.111..\n.111..")
    write_report(tmp_path, evaluate([truth], [predicted], boxes=True, boundary_px=1))
    rows = read_csv(tmp_path / "objects.csv")
    assert [rows[0][name] for name in ("on_border", "y0", "x0", "y1", "x1")] == ["1", "1", "1", "3", "4"]
    assert [rows[0][name] for name in ("boundary_iou", "boundary_f", "hausdorff_px", "assd_px")] == [
        "1.0", "1.0", "0.0", "0.0",
    ]  # fmt: skip
    assert [rows[1][name] for name in ("class", "boundary_iou", "x0", "x1")] == ["missed", "", "5", "6"]


def test_summary_json_holds_the_numbers_of_summary_json_and_the_inputs(tmp_path):
    evaluation = some_evaluation()
    write_report(tmp_path / "new", evaluation, inputs={"a": 1})
    found = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert found.pop("inputs") == {"a": 1}
    expected = json.loads(summary_json(evaluation))
    expected.pop("inputs")
    assert found == expected
    assert found["version"] == version("dinocell-eval")
    assert found["metrics"]["seg"]["pooled"] == evaluation.pooled["seg"]
    assert found["metrics"]["seg"]["per_image_mean"] == evaluation.per_image_mean["seg"]
    assert found["metrics"]["seg"]["interval"] == list(evaluation.intervals["seg"])
    assert found["counts"]["n_truth"] == 3
    assert found["notes"][0].startswith("only 3 images")


def test_the_summary_holds_the_strata_with_their_intervals(fields):
    evaluation = evaluate(*fields)
    found = json.loads(summary_json(evaluation))["strata"]
    assert [one["kind"] for one in found] == ["size"] * 4 + ["position"] * 2
    assert sum(one["n_truth"] for one in found[:4]) == evaluation.counts["n_truth"]
    expected = stratify(evaluation)[0]
    assert found[0]["values"] == expected.values
    assert found[0]["intervals"]["seg"] == list(expected.intervals["seg"])


def test_inputs_are_described_by_their_hashes(tmp_path):
    for folder in ("truth", "predicted"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.full((2, 2), len(folder)))
    np.save(tmp_path / "truth" / "b.npy", np.zeros((1, 1), int))
    found = describe_inputs(pair_folders(tmp_path / "truth", tmp_path / "predicted"))
    content = (tmp_path / "predicted" / "a.npy").read_bytes()
    assert found["pairs"][0]["predicted"] == {"file": "a.npy", "sha256": hashlib.sha256(content).hexdigest()}
    assert found["pairs"][0]["truth"]["sha256"] != found["pairs"][0]["predicted"]["sha256"]
    assert found["pairs"][1]["name"] == "b"
    assert found["pairs"][1]["predicted"] is None
    assert found["ignored"] == []


def test_inputs_name_what_was_ignored(tmp_path):
    for name in ("truth/a.npy", "predicted/a_cp_masks.npy", "predicted/a.tif", "predicted/a_flows.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    found = describe_inputs(pair_folders(tmp_path / "truth", tmp_path / "predicted"))
    assert found["ignored"] == ["a.tif", "a_flows.tif"]


def test_nothing_but_the_three_files_is_left_in_the_folder(tmp_path):
    write_report(tmp_path, some_evaluation())
    write_report(tmp_path, some_evaluation())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.csv", "objects.csv", "summary.json"]
