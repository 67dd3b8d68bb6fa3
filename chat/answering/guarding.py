"""The last look at a model's text: it neither recites its rules nor leads off the site.

Both are looked for while the text streams, so what may become one of them is held back until it is clear: at most
a few words, and nothing of an ordinary sentence.
"""

import re
from collections.abc import Iterable

RECITED_WORDS = 8  # so many words of the rules in a row are no accident
SUSPECT_WORDS = 3
TAIL_MAX_CHARS = 400  # looked at again with each text: longer than any eight words
NEAR_CHARS = 100  # mostly enough to hold the last words
ADDRESS_MAX_CHARS = 2000
ELSEWHERE = "…"  # stands for an address that is not the site's

_WORD = re.compile(r"\w+")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]{1,15}://|\bwww\.)[^\s<>()\[\]{}\"'`«»،]*", re.IGNORECASE)
_BEGINNINGS = {word[:length] for word in ("https", "ftps", "wss", "file", "www") for length in range(1, len(word) + 1)}
_ADDRESS_BEGINS = re.compile(rf"(?:[a-z][a-z0-9+.-]{{1,15}}:/?|\b(?:{'|'.join(_BEGINNINGS)}))$", re.IGNORECASE)
_STEP = re.compile(r"\S*\s|\S+")
_HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?([^/?#]*)", re.IGNORECASE)


class Guard:
    """``secret`` is a random word of the rules; ``hosts`` (with ports) are those that may be named in addresses."""

    def __init__(self, *, rules: str, secret: str, hosts: Iterable[str]) -> None:
        told = _words(rules)
        self._rules, self._rules_words = f" {' '.join(told)} ", set(told)
        self._secret = secret
        self._hosts = {host.lower() for host in hosts}
        self._shown = ""  # the end of it
        self._held = ""
        self.is_reciting = False

    def feed(self, text: str) -> str:
        """Take more of the model's text and return what may be shown of it; nothing once it recites."""
        if self.is_reciting:
            return ""
        safe = 0
        for place, step in enumerate(_STEP.findall(text)):  # word by word: a run may end in the midst of a long text
            self._held += step
            is_whole = place > 0 and step[-1].isspace() and self._secret not in step.casefold()
            if is_whole and self._rules_words.isdisjoint(_words(step)):
                safe = len(self._held)  # a run ends with a word of the rules: that spares most words what follows
                continue
            recited_from = self._recited_from(is_end=False)
            if self.is_reciting:
                return self._release(safe)
            safe = recited_from
        return self._release(min(safe, self._unsure_from()))

    def end(self) -> str:
        """Return what was held back when the model is done."""
        if not self.is_reciting:
            self._recited_from(is_end=True)
        return "" if self.is_reciting else self._release(len(self._held))

    def _release(self, upto: int) -> str:
        """Return this much of the held text as it may be shown."""
        shown = _ADDRESS.sub(self._or_elsewhere, self._held[:upto])
        self._shown = (self._shown + self._held[:upto])[-TAIL_MAX_CHARS:]
        self._held = self._held[upto:]
        return shown

    def _recited_from(self, *, is_end: bool) -> int:
        """Return where in the held text a run of the rules' words begins that reaches its end; see `is_reciting`."""
        tail = self._shown + self._held
        if self._secret in tail.casefold():
            self.is_reciting = True
        near = _WORD.findall(tail[-NEAR_CHARS:])
        is_open = bool(near) and tail.endswith(near[-1]) and not is_end
        end = "" if is_open else " "
        # Nearly every text ends here: without a word of the rules, or with no suspicious run of them.
        if not near or f" {near[-1].casefold()}{end}" not in self._rules:
            return len(self._held)
        if len(near) > SUSPECT_WORDS and f" {' '.join(near[-SUSPECT_WORDS:]).casefold()}{end}" not in self._rules:
            return len(self._held)
        found = [*_WORD.finditer(tail)]
        for first in range(max(0, len(found) - RECITED_WORDS), len(found)):
            run = [match[0].casefold() for match in found[first:]]
            if f" {' '.join(run)}{end}" not in self._rules:
                continue
            if len(run) >= RECITED_WORDS:
                self.is_reciting = True
            if len(run) >= SUSPECT_WORDS:
                return max(0, found[first].start() - len(self._shown))
            break
        return len(self._held)

    def _unsure_from(self) -> int:
        """Return where an address, or the secret, begins that may go on in the next text."""
        if self._held[-1:].isspace():
            return len(self._held)  # which ends both, and nearly every text
        places = [len(self._held)]
        addresses = [*_ADDRESS.finditer(self._held)]
        last = addresses[-1] if addresses else None
        if last and last.end() == len(self._held) and len(last[0]) < ADDRESS_MAX_CHARS:
            places.append(last.start())
        elif begin := _ADDRESS_BEGINS.search(self._held):
            places.append(begin.start())
        for length in range(min(len(self._secret) - 1, len(self._held)), 1, -1):
            if self._secret.startswith(self._held[-length:].casefold()):
                places.append(len(self._held) - length)
                break
        return min(places)

    def _or_elsewhere(self, address: re.Match[str]) -> str:
        host = _HOST.match(address[0])
        return address[0] if host and host[1].lower() in self._hosts else ELSEWHERE


def _words(text: str) -> list[str]:
    return [match[0].casefold() for match in _WORD.finditer(text)]
