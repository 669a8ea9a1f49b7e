"""A column of numbers that is written as it comes, and mapped when it is read."""

from pathlib import Path

import numpy as np
from jaxtyping import Num


class NpyColumn:
    """A one-dimensional .npy file that grows by `append`; valid only after `close`, so use a temporary name."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.count = 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, values: Num[np.ndarray, "n"]) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.count += len(values)

    def close(self) -> None:
        # NumPy leaves room in the header for a length that grows
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, header)
