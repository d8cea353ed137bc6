"""Resolve the hosts of `crawl.hosts`: those at a given address, and those that a Python function serves."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.config.named_function import load_function
from pipeline.crawl.addresses import Endpoint, parse_endpoint
from pipeline.crawl.params import ServedHost
from pipeline.errors import InputError, ParamsError

Serve = Callable[[Mapping[str, Any], str], AbstractContextManager[str]]
"""Takes the options and their full key in `params.yaml`, for its error messages; yields `127.0.0.1:port`."""


LISTED = "listed"
"""The salt of a host at a given address."""


@dataclass(frozen=True, slots=True)
class ListedHost:
    """A host of `crawl.hosts`.

    Attributes:
        open: Returns the endpoint to connect to; starts the host's server on the first call, where it has one.
        local: Whether it is on this machine, so that nobody minds many requests.
        salt: Part of the journal's key: what is served under one name may depend on the function and its options.
    """

    open: Callable[[], Endpoint]
    local: bool
    salt: str = LISTED


def resolve_hosts(hosts: Mapping[str, str | ServedHost], stack: ExitStack) -> dict[str, ListedHost]:
    """Return the listed hosts by name. Servers start when a request needs them and stop when `stack` closes.

    Raises:
        ParamsError: the module or function of a served host is missing, or the function refuses its options.
    """
    return {
        name: _prepare_server(f"crawl.hosts.{name}", host, stack)
        if isinstance(host, ServedHost)
        else _resolve_address(host)
        for name, host in hosts.items()
    }


def start_hosts(hosts: Mapping[str, ListedHost]) -> dict[str, ListedHost]:
    """Return the hosts for other processes, after the servers of all that have one were started here."""
    return {name: replace(host, open=partial(_repeat, host.open())) for name, host in hosts.items()}


def _repeat(endpoint: Endpoint) -> Endpoint:
    return endpoint


def _resolve_address(address: str) -> ListedHost:
    endpoint = parse_endpoint(address)
    return ListedHost(partial(_repeat, endpoint), endpoint.address.is_loopback)


def _prepare_server(key: str, host: ServedHost, stack: ExitStack) -> ListedHost:
    serve: Serve = load_function(f"{key}.serve", host.serve)
    server = serve(host.options, f"{key}.options")
    opened: list[Endpoint] = []

    def open_server() -> Endpoint:
        if not opened:
            try:
                address = stack.enter_context(server)
            except OSError as error:  # the client would take it for a refused connection, and try again
                raise InputError(f"{key}: its server {host.serve} cannot start: {error.strerror}") from None
            opened.append(_check_loopback(key, host.serve, address))
        return opened[0]

    return ListedHost(open_server, True, f"{host.serve} {json.dumps(host.options, sort_keys=True)}")


def _check_loopback(key: str, path: str, address: str) -> Endpoint:
    try:
        endpoint = parse_endpoint(address)
    except ValueError:
        endpoint = None
    if endpoint is None or not endpoint.address.is_loopback:
        raise ParamsError(
            f"params.yaml: {key}.serve is {path}, which yielded {address!r}; "
            "it must yield a loopback address and a port, such as 127.0.0.1:8000"
        )
    return endpoint
