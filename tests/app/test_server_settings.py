"""What a server is set to: by its environment, and by the cores that it has."""

import os
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import gradio
import pytest
import torch
from watched import free_port

from crossviz.errors import CrossvizError, ModelUnavailableError
from crossviz.web.app import serve
from crossviz.web.cores import cores, limit_threads
from crossviz.web.engine import Engine
from crossviz.web.gradio_variables import NO_EFFECT, REFUSED, SWITCHES
from crossviz.web.offered import Offered
from crossviz.web.server_settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]


def test_settings_come_from_the_environment():
    assert ServerSettings.of({}) == ServerSettings()
    given = {"CROSSVIZ_CACHE_MB": "0", "CROSSVIZ_BATCH": " 4 ", "CROSSVIZ_QUEUE": "", "OTHER": "x"}
    assert ServerSettings.of(given) == ServerSettings(cache_mb=0, batch=4)
    given = {
        "CROSSVIZ_MODELS": "crossviz-mini, coca-mini",
        "CROSSVIZ_DEVICE": "cuda:1",
        "CROSSVIZ_LOG": "JSON",
        "GRADIO_MCP_SERVER": "True",
        "HF_HUB_OFFLINE": "off",
        "GRADIO_ROOT_PATH": "https://example.org/crossviz",
    }
    of = ServerSettings.of(given)
    assert of.models == ("crossviz-mini", "coca-mini")
    assert (of.device, of.log, of.mcp, of.hub_offline) == ("cuda:1", "json", True, False)
    with pytest.raises(FrozenInstanceError):
        of.mcp = False


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE_MB", "-1"), ("CACHE_MB", "many"), ("BATCH", "0"), ("AT_ONCE", "41"), ("QUEUE", "1.5"), ("QUEUE", "٣")],
)
def test_a_setting_that_will_not_do_is_said_in_a_sentence(name, value):
    with pytest.raises(CrossvizError, match=f"CROSSVIZ_{name} is a whole number from [0-9]+ to [0-9]+, not '{value}'"):
        ServerSettings.of({f"CROSSVIZ_{name}": value})


WRONG = {
    "CROSSVIZ_MODEL": "a\nb",
    "CROSSVIZ_MODELS": "crossviz-mini,,coca-mini",
    "CROSSVIZ_DEVICE": "gpu",
    "CROSSVIZ_CACHE_MB": "1e3",
    "CROSSVIZ_KEPT_MB": "255",
    "CROSSVIZ_BATCH": "65",
    "CROSSVIZ_AT_ONCE": "0",
    "CROSSVIZ_QUEUE": "9" * 5000,
    "CROSSVIZ_LOG": "xml",
    "CROSSVIZ_LOG_LEVEL": "verbose",
    "CROSSVIZ_METRICS_PORT": "0",
    "CROSSVIZ_METRICS_HOST": "127.0.0.1/",
    "CROSSVIZ_HOSTS": "example.org:80",
    "CROSSVIZ_FRAME_ANCESTORS": "example.org",
    "CROSSVIZ_ALLOW_ORIGINS": "https://example.org/path",
    "CROSSVIZ_HEALTH_SECONDS": "0",
    "GRADIO_SERVER_NAME": "http://localhost",
    "GRADIO_SERVER_PORT": "70000",
    "GRADIO_ROOT_PATH": "crossviz",
    "GRADIO_MCP_SERVER": "maybe",
    "GRADIO_TEMP_DIR": __file__,
    "HF_HUB_OFFLINE": "2",
    "HF_HOME": __file__ + "/inside",
    "OMP_NUM_THREADS": "0",
}


def test_every_variable_is_checked_at_the_start():
    assert set(WRONG) == {each.metadata["variable"] for each in fields(ServerSettings)}
    for each in fields(ServerSettings):
        name, kind = each.metadata["variable"], each.metadata["kind"]
        with pytest.raises(CrossvizError) as caught:
            ServerSettings.of({name: WRONG[name]})
        assert str(caught.value) == f"{name} is {kind.expects}, not {WRONG[name][:40]!r}."
        with pytest.raises(CrossvizError):
            ServerSettings(**{each.name: object()})


def test_a_name_that_is_none_is_said_with_the_nearest_one():
    with pytest.raises(CrossvizError, match="no setting CROSSVIZ_CACHE_MIB: did you mean CROSSVIZ_CACHE_MB"):
        ServerSettings.of({"CROSSVIZ_CACHE_MIB": "5"})
    ServerSettings.of({"CROSSVIZ_RECORD": "1"})


def test_what_kubernetes_sets_beside_a_service_of_that_name_is_no_setting():
    link = {
        "CROSSVIZ_SERVICE_HOST": "10.0.0.1",
        "CROSSVIZ_SERVICE_PORT": "7860",
        "CROSSVIZ_SERVICE_PORT_HTTP": "7860",
        "CROSSVIZ_PORT": "tcp://10.0.0.1:7860",
        "CROSSVIZ_PORT_7860_TCP_ADDR": "10.0.0.1",
        "CROSSVIZ_METRICS_PORT": "tcp://10.0.0.2:9464",
        "CROSSVIZ_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    assert ServerSettings.of(link) == ServerSettings()
    with pytest.raises(CrossvizError, match="CROSSVIZ_PORT"):
        ServerSettings.of({"CROSSVIZ_PORT": "8000"})


@pytest.mark.parametrize("name", [*REFUSED, *SWITCHES])
def test_what_would_open_the_server_is_refused(name):
    with pytest.raises(CrossvizError, match=f"{name}='1' would .*: unset it"):
        ServerSettings.of({name: "1"})
    if name in SWITCHES:
        ServerSettings.of({name: "False"})


def test_every_variable_that_gradio_reads_is_known():
    """One that a new version brings has to be looked at, and put into one of the lists."""
    found = set()
    for file in Path(gradio.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"""["'](GRADIO_[A-Z0-9_]+)["']""", file.read_text(encoding="utf-8")))
    own = {each.metadata["variable"] for each in fields(ServerSettings)}
    assert found - own - set(REFUSED) - set(SWITCHES) - NO_EFFECT == set()
    assert set(REFUSED) | set(SWITCHES) | NO_EFFECT <= found, "what Gradio no longer reads need not be listed"


def test_the_table_in_the_documents_is_the_code():
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split(" | ")] for line in re.findall(r"^\| (`[A-Z_]+` \|.*) \|$", text, re.M)
    ]
    told = {name.strip("`"): (takes, default) for name, takes, default, _ in rows}
    assert list(told) == [each.metadata["variable"] for each in fields(ServerSettings)]
    for each in fields(ServerSettings):
        takes, default = told[each.metadata["variable"]]
        assert takes == each.metadata["kind"].expects
        if each.default not in (None, "", ()):
            assert default == f"{each.default:d}" if isinstance(each.default, int) else each.default


def test_how_many_photos_go_together():
    assert ServerSettings(batch=3).together("cuda:0", 2) == 3
    assert [ServerSettings().together("cpu", threads) for threads in (1, 2, 64)] == [1, 2, 8]
    assert ServerSettings().together("cuda:0", 2) == 16


def test_how_many_questions_are_worked_on_at_once():
    assert [ServerSettings().places(cores) for cores in (1, 2, 4, 64)] == [4, 4, 8, 16]
    assert ServerSettings(at_once=3).places(64) == 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "9900000 100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cores_are_those_that_a_container_is_given(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(tmp_path) == (mine if expected is None else expected)


def test_pytorch_gets_no_more_threads_than_there_are_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("crossviz.web.cores.cores", lambda: 1)
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        limit_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        limit_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_server_that_is_set_wrongly_does_not_start(monkeypatch):
    monkeypatch.setenv("CROSSVIZ_CACHE_MB", "plenty")
    with pytest.raises(CrossvizError, match="CROSSVIZ_CACHE_MB is a whole number from 0 to 1048576, not 'plenty'"):
        serve(port=free_port())
    monkeypatch.delenv("CROSSVIZ_CACHE_MB")
    port = free_port()
    monkeypatch.setenv("CROSSVIZ_METRICS_PORT", str(port))
    with pytest.raises(CrossvizError, match=f"CROSSVIZ_METRICS_PORT is the page's own port {port}"):
        serve(port=port)


def test_the_operator_says_which_models_may_be_chosen():
    engine = Engine("crossviz-mini", settings=ServerSettings(models=("coca-mini", "open_clip:ViT-B-16/openai")))
    engine.offered.check()
    assert {info.name for info in engine.models()} == {"crossviz-mini", "coca-mini", "open_clip:ViT-B-16/openai"}
    with pytest.raises(ModelUnavailableError, match="not on the list of this server"):
        engine.explainer("vilt-mini")
    with pytest.raises(ModelUnavailableError, match="not on the list of this server"):
        engine.explainer("open_clip:ViT-B-32/openai")
    with pytest.raises(CrossvizError, match="names 'coca-mimi', and there is no such model: did you mean coca-mini"):
        Offered("crossviz-mini", ("coca-mimi",)).check()


def test_a_share_of_a_core_is_no_number_of_threads():
    assert ServerSettings.of({"OMP_NUM_THREADS": "3500m"}).threads is None
