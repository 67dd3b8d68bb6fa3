import psutil
import pytest

from crawl.extraction import decode, extract, parse

URL = "https://example.com/docs/page"
PERSIAN = "این متن فارسی است و می‌خواهد نیم‌فاصله‌هایش را نگه دارد؛ کتاب‌ها و خانه‌ها نیز همین‌طور. " * 4


def page(html, **options):
    return parse(html, url=URL, **options)


def text_of(html):
    return extract(page(html)).content


@pytest.mark.parametrize("written", ["\u200c", "&zwnj;", "&#8204;", "&#x200C;"])
@pytest.mark.parametrize(
    "frame", ["<article><h1>عنوان</h1><p>{}</p></article>", "<div>{}</div>", "<p>کوتاه می‌شود</p><!--{}-->"]
)
def test_the_zero_width_non_joiner_survives(written, frame):
    html = frame.format(PERSIAN).replace("\u200c", written)
    expected = frame.format(PERSIAN) if "<!--" not in frame else "می‌شود"

    assert text_of(html).count("\u200c") == expected.count("\u200c")


def test_headings_lists_tables_and_code_stay():
    html = f"""
        <html><head><title>Guide</title></head><body><nav><a href="/">Home</a> <a href="/x">Elsewhere</a></nav>
        <main><h1>Guide<a href="#guide">¶</a></h1><p>{"Install the tool with one command. " * 5}</p>
        <h2>Install</h2><pre><code>pip install utf8_to_x
run</code></pre><ul><li>first_point &lt;b&gt;</li><li>second</li></ul>
        <table><tr><th>Name</th><th>Price</th></tr><tr><td>Lamp</td><td>12</td></tr></table>
        <h2>Use</h2><p>{"Call utf8_to_x with a *star*. " * 5}</p></main><footer>Imprint and terms</footer></body></html>
    """
    text = text_of(html)

    assert "# Guide\n" in text
    assert "## Install" in text
    assert "```\npip install utf8_to_x\nrun\n```" in text
    assert "- first_point <b>" in text
    assert "Lamp" in text
    assert "Call utf8_to_x with a *star*." in text
    assert "Imprint" not in text
    assert "Elsewhere" not in text


def test_a_page_that_trafilatura_reads_little_from_falls_back_to_its_main_element():
    items = "".join(f'<li><a href="/{number}">Lamp number {number}, 12 euros</a></li>' for number in range(40))
    text = text_of(f"<nav>Menu</nav><main><h1>Price list</h1><ul>{items}</ul></main>")

    assert "Lamp number 39, 12 euros" in text
    assert "Menu" not in text


def test_a_page_without_text_is_empty():
    assert text_of("<script>render()</script><noscript>Enable JavaScript</noscript>") == ""
    assert page("") is None


def test_a_page_says_what_it_is():
    parsed = page(
        """<html lang="fa-IR"><head><title> عنوان \n صفحه </title><base href="/base/">
        <link rel="canonical" href="/original?utm_source=x"><meta http-equiv="Refresh" content="0;URL='/next'"></head>
        <a href="a">a</a><a href="b" rel="nofollow">b</a><a href="#c">c</a><a href="mailto:x@y.z">m</a>
        <area href="//example.com/map"><a href="http://127.0.0.1/">i</a></html>"""
    )

    assert (parsed.title, parsed.language) == ("عنوان صفحه", "fa")
    assert parsed.canonical_url == "https://example.com/original"
    assert parsed.refresh_url == "https://example.com/next"
    assert parsed.links == ["https://example.com/base/a", "https://example.com/map"]


@pytest.mark.parametrize(
    ("html", "language"),
    [
        ("<p>Plain words</p>", "en"),
        ("<p>متن فارسی</p>", "fa"),
        ('<html lang="en"><p>متن فارسی و یک word</p></html>', "fa"),
        ('<html lang="fa"><p>English only</p></html>', "en"),
        ('<html lang="de-AT"><p>Deutsch</p></html>', "de"),
        ('<html lang="ar"><p>نص عربي</p></html>', "ar"),
        ('<html lang="{{lang}}"><p>x</p></html>', "en"),
    ],
)
def test_the_language_is_the_declared_one_unless_the_script_differs(html, language):
    assert page(html).language == language


@pytest.mark.parametrize(
    ("meta", "header", "is_noindex", "has_links"),
    [
        ("index, follow", "", False, True),
        ("NOINDEX", "", True, True),
        ("none", "", True, False),
        ("nofollow", "", False, False),
        ("", "noindex, nofollow", True, False),
        ("", "googlebot: noindex", False, True),
        ("", "googlebot: noindex, pasokhbot: nofollow", False, False),
        ("", "max-snippet:-1, noindex", True, True),
    ],
)
def test_wishes_to_robots_are_read(meta, header, is_noindex, has_links):
    parsed = page(f'<meta name="robots" content="{meta}"><a href="/x">x</a>', robots_tag=header)

    assert (parsed.is_noindex, bool(parsed.links)) == (is_noindex, has_links)


def test_an_anchor_to_a_private_base_is_dropped():
    assert page('<base href="http://127.0.0.1/"><a href="x">x</a>').links == ["https://example.com/docs/x"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PERSIAN.encode(), "text/html; charset=utf-8"),
        (PERSIAN.encode(), ""),
        (PERSIAN.encode(), "text/html; charset=foobar"),
        (b"\xef\xbb\xbf" + PERSIAN.encode(), "text/html; charset=windows-1256"),
        (b"\xff\xfe" + PERSIAN.encode("utf-16-le"), "text/html"),
        (PERSIAN.encode("utf-16-le"), "text/html; charset=utf-16"),
        (b'<meta charset="utf-8">' + PERSIAN.encode(), ""),
    ],
)
def test_persian_text_is_decoded_as_declared(body, content_type):
    assert PERSIAN.strip() in decode(body, content_type)


ARABIC_KEYS = "اين متن فارسي با کدگذاري قديمي نوشته شده است. " * 5


@pytest.mark.parametrize("content_type", ["", "text/html; charset=windows-1256", "text/html; charset=utf-8"])
def test_windows_1256_is_recognised_even_under_a_wrong_header(content_type):
    body = f"<html><body class='a'><p>{ARABIC_KEYS}</p></body></html>".encode("windows-1256")

    assert ARABIC_KEYS.strip() in decode(body, content_type)


def test_a_few_invalid_bytes_do_not_change_the_encoding():
    assert decode(PERSIAN.encode() + b"\xff\xfe tail", "text/html").startswith(PERSIAN)


def test_utf_7_is_never_decoded():
    assert "<script>" not in decode(b"+ADw-script+AD4-alert(1)", "text/html; charset=utf-7")


def test_characters_that_cannot_be_stored_or_deceive_are_taken_out():
    text = text_of(f"<p>one\x00two\x0bthree\u202efour\ud800 {'more words ' * 30}</p>")

    assert not set("\x00\x0b\u202e\ud800") & set(text)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 200_000 + "deep",
        "<p>" + "x" * 3_000_000,
        "<" * 100_000,
        "&" * 100_000,
        "-->" * 50_000,
        " " * 1_000_000,
        "".join(f'<a href="/{number}">x</a>' for number in range(50_000)),
        f"<title>{'t' * 1_000_000}</title><a href='/{'u' * 1_000_000}'>x</a>",
        "<table>" * 3000 + "x",
        ("<b " + " ".join(f"a{number}=1" for number in range(10)) + ">x</b>") * 80_000,
    ],
    ids=["deep", "line", "brackets", "ampersands", "comments", "spaces", "links", "title", "tables", "attributes"],
)
def test_a_hostile_page_is_read_in_bounded_memory(html):
    before = psutil.Process().memory_info().rss
    parsed = page(html)
    if parsed is not None:
        extract(parsed)
        assert len(parsed.links) <= 5000
        assert len(parsed.title) <= 500

    assert psutil.Process().memory_info().rss - before < 64 * 2**20
