"""How the native module was built and what it runs on."""

from dinocell_kernels import _native


def build_info() -> dict[str, object]:
    """Facts for bug reports: `version`, `compiler`, `flags`, `isa`, `cuda`.

    `isa` is the instruction set in use: "avx512" or "avx2" if the CPU has it, otherwise "portable". The environment
    variable DINOCELL_ISA, read at import, selects a lower one; results do not depend on it. `cuda` is "not built", or
    the compiler of the GPU kernels and the architectures they were built for.
    """
    return dict(_native.build_info())
