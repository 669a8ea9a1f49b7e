"""What runs in the worker process of `dinocell segment`."""

import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from dinocell_core.recipe import merged, read_overrides, read_recipe
from dinocell_seg.batch import ImageWork, segment_in_turn
from dinocell_seg.image_sets import parts_of_images
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.repeat import is_record, read_record
from dinocell_seg.segment_request import SegmentRequest
from dinocell_seg.settings import PRESETS


def serve(connection: Connection, request: SegmentRequest) -> None:
    """Load the model, say "ready" or "refused" and why, and do what is asked for until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this process
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        pipeline, choice = pipeline_of(request)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        connection.send(("refused", str(error)))
        return
    work = ImageWork(request.output, pipeline, choice, request.save_distance_map, request.existing)
    try:
        connection.send(("ready", None))
        while True:
            task, images = connection.recv()
            if task == "parts":
                connection.send(("parts", parts_of_images(images, choice.scene)))
            else:
                segment_in_turn(images, work, lambda outcome: connection.send(("outcome", outcome)))
            connection.send(("idle", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # the parent is gone; threads that still read a bucket must not keep this process
        os._exit(0)


def pipeline_of(request: SegmentRequest) -> tuple[DINOCellPipeline, PlaneChoice]:
    """The model with its settings, and the plane; ValueError for what cannot be."""
    if request.preset is not None and request.preset not in PRESETS:
        raise ValueError(f"there is no preset {request.preset!r}; known are {', '.join(PRESETS)}")
    values: dict[str, Any] = PRESETS[request.preset] if request.preset is not None else {}
    of_file = read_recipe(request.recipe, expected="lines such as 'tile: 256'") if request.recipe else {}
    recorded = read_record(request.recipe) if request.recipe and is_record(of_file) else None
    choice = request.choice
    if recorded is not None:
        of_file, choice = dict(recorded.settings), recorded.choice_with(choice)
    overrides = read_overrides(list(request.overrides), example="thresholds.peak=0.4")
    for layer in (of_file, overrides, request.options):
        values = merged(values, layer)
    pipeline = DINOCellPipeline(request.model, device=request.device, **values)
    if recorded is not None:
        recorded.check_model(pipeline)
    return pipeline, choice
