"""The part `processor` of benchmarks/fire.py: a small share of it, and that it sees what differs."""

import json
import shutil
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from faults import processor
from faults.common import Settings


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs QEMU's user mode (Debian's qemu-user)")
def test_numpy_with_avx2_has_the_same_bytes_on_another_processor():
    """As libraries are, this processor may differ from an emulated one; where both may do the same only, they agree."""
    here = processor.find_bytes("numpy", processor.KINDS[processor.AVX2])
    there = processor.find_bytes("numpy", processor.KINDS[processor.AVX2], "Haswell")
    assert processor.compare(here, {"Haswell": there}) == (len(here), [])


def test_what_differs_is_told(monkeypatch, tmp_path):
    """Of the kinds of processor that are kept; what an earlier one did not have is no difference."""
    monkeypatch.setattr(processor, "LIBRARIES", ["numpy"])
    monkeypatch.setattr(processor, "EMULATED", {})
    monkeypatch.setattr(processor, "FILE", tmp_path / "processors.json")
    monkeypatch.setattr(processor, "find_bytes", lambda *_: {"sum": "one", "product": "two", "root": "new"})
    kept = {kind: {"numpy": {"sum": "one", "product": "other"}} for kind in processor.KINDS}
    processor.FILE.write_text(json.dumps({"An older one": kept}))
    rows = list(processor.run(Settings(0, 1, tmp_path)))
    assert [row.what for row in rows] == [f"NumPy, {kind}" for kind in processor.KINDS]
    assert {(row.tried, row.held, row.found) for row in rows} == {
        (2, 1, ("product differs from that of An older one",))
    }
    assert list(json.loads(processor.FILE.read_text())) == ["An older one"]  # a share is not kept


def test_by_how_much_scores_differ(tmp_path):
    for name, accuracy in (("one", 0.75), ("two", 0.5)):
        (tmp_path / name / "metrics/summary").mkdir(parents=True)
        for network in ("vgg19", "compact"):
            scores = {"accuracy": accuracy if network == "vgg19" else 0.9, "macro_f1": 0.5, "ece": 0.1}
            (tmp_path / name / "metrics/summary" / f"{network}.json").write_text(json.dumps(scores))
    accuracy, *others = processor.compare_scores(tmp_path / "one", tmp_path / "two", 0.0)
    assert accuracy.what.startswith("accuracy in") and accuracy.what.endswith("at most 25.0 points apart")
    assert (accuracy.tried, accuracy.held, accuracy.found) == (2, 1, ("that of vgg19 differs by 25.00 points",))
    assert [(row.tried, row.held, row.found) for row in others] == [(2, 2, ())] * 2
