"""New ids for many rows at once: one beginning, and the number of each row, so that their order is kept.

A copy must list its rows as the original does, and rows are listed by id. So the ids of a copy are made of
one UUIDv7 (RFC 9562, section 6.2, "Fixed Bit-Length Dedicated Counter"): its time, 32 bits that count the
rows, and 40 bits of its own randomness. Python and SQL make the same id of the same number.
"""

from dataclasses import dataclass
from uuid import UUID

from database_handler.utils.ids import new_id

__all__ = ["NewIds"]

_DIGITS = 8  # hexadecimal ones, for the number of a row


@dataclass(frozen=True, slots=True)
class NewIds:
    """The ids of one copied table.

    Attributes
    ----------
    head, tail : str
        What stands before and after the number, as hexadecimal digits.
    """

    head: str
    tail: str

    @classmethod
    def make(cls) -> "NewIds":
        """Begin at the present moment."""
        made = new_id().hex
        return cls(made[:12], made[-10:])

    def at(self, number: int) -> UUID:
        """Return the id of a row by its number, from 1 on."""
        digits = f"{number:0{_DIGITS}x}"
        return UUID(f"{self.head}7{digits[:3]}8{digits[3:]}{self.tail}")


def id_in_sql(number: str, head: str, tail: str) -> str:
    """Return the SQL of `NewIds.at`, given the SQL of its parts."""
    digits = f"lpad(to_hex({number}), {_DIGITS}, '0')"
    return f"({head} || '7' || left({digits}, 3) || '8' || right({digits}, {_DIGITS - 3}) || {tail})::uuid"
