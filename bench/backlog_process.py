"""The process of `bench.backlog`: sets Django up before anything imports models."""

import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    backlog = import_module("bench.backlog")
    port, queue, *level = sys.argv[1:]
    if level:
        backlog.fill(int(port), queue, int(*level))
    else:
        backlog.keep(int(port), queue)
