"""Documents that are handed over as files."""

import json

import pytest
from celery import current_app
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.functions import Now
from django.test import Client

from core.jobs import CLAIMS_MAX
from crawl import services, uploading
from crawl.models import Upload
from crawl.sweeping import sweep
from knowledge.models import Document
from knowledge.search import search
from tenants.services import create_api_key
from tests.knowledge.files import locked, make_docx, make_pdf

pytestmark = pytest.mark.django_db
TEXT = b"The warranty of the lamp is 18 months."


@pytest.fixture
def caller(tenant):
    return Client(headers={"X-API-Key": create_api_key(tenant=tenant, name="server")[1]})


@pytest.fixture
def rung(monkeypatch):
    """The uploads that a message was sent for."""
    messages = []
    monkeypatch.setattr(
        "core.enqueue.publish", lambda _task, kwargs, **_options: messages.append(kwargs.get("upload_id")) or True
    )
    current_app.loader.import_module("crawl.tasks")
    return messages


@pytest.fixture
def hand_over(caller, rung, django_capture_on_commit_callbacks):
    def post(body=TEXT, name="lamp.txt", content_type="text/plain", headers=None, **fields):
        with django_capture_on_commit_callbacks(execute=True):
            file = SimpleUploadedFile(name, body, content_type)
            return caller.post("/api/v1/uploads", {"file": file, **fields}, headers=headers or {})

    return post


def read(upload_id):
    return current_app.tasks["crawl.read_upload_task"](upload_id=str(upload_id))


def test_a_file_becomes_a_document_that_is_found(hand_over, caller, rung, tenant):
    response = hand_over(title="Lamps")
    upload = response.json()
    assert (response.status_code, upload["state"], upload["document_id"]) == (202, "queued", None)
    assert response.headers["Location"].endswith(f"/api/v1/uploads/{upload['id']}")
    assert rung == [upload["id"]]

    read(upload["id"])

    after = caller.get(f"/api/v1/uploads/{upload['id']}").json()
    document = Document.objects.get()
    assert (after["state"], after["document_id"], after["kind"]) == ("done", str(document.pk), "text")
    assert (document.url, document.title, document.content) == ("upload:lamp.txt", "Lamps", TEXT.decode())
    assert search(tenant=tenant, query="warranty of the lamp")[0].document_id == document.pk
    assert bytes(Upload.objects.get().body) == b""
    assert not read(upload["id"])


def test_a_file_of_the_same_name_takes_the_place_of_the_last(hand_over):
    first = hand_over().json()["id"]
    second = hand_over(body=b"The warranty is 24 months.").json()["id"]
    read(second)
    read(first)  # a message that was late: the file handed over last stays

    assert Document.objects.get().content == "The warranty is 24 months."


@pytest.mark.parametrize(
    ("body", "name", "kind", "title"),
    [
        (make_pdf(["A lamp."], title="Price list"), "a.pdf", "pdf", "Price list"),
        (make_docx(), "a.docx", "docx", "Handbook"),
        ("# راهنما\n\nمتن".encode(), "../../راهنما.md", "markdown", "راهنما"),
    ],
)
def test_each_kind_is_read(hand_over, body, name, kind, title):
    upload = hand_over(body=body, name=name, content_type="application/octet-stream").json()
    read(upload["id"])

    assert Upload.objects.get().state == "done"
    assert (upload["kind"], Document.objects.get().title) == (kind, title)


@pytest.mark.parametrize(
    ("body", "name", "code"),
    [
        (locked(make_pdf(["Text."])), "a.pdf", "file_encrypted"),
        (b"%PDF-1.7", "a.pdf", "file_unreadable"),
        (make_pdf([]), "a.pdf", "file_without_text"),
    ],
)
def test_what_cannot_be_read_says_why(hand_over, caller, body, name, code):
    upload = hand_over(body=body, name=name).json()
    read(upload["id"])

    after = caller.get(f"/api/v1/uploads/{upload['id']}").json()
    assert (after["state"], after["error_code"], after["document_id"]) == ("failed", code, None)
    assert after["error"]


def test_what_is_not_accepted_is_refused_at_once(hand_over, caller, settings):
    assert hand_over(body=b"\x89PNG\r\n\x1a\n\x00", name="a.png", content_type="image/png").status_code == 415
    assert hand_over(url="ftp://example.com/").json()["errors"][0]["pointer"] == "/url"
    assert caller.post("/api/v1/uploads", {"title": "none"}).json()["errors"][0]["pointer"] == "/file"
    assert caller.post("/api/v1/uploads", "{}", content_type="application/json").status_code == 415
    settings.KNOWLEDGE_FILE_MAX_BYTES = len(TEXT) - 1
    assert hand_over().json()["code"] == "file_too_large"
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert hand_over().json()["code"] == "request_too_large"
    assert not Upload.objects.exists()


def test_the_address_where_readers_find_it_is_what_answers_cite(hand_over):
    read(hand_over(url="https://acme.example/files/lamp.txt").json()["id"])

    assert Document.objects.get().url == "https://acme.example/files/lamp.txt"


def test_a_large_file_with_an_idempotency_key_is_kept_once(caller, rung):
    boundary, body = "x" * 20, b"A lamp. " * 400_000
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    form = head.encode() + body + f"\r\n--{boundary}--\r\n".encode()

    def post():
        kind = f"multipart/form-data; boundary={boundary}"
        return caller.post("/api/v1/uploads", form, content_type=kind, headers={"Idempotency-Key": "one"})

    first, second = post(), post()

    assert first.status_code == second.status_code == 202
    assert json.loads(first.content) == json.loads(second.content)
    assert Upload.objects.get().size == len(body)


def test_few_files_of_a_tenant_are_with_the_workers_and_lost_ones_are_sent_again(tenant, rung):
    for number in range(4):
        services.upload_document(tenant=tenant, body=TEXT, name=f"{number}.txt")
    sweep()
    sweep()
    assert len(rung) == uploading.WINDOW

    Upload.objects.filter(pk__in=rung).update(state="running", lease_until=Now())  # their workers died
    sweep()

    assert rung[: uploading.WINDOW] == rung[-uploading.WINDOW :]


def test_a_file_that_kills_its_workers_is_given_up(tenant, settings):
    upload = services.upload_document(tenant=tenant, body=TEXT, name="a.txt")
    Upload.objects.update(state="running", lease_until=Now(), claims=CLAIMS_MAX)
    sweep()

    upload.refresh_from_db()
    assert (upload.state, upload.error_code) == ("failed", "crashed")


def test_the_list_reads_no_files(hand_over, caller, django_assert_num_queries):
    for number in range(3):
        hand_over(name=f"{number}.txt")

    with django_assert_num_queries(2) as queries:  # the key with its tenant; the uploads
        body = caller.get("/api/v1/uploads").json()

    assert [row["name"] for row in body["data"]] == ["2.txt", "1.txt", "0.txt"]
    assert '"body"' not in queries.captured_queries[1]["sql"]
