"""Microscope images and labels from files, dataset folders, and simulated fields."""

from typing import TYPE_CHECKING, Any

from .atomic import atomic_folder, atomic_path
from .cached_store import CachedStore, CacheHits
from .convert_cellpose import convert_cellpose
from .convert_dsb2018 import convert_dsb2018
from .convert_livecell import convert_livecell
from .convert_samcell import convert_samcell
from .dataset import Sample, open_dataset, read_sample
from .dataset_write import NewSample, write_dataset
from .decode import BadObject
from .describe import ChannelInfo, ImageInfo, describe_image
from .disk_cache import DiskCache, default_cache_folder
from .field import WHOLE_IMAGE, FieldFiles, FieldList, FieldPixels
from .folder_fields import FolderFields, open_folder_fields
from .formats import open_image
from .grey import grey_image
from .illumination import IlluminationCorrection
from .image import IMAGE_SUFFIXES, Image, read_image
from .image_write import write_image
from .jump_build import build_jump_index
from .jump_fetch import fetch_fields
from .jump_fields import JumpFields, jump_fields
from .jump_index import JumpIndex, open_jump_index
from .jump_listing import rows_of_listing
from .jump_select import select_sites
from .jump_tables import rows_of_load_data, rows_of_parquet
from .labels import LABEL_SUFFIXES, read_labels
from .labels_write import write_label_rows, write_labels
from .lazy_image import LazyImage, Level
from .local_store import LocalStore
from .ram_cache import RamCache
from .resample import ResampleTo
from .retry import RetryPolicy
from .retry_budget import RetryBudget
from .store import (
    AccessDenied,
    Corrupt,
    Exhausted,
    NotFound,
    ObjectInfo,
    Refused,
    Store,
    StoreError,
    open_store,
)
from .stream import FieldStream, StreamError, StreamLimits, StreamStalled, TooManyFailures
from .stream_order import Partition
from .stream_report import StreamReport
from .thumbnail import write_thumbnail

if TYPE_CHECKING:
    from .simulate import Field, simulate_field

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "WHOLE_IMAGE",
    "AccessDenied",
    "BadObject",
    "CacheHits",
    "CachedStore",
    "ChannelInfo",
    "Corrupt",
    "DiskCache",
    "Exhausted",
    "Field",
    "FieldFiles",
    "FieldList",
    "FieldPixels",
    "FieldStream",
    "FolderFields",
    "IlluminationCorrection",
    "Image",
    "ImageInfo",
    "JumpFields",
    "JumpIndex",
    "LazyImage",
    "Level",
    "LocalStore",
    "NewSample",
    "NotFound",
    "ObjectInfo",
    "Partition",
    "RamCache",
    "Refused",
    "ResampleTo",
    "RetryBudget",
    "RetryPolicy",
    "Sample",
    "Store",
    "StoreError",
    "StreamError",
    "StreamLimits",
    "StreamReport",
    "StreamStalled",
    "TooManyFailures",
    "atomic_folder",
    "atomic_path",
    "build_jump_index",
    "convert_cellpose",
    "convert_dsb2018",
    "convert_livecell",
    "convert_samcell",
    "default_cache_folder",
    "describe_image",
    "fetch_fields",
    "grey_image",
    "jump_fields",
    "open_dataset",
    "open_folder_fields",
    "open_image",
    "open_jump_index",
    "open_store",
    "read_image",
    "read_labels",
    "read_sample",
    "rows_of_listing",
    "rows_of_load_data",
    "rows_of_parquet",
    "select_sites",
    "simulate_field",
    "write_dataset",
    "write_image",
    "write_label_rows",
    "write_labels",
    "write_thumbnail",
]


def __getattr__(name: str) -> Any:
    # the simulator needs SciPy, which takes longer to import than all of the above
    if name in ("Field", "simulate_field"):
        from . import simulate

        return getattr(simulate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
