"""Persian lines as a PDF shows them, left to right, back into the order in which they are written.

A PDF places glyphs; what comes first in the file may be the end of the line, and letters may stand there in the shapes
they have inside a word. So lines are read by position, which is the same whatever program wrote the file, and turned.
"""

import re
import unicodedata

_RTL = "\u0590-\u065f\u066e-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_DIGITS = "0-9\u0660-\u0669\u06f0-\u06f9"
_LATIN = "A-Za-z\u00c0-\u024f"
_RTL_LETTER = re.compile(f"[{_RTL}]")
_LATIN_LETTER = re.compile(f"[{_LATIN}]")
_NUMBER = re.compile(f"[{_DIGITS}](?:[{_DIGITS}.,:/\u066b\u066c-]*[{_DIGITS}])?")
_LEFT_TO_RIGHT = re.compile(f"[{_LATIN}{_DIGITS}](?:[^{_RTL}]*[{_LATIN}{_DIGITS}])?")
_OPENING, _CLOSING = re.compile(r"[(\[{«]"), re.compile(r"[)\]}»]")
_MIRRORED = str.maketrans("()[]{}«»<>", ")(][}{»«><")
_SPACES = re.compile(r"[ \t\u00a0]+")
# PDFs have a space where a zero-width non-joiner was written: «می کنید», «کتاب ها».
_LOST_JOINER = re.compile(f"(?<=\\bمی) (?=[{_RTL}])|(?<=\\bنمی) (?=[{_RTL}])|(?<=[{_RTL}]) (?=(?:ها|های|هایی)\\b)")
# Very common words: whichever way round they are found more often is the right one.
_COMMON = frozenset(
    ("در", "از", "به", "که", "این", "را", "با", "است", "برای", "تا", "بر", "هم", "شود", "شد", "و", "من", "على")
)


def logical(text: str) -> str:
    """Return a page's text, given as lines of glyphs from left to right, as it is read.

    Text that was placed the wrong way round is recognised by its words and keeps the order it has.
    """
    lines = [_SPACES.sub(" ", line).strip() for line in text.splitlines()]
    as_placed = "\n".join(map(_in_ordinary_letters, lines))
    turned = "\n".join(_in_ordinary_letters(_turn(line)) for line in lines)
    read = as_placed if _common_words(as_placed) > _common_words(turned) else turned
    return _LOST_JOINER.sub("\u200c", read)


def has_right_to_left(text: str) -> bool:
    return _RTL_LETTER.search(text) is not None


def as_glyph(text: str) -> str:
    """Return what one glyph stands for in the order of the glyphs around it: «لا» is drawn as a single one."""
    return text[::-1] if len(text) > 1 and has_right_to_left(text) else text


def _turn(line: str) -> str:
    if 2 * len(_RTL_LETTER.findall(line)) <= len(_LATIN_LETTER.findall(line)):
        return line
    turned = _LEFT_TO_RIGHT.sub(lambda found: _turn_back(found[0]), line[::-1])
    opens, closes = _OPENING.search(turned), _CLOSING.search(turned)
    is_mirrored = closes is not None and (opens is None or closes.start() < opens.start())
    return turned.translate(_MIRRORED) if is_mirrored else turned


def _turn_back(run: str) -> str:
    """Turn what keeps its own direction: Latin words with all between them as one, of numbers alone each by itself."""
    if _LATIN_LETTER.search(run):
        return run[::-1]
    return _NUMBER.sub(lambda number: number[0][::-1], run)


def _in_ordinary_letters(line: str) -> str:
    """Replace letters in the shapes they have inside words; zero-width non-joiners stay."""
    return unicodedata.normalize("NFKC", line)


def _common_words(text: str) -> int:
    return sum(word in _COMMON for word in text.split())
