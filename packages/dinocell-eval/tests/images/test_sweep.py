"""Sweeps of thresholds on saved maps: the grid, its best point, and that it is not a result."""

import json

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.commands.eval_sweep import sweep_command
from dinocell_eval.images.sweep import Sweep, sweep_distance_maps, sweep_labels
from dinocell_eval.pages import sweep_page
from dinocell_eval.pages.sweep_page import viridis
from dinocell_io import write_labels
from dinocell_kernels import distance_map, remove_small, watershed

PEAKS, FILLS = (0.2, 0.4, 0.6, 0.8), (0.1, 0.3, 0.5)


@pytest.fixture(scope="module")
def maps(fields):
    generator = np.random.default_rng(1)
    truths = fields[0][:5]
    noise = [generator.normal(0, 0.08, truth.shape) for truth in truths]
    return truths, [
        np.clip(distance_map(t) * 0.9 + n, 0, 1).astype(np.float32) for t, n in zip(truths, noise, strict=True)
    ]


@pytest.fixture(scope="module")
def sweep(maps):
    return sweep_distance_maps(*maps, peaks=PEAKS, fills=FILLS, split="val", min_size=5)


def test_every_point_is_the_evaluation_of_the_watershed_with_its_thresholds(maps, sweep):
    truths, distance_maps = maps
    for row, peak in enumerate(PEAKS):
        for column, fill in enumerate(FILLS):
            if peak < fill:
                assert np.isnan(sweep.scores("ap_mean")[row, column])
                continue
            labels = [remove_small(watershed(one, peak=peak, fill=fill), min_size=5)[0] for one in distance_maps]
            expected = evaluate(truths, labels, num_replicates=0)
            for metric in ("op_csb", "ap_mean", "mma"):
                assert sweep.values[metric][row, column].tolist() == list(expected.per_image[metric])
                assert sweep.scores(metric)[row, column] == pytest.approx(expected.per_image_mean[metric])


def test_labels_made_elsewhere_give_the_same_grid(maps, sweep):
    truths, distance_maps = maps
    labels = {
        (peak, fill): [remove_small(watershed(m, peak=peak, fill=fill), min_size=5)[0] for m in distance_maps]
        for peak in PEAKS
        for fill in FILLS
        if peak >= fill
    }
    found = sweep_labels(truths, labels, split="val")
    assert (found.peaks, found.fills) == (PEAKS, FILLS)
    for metric in found.values:
        assert np.array_equal(found.values[metric], sweep.values[metric], equal_nan=True)


def test_the_best_point_has_the_highest_score_an_interval_and_a_plateau(sweep):
    best = sweep.best("ap_mean")
    scores = sweep.scores("ap_mean")
    assert best.score == np.nanmax(scores)
    assert scores[PEAKS.index(best.peak), FILLS.index(best.fill)] == best.score
    assert best.interval[0] < best.score < best.interval[1]
    assert np.array_equal(best.plateau, scores >= best.score - best.standard_error)


def made(values):
    """A sweep of one metric with the given values [peak fill image]."""
    values = np.asarray(values, np.float64)
    names = tuple(str(k) for k in range(values.shape[2]))
    return Sweep(PEAKS[: values.shape[0]], FILLS[: values.shape[1]], names, "val", {"seg": values})


def test_the_standard_error_is_that_of_the_mean_over_images():
    values = np.random.default_rng(0).random((1, 1, 40))
    error = made(values).best("seg").standard_error
    assert error == pytest.approx(values.std() / np.sqrt(40), rel=0.03)


def test_equal_scores_take_the_first_point_and_images_without_a_value_are_left_out():
    best = made([[[0.5, np.nan], [0.5, 0.5]], [[0.1, 0.2], [0.5, np.nan]]]).best("seg")
    assert (best.peak, best.fill, best.score) == (0.2, 0.1, 0.5)
    assert best.plateau.tolist() == [[True, True], [False, True]]


def test_one_image_has_no_interval_and_its_plateau_is_the_best_score():
    best = made([[[0.5], [0.4]]]).best("seg")
    assert (best.interval, best.standard_error) == (None, None)
    assert best.plateau.tolist() == [[True, False]]


def test_a_metric_that_is_undefined_or_missing_is_refused():
    with pytest.raises(ValueError, match="seg is undefined on the whole grid"):
        made([[[np.nan]]]).best("seg")
    with pytest.raises(ValueError, match="no metric 'det'; it has seg"):
        made([[[0.1]]]).scores("det")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "test"}, "thresholds chosen on a test split make its scores worthless; sweep the split 'val'"),
        ({"peaks": [0.5, 0.4]}, "peaks are .*, expected ascending thresholds"),
        ({"fills": []}, "fills are .*, expected ascending thresholds"),
        ({"peaks": [0.1], "fills": [0.2]}, "no peak of .* reaches a fill"),
        ({"metrics": ["op_cbs"]}, "there is no metric op_cbs; choose from .*, op_csb"),
        ({"metrics": []}, r"there is no metric \(none\)"),
        ({"maps": []}, "1 truth but 0 maps"),
        ({"names": ["a", "b"]}, "2 names but 1 image"),
    ],
)
def test_what_cannot_be_swept_is_refused(change, message):
    arguments = {"maps": [np.zeros((1, 4), np.float32)], "split": "val"} | change
    with pytest.raises(ValueError, match=message):
        sweep_distance_maps([drawn("11.2")], arguments.pop("maps"), **arguments)


def test_the_page_shows_every_point_the_best_one_and_that_it_is_no_result(sweep):
    page = sweep_page(sweep, facts={"distance maps": "<maps>"})
    assert page.count("<svg") == 3
    assert page.count(">best point</title>") == 3
    assert "their scores are not a result" in page
    assert "&lt;maps&gt;" in page
    for metric in sweep.values:
        best = sweep.best(metric)
        assert f"peak {best.peak:g}, fill {best.fill:g}: {best.score:.4f}</title>" in page
    drawing = page[page.index('aria-label="mma over the grid"') :].split("</svg>")[0]
    assert drawing.count("<title>peak") == int((~np.isnan(sweep.scores("mma"))).sum())


def test_a_sweep_of_one_point_has_a_page():
    assert "1 points" in sweep_page(made([[[0.5]]]))


def test_colours_go_from_dark_to_light():
    assert [viridis(share) for share in (-1, 0, 0.2, 1, 2)] == ["#440154", "#440154", "#414487", "#fde725", "#fde725"]


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(sweep_command)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folders(tmp_path, maps):
    (tmp_path / "masks").mkdir()
    (tmp_path / "maps").mkdir()
    for number, (truth, one) in enumerate(zip(*maps, strict=True)):
        write_labels(tmp_path / "masks" / f"f{number}.tif", truth)
        tifffile.imwrite(tmp_path / "maps" / f"f{number}_distance_map.tif", one)
    rows = "".join(f"f{number},{'test' if number > 2 else 'val'}\n" for number in range(5))
    (tmp_path / "splits.csv").write_text("name,split\n" + rows)
    return tmp_path


def test_the_command_writes_the_grid_of_a_split(app, folders, maps):
    arguments = [folders / "masks", folders / "maps", "--output", folders / "out", "--metric", "seg", "--split", "val"]
    result = app(*arguments, "--peak", 0.6, "--peak", 0.4, "--fill", 0.1, "--fill", 0.3)
    assert result.exit_code == 0, result.output
    found = json.loads((folders / "out" / "sweep.json").read_text())
    assert found["images"] == ["f0", "f1", "f2"]
    assert found["split"] == "val"
    best = found["metrics"]["seg"]["best"]
    images = [side[:3] for side in maps]
    swept = sweep_distance_maps(*images, split="val", peaks=[0.4, 0.6], fills=[0.1, 0.3], metrics=["seg"])
    expected = swept.best("seg")
    assert (best["peak"], best["fill"], best["score"]) == (expected.peak, expected.fill, pytest.approx(expected.score))
    assert [best["peak"], best["fill"]] in found["metrics"]["seg"]["plateau"]
    assert f"seg: {expected.score:.4f} at peak {expected.peak:g}" in result.output
    assert "their scores are not a result" in result.output
    assert (folders / "out" / "sweep.html").exists()


def test_the_command_warns_of_true_labels_that_look_like_binary_masks(app, folders, maps):
    write_labels(folders / "masks" / "f1.tif", (maps[0][1] > 0) * 255)
    arguments = [folders / "masks", folders / "maps", "--output", folders / "out", "--metric", "seg", "--split", "val"]
    result = app(*arguments, "--peak", 0.6, "--fill", 0.1)
    assert result.exit_code == 0, result.output
    assert "warning: 1 true label file looks like a binary mask: f1.tif (its only number, 255, lies" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "test"], "thresholds chosen on a test split make its scores worthless"),
        ([], "divides the images into splits; pass --split with one that is not the test split"),
        (["--split", "val", "--metric", "x"], "there is no metric x"),
        (["--split", "val", "--peak", "0.3", "--peak", "0.3"], "expected ascending thresholds"),
        (["--split", "val", "--peak", "0.3", "--fill", "0.5"], "expected peak >= fill"),
    ],
)
def test_the_command_refuses_what_would_mislead(app, folders, words, message):
    result = app(folders / "masks", folders / "maps", "--output", folders / "out", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (folders / "out").exists()


def test_missing_maps_are_named(app, folders):
    (folders / "maps" / "f1_distance_map.tif").unlink()
    result = app(folders / "masks", folders / "maps", "--output", folders / "out", "--split", "val")
    assert result.exit_code == 1
    assert "has no distance map for f1; write them with dinocell segment --save-distance-map" in result.output


def test_a_name_of_the_split_without_a_truth_is_refused(app, folders):
    (folders / "masks" / "f1.tif").unlink()
    result = app(folders / "masks", folders / "maps", "--output", folders / "out", "--split", "val")
    assert result.exit_code == 1
    assert "has no label file for f1; check the names of the split" in result.output
    assert not (folders / "out").exists()


def test_an_image_beside_its_labels_is_not_taken_for_them(app, folders):
    (folders / "masks" / "f1.png").write_bytes(b"")
    result = app(folders / "masks", folders / "maps", "--output", folders / "out", "--split", "val")
    assert result.exit_code == 1
    assert "holds f1.png and f1.tif, expected one file per name; remove one" in result.output


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("masks", "f1_masks.tif", "holds f1 and f1_masks, expected one file for f1; remove one"),
        (
            "maps",
            "f1_distance_map.tiff",
            "holds f1_distance_map.tif and f1_distance_map.tiff, expected one map per name",
        ),
    ],
)
def test_two_files_for_one_name_are_refused(app, folders, folder, name, message):
    (folders / folder / name).touch()
    (folders / "splits.csv").unlink()
    result = app(folders / "masks", folders / "maps", "--output", folders / "out")
    assert result.exit_code == 1
    assert message in result.output


def test_hidden_files_are_no_labels_and_no_maps(app, folders):
    for folder in ("masks", "maps"):
        (folders / folder / "._f1.tif").write_bytes(b"\0")
        (folders / folder / "._f1_distance_map.tif").write_bytes(b"\0")
    (folders / "splits.csv").unlink()
    result = app(
        folders / "masks",
        folders / "maps",
        "--output",
        folders / "out",
        "--metric",
        "seg",
        "--peak",
        0.5,
        "--fill",
        0.1,
    )
    assert result.exit_code == 0, result.output
    assert json.loads((folders / "out" / "sweep.json").read_text())["images"] == [f"f{number}" for number in range(5)]


def test_an_earlier_sweep_is_replaced_and_that_is_said(app, folders):
    arguments = [folders / "masks", folders / "maps", "--output", folders / "out", "--metric", "seg", "--split", "val"]
    arguments += ["--peak", 0.5, "--fill", 0.1]
    assert "replace" not in app(*arguments).output
    assert "sweep.html; they replace an earlier sweep" in app(*arguments).output


def test_maps_that_find_nothing_at_any_threshold_are_warned_of(app, folders):
    for path in (folders / "maps").iterdir():
        tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
    arguments = [folders / "masks", folders / "maps", "--output", folders / "out", "--split", "val"]
    result = app(*arguments, "--metric", "ap_mean", "--peak", 0.5, "--fill", 0.1)
    assert result.exit_code == 0, result.output
    assert "warning: ap_mean is 0 at every point: the model finds nothing that matches" in result.stderr
    assert "finds nothing that matches" in (folders / "out" / "sweep.html").read_text()


@pytest.mark.parametrize(
    ("metric", "values", "warned"),
    [("seg", [0, 0], True), ("seg", [0, 0.1], False), ("seg", [0, np.nan], True), ("count_error", [0, 0], False)],
)
def test_only_a_metric_that_is_0_everywhere_is_warned_of(metric, values, warned):
    sweep = Sweep((0.4, 0.5), (0.1,), ("a",), "val", {metric: np.array(values, float).reshape(2, 1, 1)})
    assert (sweep.nothing_matches(metric) is not None) == warned


def test_the_best_count_error_is_the_lowest_and_a_ratio_has_no_best() -> None:
    values = {
        "count_error": np.array([[[0.5], [0.1]], [[0.9], [0.3]]]),
        "count_ratio": np.array([[[0.5], [1.1]], [[1.9], [0.7]]]),
    }
    found = Sweep(peaks=(0.4, 0.6), fills=(0.1, 0.2), names=("a",), split="val", values=values)
    best = found.best("count_error")
    assert (best.peak, best.fill, best.score) == (0.4, 0.2, 0.1)
    assert np.argwhere(best.plateau).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"count_ratio has no best value; choose by another metric, such as op_csb"):
        found.best("count_ratio")
