"""The XML that an S3 server answers: listings and errors."""

from collections.abc import Callable, Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def listing_body(
    objects: Mapping[str, bytes],
    query: Mapping[str, list[str]],
    *,
    bucket: str,
    page_size: int,
    etag: Callable[[str], str],
) -> bytes:
    """One page of ListObjectsV2. The continuation token is the last key or folder of the page before."""

    def asked(name: str) -> str:
        return query.get(name, [""])[0]

    encode = quote if asked("encoding-type") == "url" else escape
    prefix, delimiter = asked("prefix"), asked("delimiter")
    after = asked("continuation-token") or asked("start-after")
    limit = min(page_size, int(asked("max-keys") or page_size))
    found: dict[str, bool] = {}
    for key in sorted((key for key in objects if key.startswith(prefix)), key=str.encode):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if cut < 0 else key[: cut + len(delimiter)]
        if name.encode() > after.encode():
            found[name] = cut >= 0
    page = list(found.items())[:limit]
    is_cut = len(found) > len(page)
    lines = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{_NAMESPACE}"><Name>{bucket}</Name>',
        f"<Prefix>{encode(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount><MaxKeys>{limit}</MaxKeys>",
        f"<EncodingType>{asked('encoding-type')}</EncodingType>" if asked("encoding-type") else "",
        f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>",
    ]
    if is_cut:
        lines.append(f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>")
    for name, is_folder in page:
        if is_folder:
            lines.append(f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>")
        else:
            lines.append(
                f"<Contents><Key>{encode(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(etag(name))}</ETag><Size>{len(objects[name])}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
    return "".join([*lines, "</ListBucketResult>"]).encode()


def error_body(code: str) -> bytes:
    """The body of an answer that is an error."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
    )
