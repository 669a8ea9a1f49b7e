"""Label files as segmentation programs name and write them.

| program | files of one image |
|---|---|
| dinocell segment | `<name>_labels.tif`, beside `_overlay.png`, `_distance_map.tif` and tables |
| Cellpose | `<name>_cp_masks.png` or `.tif`, `<name>_seg.npy`, beside the image, `_flows` and `_cp_output` pictures |
| StarDist | `<name>.stardist.tif` from its script, otherwise `<name>.tif` |
| SAMCell and others | `<name>.tif`, `<name>_labels.tif`, `<name>_masks.png`, `<name>_mask.tif` |
"""

from pathlib import Path

import numpy as np
from jaxtyping import Integer

from dinocell_eval.folders.cellpose_seg import read_cellpose_seg
from dinocell_io import read_labels

TRUTH_ENDINGS = ("_cp_masks", "_masks", "_mask", "_seg")  # "_cp_masks" first: it ends like "_masks"
PREDICTED_ENDINGS = ("_labels", *TRUTH_ENDINGS, ".stardist")  # "_labels" is what `dinocell segment` writes

# Images that `dinocell segment` writes beside `<name>_labels`; its tables have other suffixes than labels.
BESIDE_OUR_LABELS = ("_overlay", "_distance_map")

# Other files beside labels that are not labels, by the ending of the labels; "" is the image itself.
COMPANIONS = {
    "_cp_masks": ("_seg", "_flows", "_flows_cp_masks", "_cp_output", "_cp_flows", "_dP", "_cellprob", ""),
    "_seg": ("_flows", "_cp_output", "_cp_flows", "_dP", "_cellprob", ""),
}


def read_result(path: str | Path) -> Integer[np.ndarray, "y x"]:
    """Labels of any file above; `_seg.npy` as Cellpose's dictionary, everything else as `dinocell_io.read_labels`."""
    return read_cellpose_seg(path) if str(path).endswith("_seg.npy") else read_labels(path)
