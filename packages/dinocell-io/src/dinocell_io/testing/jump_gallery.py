"""A miniature of the Cell Painting Gallery: one plate of each style of naming, with tiny noisy images.

The names are those of the real sources: spaces in keys, random GUIDs, plates of digits only, plates in folders of
another name, 1536 wells, sites counted from zero, channels numbered differently, brightfield under several names.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import tifffile

GALLERY = "s3://cellpainting-gallery/"
_PHENIX_ORDER = ("Mito", "AGP", "RNA", "ER", "DNA")
_YOKOGAWA_ORDER = ("DNA", "ER", "RNA", "AGP", "Mito")


@dataclass(frozen=True)
class GalleryPlate:
    """One plate. `file_name(row, column, field, channel number)`; `brightfield` are columns after the five stains."""

    source: str
    batch: str
    plate: str
    full_plate: str
    file_name: Callable[[int, int, int, int], str]
    order: tuple[str, ...]
    brightfield: tuple[str, ...] = ()
    wells: tuple[tuple[int, int], ...] = ((1, 1), (2, 11))
    fields: tuple[int, ...] = (1, 2)
    first_site: int = 1
    shape: tuple[int, int] = (20, 20)
    compression: str | None = None

    @property
    def folder(self) -> str:
        return f"cpg0016-jump/{self.source}/images/{self.batch}/images/{self.full_plate}/"

    @property
    def channels(self) -> tuple[str, ...]:
        return self.order + self.brightfield


def _phenix(row: int, column: int, field: int, channel: int) -> str:
    return f"r{row:02d}c{column:02d}f{field:02d}p01-ch{channel}sk1fk1fl1.tiff"


def _yokogawa(plate: str) -> Callable[[int, int, int, int], str]:
    def file_name(row: int, column: int, field: int, channel: int) -> str:
        well = chr(64 + row) + f"{column:02d}"
        return f"{plate}_{well}_T0001F{field:03d}L01A{(channel % 5) + 1:02d}Z01C{channel:02d}.tif"

    return file_name


def _imagexpress(row: int, column: int, field: int, channel: int) -> str:
    guid = str(
        UUID(int=(row * 977 + column * 131 + field * 17 + channel) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)
    )
    return f"HTS_{chr(64 + row)}{column:02d}_s{field}_w{channel}{guid.upper()}.tif"


GALLERY_PLATES = (
    GalleryPlate(
        "source_1",
        "Batch1_20221004",
        "UL000109",
        "UL000109__2022-09-30T13_02_12-Measurement1/Images",
        _phenix,
        _PHENIX_ORDER,
        ("Brightfield",),
        wells=((1, 2), (32, 48)),  # a plate of 1536 wells: AF48
        compression="lzw",
    ),
    GalleryPlate(
        "source_2",
        "20210607_Batch_2",
        "1053601756",  # digits only
        "1053601756",
        _yokogawa("1053601756"),
        _YOKOGAWA_ORDER,
        ("Brightfield_H", "Brightfield_L", "Brightfield"),
        shape=(18, 18),
    ),
    GalleryPlate(
        "source_3",
        "CP_25_all_Phenix1",
        "BR5867a3",
        "BR5867a3__2020-12-16T15_55_21-Measurement 1/Images",  # a space in the key
        _phenix,
        _PHENIX_ORDER,
        compression="lzw",
    ),
    GalleryPlate(
        "source_5",
        "JUMPCPE-20210623-Run01_20210624_071326",
        "ADMJUM001",
        "P01_ADMJUM001",  # the folder has a name of its own
        _yokogawa("P01_ADMJUM001"),
        _YOKOGAWA_ORDER,
        ("HighZBF", "LowZBF", "BrightField"),
    ),
    GalleryPlate(
        "source_7",
        "20210719_Run1",
        "CP1-SC1-01",
        "CP1-SC1-01",
        _yokogawa("CP1-SC1-01"),
        ("DNA", "Mito", "RNA", "ER", "AGP"),  # the same microscope family, another order
        first_site=0,  # Metadata_Site counts from zero, F from one
        shape=(16, 20),  # not square
    ),
    GalleryPlate(
        "source_8",
        "J1",
        "A1170383",
        "A1170383/Images",
        _imagexpress,
        ("Mito", "AGP", "RNA", "ER", "DNA"),
    ),
    GalleryPlate(
        "source_9",
        "20210824-Run4",
        "GR00003381",
        "GR00003381/Images",
        _phenix,
        ("ER", "Mito", "AGP", "DNA", "RNA"),
    ),
    GalleryPlate(
        "source_11",
        "Batch1",
        "EC000038",  # of which keys are missing
        "EC000038__2021-05-02T16_02_51-Measurement1/Images",
        _phenix,
        _PHENIX_ORDER,
    ),
)


def plane_value(plate: GalleryPlate, well: int, field: int, channel: str) -> int:
    """The least pixel of a plane, different for each plane of the gallery."""
    at = plate.channels.index(channel)
    return 1000 * GALLERY_PLATES.index(plate) + 100 * well + 10 * field + at


def well_name(row: int, column: int) -> str:
    letters = chr(64 + row) if row <= 26 else "A" + chr(64 + row - 26)
    return f"{letters}{column:02d}"


def site_addresses(plate: GalleryPlate) -> list[dict[str, str]]:
    """The load_data table of a plate: one row per site, with columns in the plate's own order."""
    rows = []
    for row, column in plate.wells:
        for field in plate.fields:
            metadata = {
                "Metadata_Source": plate.source,
                "Metadata_Batch": plate.batch,
                "Metadata_Plate": plate.plate,
                "Metadata_Well": well_name(row, column),
                "Metadata_Site": str(field - 1 + plate.first_site),
            }
            urls = {
                f"URL_Orig{channel}": GALLERY + plate.folder + plate.file_name(row, column, field, number)
                for number, channel in enumerate(plate.channels, start=1)
            }
            rows.append(metadata | urls)
    return rows


def write_jump_gallery(root: str | Path) -> Path:
    """Write all plates below `root` under the keys of the bucket: images, load_data tables, a thumbnail or two."""
    bucket = Path(root)
    for plate in GALLERY_PLATES:
        folder = bucket / plate.folder
        folder.mkdir(parents=True)
        for well, (row, column) in enumerate(plate.wells):
            for field in plate.fields:
                for number, channel in enumerate(plate.channels, start=1):
                    pixels = plane_value(plate, well, field, channel) + np.arange(np.prod(plate.shape)) % 5
                    name = plate.file_name(row, column, field, number)
                    tifffile.imwrite(
                        folder / name,
                        pixels.astype(np.uint16).reshape(plate.shape),
                        photometric="minisblack",
                        metadata=None,
                        compression=plate.compression,
                    )
        table = bucket / f"cpg0016-jump/{plate.source}/workspace/load_data_csv/{plate.batch}/{plate.plate}"
        table.mkdir(parents=True)
        (table / "load_data.csv").write_text(csv_text(site_addresses(plate)))
        (table / "load_data_with_illum.csv").write_text("another table of the same sites, not to be read\n")
    return bucket


def csv_text(rows: list[dict[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
