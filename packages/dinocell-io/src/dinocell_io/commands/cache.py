"""The commands `dinocell cache stats`, `clear` and `warm`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinocell_io.commands.errors import FAILED, WRONG_COMMAND_LINE, errors_told
from dinocell_io.plural import counted
from dinocell_io.system.byte_sizes import format_bytes, parse_bytes

if TYPE_CHECKING:
    from dinocell_io.cache.cached_store import CachedStore
    from dinocell_io.cache.disk_cache import DiskCache

app = typer.Typer(help="The cache of objects from buckets on this machine's disk.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder of the cache; default $DINOCELL_CACHE or ~/.cache/dinocell/objects."),
]


@app.command()
def stats(folder: Folder = None) -> None:
    """Show how full a cache is and how often it was hit."""
    cache = _opened(folder)
    totals = cache.totals()
    entries = sum(1 for _ in cache.contents())
    reads = totals.hits + totals.misses
    rate = f" ({totals.hits / reads:.1%} of {reads} reads)" if reads else ""
    policy = {"pin": "pin (never evict)", "lru": "lru (evict the least recently used)"}[cache.policy]
    typer.echo(f"folder   {cache.folder}")
    typer.echo(
        f"used     {format_bytes(totals.used)} of {format_bytes(totals.quota)} ({totals.used / totals.quota:.1%})"
    )
    typer.echo(f"entries  {entries}")
    typer.echo(f"policy   {policy}")
    typer.echo(f"hits     {totals.hits}{rate}")
    typer.echo(f"stored   {totals.stored}, evicted {totals.evicted}, refused {totals.refused}")
    typer.echo(f"damaged  {totals.corrupt}")


@app.command()
def clear(
    folder: Folder = None,
    prefix: Annotated[
        str, typer.Option(help="Only objects whose address starts with this, such as s3://bucket/plate/.")
    ] = "",
) -> None:
    """Remove all objects of a cache, or those with a prefix."""
    typer.echo(f"{format_bytes(_opened(folder).clear(prefix))} freed")


@app.command()
def warm(
    uri: Annotated[list[str], typer.Argument(help="Prefixes or objects, such as s3://bucket/plate/.")],
    folder: Folder = None,
    quota: Annotated[str | None, typer.Option(help="Size of the cache, such as 500GB; needed for a new cache.")] = None,
    policy: Annotated[str | None, typer.Option(help="pin (never evict) or lru; default pin for a new cache.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Pack 16-bit images without loss.")] = False,
    suffix: Annotated[list[str] | None, typer.Option(help="Only keys with this ending; repeat for more.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of requests at the same time.")] = 16,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Read without credentials, as public buckets allow.")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="Address of your own S3 server.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the bucket.")] = None,
) -> None:
    """Fetch objects into a cache before they are needed, until it is full."""
    from dinocell_io.cache.cached_store import CachedStore
    from dinocell_io.cache.disk_cache import DiskCache, default_cache_folder
    from dinocell_io.stores.open_store import open_store

    given = {"endpoint": endpoint, "region": region, "unsigned": unsigned or None}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with errors_told(WRONG_COMMAND_LINE):
        stores = [open_store(one, **options) if one.startswith("s3://") else open_store(one) for one in uri]
        cache = DiskCache(
            folder or default_cache_folder(),
            quota_bytes=None if quota is None else parse_bytes(quota),
            policy=policy,
            form="compact" if compact else "raw",
        )
    kept, failures, full = 0, [], False
    with errors_told(FAILED):
        for store, prefix in stores:
            fetched, failed, full = _warmed(CachedStore(store, disk=cache), prefix, tuple(suffix or ("",)), jobs)
            kept += fetched
            failures += failed
            if full:
                break
    cache.close()
    totals = cache.totals()
    filled = f"{format_bytes(totals.used)} of {format_bytes(totals.quota)}"
    typer.echo(f"{counted(kept, 'object')} now in {cache.folder}: {filled}")
    if full:
        typer.echo("the cache is full; the rest was not fetched")
    for failure in failures[:20]:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        typer.echo(f"{counted(len(failures), 'object')} could not be read", err=True)
        raise typer.Exit(FAILED)


def _warmed(store: "CachedStore", prefix: str, suffixes: tuple[str, ...], jobs: int) -> tuple[int, list[str], bool]:
    """How many objects are in the cache now, which failed and why, and whether it became full."""
    from dinocell_io.stores.store import StoreError

    def fetched(key: str) -> bool | str:
        try:
            return store.warm(key)
        except StoreError as error:
            return str(error)

    keys: Iterator[str] = (info.key for info in store.list(prefix) if info.key.endswith(suffixes))
    kept, failures = 0, []
    with ThreadPoolExecutor(jobs) as threads:
        # in portions: a bucket has more keys than a queue of threads should hold
        while portion := list(islice(keys, 8 * jobs)):
            results = list(threads.map(fetched, portion))
            kept += sum(result is True for result in results)
            failures += [result for result in results if isinstance(result, str)]
            if False in results:
                return kept, failures, True
    if kept == 0 and not failures:
        raise ValueError(
            f"{store.uri.removesuffix('/')}/{prefix} has no objects{' with that ending' if suffixes != ('',) else ''}"
        )
    return kept, failures, False


def _opened(folder: Path | None) -> "DiskCache":
    from dinocell_io.cache.disk_cache import DiskCache, default_cache_folder

    chosen = folder or default_cache_folder()
    with errors_told(WRONG_COMMAND_LINE):
        try:
            return DiskCache(chosen)
        except FileNotFoundError:
            # the library's message names an argument; here it is an option of another command
            way_out = "make one with 'dinocell cache warm URI --quota 500GB', or name one with --folder"
            raise FileNotFoundError(f"{chosen} is not a cache; {way_out}") from None
