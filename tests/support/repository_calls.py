"""Every public method of every repository with arguments that name rows of a scene, found by reflection.

A new method is called by existing; where its parameters have names of their own, a line in
tests/support/valid_arguments.py gives them values, and one here where those name no row.
"""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from database_handler import Change
from tests.support import media
from tests.support.public_callables import Public, public_callables
from tests.support.valid_arguments import Scene, base, draft_of, owner_of

__all__ = ["Arguments", "call", "calls", "methods", "needed"]

Arguments = dict[str, Any]

# What belongs to no repository and sends statements all the same.
ALSO = {"Database.search"}
# Valid values that name the rows of the scene, where those of the hostile tests name none.
WANTED: dict[str, Callable[[Scene, Public], Any]] = {
    "*.id": lambda scene, public: _of(scene, public).id,
    "projects.coverage.id": lambda scene, public: scene.project.id,
    "*.draft": lambda scene, public: draft_of(scene, public.over or ""),
    "*.update.changes": lambda scene, public: {"metadata": {"a": 1}},
    "*.update_many.changes": lambda scene, public: [
        Change(id=_of(scene, public).id, changes={"metadata": {"a": 1}})
    ],
    "translations.set_status_many.status": lambda scene, public: "review",
    "projects.import_.source": lambda scene, public: _exported(scene),
    "*.import_rows.source": lambda scene, public: _one_row(scene, public.over or ""),
    "videos.create_from_file.path": lambda scene, public: _filmed(scene),
    "text_sources.create_from_file.source": lambda scene, public: scene.folder / "text.txt",
}
# What names a project, or fewer rows, where a method would go through all of them.
HELD: dict[str, Callable[[Scene], Arguments]] = {
    "translations.tokenize_many": lambda scene: {"project_id": scene.project.id},
    "videos.check_files": lambda scene: {"project_id": scene.project.id},
    "projects.import_": lambda scene: {"name": "Another"},
}
# Options, one at a time, over what a method needs.
OPTIONS: dict[str, Callable[[Scene], Any]] = {
    "expected_version": lambda scene: 1,
    "order_by": lambda scene: "-created_at",
    "total": lambda scene: 100,
    "project_id": lambda scene: scene.project.id,
    "language": lambda scene: "en",
}
BOUNDED = {"limit": 20, "batch": 10}  # given where it can be: more would ask for the whole table


def methods() -> list[Public]:
    """Return the methods, each entity's own."""
    return [each for each in public_callables() if each.over is not None or each.name in ALSO]


def needed(scene: Scene, public: Public) -> Arguments:
    """Return what a method needs, so that it finds a row."""
    given: Arguments = {name: BOUNDED[name] for name in BOUNDED if name in public.parameters}
    given |= {name: wanted(scene, public, name, value) for name, value in base(scene, public).items()}
    if public.name in HELD:
        given |= HELD[public.name](scene)
    if public.name.endswith(".update"):
        given["changes"] = {"metadata": {"a": 1}}
    return given


def calls(scene: Scene) -> Iterator[tuple[str, Public, Arguments]]:
    """Give each call: a method with what it needs, then with each of its options in turn."""
    for public in methods():
        given = needed(scene, public)
        yield "", public, given
        for name in () if public.again else sorted(OPTIONS.keys() & public.parameters.keys() - given.keys()):
            yield f", {name}", public, given | {name: OPTIONS[name](scene)}


def wanted(scene: Scene, public: Public, name: str, value: Any) -> Any:
    """Return a value that names a row of the scene."""
    method = public.name.rpartition(".")[2]
    for key in (f"{public.name}.{name}", f"*.{method}.{name}", f"*.{name}"):
        if key in WANTED:
            return WANTED[key](scene, public)
    return value


def _of(scene: Scene, public: Public) -> Any:
    return scene.records[public.over or ""]


def _exported(scene: Scene) -> Path:
    path = scene.folder / "exported.jsonl"
    if not path.exists():
        scene.database.projects.export(scene.project.id, path)
    return path


def _one_row(scene: Scene, name: str) -> Path:
    path = scene.folder / f"{name}.jsonl"
    path.write_text(draft_of(scene, name).model_dump_json())
    return path


def _filmed(scene: Scene) -> str:
    path = scene.folder / "film.mp4"
    if not path.exists():
        media.make(path, "mp4", media.Recipe(frames=4))
    return path.name


def call(scene: Scene, public: Public, given: Arguments) -> None:
    """Call it; of a stream one batch is enough."""
    named = dict(given)
    placed = [n for n, p in public.parameters.items() if n == "args" or p.kind is p.POSITIONAL_ONLY]
    first = [named.pop(name) for name in placed if name in named]
    owner = owner_of(scene, public) if public.over is not None else scene.uow or scene.database
    found = getattr(owner, public.name.rpartition(".")[2])(*first, **named)
    if isinstance(found, Generator):
        next(found, None)
        found.close()
