"""`python -m bench`: Envoy and meshproxy with the same YAML in one run; a table, a JSON file and a chart."""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from bench import chart, filters, hooks, load, measure, report
from bench.backend import backend, nginx_path
from bench.client import BenchError
from bench.measure import Bench
from bench.more_scenarios import MORE
from bench.results import Result
from bench.scenarios import SCENARIOS, FilterCosts, Footprint, Hooks, Load, Scenario
from bench.subjects import Subject, envoy, meshproxy, meshproxy_profiled, version

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Cpus:
    """The proxies' CPU, and the one of the load and the backend."""

    proxy: int
    load: int


def parse() -> argparse.Namespace:
    names, more = (", ".join(scenario.name for scenario in those) for those in (SCENARIOS, MORE))
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog=f"Scenarios: {names}. More: {more}."
    )
    parser.add_argument("--scenario", action="append", metavar="NAME", help="only this one; may repeat; http-* works")
    parser.add_argument("--more", action="store_true", help="only the loads that aren't published, see more_scenarios")
    parser.add_argument("--rounds", type=int, default=3, help="how often each proxy is loaded (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a load (default 2)")
    parser.add_argument("--quick", action="store_true", help="loads of 1 second")
    parser.add_argument("--only-envoy", action="store_true", help="Envoy against itself: how far the ratios err")
    parser.add_argument("--together", action="store_true", help="load both at once: steadier ratios on a noisy machine")
    parser.add_argument("--profile", action="store_true", help="meshproxy alone under cProfile: where its time goes")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", help="folder for JSON and PNG")
    parser.add_argument("--publish", action="store_true", help="also renew the figures of docs/performance.md")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 1 <= arguments.seconds <= 60:
        parser.error("at least one round, and 1 to 60 seconds")
    if arguments.publish and (arguments.only_envoy or arguments.profile or arguments.scenario or arguments.more):
        parser.error("only a run of everything is published")
    if arguments.quick:
        arguments.seconds = 1
    return arguments


def choose(patterns: list[str] | None, *, more: bool = False) -> list[Scenario]:
    if not patterns:
        return [*(MORE if more else SCENARIOS)]
    every = (*SCENARIOS, *MORE)
    chosen = [one for one in every if any(fnmatchcase(one.name, pattern) for pattern in patterns)]
    if not chosen:
        raise BenchError(f"no such scenario; there are {', '.join(one.name for one in every)}")
    return chosen


def pin() -> Cpus:
    """This process, and so the load and the backend, on one CPU; the proxies will have another for themselves."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        print(
            "Only one CPU: the load and the proxy share it; requests per second and latency mean little.",
            file=sys.stderr,
        )
    cpus = Cpus(available[0], available[min(1, len(available) - 1)])
    os.sched_setaffinity(0, {cpus.load})
    return cpus


def measure_all(bench: Bench, scenarios: list[Scenario]) -> list[Result]:
    results: list[Result] = []
    for scenario in scenarios:
        print(f"... {scenario.name}: {scenario.title}", file=sys.stderr, flush=True)
        match scenario:
            case Load():
                results.append(measure.measure_load(bench, scenario))
            case Footprint():
                results.append(measure.measure_footprint(bench, scenario))
            case Hooks():
                results.append(hooks.measure_hooks(scenario, bench.rounds, bench.proxy_cpu))
            case FilterCosts():
                results.append(filters.measure_filters(bench, scenario))
    return results


def compare(arguments: argparse.Namespace, cpus: Cpus, directory: Path) -> None:
    subjects = [envoy(), envoy("envoy again") if arguments.only_envoy else meshproxy()]
    scenarios = choose(arguments.scenario, more=arguments.more)
    if arguments.only_envoy:
        scenarios = [one for one in scenarios if not isinstance(one, Hooks | FilterCosts)]
    with backend(directory, cpus.load) as ports:
        bench = Bench(subjects, ports, directory, arguments.seconds, arguments.rounds, cpus.proxy, arguments.together)
        results = measure_all(bench, scenarios)
    if arguments.only_envoy:
        for series in (series for result in results for series in result.series):
            series.target = None  # Envoy owes nothing to itself

    names = [subject.name for subject in subjects]
    settings = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "together": arguments.together,
        "backend": "nginx" if nginx_path() else "own",
    }
    facts = report.about(settings, {subject.name: version(subject) for subject in subjects})
    report.show(results, names)
    arguments.output.mkdir(parents=True, exist_ok=True)
    report.write_json(arguments.output / "bench.json", results, facts)
    drawn = chart.draw(arguments.output / "bench.png", results, names, facts)
    print(f"\n{arguments.output / 'bench.json'}{', bench.png beside it' if drawn else ''}")
    if arguments.publish:
        report.insert(ROOT / "docs" / "performance.md", report.markdown(results, names, facts))
        chart.draw(ROOT / "docs" / "images" / "performance.png", results, names, facts)


def profile(arguments: argparse.Namespace, cpus: Cpus, directory: Path) -> None:
    arguments.output.mkdir(parents=True, exist_ok=True)
    for scenario in choose(arguments.scenario or ["http-32"]):
        if not isinstance(scenario, Load):
            raise BenchError(f"{scenario.name} isn't a load, and only loads are profiled")
        output = (arguments.output / f"profile-{scenario.name}.pstats").resolve()
        output.unlink(missing_ok=True)
        subject: Subject = meshproxy_profiled(output)
        with backend(directory, cpus.load) as ports:
            measure.profile(Bench([subject], ports, directory, arguments.seconds, 1, cpus.proxy), scenario)
        if not output.exists():
            raise BenchError("meshproxy ended without leaving a profile: it was killed, or it exits by os._exit")
        pstats.Stats(str(output)).sort_stats("tottime").print_stats(35)
        print(output)


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is stopped on the way out
    try:
        load.wrk_path()
        cpus = pin()
        with tempfile.TemporaryDirectory(prefix="meshproxy-bench-") as name:
            (profile if arguments.profile else compare)(arguments, cpus, Path(name))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
