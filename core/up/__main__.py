"""``script/up``, ``script/down`` and ``script/services``."""

import argparse
import sys

from core.up import running, starting, supervision
from core.up.errors import UpError
from core.up.places import of_this_checkout


def main() -> int:
    options = _parser().parse_args()
    places = of_this_checkout()
    try:
        if options.action == "down":
            return running.stop(places)
        if options.action == "services":
            supervision.become_control(places, options.words)
        return starting.up(
            places, port=options.port, flower_port=options.flower_port, is_detached=options.detach, demo=options.demo
        )
    except UpError as exc:
        sys.stderr.write(f"pasokh: {exc}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/")
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="Set up and run everything; Ctrl-C stops it.")
    up.add_argument("--detach", action="store_true", help="return when the first answer is possible")
    up.add_argument("--port", type=int, help="of the product, 7001 if not said; kept in var/env (also: PORT=…)")
    up.add_argument("--flower-port", type=int, help="of Flower, 5555 if not said (also: FLOWER_PORT=…)")
    up.add_argument("--no-demo", dest="demo", action="store_false", help="make no demo tenant and crawl nothing")
    actions.add_parser("down", help="Stop everything that script/up started, and wait for it.")
    services = actions.add_parser("services", help="Look at the services and steer them.")
    services.add_argument("words", nargs=argparse.REMAINDER, help="status, restart app:web, stop app:celery_ai, …")
    return parser


if __name__ == "__main__":
    sys.exit(main())
