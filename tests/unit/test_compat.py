"""torchvision, open_clip and timm import whichever torch and torchvision builds are installed."""

import subprocess
import sys
import textwrap


def run(code: str) -> subprocess.CompletedProcess:
    """Run `code` in a new interpreter: what is imported, and what torch has declared, can't be undone in this one."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_open_clip_and_timm_import_beside_an_unmatched_torchvision():
    done = run(
        """
    import gc
    import torch

    def refuse(path):  # a torchvision whose compiled part doesn't load, whichever build is installed
        raise OSError(path)

    torch.ops.load_library = refuse
    try:
        import torchvision
    except RuntimeError as error:
        print(error)
    from crossviz import compat
    open_clip, timm = compat.import_open_clip(), compat.import_timm()
    gc.collect()
    print(open_clip.__name__, timm.__name__, compat.worked_around())
    print(torch.ops.torchvision.nms.default._schema)
    try:
        compat.ensure_torchvision().ops.nms(torch.ones(1, 4), torch.ones(1), 0.5)
    except RuntimeError as error:
        print("incompatible" in str(error))
    """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "operator torchvision::nms does not exist",  # the error itself: without compat the import fails
        "open_clip timm True",
        "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",  # survives the collection
        "True",  # a call still fails, with torchvision's own message
    ]


def test_a_torchvision_that_imports_is_left_alone():
    done = run(
        """
    import sys, types
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    from crossviz import compat
    assert compat.ensure_torchvision() is sys.modules["torchvision"]
    assert not compat.worked_around()
    """
    )
    assert done.returncode == 0, done.stderr


def test_any_other_failure_is_passed_on(tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('some other fault')")
    done = run(
        f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    from crossviz import compat
    try:
        compat.import_open_clip()
    except RuntimeError as error:
        print(error, compat.worked_around())
    """
    )
    assert done.stdout.strip() == "some other fault False", done.stderr
