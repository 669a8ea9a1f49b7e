"""Inputs of the kernel benchmarks, and their options."""

import sys
from functools import lru_cache
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from dinocell_kernels import distance_map

sys.path.insert(0, str(Path(__file__).parent))  # contest.py is beside this file, and the folder is no package
from contest import BASELINES, SECONDS, Contests, losses, record

# The tests check shapes on every call; times are of the functions as users run them.
jaxtyping.config.update("jaxtyping_disable", True)

CONTESTS = pytest.StashKey[Contests]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contests")
    group.addoption("--full", action="store_true", help="8192 x 8192 too (many minutes)")
    group.addoption("--quick", action="store_true", help="512 x 512 only, and few rounds (seconds)")
    group.addoption("--record", action="store_true", help="keep the ratios as the baseline of this CPU")
    group.addoption("--check", action="store_true", help="fail if a ratio falls more than 25 % below the baseline")
    group.addoption("--baselines", type=Path, default=BASELINES, help="folder of the baselines, a file for each CPU")
    group.addoption("--results", type=Path, help="write times, shares of memcpy speed and ratios to this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CONTESTS] = Contests(seconds=SECONDS / 30 if config.getoption("--quick") else SECONDS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "size" in metafunc.fixturenames:
        more = [] if metafunc.config.getoption("--quick") else [2048] + [8192] * metafunc.config.getoption("--full")
        metafunc.parametrize("size", [512, *more])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    contests = config.stash[CONTESTS]
    if not contests.results:
        return
    terminalreporter.section("CPU time, best of all rounds")
    terminalreporter.write_line(contests.table())
    if config.getoption("--record"):
        path = record(contests.ratios(), folder=config.getoption("--baselines"))
        terminalreporter.write_line(f"baseline kept in {path}")
    if config.getoption("--results"):
        contests.write(config.getoption("--results"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--check"):
        return
    lost = losses(session.config.stash[CONTESTS].ratios(), folder=session.config.getoption("--baselines"))
    if lost:
        print("\nslower than the baseline:\n" + "\n".join(lost))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@lru_cache
def touching_cells(size: int) -> np.ndarray:
    """int32 labels of roundish, touching cells, one per 37 x 37 px: Voronoi cells on warped coordinates, cut at a
    radius of their own; about half the image is covered and a label run is about 25 px long."""
    if size > 2048:
        return mosaic(touching_cells(2048), size, shift=int(touching_cells(2048).max()))
    rng = np.random.default_rng(size)
    spacing = 37
    grid = np.stack(np.meshgrid(*[np.arange(spacing / 2, size, spacing)] * 2, indexing="ij"), -1).reshape(-1, 2)
    centres = grid + rng.uniform(-12, 12, grid.shape)
    warp = [60 * ndimage.gaussian_filter(rng.normal(size=(size, size)), 6) for _ in range(2)]
    positions = np.stack(np.mgrid[:size, :size] + np.array(warp), -1)
    distance, nearest = cKDTree(centres).query(positions)
    radius = rng.uniform(0.35, 0.6, len(centres)) * spacing
    return np.where(distance < radius[nearest], nearest + 1, 0).astype(np.int32)


def mosaic(image: np.ndarray, size: int, *, shift: int) -> np.ndarray:
    """Turned copies of an image side by side; `shift` is added to the labels of each, to make them differ."""
    count = size // len(image)
    copies = [np.rot90(image, k % 4) for k in range(count * count)]
    if shift:
        copies = [np.where(copy > 0, copy + k * shift, 0).astype(image.dtype) for k, copy in enumerate(copies)]
    return np.block([copies[row * count : (row + 1) * count] for row in range(count)])


@lru_cache
def predicted_map(size: int) -> np.ndarray:
    """float32 distance map as a network predicts it: the exact one blurred, with smooth noise of 3.5 %."""
    if size > 2048:
        return mosaic(predicted_map(2048), size, shift=0)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(size, size)), 3)
    exact = distance_map(touching_cells(size))
    return (ndimage.gaussian_filter(exact, 1.2) + 0.035 * noise / noise.std()).astype(np.float32)


@lru_cache
def confluent_map(size: int) -> np.ndarray:
    """float32 smooth random field in [0, 1]: a layer of cells without background, one component of the mask."""
    if size > 2048:
        return mosaic(confluent_map(2048), size, shift=0)
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 14)
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


@pytest.fixture
def one_thread():
    """torch on one thread."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def contest(pytestconfig: pytest.Config):
    """Contests.run of this session."""
    return pytestconfig.stash[CONTESTS].run


@pytest.fixture
def labels(size: int) -> np.ndarray:
    return touching_cells(size)


@pytest.fixture
def predicted(size: int) -> np.ndarray:
    return predicted_map(size)


@pytest.fixture
def confluent(size: int) -> np.ndarray:
    return confluent_map(size)


@pytest.fixture
def grouped(benchmark, size: int, request: pytest.FixtureRequest):
    """The benchmark fixture, grouped so that libraries stand beside each other for one size."""
    benchmark.group = f"{request.node.path.stem.removeprefix('bench_')} {size}"
    return benchmark
