import ast
import gettext
import re

import pytest
from django.conf import settings

FOLDER = settings.BASE_DIR / "core" / "locale" / "fa" / "LC_MESSAGES"
OWN_APPS = ("core", "tenants", "knowledge", "crawl", "chat", "tasks_api")
MARKS = {"_", "gettext", "gettext_lazy", "pgettext", "ngettext"}
HOW = "run script/messages, then fill in core/locale/fa/LC_MESSAGES/django.po and run it again"


def catalogue():
    """Return {msgid: msgstr} of the .po file."""
    text = (FOLDER / "django.po").read_text(encoding="utf-8")
    strings = re.compile(r'^(msgid|msgstr) ((?:".*"\n?)+)', re.MULTILINE)
    parts = [
        (kind, "".join(map(ast.literal_eval, value.split("\n")[: value.count("\n") or 1])))
        for kind, value in strings.findall(text)
    ]
    return {parts[i][1]: parts[i + 1][1] for i in range(0, len(parts), 2) if parts[i][1]}


def marked_texts():
    for app in OWN_APPS:
        for path in (settings.BASE_DIR / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.args[0] if isinstance(node, ast.Call) and node.args else None
                if getattr(getattr(node, "func", None), "id", "") in MARKS and isinstance(text, ast.Constant):
                    yield text.value
        for path in (settings.BASE_DIR / app).rglob("templates/**/*.html"):
            yield from (
                text for _quote, text in re.findall(r"""\{% translate (["'])(.*?)\1""", path.read_text("utf-8"))
            )


def test_every_text_of_the_product_is_translated():
    translated = {msgid for msgid, msgstr in catalogue().items() if msgstr}

    assert sorted(set(marked_texts()) - translated) == [], HOW


def test_no_translation_is_fuzzy_or_obsolete():
    text = (FOLDER / "django.po").read_text(encoding="utf-8")

    assert not re.findall(r"^#.*fuzzy|^#~", text, re.MULTILINE), HOW


def test_the_compiled_catalogue_is_the_written_one():
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)

    assert {msgid: compiled.gettext(msgid) for msgid in catalogue()} == catalogue(), HOW


@pytest.mark.parametrize(("msgid", "msgstr"), catalogue().items())
def test_a_translation_keeps_the_placeholders(msgid, msgstr):
    assert sorted(re.findall(r"%\(\w+\)s|%s|\{\w+\}", msgid)) == sorted(re.findall(r"%\(\w+\)s|%s|\{\w+\}", msgstr))
