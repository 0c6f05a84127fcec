"""``script/bench NAME [--quick] [--json]``: run one benchmark and print its figures."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys

from bench.servers import CannotMeasureError

BENCHES = {
    "ingest": "fixes from phones to the committed row, one by one and as backlog",
    "live": "from the committed fix to the supervisors' sockets: delay, fan-out, memory",
    "dispatch": "the nearest officers, and a call for help from the press to the phone of who comes",
    "replay": "an officer's day and a town's day read back",
    "evidence": "recordings brought to the store and hashed as they arrive, kills in mid-file, memory of 200 uploads",
    "rounds": "precision and recall of visits, and which forgeries of them are noticed",
    "growth": "how the hot queries slow down as the history grows",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that is named. A missed target is said, and an exit status only with ``--check``."""
    parser = argparse.ArgumentParser(prog="script/bench", description="Measure Xungeng against its peers.")
    names = "\n".join(f"  {name:8} {what}" for name, what in BENCHES.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"benchmarks:\n{names}"
    parser.add_argument("bench", choices=sorted(BENCHES), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer pairs, shorter runs")
    parser.add_argument("--json", action="store_true", help="nothing but one JSON object on standard output")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    options = parser.parse_args(arguments)
    module = importlib.import_module(f"bench.{options.bench}")
    try:
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # Whatever a library prints must not spoil the JSON object.
            report = module.run(quick=options.quick)
    except CannotMeasureError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(report.as_json())
    else:
        report.print_table()
    return 1 if options.check and report.missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
