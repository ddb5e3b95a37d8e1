"""`python -m examples.demo`, as `scripts/demo` runs it: prepares the surroundings, tells the story, cleans up."""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import sys
import time
from typing import Any, NoReturn

from examples.demo import story
from examples.demo.kernel import alone
from examples.demo.loopback import Loopback
from examples.demo.places import DemoError, Surroundings
from examples.demo.pods import RULES, Pods


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Two pods, two sidecars, one request hop by hop.")
    parser.add_argument("--once", action="store_true", help="leave after the story")
    parser.add_argument("--loopback", action="store_true", help="no pods even as root: loopback and PROXY protocol")
    options = parser.parse_args()
    if os.geteuid() == 0 and not options.loopback:
        try:
            return alone(lambda: play(Pods, options.once))
        except OSError as error:
            print(f"No namespaces of our own here ({error.strerror}); the story runs on loopback instead.", flush=True)
    return play(Loopback, options.once)


def play(kind: type[Surroundings], once: bool) -> int:
    """The demo in one kind of surroundings; the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    place = None
    try:
        introduce(kind)
        place = kind()
        place.wait_until_ready()
        story.tell(place)
        if not once:
            story.farewell(place)
            while True:
                time.sleep(1)  # not pause(): a signal just before it would wake nobody
        return 0
    except KeyboardInterrupt:
        print("\nEnding.", flush=True)
        return 0
    except (DemoError, OSError, http.client.HTTPException) as error:
        print(f"The demo failed: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        if place is not None:
            place.close()


def introduce(kind: type[Surroundings]) -> None:
    story.heading(f"meshproxy demo: {kind.title}")
    print("    web  -> sidecar -> sidecar -> shop, versions v1 and v2", flush=True)
    if kind is Pods:
        print(f"    rules in each pod: meshproxy-iptables {' '.join(RULES)}", flush=True)
    else:
        print(
            "    No kernel redirects anything here: small relays do, and the original destination reaches each\n"
            "    sidecar in a PROXY protocol line. Run it as root to see the pods and the real interception.",
            flush=True,
        )


def leave(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
