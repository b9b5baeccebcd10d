"""The few threads that score, and the bounded queue before them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from deploy.serving.limits import busy

Result = TypeVar("Result")


class Workers:
    """concurrency threads, and at most `queue` pieces of work that wait for one."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="scoring")
        self._most = concurrency + queue
        self._queue = queue
        self._lock = threading.Lock()
        self._pending = 0

    @property
    def pending(self) -> int:
        """How many pieces of work are being done or wait. What nobody waits for any more counts while it runs."""
        return self._pending

    def require_room(self) -> None:
        """Raise Refused (429) where the queue is full."""
        if self._pending >= self._most:
            raise busy(f"{self._queue} wait already")

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of the work, done in a thread. Cancelled while it waits it is never begun.

        Raises Refused (429) where the queue is full, and what the work raises.
        """
        self.require_room()
        with self._lock:
            self._pending += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin nothing more. What runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[Result]) -> None:
        with self._lock:
            self._pending -= 1
