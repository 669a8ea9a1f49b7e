"""The whole way on one machine: a bucket's index, a stream, pretraining, a kill, training, segmentation, evaluation."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dinocell_io.testing import Fault, ObjectServer
from dinocell_io.testing.jump_gallery import write_jump_gallery

pytestmark = pytest.mark.slow

BUCKET = "cellpainting-gallery"
STEPS = 6
PRETRAINING = (
    "crops.global_px=32",
    "crops.local_px=16",
    "crops.num_local=1",
    "dino_head.prototypes=32",
    "ibot_head.prototypes=32",
    "dino_head.hidden=16",
    "ibot_head.hidden=16",
    "schedule.batch_size=2",
    "schedule.checkpoint_every=1",
    "schedule.log_every=1",
    "loading.num_workers=1",
    "data.stream.buffer_fields=8",
)
TRAINING = (
    "network.decoder_channels=[8,8,8,8]",
    "network.stem_channels=[4]",
    "sampling.crop_px=64",
    "sampling.batch_size=2",
    "schedule.steps=2",
    "schedule.validation_crops=2",
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from dinocell.main import main; main()", *(str(word) for word in words)]


def dinocell(environment: dict[str, str], *words: object) -> str:
    done = subprocess.run(command(*words), env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def settings(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def steps_of(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines() if "step" in line]


def kill_after_a_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 240
    while not any(folder.glob("checkpoints/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def test_from_a_bucket_that_fails_now_and_then_to_scored_cells(tmp_path: Path) -> None:
    gallery = write_jump_gallery(tmp_path / "gallery")
    objects = {str(path.relative_to(gallery)): path.read_bytes() for path in gallery.rglob("*") if path.is_file()}
    images = [key for key in objects if key.endswith((".tif", ".tiff"))]
    with ObjectServer(objects, bucket=BUCKET) as server:
        environment = os.environ | {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "OMP_NUM_THREADS": "1",
        }
        index = tmp_path / "index"
        told = dinocell(
            environment,
            *("data", "jump", "index", "--load-data", f"s3://{BUCKET}/cpg0016-jump/source_3", "--output", index),
        )
        assert "sites" in told
        for key in images[::3]:
            server.fail(key, Fault.RESET, Fault.THROTTLED)

        run = tmp_path / "pretrained"
        pretraining = (
            *("pretrain", "debug_cpu", "--steps", STEPS, "--output", run, "--set", f"data.stream.index={index}"),
            *settings(PRETRAINING),
        )
        with subprocess.Popen(
            command(*pretraining), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            kill_after_a_checkpoint(process, run)
        before = steps_of(run / "log.jsonl")
        assert max(before, default=0) < STEPS, "test invalid: the run was over before it was killed"
        dinocell(environment, *pretraining)
        assert steps_of(run / "log.jsonl") == list(range(1, STEPS + 1))
        assert (run / "backbone.safetensors").is_file()

    labelled = tmp_path / "labelled"
    for number, split in enumerate(("train", "train", "val")):
        dinocell(
            environment,
            *("simulate", labelled / "images" / f"{split}{number}.tif"),
            *("--labels", labelled / "masks" / f"{split}{number}.tif", "--channels", "DNA", "--seed", number),
            *("--height", 96, "--width", 96, "--num-cells", 8, "--diameter", 20),
        )
    rows = [f"train{number},train" for number in range(2)] + ["val2,val"]
    (labelled / "splits.csv").write_text("\n".join(["name,split", *rows]) + "\n")
    model = tmp_path / "model"
    dinocell(
        environment,
        *("train", "--data", labelled, "--output", model, "--backbone", run / "backbone.safetensors"),
        *settings(TRAINING),
        "--no-calibrate",  # two steps find nothing to calibrate on
    )
    cells = tmp_path / "cells"
    dinocell(
        environment,
        *("segment", labelled / "images", "--model", model / "model.safetensors", "--output", cells),
    )
    scores = tmp_path / "scores"
    dinocell(environment, "eval", labelled / "masks", cells, "--output", scores)
    metrics = json.loads((scores / "summary.json").read_text())["metrics"]
    assert 0 <= metrics["op_csb"]["pooled"] <= 1
    assert json.loads((model / "log.jsonl").read_text().splitlines()[-1])["step"] == 2
