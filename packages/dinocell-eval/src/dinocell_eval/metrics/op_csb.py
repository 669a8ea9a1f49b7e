"""OP_CSB, the ranking of the cell segmentation benchmark."""

from dinocell_eval.metrics.det import det
from dinocell_eval.metrics.seg import seg
from dinocell_eval.overlap.statistics import Column, Statistics


def op_csb(statistics: Statistics) -> Column:
    """OP_CSB = (SEG + DET) / 2; undefined without true objects."""
    return (seg(statistics) + det(statistics)) / 2
