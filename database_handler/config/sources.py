"""What the files of settings say, name by name; which names there are is not known here.

What a parser would pass over in silence (a name given twice, a quotation mark left open) is refused with the
file and the line, and never with the text of the line, which may hold a password. `.env` is read by
python-decouple; its `Config` is not used, for it asks the environment before everything else.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from database_handler.config.configuration import kind_of
from database_handler.utils.errors import ConfigurationError

__all__ = ["Source", "env_file", "yaml_sections"]

_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Source:
    """What one source gives, by variable; `where` says so in words that follow "from"."""

    where: str
    values: Mapping[str, object]


def env_file(path: Path | None, default: str) -> Source:
    """Read the ``.env`` file that was asked for, or the default one; when that is not there, give nothing."""
    found = _file(path, default)
    if found is None:
        return Source(default, {})
    _check_env_lines(found, _file_text(found))
    from decouple import RepositoryEnv

    values: dict[str, object] = dict(RepositoryEnv(str(found)).data)
    return Source(str(found), values)


def yaml_sections(path: Path | None, default: str, environment: str) -> Iterator[Source]:
    """Read the sections of a YAML file that count in this environment, the stronger first.

    A name is given in upper case; a value that is left out counts as empty text.
    """
    found = _file(path, default)
    if found is None:
        return
    sections = _sections(found)
    if environment not in sections and "default" not in sections:
        raise ConfigurationError(
            f"{found} has no section for the environment {environment}, nor one named default"
        )
    for section in (environment, "default"):
        if section in sections:
            yield Source(f"{found}, section {section}", _section(found, section, sections[section]))


def _file(path: Path | None, default: str) -> Path | None:
    """Give the file to read: the one asked for, which must exist, or the default one if it does."""
    if path is not None and not path.is_file():
        raise ConfigurationError(f"{path} is not a regular file, or not there")
    if path is not None:
        return path
    return Path(default) if Path(default).is_file() else None


def _file_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) <= _MAX_FILE_BYTES:
            return data.decode()
        problem = f"{path} is larger than {_MAX_FILE_BYTES} bytes"
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"{path}:{line} is not UTF-8"
    raise ConfigurationError(problem)


def _check_env_lines(path: Path, text: str) -> None:
    """Refuse what python-decouple would pass over in silence or take at its word."""
    seen: dict[str, int] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        problem = _env_line_problem(line.strip(), seen, number)
        if problem:
            raise ConfigurationError(f"{path}:{number} {problem}")


def _env_line_problem(line: str, seen: dict[str, int], number: int) -> str:
    if not line or line.startswith("#"):
        return ""
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return "is not NAME=value"
    if "\0" in line:
        return "holds NUL"
    if value[:1] in {'"', "'"} and (len(value) < 2 or value[-1] != value[0]):
        return "opens a quotation mark that it does not close"
    if name in seen:
        return f"sets {name} again, after line {seen[name]}"
    seen[name] = number
    return ""


def _sections(path: Path) -> Mapping[object, object]:
    loaded = _yaml(path)
    if loaded is None:
        return {"default": {}}
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds {kind_of(loaded)}; sections by environment are needed")
    return loaded


def _section(path: Path, section: str, values: object) -> dict[str, object]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"{path}, section {section} holds {kind_of(values)}; settings by name are needed"
        )
    named = {str(name).upper(): value for name, value in values.items()}
    if len(named) < len(values):
        raise ConfigurationError(f"{path}, section {section} has a setting in two spellings")
    return {name: "" if value is None else value for name, value in named.items()}


def _yaml(path: Path) -> object:
    """Read YAML; what the parser says of an error is left out, for it quotes the file."""
    _require_yaml(path)
    import yaml

    text = _file_text(path)
    try:
        _refuse_repeated_keys(path, yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"{path}:{mark.line + 1 if mark else 1} is not valid YAML"
    except (yaml.YAMLError, RecursionError, ValueError):
        problem = f"{path} is not valid YAML"
    raise ConfigurationError(problem)


def _require_yaml(path: Path) -> None:
    try:
        import_module("yaml")
    except ImportError:
        pass
    else:
        return
    raise ConfigurationError(f"{path} needs PyYAML: pip install 'database-handler[yaml]'")


def _refuse_repeated_keys(path: Path, root: object) -> None:
    """Refuse a section or a setting given twice, of which PyYAML would take the last in silence."""
    import yaml

    sections = [value for _, value in root.value] if isinstance(root, yaml.MappingNode) else []
    for node in [root, *sections]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if str(key.value) in seen:
                raise ConfigurationError(f"{path}:{key.start_mark.line + 1} sets a name for the second time")
            seen.add(str(key.value))
