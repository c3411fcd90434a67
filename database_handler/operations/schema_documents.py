"""The schema told to others: JSON Schema for each model, and the tables as a diagram (Mermaid, SVG).

Everything is made from the models, the same to the byte each time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from database_handler.core.base_model import Record, draft_of
from database_handler.core.schema import TENANT, ForeignKey, Table
from database_handler.utils.arguments import checked
from database_handler.utils.errors import InvalidValue

__all__ = ["json_schemas", "mermaid", "svg"]


@checked
def json_schemas(records: Iterable[type[Record]]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (draft 2020-12) of each draft, as it is taken, and record, as it is given."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        draft = draft_of(record)
        found[draft.__name__] = draft.model_json_schema(mode="validation")
        found[record.__name__] = record.model_json_schema(mode="serialization")
    return {name: {"$schema": _DIALECT, **schema} for name, schema in found.items()}


_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# -------------------------------------------------------------------------------------------------- Mermaid


@checked
def mermaid(tables: Sequence[Table]) -> str:
    """Return the tables and their references as a Mermaid ``erDiagram``."""
    lines = ["erDiagram"]
    for table in tables:
        lines.append(f"    {table.name} {{")
        lines += [f"        {_mermaid_column(row)}" for row in _rows(table)]
        lines.append("    }")
    names = {table.name for table in tables}
    for table in tables:
        for key in table.foreign_keys:
            if key.table in names:
                one = "|o" if table.column(key.columns[-1]).nullable else "||"
                lines.append(f"    {key.table} {one}--o{{ {table.name} : {key.columns[-1]}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Row:
    """One column in a diagram."""

    name: str
    type: str
    role: str
    nullable: bool


def _rows(table: Table) -> Iterator[_Row]:
    references = {key.columns[-1] for key in table.foreign_keys}
    for column in table.columns:
        roles = ["PK"] if column.name in table.primary_key else []
        roles += ["FK"] if column.name in references else []
        roles += ["UK"] if column.name in table.key and column.name not in table.primary_key else []
        yield _Row(column.name, column.type, ", ".join(roles), column.nullable)


def _mermaid_column(row: _Row) -> str:
    told = f"{row.type.replace(' ', '_')} {row.name} {row.role}".rstrip()
    return f'{told} "may be NULL"' if row.nullable else told


# ------------------------------------------------------------------------------------------------------ SVG

_WIDTH, _GAP, _TOP, _LINE, _HEAD, _LANE = 310, 110, 60, 18, 30, 10  # pixels
_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}"
    ".name{font-weight:600;font-size:14px;fill:#fff}.type{fill:#66788a}.role{fill:#9a3412;font-size:10px}"
    ".box{fill:#fff;stroke:#9fb3c8}.head{fill:#243b53}"
    ".key{fill:none;stroke:#486581;stroke-width:1.6}.tenant{fill:none;stroke:#cbd5e0;stroke-width:1.2}"
)


@dataclass(frozen=True, slots=True)
class _Box:
    """A table's place in the picture."""

    table: Table
    x: int
    y: int

    @property
    def height(self) -> int:
        return _HEAD + _LINE * len(self.table.columns) + 8

    def row(self, name: str) -> int:
        """Return the height at which a column stands."""
        return self.y + _HEAD + _LINE * self.table.column_names.index(name) + _LINE // 2 + 4


@checked
def svg(tables: Sequence[Table]) -> str:
    """Return the tables and their references as an SVG picture; what is referred to stands on the left."""
    if not tables:
        raise InvalidValue("svg: there is no table to draw")
    boxes = _placed(tables)
    width = max(box.x for box in boxes.values()) + _WIDTH + 40
    height = max(box.y + box.height for box in boxes.values()) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="Tables and their references">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#f8fafc"/>',
    ]
    lanes = _lanes(boxes)
    for box in boxes.values():
        keys = [key for key in box.table.foreign_keys if key.table in boxes]
        parts += [_edge(box, key, boxes[key.table], lanes[key.table]) for key in keys]
    for box in boxes.values():
        parts += _drawn(box)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _placed(tables: Sequence[Table]) -> dict[str, _Box]:
    """Put each table to the right of what it refers to, the longest way counted."""
    depth: dict[str, int] = {}
    names = {table.name for table in tables}
    for _ in tables:  # enough rounds for the longest chain
        for table in tables:
            above = {key.table for key in table.foreign_keys} & names - {table.name}
            depth[table.name] = max((depth.get(name, 0) + 1 for name in above), default=0)
    boxes: dict[str, _Box] = {}
    bottom: dict[int, int] = {}
    for table in tables:
        column = depth[table.name]
        box = _Box(table, 40 + column * (_WIDTH + _GAP), bottom.get(column, _TOP))
        boxes[table.name] = box
        bottom[column] = box.y + box.height + 40
    return boxes


def _lanes(boxes: Mapping[str, _Box]) -> dict[str, int]:
    """Give each table that is referred to from afar a height of its own, all of them above the tables."""
    far = [
        key.table
        for box in boxes.values()
        for key in box.table.foreign_keys
        if key.table in boxes and box.x - boxes[key.table].x > _WIDTH + _GAP
    ]
    room = _TOP - 2 * _LANE
    places = {name: place for place, name in enumerate(dict.fromkeys(far), 1)}
    return {name: _LANE + room * places.get(name, 0) // (len(places) + 1) for name in boxes}


def _edge(box: _Box, key: ForeignKey, target: _Box, lane: int) -> str:
    """Draw a reference: to a neighbour as a curve, else by the lane of its target above all tables."""
    x1, y1 = box.x, box.row(key.columns[-1])
    x2, y2 = target.x + _WIDTH, target.y + _HEAD // 2
    bend = _GAP * 2 // 3
    kind = "tenant" if key.columns[-1] == TENANT else "key"
    way = f"C{x1 - bend},{y1} {x2 + bend},{y2} {x2},{y2}"
    if x1 - x2 > _GAP:
        out, back = (24, 44) if kind == "tenant" else (36, 30)
        way = f"H{x1 - out} V{lane} H{x2 + back} V{y2} H{x2}"
    return (
        f'<path class="{kind}" d="M{x1},{y1} {way}"/>'
        f'<circle cx="{x1}" cy="{y1}" r="3" fill="{"#cbd5e0" if kind == "tenant" else "#486581"}"/>'
    )


def _drawn(box: _Box) -> Iterator[str]:
    table = box.table
    yield f'<rect class="box" x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}" rx="6"/>'
    yield (
        f'<path class="head" d="M{box.x},{box.y + _HEAD} v{6 - _HEAD} q0,-6 6,-6 h{_WIDTH - 12} '
        f'q6,0 6,6 v{_HEAD - 6} z"/>'
    )
    yield f'<text class="name" x="{box.x + 12}" y="{box.y + 20}">{escape(table.name)}</text>'
    for row in _rows(table):
        y = box.row(row.name) + 4
        optional = "?" if row.nullable else ""
        yield f'<text x="{box.x + 12}" y="{y}">{escape(row.name)}</text>'
        yield (
            f'<text class="role" x="{box.x + 158}" y="{y}">{row.role}</text>'
            f'<text class="type" x="{box.x + _WIDTH - 12}" y="{y}" text-anchor="end">'
            f"{escape(row.type)}{optional}</text>"
        )
