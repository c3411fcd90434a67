"""What a link leads to is told from its address alone, by one table that an application can extend.

Nothing is fetched: a rule knows hosts, the beginning of a path, the ending of a file's name. Where several
rules match, the one that says more wins, and among equals the one that was registered last.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from database_handler.utils.choices import Choice
from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import plain_text

__all__ = [
    "LINK_RULES",
    "LinkKind",
    "LinkRule",
    "forget_link_rule",
    "link_kind",
    "link_rules",
    "register_link_rule",
]


class LinkKind(Choice):
    """What a link leads to."""

    WEBSITE = "website"
    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"
    DOCUMENT = "document"
    CODE = "code"
    SOCIAL = "social"
    NEWS = "news"
    MAP = "map"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class LinkRule:
    """One line of the table: every condition that it names must hold.

    Parameters
    ----------
    kind : LinkKind
        What such a link leads to.
    hosts : tuple of str
        Registered domains in their ASCII form: ``youtube.com`` matches ``www.youtube.com`` and never
        ``evilyoutube.com``.
    path : str
        A regular expression that the path must match from its beginning.
    endings : tuple of str
        Endings of the path in lower case, such as ``.mp4``.

    Raises
    ------
    InvalidValue
        It names no condition, a host that is none, or an expression that is none.
    """

    kind: LinkKind
    hosts: tuple[str, ...] = ()
    path: str = ""
    endings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.kind, LinkKind):
            raise InvalidValue(f"a link rule's kind is one of {', '.join(LinkKind)}")
        if not (self.hosts or self.path or self.endings):
            raise InvalidValue("a link rule names a host, a path or an ending, or it would match every link")
        if not (_plain(self.hosts, _HOST) and _plain(self.endings, _ENDING)):
            raise InvalidValue(
                "a link rule's hosts are such as example.com, its endings such as .pdf, in small letters"
            )
        if not isinstance(self.path, str):
            raise InvalidValue("a link rule's path must be a regular expression, written as text")
        _compiled(self.path)

    def matches(self, host: str, path: str) -> bool:
        """Return whether each of the conditions holds."""
        if self.hosts and not any(host == each or host.endswith(f".{each}") for each in self.hosts):
            return False
        if self.endings and not path.lower().endswith(self.endings):
            return False
        return not self.path or _compiled(self.path).match(path) is not None

    @property
    def weight(self) -> tuple[int, int]:
        """How much it says: two conditions before one, and the name of a file before that of a host."""
        named = bool(self.hosts), bool(self.path), bool(self.endings)
        return sum(named), bool(self.endings) + bool(self.path)


_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_ENDING: Final = re.compile(r"\.[a-z0-9.]+")


def _plain(values: object, form: re.Pattern[str]) -> bool:
    return isinstance(values, tuple) and all(isinstance(v, str) and form.fullmatch(v) for v in values)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error:
        pass
    raise InvalidValue("a link rule's path must be a regular expression")


def _hosts(kind: LinkKind, names: str) -> LinkRule:
    return LinkRule(kind, hosts=tuple(names.split()))


def _endings(kind: LinkKind, names: str) -> LinkRule:
    return LinkRule(kind, endings=tuple(f".{name}" for name in names.split()))


LINK_RULES: Final = (
    _endings(LinkKind.VIDEO, "mp4 m4v mov webm mkv avi wmv flv mpg mpeg ogv 3gp m3u8"),
    _endings(LinkKind.AUDIO, "mp3 m4a aac ogg oga opus wav flac wma aiff mid midi"),
    _endings(LinkKind.IMAGE, "jpg jpeg png gif webp avif svg bmp tif tiff ico heic"),
    _endings(
        LinkKind.DOCUMENT,
        "pdf doc docx odt rtf txt md xls xlsx ods csv ppt pptx odp epub mobi tex djvu srt vtt",
    ),
    _endings(LinkKind.ARCHIVE, "zip tar gz tgz bz2 xz zst 7z rar iso dmg jar whl deb rpm"),
    _endings(LinkKind.CODE, "py js ts rs go java c h cpp cs rb php sh sql ipynb json yaml yml toml patch"),
    _hosts(
        LinkKind.VIDEO,
        "youtube.com youtu.be youtube-nocookie.com vimeo.com dailymotion.com twitch.tv bilibili.com "
        "nicovideo.jp rutube.ru odysee.com peertube.tv ted.com netflix.com arte.tv youku.com",
    ),
    _hosts(
        LinkKind.AUDIO,
        "soundcloud.com spotify.com bandcamp.com mixcloud.com deezer.com audible.com podcasts.apple.com "
        "music.apple.com music.youtube.com freesound.org tidal.com overcast.fm",
    ),
    _hosts(
        LinkKind.IMAGE,
        "flickr.com imgur.com unsplash.com pexels.com pixabay.com instagram.com 500px.com deviantart.com "
        "giphy.com commons.wikimedia.org",
    ),
    _hosts(
        LinkKind.DOCUMENT,
        "docs.google.com arxiv.org scribd.com slideshare.net issuu.com doi.org overleaf.com gutenberg.org "
        "zenodo.org",
    ),
    _hosts(
        LinkKind.CODE,
        "github.com gitlab.com bitbucket.org codeberg.org sourceforge.net gist.github.com sr.ht pypi.org "
        "npmjs.com crates.io stackoverflow.com jsfiddle.net codepen.io huggingface.co rubygems.org",
    ),
    _hosts(
        LinkKind.SOCIAL,
        "facebook.com fb.com x.com twitter.com linkedin.com reddit.com mastodon.social bsky.app tiktok.com "
        "threads.net pinterest.com tumblr.com vk.com weibo.com t.me telegram.org discord.com discord.gg "
        "snapchat.com line.me ok.ru whatsapp.com",
    ),
    _hosts(
        LinkKind.NEWS,
        "bbc.com bbc.co.uk nytimes.com theguardian.com reuters.com apnews.com cnn.com washingtonpost.com "
        "aljazeera.com lemonde.fr spiegel.de zeit.de faz.net elpais.com corriere.it nhk.or.jp asahi.com "
        "tagesschau.de dw.com france24.com economist.com ft.com bloomberg.com news.google.com rfi.fr "
        "repubblica.it folha.uol.com.br thehindu.com scmp.com yna.co.kr",
    ),
    _hosts(
        LinkKind.MAP,
        "maps.google.com maps.apple.com maps.app.goo.gl openstreetmap.org osm.org what3words.com mapy.cz "
        "here.com",
    ),
    _hosts(LinkKind.ARCHIVE, "archive.org archive.ph archive.today webcitation.org perma.cc"),
    LinkRule(
        LinkKind.MAP,
        hosts=(
            "google.com",
            "google.co.uk",
            "google.de",
            "google.fr",
            "google.co.jp",
            "bing.com",
            "yandex.ru",
        ),
        path="/maps(/|$)",
    ),
    # Pages of these hosts end in the names of files that they are about, and are not those files.
    LinkRule(
        LinkKind.CODE,
        hosts=("github.com", "codeberg.org", "bitbucket.org"),
        path=r"/[^/]+/[^/]+/(blob|tree|src|commit|pull|pulls|issues|blame|compare)(/|$)",
    ),
    LinkRule(LinkKind.CODE, hosts=("gitlab.com",), path=r"/.+/-/"),
    LinkRule(LinkKind.ARCHIVE, hosts=("web.archive.org",), path="/web/"),
    LinkRule(
        LinkKind.IMAGE,
        hosts=("wikipedia.org", "wikimedia.org"),
        path=r"/wiki/(File|Datei|Fichier|Archivo|Bestand|Plik):",
    ),
)
"""The rules that the library brings."""

_added: list[LinkRule] = []


def register_link_rule(rule: LinkRule) -> LinkRule:
    """Add a rule of the application's own to the table, for the whole process; it beats an equal one.

    Call it once at the start: a link keeps the kind that it was stored with.
    """
    if not isinstance(rule, LinkRule):
        raise InvalidValue(f"register_link_rule takes a LinkRule, not a {type(rule).__name__}")
    _added.append(rule)
    return rule


def forget_link_rule(rule: LinkRule) -> None:
    """Take a rule that was registered away; one that was not is refused."""
    if rule not in _added:
        raise InvalidValue("forget_link_rule: no such rule was registered")
    _added.remove(rule)


def link_rules() -> tuple[LinkRule, ...]:
    """Return the table as it stands: the library's rules, then those that were registered."""
    return (*LINK_RULES, *_added)


def link_kind(url: str) -> LinkKind:
    """Return what a normalised URL leads to, by its host and path; a website where no rule matches."""
    try:
        parts = urlsplit(plain_text(url))
        host = parts.hostname or ""
    except ValueError as error:
        refusal = error if isinstance(error, InvalidValue) else InvalidValue("a URL cannot be taken apart")
    else:
        return _best(_matching(host, parts.path))
    raise refusal


def _matching(host: str, path: str) -> Iterable[LinkRule]:
    return (rule for rule in reversed(link_rules()) if rule.matches(host, path))


def _best(found: Iterable[LinkRule]) -> LinkKind:
    rule = max(found, key=lambda each: each.weight, default=None)
    return LinkKind.WEBSITE if rule is None else rule.kind
