"""What was spent: time, memory and throughput of each phase, of decoding, and of the recipe's stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from espnet_part.document import Heading, Paragraph, Table
from espnet_part.report.history import Interval, by_phase
from espnet_part.report.page.parts import Part
from espnet_part.report.results import Results
from espnet_part.report.systems import System
from espnet_part.report.training_tables import stage_table


def cost_parts(results: Results) -> list[Part]:
    """Tables of phases, decodings and stages, as far as there are any."""
    parts: list[Part] = []
    if results.histories:
        parts += [Heading(3, "Training, by phase"), phase_table(results.histories)]
        parts.append(
            Paragraph(
                "Time of the steps, without validation. Memory, where it was measured, is the most that a "
                "process had taken until the phase ended."
            )
        )
    decoded = decoding_table(results.systems)
    if decoded:
        parts += [Heading(3, "Decoding, all jobs together"), decoded]
    if results.stages:
        parts += [Heading(3, "Stages of the recipe"), stage_table(results.stages)]
    return parts or [Paragraph("Nothing is known: there is no history of a training.")]


def phase_table(histories: Mapping[str, Sequence[Interval]]) -> Table:
    """A row a phase, with what is known of any."""
    header = ["system", "training", "phase", "steps", "time", "s/step", "answer tokens/s"]
    header += ["audio-s/s", "padding", "memory (GB)", "GPU memory (GB)"]
    rows = []
    for name, intervals in histories.items():
        for run in by_phase(intervals):
            seconds, padding = run.mean("train_time"), run.mean("padding_share")
            rows.append(
                [
                    name,
                    run.training,
                    run.phase,
                    str(run.steps),
                    duration(run.seconds),
                    _shown(seconds, 3),
                    _shown(_per(run.mean("tokens"), seconds), 0),
                    _shown(_per(run.mean("audio_seconds"), seconds), 1),
                    "-" if math.isnan(padding) else f"{100 * padding:.0f} %",
                    _shown(run.process_memory, 2),
                    _shown(run.gpu_memory, 1),
                ]
            )
    known = [n for n in range(len(header)) if any(row[n] != "-" for row in rows)]
    return Table([header[n] for n in known], [[row[n] for n in known] for row in rows])


def decoding_table(systems: Sequence[System]) -> Table:
    """A row a system whose decoding left its times."""
    rows = [
        [
            system.name,
            f"{system.decoding['audio_seconds']:.0f}",
            f"{system.decoding['decode_seconds']:.0f}",
            f"{system.decoding['rtf']:.3f}",
        ]
        for system in systems
        if system.decoding
    ]
    return Table(["system", "seconds of audio", "seconds", "real-time factor"], rows)


def duration(seconds: float) -> str:
    """Time for a person: "47 s", "12 min 5 s", "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds else math.nan


def _shown(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
