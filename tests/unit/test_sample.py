"""The sample's facts are those of its files."""

import runpy
from pathlib import Path

import av
import pytest

from database_handler.content import read_document
from database_handler.content.languages import script_language
from database_handler.content.sample import FOLDER, SampleDocument, load_sample

MAKER = Path(__file__).parents[2] / "scripts" / "make_sample.py"


@pytest.mark.parametrize("document", load_sample().documents, ids=lambda document: document.file)
def test_a_document_reads_as_the_manifest_says(document: SampleDocument) -> None:
    found = read_document(document.path)
    assert (found.title, found.language, found.content_type) == (
        document.title,
        document.language,
        document.content_type,
    )


def test_the_documents_differ_and_the_script_holds_the_passage() -> None:
    sample = load_sample()
    assert len({read_document(document.path).checksum for document in sample.documents}) == 4
    assert sample.passage in read_document(FOLDER / "script.docx").content


def test_there_are_six_languages_of_four_scripts_at_least() -> None:
    sample = load_sample()
    languages = {translation.target_language for translation in sample.translations}
    assert len(languages) == len(sample.translations) >= 6
    assert {"ar", "he", "ja", "th"} <= languages
    for translation in sample.translations:
        told = script_language(translation.content)
        assert told is None or translation.target_language.startswith(told)


def test_everything_that_refers_to_a_document_finds_it() -> None:
    sample = load_sample()
    files = {document.file for document in sample.documents}
    assert {summary.document for summary in sample.summaries} <= files
    assert {translation.document for translation in sample.translations} <= files
    kinds = {(summary.document, summary.kind) for summary in sample.summaries}
    assert {(entry.document, entry.kind) for entry in sample.summary_translations} <= kinds
    assert sample.video.target_language in {entry.target_language for entry in sample.translations}


def test_the_film_is_what_the_manifest_says() -> None:
    said = load_sample().video
    with av.open(str(said.path)) as film:
        stream = film.streams.video[0]
        frames = [frame.to_rgb() for frame in film.decode(stream)]
        assert said.container in film.format.name.split(",")
        assert film.duration is not None
        assert film.duration / 1_000_000 == pytest.approx(said.duration, abs=0.01)
        assert (stream.width, stream.height) == (said.width, said.height)
        assert stream.average_rate is not None
        assert float(stream.average_rate) == said.frame_rate
        assert (stream.codec_context.name,) == said.codecs
    assert len(frames) == said.duration * said.frame_rate
    assert bytes(frames[0].planes[0]) != bytes(frames[24].planes[0]), "the picture moves"
    assert said.path.stat().st_size < 100_000


def test_the_documents_are_those_that_the_script_makes(tmp_path: Path) -> None:
    maker = runpy.run_path(str(MAKER))
    maker["write_docx"](tmp_path / "script.docx", maker["TITLE"], maker["SCRIPT"])
    maker["write_pdf"](tmp_path / "brief.pdf", f"{maker['TITLE']}: brief", maker["BRIEF"])
    for name in ("script.docx", "brief.pdf"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
