"""Documents that are files: PDF, DOCX, plain text, Markdown. Kept empty of imports: the reading process starts here."""
