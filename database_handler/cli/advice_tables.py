"""Advice, laid out for people."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding

from database_handler.cli.tables import laid_out, phrase
from database_handler.operations.advice import Advice
from database_handler.utils.text import counted

__all__: list[str] = []

_STYLES = {"urgent": "bold red", "warning": "yellow", "note": "bold"}


@laid_out.register
def _(value: Advice, lines: bool) -> Iterator[RenderableType]:
    del lines
    for finding in value.findings:
        yield phrase(f"{finding.severity}, {finding.kind}: {finding.object}", _STYLES[finding.severity])
        yield _below(f"{finding.why}. {finding.remedy[0].upper()}{finding.remedy[1:]}.")
        for statement in finding.sql:
            yield _below(f"{statement};")
    for unseen in value.unseen:
        yield phrase(f"not seen: {unseen}", "yellow")
    told = counted(len(value.findings), "finding") if value.findings else "nothing to look at"
    yield phrase(f"{value.database}: {told}; counted since {value.counted_since:%Y-%m-%d %H:%M} UTC")


def _below(text: str) -> RenderableType:
    return Padding(phrase(text), (0, 0, 0, 2))
