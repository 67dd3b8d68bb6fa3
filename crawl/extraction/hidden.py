"""Text that a page hides from its readers: a place for words that are meant for machines alone."""

import re

from lxml import etree
from lxml.html import HtmlElement

_MOST = 0.5  # of the page's text: what hides more than that is shown by a script, such as a page that fades in
_HIDES = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:0(?:\.0+)?(?![\d.])|font-size:0(?:\.0+)?(?:px|pt|em|rem|%)?(?![\d.])"
    r"|text-indent:-\d{3,}|clip:rect\(0|clip-path:inset\((?:50|100)%|color:transparent(?!-)"
)
_AWAY = re.compile(r"(?:^|;)(?:left|right|top|bottom|inset-inline-start|margin-left|margin-top):-\d{3,}")
_TAKEN_OUT = re.compile(r"position:(?:absolute|fixed)")
_NO_SIZE = re.compile(r"(?:^|;)(?:max-)?(?:height|width):[01](?:px)?(?:;|$)")
_COLOUR = re.compile(r"(?:^|;)(background(?:-color)?|color):([#\w(),.%]+)")
_NAMED = {"white": "#fff", "black": "#000", "#ffffff": "#fff", "#000000": "#000", "rgb(255,255,255)": "#fff",
          "rgb(0,0,0)": "#000"}  # fmt: skip


def remove_hidden(tree: HtmlElement) -> None:
    """Take out the elements that say of themselves that nobody sees them, unless they are most of the page.

    Only attributes are looked at: what a style sheet hides cannot be known without rendering the page.
    """
    hidden = [
        element for element in tree.iter(etree.Element) if _is_hidden(element) and element.getparent() is not None
    ]
    if not hidden:
        return
    inside = set(hidden)
    outermost = [element for element in hidden if not any(above in inside for above in element.iterancestors())]
    length = sum(len(element.text_content()) for element in outermost)
    if length <= _MOST * len(tree.text_content()):
        for element in outermost:
            element.drop_tree()


def _is_hidden(element: HtmlElement) -> bool:
    if element.get("hidden") is not None:
        return element.get("hidden") != "until-found"
    style = re.sub(r"\s+|!important", "", (element.get("style") or "").lower())
    if not style:
        return False
    if _HIDES.search(style) or (_TAKEN_OUT.search(style) and _AWAY.search(style)):
        return True
    return ("overflow:hidden" in style and bool(_NO_SIZE.search(style))) or _is_unreadable(style)


def _is_unreadable(style: str) -> bool:
    """Tell whether the element gives its text the colour of its own background."""
    colours = {name.removesuffix("-color"): _NAMED.get(value, value) for name, value in _COLOUR.findall(style)}
    return "background" in colours and colours.get("color") == colours["background"]
