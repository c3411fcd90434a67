"""What a user's type checker must know; `test_typing` runs mypy and pyright on it and reads the comments."""

from typing import reveal_type
from uuid import UUID

from database_handler import Database, NewLink, NewProject, NewSummary, Summary, SummaryKind, UnitOfWork


def repositories(db: Database, uow: UnitOfWork, id: UUID, summary: Summary, draft: NewSummary) -> None:
    reveal_type(uow.projects.create(name="x"))  # Project
    reveal_type(uow.projects.create(NewProject(name="x")))  # Project
    reveal_type(uow.projects.create(NewProject(name="x"), id=id))  # Project
    reveal_type(db.projects.create(name="x", slug="x", tags=("a",)))  # Project
    reveal_type(db.summaries.get_by_id(id))  # Summary
    reveal_type(db.summaries.find_by_id(id))  # Summary | None
    reveal_type(db.links.get_many([id]))  # list[Link]
    reveal_type(db.videos.list(status="ready"))  # list[Video]
    reveal_type(db.videos.page(limit=5).items)  # list[Video]
    reveal_type(db.videos.page(limit=5).next_cursor)  # str | None
    reveal_type(db.text_sources.stream())  # Generator[TextSource, None, None]
    reveal_type(uow.summaries.upsert(draft).record)  # Summary
    reveal_type(uow.summaries.upsert(draft).outcome)  # Outcome
    reveal_type(uow.summaries.create_many([draft]))  # list[Summary]
    reveal_type(uow.summaries.update(id, {"content": "x"}))  # Summary
    reveal_type(uow.summaries.save(summary))  # Summary
    reveal_type(uow.translations.count())  # int
    reveal_type(uow.translations.exists())  # bool
    reveal_type(uow.summaries.get_by_id(id).kind)  # SummaryKind
    reveal_type(db.run(lambda unit: unit.links.list()))  # list[Link]
    reveal_type(uow.session.all("SELECT 1", row=NewLink))  # list[NewLink]
    reveal_type(uow.session.maybe("SELECT 1"))  # tuple[Any, ...] | None


def refused(db: Database, uow: UnitOfWork, id: UUID, summary: Summary, text: str) -> None:
    uow.projects.create(nmae="x")  # error
    uow.projects.create(name=5)  # error
    uow.projects.create()  # error
    uow.links.create(NewProject(name="x"))  # error
    uow.links.create_many([NewProject(name="x")])  # error
    uow.summaries.create(project_id=id, text_source_id=id, kind="brief", language="en", content="x")  # error
    uow.links.save(summary)  # error
    db.unit_of_work(isolation="chaos")  # error
    summary.content = "x"  # error
    db.summaries.find_by_id(id).content.upper()  # error
    uow.session.all(f"SELECT {text}")  # error: pyright


def allowed(uow: UnitOfWork, id: UUID) -> None:
    uow.summaries.create(project_id=id, text_source_id=id, kind=SummaryKind.BRIEF, language="en", content="x")
