"""Microscope images and labels from files, dataset folders, and simulated fields."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from .simulate import Field, simulate_field
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

_HOMES = {
    "IMAGE_SUFFIXES": "image",
    "LABEL_SUFFIXES": "labels",
    "WHOLE_IMAGE": "field",
    "AccessDenied": "store",
    "BadObject": "decode",
    "CacheHits": "cached_store",
    "CachedStore": "cached_store",
    "ChannelInfo": "describe",
    "Corrupt": "store",
    "DiskCache": "disk_cache",
    "Exhausted": "store",
    "Field": "simulate",
    "FieldFiles": "field",
    "FieldList": "field",
    "FieldPixels": "field",
    "FieldStream": "stream",
    "FolderFields": "folder_fields",
    "IlluminationCorrection": "illumination",
    "Image": "image",
    "ImageInfo": "describe",
    "JumpFields": "jump_fields",
    "JumpIndex": "jump_index",
    "LazyImage": "lazy_image",
    "Level": "lazy_image",
    "LocalStore": "local_store",
    "NewSample": "dataset_write",
    "NotFound": "store",
    "ObjectInfo": "store",
    "Partition": "stream_order",
    "RamCache": "ram_cache",
    "Refused": "store",
    "ResampleTo": "resample",
    "RetryBudget": "retry_budget",
    "RetryPolicy": "retry",
    "Sample": "dataset",
    "Store": "store",
    "StoreError": "store",
    "StreamError": "stream",
    "StreamLimits": "stream",
    "StreamReport": "stream_report",
    "StreamStalled": "stream",
    "TooManyFailures": "stream",
    "atomic_folder": "atomic",
    "atomic_path": "atomic",
    "build_jump_index": "jump_build",
    "convert_cellpose": "convert_cellpose",
    "convert_dsb2018": "convert_dsb2018",
    "convert_livecell": "convert_livecell",
    "convert_samcell": "convert_samcell",
    "default_cache_folder": "disk_cache",
    "describe_image": "describe",
    "fetch_fields": "jump_fetch",
    "grey_image": "grey",
    "jump_fields": "jump_fields",
    "open_dataset": "dataset",
    "open_folder_fields": "folder_fields",
    "open_image": "formats",
    "open_jump_index": "jump_index",
    "open_store": "store",
    "read_image": "image",
    "read_labels": "labels",
    "read_sample": "dataset",
    "rows_of_listing": "jump_listing",
    "rows_of_load_data": "jump_tables",
    "rows_of_parquet": "jump_tables",
    "select_sites": "jump_select",
    "simulate_field": "simulate",
    "write_dataset": "dataset_write",
    "write_image": "image_write",
    "write_label_rows": "labels_write",
    "write_labels": "labels_write",
    "write_thumbnail": "thumbnail",
}


def __getattr__(name: str) -> Any:
    # on first use: who needs `atomic_path` must not wait for stores, and the commands' help not for NumPy
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _TableOfContents(ModuleType):
    """A function that is called like its module (`jump_fields`) stays the function when the module is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _TableOfContents
