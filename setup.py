"""Installs the plugin beside ESPnet; see README.md for the two commands that do it all."""

from pathlib import Path

from setuptools import find_packages, setup

COMMANDS = sorted(path.stem for path in Path(__file__).parent.glob("espnet_part/bin/part_*.py"))

setup(
    name="espnet_part",
    version="0.1.0",
    description="PART for ESPnet: multilingual speech LLMs trained by a declared schedule",
    packages=find_packages(include=["espnet_part", "espnet_part.*"]),
    package_data={"espnet_part": ["**/*.yaml", "**/*.jinja"]},
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [f"{name} = espnet_part.bin.{name}:main" for name in COMMANDS]
    },
)
