"""An example, and the tables that hold its parts."""

from __future__ import annotations

from dataclasses import dataclass

from espnet_part.tasks import TASKS

TABLES = (
    *("utt2task", "utt2lang", "utt2tgt", "text", "src_text", "wav.scp", "segments"),
    *("utt2num_samples", "utt2spk", "feats.scp"),
)


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance of one task.

    Attributes:
        utt_id: unique over all directories of a run.
        task: a key of `tasks.TASKS`.
        lang: language heard or read, ISO 639-1/3.
        tgt: language written.
        text: the target; empty where a test set has no reference, or where nothing is said.
        src_text: what a task reads that reads text; else a transcript, where there is one.
        audio: an entry of ``wav.scp``; None for a task without speech.
        segment: (start, end) in seconds within ``audio``; None for the whole of it.
        num_samples: length at 16 kHz, None where unknown.
        spk: speaker.
        feats: ``path.ark:offset`` of the encoder's cached output.
    """

    utt_id: str
    task: str
    lang: str
    tgt: str
    text: str
    src_text: str | None = None
    audio: str | None = None
    segment: tuple[float, float] | None = None
    num_samples: int | None = None
    spk: str | None = None
    feats: str | None = None

    @property
    def transcript(self) -> str | None:
        """What is said, where that is known and the task reads nothing but speech."""
        task = TASKS[self.task]
        if task.transcribes:
            return self.text
        return self.src_text if task.speech and not task.text else None
