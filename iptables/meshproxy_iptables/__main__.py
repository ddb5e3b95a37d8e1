"""`python -m meshproxy_iptables`, and the entry of the zipapp."""

import sys

from .cli import main

sys.exit(main())
