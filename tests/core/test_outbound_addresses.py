import ipaddress

import pytest

from core.outbound import ForbiddenAddressError, InvalidURLError, OutboundError
from core.outbound.addresses import is_public
from core.outbound.targets import parse_target

FORBIDDEN = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
    169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::a00:1 100::1 2001:0:4136:e378:8000:63bf:80ff:fffe 2001:2::1 2001:10::1 2001:db8::1 2002:7f00:1::
    2002:a9fe:a9fe:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::5efe:7f00:1 fec0::1 ff02::1
""".split()  # noqa: SIM905
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
    169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2606:4700:4700::1111 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808
""".split()  # noqa: SIM905


@pytest.mark.parametrize("text", FORBIDDEN)
def test_an_address_inside_a_network_is_not_public(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text):
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    """
    2130706433 0x7f000001 0X7F000001 017700000001 0x7f.0x0.0x0.0x1 0177.0.0.1 127.1 127.0.1 0 00000 0x0 0x 127.0.0.01
    4294967296 256.0.0.1 127.0.0.1.1 127.0.0.08 0xA9FEA9FE1 127.0.0.1. 127.0.0.1 [::1] [::ffff:127.0.0.1] [fec0::1]
    localhost LOCALHOST LocalHost. foo.localhost metadata metadata.google.internal redis db printer.local router.lan
    corp.internal consul.service.consul kubernetes.default.svc x.onion ip6-localhost
    １２７.０.０.１ ①②⑦.⓪.⓪.① 𝟏𝟐𝟕.𝟎.𝟎.𝟏 127。0。0。1 127．0．0．1 ｌｏｃａｌｈｏｓｔ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ localhoſt
    ۱۲۷.۰.۰.۱ ١٢٧.٠.٠.١ ۲۱۳۰۷۰۶۴۳۳ 0۱27.0.0.1
    [fe80::1%25eth0] [::1 ::1 [::ffff:127.0.0.1.] - .. -a.com %31%32%37.0.0.1 loc%61lhost a..b exa_mple..com
    """.split(),  # noqa: SIM905
)
def test_a_host_that_leads_inside_or_is_written_strangely_is_refused(host):
    with pytest.raises((ForbiddenAddressError, InvalidURLError)):
        parse_target(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com@127.0.0.1/",
        "http://user:secret@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0\t.1/",
        "http://exam\nple.com/",
        " http://example.com/",
        "\x00http://example.com/",
        "http://127.0.0.1%00.example.com/",
        "http:///127.0.0.1/",
        "http:/127.0.0.1/",
        "http:127.0.0.1/",
        "//127.0.0.1/",
        "/\\127.0.0.1/",
        "http://",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:۸۰/",
        "http://[::1]:80:80/",
        "http://" + "a" * 64 + ".com/",
        "http://example.com/" + "a" * 9000,
        "http://example.com/\ud800",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1:6379/_INFO",
        "data:text/html,x",
        "javascript:alert(1)",
        "jar:http://127.0.0.1!/",
        "view-source:http://example.com/",
        "ws://example.com/",
        "unix:/var/run/docker.sock",
        "",
    ],
)
def test_a_url_that_parsers_may_read_differently_is_refused(url):
    with pytest.raises(InvalidURLError):
        parse_target(url)


@pytest.mark.parametrize("port", [22, 25, 6379, 5432, 11211, 3306])
def test_a_port_that_is_not_of_the_web_is_refused(port):
    with pytest.raises(ForbiddenAddressError):
        parse_target(f"http://example.com:{port}/")


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("HTTP://Example.COM", "example.com", "/"),
        ("http://example.com:80/a?b#c", "example.com", "/a?b"),
        ("https://example.com:8443/", "example.com:8443", "/"),
        ("http://example.com./", "example.com", "/"),
        ("http://[2606:4700:4700:0:0:0:0:1111]/", "[2606:4700:4700::1111]", "/"),
        ("http://example.com/راه?q=سلام", "example.com", "/%D8%B1%D8%A7%D9%87?q=%D8%B3%D9%84%D8%A7%D9%85"),
        ("http://پاسخ.ایران/", "xn--mgboo21a.xn--mgba3a4f16a", "/"),
        ("http://example.com?@127.0.0.1/", "example.com", "/?@127.0.0.1/"),
        ("http://example.com#@127.0.0.1/", "example.com", "/"),
        ("http://example.com/%0d%0aHost:%20127.0.0.1", "example.com", "/%0d%0aHost:%20127.0.0.1"),
    ],
)  # fmt: skip
def test_a_plain_url_is_read_once_and_for_all(url, authority, path):
    target = parse_target(url)

    assert (target.authority, target.path) == (authority, path)


def test_an_allowed_host_is_reached_on_its_port_alone(settings):
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1:7001", "[::1]:7001"]

    assert parse_target("http://127.0.0.1:7001/").port == 7001
    assert parse_target("http://[::1]:7001/").port == 7001
    with pytest.raises(OutboundError):
        parse_target("http://127.0.0.1:7002/")
