"""The commands from tables to copied images, on the miniature gallery."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dinocell_io import FieldStream, open_jump_index
from dinocell_io.commands.data import app
from dinocell_io.jump.fields import read_selection
from dinocell_io.testing.jump_gallery import GALLERY_PLATES, write_jump_gallery


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Path:
    return write_jump_gallery(tmp_path_factory.mktemp("bucket"))


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def index_of(bucket: Path, folder: Path) -> str:
    tables = [word for plate in GALLERY_PLATES for word in ("--load-data", bucket / "cpg0016-jump" / plate.source)]
    return run("jump", "index", *tables, "--output", folder)


def test_index_subset_and_fetch_give_a_folder_that_streams(bucket, tmp_path):
    told = index_of(bucket, tmp_path / "index")
    assert "source_3 4 sites" in told
    assert f"32 sites of {len(GALLERY_PLATES)} plates" in told
    told = run(
        *(
            "jump",
            "subset",
            tmp_path / "index",
            "--output",
            tmp_path / "some.npz",
            "--channel",
            "DNA",
            "--channel",
            "ER",
        ),
        *("--sites-per-well", 1, "--num-sites", 6, "--source", "source_[1237]"),
    )
    assert "6 sites with DNA, ER" in told
    fetch = ("jump", "fetch", tmp_path / "index", tmp_path / "some.npz", "--output", tmp_path / "copy", "--uri", bucket)
    assert "12 objects" in run(*fetch)
    assert "0 objects (0.0 MB) copied" in run(*fetch)
    index = open_jump_index(tmp_path / "index")
    copy = read_selection(tmp_path / "some.npz", index, uri=str(tmp_path / "copy"))
    there = read_selection(tmp_path / "some.npz", index, uri=str(bucket))
    for one, same in zip(FieldStream(copy), FieldStream(there), strict=True):
        assert one.key == same.key
        np.testing.assert_array_equal(one.channels["ER"], same.channels["ER"])


def test_objects_that_cannot_be_copied_are_listed_and_the_exit_code_says_so(bucket, tmp_path):
    index_of(bucket, tmp_path / "index")
    run("jump", "subset", tmp_path / "index", "--output", tmp_path / "all.npz", "--channel", "DNA")
    fields = read_selection(tmp_path / "all.npz", open_jump_index(tmp_path / "index"))
    missing, damaged = (bucket / fields[at].objects["DNA"] for at in (3, 9))
    kept = missing.read_bytes(), damaged.read_bytes()
    try:
        missing.unlink()
        damaged.write_bytes(bytes(len(kept[1])))
        fetch = ("jump", "fetch", tmp_path / "index", tmp_path / "all.npz", "--output", tmp_path / "copy")
        told = run(*fetch, "--uri", bucket, code=1)
    finally:
        missing.write_bytes(kept[0])
        damaged.write_bytes(kept[1])
    assert "30 objects" in told
    assert "2 objects could not be copied; see" in told
    lines = (tmp_path / "copy" / "quarantine.jsonl").read_text()
    assert '"kind": "missing"' in lines
    assert '"kind": "damaged"' in lines
    assert "32 were there" not in told
    assert "2 objects" in run(*fetch, "--uri", bucket)  # now they are there
    assert not list((tmp_path / "copy").rglob("*.partial*"))


def test_one_plate_is_indexed_by_listing(bucket, tmp_path):
    plate = next(plate for plate in GALLERY_PLATES if plate.source == "source_9")
    names = [word for at, name in enumerate(plate.channels, 1) for word in ("--channel", f"{at}={name}")]
    told = run("jump", "index", "--listing", bucket / plate.folder, *names, "--output", tmp_path / "index")
    assert "4 sites of 1 plate in" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got no table; pass one of --parquet, --load-data and --listing"),
        (["--load-data", "a", "--listing", "b"], "got --load-data and --listing; pass one of"),
        (["--listing", "a", "--channel", "Mito=1"], "--channel Mito=1 is not a number and a name; write it as 1=Mito"),
        (["--load-data", "/nowhere at all"], "--load-data /nowhere at all does not exist; check its name"),
        (["--parquet", "/nowhere.parquet"], "--parquet /nowhere.parquet does not exist"),
        (["--load-data", ".", "--plates", "/nowhere.csv"], "--plates /nowhere.csv does not exist"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, words, message):
    assert message in run("jump", "index", *words, "--output", tmp_path / "index", code=2)
    assert not (tmp_path / "index").exists()


def test_a_selection_of_nothing_and_a_missing_index_are_told(bucket, tmp_path):
    told = run("jump", "subset", tmp_path / "none", "--output", tmp_path / "a.npz", code=2)
    assert "holds no index of sites" in told
    index_of(bucket, tmp_path / "index")
    words = ("--source", "source_9", "--plate", "BR5867a3")
    told = run("jump", "subset", tmp_path / "index", "--output", tmp_path / "a.npz", *words, code=2)
    assert "no site matches all of these options; widen the selection" in told
    told = run("jump", "subset", tmp_path / "index", "--output", tmp_path / "a.npz", "--num-sites", 0, code=2)
    assert "num_sites is 0" in told
    assert not (tmp_path / "a.npz").exists()
    told = run("jump", "fetch", tmp_path / "index", tmp_path / "a.npz", "--output", tmp_path / "copy", code=2)
    assert "a.npz does not exist" in told


def test_a_folder_without_tables_and_a_damaged_index_are_failures_of_data(bucket, tmp_path):
    told = run("jump", "index", "--load-data", tmp_path, "--output", tmp_path / "index", code=1)
    assert "holds no load_data" in told
    index_of(bucket, tmp_path / "index")
    (tmp_path / "index" / "tables.json").write_text("{")
    told = run("jump", "subset", tmp_path / "index", "--output", tmp_path / "a.npz", code=1)
    assert "holds a damaged index" in told
