"""The API as tools of an MCP client."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apart import run_apart
from watched import free_port

from crossviz.web.examples import examples

PHOTO = Path(examples()[0].photo)
DATA = "data:image/jpeg;base64," + base64.b64encode(PHOTO.read_bytes()).decode()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from crossviz.web.app import build
    from crossviz.web.page import launch

    page = build()
    yield launch(page, "127.0.0.1", free_port(), mcp=True) + "/gradio_api/mcp/"
    page.close(verbose=False)


def call(address: str, *calls: tuple[str, dict]):
    """The tools, and an answer per call."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def run():
        async with streamablehttp_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [await session.call_tool(name, given) for name, given in calls]

    return run_apart(run())


def test_the_tools_say_what_they_take(address):
    tools, _ = call(address)
    known = {tool.name: tool for tool in tools}
    asks = {"explain", "heatmap", "trust", "models", "methods", "inside", "difference"}
    assert set(known) == asks | {"write", "hide", "export", "compare", "generate"}
    schema = known["explain"].inputSchema
    assert schema["properties"]["photo"]["type"] == "string" and schema["required"] == ["photo", "caption"]
    assert "where each word" in known["explain"].description
    assert all(part["description"] for tool in tools for part in tool.inputSchema["properties"].values())


def test_tools_answer_and_say_what_is_wrong_as_a_sentence(address):
    asked = {"photo": DATA, "caption": "a man in a coat"}
    _, (good, picture, bad, far) = call(
        address,
        ("explain", asked),
        ("export", {**asked, "format": ".png"}),
        ("heatmap", {**asked, "text": "dog"}),
        ("explain", {**asked, "photo": "https://example.org/a.png"}),
    )
    assert not good.isError and "'null_mass'" in good.content[0].text
    assert picture.content[0].type == "image"
    assert bad.isError and bad.content[0].text.startswith("'dog' is not in the caption")
    assert far.isError and "fetches nothing" in far.content[0].text


@pytest.mark.parametrize(
    "photo", [str(PHOTO), {"path": str(PHOTO), "meta": {"_type": "gradio.FileData"}}], ids=["path", "file data"]
)
def test_files_of_the_server_stay_there(address, photo):
    _, (answer,) = call(address, ("explain", {"photo": photo, "caption": "a man"}))
    assert answer.isError and "man" not in json.dumps(answer.content[0].text).replace(str(PHOTO), "")
