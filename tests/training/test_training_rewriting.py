"""Captions in other words, from a server that speaks the protocol: refused where they add, asked once, resumable."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agriclip_edge.errors import UsageError
from training.captions import captions, shipped_facts
from training.prompts_command import app
from training.rewriting import Endpoint, EndpointError, complaint, read_rewritten, rewrite

RUST = shipped_facts()["bean leaf with rust"]


class Service:
    """An HTTP server of the OpenAI form, with the answers of a function."""

    def __init__(self, answer: Callable[[str], tuple[int, object]]) -> None:
        self.asked: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append(body)
                service.keys.append(self.headers.get("Authorization"))
                status, document = (
                    (404, {})
                    if self.path != "/v1/chat/completions"
                    else answer(body["messages"][0]["content"].split("Caption: ")[1])
                )
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def says(text: str) -> tuple[int, object]:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str], tuple[int, object]]], Service]]:
    running: list[Service] = []

    def start(answer: Callable[[str], tuple[int, object]]) -> Service:
        running.append(Service(answer))
        return running[-1]

    yield start
    for service in running:
        service.server.shutdown()
        service.server.server_close()


def quiet(done: int, total: int, text: str) -> None:
    pass


def test_answers_are_kept_with_their_model_and_asked_for_once(serve: Callable[..., Service], tmp_path: Path) -> None:
    service = serve(lambda caption: says(f'"Seen in a photo: {caption}"'))
    output = tmp_path / "captions.json"
    found = rewrite([RUST], 4, 1, Endpoint(service.url, "some-model", "secret"), output, quiet)
    assert [entry.caption for entry in found.entries] == list(captions(RUST, 4, 1))
    assert found.by_label() == {RUST.label: tuple(f"Seen in a photo: {c}" for c in captions(RUST, 4, 1))}
    assert service.keys == ["Bearer secret"] * 4
    assert {(body["model"], body["temperature"], body["seed"]) for body in service.asked} == {("some-model", 0, 1)}
    assert read_rewritten(output) == found and found.model == "some-model" and "{caption}" in found.prompt
    assert rewrite([RUST], 4, 1, Endpoint(service.url, "some-model"), output, quiet) == found
    assert len(service.asked) == 4
    rewrite([RUST], 4, 1, Endpoint(service.url, "another-model"), output, quiet)
    assert len(service.asked) == 8


def test_what_adds_to_the_facts_is_refused(serve: Callable[..., Service], tmp_path: Path) -> None:
    replies = iter(["A bean leaf with rust", "A bean leaf with turquoise squares", "", "leaf " * 40])
    service = serve(lambda caption: says(next(replies)))
    found = rewrite([RUST], 4, 0, Endpoint(service.url, "m"), tmp_path / "c.json", quiet)
    assert [entry.refused for entry in found.entries] == ["", "turquoise, squares", "empty", "40 words"]
    assert found.by_label() == {RUST.label: ("A bean leaf with rust",)}


@pytest.mark.parametrize("label", ["maize leaf with common rust", "coffee leaf with rust", "healthy maize leaf"])
def test_the_facts_own_words_stand_in_any_order_and_ending(label: str) -> None:
    facts = shipped_facts()[label]
    for statement in facts.visible:
        assert complaint(f"The photo shows {statement}, as seen on {facts.label}", facts) == ""
        assert complaint(" ".join(reversed(statement.split())), facts) == ""
    assert complaint("it was caused by a nematode in 1998", facts) == "was, nematode, 1998"


def test_what_was_answered_survives_a_service_that_ends(serve: Callable[..., Service], tmp_path: Path) -> None:
    count = iter(range(9))
    service = serve(lambda caption: says("a bean leaf") if next(count) < 2 else (503, {"error": "too busy"}))
    endpoint, output = Endpoint(service.url, "m"), tmp_path / "c.json"
    with pytest.raises(EndpointError, match="answered 503: .*too busy"):
        rewrite([RUST], 4, 0, endpoint, output, quiet)
    assert not output.exists()
    cache = tmp_path / "c.json.cache"
    cache.write_text(cache.read_text() + '{"key": "cut o')
    healthy = serve(lambda caption: says("a bean leaf"))
    assert len(rewrite([RUST], 4, 0, Endpoint(healthy.url, "m"), output, quiet).entries) == 4
    assert len(healthy.asked) == 2


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"message": {"content": None}}]}, [1]])
def test_another_service_is_named(serve: Callable[..., Service], tmp_path: Path, document: object) -> None:
    service = serve(lambda caption: (200, document))
    with pytest.raises(EndpointError, match="gave no"):
        rewrite([RUST], 1, 0, Endpoint(service.url, "m"), tmp_path / "c.json", quiet)


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="accepted: an address"):
        Endpoint("localhost:8000", "m")
    with pytest.raises(EndpointError, match="127.0.0.1:9"):
        Endpoint("http://127.0.0.1:9/v1", "m").ask("x", 0)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UsageError, match=r"c\.json is no file of rewritten captions"):
        read_rewritten(tmp_path / "c.json")


def test_the_command(serve: Callable[..., Service], tmp_path: Path) -> None:
    service = serve(says)
    output = tmp_path / "captions.json"
    arguments = ["rewrite", "--endpoint", service.url, "--model", "m", "--output", str(output)]
    result = CliRunner().invoke(app, [*arguments, "--kind", "soil", "--number", "1"], catch_exceptions=False)
    assert result.exit_code == 0 and f"{len(service.asked)} captions stand, 0 were refused" in result.stdout
    assert len(read_rewritten(output).by_label()) == len(service.asked) > 0
