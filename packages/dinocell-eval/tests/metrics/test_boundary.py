"""Outlines: boundary IoU, boundary F, Hausdorff distance and ASSD against plain code."""

import numpy as np
import pytest
from scipy import ndimage

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import CASES, drawn

CROSS = ndimage.generate_binary_structure(2, 1)


def plain_measures(truth, predicted, width):
    """Of two masks, each pixel against each."""

    def band(mask, width):
        return mask & (ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] <= width)

    def outline(mask):
        return np.argwhere(mask & ~ndimage.binary_erosion(mask, CROSS))

    one, other = band(truth, width), band(predicted, width)
    there = np.array([min(np.hypot(*(p - q)) for q in outline(predicted)) for p in outline(truth)])
    back = np.array([min(np.hypot(*(p - q)) for q in outline(truth)) for p in outline(predicted)])
    recall, precision = (there <= width).mean(), (back <= width).mean()
    return {
        "boundary_iou": (one & other).sum() / (one | other).sum(),
        "boundary_f": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "hausdorff_px": max(there.max(), back.max()),
        "assd_px": np.concatenate([there, back]).mean(),
    }


@pytest.mark.parametrize("width", [1, 2, 3.5])
def test_every_measure_of_every_matched_object_equals_plain_code(field, width):
    truth, predicted = field(4, size=64, cells=14)
    objects = evaluate([truth], [predicted], boundary_px=width).objects
    compared = 0
    for row in range(len(objects)):
        if objects.kind[row] == "truth" and objects.error_class[row] == "correct":
            label, partner = objects.label[row], objects.matched_label[row]
            for name, value in plain_measures(truth == label, predicted == partner, width).items():
                assert objects.boundary[name][row] == pytest.approx(value), (label, name)
            compared += 1
        elif objects.error_class[row] != "correct":
            assert all(np.isnan(values[row]) for values in objects.boundary.values())
    assert compared > 5


def test_a_pair_has_the_same_measures_on_its_true_and_its_predicted_object(field):
    truth, predicted = field(5)
    objects = evaluate([truth], [predicted], boundary_px=2).objects
    ours = {
        (kind, label): value
        for kind, label, value in zip(
            objects.kind.tolist(), objects.label.tolist(), objects.boundary["assd_px"].tolist(), strict=True
        )
    }
    for kind, label, partner, error in zip(
        objects.kind.tolist(), objects.label.tolist(), objects.matched_label.tolist(), objects.error_class.tolist(),
        strict=True,
    ):  # fmt: skip
        if kind == "truth" and error == "correct" and partner:
            assert ours["truth", label] == ours["predicted", partner]


def test_perfect_outlines_agree_fully_also_at_the_edge_of_the_image():
    case = CASES["perfect_cells_without_background"]
    pooled = evaluate([case.truth], [case.predicted], boundary_px=2).pooled
    assert [pooled[name] for name in ("boundary_iou", "boundary_f", "hausdorff_px", "assd_px")] == [1, 1, 0, 0]


def test_the_means_are_over_all_compared_pairs_and_pooled_over_images():
    shifted = (drawn(".1111.\n.1111."), drawn("..1111\n..1111"))
    perfect = (drawn("11.22"), drawn("11.22"))
    result = evaluate([shifted[0], perfect[0]], [shifted[1], perfect[1]], boundary_px=1)
    assert result.per_image["hausdorff_px"] == (1.0, 0.0)
    assert result.pooled["hausdorff_px"] == pytest.approx(1 / 3)
    assert result.per_image_mean["hausdorff_px"] == 0.5
    assert result.per_image["boundary_iou"] == pytest.approx((0.6, 1.0))
    assert result.intervals["assd_px"] is not None


def test_images_without_a_pair_leave_the_outlines_undefined():
    cases = [CASES[name] for name in ("missed_cell", "truth_empty", "both_empty", "merged_cells")]
    result = evaluate([c.truth for c in cases], [c.predicted for c in cases], boundary_px=2)
    assert result.per_image["boundary_iou"] == (1.0, None, None, None)
    assert evaluate([cases[1].truth], [cases[1].predicted], boundary_px=2).pooled["assd_px"] is None


def test_outlines_are_measured_only_where_asked_for_and_say_their_width():
    case = CASES["missed_cell"]
    assert "boundary_iou" not in evaluate([case.truth], [case.predicted]).pooled
    meaning = evaluate([case.truth], [case.predicted], boundary_px=2.5).definitions["boundary_iou"].meaning
    assert "2.5 px wide" in meaning


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", ">u2"])
def test_outlines_of_any_type_of_labels_are_the_same(field, dtype):
    truth, predicted = field(6)
    expected = evaluate([truth], [predicted], boundary_px=2).pooled["boundary_iou"]
    assert evaluate([truth.astype(dtype)], [predicted], boundary_px=2).pooled["boundary_iou"] == expected


@pytest.mark.parametrize("width", [0, 0.5, -1, float("nan"), float("inf")])
def test_a_width_below_one_pixel_is_refused(width):
    with pytest.raises(ValueError, match="expected a width of 1 pixel or more"):
        evaluate([drawn("11")], [drawn("11")], boundary_px=width)
