import hashlib
import json
import re

from django.conf import settings

STATIC = settings.BASE_DIR / "core" / "static"
VENDOR = STATIC / "vendor"


def test_vendored_files_are_exactly_those_that_were_vendored():
    packages = json.loads((VENDOR / "VENDOR.json").read_text())
    expected = {name: digest for package in packages.values() for name, digest in package["files"].items()}

    files = {path for path in VENDOR.rglob("*") if path.is_file() and path.name != "VENDOR.json"}
    assert {str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == expected
    assert all(any("LICENSE" in name for name in package["files"]) for package in packages.values())


def test_styles_name_no_other_host_and_no_side_of_the_page():
    physical = re.compile(
        r"\b(margin|padding|border)-(left|right)\b|\bfloat:|text-align:\s*(left|right)|^\s*right:", re.M
    )
    for folder in (STATIC, settings.BASE_DIR / "chat" / "static"):
        for sheet in folder.rglob("*.css"):
            text = sheet.read_text(encoding="utf-8")
            assert not re.search(r"https?://|@import", text), sheet
            assert not physical.search(text), sheet
