"""Why a stream cannot go on."""


class StreamError(RuntimeError):
    """A stream cannot continue; plain text, so that it passes from a worker process to the main one."""


class TooManyFailures(StreamError):
    """More fields than the limit could not be read: the data, the network or the selection is at fault."""


class StreamStalled(StreamError):
    """No field arrived for too long; the text shows where each thread is."""
