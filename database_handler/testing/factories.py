"""Factories (factory-boy): valid, varied drafts and records of every entity.

``ProjectFactory.build(name="x")`` is a draft and touches no database; ``SummaryFactory.create(uow)`` stores
one through the repositories given, with the parents that it needs, all of one project. Values are drawn
from several scripts with factory-boy's random state, so `seed` makes a run repeatable; natural keys are
numbered, so that no two drafts of a run meet.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from database_handler.core.base_model import Draft, Record
from database_handler.core.exceptions import InvalidValue, MissingExtra
from database_handler.core.schema import TENANT
from database_handler.models import (
    ContentFormat,
    Link,
    LinkKind,
    NewLink,
    NewProject,
    NewSummary,
    NewTextSource,
    NewTranslation,
    NewVideo,
    Project,
    ProjectStatus,
    Summary,
    SummaryKind,
    TextSource,
    Translation,
    TranslationStatus,
    Video,
    VideoStatus,
)
from database_handler.repositories import Repository
from database_handler.utils.arguments import checked

try:
    import factory
    import factory.random
except ImportError as missing:
    raise MissingExtra("the factories need: pip install 'database-handler[testing]'") from missing

if TYPE_CHECKING:
    from database_handler.unit_of_work import Repositories

__all__ = [
    "EntityFactory",
    "LinkFactory",
    "ProjectFactory",
    "SummaryFactory",
    "TextSourceFactory",
    "TranslationFactory",
    "VideoFactory",
    "declare",
    "factory_of",
    "sample",
    "seed",
]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)

_MOST = 100_000  # drafts a call
declare: Any = factory  # factory-boy's declarations; they carry no annotations


@checked
def seed(value: int | None = None) -> int:
    """Make what the factories draw repeatable from here on, and return the seed for the log."""
    chosen = factory.random.randgen.getrandbits(32) if value is None else value
    reseed: Any = factory.random.reseed_random
    reseed(chosen)
    return chosen


class EntityFactory(Generic[D, R]):
    """The factory of one entity: class attributes are factory-boy's declarations, by the draft's fields.

    Examples
    --------
    >>> class ProjectFactory(EntityFactory[NewProject, Project], draft=NewProject):
    ...     name = declare.Sequence(lambda number: f"Project {number}")
    """

    draft: ClassVar[type[Draft]]
    _drafts: ClassVar[Any] = declare.Factory

    def __init_subclass__(cls, draft: type[D] | None = None) -> None:
        """Make the factory-boy class; a subclass without a draft of its own varies the one above it."""
        if draft is not None:
            cls.draft = draft
        declared = {
            name: value
            for name, value in vars(cls).items()
            if name in cls.draft.model_fields and not name.startswith("_")
        }
        cls._drafts = declare.make_factory(cls.draft, FACTORY_CLASS=cls._drafts, **declared)

    @classmethod
    def build(cls, **fields: Any) -> D:
        """Return a valid draft; references that are not given name rows that are not there."""
        if unknown := fields.keys() - cls.draft.model_fields.keys():
            cls.draft(**dict.fromkeys(unknown))  # refuses them, before factory-boy reads more into a name
        draft: D = cls._drafts.build(**fields)
        return draft

    @classmethod
    def build_batch(cls, size: int, **fields: Any) -> list[D]:
        """Return some drafts, whose natural keys differ."""
        if type(size) is not int or not 0 <= size <= _MOST:
            raise InvalidValue(f"build_batch: size is a whole number from 0 to {_MOST:,}")
        return [cls.build(**fields) for _ in range(size)]

    @classmethod
    def create(cls, repositories: "Repositories | None" = None, **fields: Any) -> R:
        """Store a draft, with the parents that are not given, and return the record.

        Parameters
        ----------
        repositories : Repositories
            A unit of work, or a database. One that is held to a project makes everything in that project.
        """
        used = _required(repositories)
        repository = cls.repository(used)
        return repository.create_one(cls.build(**fields, **cls.parents(used, **fields)))

    @classmethod
    def create_batch(cls, size: int, repositories: "Repositories | None" = None, **fields: Any) -> list[R]:
        """Store some drafts under the same parents, and return the records."""
        used = _required(repositories)
        parents = cls.parents(used, **fields) if size else {}
        return cls.repository(used).create_many(cls.build_batch(size, **fields, **parents))

    @classmethod
    def repository(cls, repositories: "Repositories") -> Repository[D, R]:
        """Return the repository among `repositories` that takes this factory's drafts."""
        for repository in _repositories(_required(repositories)):
            if repository.draft is cls.draft:
                return repository
        raise InvalidValue(f"{type(repositories).__name__} has no repository for {cls.draft.__name__}")

    @classmethod
    def parents(cls, repositories: "Repositories", **given: Any) -> dict[str, UUID]:
        """Store the parents that a draft needs and `given` lacks; all of them are of one project.

        Returns
        -------
        dict of str to UUID
            The fields that refer to them.
        """
        made: dict[str, UUID] = {}
        for field, table in cls._missing(repositories, given):
            if field == TENANT:
                made[field] = _project_of(cls, repositories, given)
            else:
                parent = _factory_for(repositories, table)
                shared = not parent.repository(repositories).table.is_child
                project = {} if shared else {TENANT: given.get(TENANT) or made[TENANT]}
                made[field] = parent.create(repositories, **project).id
        return made

    @classmethod
    def _missing(cls, repositories: "Repositories", given: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Give each reference that a draft has and `given` lacks, with its table; the project comes first."""
        draft: Draft = cls.build(**given)
        references = _references(cls.repository(repositories))
        for field in sorted(references, key=lambda name: name != TENANT):
            if field not in given and getattr(draft, field) is not None:
                yield field, references[field]


def _required(repositories: "Repositories | None") -> "Repositories":
    from database_handler.unit_of_work import Repositories

    if not isinstance(repositories, Repositories):
        raise InvalidValue("a factory stores through a unit of work, or a database")
    return repositories


def _references(repository: Repository[Any, Any]) -> dict[str, str]:
    """Return the table that each reference of an entity leads to."""
    return {key.columns[-1]: key.table for key in repository.table.foreign_keys}


def _project_of(child: type[EntityFactory[Any, Any]], repositories: "Repositories", given: Any) -> UUID:
    """Return the project that is held to, or of a parent given, or else of a new one."""
    if repositories.project_id is not None:
        return repositories.project_id
    for field, table in _references(child.repository(repositories)).items():
        if given.get(field) is not None:
            parent = _factory_for(repositories, table).repository(repositories).get_by_id(given[field])
            found: UUID | None = getattr(parent, TENANT, None)
            if found is not None:
                return found
    return ProjectFactory.create(repositories).id


def _factory_for(repositories: "Repositories", table: str) -> type[EntityFactory[Any, Any]]:
    for repository in _repositories(repositories):
        if repository.table.name == table:
            return factory_of(repository.draft)
    raise InvalidValue(f"{type(repositories).__name__} has no repository for the table {table}")


def _repositories(repositories: "Repositories") -> Iterator[Repository[Any, Any]]:
    return (getattr(repositories, name) for name in type(repositories).entities())


@checked
def factory_of(draft: type[Draft]) -> type[EntityFactory[Any, Any]]:
    """Return the factory of `draft`, the first one defined where there are several."""
    waiting: list[type[EntityFactory[Any, Any]]] = EntityFactory.__subclasses__()
    while waiting:
        found = waiting.pop(0)
        if found.draft is draft:
            return found
        waiting += found.__subclasses__()
    raise InvalidValue(f"there is no factory for {draft.__name__}: define one below EntityFactory")


# ---------------------------------------------------------------------------------------------- what is drawn

# A language, a title and a sentence in it: right to left, without spaces between words, with combining
# marks and beyond the basic plane among them.
_SAMPLES = (
    ("en", "The harbour at dawn", "Fishing boats leave the harbour before the sun is up."),
    ("de", "Über die Brücke", "Größere Schiffe müssen vor der Brücke warten."),
    ("fr", "L’été à la plage", "L’été, « la plage » est pleine dès neuf heures."),
    ("ru", "Ночной поезд", "Ночной поезд прибывает в шесть утра."),
    ("el", "Το παλιό λιμάνι", "Το παλιό λιμάνι ανοίγει την άνοιξη."),
    ("ar", "سوق المدينة", "يفتح سوق المدينة أبوابه عند الفجر."),
    ("he", "הגן בערב", "הגן נסגר בשעה שמונה בערב."),
    ("hi", "नदी के किनारे", "नदी के किनारे हर शाम संगीत बजता है।"),
    ("zh-Hans", "山里的茶园", "春天的茶叶在清晨采摘。"),
    ("ja", "駅前の本屋", "駅前の本屋は夜十時まで開いています。"),
    ("ko", "바닷가 마을", "바닷가 마을에는 등대가 하나 있다."),
    ("th", "ตลาดน้ำ", "ตลาดน้ำเปิดทุกเช้าวันเสาร์"),
    ("en-GB", "Film night 🎬🍿", "Bring a blanket 🧺, the film starts at nine 🌙."),
)


def sample() -> tuple[str, str, str]:
    """Draw a language, a title and a sentence in it."""
    drawn: tuple[str, str, str] = factory.random.randgen.choice(_SAMPLES)
    return drawn


def _language() -> str:
    return sample()[0]


def _in_language(language: str) -> tuple[str, str, str]:
    return next((each for each in _SAMPLES if each[0] == language), _SAMPLES[0])


def _id() -> UUID:
    return UUID(int=factory.random.randgen.getrandbits(128), version=4)


def _number(low: int, high: int) -> Any:
    return declare.LazyFunction(lambda: factory.random.randgen.randint(low, high))


def _one_of(*values: Any) -> Any:
    return declare.LazyFunction(lambda: factory.random.randgen.choice(values))


def _metadata() -> dict[str, Any]:
    draw = factory.random.randgen
    return {
        "rating": draw.randint(1, 5),
        "share": draw.randint(0, 1000) / 8,
        "note": sample()[1],
        "seen": [draw.random() < 0.5, None],
        "région": {"ключ": draw.randint(-(2**40), 2**40)},
    }


def _tags() -> tuple[str, ...]:
    drawn = factory.random.randgen.sample(
        ("fílm", "press", "速報", "a, b", 'say "x"', "back\\slash", "{}"), 2
    )
    return tuple(drawn)


def _numbered(text: str, number: int) -> str:
    return f"{text} {number}"


class ProjectFactory(EntityFactory[NewProject, Project], draft=NewProject):
    """Projects: the name is numbered, and the slug with it."""

    name = declare.Sequence(lambda number: _numbered(sample()[1], number))
    slug = declare.LazyAttributeSequence(lambda _, number: f"project-{number}")
    description = declare.LazyFunction(lambda: sample()[2])
    status = _one_of(*ProjectStatus)
    owner = _one_of(None, "Ada", "Đặng", "Оля")
    tags = declare.LazyFunction(_tags)
    metadata = declare.LazyFunction(_metadata)


class TextSourceFactory(EntityFactory[NewTextSource, TextSource], draft=NewTextSource):
    """Text sources: the content is numbered, and its checksum with it."""

    project_id = declare.LazyFunction(_id)
    title = declare.LazyAttribute(lambda draft: _in_language(draft.language)[1])
    content = declare.LazyAttributeSequence(
        lambda draft, number: f"{_in_language(draft.language)[2]}\r\n\t— {number}\n"
    )
    language = declare.LazyFunction(_language)
    content_type = _one_of("text/plain", "text/markdown", "text/html")
    filename = declare.Sequence(lambda number: f"текст {number}.txt")
    storage_uri = declare.Sequence(lambda number: f"texts/{number} ü.txt")
    metadata = declare.LazyFunction(_metadata)


class SummaryFactory(EntityFactory[NewSummary, Summary], draft=NewSummary):
    """Summaries: the generator is numbered, so that any number of one source are possible."""

    project_id = declare.LazyFunction(_id)
    text_source_id = declare.LazyFunction(_id)
    kind = _one_of(*SummaryKind)
    language = declare.LazyFunction(_language)
    content = declare.LazyFunction(lambda: sample()[2])
    content_format = _one_of(*ContentFormat)
    generator = declare.Sequence(lambda number: _numbered("要約", number))
    metadata = declare.LazyFunction(_metadata)


class TranslationFactory(EntityFactory[NewTranslation, Translation], draft=NewTranslation):
    """Translations of a text source, unless a ``summary_id`` is given; the generator is numbered."""

    project_id = declare.LazyFunction(_id)
    summary_id = None
    text_source_id = declare.LazyAttribute(lambda draft: None if draft.summary_id else _id())
    source_language = declare.LazyFunction(_language)
    target_language = declare.LazyFunction(_language)
    content = declare.LazyFunction(lambda: sample()[2])
    status = _one_of(*TranslationStatus)
    generator = declare.Sequence(lambda number: _numbered("Übersetzer", number))
    metadata = declare.LazyFunction(_metadata)


class VideoFactory(EntityFactory[NewVideo, Video], draft=NewVideo):
    """Videos without a translation, unless one is given; the file is numbered."""

    project_id = declare.LazyFunction(_id)
    translation_id = None
    title = declare.LazyFunction(lambda: sample()[1])
    storage_uri = declare.Sequence(lambda number: f"s3://films/видео-{number}.mp4")
    checksum = declare.LazyFunction(lambda: f"{factory.random.randgen.getrandbits(256):064x}")
    container = _one_of(None, "mp4", "webm")
    duration = declare.LazyFunction(lambda: factory.random.randgen.randint(0, 10**6) / 7)
    width = _number(1, 7680)
    height = _number(1, 4320)
    frame_rate = _one_of(None, 23.976, 25.0, 60.0)
    codecs = _one_of((), ("h264",), ("av1", "opus"))
    bit_rate = _number(0, 2**40)
    size_bytes = _number(0, 2**50)
    thumbnail_uri = _one_of(None, "thumbs/первый кадр.jpg")
    status = _one_of(*VideoStatus)
    rotation = _one_of(None, 0, 90, 180, 270)
    audio_languages = _one_of((), ("en",), ("pt-BR", "und"))
    subtitle_languages = _one_of((), ("zh-Hans", "ja"))
    media_info = _one_of({}, {"streams": [{"index": 0, "type": "video", "codec": "h264", "time_base": 0.5}]})
    metadata = declare.LazyFunction(_metadata)


class LinkFactory(EntityFactory[NewLink, Link], draft=NewLink):
    """Links: the URL is numbered."""

    project_id = declare.LazyFunction(_id)
    url = declare.Sequence(lambda number: f"https://münchen.example/päge/{number}?q=ü#Teil")
    title = declare.LazyFunction(lambda: sample()[1])
    kind = _one_of(*LinkKind)
    description = declare.LazyFunction(lambda: sample()[2])
    metadata = declare.LazyFunction(_metadata)
