"""Kinds of a plugin: found through its distribution, and refused by name where a part is missing."""

from pathlib import Path

import pytest

from espnet_part.errors import ConfigError
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.encoders import ENCODERS


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
