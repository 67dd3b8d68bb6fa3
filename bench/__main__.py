"""Run one benchmark in a world of its own: ``python -m bench NAME [options]``, or ``script/bench NAME``."""

import sys
from importlib import import_module
from pathlib import Path

from bench.world import world


def main() -> None:
    here = Path(__file__).parent
    names = sorted(path.stem for path in here.glob("*.py") if "def main(here: World" in path.read_text())
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: script/bench NAME [options], NAME being one of: {', '.join(names)}")
    with world() as installation:
        import_module(f"bench.{sys.argv.pop(1)}").main(installation)


if __name__ == "__main__":
    main()
