"""The compiled GPU kernels, by addresses in device memory and a stream; missing from builds without nvcc."""

from typing import Any

def runtime_version() -> int: ...
def driver_version() -> int: ...
def __getattr__(name: str) -> Any: ...  # a function for each kernel and pair of types
