import zipfile
from io import BytesIO

import pytest

from knowledge.errors import FileEncryptedError, FileTooCostlyError, FileUnreadableError
from knowledge.files import reading, visual
from knowledge.files.kinds import Kind, kind_of
from tests.knowledge.files import locked, make_docx, make_pdf

# As programs write them: letters in the shapes they have inside words, placed from left to right.
SHOWN = "ﺎﻫ ﻪﻧﺎﺧ و ﺎﻫ بﺎﺘﮐ ﺲﭙﺳ ؛ﺪﯿﻨﮐ ﯽﻣ اﺮﺟا ار setup.exe ﻞﯾﺎﻓ اﺪﺘﺑا ۱۴۰۳ لﺎﺳ رد 3.2 ٔﻪﺨﺴﻧ ﺐﺼﻧ یاﺮﺑ"
READ = "برای نصب نسخهٔ 3.2 در سال ۱۴۰۳ ابتدا فایل setup.exe را اجرا می‌کنید؛ سپس کتاب‌ها و خانه‌ها"


def read(data, kind, *, name):
    return reading.read(data, kind, name=name, seconds=20)


@pytest.mark.parametrize(
    ("start", "name", "content_type", "kind"),
    [
        (b"%PDF-1.4", "a.html", "text/html", Kind.PDF),
        (b"\xef\xbb\xbf\n%PDF-1.4", "a", "", None),
        (b"PK\x03\x04", "a.docx", "application/octet-stream", Kind.DOCX),
        (b"PK\x03\x04", "a.zip", "application/zip", None),
        (b"Hello", "a.txt", "", Kind.TEXT),
        (b"Hello", "a.md", "text/plain; charset=utf-8", Kind.MARKDOWN),
        (b"Hello", "a", "text/markdown", Kind.MARKDOWN),
        ("سلام".encode(), "a", "text/plain", Kind.TEXT),
        (b"\x89PNG\r\n\x1a\n\x00", "a.txt", "text/plain", None),
        (b"{}", "a.json", "application/json", None),
        (b"<svg>", "a.svg", "image/svg+xml", None),
        (b"Hello", "a.py", "application/octet-stream", None),
    ],
)
def test_a_file_is_what_its_bytes_and_then_its_name_say(start, name, content_type, kind):
    assert kind_of(start, name=name, content_type=content_type) is kind


def test_persian_in_a_pdf_is_read_in_its_order_and_its_letters():
    glyphs = [*SHOWN, " ", "م", "لا", "ﺳ"]  # «سلام» with a single glyph for «لا»

    found = read(make_pdf([glyphs]), Kind.PDF, name="a.pdf")

    assert found.content == f"سلام {READ}"
    assert found.language == "fa"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (SHOWN, READ),
        (READ, READ),  # placed the wrong way round by a program that knows no Persian
        ("(ﺎﻬﻧآ) و Pasokh 2 ﺖﺳا", "است Pasokh 2 و (آنها)"),
        (")ﺎﻬﻧآ( ﺖﺳا ۴۵٬۰۰۰", "۴۵٬۰۰۰ است (آنها)"),
        ("Only English (here), 2026.", "Only English (here), 2026."),
    ],
)
def test_lines_are_turned_as_they_are_read(shown, expected):
    assert visual.logical(shown) == expected


def test_a_pdf_has_a_heading_for_each_page_and_whole_paragraphs(settings):
    settings.KNOWLEDGE_FILE_MAX_PAGES = 2
    lines = [
        "The installer has to be run once on every compu-",
        "ter of the house before it is used for the",
        "first time.",
    ]

    found = read(make_pdf(lines, ["Second page."], ["Third page."], title="Guide"), Kind.PDF, name="a.pdf")

    assert found.content == (
        "## Page 1\n\nThe installer has to be run once on every computer of the house before it is used for the first "
        "time.\n\n## Page 2\n\nSecond page."
    )
    assert (found.title, found.language, found.detail) == ("Guide", "en", "2 of 3 pages")


def test_a_scan_has_no_text_and_its_file_name_is_its_title():
    found = read(make_pdf([]), Kind.PDF, name="/files/price list.pdf")

    assert (found.content, found.title) == ("", "price list")


def test_what_cannot_be_read_is_named(settings):
    pdf = make_pdf(["Text."])
    with pytest.raises(FileEncryptedError):
        read(locked(pdf), Kind.PDF, name="a.pdf")
    with pytest.raises(FileUnreadableError):
        read(b"%PDF-1.7 nothing else", Kind.PDF, name="a.pdf")
    with pytest.raises(FileUnreadableError):
        read(b"PK\x03\x04 nothing else", Kind.DOCX, name="a.docx")
    settings.KNOWLEDGE_FILE_MEMORY_BYTES = 40 * 2**20
    with pytest.raises(FileTooCostlyError):
        read(pdf, Kind.PDF, name="a.pdf")


def test_a_docx_keeps_headings_lists_and_tables():
    found = read(make_docx(), Kind.DOCX, name="a.docx")

    assert found.title == "Handbook"
    assert found.content == (
        "# Install\n\nRun the installer once.\n\n- first step\n\nName | Price\nLamp | 12 euros\n\n## راهنما\n\n"
        "کتاب‌ها را می‌خوانیم."
    )


def test_a_docx_that_unpacks_to_too_much_is_refused():
    out = BytesIO(make_docx())
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/media/zeros", "w") as part:
        for _megabyte in range(101):
            part.write(bytes(1_000_000))

    with pytest.raises(FileTooCostlyError):
        read(out.getvalue(), Kind.DOCX, name="a.docx")


def test_plain_text_and_markdown_are_read_as_they_are():
    text = read("پاسخ پرسش\r\nکار ساده".encode("windows-1256"), Kind.TEXT, name="note.txt")
    markdown = read(b"---\ntitle: 'The guide'\n---\n# Install\n\nRun it.\n", Kind.MARKDOWN, name="a.md")

    assert (text.title, text.content, text.language) == ("note", "پاسخ پرسش\nکار ساده", "fa")
    assert (markdown.title, markdown.content) == ("The guide", "# Install\n\nRun it.")
