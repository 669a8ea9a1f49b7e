"""How the native module was built and what it runs on."""

from dinocell_kernels import _native


def build_info() -> dict[str, object]:
    """Facts for bug reports: `version`, `compiler`, `flags`, `isa`, `cuda`.

    `isa` is the x86-64 level whose code this CPU runs ("x86-64-v4", "x86-64-v3" or "baseline"); results do
    not depend on it. `cuda` says whether device kernels were built.
    """
    return dict(_native.build_info())
