"""A server that is not there, not the right one, too old, or does not know the key is told for what it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from steelyard.errors import ConfigError, ServiceError
from steelyard.index.weaviate_connection import Place, check_version, connect, endpoints_of
from steelyard.index.weaviate_server import free_ports


@pytest.fixture
def answering() -> Iterator:
    """Return what starts a server that answers every request with a status and a text."""
    servers = []

    def start(status: int, text: str) -> Place:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *words):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Place("local", "N", http_port=server.server_port, grpc_port=free_ports().grpc)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("mode", ["local", "custom"])
def test_connect_where_nobody_listens_names_host_and_port(mode):
    """The message has the address and what to check."""
    place = Place(mode, "N", http_port=free_ports().http)

    with pytest.raises(ServiceError, match=rf"Weaviate at 127.0.0.1:{place.http_port} cannot be reached(.|\n)*To fix"):
        connect(place, api_key=None)


def test_connect_to_a_wrong_grpc_port_says_that_http_answers(weaviate_place):
    """Only gRPC is wrong, and only gRPC is named."""
    wrong = replace(weaviate_place, grpc_port=free_ports().grpc)

    with pytest.raises(
        ServiceError, match=rf"answers on HTTP, but gRPC at .*:{wrong.grpc_port} cannot .*\n.*grpc_port"
    ):
        connect(wrong, api_key=None)


@pytest.mark.parametrize(("status", "text"), [(200, "<html>hello</html>"), (404, "{}"), (200, "[]")])
def test_connect_to_something_else_is_told(answering, status, text):
    """Another program's port is not taken for a broken Weaviate."""
    with pytest.raises(ServiceError, match="is not Weaviate"):
        connect(answering(status, text), api_key=None)


@pytest.mark.parametrize(("key", "words"), [(None, "refuses access without a key"), ("k", "refuses the key")])
def test_connect_with_a_key_that_is_refused_says_so(answering, key, words):
    """Missing and wrong keys are told apart; the key itself is not in the message."""
    with pytest.raises(ServiceError, match=rf"{words}: HTTP status 401") as caught:
        connect(answering(401, ""), api_key="hush" if key else None)
    assert "hush" not in str(caught.value)


def test_connect_to_an_old_server_names_the_version_that_is_needed(answering):
    """A server without aliases is refused before anything is made in it."""
    with pytest.raises(ServiceError, match=r"is version 1\.31\.9, and 1\.32 or later is needed"):
        connect(answering(200, json.dumps({"version": "1.31.9"})), api_key=None)


@pytest.mark.parametrize("version", ["1.32.0", "1.39.0-rc.1", "1.100.2", "2.0.0"])
def test_version_that_has_what_is_used_is_taken(version):
    """Numbers are compared as numbers."""
    check_version(version, "Weaviate")


def test_connect_to_a_cloud_without_a_key_is_refused():
    """The missing key is told before anything is contacted."""
    with pytest.raises(ConfigError, match="needs an API key"):
        connect(Place("cloud", "N", host="x.weaviate.cloud"), api_key=None)


def test_endpoints_of_a_cloud_are_made_from_the_clusters_address():
    """The address may be copied from the console with its https://; both sides are TLS."""
    endpoints = endpoints_of(Place("cloud", "N", host="https://x.c0.weaviate.cloud/"))

    assert endpoints.http_url == "https://x.c0.weaviate.cloud:443"
    assert (endpoints.grpc_host, endpoints.grpc_port, endpoints.is_secure) == ("grpc-x.c0.weaviate.cloud", 443, True)
