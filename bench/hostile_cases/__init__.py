"""What hostile and careless servers do, case by case, and what has to be said of their pages.

The ids are those of the list that the behaviours were first collected in; a letter tells variants apart.
"""

from bench.hostile_cases import pages, sites, wire
from bench.hostile_cases.replies import Asked, Case, home, page

__all__ = ["CASES", "Asked", "Case", "home", "page"]

CASES = [Case("usual", "a site like any other"), *wire.CASES, *sites.CASES, *pages.CASES]
for _number, _case in enumerate(CASES, 1):
    _case.address = f"127.8.0.{_number}"
