"""Where the settings come from, and the validated description of a database that they make."""

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import Settings

__all__ = ["DatabaseConfig", "Settings"]
