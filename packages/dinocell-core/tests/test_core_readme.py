"""The README's example runs, and its table tells the truth."""

import doctest
import re
from pathlib import Path

from dinocell_core.backbones import BACKBONES, create_backbone

README = Path(__file__).parents[1] / "README.md"


def test_example_of_the_readme_runs():
    result = doctest.testfile(str(README), module_relative=False)
    assert result.attempted > 4
    assert result.failed == 0


def test_table_of_the_readme_has_the_true_sizes():
    lines = README.read_text(encoding="utf-8").splitlines()
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == list(BACKBONES)
    for name, width, blocks, heads, ffn, *parameters in rows:
        config = BACKBONES[name]
        assert (int(width), int(blocks), int(heads)) == (config.embed_dim, config.num_blocks, config.num_heads)
        assert ffn.lower() == config.ffn
        for patch, number in zip((16, 8), parameters, strict=True):
            backbone = create_backbone(name, patch=patch, device="meta")
            assert int(number.replace(",", "")) == sum(p.numel() for p in backbone.parameters())
