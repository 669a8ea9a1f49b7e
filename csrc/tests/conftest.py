"""Runs a test once for every instruction set of this CPU where it asks for the fixture `isa`."""

from collections.abc import Iterator

import pytest

from dinocell_kernels import _native, build_info

ISAS = _native.available_isas()


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = str(build_info()["isa"])
    _native.use_isa(request.param)
    yield request.param
    _native.use_isa(before)
