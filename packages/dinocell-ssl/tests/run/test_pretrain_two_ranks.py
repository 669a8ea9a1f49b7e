"""Two processes share a batch and compute what one process computes with all of it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from dinocell_core.recipe import merged
from dinocell_io import Image, read_log, write_image
from dinocell_ssl.data.field_source import ReadFields
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.distributed import joined_ranks
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe
from dinocell_ssl.run.resume import latest_checkpoint
from dinocell_ssl.watch.monitor import CollapseError

HEAD = {"prototypes": 32, "hidden": 16, "bottleneck": 8}
SMALL = {
    "network": {"size": "tiny", "patch": 16, "drop_path": 0.0, "rope_rescale": None},
    "dino_head": HEAD,
    "ibot_head": HEAD,
    "crops": {"global_px": 64, "local_px": 16, "num_local": 1},
    "loss": {"koleo": 1.0, "targets": "sinkhorn"},
    "optimization": {"learning_rate": 1e-4, "scaling": "none"},
    "schedule": {"steps": 3, "batch_size": 8, "warmup": 0.0, "log_every": 1, "checkpoint_every": 2},
    "loading": {"num_workers": 0},
}
OTHER_TERMS = {
    "loss": {"koleo": 0.0, "sigreg": 1.0},
    "gram": {"weight": 2.0, "start_step": 1, "warmup_steps": 0, "refresh_every": 1},
}
HEADS_FIRST = {"schedule": {"head_only": 0.34}}  # the first of three steps


class StopAfter:
    """A monitor that ends a run in the step after `step`."""

    every = 1

    def __init__(self, step):
        self.step = step

    def on_step(self, step, values, state):
        if step > self.step:
            raise CollapseError("stopped")
        return {}


RUN = """
import sys
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe
pretrain(PretrainRecipe.model_validate_json(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 72, 70)).astype(np.uint16)
        write_image(folder / f"field{seed}.tif", Image(pixels, ("DNA", "ER"), None, False, "drawn"))
    return folder


def recipe_of(folder, **changes):
    return PretrainRecipe.model_validate(merged(merged(SMALL, {"data": {"folders": [folder]}}), changes))


def run_two_ranks(recipe, output, *, signalled=None):
    """Exit codes other than 0 are an error, and those of a run whose rank `signalled` gets a SIGTERM returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, recipe.model_dump_json(), str(output)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        if signalled is not None:
            log = output / "log.jsonl"
            while processes[0].poll() is None and not (log.exists() and log.read_text()):
                time.sleep(0.01)
            processes[signalled].send_signal(signal.SIGTERM)
        errors = [process.communicate(timeout=200)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    if signalled is not None:
        return errors
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return errors


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "stopped", "terms"),
    [
        ("none", False, HEADS_FIRST),
        ("fsdp", False, HEADS_FIRST),
        ("none", False, OTHER_TERMS),
        ("fsdp", True, OTHER_TERMS),
    ],
)
def test_losses_gradients_and_weights_are_those_of_one_process_with_the_whole_batch(
    folder, tmp_path, sharding, stopped, terms
):
    """Of weights that are whole on each rank or cut over both; the second run is also begun by one process alone."""
    recipe = recipe_of(folder, **merged({"schedule": {"accumulate": 2}, "network": {"sharding": sharding}}, terms))
    pretrain(recipe, tmp_path / "one")
    if stopped:
        with pytest.raises(CollapseError):
            pretrain(recipe, tmp_path / "two", monitors=[StopAfter(2)])
        assert latest_checkpoint(tmp_path / "two").name == "step_00000002.pt"
    run_two_ranks(recipe, tmp_path / "two")
    one, two = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in two] == [1, 2, 3]
    compared = ("loss", "dino_global", "dino_local", "ibot", "grad_norm_backbone", "grad_norm_ibot_head")
    compared += ("sigreg", "gram") if terms is OTHER_TERMS else ("koleo",)
    for alone, shared in zip(one, two, strict=True):
        assert alone.keys() == shared.keys()
        assert ("grad_norm_backbone" in alone) == (alone["step"] > 1 or terms is not HEADS_FIRST)
        for name in alone.keys() & set(compared):
            assert shared[name] == pytest.approx(alone[name], rel=2e-3, abs=1e-6), (name, alone["step"])
    found, expected = (torch.load(latest_checkpoint(tmp_path / name), weights_only=True) for name in ("two", "one"))
    for part in ("teacher", "gram_anchor"):
        for name, tensor in expected[part].items():
            torch.testing.assert_close(found[part][name], tensor, rtol=0, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.slow
def test_a_field_that_another_rank_than_the_first_leaves_out_is_reported(folder, tmp_path):
    for seed in range(8):
        shutil.copy(folder / "field0.tif", tmp_path / f"field{seed}.tif")
    order = ReadFields(open_folders([tmp_path]), seed=0, views="mean_vs_single", cache_mb=0).epoch_order(0)
    seen_by_the_second = f"field{order[6]}.tif"  # of eight samples the ranks have four each
    (tmp_path / seen_by_the_second).write_bytes(b"II*\0 cut short")
    run_two_ranks(recipe_of(tmp_path, schedule={"steps": 1}), tmp_path / "run")
    (line,) = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert seen_by_the_second in json.loads(line)["field"]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_after_the_same_step(folder, tmp_path):
    recipe = recipe_of(folder, schedule={"steps": 40, "checkpoint_every": 1000, "log_every": 2})
    errors = run_two_ranks(recipe, tmp_path, signalled=1)
    steps = [re.search(r"TrainingStopped: stopped after step (\d+) of 40", text) for text in errors]
    assert all(steps), errors
    step = int(steps[0][1])
    assert steps[1][1] == steps[0][1]
    assert step % 2 == 0
    assert latest_checkpoint(tmp_path).name == f"step_{step:08d}.pt"


def test_a_process_alone_has_no_group():
    with joined_ranks("cpu") as ranks:
        assert (ranks.rank, ranks.world_size, ranks.group, ranks.is_first) == (0, 1, None, True)


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=r"WORLD_SIZE is set but RANK, .* torchrun"), joined_ranks("cpu"):
        pass
