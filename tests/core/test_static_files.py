import pytest

from core.static_files import StaticFiles

PATH = "/static/admin/css/base.css"


async def beyond(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def application():
    return StaticFiles(beyond)


async def request(application, path, method="GET", **headers):
    sent = []

    async def send(message):
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await application({"type": "http", "path": path, "method": method, "headers": pairs}, None, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert not sent[-1].get("more_body"), "the answer has an end"
    return sent[0]["status"], dict(sent[0]["headers"]), body


async def test_the_admins_style_sheet_is_served_whole(application):
    status, headers, body = await request(application, PATH)

    assert status == 200
    assert headers[b"content-type"].startswith(b"text/css")
    assert int(headers[b"content-length"]) == len(body) > 1000


async def test_a_known_version_is_not_sent_again(application):
    _, headers, _ = await request(application, PATH)

    status, _, body = await request(application, PATH, if_none_match=headers[b"etag"].decode())

    assert (status, body) == (304, b"")


async def test_a_part_can_be_asked_for(application):
    status, headers, body = await request(application, PATH, range="bytes=0-9")

    assert (status, len(body)) == (206, 10)
    assert headers[b"content-range"].startswith(b"bytes 0-9/")


async def test_the_head_of_a_file_has_no_body(application):
    status, _, body = await request(application, PATH, method="HEAD")

    assert (status, body) == (200, b"")


async def test_static_files_take_no_other_method(application):
    status, _, _ = await request(application, PATH, method="POST")

    assert status == 405


@pytest.mark.parametrize("path", ["/static/nothing.css", "/static/../manage.py", "/static/admin/css/../../../x", "/"])
async def test_all_else_goes_on_to_django(application, path):
    status, _, _ = await request(application, path)

    assert status == 204
