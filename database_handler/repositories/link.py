"""The repository of links: many URLs at once, and links by what they lead to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.models.link import Link, LinkKind, NewLink, with_original
from database_handler.repositories import statements
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create
from database_handler.utils.validators import url_host

__all__ = ["AddedLinks", "LinkRepository", "RefusedUrl", "RepeatedUrl"]

MOST_URLS = 50_000


@dataclass(frozen=True, slots=True)
class RefusedUrl:
    """A URL that was not taken: its position in the input, and why."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class RepeatedUrl:
    """A URL that is another one of the input once both are normalised: its position, and the other's."""

    place: int
    first: int


@dataclass(frozen=True, slots=True)
class AddedLinks:
    """What became of each URL that was given to `LinkRepository.add_many`.

    Attributes
    ----------
    created, existing : tuple of Link
        The links made now, and those that the project had already, which stay as they were; each in the
        order given.
    refused, repeated : tuple
        The rest of the input.
    """

    created: tuple[Link, ...]
    existing: tuple[Link, ...]
    refused: tuple[RefusedUrl, ...]
    repeated: tuple[RepeatedUrl, ...]


class LinkRepository(Repository[NewLink, Link]):
    """Reads and writes `Link` records."""

    draft = NewLink
    record = Link
    create = Create(NewLink, Link)

    def _changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        valid = super()._changes(with_original(changes))
        if "host" in changes and not ("url" in valid and valid["host"] == url_host(valid["url"])):
            raise InvalidValue("Link: host is that of the URL; change the URL, and leave the host out")
        return valid

    def add_many(self, project_id: UUID | str, urls: Iterable[str]) -> AddedLinks:
        """Store those of some URLs that are acceptable and new, and tell what became of each.

        One round trip. A URL that is refused stops no other; one that the project has already, in whatever
        spelling, leaves its link as it is. Safe beside others that do the same.

        Raises
        ------
        InvalidValue
            What is given is no list, or has more than 50,000 URLs; or the project's JSON Schema for links
            asks for metadata, which a bare URL has not.
        MissingReference
            There is no such project.
        """
        project = self._project(project_id)
        drafts, refused, repeated = _sorted_out(project, _listed(urls))
        rows = self._rows(drafts, [None] * len(drafts))
        ids = {row[self._written.index("id")] for row in rows}
        records = self._added(project, drafts, rows) if rows else {}
        placed = [records[draft.url] for draft in drafts]
        return AddedLinks(
            created=tuple(record for record in placed if record.id in ids),
            existing=tuple(record for record in placed if record.id not in ids),
            refused=tuple(refused),
            repeated=tuple(repeated),
        )

    def _added(self, project: UUID, drafts: list[NewLink], rows: list[tuple[Any, ...]]) -> dict[str, Link]:
        sent = statements.as_arrays(self.table, rows)
        urls = [draft.url for draft in drafts]
        statement = statements.telling(self._session, self.table, _ADD, rows)
        found = self._metadata.sent(
            lambda: [project],
            lambda: self._session.all(statement, [*sent, *self._metadata.marks(drafts), project, urls]),
            lambda there: len(there) == len(urls),
        )
        return {record.url: record for record in map(self._fill, found)}

    def by_kind(self, project_id: UUID | str, *, limit: int | None = None) -> dict[LinkKind, list[Link]]:
        """Return the links of a project by what they lead to, each kind's by id, in one round trip.

        Parameters
        ----------
        limit : int, optional
            The most of each kind. Without it all of the project's links are held in memory.
        """
        if limit is not None and not (type(limit) is int and 1 <= limit <= 10_000):
            raise InvalidValue("by_kind: limit is a whole number from 1 to 10,000, or None")
        rows = self._session.all(_BY_KIND, [self._project(project_id), limit])
        grouped: dict[LinkKind, list[Link]] = {}
        for link in map(self._fill, rows):
            grouped.setdefault(link.kind, []).append(link)
        return {kind: grouped[kind] for kind in LinkKind if kind in grouped}

    def counts_by_kind(self, project_id: UUID | str) -> dict[LinkKind, int]:
        """Return how many links of each kind a project has, in one round trip; kinds without one are 0."""
        counted: dict[str, int] = dict(self._session.all(_COUNTS, [self._project(project_id)]))
        return {kind: counted.get(kind.value, 0) for kind in LinkKind}

    def _project(self, project_id: object) -> UUID:
        project: UUID = validated_field(NewLink, "project_id", project_id)
        if self._project_id not in {None, project}:
            raise InvalidValue("this unit is held to another project")
        return project


def _listed(urls: object) -> list[object]:
    if isinstance(urls, str | bytes | Mapping) or not isinstance(urls, Iterable):
        raise InvalidValue(f"add_many takes a list of URLs, not a {type(urls).__name__}")
    found: list[object] = []
    for url in urls:
        found.append(url)
        if len(found) > MOST_URLS:
            raise InvalidValue(f"add_many takes at most {MOST_URLS:,} URLs at once")
    return found


def _sorted_out(
    project: UUID, urls: list[object]
) -> tuple[list[NewLink], list[RefusedUrl], list[RepeatedUrl]]:
    """Make a draft of each URL that is acceptable and no other's twin."""
    drafts: dict[str, tuple[int, NewLink]] = {}
    refused: list[RefusedUrl] = []
    repeated: list[RepeatedUrl] = []
    for place, url in enumerate(urls):
        try:
            draft = NewLink.model_validate({"project_id": project, "url": url})
        except InvalidValue as error:
            refused.append(RefusedUrl(place, str(error).removeprefix("NewLink: url: ")))
            continue
        first, _ = drafts.setdefault(draft.url, (place, draft))
        if first != place:
            repeated.append(RepeatedUrl(place, first))
    return [draft for _, draft in drafts.values()], refused, repeated


def _adding() -> Statement:
    """Two statements in one message: the second sees what others stored while the first waited for them."""
    sent = statements.draft_columns(Link.table)
    names = ", ".join(column.name for column in sent)
    text = (
        f"INSERT INTO links ({names}) SELECT {names} FROM {statements.rows_given(sent)}"
        f"{statements.kept(Link.table)} ORDER BY url ON CONFLICT (project_id, url) DO NOTHING;"
        f"SELECT {statements.columns(Link.table)} FROM links WHERE project_id = %s AND url = ANY(%s::text[])"
    )
    return Statement(text, "links.add_many", writes=True, table=Link.table.name)


_ADD = _adding()
_BY_KIND = Statement(
    f"SELECT {statements.columns(Link.table)} FROM "
    "(SELECT *, row_number() OVER (PARTITION BY kind ORDER BY id) AS place FROM links WHERE project_id = %s) "
    "AS placed WHERE place <= coalesce(%s::bigint, place) ORDER BY kind, id",
    "links.by_kind",
)
_COUNTS = Statement(
    "SELECT kind, count(*) FROM links WHERE project_id = %s GROUP BY kind", "links.counts_by_kind"
)
