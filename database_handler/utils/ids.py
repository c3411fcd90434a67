"""New ids, in the order of time."""

from uuid import UUID, SafeUUID

import uuid_utils

__all__ = ["new_id"]

# What `UUID` does with a number, less its checks. The last is looked up once, for to do so calls Python.
_new, _put, _unknown = object.__new__, object.__setattr__, SafeUUID.unknown


def new_id() -> UUID:
    """Make a UUID of version 7; those of one process are in the order in which they were made."""
    made = _new(UUID)
    _put(made, "int", uuid_utils.uuid7().int)
    _put(made, "is_safe", _unknown)
    return made
