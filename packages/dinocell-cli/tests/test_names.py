"""Every global name that a function uses exists in its module; linters cannot check it, since shapes are strings."""

import builtins
import dis
import importlib
import pkgutil
from types import CodeType, ModuleType

import pytest

PACKAGES = (
    "dinocell",
    "dinocell_core",
    "dinocell_eval",
    "dinocell_io",
    "dinocell_kernels",
    "dinocell_seg",
    "dinocell_ssl",
)
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if not module.name.rpartition(".")[2].startswith("__main__")
]


def unknown_names(module: ModuleType, code: CodeType) -> set[str]:
    """Global names in some code, and in the functions and classes within, that neither the module nor Python has."""
    used = {op.argval for op in dis.get_instructions(code) if op.opname == "LOAD_GLOBAL"}
    inner = (unknown_names(module, const) for const in code.co_consts if isinstance(const, CodeType))
    return {name for name in used if not hasattr(module, name) and not hasattr(builtins, name)}.union(*inner)


def compiled(module: ModuleType) -> CodeType | None:
    loader = module.__spec__.loader if module.__spec__ else None
    code = loader.get_code(module.__name__) if hasattr(loader, "get_code") else None
    return code if isinstance(code, CodeType) else None


@pytest.mark.parametrize("name", MODULES)
def test_every_global_name_of_a_module_exists(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))  # the GPU kernels, where they are not built
    code = compiled(module)
    if code is not None:
        # also names that the module binds only on another system
        bound = {op.argval for op in dis.get_instructions(code) if op.opname == "STORE_NAME"}
        assert unknown_names(module, code) - bound == set()


def test_a_name_that_was_never_imported_is_found() -> None:
    module = ModuleType("example")
    code = compile("import os\ndef run():\n    return [os.getcwd(), len(()), missing(1)]\n", "example.py", "exec")
    exec(code, module.__dict__)
    assert unknown_names(module, code) == {"missing"}
