"""What tests of an application use: pytest fixtures (`plugin`) and factories.

The factories need factory-boy, so they are imported when the first one is asked for: the plugin, which
pytest loads in every run, needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from database_handler.testing.factories import (
        EntityFactory,
        LinkFactory,
        ProjectFactory,
        SummaryFactory,
        TextSourceFactory,
        TranslationFactory,
        VideoFactory,
        factory_of,
        seed,
    )

__all__ = [
    "EntityFactory",
    "LinkFactory",
    "ProjectFactory",
    "SummaryFactory",
    "TextSourceFactory",
    "TranslationFactory",
    "VideoFactory",
    "factory_of",
    "seed",
]


def __getattr__(name: str) -> Any:
    """Import the factories with the first one that is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("database_handler.testing.factories"), name)
