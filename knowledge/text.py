"""Persian and English words as search sees them: one spelling, no noise, light stems.

The same functions write the index and read the query, so a fold is safe whenever both sides get it.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Literal

WORD_MAX_CHARS = 64  # a longer run is not a word anybody types

# Alef, waw and yeh with their marks fall to the bare letter through decomposition; these do not.
_LETTERS = (
    {
        "ي": "ی",
        "ى": "ی",
        "ې": "ی",
        "ك": "ک",
        "ڪ": "ک",
        "ة": "ه",
        "ە": "ه",
        "ہ": "ه",
        "ھ": "ه",
        "ۂ": "ه",
        "ٱ": "ا",
        "ٲ": "ا",
        "ٳ": "ا",
        "٫": ".",
        "٬": ",",
        "ـ": "",  # tatweel
        "\u00ad": "",  # soft hyphen
        "\u200b": " ",
        "\u200c": " ",  # ZWNJ: «می‌شود» and «می شود» are one spelling
        "\u200d": "",
        "\u200e": "",
        "\u200f": "",
        "\u2060": "",
        "\ufeff": "",
        "\x00": "",
        "’": "'",
    }
    | {chr(0x660 + digit): str(digit) for digit in range(10)}
    | {chr(0x6F0 + digit): str(digit) for digit in range(10)}
)
# Accents of Latin, Greek and Cyrillic, harakat and Quranic marks. Marks of other scripts carry the vowel: kept.
_MARKS = re.compile("[\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]")
_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"'s\b")
_ARABIC_SCRIPT = re.compile("[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]")


def normalise(text: str) -> str:
    """Return the text in one spelling: letters, digits, joiners, accents and case made alike."""
    if text.isascii():
        return text.replace("\x00", "").casefold()  # all that the rest would do; a tenth of its time
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    text = unicodedata.normalize("NFC", text)
    for letter in _LETTERS.keys() & set(text):  # a fold gives no letter to fold; `translate` takes five times as long
        text = text.replace(letter, _LETTERS[letter])
    return text.casefold()


def words(text: str) -> list[str]:
    """Return the words that carry meaning, in order, normalised and stemmed; repeats stay."""
    found = _WORD.findall(_POSSESSIVE.sub("", normalise(text)))
    return [stem(word[:WORD_MAX_CHARS]) for word in found if word not in STOP_WORDS]


def distinct_words(text: str) -> set[str]:
    """Return `words`, each once and in no order: the stems of a text's few different words alone are made."""
    found = set(_WORD.findall(_POSSESSIVE.sub("", normalise(text)))) - STOP_WORDS
    return {stem(word[:WORD_MAX_CHARS]) for word in found}


def language_of(text: str) -> Literal["fa", "en"]:
    """Return "fa" if three words in ten are in Arabic script, so that Latin names do not outvote a sentence."""
    found = re.findall(r"[^\W\d_]+", text)
    persian = sum(1 for word in found if _ARABIC_SCRIPT.match(word))
    return "fa" if found and persian >= 0.3 * len(found) else "en"


@lru_cache(maxsize=20_000)  # a text has few words many times
def stem(word: str) -> str:
    """Return a normalised word without plural, possessive and verb endings; short words stay whole."""
    if word.isascii():
        return _stem_english(word) if word.isalpha() else word
    return _stem_persian(word) if _ARABIC_SCRIPT.match(word) else word


_PERSIAN_ENDINGS = (
    "هایمان",
    "هایتان",
    "هایشان",
    "هایی",
    "هایم",
    "هایت",
    "هایش",
    "های",
    "ها",
    "ترین",
    "ات",
    "یی",
    "ی",
)


_ATTACHED_VERB = re.compile("ن?می(?=..+(?:م|د)$)")  # «میخرم» for «می‌خرم»


def _stem_persian(word: str) -> str:
    word = word[verb.end() :] if (verb := _ATTACHED_VERB.match(word)) else word
    for ending in _PERSIAN_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004
            return word.removesuffix(ending)
    return word


def _stem_english(word: str) -> str:
    if len(word) <= 3 or word.endswith(("ss", "us", "is")):  # noqa: PLR2004
        return word
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]  # noqa: PLR2004
    if word.endswith("s"):
        word = word[:-1]
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= 3 and re.search("[aeiouy]", root):  # noqa: PLR2004
            return root[:-1] if root[-1] == root[-2] and root[-1] not in "ls" else root.removesuffix("e")
    return word.removesuffix("e") if len(word) > 3 else word  # noqa: PLR2004


def _split(listed: str) -> set[str]:
    return set(_WORD.findall(normalise(listed)))


STOP_WORDS = frozenset(
    _split(
        # Persian: function words, question words, and the affixes that a ZWNJ sets apart
        """
        و در به از که این آن را با است برای یک تا بر هم نیز یا اما اگر ولی پس چون چه چی چرا چطور
        چگونه کدام کدامین کجا کجاست کی چیست کیست چند چقدر چیزی آیا هر همه هیچ باید شاید خود خودش من
        تو او ما شما آنها ایشان ایم اید اند ام ای می نمی ها های هایی تر ترین اش ات شان مان تان بود
        بوده بودند باشد باشند هست هستند نیست نیستند شد شده شدند شود شوند میشود میشوند کرد کرده کردن
        کردند کند کنند کنم کنیم کنید میکند میکنند میکنم میکنیم میکنید نام بودن شدن دارد دارند داشت
        داشته داشتند داشتن دهد داد داده دهند گیرد گرفت گرفته نمود نموده وی آنچه آنکه اینکه چنین چنان
        همین همان دیگر روی زیر بین پیش توسط درباره مورد طور جا ضمن بی جز مگر تنها فقط حتی یعنی البته
        بسیار خیلی کمی بعد قبل سپس هنوز
        """
    )
    | _split(
        """
        a an and any are as at be been being but by can could did do does doing for from had has have having he her here
        hers him his how i if in into is it its itself just me more most my no nor not of off on once only or other our
        ours out over own s same she should so some such t than that the their theirs them then there these they this
        those through to too under until up very was we were what when where which while who whom whose why will with
        would you your yours don doesn didn isn aren wasn weren ll ve re m d am let us about
        """
    )
)
