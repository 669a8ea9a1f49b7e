"""Worker processes that die: imported by the test in its own process, and by name in the one that it starts."""

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from dinocell_seg import batch
from dinocell_seg.segment import OpenedImage
from dinocell_seg.segment_request import SegmentRequest


def serve_with(segment: Callable[..., Any], connection: Connection, request: SegmentRequest) -> None:
    from dinocell_seg.worker_process import serve

    original = batch.segment_image

    def chosen(plane: np.ndarray, pipeline: Any) -> Any:
        segment(int(plane.max()))
        return original(plane, pipeline)

    batch.segment_image = chosen
    serve(connection, request)


def crash_at_2(connection: Connection, request: SegmentRequest) -> None:
    serve_with(lambda top: top == 2 and os.kill(os.getpid(), signal.SIGSEGV), connection, request)


def crash_always(connection: Connection, request: SegmentRequest) -> None:
    serve_with(lambda top: os.kill(os.getpid(), signal.SIGKILL), connection, request)


def crash_once(connection: Connection, request: SegmentRequest) -> None:
    def segment(top: int) -> None:
        if top == 2 and not (mark := request.output / "crashed").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    serve_with(segment, connection, request)


def bug_at_2(connection: Connection, request: SegmentRequest) -> None:
    def segment(top: int) -> None:
        if top == 2:
            raise AssertionError("a bug")

    serve_with(segment, connection, request)


def crash_while_reading(connection: Connection, request: SegmentRequest) -> None:
    from dinocell_seg.worker_process import serve

    original = batch.open_image_to_segment

    def opening(uri: str, choice: Any) -> OpenedImage:
        if uri.endswith("2.tif"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return original(uri, choice)

    batch.open_image_to_segment = opening
    serve(connection, request)


def die_at_start(connection: Connection, request: SegmentRequest) -> None:
    with (request.output.parent / "starts").open("a") as file:
        file.write("start\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_when_looked_at(connection: Connection, request: SegmentRequest) -> None:
    from dinocell_seg import worker_process

    original = worker_process.parts_of_images

    def parts(images: list[str], scene: Any) -> Any:
        if any(image.endswith("2.tif") for image in images):
            os.kill(os.getpid(), signal.SIGSEGV)
        return {image: "part of 0.tif" for image in images if image.endswith("3.tif")} or original(images, scene)

    worker_process.parts_of_images = parts
    worker_process.serve(connection, request)


def die_at_every_start_but_the_first(connection: Connection, request: SegmentRequest) -> None:
    with (request.output.parent / "starts").open("a") as file:
        file.write("start\n")
    if (request.output.parent / "starts").read_text().count("start") > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    crash_at_2(connection, request)


def die_at_the_second_start(connection: Connection, request: SegmentRequest) -> None:
    with (request.output.parent / "starts").open("a") as file:
        file.write("start\n")
    if (request.output.parent / "starts").read_text().count("start") == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    crash_at_2(connection, request)
