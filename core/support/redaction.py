"""Takes secrets out of text: the ones this installation knows, and whatever has the form of one."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings

REMOVED = "[removed]"
SECRET_MINIMUM_CHARS = 4  # a shorter one would be found inside ordinary words
ORDINARY = {"true", "false", "none", "null", "admin", "pasokh"}

_VARIABLE = re.compile(r"KEY|SECRET|PASS|TOKEN|AUTH|CREDENTIAL|COOKIE|DSN", re.IGNORECASE)
_SETTING = re.compile(r"SECRET|PASSWORD|API_KEY|TOKEN")
_NOT_SECRET = {"API_RATE_PER_KEY"}
_LABEL = (
    r"(?:password|passwd|secret|token(?!s)|api[_-]?key|authorization|session_?id|session_?key|signature"
    r"|credential)[\w-]{0,40}\\*[\"']?\s{0,5}[:=]\s{0,5}"
)
# Each quantifier before something that may not follow is bounded: a log can be one line of any text.
_FORMS = (
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,20000}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S),
    re.compile(r"^[A-Za-z0-9+/]{60,76}={0,2}$", re.M),  # a line of a key whose first line was cut off
    re.compile(r"\bpk_[0-9a-f]{8,}(?:\.[A-Za-z0-9_-]+)?"),  # tenants.models.keys
    re.compile(r"\bwhsec_[A-Za-z0-9+/_=-]+"),  # tenants.signing
    re.compile(r"\b(?:sk|rk|ghp|gho|glpat|hf)[-_][A-Za-z0-9_-]{12,}"),  # of language models and code hosts
    re.compile(r"\beyJ[A-Za-z0-9_-]{4,2000}\.[A-Za-z0-9_-]{4,4000}(?:\.[A-Za-z0-9_-]*)?"),  # JSON Web Token
    re.compile(r"\bv1a?,[A-Za-z0-9+/=]{20,}"),  # webhook-signature
    re.compile(r"\b(?=[0-9a-f]{0,31}[g-z])(?=[a-z]{0,31}[0-9])[0-9a-z]{32}\b"),  # a session's; hexadecimal ids stay
)
_AFTER = (
    re.compile(r"(?i)\b((?:set-)?cookie\\*[\"']?\s{0,5}[:=]\s{0,5}\\*[\"']?)[^\"'\\\r\n]+"),
    re.compile(r"(?i)\b((?:Bearer|Basic|Token)\s{1,5})[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(://[^\s/@:\"']{0,200}:)[^\s\"'<>]{0,500}(?=@)"),  # scheme://user:password@host
    re.compile(r"(?i)([?&](?:key|sig|code|auth|access)=)[^\s&\"']+"),
    re.compile(rf"(?i)({_LABEL}\\+[\"'])(?!\[removed)[^\"'\\]*"),  # JSON inside JSON
    re.compile(rf"(?i)({_LABEL}\")(?!\[removed)(?:[^\"\\]|\\.)*"),
    re.compile(rf"(?i)({_LABEL}')(?!\[removed)(?:[^'\\]|\\.)*"),
    re.compile(rf"(?i)({_LABEL})(?!\[removed)[^\s\"'\\,;&}}\]]+"),
)


class Redactor:
    """Removes the given secrets, in the forms in which they are written, and everything that looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if is_secret(secret) for form in _written(secret)}
        longest_first = sorted(forms, key=len, reverse=True)  # a secret may hold another one
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def clean(self, text: str) -> str:
        if self._known:
            text = self._known.sub(REMOVED, text)
        for form in _FORMS:
            text = form.sub(REMOVED, text)
        for form in _AFTER:
            text = form.sub(rf"\g<1>{REMOVED}", text)
        return text


def is_secret(text: str) -> bool:
    return len(text) >= SECRET_MINIMUM_CHARS and text.lower() not in ORDINARY


def of_this_installation() -> Redactor:
    """Return a redactor that knows the secrets of the settings, the environment and the file ``var/env``."""
    return Redactor({*_of_settings(), *_of_variables(os.environ), *_of_variables(_file(settings.ENV_FILE))})


def _of_settings() -> Iterator[str]:
    for name in filter(str.isupper, dir(settings)):
        value = getattr(settings, name)
        if isinstance(value, str):
            yield from [value] if _SETTING.search(name) else _passwords_of_addresses(value)
    yield from settings.SECRET_KEY_FALLBACKS
    for database in settings.DATABASES.values():
        yield str(database.get("PASSWORD") or "")


def _of_variables(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of what is named like a secret, and the password of every address."""
    for name, value in variables.items():
        if _VARIABLE.search(name) and name not in _NOT_SECRET:
            yield value
            yield value.partition(":")[2]  # user:password
            yield from value.split(",")
        yield from _passwords_of_addresses(value)


def _passwords_of_addresses(value: str) -> Iterator[str]:
    for part in re.split(r"[;,\s]", value) if "://" in value else ():
        try:
            password = urlsplit(part).password
        except ValueError:
            continue
        if password:
            yield password
            yield unquote(password)


def _file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _written(secret: str) -> set[str]:
    """Return the secret as it may stand in addresses, JSON and Python's own form."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
