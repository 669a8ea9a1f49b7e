"""For tests and benchmarks of what reads from stores: an S3 server on loopback that fails on request."""

from .object_server import Fault, ObjectServer, Request

__all__ = ["Fault", "ObjectServer", "Request"]
