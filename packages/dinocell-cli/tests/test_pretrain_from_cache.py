"""`dinocell pretrain` reads a bucket once: later epochs, and later runs, take the objects from this machine's cache."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dinocell.main import build_app
from dinocell_io import AccessDenied, open_store, simulate_field, write_image
from dinocell_io.testing import Fault, ObjectServer

NUM_FIELDS = 4
SETTINGS = (
    "crops.global_px=32",
    "crops.local_px=16",
    "crops.num_local=1",
    "dino_head.prototypes=32",
    "ibot_head.prototypes=32",
    "dino_head.hidden=16",
    "ibot_head.hidden=16",
    "schedule.batch_size=2",
    "schedule.log_every=1",
    "schedule.steps=4",  # of two fields each: two epochs
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("fields")
    for number in range(NUM_FIELDS):
        field = simulate_field((96, 96), num_cells=4, channels=("DNA", "ER"), diameter_px=24, seed=number)
        write_image(folder / f"{number}.ome.tif", field.image)
    return {f"plates/{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with ObjectServer(objects) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield running


def pretrain(output: Path, *settings: str) -> Result:
    words = ["pretrain", "--data", "s3://bucket/plates", "--output", str(output), "--device", "cpu"]
    words += [word for value in (*SETTINGS, *settings) for word in ("--set", value)]
    return CliRunner().invoke(build_app(words), words)


def log_of(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "step" in line]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bucket_is_read_once_and_then_may_refuse_everything(
    server: ObjectServer, objects: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    loading = f"loading.num_workers={workers}"
    cache = (f"data.cache.folder={tmp_path / 'cache'}", "data.cache.quota=100MB")
    first = pretrain(tmp_path / "first", loading, *cache)
    assert first.exit_code == 0, first.output
    asked = Counter(request.key for request in server.requests if request.key)
    assert asked.keys() == objects.keys()
    # two epochs; two processes that ask at the same moment do not know of each other
    assert max(asked.values()) <= max(1, workers)
    last = log_of(tmp_path / "first")[-1]
    size_gb = sum(map(len, objects.values())) / 1e9
    assert size_gb * 0.999 < last["bucket_gb"] <= size_gb * max(1, workers) * 1.001
    assert last["cache_gb"] > 0.999 * size_gb  # of the second epoch, and of those that are read ahead
    for key in objects:
        server.always_fail(key, Fault.DENIED)
    with pytest.raises(AccessDenied):
        open_store("s3://bucket")[0].get(next(iter(objects)))
    second = pretrain(tmp_path / "second", loading, *cache)
    assert second.exit_code == 0, second.output
    log = log_of(tmp_path / "second")
    assert log[-1]["step"] == 4
    assert log[-1]["bucket_gb"] == 0
    assert {line.get("cache_hits", 1.0) for line in log} == {1.0}


def test_a_cache_without_a_size_is_refused_before_anything_is_read(server: ObjectServer, tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", f"data.cache.folder={tmp_path / 'cache'}")
    assert done.exit_code == 2
    assert "is not a cache yet; give its size with --set data.cache.quota=500GB" in done.stderr
    assert not server.requests
    assert not (tmp_path / "run").exists()
