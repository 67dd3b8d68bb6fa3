"""The OpenAPI document: valid, committed as it is, and served with a page that needs no other host."""

import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document():
    out = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    return out.getvalue()


def operations(document):
    return [
        (path, method, operation)
        for path, methods in yaml.safe_load(document)["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_committed_document_is_what_the_api_is(document):
    assert (ROOT / "docs" / "openapi.yaml").read_text() == document, (
        "run: .venv/bin/python manage.py spectacular --file docs/openapi.yaml"
    )


def test_every_operation_answers_errors_with_problems_and_wants_the_key(document):
    for path, method, operation in operations(document):
        assert operation["security"] == [{"ApiKey": []}], path
        errors = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
        assert {"4XX", "5XX"} <= set(errors), (path, method)
        assert all(set(answer["content"]) == {"application/problem+json"} for answer in errors.values())


def test_every_post_takes_an_idempotency_key(document):
    for path, method, operation in operations(document):
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) == (method == "post"), path


def test_each_address_is_described_once_and_says_what_it_does(document):
    described = operations(document)
    addresses = [(path.rstrip("/"), method) for path, method, _operation in described]

    assert len(addresses) == len(set(addresses))
    assert all(operation.get("summary") for *_address, operation in described)


def test_the_document_is_served_without_a_key(document):
    response = Client().get("/api/schema/", headers={"accept": "application/yaml"})

    assert response.status_code == 200
    assert yaml.safe_load(response.content)["paths"].keys() == yaml.safe_load(document)["paths"].keys()


def test_the_documentation_page_loads_everything_from_here():
    page = Client().get("/api/docs/").content.decode()
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)

    assert loaded
    assert all(address.startswith("/static/") for address in loaded), loaded
    assert all(finders.find(address.removeprefix("/static/")) for address in loaded)
