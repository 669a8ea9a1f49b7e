"""Labels, results and thumbnails beside images are not images; files that are only named so are."""

import pytest

from dinocell_io import image_stem, images_among


@pytest.mark.parametrize(
    ("beside", "companions"),
    [
        ("a.tif", ["a_labels.tif", "a_overlay.png", "a_distance_map.tif"]),
        ("a.ome.tif", ["a_labels.tif", "a_Labels.TIF"]),
        ("a.tif", ["a_cp_masks.tif", "a_cp_masks.png", "a_flows.tif", "a_cp_output.png", "a_outlines.png"]),
        ("a.JPG", ["a_masks.png", "a_mask.tif", "a_seg.tif", "a.stardist.tif", "a_label.ome.tif"]),
        ("a_img.png", ["a_masks.png"]),  # Cellpose's own data sets
        ("scan.czi", ["scan_labels.tif", "scan_overlay.png"]),
        ("plate.zarr", ["plate_labels.tif"]),
        ("plate 1/H\u00f6he.tif", ["plate 1/H\u00f6he_masks.tif"]),
        ("x_A01_s1_w1C0FFEE00-1.TIF", ["x_A01_s1_w1_thumbBADF00D5-2.TIF", "x_A01_s1_w1_thumb.tif"]),
        ("images/a.png", ["masks/a.png", "labels/a_mask.tif"]),
        ("set/images/a.ome.tif", ["set/masks/a.tif"]),
    ],
)
def test_what_stands_beside_an_image_is_left_out_and_named(beside: str, companions: list[str]) -> None:
    images, left_out = images_among([beside, *companions])
    assert images == ([] if beside.endswith((".czi", ".zarr")) else [beside])
    assert sorted(left_out) == sorted(companions)
    assert images_among(companions) == (sorted(companions), {}), "test invalid"


def test_results_beside_their_record_are_left_out_without_the_image() -> None:
    names = ["a_labels.tif", "a_overlay.png", "a_cells.csv", "a_run.json", "b.tif", "segment_summary.csv"]
    assert images_among(names) == (
        ["b.tif"],
        {
            "a_labels.tif": "labels or a result beside the image of that name",
            "a_overlay.png": "labels or a result beside the image of that name",
        },
    )


@pytest.mark.parametrize(
    "names",
    [
        ["a.tif", "b_masks.tif", "labels.tif", "_masks.tif", "a_labels2.tif", "amask.tif"],
        ["A01_thumbs_up.tif", "green_thumbelina.tif", "thumb.tif", "x_thumb.tif"],
        ["one/a.tif", "two/a_masks.tif"],
        ["masks/a.tif", "labels/b.tif", "images/c.tif"],
    ],
)
def test_files_of_other_names_are_images(names: list[str]) -> None:
    assert images_among(names) == (sorted(names), {})


def test_hidden_files_other_files_and_the_inside_of_a_zarr_are_not_looked_at() -> None:
    names = [".a.tif", "b.npy", "c.csv", ".git/d.tif", "e.zarr/labels/f.png", "g.zarr/h.tif", "i.tif"]
    assert images_among(names) == (["i.tif"], {})


def test_a_large_folder_of_thumbnails_takes_seconds() -> None:
    names = [f"x_A{row:05d}_w1{kind}.tif" for row in range(30_000) for kind in ("GUID", "_thumb")]
    images, left_out = images_among(names)
    assert len(images) == len(left_out) == 30_000


def test_double_suffixes_count_as_one() -> None:
    assert [*map(image_stem, ("a.b.ome.TIF", "a.tif", "a.ome.zarr", "a"))] == ["a.b", "a", "a", "a"]
