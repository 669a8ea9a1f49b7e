"""Objects that are put in parts: what an S3 server keeps of them until they are complete."""

import itertools
import re
from collections.abc import Mapping

Answer = tuple[int, bytes, dict[str, str]]


class Uploads:
    """The uploads that have begun, by their number. An object exists when its upload is completed, never before."""

    def __init__(self) -> None:
        self.begun: dict[str, dict[int, bytes]] = {}
        self._numbers = itertools.count(1)

    def begin(self) -> Answer:
        upload = str(next(self._numbers))
        self.begun[upload] = {}
        return (
            200,
            f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode(),
            {},
        )

    def put(self, query: Mapping[str, list[str]], body: bytes, etag: str) -> Answer | None:
        """None where the upload is not known."""
        parts = self.begun.get(query["uploadId"][0])
        if parts is None:
            return None
        parts[int(query["partNumber"][0])] = body
        return 200, b"", {"ETag": etag}

    def complete(self, upload: str, body: bytes) -> bytes | None:
        """The whole object of the parts that `body` lists, None where the upload is not known."""
        parts = self.begun.pop(upload, None)
        if parts is None:
            return None
        return b"".join(parts[int(number)] for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body))
