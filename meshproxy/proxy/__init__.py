"""The composition root: what the program is made of, and in which order it comes to life.

    bootstrap text -> messages with places -> snapshot          (config)
    snapshot -> worker -> clusters -> listeners                 (runtime)
    socket -> listener filters -> chain -> network filters      (runtime, chain)
           -> codec -> HTTP filters -> router -> cluster -> host and back
    admin beside it

`Proxy` is what carries traffic: one worker in one process. `serve` (`single`) runs one with all that stands beside it;
`serve_fleet` (`fleet`) runs a parent, which has what stands beside it, and forks the workers (`fleet_worker`).

Nothing here decides anything about a request; `docs/life-of-a-request.md` follows one through the parts.
"""

from meshproxy.proxy.worker import Proxy
from meshproxy.runtime.process.bind import BindError, open_listeners
from meshproxy.runtime.process.configuration import (
    Configuration,
    hold_collector,
    load_configuration,
    make_logger,
    tune_collector,
)

__all__ = [
    "BindError",
    "Configuration",
    "Proxy",
    "hold_collector",
    "load_configuration",
    "make_logger",
    "open_listeners",
    "tune_collector",
]
