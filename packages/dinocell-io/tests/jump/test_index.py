"""From the tables of a miniature gallery, with each source's real naming, to fields with the right pixels."""

import gzip
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import (
    FieldStream,
    build_jump_index,
    jump_fields,
    open_jump_index,
    rows_of_listing,
    rows_of_load_data,
    select_sites,
)
from dinocell_io.jump.fields import read_selection, write_selection
from dinocell_io.jump.index import JumpIndex
from dinocell_io.jump.listing import parse_file_name, well_name
from dinocell_io.jump.tables import BRIGHTFIELDS, STAINS, SiteRows, channel_of_column, rows_of_csv, rows_of_parquet
from dinocell_io.testing import ObjectServer
from dinocell_io.testing.jump_gallery import (
    GALLERY,
    GALLERY_PLATES,
    csv_text,
    plane_value,
    site_addresses,
    write_jump_gallery,
)

NUM_SITES = sum(len(plate.wells) * len(plate.fields) for plate in GALLERY_PLATES)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Path:
    return write_jump_gallery(tmp_path_factory.mktemp("bucket"))


@pytest.fixture(scope="module")
def index(bucket, tmp_path_factory) -> JumpIndex:
    folder = tmp_path_factory.mktemp("index") / "jump"
    rows = (part for plate in GALLERY_PLATES for part in rows_of_load_data(load_data_of(bucket, plate.source)))
    return open_jump_index(build_jump_index(rows, folder))


def load_data_of(bucket: Path, source: str) -> Path:
    return bucket / "cpg0016-jump" / source / "workspace" / "load_data_csv"


def expected_sites() -> dict[str, dict[str, str]]:
    """What each site's keys must be, by the names of columns alone."""
    return {
        "__".join(row[f"Metadata_{name}"] for name in ("Source", "Batch", "Plate", "Well", "Site")): {
            channel_of_column(column.removeprefix("URL_Orig")): url.removeprefix(GALLERY)
            for column, url in row.items()
            if column.startswith("URL_")
        }
        for plate in GALLERY_PLATES
        for row in site_addresses(plate)
    }


def test_every_site_of_every_source_has_the_keys_of_its_columns(index):
    found = {index.site_key(row): index.keys(row) for row in range(len(index))}
    assert len(index) == NUM_SITES
    assert found == expected_sites()
    assert index.root == GALLERY
    assert index.num_repeated == 0


def test_the_traps_of_the_gallery_are_in_the_miniature(index):
    found = {index.site_key(row): index.keys(row) for row in range(len(index))}
    assert " " in found["source_3__CP_25_all_Phenix1__BR5867a3__A01__1"]["DNA"]
    assert found["source_3__CP_25_all_Phenix1__BR5867a3__A01__1"]["DNA"].endswith("-ch5sk1fk1fl1.tiff")
    assert found["source_9__20210824-Run4__GR00003381__A01__1"]["DNA"].endswith("-ch4sk1fk1fl1.tiff")
    assert found["source_7__20210719_Run1__CP1-SC1-01__A01__0"]["Mito"].endswith("F001L01A03Z01C02.tif")
    assert "source_1__Batch1_20221004__UL000109__AF48__2" in found
    assert (
        "/P01_ADMJUM001/P01_ADMJUM001_A01_"
        in found["source_5__JUMPCPE-20210623-Run01_20210624_071326__ADMJUM001__A01__1"]["DNA"]
    )


def test_the_kinds_of_brightfield_have_one_name_each_at_all_sources(index):
    by_source = {plate.source: plate.channels for plate in index.plates}
    assert by_source["source_1"] == ("Mito", "AGP", "RNA", "ER", "DNA", "Brightfield")
    assert set(by_source["source_2"]) == set(by_source["source_5"]) == {*STAINS, *BRIGHTFIELDS}
    assert set(by_source["source_7"]) == set(STAINS)


def test_a_stream_over_the_index_gives_each_stain_its_own_pixels(index, bucket):
    fields = jump_fields(index, np.arange(len(index)), channels=("Mito", "DNA"), uri=str(bucket))
    planes = {one.key: one for one in FieldStream(fields)}
    assert len(planes) == NUM_SITES
    for plate in GALLERY_PLATES:
        rows = iter(site_addresses(plate))
        for well, _ in enumerate(plate.wells):
            for field in plate.fields:
                row = next(rows)
                key = "__".join(row[f"Metadata_{name}"] for name in ("Source", "Batch", "Plate", "Well", "Site"))
                one = planes[key]
                assert list(one.channels) == ["Mito", "DNA"]
                assert one.shape == plate.shape
                for channel, plane in one.channels.items():
                    assert plane.min() == plane_value(plate, well, field, channel)


def test_pixel_sizes_are_those_of_the_sources_microscopes(index):
    sizes = {plate.source: plate.pixel_size_um for plate in index.plates}
    assert sizes["source_8"] == 0.703
    assert sizes["source_3"] == 0.598


def test_missing_keys_of_the_plates_that_the_deny_list_names_are_expected(index, bucket):
    rows = select_sites(index, sources=["source_11"])
    assert all(jump_fields(index, rows)[at].may_be_missing for at in range(len(rows)))
    assert not jump_fields(index, select_sites(index, sources=["source_9"]))[0].may_be_missing


def test_fields_pass_to_another_process_without_the_index(index, bucket):
    fields = jump_fields(index, np.arange(5), uri=str(bucket))
    assert fields[3].key  # the index is open now
    data = pickle.dumps(fields)
    assert len(data) < 2000
    other = pickle.loads(data)
    assert other[3] == fields[3]
    assert other.fingerprint == fields.fingerprint
    assert jump_fields(index, np.arange(6)).fingerprint != fields.fingerprint
    assert pickle.loads(pickle.dumps(index)).keys(2) == index.keys(2)


def test_channels_and_rows_that_do_not_exist_are_refused(index):
    with pytest.raises(ValueError, match=r"channels are Actin; choose of AGP, Brightfield.*RNA"):
        jump_fields(index, np.arange(2), channels=("Actin",))
    with pytest.raises(ValueError, match=f"rows reach from 0 to 99; the index has {NUM_SITES} sites"):
        jump_fields(index, np.array([0, 99]))
    without = int(select_sites(index, sources=["source_7"])[0])
    with pytest.raises(ValueError, match=r"source_7__.* has the channels .* and not Brightfield; choose sites"):
        jump_fields(index, np.array([without]), channels=("Brightfield",))[0]


def test_a_selection_is_read_as_it_was_written_but_only_with_its_index(index, bucket, tmp_path):
    fields = jump_fields(index, select_sites(index, num_sites=7), channels=("DNA", "ER"))
    write_selection(tmp_path / "seven.npz", fields)
    again = read_selection(tmp_path / "seven.npz", index, uri=str(bucket))
    assert again.fingerprint == fields.fingerprint
    assert again.channels == ("DNA", "ER")
    other = open_jump_index(
        build_jump_index(rows_of_load_data(load_data_of(bucket, "source_9")), tmp_path / "other index")
    )
    with pytest.raises(ValueError, match="was made with another index than"):
        read_selection(tmp_path / "seven.npz", other)
    (tmp_path / "no.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"no.npz is not a selection of sites"):
        read_selection(tmp_path / "no.npz", index)


def test_parquet_and_compressed_tables_give_the_same_index_as_csv(bucket, tmp_path, index):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row for plate in GALLERY_PLATES for row in site_addresses(plate)]
    columns = list(site_addresses(GALLERY_PLATES[-1])[0])  # the published index has the five stains only
    table = pyarrow.table({column: [row.get(column) for row in rows] for column in columns})
    parquet.write_table(table, tmp_path / "jump_index.parquet")
    built = open_jump_index(build_jump_index(rows_of_parquet(tmp_path / "jump_index.parquet"), tmp_path / "index"))
    stains = {key: {c: keys[c] for c in STAINS} for key, keys in expected_sites().items()}
    assert {built.site_key(row): built.keys(row) for row in range(len(built))} == stains

    folder = tmp_path / "source_9/workspace/load_data_csv/20210824-Run4/GR00003381"
    folder.mkdir(parents=True)
    text = (load_data_of(bucket, "source_9") / "20210824-Run4/GR00003381/load_data.csv").read_bytes()
    (folder / "load_data.csv.gz").write_bytes(gzip.compress(text))
    (folder / "load_data.parquet").write_bytes(b"never read beside a CSV")
    packed = open_jump_index(build_jump_index(rows_of_load_data(tmp_path / "source_9"), tmp_path / "packed"))
    expected = {key: keys for key, keys in expected_sites().items() if key.startswith("source_9_")}
    assert {packed.site_key(row): packed.keys(row) for row in range(len(packed))} == expected


def test_damaged_parquet_is_refused_by_name(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
        list(rows_of_parquet(tmp_path / "a.parquet"))


def test_damaged_tables_give_sites_or_an_error(tmp_path):
    whole = csv_text(site_addresses(GALLERY_PLATES[1])).encode()
    counts, told = [], []
    for seed in range(80):
        folder = tmp_path / f"{seed}/s/workspace/load_data_csv/b/p"
        folder.mkdir(parents=True)
        if seed % 2:
            (folder / "load_data.csv.gz").write_bytes(damage(gzip.compress(whole), seed))
        else:
            (folder / "load_data.csv").write_bytes(damage(whole, seed))
        try:
            counts.append(sum(len(part.wells) for part in rows_of_load_data(folder)))
        except ValueError as error:
            told.append("load_data.csv" in str(error))
    assert all(told)
    assert len(told) > 20
    assert 4 in counts


def test_damaged_parquet_gives_sites_or_an_error_that_names_it():
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = site_addresses(GALLERY_PLATES[1])
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({column: [row[column] for row in rows] for column in rows[0]}), sink)
    counts, told = [], []
    for seed in range(80):
        try:
            counts.append(sum(len(part.wells) for part in rows_of_parquet(damage(sink.getvalue().to_pybytes(), seed))))
        except ValueError as error:
            told.append("Parquet table" in str(error))
    assert all(told)
    assert len(told) > 20
    assert 4 in counts


def damage(whole: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        damaged[rng.integers(len(whole))] = rng.integers(256)
    return bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.3 else damaged)


def test_old_tables_name_files_by_path_and_lack_source_and_batch(tmp_path):
    folder = tmp_path / "source_4/workspace/load_data_csv/2021_04_26_Batch1/BR00117035"
    folder.mkdir(parents=True)
    images = "/home/ubuntu/bucket/cpg0016-jump/source_4/images/2021_04_26_Batch1/images/BR00117035__M1/Images"
    (folder / "load_data.csv").write_text(
        "FileName_OrigDNA,PathName_OrigDNA,FileName_IllumDNA,PathName_IllumDNA,"
        "Metadata_Plate,Metadata_Well,Metadata_Site\n"
        f"r01c01f01p01-ch5sk1fk1fl1.tiff,{images},x.npy,/x,BR00117035,A01,1\n"
    )
    index = open_jump_index(build_jump_index(rows_of_load_data(tmp_path), tmp_path / "index"))
    assert index.site_key(0) == "source_4__2021_04_26_Batch1__BR00117035__A01__1"
    assert index.keys(0) == {"DNA": images.partition("bucket/")[2] + "/r01c01f01p01-ch5sk1fk1fl1.tiff"}
    assert index.root == GALLERY
    (folder / "load_data.csv").write_text(
        "FileName_OrigDNA,PathName_OrigDNA,Metadata_Plate,Metadata_Well,Metadata_Site\na.tiff,/mnt/here,P,A01,1\n"
    )
    with pytest.raises(ValueError, match=r"files are in /mnt/here, which is not an address in the gallery"):
        list(rows_of_load_data(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cannot be read as CSV"),
        ("a,b\n1,2\n", "has the columns a, b; expected Metadata_Source"),
        (
            "Metadata_Source,Metadata_Batch,Metadata_Plate,Metadata_Well,Metadata_Site,URL_OrigDNA\ns,b,p,A01\n",
            "line 2 has 4 values and the header 6",
        ),
    ],
)
def test_tables_without_the_columns_or_cut_short_are_refused(text, message):
    with pytest.raises(ValueError, match=f"a table.*{message}"):
        list(rows_of_csv(text, name="a table"))


@pytest.mark.parametrize("folder", ["", "/workspace/load_data_csv/", "/workspace/load_data_csv/20210824-Run4"])
def test_tables_are_found_in_a_bucket_without_listing_its_images(bucket, tmp_path, monkeypatch, folder):
    objects = {path.relative_to(bucket).as_posix(): path.read_bytes() for path in bucket.rglob("*.csv")}
    with ObjectServer(objects, bucket="cellpainting-gallery") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        rows = rows_of_load_data(f"s3://cellpainting-gallery/cpg0016-jump/source_9{folder}")
        built = open_jump_index(build_jump_index(rows, tmp_path / "index"))
        listed = [request.key for request in server.requests if "load_data_csv" not in request.key]
    expected = {key: keys for key, keys in expected_sites().items() if key.startswith("source_9_")}
    assert {built.site_key(row): built.keys(row) for row in range(len(built))} == expected
    assert not [key for key in listed if "images" in key]


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no load_data.csv, load_data.csv.gz, load_data.parquet"):
        list(rows_of_load_data(tmp_path))


def rows_of(urls: dict[str, list[str]], *, plate: str = "P1", sites: list[str] | None = None) -> SiteRows:
    count = len(next(iter(urls.values())))
    return SiteRows("source_x", "B", plate, ["A01"] * count, sites or [str(n) for n in range(count)], urls)


@pytest.mark.parametrize(
    "urls",
    [
        {"DNA": ["s3://b/f/P1_1.tif", "s3://b/f/P1_2.tif"], "ER": ["s3://b/f/P1_1e.tif", ""]},
        {"DNA": ["", "s3://b/f/2.tif"], "ER": ["s3://b/f/1e.tif", "s3://b/f/2e.tif"]},
        {"DNA": ["s3://b/f/1.tif", "s3://b/g/2.tif"], "ER": ["s3://b/f/1e.tif", "s3://b/g/2e.tif"]},
        {"DNA": ["s3://b/f/1.tif", "s3://b/f/2.tif"], "ER": ["s3://b/f/1e.tif", "s3://b/h/P1/2e.tif"]},
        {"DNA": ["s3://b/f/same.tif"], "ER": ["s3://b/f/same.tif"]},
        {"DNA": ["s3://b/f/aa1.tif", "s3://b/f/b1.tif"], "ER": ["s3://b/f/aa2.tif", "s3://b/f/c2.tif"]},
        {"DNA": ["s3://b/1.tif"]},
    ],
    ids=["last missing", "first missing", "two folders", "channels apart", "one name", "nothing shared", "bucket root"],
)
def test_unusual_addresses_are_kept_exactly(tmp_path, urls):
    index = open_jump_index(build_jump_index([rows_of(urls)], tmp_path / "index"))
    found = {index.site[row]: index.keys(row) for row in range(len(index))}
    for site in range(len(urls["DNA"])):
        expected = {c: column[site].removeprefix("s3://b/") for c, column in urls.items() if column[site]}
        assert found[site] == expected


def test_a_site_without_any_file_is_left_out(tmp_path):
    rows = rows_of({"DNA": ["", "s3://b/f/2.tif", ""], "ER": ["", "s3://b/f/2e.tif", "s3://b/f/3e.tif"]})
    index = open_jump_index(build_jump_index([rows], tmp_path / "index"))
    assert sorted(index.site.tolist()) == [1, 2]


def test_a_site_that_comes_twice_is_kept_once(tmp_path):
    rows = rows_of({"DNA": ["s3://b/f/1.tif", "s3://b/g/1.tif", "s3://b/f/2.tif"]}, sites=["1", "1", "-2"])
    index = open_jump_index(build_jump_index([rows], tmp_path / "index"))
    assert index.num_repeated == 1
    assert sorted(index.site.tolist()) == [-2, 1]
    first = int(np.flatnonzero(index.site == 1)[0])
    assert index.keys(first) == {"DNA": "f/1.tif"}


@pytest.mark.parametrize("order", ["AAB", "ABA", "BAA"])
def test_a_repeated_site_is_found_wherever_its_plate_comes_again(tmp_path, order):
    parts = [
        rows_of({"DNA": [f"s3://b/f/{at}.tif", f"s3://b/f/{at}b.tif"]}, plate=plate, sites=["1", f"{at + 2}"])
        for at, plate in enumerate(order)
    ]
    index = open_jump_index(build_jump_index(parts, tmp_path / "index"))
    assert index.num_repeated == 1
    names = [index.plates[number].plate for number in index.plate]
    assert sorted(zip(names, index.site.tolist(), strict=True)).count(("A", 1)) == 1
    assert len(index) == 5
    first = order.index("A")
    row = next(at for at, name in enumerate(names) if name == "A" and index.site[at] == 1)
    assert index.keys(row) == {"DNA": f"f/{first}.tif"}


def test_a_site_that_comes_twice_in_one_table_of_one_folder_is_kept_once(tmp_path):
    rows = rows_of({"DNA": ["s3://b/f/1.tif", "s3://b/f/2.tif"]}, sites=["1", "1"])
    index = open_jump_index(build_jump_index([rows], tmp_path / "index"))
    assert (len(index), index.num_repeated, index.keys(0)) == (1, 1, {"DNA": "f/1.tif"})


def test_rows_that_cannot_be_indexed_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"source_x, plate P1, well A01 has the site 'x', expected a whole number"):
        build_jump_index([rows_of({"DNA": ["s3://b/1.tif"]}, sites=["x"])], tmp_path / "index")
    with pytest.raises(ValueError, match=r"files are in s3://b/ and in s3://c/; index each bucket by itself"):
        build_jump_index([rows_of({"DNA": ["s3://b/1.tif"]}), rows_of({"DNA": ["s3://c/1.tif"]})], tmp_path / "index")
    with pytest.raises(ValueError, match="hold no site"):
        build_jump_index([], tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_missing_damaged_or_of_another_version_is_refused(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no index of sites.*dinocell data jump index"):
        open_jump_index(tmp_path / "none")
    copy = shutil.copytree(index.folder, tmp_path / "copy")
    np.save(copy / "site.npy", np.zeros(3, np.int16))
    with pytest.raises(ValueError, match="damaged index"):
        open_jump_index(copy)
    (copy / "site.npy").write_bytes(b"")
    with pytest.raises((ValueError, EOFError)):
        open_jump_index(copy)
    tables = json.loads((copy / "tables.json").read_text())
    shutil.copy(index.folder / "site.npy", copy / "site.npy")
    (copy / "tables.json").write_text(json.dumps(tables | {"version": 0}))
    with pytest.raises(ValueError, match="version 0, expected 1; make it again"):
        open_jump_index(copy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r01c01f01p01-ch6sk1fk1fl1.tiff", ("A01", 1, 6)),
        ("r32c48f04p01-ch10sk1fk1fl1.tiff", ("AF48", 4, 10)),
        ("1053601756_A01_T0001F001L01A06Z01C06.tif", ("A01", 1, 6)),
        ("P01_ADMJUM001_P24_T0001F009L01A06Z01C06.tif", ("P24", 9, 6)),
        ("Dest210531-152149_A01_T0001F001L01A04Z01C06.tif", ("A01", 1, 6)),
        ("HTS_A01_s1_w33EFC51B3-6F57-4A2B-8C3D-0123456789AB.tif", ("A01", 1, 3)),
        ("HTS_A01_s1_w1_thumb33EFC51B3-6F57-4A2B-8C3D-0123456789AB.tif", None),
        ("DC_Sony_E10_05.tif", None),
        ("Index.idx.xml", None),
    ],
)
def test_file_names_of_the_microscopes_are_understood(name, expected):
    parsed = parse_file_name(name)
    assert (None if parsed is None else (parsed.well, parsed.site, parsed.channel)) == expected


def test_wells_beyond_z_are_named_with_two_letters():
    assert [well_name(row, 1) for row in (1, 26, 27, 32)] == ["A01", "Z01", "AA01", "AF01"]
    with pytest.raises(ValueError, match="row 0, column 1 is not a well"):
        well_name(0, 1)


def test_one_plate_can_be_listed_if_its_channels_are_named(bucket, tmp_path):
    plate = next(plate for plate in GALLERY_PLATES if plate.source == "source_8")
    folder = bucket / plate.folder
    thumbnail = folder / "HTS_A01_s1_w100000000-0000-0000-0000-000000000000.tif"
    thumbnail.write_bytes(b"a smaller file of the same channel")
    names = dict(enumerate(plate.channels, start=1))
    rows = rows_of_listing(str(folder), channels=names)
    thumbnail.unlink()
    index = open_jump_index(build_jump_index([rows], tmp_path / "index"))
    with pytest.raises(ValueError, match="made of names without a bucket; pass uri"):
        jump_fields(index, np.arange(4))
    assert len(list(FieldStream(jump_fields(index, np.arange(4), uri=str(bucket))))) == 4
    assert (rows.source, rows.batch, rows.plate) == ("source_8", "J1", "A1170383")
    for at, row in enumerate(site_addresses(plate)):
        assert (rows.wells[at], rows.sites[at]) == (row["Metadata_Well"], row["Metadata_Site"])
        for channel in STAINS:
            assert rows.urls[channel][at].endswith(row[f"URL_Orig{channel}"].removeprefix(GALLERY))
    with pytest.raises(ValueError, match=r"has the channels 1, 2, 3, 4, 5, of which 2, 3, 4, 5 have no name"):
        rows_of_listing(str(folder), channels={1: "Mito"})
    with pytest.raises(ValueError, match="holds no image with a known name; look whether"):
        rows_of_listing(str(folder.parent), channels=names)
    with pytest.raises(ValueError, match="names no plate"):
        rows_of_listing(str(tmp_path), channels=names)


def test_a_table_with_a_byte_order_mark_and_columns_of_other_channels_is_read():
    rows = site_addresses(GALLERY_PLATES[0])
    text = csv_text([row | {"URL_OrigHoechst": "s3://cellpainting-gallery/h.tif"} for row in rows])
    (part,) = rows_of_csv(text, name="a table")
    assert part.urls["Hoechst"][0].endswith("h.tif")
