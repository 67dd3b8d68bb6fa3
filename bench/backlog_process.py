"""The process of `bench.backlog`: sets Django up before anything imports models."""

import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    import_module("bench.backlog").keep(int(sys.argv[1]), sys.argv[2])
