"""Under which names a server answers, and what may be named in the environment."""

import pytest

from crossviz.errors import CrossvizError
from crossviz.web.origins import Origins
from crossviz.web.server_settings import ServerSettings


def origins(host: str, environ: dict[str, str]) -> Origins:
    return Origins.of(host, ServerSettings.of(environ), environ)


def test_a_server_on_this_computer_answers_to_this_computers_names():
    own = origins("127.0.0.1", {})
    assert own.private and own.answers_to("localhost:7860") and own.answers_to("[::1]") and own.answers_to("127.0.0.1")
    for name in (
        "evil.example",
        "",
        "localhost.evil.example",
        "evil.example@localhost",
        "[::1].evil.example:80",
        "::1",
    ):
        assert not own.answers_to(name), name


def test_a_server_for_others_answers_to_all_unless_it_is_named():
    assert origins("0.0.0.0", {}).answers_to("anything.example")
    named = origins("0.0.0.0", {"CROSSVIZ_HOSTS": "Crossviz.example.org"})
    assert named.answers_to("crossviz.example.org:443") and named.answers_to("localhost:7860")
    assert not named.answers_to("example.org")


@pytest.mark.parametrize("hosts", ["crossviz.example.org", "*"])
def test_a_server_behind_a_proxy_is_not_private(hosts):
    behind = origins("127.0.0.1", {"CROSSVIZ_HOSTS": hosts})
    assert behind.answers_to("crossviz.example.org") and not behind.private


def test_only_a_space_is_shown_by_others_pages_unless_they_are_named():
    assert origins("0.0.0.0", {}).frames == ()
    assert origins("0.0.0.0", {"SPACE_ID": "a/b"}).frames == ("https://huggingface.co", "https://*.hf.space")
    named = {"SPACE_ID": "a/b", "CROSSVIZ_FRAME_ANCESTORS": "https://blog.example.org http://localhost:4000"}
    assert origins("0.0.0.0", named).frames == ("https://blog.example.org", "http://localhost:4000")


def test_others_ask_where_they_are_named():
    assert not origins("0.0.0.0", {}).lets_ask("https://a.example")
    some = origins("0.0.0.0", {"CROSSVIZ_ALLOW_ORIGINS": "https://a.example,https://b.example:8443"})
    assert some.lets_ask("https://a.example") and not some.lets_ask("https://b.example")
    assert origins("0.0.0.0", {"CROSSVIZ_ALLOW_ORIGINS": "*"}).lets_ask("https://b.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROSSVIZ_HOSTS", "https://example.org"),
        ("CROSSVIZ_HOSTS", "a b/c"),
        ("CROSSVIZ_HOSTS", "a.example:80"),
        ("CROSSVIZ_FRAME_ANCESTORS", "example.org; script-src *"),
        ("CROSSVIZ_FRAME_ANCESTORS", "https://a.example/path"),
        ("CROSSVIZ_FRAME_ANCESTORS", "https://a.example\r\nset-cookie:a=b"),
        ("CROSSVIZ_ALLOW_ORIGINS", "null"),
        ("CROSSVIZ_ALLOW_ORIGINS", "javascript:alert(1)"),
    ],
)
def test_what_is_no_origin_is_refused_by_its_variables_name(name, value):
    with pytest.raises(CrossvizError, match=name):
        origins("0.0.0.0", {name: value})


@pytest.mark.parametrize("path", ["", "/", "/tools/crossviz", "/a/", "https://example.org/tools", "http://a:80"])
def test_a_root_path_is_a_path_or_an_address(path):
    assert ServerSettings.of({"GRADIO_ROOT_PATH": path}).root_path == path


@pytest.mark.parametrize("path", ["tools", "//evil.example", "/a b", "/a?b", "ftp://a", "/<script>", "/a\nb"])
def test_a_root_path_that_is_none_is_refused(path):
    with pytest.raises(CrossvizError, match="GRADIO_ROOT_PATH"):
        ServerSettings.of({"GRADIO_ROOT_PATH": path})
