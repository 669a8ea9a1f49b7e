import hashlib
import tracemalloc

import pytest

from dinocell_io import file_sha256


@pytest.mark.parametrize("size", [0, 1, 1_000_003])
def test_it_is_the_hash_of_all_bytes(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == file_sha256(str(tmp_path / "file")) == hashlib.sha256(content).hexdigest()


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    size = 1 << 24
    (tmp_path / "file").write_bytes(bytes(size))
    tracemalloc.start()
    try:
        file_sha256(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < size // 8
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "nowhere")
