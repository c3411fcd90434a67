"""Where the settings come from, and the validated descriptions of a database and of files that they make."""

from database_handler.config.cache import CacheConfig
from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.report import Setting, SettingsReport, check_settings
from database_handler.config.settings import Settings

__all__ = [
    "CacheConfig",
    "DatabaseConfig",
    "FilesConfig",
    "Setting",
    "Settings",
    "SettingsReport",
    "check_settings",
]
