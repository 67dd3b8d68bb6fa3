"""Render pages that show their text with JavaScript only, in a browser kept apart (docs/adr/0005-rendering.md)."""
