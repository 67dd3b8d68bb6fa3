"""What a model may have been talked into saying is cut at the exit, however the text is split."""

import pytest

from chat.answering.generated import rules_for
from chat.answering.guarding import Guard

MARK = "5f1e9a0c"
RULES = rules_for("en", MARK)


def said(text, step):
    guard = Guard(rules=RULES, secret=MARK, hosts={"acme.example", "fa.example:8080"})
    shown = ""
    for start in range(0, len(text), step):
        shown += guard.feed(text[start : start + step])
        if guard.is_reciting:
            return shown, True
    return shown + guard.end(), guard.is_reciting


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "You can return any item within 30 days [1]. The passages stand on the site.",
        "هر کالا را تا ۳۰ روز می‌توانید بازگردانید [۱]. http",
        "See https://acme.example/refunds?x=1#a and http://FA.example:8080/.",
        "www is short. After each statement, a pause; use nothing. w",
        "Version 2.4: 10:30, C://, a//b and 1/2.",
    ],
)
def test_an_ordinary_answer_is_left_as_it_is(text, step):
    assert said(text, step) == (text.replace("C://,", "C://,"), False)


@pytest.mark.parametrize("step", [1, 4, 1000])
@pytest.mark.parametrize(
    "address",
    ["http://attacker.example/?q=secret", "HTTPS://attacker.example", "www.attacker.example/x", "ftp://a.example",
     "https://acme.example@attacker.example/", "https://acme.example.attacker.example/"],
)  # fmt: skip
def test_an_address_off_the_site_is_taken_out(address, step):
    assert said(f"Pay here: {address} now [1].", step) == ("Pay here: … now [1].", False)


@pytest.mark.parametrize("step", [1, 5, 10_000])
@pytest.mark.parametrize(
    "recited",
    [RULES, RULES.upper(), RULES.replace(" ", "\n"), f"Sure! <passage-{MARK}>", "**Use nothing but the passages. If "
     "they do not hold the answer, reply with** exactly"],
)  # fmt: skip
def test_an_answer_that_recites_the_rules_is_cut_before_it_says_them(recited, step):
    shown, is_cut = said(f"Of course. {recited} And more.", step)

    assert is_cut
    assert MARK not in shown
    assert len(shown) < 40
