"""What the demo tells: some requests, one of them hop by hop, a hundred through the canary."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from examples.demo.places import DemoError, Surroundings

T = TypeVar("T")

SETTLED = 1.0
"""Seconds within which a file that was moved into its place has certainly been taken up."""

COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURED else text


def heading(text: str) -> None:
    print(f"\n{styled(text, '1;36')}", flush=True)


def line(what: str, value: object) -> None:
    print(f"    {styled(f'{what:<21}', '2')} {value}", flush=True)


def hop(number: int, who: str, what: str) -> None:
    print(f"\n  {styled(f'{number} {who}', '1')}  {what}", flush=True)


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


def tell(place: Surroundings) -> None:
    """The whole story."""
    some_requests(place)
    one_request(place)
    hundred_requests(place)
    live_changes(place)


def some_requests(place: Surroundings) -> None:
    heading("A few requests. The application `web` asks http://shop/ and knows of no proxy:")
    for path, headers, why in (
        ("/items/1", {}, "the canary route: nine of ten go to v1"),
        ("/items/2", {"x_tester": "yes"}, "header x-tester: yes, always v2"),
        ("/admin/keys", {}, "closed by the shop's own sidecar"),
    ):
        seen = place.call(path, **headers)
        status = styled(str(seen["status"]), "32" if seen["status"] == 200 else "33")
        who = json.loads(seen["body"])["shop"] if seen["status"] == 200 else seen["body"].strip()
        print(f"    GET {path:<14} {status}  {who:<24} {styled(why, '2')}", flush=True)


def one_request(place: Surroundings) -> None:
    seen = place.call("/items/7")
    shop = json.loads(seen["body"])
    request_id = shop["headers"]["x-request-id"]
    out = place.web_sidecar.logged("id", request_id)
    into = place.shop_sidecar.logged("id", request_id)
    heading("One request, hop by hop, as the access logs of the two sidecars tell it:")

    hop(1, "application web", "GET http://shop/items/7")
    line("connects to", f"{seen['connected_to']}, the address of the service")
    line("kernel", place.kernel_out.format(port=port_of(out["accepted_on"])))
    hop(2, "sidecar of web", "outbound")
    tell_sidecar(out)
    hop(3, "network", f"from pod web to {out['endpoint']}")
    line("mutual TLS", f"{out['tls']}; each shows its certificate and looks at the other's")
    line("web finds", styled(out["peer"], "1"))
    line("shop finds", styled(into["peer"], "1"))
    line("kernel", place.kernel_in.format(port=port_of(into["accepted_on"])))
    hop(4, "sidecar of shop", "inbound")
    tell_sidecar(into)
    hop(5, f"application shop {shop['shop']}", f"answers {shop['path']}")
    line("is called from", f"{shop['came_from']}: never captured again, so the sidecar does not meet itself")
    line("is told", ", ".join(f"{name}: {shop['headers'][name]}" for name in sorted(shop["headers"]) if name[0] == "x"))
    hop(6, "application web", f"has {seen['status']} after {seen['milliseconds']} ms")
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    line("sees", ", ".join(f"{name}: {headers[name]}" for name in ("server", "x-envoy-upstream-service-time")))


def tell_sidecar(log: dict[str, Any]) -> None:
    """What one sidecar's access log says of its part."""
    line("accepted on", f"{log['accepted_on']} from {log['from']}")
    line("original destination", styled(log["original_destination"], "1"))
    line("listener", log["listener"])
    line("filter chain", log["filter_chain"])
    line("route", log["route"])
    line("cluster", log["cluster"])
    line("endpoint", f"{log['endpoint']}, connected from {styled(log['source'], '1')}")
    line("answer", f"{log['status']} after {log['milliseconds']} ms ({log['details']})")


def hundred_requests(place: Surroundings) -> None:
    heading("A hundred requests through the canary route (90 : 10):")
    answered = Counter(json.loads(place.call(f"/items/{number}")["body"])["shop"] for number in range(100))
    for version in ("v1", "v2"):
        line(version, f"{answered[version]:3} {styled('#' * (answered[version] // 2), '36')}")
    heading("What the sidecar of web counted (its admin interface, /stats):")
    for name in place.admin(place.web_sidecar, "/stats?filter=%5Ecluster%5C.outbound.*upstream_rq_total").splitlines():
        print(f"    {name}", flush=True)


def live_changes(place: Surroundings) -> None:
    """A host, the canary's weights and a certificate change; the sidecars run on."""
    heading("Changes while it runs: files that the sidecars watch are replaced, nothing is restarted")
    before = serial_of(place)
    place.files.write_hosts(place.shop_ips)
    hosts = wait_for(lambda: answering(place), lambda found: len(found) == len(place.shop_ips))
    line("a host is added", f"v1 is answered from {styled(' and '.join(sorted(hosts)), '1')}")
    place.files.write_routes(50, 50)
    time.sleep(SETTLED)
    answered = Counter(json.loads(place.call(f"/items/{number}")["body"])["shop"] for number in range(100))
    line("canary 10 -> 50 %", f"of a hundred requests {answered['v1']} go to v1 and {answered['v2']} to v2")
    place.files.renew_certificate("web")
    after = wait_for(lambda: serial_of(place), lambda found: found != before)
    line("certificate of web", f"renewed: the shop saw serial ...{before[-8:]}, now sees ...{styled(after[-8:], '1')}")


def answering(place: Surroundings) -> set[str]:
    """From which hosts ten requests are answered that go to v1."""
    return {one_hop(place)[0]["endpoint"] for _ in range(10)} - {""}


def serial_of(place: Surroundings) -> str:
    """The serial number of the certificate that the shop's sidecar last saw of web's."""
    return str(one_hop(place)[1]["serial"])


def one_hop(place: Surroundings) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both sidecars logged of one request; repeated until it is one that goes to v1."""
    while True:
        shop = json.loads(place.call("/items/7")["body"])
        if shop["shop"] == "v1":
            number = shop["headers"]["x-request-id"]
            return place.web_sidecar.logged("id", number), place.shop_sidecar.logged("id", number)


def wait_for(look: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """Look until it is enough. Raises DemoError after 30 seconds."""
    deadline = time.monotonic() + 30
    while not enough(found := look()):
        if time.monotonic() > deadline:
            raise DemoError(f"a change was not taken up; last seen: {found}")
        time.sleep(0.1)
    return found


def farewell(place: Surroundings) -> None:
    """Where to look on, while the demo stays."""
    heading("The admin interfaces, until Ctrl-C:")
    for sidecar in (place.web_sidecar, place.shop_sidecar):
        host, port = place.admin_door(sidecar)
        line(f"sidecar of {sidecar.name}", f"http://{host}:{port}/help   /listeners /clusters /config_dump /stats")
    for text in place.closing:
        print(f"    {text}", flush=True)
