"""Plans as Markdown tables and as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from espnet_part.data.mixture_table import PhaseMixture, stage_mixture
from espnet_part.document import aligned_table
from espnet_part.plan.data import Data
from espnet_part.plan.memory import GIB
from espnet_part.plan.plan import Hardware, PhasePlan
from espnet_part.schedule.describe import count

_MEMORY = (
    ("encoder weights", "encoder_weights"),
    ("adapter weights", "adapter_weights"),
    ("LLM weights, LoRA", "llm_weights"),
    ("gradients", "gradients"),
    ("optimizer states", "optimizer"),
    ("gathered weights, gradients", "gathered"),
    ("bfloat16 copies of weights", "casts"),
    ("encoder activations", "encoder_activations"),
    ("adapter activations", "adapter_activations"),
    ("LLM activations", "llm_activations"),
    ("scores of labelled positions", "scores"),
    ("working memory", "working"),
    ("reserve", "reserve"),
)


def as_markdown(plans: Sequence[PhasePlan], hardware: Hardware, data: Data, padding: float) -> str:
    """Tables of what trains, of memory, and of data and time, and what they rest on."""
    sections = [
        f"Trained parameters\n\n{_parameters(plans)}",
        f"Memory of a GPU, in GB, when its micro-batch is the dearest that can come\n\n"
        f"{_memory(plans, hardware)}",
    ]
    if advice := _advice(plans, hardware):
        sections.append(advice)
    sections.append(f"Data and time on {_gpus(hardware)}\n\n{_time(plans, data)}")
    sections += mixture_sections(plans)
    sections.append(_assumptions(plans, hardware, data, padding))
    return "\n\n".join(sections) + "\n"


def mixture_sections(plans: Sequence[PhasePlan]) -> list[str]:
    """What each stage is to hear of each stratum, where that is known."""
    stages: dict[str, list[PhaseMixture]] = {}
    for plan in plans:
        if plan.mixture is not None:
            stages.setdefault(plan.stage, []).append(plan.mixture)
    return [stage_mixture(stage, phases) for stage, phases in stages.items()]


def as_json(plans: Sequence[PhasePlan], hardware: Hardware, data: Data) -> dict[str, Any]:
    """Everything in bytes, seconds, hours of audio, tokens and floating-point operations."""
    phases = []
    for plan in plans:
        values = dataclasses.asdict(plan)
        values["mixture"] = plan.mixture and plan.mixture.as_json()
        values["memory"]["peak"] = plan.memory.peak
        values["headroom"] = hardware.gpu_memory * GIB - plan.memory.peak
        values["flops"]["total"] = plan.flops.total
        phases.append(values)
    tasks = {name: dataclasses.asdict(task) for name, task in data.tasks.items()}
    return {
        "hardware": dataclasses.asdict(hardware),
        "data": {"tasks": tasks, "hours": data.hours, "assumed": data.assumed},
        "phases": phases,
        "total": {
            "seconds": sum(plan.seconds for plan in plans),
            "flops": sum(plan.steps * plan.flops.total for plan in plans),
            "hours": sum(plan.hours for plan in plans),
            "steps": sum(plan.steps for plan in plans),
        },
    }


def _names(plans: Sequence[PhasePlan]) -> list[str]:
    return [plan.phase for plan in plans]


def _parameters(plans: Sequence[PhasePlan]) -> str:
    rows = [["stage", "phase", "steps", "trains"]]
    for plan in plans:
        trains = ", ".join(f"{group} {count(n)}" for group, n in plan.parameters.items())
        rows.append([plan.stage, plan.phase, f"{plan.steps:,}", trains])
    return aligned_table(rows)


def _memory(plans: Sequence[PhasePlan], hardware: Hardware) -> str:
    rows = [["", *_names(plans)]]
    for name, key in _MEMORY:
        if key != "gathered" or any(plan.memory.gathered for plan in plans):
            rows.append([name, *(_gb(getattr(plan.memory, key)) for plan in plans)])
    rows.append(["**peak**", *(f"**{_gb(plan.memory.peak)}**" for plan in plans)])
    free = [hardware.gpu_memory * GIB - plan.memory.peak for plan in plans]
    rows.append(
        [
            f"left of {hardware.gpu_memory:g}",
            *(_gb(value) if value >= 0 else f"DOES NOT FIT ({_gb(value)})" for value in free),
        ]
    )
    rows.append(["dearest micro-batch", *(plan.dearest for plan in plans)])
    return aligned_table(rows)


def _advice(plans: Sequence[PhasePlan], hardware: Hardware) -> str:
    lines = [
        f"- {plan.stage}: {plan.phase} does not fit into {hardware.gpu_memory:g} GB; {_help(plan)}"
        for plan in plans
        if not plan.fits
    ]
    return "\n".join(lines)


def _help(plan: PhasePlan) -> str:
    if plan.advice:
        return f"what would make it fit with the same steps: {'; or '.join(plan.advice)}"
    return (
        "no batch is small enough: with no more than the longest utterance in a micro-batch and "
        "gradient checkpointing of encoder and LLM, and with parallel: fsdp2 on several GPUs, it takes "
        f"{_gb(plan.least)} GB; it needs GPUs of more memory, a smaller model (--model_config), or fewer "
        "trained parameters; more GPUs of this kind help with parallel: fsdp2 alone, since else each "
        "holds the whole model"
    )


def _time(plans: Sequence[PhasePlan], data: Data) -> str:
    rows = [
        [
            "phase",
            "examples a step",
            "speech + text tokens a step",
            "tokens",
            "audio hours",
            f"epochs of {data.hours:,.0f} h",
            "PFLOP a step",
            "recomputed",
            "seconds a step",
            "hours",
        ]
    ]
    for plan in plans:
        a_step = plan.speech_tokens + plan.text_tokens
        rows.append(
            [
                plan.phase,
                f"{plan.examples:,.0f}",
                f"{plan.speech_tokens:,.0f} + {plan.text_tokens:,.0f}",
                count(round(plan.steps * a_step)),
                f"{plan.hours:,.0f}",
                f"{plan.epochs:.2f}",
                f"{plan.flops.total / 1e15:.3g}",
                f"{100 * plan.flops.again / plan.flops.total:.0f} %",
                f"{plan.seconds / plan.steps:.3g}",
                f"{plan.seconds / 3600:.1f}",
            ]
        )
    total = sum(plan.seconds for plan in plans) / 3600
    tokens = sum(plan.steps * (plan.speech_tokens + plan.text_tokens) for plan in plans)
    rows.append(
        [
            "**all**",
            "",
            "",
            count(round(tokens)),
            f"{sum(plan.hours for plan in plans):,.0f}",
            f"{sum(plan.epochs for plan in plans):.2f}",
            "",
            "",
            "",
            f"**{total:.1f}** ({total / 24:.1f} days)",
        ]
    )
    return aligned_table(rows)


def _assumptions(plans: Sequence[PhasePlan], hardware: Hardware, data: Data, padding: float) -> str:
    lines = [
        f"- data: {data.assumed or 'as part_collect_stats counted them'}; "
        f"{100 * padding:.0f} % of a batch is padding",
        f"- time: {hardware.peak_tflops:g} TFLOP/s a GPU, of which {100 * hardware.mfu:.0f} % are "
        "reached, recomputation included; without validation, start-up, communication and waiting "
        "for data",
        "- recomputed: the share of the PFLOP that computes forward passes a second time, for the "
        "gradients of parts with gradient checkpointing and of the LLM's scores",
        f"- memory: 1 GB is 2^30 bytes; {hardware.reserve:g} GB a GPU are set aside for its "
        "context, communication and the allocator's gaps; every micro-batch may be full of "
        "examples of one length, of 1 s to 30 s; the optimizer's own peak is counted where it is "
        "the larger",
    ]
    shared = {plan.stage: plan.sharded and hardware.gpus > 1 for plan in plans}
    for sharded, said in (
        (False, "every GPU holds all weights, gradients and optimizer states (DDP)"),
        (
            True,
            "each GPU holds a share of weights, gradients and optimizer states, and gathers "
            "blocks as they run (FSDP2)",
        ),
    ):
        stages = [stage for stage, found in shared.items() if found == sharded]
        if stages:
            where = "" if len(stages) == len(shared) else f"{', '.join(stages)}: "
            lines.append(f"- {where}{said}")
    return "What this rests on\n\n" + "\n".join(lines)


def _gpus(hardware: Hardware) -> str:
    return "1 GPU" if hardware.gpus == 1 else f"{hardware.gpus} GPUs"


def _gb(value: float) -> str:
    return f"{value / GIB:.1f}"
