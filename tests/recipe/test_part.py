"""What part.sh refuses before it moves an earlier training aside."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from espnet_part.errors import UserError
from espnet_part.model.config import ModelConfig
from espnet_part.model.function import function_digests
from espnet_part.recipe.part import check_initial
from espnet_part.weights import write_weights
from tests.train import tiny


def test_weights_that_the_model_cannot_start_from(tmp_path: Path) -> None:
    values = tiny.model_config(tmp_path)
    model_file, weights = tmp_path / "model.yaml", tmp_path / "stage1.safetensors"
    model_file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="is missing; run the stage before first"):
        check_initial(weights, str(model_file))
    digests = function_digests(ModelConfig.from_mapping(values, "model.yaml"))
    header = {"function": {**digests, "tokenizer": "read when the model is built"}}
    write_weights(weights, {"adapter.x": torch.zeros(2)}, header)
    check_initial(weights, str(model_file))
    header["function"]["adapter"] = "another"
    write_weights(weights, {"adapter.x": torch.zeros(2)}, header)
    with pytest.raises(UserError, match="was trained with other settings of the adapter; give"):
        check_initial(weights, str(model_file))
    weights.write_bytes(b"half")
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        check_initial(weights, str(model_file))
