"""Microscope images and labels from files."""

from .atomic import atomic_folder, atomic_path
from .dataset import Sample, open_dataset, read_sample
from .grey import grey_image
from .image import IMAGE_SUFFIXES, Image, read_image
from .labels import LABEL_SUFFIXES, read_labels, write_labels

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "Image",
    "Sample",
    "atomic_folder",
    "atomic_path",
    "grey_image",
    "open_dataset",
    "read_image",
    "read_labels",
    "read_sample",
    "write_labels",
]
