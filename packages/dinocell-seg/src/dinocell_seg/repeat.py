"""The record of an earlier result as the recipe of another run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.provenance import FORMAT, read_provenance


class _Input(BaseModel):
    model_config = ConfigDict(strict=True)
    channel_asked: str | int | None
    scene: str | int | None = None
    z: int | None = None
    t: int | None = None


class _Model(BaseModel):
    model_config = ConfigDict(strict=True)
    sha256: str | None


class _Run(BaseModel):
    """What a run repeats of a record; everything else in it is for people."""

    model_config = ConfigDict(strict=True)
    input: _Input
    settings: dict[str, Any]
    precision: Literal["fp32", "bf16"]
    model: _Model


@dataclass(frozen=True)
class Recorded:
    """What a NAME_run.json fixes: the settings, the plane, and the model by its hash (None for one in memory)."""

    path: Path
    settings: Mapping[str, Any]
    choice: PlaneChoice
    model_sha256: str | None

    def choice_with(self, asked: PlaneChoice) -> PlaneChoice:
        """The recorded plane, with the options of this command over it."""
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

    The precision is the one that was used: "auto" is bf16 only on some machines, and bf16 gives other labels.
    Raises ValueError if the file is not a record, is damaged, or is one of another version.
    """
    otherwise = "give a NAME_run.json that this version of dinocell-seg wrote"
    try:
        run = _Run.model_validate(read_provenance(path, otherwise=otherwise))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} is a damaged record ({place}: {first['msg']}); {otherwise}") from error
    choice = PlaneChoice(run.input.channel_asked, run.input.scene, run.input.z, run.input.t)
    return Recorded(Path(path), {**run.settings, "precision": run.precision}, choice, run.model.sha256)
