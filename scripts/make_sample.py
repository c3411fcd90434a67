#!/usr/bin/env python3
"""Make the sample project's binary files: the script (DOCX), the brief (PDF) and the film (MP4).

The same bytes come out every time with the same encoder, so a change shows as a change. Run from a checkout
with the `media` extra installed; the files are kept in the repository and are part of the wheel.
"""

import math
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import av
from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parent.parent / "database_handler" / "content" / "sample"
TITLE = "The Last Light at Harrow Point"

SCRIPT = (
    ("Title", TITLE),
    ("Subtitle", "Narration for a short film about a lighthouse keeper, one minute"),
    ("Heading1", "Scene 1. The stairs, dusk"),
    (
        "Normal",
        "There are one hundred and twelve steps to the lamp at Harrow Point. Ines Calder has counted them "
        "every evening for thirty-one years, and every evening she has hoped, a little, to be wrong.",
    ),
    ("Heading1", "Scene 2. The lamp room, night"),
    (
        "Normal",
        "The lamp does not know who is out there. It turns, and it waits, and it turns again. Somewhere a "
        "boat changes course, and nobody on board will ever learn how close the rocks were. That is what a "
        "good light is for: to be forgotten by morning.",
    ),
    ("Heading1", "Scene 3. The gallery, dawn"),
    (
        "Normal",
        "Tomorrow a box the size of a suitcase will do this work, and it will never tire or hum to itself. "
        "Ines wipes the glass once more. She goes down, and she counts. One hundred and twelve. She was "
        "never wrong.",
    ),
)

BRIEF = (
    "Length: 60 seconds. Picture: 16 to 9. Sound: one voice, wind, the lamp's motor.",
    "",
    "The film follows the last night of a lighthouse keeper. It is a farewell without",
    "sadness: the work was good, and it is done.",
    "",
    "The voice is close, calm and dry. No music until the final shot.",
    "",
    "Deliver the narration in English and in at least six other languages. Subtitles",
    "carry two lines of at most 38 characters; languages without spaces between words",
    "are cut by sense. Right-to-left versions mirror the end card, never the picture.",
    "",
    "Do not translate the names Harrow Point and Ines Calder; write them as they sound.",
)

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def write_docx(path: Path, title: str, paragraphs: tuple[tuple[str, str], ...]) -> None:
    """Write a Word file of (style, text) paragraphs with a stated title.

    Unpacked, since compressors differ between systems and the bytes must not.
    """
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>'
        f'<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{style}"><w:name w:val="{name}"/></w:style>'
        for style, name in (
            ("Normal", "Normal"),
            ("Title", "Title"),
            ("Subtitle", "Subtitle"),
            ("Heading1", "heading 1"),
        )
    )
    parts = {
        "[Content_Types].xml": _content_types(),
        "_rels/.rels": _relationships(
            (f"{_OFFICE}/officeDocument", "word/document.xml"),
            (f"{_PACKAGE}/relationships/metadata/core-properties", "docProps/core.xml"),
        ),
        "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title>'
        "<dc:language>en</dc:language></cp:coreProperties>",
        "word/_rels/document.xml.rels": _relationships((f"{_OFFICE}/styles", "styles.xml")),
        "word/styles.xml": f'<w:styles xmlns:w="{_W}">{styles}</w:styles>',
        "word/document.xml": f'<w:document xmlns:w="{_W}"><w:body>{body}<w:sectPr/></w:body></w:document>',
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), (_HEAD + text).encode())


def _content_types() -> str:
    overrides = "".join(
        f'<Override PartName="/{part}" ContentType="{kind}+xml"/>'
        for part, kind in (
            ("word/document.xml", f"{_WORD}.document.main"),
            ("word/styles.xml", f"{_WORD}.styles"),
            ("docProps/core.xml", "application/vnd.openxmlformats-package.core-properties"),
        )
    )
    return (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relationships(*pairs: tuple[str, str]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(pairs, start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'


def write_pdf(path: Path, title: str, lines: tuple[str, ...]) -> None:
    """Write a page of Helvetica with a heading (ISO 32000-1, 7.5: objects, their table, the trailer)."""
    shown = "".join(f"({_pdf_text(line)}) Tj T*\n" for line in lines)
    page = (
        f"BT /F1 20 Tf 72 760 Td ({_pdf_text(title)}) Tj ET\nBT /F1 11 Tf 15 TL 72 724 Td\n{shown}ET".encode(
            "cp1252"
        )
    )
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({_pdf_text(title)}) >>".encode("cp1252"),
    )
    written, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        count,
        len(written),
    )
    path.write_bytes(written + b"xref\n0 %d\n0000000000 65535 f \n%b%b" % (count, table, trailer))


def _pdf_text(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


WIDTH, HEIGHT, RATE, SECONDS = 320, 180, 24, 2


def frame(moment: float) -> Image.Image:
    """Draw the lighthouse at a moment of the film (0 to 1): one turn of the beam over a moving sea."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (10, 16, 38))
    draw = ImageDraw.Draw(image, "RGBA")
    for star in range(24):
        draw.point(((star * 53) % WIDTH, (star * 29) % 90), fill=(220, 220, 200, 255))
    reach = math.cos(moment * 2 * math.pi) * WIDTH
    draw.polygon([(90, 62), (90 + reach, 34), (90 + reach, 96)], fill=(255, 240, 170, 90))
    draw.polygon([(80, 140), (84, 70), (96, 70), (100, 140)], fill=(235, 232, 225, 255))
    draw.rectangle((83, 92, 97, 104), fill=(190, 40, 40, 255))
    draw.rectangle((84, 56, 96, 69), fill=(255, 245, 190, 255))
    draw.polygon([(82, 56), (90, 48), (98, 56)], fill=(60, 60, 70, 255))
    draw.polygon([(40, 150), (80, 136), (104, 136), (150, 150)], fill=(40, 42, 48, 255))
    for row in range(4):
        swell = [
            (x, 150 + row * 9 + 3 * math.sin(x / 17 + row + moment * 2 * math.pi))
            for x in range(0, WIDTH + 8, 8)
        ]
        draw.polygon(
            [*swell, (WIDTH, HEIGHT), (0, HEIGHT)], fill=(16 + 4 * row, 40 + 8 * row, 74 + 8 * row, 255)
        )
    return image


def write_film(path: Path) -> None:
    """Encode the film: H.264 in MP4, without anything that differs from run to run."""
    with av.open(str(path), "w", container_options={"fflags": "+bitexact", "movflags": "+faststart"}) as film:
        stream = film.add_stream(
            "libx264", rate=RATE, options={"crf": "26", "threads": "1", "preset": "slow"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        count = RATE * SECONDS
        for number in range(count):
            film.mux(
                stream.encode(
                    av.VideoFrame.from_bytes(
                        frame(number / count).convert("RGBA").tobytes(), WIDTH, HEIGHT, "rgba"
                    )
                )
            )
        film.mux(stream.encode())


def main() -> None:
    """Write the three files and say how large they are."""
    write_docx(FOLDER / "script.docx", TITLE, SCRIPT)
    write_pdf(FOLDER / "brief.pdf", f"{TITLE}: brief", BRIEF)
    write_film(FOLDER / "film.mp4")
    for name in ("script.docx", "brief.pdf", "film.mp4"):
        print(f"{name}: {(FOLDER / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
