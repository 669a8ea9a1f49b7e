"""Learning rates that fall with the depth in the backbone: which layer a parameter belongs to."""

import re


def layers_above(name: str, num_blocks: int) -> int:
    """How many layers of a backbone follow the one of its parameter `name`, as layer-wise decay counts them (BEiT).

    Block i of L has L - i, the patch embedding and the tokens L + 1, the norms after the last block 0.
    """
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return num_blocks - int(block.group(1))
    return 0 if "norm" in name else num_blocks + 1
