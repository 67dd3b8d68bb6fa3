import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.text import STOP_WORDS, WORD_MAX_CHARS, language_of, normalise, words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("كتاب علي", "کتاب علی"),  # Arabic kaf and yeh
        ("کتابِ عَلی", "کتاب علی"),  # harakat
        ("کتـــاب", "کتاب"),  # tatweel
        ("می‌شود", "می شود"),  # ZWNJ
        ("خانۀ ما، خانهٔ ما، مدرسة", "خانه ما، خانه ما، مدرسه"),
        ("آزمایش مسئول مؤثر", "ازمایش مسیول موثر"),
        ("۱۲۳ ٤٥٦", "123 456"),  # Persian and Arabic digits
        ("۱٬۲۳۴٫۵", "1,234.5"),
        ("ﻻﻟﻪ", "لاله"),  # presentation forms
        ("\u200fسلام\u200e", "سلام"),  # direction marks
        ("Café NAÏVE Straße", "cafe naive strasse"),
        ("ＡＢＣ　１２", "abc 12"),  # full width
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zero width"),
        ("हिन्दी", "हिन्दी"),  # other scripts keep their marks
        ("a\x00b", "ab"),
        ("", ""),
    ],
)
def test_normalise_makes_spellings_alike(written, expected):
    assert normalise(written) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كتاب‌هاي", "کتاب"),
        ("کتابهایی", "کتاب ها"),
        ("می‌خرم", "می خرم"),
        ("نمیخرم", "نمی‌خرم"),
        ("بزرگ‌ترین", "بزرگترین"),
        ("اطلاعات", "اطلاع"),
        ("ایرانی", "ايران"),
        ("databases", "database"),
        ("policies", "policy"),
        ("running", "runs"),
        ("stopped", "stopping"),
        ("Installed", "install"),
        ("the user's", "user"),
        ("fetch_url", "fetch url"),
        ("سال ۱۳۹۵", "سال 1395"),
    ],
)
def test_forms_of_one_word_meet(one, other):
    assert words(one) == words(other) != []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ماه و خورشید", ["ماه", "خورشید"]),
        ("این چیست؟", []),
        ("what is it?", []),
        ("bus class status this", ["bus", "class", "status"]),
        ("C++ و Django", ["c", "django"]),
        ("v2 x86_64", ["v2", "x86", "64"]),
        ("«سلام»", ["سلام"]),
        ("", []),
    ],
)
def test_words_are_those_that_carry_meaning(text, expected):
    assert words(text) == expected


def test_an_endless_word_is_cut():
    assert words("x" * 5000) == ["x" * WORD_MAX_CHARS]


def test_stop_words_are_written_as_words_are():
    assert all(normalise(word) == word for word in STOP_WORDS)


@given(st.text())
def test_any_text_has_words_and_normalising_again_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)
    assert all(word and len(word) <= WORD_MAX_CHARS and not set(word) & set(" '\\\x00") for word in words(text))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("سلام", "fa"),
        ("نصب Django REST Framework چطور است", "fa"),
        ("Django چیست؟", "fa"),
        ("Pasokh (پاسخ) answers questions from your own website", "en"),
        ("hello", "en"),
        ("123", "en"),
        ("", "en"),
    ],
)
def test_language_of(text, language):
    assert language_of(text) == language
