"""TIFF and what is TIFF inside: OME-TIFF, ImageJ, slides."""
