"""Time to evaluate a tracked sequence of 40 frames of 512 x 512 with about 200 cells each, of which some divide.

Timed: everything from two lists of uint16 label images in memory, or from the LZW files of the challenge's folders, to
all measures: SEG, DET, TRA, LNK, CT, TF, BC(0..3), CCA and CHOTA. Against py-ctcmetrics, which reads files, on one
process; it is asked for the same measures and must give the same numbers. Not timed: drawing and writing the sequence.
py-ctcmetrics brings scikit-learn and pandas; the comparison skips where it is not installed. Run it without the checks
of shapes that the tests switch on:

    python -m pytest -o addopts=--import-mode=importlib benchmarks/bench_tracking.py --benchmark-timer=time.process_time
"""

import numpy as np
import pytest
import tifffile

from dinocell_eval import evaluate_ctc_sequence, evaluate_tracking, open_ctc_sequence, write_tracks

NUM_FRAMES, SIZE, SPACING, RADIUS = 40, 512, 36, 12
THEIR_MEASURES = ["Valid", "SEG", "DET", "TRA", "LNK", "CT", "TF", "BC", "CCA", "CHOTA"]


def draw_sequence():
    """Cells that move a little, each in a place of its own; the result loses, renames and misses some of them."""
    generator = np.random.default_rng(0)
    places = [(y, x) for y in range(18, SIZE - 18, SPACING) for x in range(18, SIZE - 18, SPACING)]
    truth, result = np.zeros((2, NUM_FRAMES, SIZE, SIZE), np.uint16)
    true_tracks, result_tracks, free = [], [], [1, 1]

    def begin(tracks, kind, frame, parent):
        tracks.append([free[kind], frame, frame, parent])
        free[kind] += 1
        return tracks[-1]

    y, x = np.mgrid[-18:18, -18:18]
    for cy, cx in places:
        division = int(generator.integers(1, 3 * NUM_FRAMES))
        mother = begin(true_tracks, 0, 0, 0)
        found_mother = begin(result_tracks, 1, 0, 0)
        alive, found = [mother], [found_mother]
        for frame in range(NUM_FRAMES):
            if frame == division:
                alive = [begin(true_tracks, 0, frame, mother[0]) for _ in range(2)]
                found = [begin(result_tracks, 1, frame, found[0][0]) for _ in range(2)]
            elif frame and generator.random() < 0.01:  # lost, and found as another one
                found = [begin(result_tracks, 1, frame, 0) for _ in found]
            dy, dx = generator.integers(-3, 4, 2)
            disc = (y - dy) ** 2 + (x - dx) ** 2 < RADIUS**2
            moved = np.roll(disc, generator.integers(-1, 2), axis=0)
            window = np.s_[frame, cy - 18 : cy + 18, cx - 18 : cx + 18]
            for number, (true, predicted) in enumerate(zip(alive, found, strict=True)):
                half = (x - dx < 0) == bool(number) if len(alive) == 2 else True
                truth[window][disc & half] = true[0]
                result[window][moved & half] = predicted[0]
                true[2] = predicted[2] = frame
    return list(truth), true_tracks, list(result), result_tracks


@pytest.fixture(scope="module")
def sequence():
    return draw_sequence()


@pytest.fixture(scope="module")
def folder(sequence, tmp_path_factory):
    truth, true_tracks, result, result_tracks = sequence
    dataset = tmp_path_factory.mktemp("dataset")
    for path in (dataset / "01_GT" / "TRA", dataset / "01_GT" / "SEG", dataset / "01_RES"):
        path.mkdir(parents=True)
    for frame in range(NUM_FRAMES):
        for path, labels in (
            (dataset / "01_GT" / "TRA" / f"man_track{frame:03d}.tif", truth[frame]),
            (dataset / "01_GT" / "SEG" / f"man_seg{frame:03d}.tif", truth[frame]),
            (dataset / "01_RES" / f"mask{frame:03d}.tif", result[frame]),
        ):
            tifffile.imwrite(path, labels, photometric="minisblack", compression="lzw", metadata=None)
    write_tracks(dataset / "01_GT" / "TRA" / "man_track.txt", true_tracks)
    write_tracks(dataset / "01_RES" / "res_track.txt", result_tracks)
    return dataset


@pytest.fixture(scope="module")
def expected(sequence):
    found = evaluate_tracking(*sequence)
    assert 0.5 < found.tra < 1
    assert 0 < found.bc[0] <= 1
    return found


def test_arrays(benchmark, sequence, expected):
    found = benchmark(lambda: evaluate_tracking(*sequence))
    assert found.chota == expected.chota


def test_files(benchmark, folder, expected):
    found = benchmark(lambda: evaluate_ctc_sequence(open_ctc_sequence(folder, "01")))
    assert (found.tra, found.seg) == (expected.tra, expected.seg)


def test_py_ctcmetrics(benchmark, folder, expected, capsys):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate", reason="py-ctcmetrics is not installed")
    result, truth = str(folder / "01_RES"), str(folder / "01_GT")
    found = benchmark.pedantic(
        lambda: evaluate.evaluate_sequence(result, truth, list(THEIR_MEASURES), threads=1), rounds=3
    )
    for name in ("seg", "det", "tra", "lnk", "ct", "tf", "chota"):
        assert found[name.upper()] == pytest.approx(getattr(expected, name))
    assert found["BC(1)"] == pytest.approx(expected.bc[1])
    assert capsys.readouterr().out
