"""The folder of this machine that keeps what a run reads from a bucket."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dinocell_io import DiskCache, default_cache_folder, parse_bytes


class Cache(BaseModel):
    """A disk cache before the bucket, shared by all ranks, workers and runs of a machine; see `dinocell cache`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    folder: Path | None = Field(default=None, description="null: $DINOCELL_CACHE, or ~/.cache/dinocell/objects")
    quota: str | None = Field(
        default=None, description="size, such as 500GB; null: that of the folder, which must then be a cache"
    )
    policy: Literal["pin", "lru"] | None = Field(
        default=None, description="pin keeps what came first, lru what was used last; null: the folder's, pin at first"
    )

    @field_validator("quota")
    @classmethod
    def _quota_is_a_size(cls, quota: str | None) -> str | None:
        if quota is not None:
            parse_bytes(quota)
        return quota

    def open(self) -> DiskCache:
        """The cache. Raises ValueError for a quota below what it holds, FileNotFoundError where there is none yet."""
        folder = self.folder or default_cache_folder()
        try:
            return DiskCache(
                folder, quota_bytes=None if self.quota is None else parse_bytes(self.quota), policy=self.policy
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder} is not a cache yet; give its size with --set data.cache.quota=500GB (or another one)"
            ) from error
