"""The OpenAPI document: what drf-spectacular cannot know by itself (docs/http-conventions.md)."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457), the form of every error.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; programs may rely on it."},
        "detail": {"type": "string", "description": "For people."},
        "request_id": {"type": "string", "description": "Names this request in the logs."},
        "errors": {
            "type": "array",
            "description": "Fields that are not valid.",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901 path into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Send a POST again with the same key and body within 24 hours, and get the first answer again.",
    "schema": {"type": "string", "maxLength": 255},
}
ERRORS = {"4XX": "The request was refused.", "5XX": "It went wrong on our side."}
FIRST_ERROR = 400


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tenants.authentication.APIKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def document_once(endpoints: list[tuple[str, str, str, Any]], **_kwargs: Any) -> list[tuple[str, str, str, Any]]:
    """Leave out the second form of `core.addresses.either_slash` (a preprocessing hook)."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for endpoint in endpoints:
        key = (endpoint[0].rstrip("/"), endpoint[2])
        if key not in seen:
            seen.add(key)
            kept.append(endpoint)
    return kept


def add_conventions(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Give every operation its errors as problems, and every POST its idempotency key (a postprocessing hook)."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path in result["paths"].values():
        for method, operation in path.items():
            responses = operation["responses"]
            for status, description in ERRORS.items():
                responses.setdefault(status, {"description": description})
            for status, response in responses.items():
                if status in ERRORS or int(status) >= FIRST_ERROR:
                    response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            if method == "post":
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    return result
