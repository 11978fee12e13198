"""Run by the Python of vLLM's environment: answers requests for transcription without a server.

Usage: python offline.py MODEL REQUESTS ANSWERS. REQUESTS is an .npz of waveforms, each under its request
as JSON (``number``, ``task_type``, ``language``, ``to_language``, ``prompt``, ``limit``); ANSWERS becomes a
JSON list of token ids, in the order of their numbers, and the number of embeddings that each clip had.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    import numpy as np

    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = (
        "0"  # other processes would import all of it again
    )
    from vllm import LLM, SamplingParams
    from vllm.config.speech_to_text import SpeechToTextParams
    from vllm.model_executor.model_loader import get_model_cls

    directory, requests, answers = sys.argv[1:]
    llm = LLM(
        directory,
        dtype="float32",
        enforce_eager=True,
        max_num_seqs=4,
        kv_cache_memory_bytes=1 << 26,
        mm_processor_cache_gb=0,
    )
    config = llm.model_config
    model: Any = get_model_cls(config)
    prompts, limits = [], []
    with np.load(requests) as clips:
        for key in sorted(clips.files, key=lambda key: json.loads(key)["number"]):
            asked = json.loads(key)
            task_type = asked["task_type"]
            params = SpeechToTextParams(
                audio=clips[key],
                stt_config=model.get_speech_to_text_config(config, task_type),
                model_config=config,
                task_type=task_type,
                language=model.validate_language(asked["language"]),
                to_language=asked["to_language"],
                request_prompt=asked["prompt"],
            )
            prompts.append(model.get_generation_prompt(params))
            greedy = llm.get_default_sampling_params()  # of generation_config.json
            greedy.max_tokens = asked["limit"]
            limits.append(greedy)
    assert all(isinstance(limit, SamplingParams) and limit.temperature == 0 for limit in limits)
    done = llm.generate(prompts, limits)
    token = config.hf_config.speech_token_id
    found = [
        {"tokens": list(one.outputs[0].token_ids), "places": one.prompt_token_ids.count(token)}
        for one in done
    ]
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
