"""Label images of the Cell Tracking Challenge: every kind of TIFF is read exactly or refused by name."""

import numpy as np
import pytest
import tifffile

from dinocell_eval.ctc.labels import read_ctc_labels

LABELS = np.array([[0, 1, 1, 300], [0, 65535, 2, 2], [7, 7, 0, 0]], np.uint16)


@pytest.fixture
def written(tmp_path):
    def write(pixels, **options):
        path = tmp_path / "mask000.tif"
        tifffile.imwrite(path, pixels, **{"photometric": "minisblack", "metadata": None, **options})
        return path

    return write


@pytest.mark.parametrize(
    "options",
    [
        {}, {"compression": "zlib"}, {"compression": "lzw"}, {"compression": "packbits"}, {"bigtiff": True},
        {"byteorder": ">"}, {"rowsperstrip": 1}, {"compression": "zlib", "predictor": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_official_tools_read_is_read_strictly(written, options):
    labels, departures = read_ctc_labels(written(LABELS, **options), strict=True)
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.uint16
    assert departures == ()


@pytest.mark.parametrize(
    ("options", "departure"),
    [
        ({"compression": "zstd"}, "is compressed with ZSTD, which the official tools read as garbage"),
        ({"tile": (16, 16)}, "is tiled, which the official tools read as garbage"),
        (
            {"photometric": "miniswhite"},
            "is WhiteIsZero, which the official tools invert; the labels are taken as stored",
        ),
    ],
)
def test_what_the_official_tools_misread_is_read_rightly_and_noted(written, options, departure):
    path = written(LABELS, **options)
    labels, departures = read_ctc_labels(path)
    np.testing.assert_array_equal(labels, LABELS)
    assert departures == (departure,)
    with pytest.raises(
        ValueError, match=r"mask000\.tif is .*; save it as plain 16-bit grey TIFF or leave out --strict"
    ):
        read_ctc_labels(path, strict=True)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
def test_other_number_types_are_exact_and_refused_only_if_strict(written, dtype):
    pixels = np.array([[0, 1, 127], [5, 5, 100]], dtype)
    path = written(pixels)
    labels, departures = read_ctc_labels(path)
    np.testing.assert_array_equal(labels, pixels)
    assert labels.dtype.kind in "ui"
    assert departures == ()
    with pytest.raises(ValueError, match=f"holds {dtype}, the official tools read 16-bit unsigned integers only"):
        read_ctc_labels(path, strict=True)


def test_labels_above_16_bits_are_exact(written):
    pixels = np.array([[0, 70000, 70000 - 65536, 2**32 - 1]], np.uint32)
    np.testing.assert_array_equal(read_ctc_labels(written(pixels))[0], pixels)


def test_a_bilevel_file_holds_0_and_1(written):
    labels, _ = read_ctc_labels(written(LABELS > 0))
    np.testing.assert_array_equal(labels, LABELS > 0)
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("metadata", [None, {"axes": "ZYX"}])
def test_pages_are_slices(written, metadata):
    volume = np.stack([LABELS, LABELS + 1, 0 * LABELS])
    np.testing.assert_array_equal(read_ctc_labels(written(volume, metadata=metadata), strict=True)[0], volume)


def test_more_than_sixteen_pages_are_slices_too(written):
    volume = np.arange(40 * 12, dtype=np.uint16).reshape(40, 3, 4)
    np.testing.assert_array_equal(read_ctc_labels(written(volume))[0], volume)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (
            np.zeros((3, 4, 3), np.uint8),
            {"photometric": "rgb"},
            "holds 3 numbers per pixel, expected one label; colours",
        ),
        (np.zeros((3, 4, 2), np.uint16), {"planarconfig": "contig"}, "holds 2 numbers per pixel"),
        (np.array([[0.5]], np.float32), {}, "holds float32 that are not all whole numbers, expected integer labels"),
        (np.array([[np.nan]], np.float32), {}, "holds float.. that are not all whole"),
        (np.array([[np.inf]], np.float64), {}, "holds float.. that are not all whole"),
        (np.array([[1, -1]], np.int16), {}, r"holds negative numbers \(down to -1\), expected 0 for background"),
        (np.array([[-2.0]], np.float32), {}, r"holds negative numbers \(down to -2\)"),
        (np.array([[1j]], np.complex64), {}, "holds complex64, expected integer labels"),
        (
            np.zeros((2, 2, 3, 4), np.uint16),
            {"metadata": {"axes": "TZYX"}},
            r"has shape \(2, 2, 3, 4\) \(TZYX\), expected",
        ),
    ],
)
def test_what_is_no_label_image_is_refused(written, pixels, options, message):
    with pytest.raises(ValueError, match=r"mask000\.tif " + message):
        read_ctc_labels(written(pixels, **options))


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("float32", 24), ("float64", 53)])
def test_floats_too_large_to_tell_labels_apart_are_refused(written, dtype, bits):
    assert read_ctc_labels(written(np.array([[2**bits - 1]], dtype)))[0].tolist() == [[2**bits - 1]]
    with pytest.raises(
        ValueError, match=rf"the labels in .*mask000\.tif reach {2**bits} in {dtype}, expected less than 2"
    ):
        read_ctc_labels(written(np.array([[2**bits]], dtype)))


def test_pages_of_different_sizes_are_refused(written, tmp_path):
    path = tmp_path / "mask000.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(LABELS, metadata=None)
        writer.write(LABELS[:, :2], metadata=None)
    with pytest.raises(ValueError, match="has pages of 2 different kinds, expected slices of one size and type"):
        read_ctc_labels(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mask007\.tif does not exist; expected a TIFF file of labels"):
        read_ctc_labels(tmp_path / "mask007.tif")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"metadata": {"axes": "ZYX"}}], ids=str)
def test_a_file_that_is_cut_short_is_refused_or_whole_but_for_the_last_bytes(written, options):
    volume = np.random.default_rng(0).integers(0, 9, (4, 30, 30)).astype(np.uint16)
    path = written(volume, **options)
    whole = path.read_bytes()
    read = 0
    for kept in [*range(0, len(whole), 499), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:kept])
        try:
            labels, _ = read_ctc_labels(path)
        except ValueError as error:
            assert "mask000.tif cannot be read as TIFF (" in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(labels, volume)
            read += 1
    assert read < 40


def test_a_file_of_another_format_is_refused(written):
    path = written(LABELS)
    path.write_bytes(b"P5 2 2 255 abcd")
    with pytest.raises(ValueError, match=r"mask000\.tif cannot be read as TIFF \(.*export it again"):
        read_ctc_labels(path)
