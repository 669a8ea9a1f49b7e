"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""
