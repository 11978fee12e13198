"""Installs the plugin beside ESPnet; see README.md for the two commands that do it all."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = Path(__file__).parent / "espnet_part"
COMMANDS = sorted(path.stem for path in PACKAGE.glob("bin/part_*.py"))
# as text: importing it takes what is only now being installed
VERSION = re.findall(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(), re.MULTILINE)

REQUIREMENTS = [
    # 202511 is the last release for Python 3.10 and 3.11. Its `train` extra pins a Pillow that has no wheel
    # for Python 3.12, so what of it is needed stands below.
    "espnet>=202511,<202600; python_version < '3.12'",
    "espnet>=202511,<202700; python_version >= '3.12'",
    "espnet_model_zoo>=0.1.7",
    "setuptools>=64",  # ESPnet bounds it; it is also what serves `distutils` from Python 3.12 on
    # imported by ESPnet's training code and declared only in its extras, or not at all
    "matplotlib>=3.7",
    "six>=1.16",
    "tensorboard>=2.14",
    "torchaudio>=2.4",
    # the model
    "filelock>=3.12",
    "huggingface_hub>=1.0",
    "peft>=0.17",
    "safetensors>=0.4.5",
    "torch>=2.4",
    "transformers>=5.0,<6",
    # configuration and data
    "fsspec>=2024.2",
    "ijson>=3.3",
    "kaldiio>=2.18",
    "pyarrow>=14",
    "langcodes>=3.4",
    "language_data>=1.2",
    "numpy>=2.0",
    "packaging>=23",
    "scikit-learn>=1.3",
    "pydantic>=2.6,<3",
    "PyYAML>=6.0",
    "sentencepiece>=0.2",
    "soundfile>=0.12",
    "soxr>=0.5",
    "tqdm>=4.66",
    # the report
    "jinja2>=3.1",
    "markupsafe>=2.1",
    # scores
    "jiwer>=4.0,<5",
    "sacrebleu>=2.4,<3",
    "regex",  # scripts of Unicode
    "scipy>=1.10",
    "whisper_normalizer>=0.1.10",
]

EXTRAS = {
    # the speech of the embedded corpus; eSpeak NG is GPL-3.0-or-later, hence never a requirement
    "mini": ["espeakng-loader>=0.2.4"],
    # egs2/asterisk: G.722 recordings, LLMs in GGUF, gettext catalogues and who reads them
    "asterisk": ["av>=12", "espeakng-loader>=0.2.4", "gguf>=0.10", "polib>=1.2"],
    # egs3: what ESPnet 3 imports and declares only in an extra of its own
    "espnet3": ["espnet>=202611", "lightning>=2.3"],
    # sacreBLEU's word segmentation
    "ja": ["sacrebleu[ja]"],
    "ko": ["sacrebleu[ko]"],
    # chinese_script of conf/score.yaml
    "zh": ["opencc>=1.1.9"],
    # LLMs in 4 bits (llm_conf: quantization)
    "qlora": ["bitsandbytes>=0.46"],
    # SenseVoice's encoder
    "funasr": ["funasr>=1.2"],
    # audio in object stores and on web servers
    "s3": ["s3fs>=2024.2"],
    "gs": ["gcsfs>=2024.2"],
    "http": ["aiohttp>=3.9"],
    # part_serve
    "serve": [
        "fastapi>=0.115",
        "prometheus-client>=0.20",
        "python-multipart>=0.0.18",
        "uvicorn>=0.30",
        "websockets>=13",
    ],
    "wandb": ["wandb>=0.17"],
    # tools/docs.sh
    "docs": [
        "latex2mathml>=3.77",
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.6,<10",
        "mkdocstrings-python>=1.16",
    ],
    "dev": [
        "sacrebleu[ja,ko]",
        "aiohttp>=3.9",
        "av>=12",
        "build>=1.2",
        "fastapi>=0.115",
        "gguf>=0.10",
        "hypothesis>=6.100",
        "lhotse>=1.24",
        "moto[server]>=5.0",
        "mypy>=1.11",
        "openai>=1.60",
        "opencc>=1.1.9",
        "polib>=1.2",
        "prometheus-client>=0.20",
        "pytest>=8.0",
        "pytest-xdist>=3.6",
        "python-multipart>=0.0.18",
        "ruff>=0.9",
        "s3fs>=2024.2",
        "twine>=6.1",
        "types-Markdown",
        "types-PyYAML",
        "types-six",
        "types-tqdm",
        "wheel",
        "uvicorn>=0.30",
        "websockets>=13",
    ],
}

setup(
    name="espnet_part",
    version=VERSION[0],
    description="PART for ESPnet: multilingual speech LLMs trained by a declared schedule",
    long_description=(PACKAGE.parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["espnet_part", "espnet_part.*"]),
    package_data={"espnet_part": ["**/*.yaml", "**/*.jinja", "serve/page/*"]},
    # sentencepiece 0.2.1, which ESPnet pins, has no wheel for Python 3.14
    python_requires=">=3.10,<3.14",
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [f"{name} = espnet_part.bin.{name}:main" for name in COMMANDS],
        "vllm.general_plugins": ["espnet_part = espnet_part.vllm:register"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
