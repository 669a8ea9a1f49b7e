import numpy as np

from dinocell_io.jump.npy_column import NpyColumn


def test_a_column_written_in_parts_is_read_as_one(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 60000, size) for size in (0, 3, 100_000, 1)]
    column = NpyColumn(tmp_path / "a.npy", "<u2")
    for part in parts:
        column.append(part)
    column.close()
    whole = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert whole.dtype == np.uint16
    assert column.count == 100_004
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_column_of_nothing_is_empty(tmp_path):
    NpyColumn(tmp_path / "a.npy", "<i8").close()
    assert np.load(tmp_path / "a.npy").shape == (0,)
