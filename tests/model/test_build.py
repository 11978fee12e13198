"""What building a model sets for the process."""

from __future__ import annotations

import pytest
import torch

from espnet_part.model.build import build_encoder
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from tests.model.tiny import WHISPER, make_model


@pytest.mark.parametrize("alone", [True, False])
def test_attention_makes_no_plan_for_each_shape(alone: bool) -> None:
    """cuDNN's attention takes up to a second for each new shape of a batch on Hopper GPUs."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    if alone:
        build_encoder("whisper", WhisperEncoderConf(config=WHISPER))
    else:
        make_model()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled()
