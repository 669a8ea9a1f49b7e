"""Everything that decides a pretraining run, as one frozen recipe."""

import math
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_io import (
    GALLERY_TEMPLATE,
    STAINS,
    CachedStore,
    DiskCache,
    FieldList,
    IlluminationCorrection,
    Prepare,
    ResampleTo,
    is_remote,
    jump_fields,
    open_jump_index,
    open_store,
    read_selection,
    select_sites,
)
from dinocell_ssl.data.augment import Augmentation
from dinocell_ssl.data.batches import Loading, Masking
from dinocell_ssl.data.cache import Cache
from dinocell_ssl.data.crops import Crops
from dinocell_ssl.data.fields import Fields, open_folders, open_prefix
from dinocell_ssl.data.views import Views
from dinocell_ssl.model.gram_anchor import Gram
from dinocell_ssl.model.network import Head, Network
from dinocell_ssl.model.parameter_groups import Optimization
from dinocell_ssl.run.schedules import cosine_v1, cosine_v2, scaled_learning_rate
from dinocell_ssl.watch.run_monitors import Monitoring

_RECIPES = files("dinocell_ssl") / "recipes"


class Stream(BaseModel):
    """Fields of a Cell Painting index, streamed from its bucket; see `dinocell data jump`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    index: Path = Field(description="folder of the index")
    selection: Path | None = Field(default=None, description="chosen sites; null: all that the deny list leaves")
    channels: tuple[str, ...] | None = Field(default=None, description="null: the five stains, or the selection's")
    uri: str | None = Field(default=None, description="where the files are; null: the index's bucket")
    reuses: int = Field(default=4, ge=1, description="samples cut from each fetched field")
    buffer_fields: int = Field(default=256, ge=1, description="fields the workers of a machine share to mix the reuses")


class Data(BaseModel):
    """Where the fields are: folders, one `s3://` prefix, or a stream."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    folders: tuple[str | Path, ...] = Field(default=(), description="or one s3:// prefix, whose fields are streamed")
    split: str | None = Field(default="train", description="of folders and prefixes that have splits; null: all")
    channel_pattern: str | None = Field(
        default=None, description="for one file per channel; see dinocell_ssl.data.fields.open_folders"
    )
    stream: Stream | None = None
    cache: Cache | None = Field(default=None, description="of what is read from a bucket; null: nothing is kept")
    resample_um: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="pixel size that all fields are resampled to"
    )
    illumination: str | None = Field(
        default=None,
        description="of a stream: key of each plate's illumination functions with {source}, {batch}, {plate} and "
        "{channel}, or gallery for those of the Cell Painting Gallery; null: no correction",
    )

    @model_validator(mode="after")
    def _settings_of_folders_are_not_given_for_a_stream(self) -> "Data":
        if self.stream is not None and (self.split not in (None, "train") or self.channel_pattern is not None):
            given = f"split {self.split!r}" if self.channel_pattern is None else "channel_pattern"
            raise ValueError(
                f"{given} applies to folders and has no effect on a stream; leave it out, and choose the sites with "
                "data.stream.selection and the channels with data.stream.channels"
            )
        return self

    @model_validator(mode="after")
    def _settings_of_streams_are_not_given_for_folders(self) -> "Data":
        if self.illumination is not None and self.stream is None:
            raise ValueError("illumination is of Cell Painting plates and needs data.stream.index; leave it out")
        local = self.stream is None and bool(self.folders) and not self.is_remote
        if self.cache is not None and local:
            raise ValueError(
                "cache keeps what is read from a bucket, and data.folders are on this machine; leave it out"
            )
        return self

    @property
    def is_remote(self) -> bool:
        return self.stream is not None or any(map(is_remote, self.folders))

    def open(self) -> Fields | FieldList:
        """The fields. Raises ValueError if neither or both are given, and for folders without fields."""
        if self.stream is None:
            if not self.folders:
                raise ValueError("no data: give folders of images with --data, or data.stream.index in the recipe")
            if any(map(is_remote, self.folders)):
                return self._prefix()
            return open_folders(
                self.folders,
                channel_pattern=self.channel_pattern,
                split=self.split,
                pixel_size_um=self.resample_um,
            )
        if self.folders:
            raise ValueError("the recipe has data.folders and data.stream; give one of them")
        index = open_jump_index(self.stream.index)
        if self.stream.selection is not None:
            chosen = read_selection(self.stream.selection, index, uri=self.stream.uri)
            channels = self.stream.channels or chosen.channels
            return jump_fields(index, chosen.rows, channels=channels, uri=chosen.uri)
        channels = self.stream.channels or STAINS
        return jump_fields(index, select_sites(index, channels=channels), channels=channels, uri=self.stream.uri)

    def open_cache(self) -> DiskCache | None:
        """The cache of this machine; made if it has a quota. Raises ValueError or OSError as `Cache.open` does."""
        return None if self.cache is None else self.cache.open()

    def steps(self, fields: Fields | FieldList, *, cache: DiskCache | None) -> tuple[Prepare, ...]:
        """What is done to each streamed field: first its light is made even, then it gets the common pixel size."""
        if not isinstance(fields, FieldList):
            return ()  # folders are resampled as they are read
        steps: list[Prepare] = []
        if self.illumination is not None:
            uri = fields.store_uri
            store, prefix = open_store(uri if uri.endswith("/") else f"{uri}/")
            kept = store if cache is None else CachedStore(store, disk=cache)
            template = GALLERY_TEMPLATE if self.illumination == "gallery" else self.illumination
            steps.append(IlluminationCorrection(kept, template=prefix + template))
        if self.resample_um is not None:
            steps.append(ResampleTo(self.resample_um))
        return tuple(steps)

    def _prefix(self) -> FieldList:
        if len(self.folders) > 1 or self.channel_pattern is not None:
            raise ValueError(
                f"data.folders is {', '.join(map(str, self.folders))}; only a single s3:// prefix can be streamed, "
                "with all channels of a field in one file (no data.channel_pattern); copy the others to a folder"
            )
        return open_prefix(str(self.folders[0]), split=self.split)


class Loss(BaseModel):
    """Weights and temperatures of the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dino: float = Field(default=1.0, ge=0)
    ibot: float = Field(default=1.0, ge=0)
    koleo: float = Field(default=0.1, ge=0, description="of the sum over both global crops")
    sigreg: float = Field(
        default=0.0, ge=0, description="the same of SIGReg, instead of koleo; Meta's FINO takes 0.05 with koleo 0"
    )
    local: float = Field(default=1.0, ge=0, description="of local crops within the DINO loss")
    student_temperature: float = Field(default=0.1, gt=0)
    targets: Literal["sinkhorn", "softmax"] = "sinkhorn"
    sinkhorn_iterations: int = Field(default=3, ge=1)
    center_momentum: float = Field(default=0.9, ge=0, le=1, description="of the centre of softmax targets")
    koleo_group: int | None = Field(
        default=None, ge=2, description="samples that see each other; null: the complete batch of all ranks"
    )
    chunk_elements: int = Field(default=2**24, ge=1, description="iBOT logits in memory at a time")

    @model_validator(mode="after")
    def _one_term_spreads_the_features(self) -> "Loss":
        if self.koleo > 0 and self.sigreg > 0:
            raise ValueError(
                f"koleo {self.koleo} and sigreg {self.sigreg} both spread the features; set loss.koleo to 0 for SIGReg"
            )
        return self

    @property
    def spread(self) -> tuple[Literal["koleo", "sigreg"], float]:
        """The term that spreads the features, and its weight."""
        return ("sigreg", self.sigreg) if self.sigreg > 0 else ("koleo", self.koleo)


class TeacherSettings(BaseModel):
    """The teacher's momentum and temperature."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    momentum: tuple[float, float] | None = Field(
        default=None,
        description="first and last value, by a cosine; null: 0.992 to 1, starting lower in runs under 375 steps",
    )
    temperature: tuple[float, float] = Field(
        default=(0.04, 0.04), description="first value, and after its warm-up; published: 0.04 to 0.07 in long runs"
    )
    temperature_warmup: float = Field(default=0.3, ge=0, le=1, description="share of the steps")

    @model_validator(mode="after")
    def _values_are_possible(self) -> "TeacherSettings":
        if self.momentum is not None and not all(0 <= value <= 1 for value in self.momentum):
            raise ValueError(f"momentum is {list(self.momentum)}; give [first, last] value within [0, 1], or null")
        if not all(0 < value < math.inf for value in self.temperature):
            raise ValueError(f"temperature is {list(self.temperature)}; give [first, last] value above 0")
        return self

    def momentum_in(self, num_steps: int) -> tuple[float, float]:
        """First and last momentum of a run; by default a teacher remembers at first a third of the run at most."""
        return self.momentum or (min(0.992, max(0.0, 1 - 3 / num_steps)), 1.0)


class Schedule(BaseModel):
    """Length of a run and what happens when."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=10_000, ge=1)
    batch_size: int = Field(default=64, ge=2, description="samples per step over all ranks and micro-batches")
    accumulate: int = Field(default=1, ge=1, description="micro-batches of a step, for batches beyond memory")
    kind: Literal["v1", "v2"] = Field(default="v1", description="DINOv3's kinds of warm-up and cosine")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps that the rate rises")
    freeze_last_layer: float = Field(default=0.01, ge=0, le=1, description="share of the steps with fixed prototypes")
    head_only: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the steps that train the heads alone; null: 0.1 if heads are new on a given backbone",
    )
    backbone_warmup: float = Field(
        default=0.02, ge=0, le=1, description="share of the steps in which the backbone's rate rises after head_only"
    )
    checkpoint_every: int = Field(default=1000, ge=1)
    keep: int = Field(default=3, ge=1, description="checkpoints that stay")
    log_every: int = Field(default=10, ge=1)
    max_consecutive_skips: int = Field(
        default=20, ge=1, description="steps in a row without a finite loss before the run stops"
    )


class PretrainRecipe(BaseModel):
    """A pretraining run: with the same seed and data the same run, whatever the number of workers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Data = Data()
    network: Network = Network()
    dino_head: Head = Head()
    ibot_head: Head = Head()
    crops: Crops = Crops()
    views: Views = Views()
    augmentation: Augmentation = Augmentation()
    masking: Masking = Masking()
    loss: Loss = Loss()
    gram: Gram = Gram()
    optimization: Optimization = Optimization()
    teacher: TeacherSettings = TeacherSettings()
    schedule: Schedule = Schedule()
    loading: Loading = Loading()
    monitoring: Monitoring = Monitoring()
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _channels_fit_the_views(self) -> "PretrainRecipe":
        if self.network.in_channels > 1 and not self.views.chosen.shows_all_channels:
            raise ValueError(
                f"network.in_channels is {self.network.in_channels} but views of {self.views.strategy} show one "
                "channel; set it to 1, or views.strategy to channel_drop"
            )
        if self.schedule.batch_size % self.schedule.accumulate:
            raise ValueError(
                f"schedule.accumulate {self.schedule.accumulate} does not divide batch_size "
                f"{self.schedule.batch_size}; give a divisor"
            )
        if self.gram.weight > 0 and (self.gram.start_step or 0) >= self.schedule.steps:
            raise ValueError(
                f"gram.start_step {self.gram.start_step} is beyond the {self.schedule.steps} steps of the run; give an "
                "earlier one, or gram.weight 0"
            )
        return self


class StepRates(BaseModel):
    """Values of one step that follow a schedule."""

    model_config = ConfigDict(frozen=True)

    learning_rate: float
    backbone_factor: float = Field(default=1.0, description="of the learning rate of the backbone")
    weight_decay: float
    momentum: float
    teacher_temperature: float
    last_layer_frozen: bool
    local_weight: float = Field(description="of local crops within the DINO loss")
    gram_weight: float


def step_rates(recipe: PretrainRecipe, step: int, *, head_only_steps: int = 0) -> StepRates:
    """Rates of a step (the first is 0): a function of the recipe, so that resuming needs no state.

    After `head_only_steps` the backbone's rate rises from 0: by then the rate of the heads is at its peak, and AdamW's
    first steps, each as long as the rate, would undo what the backbone knows.
    """
    schedule, settings, teacher = recipe.schedule, recipe.optimization, recipe.teacher
    cosine = cosine_v1 if schedule.kind == "v1" else cosine_v2
    steps = schedule.steps
    peak = settings.learning_rate
    if settings.scaling != "none":
        rule: Literal["sqrt_wrt_1024", "linear_wrt_256"] = (
            "linear_wrt_256" if settings.scaling == "linear_wrt_256" else "sqrt_wrt_1024"
        )
        peak = scaled_learning_rate(peak, schedule.batch_size, rule=rule)
    first, last = teacher.temperature
    first_momentum, last_momentum = teacher.momentum_in(steps)
    anchored = recipe.gram.share(step)
    local = recipe.loss.local
    if recipe.gram.local is not None:
        local += anchored * (recipe.gram.local - local)
    return StepRates(
        backbone_factor=_backbone_factor(schedule, step, head_only_steps),
        learning_rate=cosine(
            step,
            num_iterations=steps,
            peak=peak,
            final=min(peak, settings.final_learning_rate),
            num_warmup=round(schedule.warmup * steps),
        ),
        weight_decay=cosine(step, num_iterations=steps, peak=settings.weight_decay[0], final=settings.weight_decay[1]),
        momentum=cosine(step, num_iterations=steps, peak=first_momentum, final=last_momentum),
        teacher_temperature=cosine(
            step,
            num_iterations=steps,
            peak=last,
            final=last,
            start=first,
            num_warmup=round(teacher.temperature_warmup * steps),
        ),
        last_layer_frozen=step < schedule.freeze_last_layer * steps,
        local_weight=local,
        gram_weight=anchored * recipe.gram.weight,
    )


def _backbone_factor(schedule: Schedule, step: int, head_only_steps: int) -> float:
    if head_only_steps == 0:
        return 1.0
    num_rising = round(schedule.backbone_warmup * schedule.steps)
    return min(1.0, max(0.0, (step - head_only_steps + 1) / (num_rising + 1)))


def recipe_path(name: str) -> Path:
    """Path of a YAML file, or of a shipped recipe by its name. Raises ValueError when there is neither."""
    if Path(name).suffix not in (".yaml", ".yml"):
        return shipped_recipe(name)
    if not Path(name).is_file():
        raise ValueError(f"there is no file {name}; give a YAML recipe, or the name of an included one: {_shipped()}")
    return Path(name)


def shipped_recipe(name: str) -> Path:
    """Path of a recipe that comes with the package: `jump_vits8` or `debug_cpu`."""
    path = Path(str(_RECIPES / f"{name}.yaml"))
    if not path.is_file():
        raise ValueError(
            f"there is no recipe {name!r}; included are {_shipped()}; a file of your own must end in .yaml"
        )
    return path


def _shipped() -> str:
    names = sorted(entry.name for entry in _RECIPES.iterdir())
    return ", ".join(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
