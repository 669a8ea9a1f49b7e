"""Nothing of the package is under a licence that is not the project's."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
WEIGHTS = {".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz"}


def test_no_weights_lie_in_the_package():
    assert [path for path in PACKAGE.rglob("*") if path.suffix in WEIGHTS] == []


def test_no_source_file_carries_a_foreign_copyright():
    sources = [path for path in PACKAGE.rglob("*.py") if path != Path(__file__)]
    assert len(sources) > 10
    assert [path for path in sources if "copyright" in path.read_text(encoding="utf-8").lower()] == []
