"""What is done in a thread of its own, and what it raised."""

from collections.abc import Callable
from threading import Thread

__all__ = ["raised_in_thread"]


def raised_in_thread(work: Callable[[], object]) -> BaseException | None:
    """Run it in a thread of its own, within 20 seconds, and return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  # handed over
            raised.append(failure)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return raised[0] if raised else None
