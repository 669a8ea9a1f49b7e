"""LIVECell (and any COCO instance set) to the simple dataset folder.

Edlund et al., LIVECell - A large-scale dataset for label-free live cell segmentation,
Nature Methods 18, 1038-1045 (2021).
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dinocell_io.datasets.coco_masks import paint_objects, segmentation_piece
from dinocell_io.datasets.dataset import sample_name
from dinocell_io.datasets.dataset_write import NewSample, write_dataset
from dinocell_io.images.image import IMAGE_SUFFIXES

# <cell type>_Phase_<well>_<position>_<time>_<crop>: what shares the first four is one place over time
_LIVECELL_NAME = re.compile(r"(?P<cell_type>[^_]+)_Phase_(?P<well>[A-H]\d+)_(?P<position>\d+)_")


def convert_livecell(
    annotations: Mapping[str, str | Path], images_folder: str | Path, output_folder: str | Path
) -> Path:
    """Convert COCO files, one per split ({"train": "livecell_coco_train.json", ...}).

    Images are found by file name anywhere below `images_folder` and copied byte for byte. Where objects
    overlap, the smaller keeps its pixels (the usual rule of the peers, "the later one", depends on the order
    in the file). Crowd regions are not objects and are left out; they and objects without a pixel of their own
    (smaller than a pixel, or hidden whole) are counted in `splits.csv`, columns `crowds_left_out` and
    `objects_without_pixels`. The group of an image is its cell type, well and position where the name
    is LIVECell's.
    Raises FileNotFoundError or ValueError for missing or ambiguous images and broken annotations.
    """
    available = _images_by_name(Path(images_folder))
    return write_dataset(
        output_folder,
        (
            sample
            for split, path in annotations.items()
            for sample in _samples(Path(path), split, available, Path(images_folder))
        ),
    )


def _samples(
    coco_path: Path, split: str, available: Mapping[str, list[Path]], images_folder: Path
) -> Iterator[NewSample]:
    coco = _read_coco(coco_path)
    by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        if annotation["image_id"] not in by_image:
            raise ValueError(
                f"{coco_path}: annotation {annotation.get('id')} belongs to image {annotation['image_id']}, "
                "which the file does not list"
            )
        by_image[annotation["image_id"]].append(annotation)
    for image in coco["images"]:
        name = Path(image["file_name"]).name
        found = available.get(name, [])
        if len(found) != 1:
            raise ValueError(f"{coco_path} names {name}, of which {len(found)} are below {images_folder}; expected one")
        yield _sample(image, by_image[image["id"]], found[0], split, coco_path)


def _sample(
    image: Mapping[str, Any], annotations: list[dict[str, Any]], path: Path, split: str, coco_path: Path
) -> NewSample:
    shape = (int(image["height"]), int(image["width"]))
    pieces = [
        segmentation_piece(annotation["segmentation"], shape, name=f"{coco_path}: annotation {annotation.get('id')}")
        for annotation in annotations
        if not annotation.get("iscrowd", 0)
    ]
    labels = paint_objects(pieces, shape)
    num_visible = len(set(labels[labels > 0].tolist()))
    parts = _LIVECELL_NAME.match(path.name)
    return NewSample(
        name=sample_name(path),
        image=path,
        labels=labels,
        split=split,
        group="_".join(parts.groups()) if parts else None,
        modality="phase" if parts else None,
        notes={
            "cell_type": parts["cell_type"] if parts else "",
            "crowds_left_out": len(annotations) - len(pieces),
            "objects_without_pixels": len(pieces) - num_visible,
        },
    )


def _read_coco(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); it is damaged or cut short") from error
    if not isinstance(coco, dict) or not {"images", "annotations"} <= coco.keys():
        raise ValueError(f"{path} is not a COCO file; expected the keys images and annotations")
    annotations = coco["annotations"]
    # LIVECell's files of single cell types hold a dictionary here
    values = list(annotations.values()) if isinstance(annotations, dict) else annotations
    return {"images": coco["images"], "annotations": values}


def _images_by_name(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; expected the folder of the images")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.name, []).append(path)
    return found
