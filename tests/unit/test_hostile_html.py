"""Hostile markup: what comes out has allowed tags, attributes and schemes alone, and settles.

The output is judged by parsers that are not the cleaner's: of HTML by Python's, of Markdown by one that
renders it with all raw HTML left in.
"""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from database_handler.utils.errors import InvalidValue
from database_handler.utils.markup import (
    HTML_TAGS,
    MARKUP_CHARS,
    clean_markup,
    count_items,
    count_visible_words,
    visible_text,
)

ATTRIBUTES = {"href", "lang", "dir", "start", "colspan", "rowspan", "rel"}
MADE_BY_MARKDOWN = {"title", "class"}  # of a link, and of a fence's language

HOSTILE = [
    # scripts and handlers
    "<script>alert(1)</script>",
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    "<script\x20type=x>1</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<<script>alert(1)//<</script>",
    "<script>alert(1)",
    "<script/x>alert(1)</script>",
    "<script\n>alert(1)</script\n>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=x OnErRoR=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    "<img src=`x`onerror=alert(1)>",
    "<img \x0bsrc=x \x0conerror=alert(1)>",
    "<b onmouseover=alert(1)>x</b>",
    "<p onclick='alert(1)' style=x>y",
    "<a onfocus=alert(1) autofocus tabindex=1>x</a>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<div onpointerover=alert(1)>x</div>",
    "<input onfocus=alert(1) autofocus>",
    "<select onfocus=alert(1)><option>x",
    "<video src=x onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<p x=1\x00onclick=alert(1)>y",
    "<b/onclick=alert(1)>x</b>",
    "<b a='>' onclick=alert(1)>x",
    '<b "onclick=alert(1)>x',
    # addresses
    "<a href=javascript:alert(1)>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='java\nscript:alert(1)'>x</a>",
    "<a href='\x01javascript:1'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='&#x6A&#x61vascript:alert(1)'>x</a>",
    "<a href='javascript&colon;alert(1)'>x</a>",
    "<a href='java&Tab;script:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='vbscript:x'>x</a>",
    "<a href=file:///x>x</a>",
    "<a href=//evil.example>x</a>",
    "<a href=/relative>x</a>",
    "<a href=#top>x</a>",
    "<a href=''>x</a>",
    "<a href>x</a>",
    "<a href='https://good.example\\@evil.example'>x</a>",
    "<a href='https://user:pw@evil.example'>x</a>",
    "<a href='https:evil.example'>x</a>",
    "<a href='mailto:x@y.example?body=%0d%0aBcc:z'>x</a>",
    "<a href='mailto:'>x</a>",
    "<a href='mailto:x@y.example\"onclick=alert(1)'>x</a>",
    "<a href=https://ok.example/ target=_blank ping=//e>x</a>",
    "<area href=javascript:alert(1)>",
    "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example/>",
    "<form action=javascript:alert(1)><button>x</button></form>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<isindex action=javascript:alert(1) type=submit>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<img src=https://evil.example/p.png>",
    "<img srcset='https://evil.example 2x'>",
    "<picture><source srcset=//evil.example></picture>",
    "<table background=//evil.example><tr><td>x",
    "<bgsound src=//e>",
    "<q cite=javascript:alert(1)>x</q>",
    "<blockquote cite=//evil.example>x</blockquote>",
    # style, meta, identity
    "<style>@import '//evil.example'</style>",
    "<style>*{background:url(//e)}",
    "<p style='background:url(javascript:1)'>x",
    "<p style=position:fixed;top:0>x",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<meta charset=utf-7>+ADw-script+AD4-alert(1)",
    "<title><img src=x onerror=alert(1)></title>",
    "<p id=location class=admin name=x>x",
    "<a id=x name=cookie>x</a>",
    "<html manifest=//e><head><body class=x>y",
    # other name spaces, and what is read twice in two ways
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)//",
    "<svg><a xlink:href='javascript:1'>x",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<svg><use href='data:image/svg+xml,x'/></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<svg><foreignObject><img src=x onerror=alert(1)></foreignObject></svg>",
    "<svg><desc><b onclick=alert(1)>x</desc>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<math><mi><mglyph><svg><mtext><textarea><path id='</textarea><img onerror=alert(1) src=1>'>",
    "<math href=javascript:alert(1)>x</math>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror=alert(1)>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<noembed><img src=x onerror=alert(1)></noembed>",
    "<template><script>alert(1)</script></template>",
    "<template><p><img src=x onerror=alert(1)>",
    "<xmp><img src=x onerror=1></xmp>",
    "<textarea><script>alert(1)</script></textarea>",
    "<textarea></textarea><img src=x onerror=alert(1)>",
    "<plaintext><script>alert(1)</script>",
    "<listing>&lt;img onerror=alert(1) src=x&gt;</listing>",
    "<select><style></select><script>alert(1)</script>",
    "<option><style></option></select><img src=x onerror=alert(1)></style>",
    "<table><script>alert(1)</script></table>",
    "<table><td><p onclick=x><table>",
    "<p><svg><p></svg><img src=x onerror=1>",
    "<a href=https://ok.example/><table><a href=javascript:1>x",
    "<b><p><i></b>x</p></i>",
    "<pre>\n\n<b>\n</pre>",
    # comments, declarations, entities, null bytes
    "<!-- --!><img src=x onerror=alert(1)>-->",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!---><script>alert(1)</script>",
    "<!--[if IE]><script>alert(1)</script><![endif]-->",
    "<!--",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "<!DOCTYPE html [<!ENTITY x '<script>'>]>&x;",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&amp;lt;script&amp;gt;",
    "&#60;script&#62;alert(1)",
    "&#x3c;img src=x onerror=1&#x3e;",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\x3cscript\\x3e",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<\x00script>alert(1)</script>",
    "<img src=x on\x00error=alert(1)>",
    "\ufeff<script>1",
    "＜script＞alert(1)",
    "<ſcript>alert(1)</ſcript>",
    "<script>alert(1)</ſcript>",
    "<a href='ｊavascript:1'>x</a>",
    "\u2028<img src=x onerror=alert(1)>",
    "<b\u00a0onclick=alert(1)>x",
    "<b\u3000onclick=alert(1)>x",
    # long and deep
    "<b>" * 300,
    "<div>" * 300 + "x",
    "<table><tr><td>" * 50,
    "<" * 300,
    "<a " * 300,
    "<!--" * 300,
    "</b>" * 300,
    "<b x='" + "y" * 3_000 + "' onclick=alert(1)>z",
    "&" * 300,
    "<ul><li>" * 90,
    "<p><i><b>" * 90,
    "<svg>" * 90,
]

HOSTILE_MARKDOWN = [
    "[x](javascript:alert(1))",
    "[x]( javascript:alert(1))",
    "[x](JAVASCRIPT:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](\njavascript:1)",
    "[x](<javascript:alert(1)>)",
    "[x](<java\tscript:alert(1)>)",
    "[x](javascript\\:alert(1))",
    "[x](\\javascript:alert(1))",
    "[x](javascript:alert(1) 'title')",
    "[x](data:text/html,x)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "[x](/relative)",
    '[x](https://a.example "t" onclick=alert(1))',
    "[x](https://a.example/'onclick=alert(1))",
    "[x](https://u:p@e.example)",
    "[x]: javascript:alert(1)\n\n[x]",
    "[x]:\njavascript:alert(1)\n\n[x]",
    "> [x]: javascript:alert(1)\n\n[x]",
    "[x\ny]: javascript:alert(1)\n\n[x y]",
    "[x]: <javascript:alert(1)> 't'\n\n[x][]",
    "- [x]: data:x\n\n[x]",
    "![x](https://evil.example/p.png)",
    "![x][p]\n\n[p]: https://evil.example/p.png",
    "![x](data:image/svg+xml,x)",
    "[![x](https://evil.example/p.png)](https://a.example)",
    "!\\[x](https://a.example)",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "<https://a.example/onmouseover=alert(1)//>",
    "<em>\n<https://a.example/onclick=alert(1)//>\n",
    "<em>\n`<script>alert(1)</script>`\n",
    "<em>\n```\n<script>alert(1)</script>\n```\n",
    "<b>\u00a0\n` <svg onload=x> `",
    "<blockquote>\n```\n<script>alert(1)</script>\n```",
    "<!--\n```\n--><script>alert(1)</script>\n```",
    "- ```\n   ```\n<script>alert(1)</script>\n```",
    " ```\n```\n<script>alert(1)</script>\n```",
    "> ```\n<script>alert(1)</script>\n```",
    "```\n<script>alert(1)</script>",
    "``` a`b\n<script>alert(1)</script>\n```",
    "~~~ | a |\n|---|---|\n<svg onload=x>\n~~~",
    "a ` b\n` <script>alert(1)</script> `",
    "`a\n\n<script>alert(1)</script>`",
    "`a\n- <script>alert(1)</script>`",
    "| `a | <img src=x onerror=alert(1)>` |\n|---|---|",
    "\\`<script>alert(1)</script>\\`",
    "\\\\`<script>alert(1)</script>`",
    '[a](b "`") ` x ` <script>alert(1)</script> `',
    '[a]: b "`"\n` <script>alert(1)</script> `',
    "\\<script>alert(1)</script>",
    "<a href='`'>`<script>alert(1)</script>`",
    "`` ` <script>alert(1)</script> ` ``",
    "    <script>alert(1)</script>",
    "<a\nhref='javascript:alert(1)'\n>x</a>",
    "> <a\n> href='javascript:alert(1)'>x",
    "<b title='](javascript:alert(1))'>[x",
    "[x](https://a.example/`)` <script>alert(1)</script> `",
    "<https://a.example/`>` <svg onload=x> `",
    "[x](<b`c>) `<svg onload=x>`",
]


class Judge(HTMLParser):
    """Collects what must not be in cleaned HTML."""

    def __init__(self, attributes: set[str], tags: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[object] = []
        self._attributes = attributes
        self._tags = tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._tags:
            self.found.append(tag)
        for name, value in attrs:
            allowed = name in self._attributes and (name != "class" or str(value).startswith("language-"))
            if not allowed or (name == "href" and not self._may_lead(value)):
                self.found.append((tag, name, value))

    @staticmethod
    def _may_lead(value: str | None) -> bool:
        return value is not None and value.startswith(("http://", "https://", "mailto:"))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.found.append(("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.found.append(("instruction", data))


def judged(html: str, attributes: set[str] = ATTRIBUTES, tags: frozenset[str] = HTML_TAGS) -> list[object]:
    judge = Judge(attributes, tags)
    judge.feed(html)
    judge.close()
    return judge.found


class Trusting(MarkdownIt):
    """Leaves in what it would leave out by itself: raw HTML, and addresses of any scheme."""

    def __init__(self, *more: str) -> None:
        super().__init__("commonmark", {"html": True})
        self.enable(list(more))

    def validateLink(self, url: str) -> bool:  # noqa: N802  (its name there)
        return True


READERS = [Trusting(), Trusting("table", "strikethrough")]


def judged_markdown(text: str) -> list[object]:
    return [
        found
        for reader in READERS
        for found in judged(reader.render(text), ATTRIBUTES | MADE_BY_MARKDOWN, HTML_TAGS)
    ]


def cleaned(text: str, content_format: str) -> str | None:
    """The cleaned text, which cleaning again leaves as it is; None where it is refused."""
    try:
        once = clean_markup(text, content_format)
    except InvalidValue:
        return None
    assert clean_markup(once, content_format) == once
    return once


def test_the_judge_sees_what_is_hostile() -> None:
    seen = [text for text in HOSTILE if judged(text)]
    assert len(seen) > 0.7 * len(HOSTILE)
    assert sum(1 for text in HOSTILE_MARKDOWN if judged_markdown(text)) > 0.6 * len(HOSTILE_MARKDOWN)


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_html_is_left_without_what_is_not_allowed(place: int) -> None:
    for text in (HOSTILE[place], f"<p>before {HOSTILE[place]} <em>after</em>", f"<ul><li>{HOSTILE[place]}"):
        once = cleaned(text, "html")
        assert once is not None
        assert judged(once) == [], once


@pytest.mark.parametrize("place", range(len(HOSTILE_MARKDOWN + HOSTILE)))
def test_markdown_is_left_without_what_is_not_allowed(place: int) -> None:
    text = (HOSTILE_MARKDOWN + HOSTILE)[place]
    for whole in (text, f"words {text} `code`", f"- item\n{text}\n\n`<b>`\n", f"> {text}\n\n```\n<i>\n```"):
        once = cleaned(whole, "markdown")
        assert once is not None
        assert judged_markdown(once) == [], once


MARKS = [
    *(
        "`",
        "``",
        "```\n",
        "~~~\n",
        "\n",
        "\n\n",
        " ",
        "    ",
        "\t",
        "- ",
        "> ",
        "1. ",
        "|",
        "| a | b |\n|---|---|\n",
    ),
    *(
        "<b>",
        "</b>",
        "<em>\n",
        "<a ",
        "<!--",
        "-->",
        "[x](",
        "](",
        "]:",
        "![",
        "\\",
        '"',
        "'",
        "<",
        ">",
        "&lt;",
    ),
    *(
        "`<script>alert(1)</script>`",
        "```\n<script>alert(1)</script>\n```\n",
        "` <svg onload=x> `",
        "\r",
        "\u00a0",
    ),
]
PIECES = st.sampled_from([*HOSTILE_MARKDOWN, *(text for text in HOSTILE if len(text) < 200), *MARKS])


@settings(max_examples=120, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
@example("[x](javascript:alert(1))")
def test_any_mixture_comes_out_clean(text: str) -> None:
    for content_format, judge in (("html", judged), ("markdown", judged_markdown)):
        once = cleaned(text, content_format)
        if once is not None:
            assert judge(once) == [], once


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=200))
def test_any_text_settles_or_is_refused(text: str) -> None:
    for content_format in ("plain", "markdown", "html"):
        once = cleaned(text, content_format)
        assert (once is None) == any("\ud800" <= each <= "\udfff" for each in text)


# ------------------------------------------------------------------------------------------- what is kept


def test_allowed_html_stays_as_it_is() -> None:
    kept = (
        '<h2 lang="de" dir="ltr">Über</h2><p>a <strong>b</strong> <a href="https://example.org/?a=1&amp;b=2" '
        'rel="noopener noreferrer nofollow">c</a><br>d</p><ol start="3"><li>e</li></ol>'
        '<table><tbody><tr><td colspan="2"><ruby>漢<rt>かん</rt></ruby></td></tr></tbody></table>'
        "<pre><code>if a &lt; b:\n    pass</code></pre>"
    )
    assert clean_markup(kept, "html") == kept


@pytest.mark.parametrize(
    "kept",
    [
        "# Title\n\n* a **b** _c_ ~~d~~\n* `x`\n\n1. one\n\n> quoted\n\n---\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "a < b && c > d, 1 <2, <3",
        "Use `<script>` and `` a`<b>` ``, not <kbd>x</kbd>.",
        "```html\n<script>alert(1)</script>\n\n[x](javascript:1)\n```\n\n~~~~\n```\n<b>\n~~~~",
        '[x](https://example.org/a_%28b%29 "title") <https://example.org/?a=1&b=2> <a@b.example>',
        "[a]: https://example.org/ 'title'\n\nsee [a] and [b][a], array[0]",
        "A fact.[^1]\n\n[^1]: Said by the keeper.\n\n[Note]: read on",
        "&lt;b&gt; &amp;amp; \\* \\[x\\](y) é 日本語 שלום \u200f",
    ],
)
def test_markdown_and_its_code_stay_as_they_are(kept: str) -> None:
    assert clean_markup(kept, "markdown") == kept


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a <b onclick=x>b</b> <script>c</script>d", "a <b>b</b> d"),
        ("[x](javascript:alert(1)) y", "[x] y"),
        ("[x](/about)", "[x]\\(/about)"),
        ("![alt](https://example.org/a.png)", "[alt](https://example.org/a.png)"),
        ("Wow![1]", "Wow\\![1]"),
        ("[x](HTTPS://Example.ORG:443/a)", "[x](https://example.org/a)"),
        ("<HTTPS://Example.ORG>", "<https://example.org/>"),
        ("[a]: about 'us'\n[b]: javascript:x() y", "[a]\\: about 'us'\n[b]\\: javascript:x() y"),
        ("<img src=x onerror=alert(1)//", "&lt;img src=x onerror=alert(1)//"),
        ("a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_what_markdown_loses(text: str, left: str) -> None:
    assert clean_markup(text, "markdown") == left


def test_plain_text_loses_control_characters_alone() -> None:
    assert clean_markup("a\x00b\x1b[31m\x7f\x9f\tc\r\nd <b> & \u202e\u200d\ufeff", "plain") == (
        "ab[31m\tc\r\nd <b> & \u202e\u200d\ufeff"
    )
    assert clean_markup("page\x0cnext\x0bline\x85end", "plain") == "page\nnext\nline\nend"


@pytest.mark.parametrize("text", ["x" * (MARKUP_CHARS + 1), "\ud800", 5, None, b"x"])
@pytest.mark.parametrize("content_format", ["plain", "markdown", "html"])
def test_what_cannot_be_cleaned_is_refused(text: object, content_format: str) -> None:
    with pytest.raises(InvalidValue):
        clean_markup(text, content_format)


WORST = {
    "formatting that is opened again in each block": "<p>"
    + "".join(f"<b id={n}>" for n in range(4_000))
    + "<p>x" * 12_000,
    "open tags": "<a b='" * 16_000,
    "brackets": "[" * 50_000 + "](" * 25_000,
    "backticks": "".join("`" * (n % 90 + 1) + " " for n in range(2_000)),
    "fences without an end": "```\n" * 24_999,
    "white space in a tag": "<a" + " " * 90_000,
    "hidden elements without an end": "<script>" * 12_000,
    "comments without an end": "<!--" * 24_000,
    "targets": "[a](" + "(" * 90_000,
    "white space after a target": "[a](x" + " " * 90_000,
    "white space for a definition": "[a]:" + " " * 90_000,
}


@pytest.mark.parametrize("content_format", ["markdown", "html"])
@pytest.mark.parametrize("name", WORST)
def test_the_worst_texts_are_cleaned_in_bounded_time(name: str, content_format: str) -> None:
    begin = time.perf_counter()
    cleaned(WORST[name], content_format)
    assert time.perf_counter() - begin < 10


# ---------------------------------------------------------------------------------------- what is counted


@pytest.mark.parametrize(
    ("content_format", "text", "words", "items"),
    [
        ("plain", "one two\nthree\n\n", 3, 2),
        ("plain", "<b>bold</b>", 3, 1),
        ("html", "<p>one <b>t</b>wo</p><p>three &amp; 4</p>", 4, 2),
        ("html", '<ul><li>a</li><li><a href="https://x.example/y" title="no">b</a></li></ul>', 2, 2),
        ("html", "a<br>b", 2, 2),
        ("markdown", "# One\n\n1. two **three**\n2. [four](https://x.example/five 'six')\n", 4, 2),
        ("markdown", "```python\nx = 1\n```\n- <b>a</b> `b`", 4, 1),
        ("markdown", 'see [a]\n\n[a]: https://x.example/ "title"', 2, 2),
        ("markdown", "日本語と <b>words</b>", 5, 1),
        ("markdown", "a[^1]\n\n[^1]: two words", 5, 2),
        ("markdown", "[Read]: https://x.example/ shows all", 6, 1),
    ],
)
def test_what_a_reader_sees_is_counted(content_format: str, text: str, words: int, items: int) -> None:
    once = clean_markup(text, content_format)
    assert count_visible_words(once, content_format) == words, visible_text(once, content_format)
    assert count_items(once, content_format) == items
