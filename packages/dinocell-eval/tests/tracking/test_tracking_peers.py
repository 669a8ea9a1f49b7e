"""The measures of random sequences against py-ctcmetrics and traccuracy, where these are right.

Both are optional and large; the tests skip without them. DINOCELL_PEER_SEQUENCES sets the number
of sequences. What is left out is what they get wrong or refuse:
py-ctcmetrics needs two frames, an edge and an object in every frame of the truth, and one in the result, and its CHOTA
needs only children with higher labels than their parents; traccuracy counts merged objects once and knows parental
edges only of divisions.
"""

import os

import numpy as np
import pytest
import tifffile

from dinocell_eval import evaluate_ctc_sequence, evaluate_tracking, open_ctc_sequence, write_tracks
from dinocell_eval.cases.random_sequences import random_sequence

NUM_SEQUENCES = int(os.environ.get("DINOCELL_PEER_SEQUENCES", "60"))


def write_case(folder, case):
    truth, result = folder / "01_GT", folder / "01_RES"
    for path in (truth / "TRA", truth / "SEG", result):
        path.mkdir(parents=True)
    for number, (true, found) in enumerate(zip(case.truth_frames, case.result_frames, strict=True)):
        for path, labels in (
            (truth / "TRA" / f"man_track{number:03d}.tif", true),
            (truth / "SEG" / f"man_seg{number:03d}.tif", true),
            (result / f"mask{number:03d}.tif", found),
        ):
            tifffile.imwrite(path, labels.astype(np.uint16), photometric="minisblack", metadata=None)
    write_tracks(truth / "TRA" / "man_track.txt", case.truth_tracks)
    write_tracks(result / "res_track.txt", case.result_tracks)


def cases(wanted):
    """The first cases of which `wanted` is true."""
    seed = found = 0
    while found < NUM_SEQUENCES:
        case = random_sequence(seed)
        if wanted(case):
            found += 1
            yield seed, case
        seed += 1


def well_formed(case):
    moves = any(end > begin or parent for _, begin, end, parent in case.truth_tracks)
    return (
        len(case.truth_frames) > 1
        and moves
        and all(frame.any() for frame in case.truth_frames)
        and any(frame.any() for frame in case.result_frames)
    )


def older_parents(case):
    """Whether only children have higher labels than their parents: else the CHOTA of py-ctcmetrics loses ancestors."""
    for tracks in (case.truth_tracks, case.result_tracks):
        parents = [row[3] for row in tracks]
        if any(parent > label for label, _, _, parent in tracks if parents.count(parent) == 1):
            return False
    return True


def approximately(value):
    return None if value is None else pytest.approx(value, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_py_ctcmetrics_has_the_same_values_from_the_same_files(tmp_path, capsys):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate", reason="py-ctcmetrics is not installed")
    for seed, case in cases(well_formed):
        write_case(tmp_path / str(seed), case)
        sequence = open_ctc_sequence(tmp_path / str(seed), "01")
        found = evaluate_ctc_sequence(sequence)
        theirs = evaluate.evaluate_sequence(str(sequence.result_folder), str(sequence.markers_folder.parent), threads=1)
        mine = {
            "SEG": found.seg, "DET": found.det, "TRA": found.tra, "LNK": found.lnk, "OP_CSB": found.op_csb,
            "OP_CTB": found.op_ctb, "AOGM": found.aogm, "AOGM_NS": found.ns, "AOGM_FN": found.fn, "AOGM_FP": found.fp,
            "AOGM_ED": found.ed, "AOGM_EA": found.ea, "AOGM_EC": found.ec, "CT": found.ct,
            "TF": found.tf or 0,  # 0 where no track is found
            "CCA": found.cca,
        }  # fmt: skip
        if older_parents(case):
            mine["CHOTA"] = found.chota
        mine |= {f"BC({i})": value for i, value in enumerate(found.bc)}
        if found.tf is not None:
            mine |= {f"BIO({i})": value for i, value in enumerate(found.bio)}
            mine |= {f"OP_CLB({i})": value for i, value in enumerate(found.op_clb)}
        for name, value in mine.items():
            assert theirs[name] == approximately(value), f"{name} of sequence {seed}"
    assert "with results" in capsys.readouterr().out


def only_divisions(case):
    """No merged object, no parental edge to a single child, an object in the first frame of the truth."""
    parents = [row[3] for tracks in (case.truth_tracks, case.result_tracks) for row in tracks if row[3]]
    lists = [[row[3] for row in tracks if row[3]] for tracks in (case.truth_tracks, case.result_tracks)]
    found = evaluate_tracking(case.truth_frames, None, case.result_frames, None)
    return (
        well_formed(case)
        and all(frame.any() for frame in case.result_frames)
        and bool(parents)
        and found.ns == 0
        and all(parents.count(parent) > 1 for parents in lists for parent in parents)
    )


@pytest.mark.filterwarnings("ignore")
def test_traccuracy_has_the_same_values_of_sequences_without_merged_objects(tmp_path):
    traccuracy = pytest.importorskip("traccuracy", reason="traccuracy is not installed")
    from traccuracy.loaders import load_ctc_data
    from traccuracy.matchers import CTCMatcher
    from traccuracy.metrics import CHOTAMetric, CTCMetrics

    for seed, case in cases(only_divisions):
        write_case(tmp_path / str(seed), case)
        sequence = open_ctc_sequence(tmp_path / str(seed), "01")
        found = evaluate_ctc_sequence(sequence)
        graphs = [
            load_ctc_data(str(folder), str(folder / name), run_checks=False)
            for folder, name in ((sequence.markers_folder, "man_track.txt"), (sequence.result_folder, "res_track.txt"))
        ]
        results, _ = traccuracy.run_metrics(*graphs, CTCMatcher(), [CTCMetrics(), CHOTAMetric()])
        theirs = results[0]["results"] | results[1]["results"]
        mine = {
            "TRA": found.tra, "DET": found.det, "LNK": found.lnk, "AOGM": found.aogm, "CHOTA": found.chota,
            "fp_nodes": found.fp, "fn_nodes": found.fn, "ns_nodes": found.ns,
            "fp_edges": found.ed, "fn_edges": found.ea, "ws_edges": found.ec,
        }  # fmt: skip
        for name, value in mine.items():
            assert theirs[name] == approximately(value), f"{name} of sequence {seed}"
