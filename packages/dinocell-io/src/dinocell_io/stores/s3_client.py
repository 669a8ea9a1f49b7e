"""One process's connection to a bucket: credentials and signatures by boto3, bodies by urllib3, failures by type."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any
from urllib.parse import quote, urlsplit

from dinocell_io.stores.retry import RetryPolicy, Transient
from dinocell_io.stores.store import AccessDenied, NotFound, Refused, StoreError
from dinocell_io.system.fork_safe import call_after_fork

# what other clients of these servers try again too (botocore's standard mode has the same list)
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504, 509})
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")
_ENDPOINT = re.compile(r"https?://[^/\s]+", re.IGNORECASE)


@dataclass(frozen=True)
class S3Place:
    """Which bucket, how to reach it, and as whom. None: what boto3 finds in the environment and its files.

    `unsigned` True asks without credentials, as public buckets allow; None does so where none are found.
    `ca_file` is the certificate authority of a server of one's own.
    Raises ValueError for a name that no bucket can have, and for an endpoint that is not an http(s) address.
    """

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    unsigned: bool | None = None
    profile: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError(
                f"{self.bucket!r} is not a name of a bucket; expected letters, digits, '.', '-' and '_', or an ARN"
            )
        if self.endpoint is not None and not _ENDPOINT.match(self.endpoint):
            raise ValueError(f"endpoint {self.endpoint!r} is not an address; expected http://host:port or https://host")

    def address(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def object_address(self, key: str) -> str:
        """The address of one object; Refused without a key, for which servers answer with a listing."""
        if not key:
            raise Refused(self.address(key), "no key was given; expected s3://bucket/key")
        return self.address(key)


class S3Client:
    """boto3's client of one place, and a pool of connections for the bodies of its objects.

    boto3 reads a body through several layers of Python and never tries a broken one again; so boto3 signs the
    address and urllib3, which it is built on, fetches it.
    """

    def __init__(self, place: S3Place, *, policy: RetryPolicy, connections: int, region: str | None = None) -> None:
        # imported here: they take 0.15 s, which readers of local files should not pay
        import boto3  # type: ignore[import-untyped]
        import botocore.session  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.httpsession import get_cert_path  # type: ignore[import-untyped]
        from botocore.utils import get_environ_proxies  # type: ignore[import-untyped]
        from urllib3 import PoolManager, ProxyManager

        session = boto3.Session(botocore_session=_session_of(place.profile))
        unsigned = place.unsigned if place.unsigned is not None else session.get_credentials() is None
        authority = place.ca_file or os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        config = Config(
            signature_version=botocore.UNSIGNED if unsigned else None,
            connect_timeout=policy.connect_seconds,
            read_timeout=policy.read_seconds,
            max_pool_connections=connections,
            retries={"total_max_attempts": 1, "mode": "standard"},  # the retries are ours
            request_checksum_calculation="when_required",
        )
        self.session = session
        self.authority = authority
        self.unsigned = unsigned
        self.place = place
        self.boto = session.client(
            "s3",
            endpoint_url=place.endpoint,
            region_name=region or place.region or session.region_name or "us-east-1",
            verify=authority,
            config=config,
        )
        self.region = self.boto.meta.region_name
        base = self.boto.meta.endpoint_url
        proxy = get_environ_proxies(base).get(urlsplit(base).scheme)
        make_pool = partial(ProxyManager, proxy) if proxy else PoolManager
        self.pool: PoolManager = make_pool(maxsize=connections, ca_certs=authority or get_cert_path(True))
        # unsigned addresses differ in their keys alone
        self._unsigned_base = self._signed("k", "get_object").removesuffix("k") if unsigned else None

    def url(self, key: str) -> str:
        """The address that GETs the object, signed for an hour if there are credentials."""
        if self._unsigned_base is not None:
            return self._unsigned_base + quote(key, safe="/~")
        return self._signed(key, "get_object")

    def _signed(self, key: str, method: str) -> str:
        parameters = {"Bucket": self.place.bucket, "Key": key}
        with translated(self.place.address(key)):
            url: str = self.boto.generate_presigned_url(method, Params=parameters, ExpiresIn=3600)
        return url


def connected_client(place: S3Place, *, policy: RetryPolicy, connections: int, region: str | None = None) -> S3Client:
    """This process's client of the place: made once, with its connections, for all stores that are alike.

    Opening a store for each of a thousand images must not connect a thousand times. Other variables in the
    environment (another login) make another client.
    """
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _client_of(place, policy, connections, region, environment)


@lru_cache(maxsize=16)
def _client_of(
    place: S3Place,
    policy: RetryPolicy,
    connections: int,
    region: str | None,
    environment: tuple[tuple[str, str], ...],
) -> S3Client:
    return S3Client(place, policy=policy, connections=connections, region=region)


call_after_fork(_client_of.cache_clear)  # a child must not talk over its parent's sockets


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader  # type: ignore[import-untyped]

    return create_loader(None)


def _session_of(profile: str | None) -> Any:
    """A session of its own, with credentials read now, over the one copy of S3's description (0.1 s to parse)."""
    from botocore.session import Session

    session = Session(profile=profile)
    session.register_component("data_loader", _loader())
    return session


def failure_of_status(address: str, status: int, code: str, *, unsigned: bool) -> StoreError | Transient:
    """The failure that an HTTP status means; `code` is S3's word for it."""
    text = f"{status} {code}".strip()
    if status in _TRANSIENT_STATUS or code in ("SlowDown", "RequestTimeout", "InternalError"):
        return Transient(text)
    if status == 404 and code == "NoSuchBucket":
        return NotFound(address, f"{text}: there is no such bucket; check its name, and the endpoint")
    if status == 404:
        return NotFound(address, f"{text}: there is no such object; check the key letter by letter, or list its folder")
    if status in (401, 403):
        asked = "without credentials, which may be missing" if unsigned else "with the credentials that were found"
        return AccessDenied(address, f"{text}; it was asked {asked}, see AWS_PROFILE and unsigned=True")
    if status == 416:
        return Refused(address, f"{text}: the range is not inside the object")
    return Refused(address, f"the server answered {text}")


def untrusted(address: str, cause: str) -> Refused:
    """The failure that a certificate of an unknown authority is."""
    advice = "name its authority with ca_file or AWS_CA_BUNDLE"
    return Refused(address, f"the server's certificate is not trusted ({cause}); {advice}")


@contextmanager
def translated(address: str, *, unsigned: bool = False) -> Iterator[None]:
    """Turn the exceptions of botocore and urllib3 into Transient and StoreErrors."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
    from urllib3 import exceptions as http

    try:
        yield
    except boto.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        code = "" if code == str(status) else code
        raise failure_of_status(address, status, code, unsigned=unsigned) from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
        raise AccessDenied(address, f"{error}; log in, set AWS_PROFILE, or open the store with unsigned=True") from None
    except (boto.SSLError, http.SSLError) as error:
        if _is_untrusted(error):
            raise untrusted(address, str(error)) from None
        raise Transient(f"TLS: {error}") from None
    except (boto.EndpointConnectionError, http.NewConnectionError, http.ProxyError) as error:
        raise Transient(f"{_short(error)}; check the endpoint, and this machine's network and proxies") from None
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, ResponseParserError) as error:
        raise Transient(_short(error)) from None  # a connection that breaks, a body that is cut
    except boto.BotoCoreError as error:
        raise Refused(address, str(error)) from None
    except (http.HTTPError, OSError) as error:
        if isinstance(error, StoreError):
            raise
        raise Transient(_short(error)) from None


def _is_untrusted(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        reason = getattr(seen, "reason", None) or (seen.kwargs.get("error") if hasattr(seen, "kwargs") else None)
        seen = reason if isinstance(reason, BaseException) else seen.__cause__ or seen.__context__
    return False


def _short(error: BaseException) -> str:
    """The exception in a line, without the addresses of objects in memory."""
    text = str(error).split(">: ", 1)[-1]
    return f"{type(error).__name__}: {text}"[:300]
