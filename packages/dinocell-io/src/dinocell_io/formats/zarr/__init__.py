"""OME-Zarr: its arrays, codecs and metadata."""
