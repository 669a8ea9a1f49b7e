"""One event loop in a thread of its own, for libraries that wait more cheaply there than in many threads."""

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")

_STARTING = threading.Lock()


def waited_for(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The coroutine's result, or what it raises; other threads may wait for others meanwhile.

    The loop starts with the first call and ends with the process. After a fork the child has no loop; a call there
    never returns.
    """
    with _STARTING:
        loop = _running_loop()
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:  # of the waiting thread too (an interrupt): nobody will take the result
        future.cancel()
        raise


@cache
def _running_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="dinocell-loop", daemon=True).start()
    return loop
