"""The commands `dinocell data split-pieces` and `dinocell data jump index`, `subset` and `fetch`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinocell_io.commands.errors import FAILED, WRONG_COMMAND_LINE, errors_told
from dinocell_io.plural import counted

if TYPE_CHECKING:
    from dinocell_io.jump.index import JumpIndex
    from dinocell_io.jump.tables import SiteRows

app = typer.Typer(no_args_is_help=True, help="Make dataset folders; find, choose and copy images of public screens.")
jump = typer.Typer(no_args_is_help=True, help="JUMP Cell Painting: make an index of its sites, and use it.")
app.add_typer(jump, name="jump")

IndexFolder = Annotated[Path, typer.Argument(help="Folder of the index.", metavar="INDEX")]


@app.command("split-pieces")
def split_pieces_command(
    dataset: Annotated[Path, typer.Argument(help="Folder with images/ and binary masks/.", metavar="DATASET")],
    output: Annotated[Path, typer.Argument(help="New folder for the same images with labels.", metavar="OUTPUT")],
) -> None:
    """Make labels from binary masks: each separate piece becomes a cell. Touching cells become one."""
    with errors_told(WRONG_COMMAND_LINE):
        from dinocell_io.datasets.dataset import open_dataset

        samples = open_dataset(dataset)
    with errors_told(FAILED):
        from dinocell_io.datasets.dataset_write import NewSample, write_dataset
        from dinocell_io.labels.label_pieces import split_pieces
        from dinocell_io.labels.read_labels import read_labels

        split = (
            NewSample(one.name, one.image_path, split_pieces(read_labels(one.labels_path)), one.split, one.group,
                      one.modality) for one in samples
        )  # fmt: skip
        write_dataset(output, split)
        typer.echo(f"{counted(len(samples), 'image')} with one label for each piece in {output}")


@jump.command()
def index(
    output: Annotated[Path, typer.Option(help="New folder for the index.")],
    parquet: Annotated[
        Path | None, typer.Option(help="The published jump_index.parquet: all sites, five stains. Needs pyarrow.")
    ] = None,
    load_data: Annotated[
        list[str] | None,
        typer.Option(help="Folder or s3:// prefix of load_data tables: one source, batch or plate; repeat for more."),
    ] = None,
    listing: Annotated[
        str | None, typer.Option(help="Folder or s3:// prefix of one plate's images, which has no table.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="With --listing: number and name of a channel, such as 1=Mito; repeat for more."),
    ] = None,
    plates: Annotated[
        Path | None, typer.Option(help="plate.csv.gz of the datasets, which gives the types of plates.")
    ] = None,
) -> None:
    """Make an index of sites from a Parquet table, from load_data tables, or from a listing."""
    with errors_told(WRONG_COMMAND_LINE):
        _refuse_all_but_one(parquet, load_data, listing)
        names = _channel_names(channel or []) if listing else {}
        given: dict[str, Sequence[str | Path | None]] = {
            "--parquet": [parquet],
            "--load-data": load_data or [],
            "--listing": [listing],
            "--plates": [plates],
        }
        for option, places in given.items():
            _refuse_missing(option, *places)
    with errors_told(FAILED):
        rows = _rows(parquet, load_data, listing, names)

        from dinocell_io.jump.build import build_jump_index
        from dinocell_io.jump.index import open_jump_index
        from dinocell_io.jump.select import read_plate_types

        types = None if plates is None else read_plate_types(plates)
        built = open_jump_index(build_jump_index(rows, output, plate_types=types))
        for source, count in built.num_sites().items():
            typer.echo(f"{source:12s} {count:9d} sites")
        typer.echo(f"{counted(len(built), 'site')} of {counted(len(built.plates), 'plate')} in {output}")
        if built.num_repeated == 1:
            typer.echo("1 site was listed twice and is kept once")
        elif built.num_repeated:
            typer.echo(f"{built.num_repeated} sites were listed twice and are kept once")


@jump.command()
def subset(
    index: IndexFolder,
    output: Annotated[Path, typer.Option(help="File for the chosen sites (.npz).")],
    source: Annotated[list[str] | None, typer.Option(help="Name or pattern of sources; repeat for more.")] = None,
    plate_type: Annotated[
        list[str] | None, typer.Option(help="Type of plates: COMPOUND, ORF, CRISPR, TARGET1 ...; repeat for more.")
    ] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Name or pattern of batches; repeat for more.")] = None,
    plate: Annotated[list[str] | None, typer.Option(help="Name or pattern of plates; repeat for more.")] = None,
    well: Annotated[list[str] | None, typer.Option(help="Name or pattern of wells; repeat for more.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Channels to read; default the five stains.")] = None,
    sites_per_well: Annotated[int | None, typer.Option(help="At most this many sites per well.")] = None,
    num_sites: Annotated[int | None, typer.Option(help="Number of sites in total, balanced over --stratify.")] = None,
    stratify: Annotated[
        str, typer.Option(help="What --num-sites is balanced over: source, plate_type, batch, plate or none.")
    ] = "source",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    refuse_caution: Annotated[
        bool, typer.Option("--refuse-caution", help="Also leave out plates on the grey list.")
    ] = False,
) -> None:
    """Choose sites by source, plate and well, balanced over sources, without known bad ones."""
    with errors_told(WRONG_COMMAND_LINE):
        _refuse_no_index(index)
    with errors_told(FAILED):
        opened = _opened(index)
    with errors_told(WRONG_COMMAND_LINE):
        from dinocell_io.jump.fields import jump_fields, write_selection
        from dinocell_io.jump.select import select_sites, sites_by
        from dinocell_io.jump.tables import STAINS

        channels = tuple(channel or STAINS)
        rows = select_sites(
            opened,
            sources=source,
            plate_types=plate_type,
            batches=batch,
            plates=plate,
            wells=well,
            channels=channels,
            sites_per_well=sites_per_well,
            num_sites=num_sites,
            stratify=None if stratify == "none" else stratify,
            seed=seed,
            refuse_caution=refuse_caution,
        )
        if not len(rows):
            raise ValueError("no site matches all of these options; widen the selection")
        fields = jump_fields(opened, rows, channels=channels)
    with errors_told(FAILED):
        write_selection(output, fields)
        for name, count in sites_by(opened, rows).items():
            typer.echo(f"{name:12s} {count:9d} sites")
        typer.echo(f"{counted(len(rows), 'site')} with {', '.join(channels)} in {output}")


@jump.command()
def fetch(
    index: IndexFolder,
    selection: Annotated[Path, typer.Argument(help="File of chosen sites.", metavar="SUBSET")],
    output: Annotated[Path, typer.Option(help="Folder for the images, under the keys of the bucket.")],
    uri: Annotated[
        str | None, typer.Option(help="Address of the images, if they are not in the bucket of the index.")
    ] = None,
    requests: Annotated[int, typer.Option(help="Number of requests at the same time.")] = 32,
) -> None:
    """Copy the images of the chosen sites to a folder; the same command continues a stopped copy."""
    with errors_told(WRONG_COMMAND_LINE):
        _refuse_no_index(index)
        _refuse_missing("SUBSET", selection)
    with errors_told(FAILED):
        from dinocell_io.jump.fetch import fetch_fields
        from dinocell_io.jump.fields import read_selection

        fields = read_selection(selection, _opened(index), uri=uri)
        counts = fetch_fields(fields, output, num_requests=requests)
        typer.echo(
            f"{counted(counts.num_fetched, 'object')} ({counts.num_bytes / 1e6:.1f} MB) copied to {output}, "
            f"{counts.num_present} were there already"
        )
        if counts.num_failed:
            raise ValueError(
                f"{counted(counts.num_failed, 'object')} could not be copied; see {output / 'quarantine.jsonl'}, "
                "and run again if the network was at fault"
            )


def _rows(
    parquet: Path | None, load_data: list[str] | None, listing: str | None, channel_names: dict[int, str]
) -> "Iterator[SiteRows]":
    from dinocell_io.jump.listing import rows_of_listing
    from dinocell_io.jump.tables import rows_of_load_data, rows_of_parquet

    if parquet is not None:
        return rows_of_parquet(parquet)
    if listing is not None:
        return iter([rows_of_listing(listing, channels=channel_names)])
    return (rows for uri in load_data or [] for rows in rows_of_load_data(uri))


def _refuse_all_but_one(parquet: Path | None, load_data: list[str] | None, listing: str | None) -> None:
    given = [
        name for name, value in (("--parquet", parquet), ("--load-data", load_data), ("--listing", listing)) if value
    ]
    if len(given) != 1:
        raise ValueError(f"got {' and '.join(given) or 'no table'}; pass one of --parquet, --load-data and --listing")


def _refuse_missing(option: str, *places: str | Path | None) -> None:
    """Raise FileNotFoundError for a path that does not exist; addresses in a bucket are checked when they are read."""
    for place in places:
        if place is not None and "://" not in str(place) and not Path(place).exists():
            raise FileNotFoundError(f"{option} {place} does not exist; check its name")


def _refuse_no_index(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} holds no index of sites; make one with dinocell data jump index")


def _channel_names(words: list[str]) -> dict[int, str]:
    names = {}
    for word in words:
        number, mark, name = word.partition("=")
        if not (number.isdecimal() and mark and name):
            raise ValueError(f"--channel {word} is not a number and a name; write it as 1=Mito")
        names[int(number)] = name
    return names


def _opened(folder: Path) -> "JumpIndex":
    from dinocell_io.jump.index import open_jump_index

    return open_jump_index(folder)
