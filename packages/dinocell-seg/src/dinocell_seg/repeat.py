"""The record of an earlier result as the recipe of another run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.provenance import FORMAT, read_provenance


@dataclass(frozen=True)
class Recorded:
    """What a NAME_run.json fixes: the settings, the plane, and the model by its hash (None for one in memory)."""

    path: Path
    settings: Mapping[str, Any]
    choice: PlaneChoice
    model_sha256: str | None

    def choice_with(self, asked: PlaneChoice) -> PlaneChoice:
        """The recorded plane, with what is asked for now over it."""
        return replace(self.choice, **{key: value for key, value in vars(asked).items() if value is not None})

    def check_model(self, pipeline: DINOCellPipeline) -> None:
        """Raises ValueError if the pipeline has another model than the record."""
        if self.model_sha256 != pipeline.identity.sha256:
            raise ValueError(
                f"{self.path} was made with a model of sha256 {self.model_sha256}, but that of "
                f"{pipeline.identity.name} is {pipeline.identity.sha256}; give the same model file with --model"
            )


def is_record(values: Mapping[str, Any]) -> bool:
    """Whether the mapping of a recipe file is the record of a run."""
    return values.get("format") == FORMAT


def read_record(path: str | Path) -> Recorded:
    """What a NAME_run.json fixes for a run that repeats it.

    The precision is the one that was used: "auto" is measured anew in each process, and bf16 gives other labels.
    Raises ValueError if the file is no record, or one of another version.
    """
    run = read_provenance(path, otherwise="give a NAME_run.json that this version of dinocell-seg wrote")
    source = run["input"]
    choice = PlaneChoice(source["channel_asked"], source.get("scene"), source.get("z"), source.get("t"))
    settings = {**run["settings"], "precision": run["precision"]}
    return Recorded(Path(path), settings, choice, run["model"]["sha256"])
