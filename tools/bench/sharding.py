"""Memory of each process that holds a model (DDP), and of each that shares one (FSDP2), beside `part_plan`'s.

Processes joined by gloo, without a GPU, take a few steps of training with a Whisper encoder and a
Qwen2-like LLM of random weights. See sharding.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENCODER = {
    "d_model": 512,
    "encoder_layers": 4,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "num_mel_bins": 80,
    "dropout": 0.0,
}
LLM = {
    "model_type": "qwen2",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 16000,
    "tie_word_embeddings": True,
}
MODEL = {
    "encoder_conf": {"config": ENCODER},
    "speech_adapter_conf": {"dim": 512, "heads": 8, "ff": 2048, "layers": 2, "dropout": 0.0},
    "llm_conf": {"config": LLM, "dtype": "float32"},
    "lora_conf": {"rank": 8, "alpha": 16, "targets": ["q_proj", "v_proj"]},
}
TRAINED = {
    "all": ["adapter", "encoder", "llm"],
    "lora": ["adapter", "encoder", "llm.lora"],
}
CLIPS = [160_000, 120_000]  # samples, of each process
STEPS = 2


def memory() -> float:
    """MB of this process's own; pages of files, which the system may drop, left out."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise LookupError("RssAnon")


class Peak(threading.Thread):
    """The most memory that a block takes, looked at every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.is_over = memory(), threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.002):
            self.most = max(self.most, memory())

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.join()


def work(rank: int, world: int, how: str, trained: str, where: str) -> None:
    """One of the processes: train, and note what it holds between steps and at most within one."""
    sys.path.insert(0, str(ROOT))
    import torch
    import torch.distributed as dist

    from espnet_part.model.build import build_model
    from espnet_part.schedule.activation import activate
    from espnet_part.schedule.selectors import select
    from espnet_part.train.learning_rate import parameter_groups
    from espnet_part.train.outliers import Outliers
    from espnet_part.train.parallel import Parallel
    from espnet_part.train.sharding import Sharded, shard
    from espnet_part.train.step import train_step
    from tests.model.tiny import make_config
    from tests.plan.measure import small_batch

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{where}/rendezvous", rank=rank, world_size=world
    )
    before = memory()
    model = build_model(make_config(**MODEL))
    every = [name for name, _ in model.named_parameters()]
    names = {n for s in TRAINED[trained] for n in select(s, every, model.protected)}
    activate(model, names)
    is_sharded = how == "fsdp2"
    if is_sharded:
        shard(model, "cpu")
    groups = parameter_groups(
        {n: p for n, p in model.named_parameters() if n in names}, exclude_weight_decay=True
    )
    optimizer = torch.optim.AdamW(groups, lr=1e-4, foreach=True)
    options = {"gradient_as_bucket_view": True}
    parallel = (Sharded if is_sharded else Parallel)(rank, world, ddp_options=options)
    module = parallel.wrap(model)
    batch = {
        **small_batch(CLIPS)[0],
        "utt_ids": ["u"] * len(CLIPS),
        "tasks": ["asr"] * len(CLIPS),
        "bad": [],
        "audio_seconds": 0.0,
        "padding": dict.fromkeys(("llm", "llm_padded", "encoder", "encoder_padded"), 1),
    }
    for _ in range(STEPS):
        with Peak() as peak:
            train_step(
                *(module, [batch], optimizer, ("asr",), parallel),
                amp=False,
                grad_clip=1.0,
                grad_clip_type=2.0,
                fault=Outliers(None).fault,
            )
    found = {"between": memory() - before, "peak": peak.most - before}
    Path(where, f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def measure(world: int, how: str, trained: str) -> dict[str, float]:
    """The largest of the processes, in MB."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as where:
        processes = [
            context.Process(target=work, args=(rank, world, how, trained, where))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise SystemExit(f"{how} with {world} processes failed")
        found = [json.loads(Path(where, f"{rank}.json").read_text()) for rank in range(world)]
    return {key: max(values[key] for values in found) for key in found[0]}


def predict(world: int, how: str, trained: str) -> dict[str, float]:
    """What `part_plan` counts, without a reserve, in MB."""
    from espnet_part.plan.memory import Training, batch_memory
    from espnet_part.plan.operations import describe_model
    from espnet_part.schedule.selectors import select
    from tests.model.tiny import make_config
    from tests.plan.measure import small_batch

    model = describe_model(make_config(**MODEL))
    names = {n for s in TRAINED[trained] for n in select(s, list(model.shapes), model.protected)}
    training = Training(amp=False, gpus=world, sharded=how == "fsdp2")
    counted = batch_memory(model, names, small_batch(CLIPS, model)[1], training)
    between = counted.fixed - counted.gathered
    if how == "fsdp2":
        between -= counted.gradients  # DDP's are in its buckets, which stay
    return {"between": between / 2**20, "peak": counted.peak / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    # what is freed goes back to the system, so that memory is what is in use
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)
    rows: list[dict[str, Any]] = []
    for trained in args.trained:
        for world in args.processes:
            for how in ("ddp", "fsdp2"):
                row = {
                    **{"trained": trained, "processes": world, "parallel": how},
                    "measured": measure(world, how, trained),
                    "planned": predict(world, how, trained),
                }
                print(json.dumps(row), flush=True)
                rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
