"""What the command on replicas gives, and how it is laid out for people."""

from collections.abc import Iterator

from pydantic import BaseModel, computed_field
from rich.console import RenderableType

from database_handler.cli.tables import columns_of, laid_out, phrase
from database_handler.core.replicas import ReplicaState, ReplicaStatus

__all__ = ["CheckedReplicas"]


class CheckedReplicas(BaseModel, frozen=True):
    """How each replica is."""

    replicas: tuple[ReplicaStatus, ...]

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def ok(self) -> bool:
        """Whether every one of them serves."""
        return all(each.state is ReplicaState.SERVING for each in self.replicas)


@laid_out.register
def _(value: CheckedReplicas, lines: bool) -> Iterator[RenderableType]:
    if not value.replicas:
        yield phrase("no replicas are configured: the primary serves every read")
        return
    table = columns_of(lines, "replica", "state", "seconds behind", "bytes behind")
    for each in value.replicas:
        style = "green" if each.state is ReplicaState.SERVING else "yellow"
        seconds = "" if each.lag_seconds is None else f"{each.lag_seconds:.3f}"
        missing = "" if each.lag_bytes is None else f"{each.lag_bytes:,}"
        table.add_row(phrase(each.url), phrase(each.state, style), phrase(seconds), phrase(missing))
    yield table
    for each in value.replicas:
        if each.message:
            yield phrase(f"{each.url}: {each.message}")
