"""``script/up`` and ``script/down``: everything on one machine, under one process manager."""
