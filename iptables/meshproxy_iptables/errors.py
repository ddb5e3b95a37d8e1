"""What can go wrong, by who has to mend it; each kind has its exit code."""

from __future__ import annotations


class InterceptionError(Exception):
    """The rules could not be installed, read or removed. Exit code 1."""

    exit_code = 1


class OptionsError(InterceptionError):
    """A flag or an environment variable has a value that can't be used. Exit code 2, as for any wrong usage.

    source: the flag or variable as the user wrote it, such as `--istio-service-cidr`.
    """

    exit_code = 2

    def __init__(self, source: str, message: str) -> None:
        super().__init__(f"{source}: {message}")
        self.source = source


class BackendError(InterceptionError):
    """One backend could not do it; another may."""


class ValidationError(InterceptionError):
    """The rules are in, and traffic still does not arrive where it should.

    Exit code 126, by which Istio's CNI repair controller recognises a pod that has to be started again.
    """

    exit_code = 126
