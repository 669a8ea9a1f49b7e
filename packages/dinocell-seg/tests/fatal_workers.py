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
