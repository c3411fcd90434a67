"""What the files of settings say, name by name, with the lines; which names there are is not known here.

What a parser would pass over in silence (a name given twice, a quotation mark left open) is refused with the
file and the line, and never with the text of the line, which may hold a password. `.env` is read by
python-decouple; its `Config` is not used, for it asks the environment before everything else.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from database_handler.config.configuration import kind_of, nearest
from database_handler.config.libpq_files import file_text
from database_handler.utils.errors import ConfigurationError, Problem

__all__ = ["Source", "env_file", "yaml_sections"]


@dataclass(frozen=True)
class Source:
    """What one source gives, by variable; `where` says so in words that follow "from".

    Attributes
    ----------
    lines : mapping
        The line of each variable, of a file.
    problems : tuple of Problem
        What of it could not be read.
    """

    where: str
    values: Mapping[str, object]
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def at(self, name: str) -> str:
        """Say where a variable stands: the file and the line, or `where`."""
        if name not in self.lines:
            return self.where
        file, comma, section = self.where.partition(", ")
        return f"{file}:{self.lines[name]}{comma}{section}"


def env_file(path: Path | None, default: str) -> Source:
    """Read the ``.env`` file that was asked for, or the default one; when that is not there, give nothing."""
    where = str(path or default)
    try:
        found = _file(path, default)
        text = None if found is None else file_text(found)
    except ConfigurationError as error:
        return Source(where, {}, problems=(Problem(str(error), source=where),))
    if found is None or text is None:
        return Source(where, {})
    lines, problems = _env_lines(found, text)
    from decouple import RepositoryEnv

    read: dict[str, object] = RepositoryEnv(str(found)).data
    return Source(where, {name: read[name] for name in lines if name in read}, lines, tuple(problems))


def yaml_sections(path: Path | None, default: str, environment: str, named: str | None) -> list[Source]:
    """Read the sections of a YAML file that count in this environment, the stronger first.

    A name is given in upper case; a value that is left out counts as empty text.

    Parameters
    ----------
    named : str, optional
        Where the environment was named; None: it is the default one, and may have no section.
    """
    where = str(path or default)
    try:
        found = _file(path, default)
        return [] if found is None else list(_chosen(found, environment, named))
    except ConfigurationError as error:
        return [Source(where, {}, problems=(Problem(str(error), source=where),))]


def _chosen(path: Path, environment: str, named: str | None) -> Iterator[Source]:
    sections, lines = _sections(path)
    _check_environment(path, [*map(str, sections)], environment, named)
    for section in (environment, "default"):
        if section in sections:
            where = f"{path}, section {section}"
            try:
                values = _section(path, section, sections[section])
            except ConfigurationError as error:
                yield Source(where, {}, problems=(Problem(str(error), source=where),))
            else:
                yield Source(where, values, lines.get(section, {}))


def _check_environment(path: Path, sections: list[str], environment: str, named: str | None) -> None:
    """Refuse an environment without a section where others have one: its name may well be mistyped."""
    others = [section for section in sections if section != "default"]
    if environment in sections or ("default" in sections and (named is None or not others)):
        return
    lacks = f"{path} has no section for the environment {environment}"
    if named is None or "default" not in sections:
        has = f"; it has {', '.join(sections)}" if sections else ""
        raise ConfigurationError(f"{lacks}, nor one named default{has}{nearest(environment, others)}")
    raise ConfigurationError(
        f"{lacks} (from {named}){nearest(environment, others)} It has {', '.join(sections)}; an empty "
        f"section `{environment}: {{}}` says that the default is enough"
    )


def _file(path: Path | None, default: str) -> Path | None:
    """Give the file to read: the one asked for, which must exist, or the default one if it does."""
    looked = Path(default) if path is None else path
    try:
        there = looked.is_file()
        # Docker makes a folder where the file to mount is missing. `.env` may be a virtual environment.
        is_other = not there and looked.exists() and not (looked / "pyvenv.cfg").exists()
    except OSError as error:
        problem = f"{looked} cannot be read: {error.strerror}"
    else:
        if is_other or (path is not None and not there):
            raise ConfigurationError(f"{looked} is not a regular file{'' if is_other else ', or not there'}")
        return looked if there else None
    raise ConfigurationError(problem)


def _env_lines(path: Path, text: str) -> tuple[dict[str, int], list[Problem]]:
    """Give the line of each name; refuse what python-decouple would pass over or take at its word."""
    seen: dict[str, int] = {}
    problems: list[Problem] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        problem = _env_line_problem(line.strip(), seen, number)
        if problem:
            problems.append(Problem(f"{path}:{number} {problem}", source=f"{path}:{number}"))
    return seen, problems


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


_Lines = dict[str, dict[str, int]]


def _sections(path: Path) -> tuple[Mapping[object, object], _Lines]:
    """Give the sections, and the line of each name by section."""
    loaded, lines = _yaml(path)
    if loaded is None:
        return {"default": {}}, {}
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds {kind_of(loaded)}; sections by environment are needed")
    return loaded, lines


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


def _yaml(path: Path) -> tuple[object, _Lines]:
    """Read YAML; what the parser says of an error is left out, for it quotes the file."""
    _require_yaml(path)
    import yaml

    text = file_text(path)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        _refuse_repeated_keys(path, root)
        return yaml.safe_load(text), _lines_of(root)
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
    for node in [root, *(value for _, value in _pairs(root))]:
        seen: set[str] = set()
        for key, _ in _pairs(node):
            if str(key.value) in seen:
                raise ConfigurationError(f"{path}:{key.start_mark.line + 1} sets a name for the second time")
            seen.add(str(key.value))


def _lines_of(root: object) -> _Lines:
    return {
        str(section.value): {str(key.value).upper(): key.start_mark.line + 1 for key, _ in _pairs(values)}
        for section, values in _pairs(root)
    }


def _pairs(node: object) -> list[tuple[Any, Any]]:
    """Give the pairs of a YAML mapping; what is none has none."""
    import yaml

    return node.value if isinstance(node, yaml.MappingNode) else []
