"""Kinds of a plugin: found through its distribution, and refused by name where a part is missing."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import espnet_part
from espnet_part.errors import ConfigError
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.encoders import ENCODERS
from tests.model.test_transformers_encoder import CONFIGS
from tests.model.tiny import WHISPER

ROOT = Path(espnet_part.__file__).parent


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with a kind of each sort, which declare no optional part."""
    info = tmp_path / "plugin_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-kinds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[espnet_part.encoders]\nbare = plugin_kinds.encoder\n"
        "[espnet_part.adapters]\nbare = plugin_kinds.adapter\nlinear = plugin_kinds.adapter\n"
    )
    for kind in ("encoder", "adapter"):
        package = tmp_path / "plugin_kinds" / kind
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "conf.py").write_text("class Conf: pass\n")
        (package / "module.py").write_text("def build(*args): pass\n")
    (tmp_path / "plugin_kinds" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugin")
def test_a_plugins_kinds_are_found_and_refused_where_a_part_is_missing() -> None:
    assert "bare" in ENCODERS.names() and "bare" in ADAPTERS.names()
    assert ENCODERS.conf("bare").Conf.__module__ == "plugin_kinds.encoder.conf"
    assert ENCODERS.conf("bare").FILES == ()
    assert ADAPTERS.module("bare").build.__module__ == "plugin_kinds.adapter.module"
    assert ENCODERS.shapes("bare") is None and ADAPTERS.shapes("bare") is None
    with pytest.raises(ConfigError, match=r"encoder kind bare: cannot be planned.* no operations"):
        ENCODERS.operations("bare")
    with pytest.raises(ConfigError, match=r"adapter kind bare: cannot be planned.* no operations"):
        ADAPTERS.operations("bare")
    with pytest.raises(ConfigError, match=r"encoder kind bare: cannot be packed.* no packing"):
        ENCODERS.packing("bare")


@pytest.mark.usefixtures("plugin")
def test_a_kind_of_this_package_goes_before_a_plugins() -> None:
    assert ADAPTERS.conf("linear").Conf.__module__ == "espnet_part.model.adapters.linear.conf"
    assert ADAPTERS.names().count("linear") == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("plugin_kinds.encoder:Kind", "must name a package .* names type"),
        ("plugin_kinds.flat", "must name a package .* names module"),
        ("plugin_kinds.absent", "cannot be loaded: ModuleNotFoundError: "),
        ("plugin_kinds.misspelt", "cannot be loaded: SyntaxError: .*line 1"),
        ("plugin_kinds.raises", "cannot be loaded: RuntimeError: two lines"),
        ("plugin_kinds.late", "cannot be imported: RuntimeError: no driver"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_a_broken_plugin_is_named_with_its_package(
    entry: str, message: str, tmp_path: Path
) -> None:
    info = tmp_path / "plugin_kinds-1.0.dist-info"
    (info / "entry_points.txt").write_text(f"[espnet_part.encoders]\nbroken = {entry}\n")
    package = tmp_path / "plugin_kinds"
    (package / "encoder" / "__init__.py").write_text("class Kind: pass\n")
    (package / "flat.py").touch()
    (package / "misspelt.py").write_text("def build(:\n")
    (package / "raises.py").write_text("raise RuntimeError('two\\nlines')\n")
    (package / "late").mkdir()
    (package / "late" / "__init__.py").touch()
    (package / "late" / "conf.py").write_text("raise RuntimeError('no driver')\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "plugin_kinds"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=message) as raised:
        ENCODERS.conf("broken")
    said = str(raised.value)
    assert f"broken of espnet_part.encoders ({entry} of the package plugin-kinds)" in said
    assert "\n" not in said


BUILD = """
import json, sys
import torch
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.build import build_adapter, build_encoder
from espnet_part.model.encoders import ENCODERS

speech, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
for kind, conf in json.loads(sys.argv[1]):
    encoder = build_encoder(kind, ENCODERS.conf(kind).Conf(config=conf))
    for name in ("linear", "transformer_cnn", "qformer"):
        adapter = build_adapter(name, ADAPTERS.conf(name).Conf(), encoder.dim, 12)
        out, _ = adapter(*encoder(speech, lengths))
        assert out.shape[::2] == (2, 12), (kind, name)
        espnet = [m for m in sys.modules if m.split(".")[0] in ("espnet", "espnet2", "espnetez")]
        assert espnet == [], (kind, name, espnet)
print("built")
"""


def test_parts_are_built_and_run_without_espnet() -> None:
    """A server does without it."""
    kinds = [("whisper", WHISPER), ("transformers", CONFIGS["wavlm"])]
    command = [sys.executable, "-c", BUILD, json.dumps(kinds)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "built\n", done.stderr


def sources_of_kinds() -> list[Path]:
    return [
        path
        for sort, kinds in (("encoders", ENCODERS), ("adapters", ADAPTERS))
        for name in kinds.own()
        for path in (ROOT / "model" / sort / name).glob("*.py")
    ]


def operands(node: ast.AST) -> Iterator[ast.AST]:
    """What is compared with, and the members of tuples and the like."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from operands(element)
    else:
        yield node


def uses_of_kinds(tree: ast.AST, names: set[str], classes: set[str]) -> Iterator[str]:
    """isinstance, issubclass and match on a kind's class; comparisons with a kind's name."""
    for node in ast.walk(tree):
        compared: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        for operand in (o for c in compared for o in operands(c)):
            if isinstance(operand, ast.Constant) and operand.value in names:
                yield ast.unparse(node)
        tested: Any = None
        if isinstance(node, ast.MatchClass):
            tested = node.cls
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            tested = node.args[1]
        if tested is not None:
            parts = {n.id for n in ast.walk(tested) if isinstance(n, ast.Name)}
            parts |= {n.attr for n in ast.walk(tested) if isinstance(n, ast.Attribute)}
            if parts & classes:
                yield ast.unparse(node)


def test_no_other_module_asks_for_a_kind() -> None:
    own = sources_of_kinds()
    names = {*ENCODERS.own(), *ADAPTERS.own()}
    classes = {
        node.name
        for path in own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert {"whisper", "transformers", "linear", "qformer"} <= names
    assert {
        "WhisperEncoder",
        "WhisperEncoderConf",
        "TransformersEncoder",
        "LinearAdapter",
    } <= classes
    found = [
        f"{path.relative_to(ROOT)}: {use}"
        for path in sorted(ROOT.rglob("*.py"))
        if path not in own
        for use in uses_of_kinds(ast.parse(path.read_text(encoding="utf-8")), names, classes)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "cfg.encoder == 'whisper'",
        "kind in ('x', 'linear')",
        "isinstance(encoder, (module.WhisperEncoder, int))",
        "match kind:\n    case 'whisper': pass",
        "match encoder:\n    case WhisperEncoder(): pass",
    ],
)
def test_a_question_for_a_kind_is_seen(code: str) -> None:
    assert list(uses_of_kinds(ast.parse(code), {"whisper", "linear"}, {"WhisperEncoder"}))
