"""Documents made for tests: a PDF whose glyphs stand where they are put, a DOCX, a password on a PDF."""

from collections.abc import Sequence
from io import BytesIO

import docx
from pypdf import PdfReader, PdfWriter

Line = Sequence[str]  # glyphs from left to right; a string is one for each of its characters


def make_pdf(*pages: Sequence[Line], title: str = "") -> bytes:
    """Return a PDF with the lines; what each glyph stands for is told by the font, as in PDFs of the real world."""
    glyphs = sorted({glyph for page in pages for line in page for glyph in line})
    codes = {glyph: number for number, glyph in enumerate(glyphs, 1)}
    mapping = "".join(f"<{codes[glyph]:02X}> <{glyph.encode('utf-16-be').hex()}>\n" for glyph in glyphs)
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
        f"1 begincodespacerange <00> <FF> endcodespacerange\n{len(glyphs)} beginbfchar\n{mapping}endbfchar\n"
        "endcmap end end"
    )
    widths = " ".join("500" for _glyph in glyphs)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{5 + 2 * n} 0 R' for n in range(len(pages)))}] >>",
        f"<< /Type /Font /Subtype /TrueType /BaseFont /Made /FirstChar 1 /LastChar {len(glyphs)} /Widths [{widths}] "
        "/ToUnicode 4 0 R >>",
        _stream(cmap),
    ]
    for number, page in enumerate(pages):
        shown = (f"1 0 0 1 40 {800 - 20 * place} Tm <{_hex(line, codes)}> Tj" for place, line in enumerate(page))
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 900 842] /Resources << /Font << /F 3 0 R >> >> "
            f"/Contents {6 + 2 * number} 0 R >>",
            _stream(f"BT /F 12 Tf {' '.join(shown)} ET"),
        ]
    objects.append(f"<< /Title ({title}) >>")
    return _assemble([part if isinstance(part, bytes) else part.encode() for part in objects])


def _hex(line: Line, codes: dict[str, int]) -> str:
    return "".join(f"{codes[glyph]:02X}" for glyph in line)


def _stream(text: str) -> bytes:
    return f"<< /Length {len(text)} >>\nstream\n{text}\nendstream".encode()


def _assemble(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, part in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + part + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode()
    return bytes(out + f"startxref\n{start}\n%%EOF\n".encode())


def locked(pdf: bytes) -> bytes:
    """Return the PDF with a password that nobody knows."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf)))
    writer.encrypt("secret", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def make_docx() -> bytes:
    """Return a DOCX with headings, a list, a table and Persian text."""
    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_heading("Install", 1)
    document.add_paragraph("Run the installer once.")
    document.add_paragraph("first step", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for place, text in enumerate(("Name", "Price", "Lamp", "12 euros")):
        table.cell(place // 2, place % 2).text = text
    document.add_heading("راهنما", 2)
    document.add_paragraph("کتاب‌ها را می‌خوانیم.")
    out = BytesIO()
    document.save(out)
    return out.getvalue()
