"""Which sites a selection holds, on an index of made-up plates."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinocell_io import build_jump_index, open_jump_index, select_sites
from dinocell_io.jump.denylist import (
    Denied,
    denied_sites,
    is_expected_missing,
    read_denylist,
    shipped_denylist,
)
from dinocell_io.jump.index import JumpIndex
from dinocell_io.jump.select import even_quotas, read_plate_types, sites_by
from dinocell_io.jump.tables import STAINS, SiteRows

TYPES = {("source_4", "Batch1", "BR1"): "CRISPR", ("source_4", "Batch12", "BR2"): "ORF"}


def plate(source: str, batch: str, name: str, *, wells=("A01", "A02", "P24"), sites=4, channels=STAINS, style="x"):
    rows = [(well, site) for well in wells for site in range(1, sites + 1)]
    urls = {
        channel: [f"s3://b/{source}/{name}/{name}_{well}_T0001F{site:03d}L01A01Z01C{c:02d}.tif" for well, site in rows]
        for c, channel in enumerate(channels, start=1)
    }
    return SiteRows(source, batch, name, [well for well, _ in rows], [str(site) for _, site in rows], urls)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> JumpIndex:
    plates = [
        plate("source_4", "Batch1", "BR1", sites=9),
        plate("source_4", "2021_Batch12", "BR3"),
        plate("source_4", "Batch12", "BR2"),
        plate("source_7", "20210727_Run3", "CP3-SC1-18", wells=("I22", "A01"), sites=5),
        plate("source_13", "Run1", "CP-CC9-R1-28", sites=1),
        plate("source_2", "B", "22", channels=(*STAINS, "Brightfield"), sites=2),
        plate("source_2", "B", "23", channels=STAINS[:2], sites=2),
    ]
    folder = tmp_path_factory.mktemp("select") / "index"
    return open_jump_index(build_jump_index(plates, folder, plate_types=TYPES))


def keys(index: JumpIndex, rows: np.ndarray) -> set[str]:
    return {index.site_key(row) for row in rows.tolist()}


def test_everything_with_the_five_stains_is_chosen_except_what_is_denied(index):
    chosen = sites_by(index, select_sites(index), "plate")
    # red list: Batch12 of source_4; four zero-filled files of source_7 are of two sites
    assert chosen == {"BR1": 27, "CP3-SC1-18": 8, "CP-CC9-R1-28": 3, "22": 6}


def test_the_denied_sites_of_source_7_are_those_of_the_file_names(index):
    rows = select_sites(index, sources=["source_7"])
    lost = keys(index, np.flatnonzero(np.isin(index.plate, [3]))) - keys(index, rows)
    prefix = "source_7__20210727_Run3__CP3-SC1-18__I22__"
    assert lost == {prefix + "3", prefix + "4"}


def test_an_empty_deny_list_chooses_all_and_caution_can_be_refused(index):
    assert len(select_sites(index, denylist=())) == 27 + 12 + 12 + 10 + 3 + 6
    assert "source_13" not in sites_by(index, select_sites(index, refuse_caution=True))


def test_plates_without_the_channels_are_left_out(index):
    assert sites_by(index, select_sites(index, channels=("DNA", "RNA"), plates=["2?"]), "plate") == {"22": 6, "23": 6}
    assert sites_by(index, select_sites(index, channels=("Brightfield",)), "plate") == {"22": 6}
    with pytest.raises(ValueError, match="no plate has all of the channels DNA, Actin; choose fewer"):
        select_sites(index, channels=("DNA", "Actin"))


def test_names_and_patterns_choose_sources_batches_plates_types_and_wells(index):
    assert sites_by(index, select_sites(index, batches=["Batch*", "Run1"]), "batch") == {"Batch1": 27, "Run1": 3}
    assert sites_by(index, select_sites(index, plate_types=["CRISPR"]), "plate_type") == {"CRISPR": 27}
    wells = select_sites(index, wells=["P*", "A02"], sources=["source_4"])
    assert {index.wells[index.well[row]] for row in wells} == {"P24", "A02"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": ["source_44"]}, "no source matches source_44; this index has source_13, source_2, source_4"),
        ({"plate_types": ["CRISPR", "POSCON"]}, "no plate_type matches POSCON"),
        ({"wells": ["AB01"]}, "no well matches AB01; wells are named as A01"),
        ({"sites_per_well": 0}, "sites_per_well is 0, expected 1 or more"),
        ({"num_sites": 1000}, "num_sites is 1000, expected 1 to 44, the sites that match"),
        ({"num_sites": 5, "stratify": "colour"}, "stratify is colour, expected source, plate_type, batch, plate"),
    ],
)
def test_what_matches_nothing_is_refused(index, arguments, message):
    with pytest.raises(ValueError, match=message):
        select_sites(index, **arguments)


def test_types_need_the_table_of_plates(tmp_path):
    index = open_jump_index(build_jump_index([plate("s", "b", "p")], tmp_path / "index"))
    with pytest.raises(ValueError, match=r"does not know the types of plates; make it with --plates plate.csv.gz"):
        select_sites(index, plate_types=["ORF"])


def test_so_many_sites_of_each_well_are_drawn_by_the_seed(index):
    rows = select_sites(index, sites_per_well=2)
    wells = Counter(key.rsplit("__", 1)[0] for key in keys(index, rows))
    assert {count for well, count in wells.items() if "CC9" not in well} == {2}
    assert len(rows) == 6 + 4 + 3 + 6
    np.testing.assert_array_equal(rows, select_sites(index, sites_per_well=2))
    drawn = {tuple(select_sites(index, sites_per_well=2, seed=seed)) for seed in range(5)}
    assert len(drawn) > 1


def test_a_subset_takes_evenly_from_the_sources_as_far_as_they_reach(index):
    chosen = sites_by(index, select_sites(index, num_sites=20))
    assert chosen == {"source_13": 3, "source_2": 5, "source_7": 6, "source_4": 6}
    assert sum(sites_by(index, select_sites(index, num_sites=20, stratify=None)).values()) == 20
    assert sites_by(index, select_sites(index, num_sites=4, stratify="plate"), "plate") == dict.fromkeys(
        ["BR1", "CP3-SC1-18", "CP-CC9-R1-28", "22"], 1
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data())
def test_quotas_are_even_up_to_what_is_there(available, data):
    count = data.draw(st.integers(0, sum(available)))
    quotas = even_quotas(np.array(available), count).tolist()
    assert sum(quotas) == count
    assert all(quota <= have for quota, have in zip(quotas, available, strict=True))
    short = [quota for quota, have in zip(quotas, available, strict=True) if quota < have]
    # whoever could have given more gives as much as anybody, but for one that does not divide
    assert not short or min(short) >= max(quotas) - 1


def test_plate_types_are_read_from_the_consortiums_table(tmp_path: Path):
    text = "Metadata_Source,Metadata_Batch,Metadata_Plate,Metadata_PlateType\nsource_1,B,0012,TARGET2\n"
    (tmp_path / "plate.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "plate.csv").write_text(text)
    assert (
        read_plate_types(tmp_path / "plate.csv")
        == read_plate_types(tmp_path / "plate.csv.gz")
        == {("source_1", "B", "0012"): "TARGET2"}
    )
    (tmp_path / "plate.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"plate.csv is not a table of plates .*Metadata_PlateType"):
        read_plate_types(tmp_path / "plate.csv")


def test_the_shipped_list_names_a_source_for_each_line_and_known_levels():
    entries = shipped_denylist()
    assert {entry.level for entry in entries} == {"exclude", "caution", "missing"}
    assert all(entry.reason and entry.reference.startswith("jump-cellpainting/datasets") for entry in entries)
    assert is_expected_missing("source_11", "EC000066")
    assert not is_expected_missing("source_11", "EC000067")


def test_a_list_of_ones_own_is_read_and_a_wrong_one_refused(index, tmp_path):
    header = "level,source,batch,plate,file,reason,reference\n"
    (tmp_path / "own.csv").write_text(header + "exclude,source_2,*,*,*,dust,seen by eye\n")
    own = read_denylist(tmp_path / "own.csv")
    assert own == (Denied("exclude", "source_2", "*", "*", "*", "dust", "seen by eye"),)
    assert set(sites_by(index, np.flatnonzero(denied_sites(index, own)))) == {"source_2"}
    (tmp_path / "own.csv").write_text(header + "never,source_2,*,*,*,dust,eye\n")
    with pytest.raises(ValueError, match=r"own.csv has the levels never; expected exclude, caution, missing"):
        read_denylist(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_text("plate\nBR1\n")
    with pytest.raises(ValueError, match=r"own.csv is not a deny list .*expected the columns level, source"):
        read_denylist(tmp_path / "own.csv")
