"""The bundle that an operator sends when asking for help: what runs and how it fares, without secrets."""
