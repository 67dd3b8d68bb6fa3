"""Bytes to text, when header, document and truth may disagree."""

import codecs
import re

_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_WITHIN_BYTES = 4096

# Text encodings of the WHATWG's list; whatever else Python knows (utf-7, punycode, base64 …) is not one of the web's.
_KNOWN = re.compile(
    r"utf-8|utf-16-[lb]e|windows-125[0-8]|windows-874|iso8859-(?:[2-8]|1[03456])|koi8-[ru]|mac-roman|gbk|gb2312|gb18030|"
    r"big5|euc-jp|iso2022-jp|shift_jis|euc-kr|cp866"
)
_AS_WINDOWS = {"ascii": "windows-1252", "iso8859-1": "windows-1252", "iso8859-9": "windows-1254", "utf-16": "utf-16-le"}
_MOSTLY = 0.4  # share of high bytes in text written in a non-Latin script; European languages stay far below


def decode(body: bytes, content_type: str) -> str:
    """Return the page's text: by its byte order mark, else header, else meta element, else a guess.

    What is declared is believed if the bytes agree with it, or nearly; a UTF-8 header on a windows-1256 page is not.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, errors="replace")
    declared = [name for name in (_named(_HEADER.search(content_type)), _declared_in(body)) if name]
    for name in [*declared, "utf-8"]:
        try:
            return body.decode(name)
        except UnicodeDecodeError:
            continue
    if _is_nearly_utf8(body):
        return body.decode("utf-8", errors="replace")
    other = next((name for name in declared if name != "utf-8"), None)
    return body.decode(other or _guess_single_byte(body), errors="replace")


def _declared_in(body: bytes) -> str | None:
    match = _META.search(body[:_META_WITHIN_BYTES])
    name = _known(match[1].decode("ascii")) if match else None
    return "utf-8" if name and name.startswith("utf-16") else name  # the element was readable, so it is not UTF-16


def _named(match: re.Match[str] | None) -> str | None:
    return _known(match[1]) if match else None


def _known(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name.replace("cp125", "windows-125").replace("cp874", "windows-874")
    except LookupError:
        return None
    name = _AS_WINDOWS.get(name, name)
    return name if _KNOWN.fullmatch(name) else None


def _is_nearly_utf8(body: bytes) -> bool:
    high = sum(body.count(bytes([byte])) for byte in range(0x80, 0x100))
    broken = body.decode("utf-8", errors="replace").count("\ufffd")
    return broken * 10 <= high


def _guess_single_byte(body: bytes) -> str:
    text = re.sub(rb"<[^>]{0,2000}>", b"", body)
    high = len(re.findall(rb"[\x80-\xff]", text))
    letters = high + len(re.findall(rb"[A-Za-z]", text))
    return "windows-1256" if letters and high / letters > _MOSTLY else "windows-1252"
