"""An address in a text (``href``, a link's target) is one that a link may have, or it is none."""

import re
from typing import Final

from database_handler.utils.errors import InvalidValue
from database_handler.utils.urls import normalize_url

__all__ = ["LINK_REL", "SCHEMES", "safe_address", "safe_attribute"]

SCHEMES: Final = frozenset({"http", "https", "mailto"})
"""What an address may begin with."""
LINK_REL: Final = "noopener noreferrer nofollow"
"""What every link of HTML says of itself."""

_MAIL: Final = re.compile(
    r"mailto:[A-Za-z0-9.!#$%&*+/=^_{|}~-]+@[A-Za-z0-9.-]+(\?[A-Za-z0-9%&=.,+_~-]*)?", re.IGNORECASE
)
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9-]{1,63}")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_DIRECTIONS: Final = frozenset({"ltr", "rtl", "auto"})


def safe_address(value: str) -> str | None:
    """Return the normalised http or https URL, or the mailto address; None for anything else."""
    if _MAIL.fullmatch(value):
        return "mailto:" + value[7:]
    try:
        return normalize_url(value)
    except InvalidValue:
        return None


def safe_attribute(tag: str, name: str, value: str) -> str | None:
    """Return the value of an allowed attribute as it may stay on a tag; None where it goes."""
    if name == "href":
        return safe_address(value) if tag == "a" else None
    if name == "rel":  # our own: no other gets here
        return LINK_REL
    if name == "dir":
        return value.lower() if value.lower() in _DIRECTIONS else None
    allowed = {"lang": _LANGUAGE, "start": _NUMBER, "colspan": _NUMBER, "rowspan": _NUMBER}.get(name)
    return value if allowed and allowed.fullmatch(value) else None
