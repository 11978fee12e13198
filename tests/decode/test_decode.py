"""What the package of decoding offers by name."""

import subprocess
import sys

import pytest

import espnet_part.decode


def test_speech2text_by_its_short_name():
    from espnet_part.decode import Speech2Text
    from espnet_part.decode.speech2text import Speech2Text as defined

    assert Speech2Text is defined
    with pytest.raises(AttributeError, match="no attribute 'Speech3Text'"):
        espnet_part.decode.Speech3Text  # noqa: B018
    for name in espnet_part.decode.__all__:
        assert getattr(espnet_part.decode, name)


def test_the_package_alone_imports_nothing_heavy():
    code = "import sys, espnet_part.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
