import re
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import pytest
from django.conf import settings

from core.handbook import contents

ALL = [(name, language) for language in contents.LANGUAGES for name in contents.NAMES]


def heading_levels(html):
    return re.findall(r"<h([1-6])", html)


@pytest.mark.parametrize(("name", "language"), ALL)
def test_every_page_is_served_in_its_language_and_names_its_translation(client, name, language):
    response = client.get(contents.path_of(name, language), headers={"accept-language": "de"})

    html = response.content.decode()
    assert response.status_code == 200
    assert response["Content-Language"] == language
    assert f'<html lang="{language}" dir="{"rtl" if language == "fa" else "ltr"}">' in html
    for other in contents.LANGUAGES:
        assert f'hreflang="{other}" href="http://127.0.0.1:7001{contents.path_of(name, other)}"' in html
    assert html.count("<h1>") == 1
    assert "<main" in html
    assert 'rel="canonical"' in html


@pytest.mark.parametrize("name", contents.NAMES)
def test_both_languages_have_the_same_sections_tables_and_examples(name):
    english, persian = (contents.load(name, language).html for language in ("en", "fa"))

    assert heading_levels(english) == heading_levels(persian)
    assert english.count("<tr>") == persian.count("<tr>")
    assert english.count("<pre") == persian.count("<pre")
    assert english.count("<li>") == persian.count("<li>")


def test_the_folders_hold_exactly_the_pages_of_the_list():
    for language in contents.LANGUAGES:
        assert {file.stem for file in (contents.ROOT / language).glob("*.md")} == set(contents.NAMES)


@pytest.mark.parametrize(("name", "language"), ALL)
def test_every_link_inside_the_handbook_leads_to_a_page(client, name, language):
    html = client.get(contents.path_of(name, language)).content.decode()

    links = {href.partition("#")[0] for href in re.findall(r'href="(/handbook/[^"]*)"', html)}
    assert links
    assert all(client.get(link).status_code == 200 for link in links)


@pytest.mark.parametrize("language", contents.LANGUAGES)
def test_every_variable_of_the_configuration_page_is_one_that_is_read(language):
    text = (contents.ROOT / language / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*)`? \|", text, re.MULTILINE)
    read = "".join((settings.BASE_DIR / path).read_text() for path in ("core/settings.py", "core/up/environment.py"))

    assert rows
    assert [name for name, _default in rows if f'"{name}"' not in read] == []
    for name, default in rows:
        if re.fullmatch(r"\d+", default) and (stated := re.search(rf'env\.\w+\("{name}", default=([\d_.]+)', read)):
            assert float(default) == float(stated[1]), name


def test_no_page_links_to_a_markdown_file():
    assert not [
        page.name for language in contents.LANGUAGES for page in contents.pages(language) if '.md"' in page.html
    ]


def test_a_persian_page_has_a_persian_address(client):
    assert unquote(contents.path_of("getting-started", "fa")) == "/handbook/fa/شروع/"
    assert client.get("/handbook/fa/شروع/").status_code == 200
    assert client.get("/handbook/fa/getting-started/").status_code == 404


def test_an_unchanged_page_is_not_sent_again(client):
    path = contents.path_of("queues", "fa")
    first = client.get(path)

    by_etag = client.get(path, headers={"if-none-match": first["ETag"]})
    by_date = client.get(path, headers={"if-modified-since": first["Last-Modified"]})

    assert (by_etag.status_code, by_date.status_code) == (304, 304)
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_changed_file_is_rendered_again(tmp_path, monkeypatch):
    (tmp_path / "en").mkdir()
    file = tmp_path / "en" / "glossary.md"
    monkeypatch.setattr(contents, "ROOT", tmp_path)
    file.write_text("# One\n\nFirst.\n")
    assert contents.load("glossary", "en").title == "One"

    file.write_text("# Two\n\nSecond.\n")

    assert contents.load("glossary", "en").title == "Two"


def test_an_unknown_page_is_not_found_and_a_missing_slash_is_forgiven(client):
    assert client.get("/handbook/en/no-such-page/").status_code == 404
    assert client.get("/handbook/de/").status_code == 404
    assert client.get("/handbook/en/queues")["Location"] == "/handbook/en/queues/"
    assert client.get("/handbook/en/no-such-page").status_code == 404


def test_the_reader_is_sent_to_the_handbook_in_their_language(client):
    assert client.get("/handbook/", headers={"accept-language": "fa"})["Location"] == "/handbook/fa/"
    assert client.get("/handbook/", headers={"accept-language": "de"})["Location"] == "/handbook/en/"


def test_robots_allows_the_handbook_and_names_the_sitemap(client):
    lines = client.get("/robots.txt").content.decode().splitlines()

    assert "Allow: /handbook/" in lines
    assert {"Disallow: /admin/", "Disallow: /api/"} <= set(lines)
    assert "Sitemap: http://127.0.0.1:7001/sitemap.xml" in lines


def test_the_sitemap_lists_every_page_with_its_date(client):
    root = ET.fromstring(client.get("/sitemap.xml").content)  # noqa: S314 -- our own

    urls = [[part.text for part in url] for url in root]
    addresses = {address for address, _date in urls}
    assert {f"http://127.0.0.1:7001{contents.path_of(*page)}" for page in ALL} < addresses
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _address, date in urls)


def test_the_handbook_needs_no_database_and_no_login(client):
    assert client.get("/handbook/en/").status_code == 200  # a query would raise: no django_db mark here
