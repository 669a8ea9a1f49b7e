"""A bucket whose objects are fetched by obstore, outside of Python's lock, with the results of S3Store."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinocell_io.stores.background_loop import waited_for
from dinocell_io.stores.download import Body, Span, StartAgain
from dinocell_io.stores.retry import Deadline, RetryPolicy, Transient
from dinocell_io.stores.s3_client import S3Client, failure_of_status, untrusted
from dinocell_io.stores.s3_store import CHUNK_BYTES, S3Store
from dinocell_io.stores.store import AccessDenied, Refused, StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_STATUS = re.compile(r"status code: (\d+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")

RESUMED_BYTES = 8 << 20

# the process whose threads fetch for obstore; a child forked from it has no such threads and would never return
_RUNTIME_OF: int | None = None


class ObstoreStore(S3Store):
    """An S3Store whose bodies come through obstore, a client in Rust; sizes, listings and writing stay with boto3.

    It fetches and decrypts without holding Python's lock, which helps threads that decode. All requests of a process
    wait in one event loop: a thread that waits in obstore by itself is woken for every piece
    of a body, 150 times for one of 2.3 MB, which doubles what the body costs the processor (benchmarks/bench_store.py).

    Options, retries, verification and failures are those of S3Store. Only bodies of more than RESUMED_BYTES are
    resumed: smaller ones come in one piece, which costs half the work, and start again. Needs the extra
    `dinocell-io[obstore]`.

    A process forked from one that has fetched cannot fetch (the threads that do it are gone); it raises Refused
    instead of hanging. Start such processes with "spawn" or "forkserver".
    """

    def __init__(self, bucket: str, **options: Any) -> None:
        try:
            import obstore  # noqa: F401
        except ImportError as missing:
            raise ImportError(
                "backend 'obstore' needs obstore, which is not installed; pip install 'dinocell-io[obstore]'"
            ) from missing
        super().__init__(bucket, **options)

    def __repr__(self) -> str:
        return f"ObstoreStore({self.uri})"

    @contextmanager
    def _opened(self, key: str, span: Span, etag: str | None, deadline: Deadline) -> Iterator[Body]:
        address = self.place.address(key)
        options: dict[str, Any] = {} if etag is None else {"if_match": etag}
        if span.stop is not None:
            options["range"] = (span.start, span.stop)
        elif span.start:
            options["range"] = {"offset": span.start}
        client = self._client()
        with _translated(address, resumed=etag is not None, unsigned=client.unsigned):
            result, small = waited_for(_asked(_fetcher(client, self.policy, address), key, options))
            start, _ = result.range
            size = result.meta["size"]
            if span.stop is not None and span.stop > size:
                raise Refused(address, f"{span} requested of {size} bytes; expected a range inside the object")
            yield Body(
                start=start,
                size=size,
                etag=result.meta["e_tag"],
                is_md5=True,
                chunks=result.stream(min_chunk_size=CHUNK_BYTES) if small is None else iter((bytes(small),)),
            )


async def _asked(fetcher: Any, key: str, options: dict[str, Any]) -> tuple[Any, Any | None]:
    """The answer, and its body unless that is large: the waiting thread is woken once for both."""
    import obstore

    result = await obstore.get_async(fetcher, key, options=options)  # type: ignore[arg-type]
    start, stop = result.range
    return result, await result.bytes_async() if stop - start <= RESUMED_BYTES else None


def _fetcher(client: S3Client, policy: RetryPolicy, address: str) -> Any:
    """This process's obstore client for what `client` reaches."""
    global _RUNTIME_OF
    if _RUNTIME_OF not in (None, os.getpid()):
        advice = 'start processes with "spawn" or "forkserver", or use backend="boto3"'
        raise Refused(address, f"obstore was used before this process was forked, and cannot fetch here; {advice}")
    if not client.unsigned and client.session.get_credentials() is None:
        advice = "log in, set AWS_PROFILE, or open the store with unsigned=True"
        raise AccessDenied(address, f"Unable to locate credentials; {advice}")
    _RUNTIME_OF = os.getpid()
    return _fetcher_of(client, policy)


@lru_cache(maxsize=16)
def _fetcher_of(client: S3Client, policy: RetryPolicy) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store as Fetcher

    trusted: ClientConfig = {}
    if client.authority is not None:
        trusted["root_certificate"] = Path(client.authority).read_bytes()
    config: S3Config = {"region": client.region, "skip_signature": client.unsigned}
    if client.place.endpoint is not None:
        config["endpoint"] = client.place.endpoint
    # a body that takes longer is cut and resumed
    longest_seconds = policy.deadline_seconds + RESUMED_BYTES / policy.slowest_bytes_per_second
    return Fetcher(
        client.place.bucket,
        config=config,
        credential_provider=None if client.unsigned else Boto3CredentialProvider(client.session),
        client_options=trusted
        | {
            "allow_http": True,
            "connect_timeout": _duration(policy.connect_seconds),
            "read_timeout": _duration(policy.read_seconds),
            "timeout": _duration(longest_seconds),
        },
        retry_config={"max_retries": 0},  # the retries are ours
    )


def _duration(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


@contextmanager
def _translated(address: str, *, resumed: bool, unsigned: bool) -> Iterator[None]:
    """Turn the exceptions of obstore into Transient, StartAgain and StoreErrors."""
    from obstore import exceptions as obs

    try:
        yield
    except StoreError:
        raise
    except (FileNotFoundError, obs.PermissionDeniedError, obs.UnauthenticatedError) as error:
        raise failure_of_status(address, *_status_of(error), unsigned=unsigned) from None
    except obs.PreconditionError as error:
        raise StartAgain(_first_line(error)) from None
    except obs.InvalidPathError as error:
        raise Refused(address, f'{_first_line(error)}; use backend="boto3" for such keys') from None
    except obs.BaseError as error:
        status, code = _status_of(error)
        if status == 0 and "InvalidCertificate" in str(error):
            raise untrusted(address, _first_line(error)) from None
        if status == 0 and "non-partial response" in str(error):
            raise Transient("the server ignores ranges") from None
        if "Config error" in str(error):
            raise Refused(address, _first_line(error)) from None
        if status == 0:
            raise Transient(_first_line(error)) from None
        if status == 416 and resumed:
            raise StartAgain(f"416 {code}: the object is not what it was") from None
        raise failure_of_status(address, status, code, unsigned=unsigned) from None


def _status_of(error: BaseException) -> tuple[int, str]:
    """The HTTP status and S3's word for it, from the text of the exception; (0, "") without an answer."""
    status, code = _STATUS.search(str(error)), _CODE.search(str(error))
    return int(status[1]) if status else 0, code[1] if code else ""


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
