"""Transcribe or translate audio files with a trained model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, str2bool
from espnet_part.decode.arguments import (
    MODEL,
    add_device_argument,
    add_search_arguments,
    add_window_arguments,
    load_model,
    search_settings,
    window_settings,
)
from espnet_part.tasks import ASR, TASKS


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_transcribe",
        description="Writes what is said in audio files (--task asr), or its translation (--task "
        "s2tt). Files may be of any length, sampling rate and number of channels: wav, flac, mp3, "
        "ogg, opus, aiff and more by itself, m4a, mp4, webm, wma and others where ffmpeg is "
        "installed. They are cut into windows at silences; long silences are skipped.",
        epilog="""examples:
  part_transcribe talk.mp3 --model exp/part --lang de
  part_transcribe talks/ --model exp/part --langs de,en --format json
  part_transcribe talk.mp3 --model model.zip --task s2tt --lang de --to en --format srt --out talk.srt
  part_transcribe recordings/ --model owner/name --lang ja --format json --out transcripts/

A directory is searched for audio, and what is in its directories. With --out DIR/ each file has a
result of its own in DIR. A file that cannot be read is named, the others go on, and the exit
status is 1.""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "audio", nargs="+", metavar="FILE_OR_DIR", help="audio files, and directories of them"
    )
    parser.add_argument(
        "--model",
        required=True,
        help=MODEL,
    )
    parser.add_argument(
        "--task",
        choices=[name for name, task in TASKS.items() if task.speech and not task.text],
        default=ASR.name,
        help="transcribe or translate",
    )
    spoken = parser.add_mutually_exclusive_group()
    spoken.add_argument(
        "--lang",
        metavar="CODE",
        help="language spoken, such as de (ISO 639-1, else 639-3); by default that of each file is "
        "detected, among those that the model was trained to transcribe",
    )
    spoken.add_argument("--langs", metavar="CODES", help="detected among these alone: de,en")
    parser.add_argument("--to", metavar="CODE", help="language to be written, of a translation")
    asked = parser.add_argument_group("what the LLM is told")
    asked.add_argument(
        "--context",
        metavar="TEXT",
        default="",
        help="what may be said, such as 'Names: Nguyen, Kraków': a line before the prompt; a model "
        "that was not trained with such lines may take it for what is said",
    )
    asked.add_argument(
        "--prompt",
        metavar="TEMPLATE",
        help="in place of the model's own, such as '{speech} Write down the {lang} speech.'; as in "
        "conf/prompts.yaml",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--format",
        choices=("text", "json", "srt", "vtt"),
        default="text",
        help="text: a line a file, behind its name where there are several; json: also "
        "the windows with times and scores; srt, vtt: subtitles",
    )
    output.add_argument(
        "--out",
        metavar="FILE_OR_DIR",
        help="a file for all, or (existing, or ending in /) a directory with a file for each; by "
        "default standard output",
    )
    output.add_argument(
        "--timestamps",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="text: a line a window with its time, in place of a line a file",
    )
    output.add_argument(
        "--word_times",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="json: also when each word is said; for adapters that hear by CTC",
    )
    windows = parser.add_argument_group("windows")
    add_window_arguments(windows)
    decoding = parser.add_argument_group("decoding")
    add_device_argument(decoding)
    add_search_arguments(decoding)
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=args.log_level.upper(), format="%(levelname)s: %(message)s")
    from espnet_part.data.prompts import parse_wording
    from espnet_part.decode.direction import Direction
    from espnet_part.decode.language import check_language, language_pair
    from espnet_part.decode.word_times import check_hears, check_spoken
    from espnet_part.errors import ConfigError, DataError

    # everything that can be wrong without the model is told before it is loaded
    prompt = None if args.prompt is None else parse_wording(args.prompt, args.task, "--prompt")
    languages = language_pair(args.task, args.lang, args.to)
    if args.word_times:
        check_spoken(args.task)
        if args.format != "json":
            raise ConfigError("--word_times: only --format json has times of words")
    direction = Direction(args.task, *languages, prompt, args.context, args.word_times)
    langs = (
        [check_language(code, "--langs") for code in args.langs.split(",")] if args.langs else []
    )
    search, windows = search_settings(args), window_settings(args)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from espnet_part.decode.audio_file import find_audio
    from espnet_part.decode.detect import candidates
    from espnet_part.decode.transcribe import fit_windows, probe_files, transcribe
    from espnet_part.decode.transcripts import Output
    from espnet_part.pack.stored import find_model

    found, failed = find_audio([Path(name) for name in args.audio])
    count = len(found) + len(failed)
    settings = {"model": args.model, "task": args.task, "lang": direction.lang, "to": direction.tgt}
    settings |= {key: value for key in ("prompt", "context") if (value := getattr(args, key))}
    output = Output(args.format, args.out, found, settings, args.timestamps)
    files, unreadable = probe_files(found)
    failed += unreadable
    for path, reason in failed:
        logging.warning("%s: %s", path, reason)
    if files:
        model = load_model(find_model(args.model), args, search)
        if direction.words:
            check_hears(model)
        if not direction.lang:
            langs = candidates(model.trained_on, direction, langs)
        elif strange := model.why_strange(*direction.stratum):
            logging.warning("%s", strange)
        windowing = fit_windows(model, direction, windows, langs)
        with logging_redirect_tqdm():  # lines above the bar, not through it
            for transcript in transcribe(files, model, direction, windowing, langs):
                output.add(transcript)
                if transcript.error is not None:
                    failed.append((transcript.file.path, transcript.error))
        output.close()
    if failed:
        names = "".join(f"\n  {path}: {reason}" for path, reason in failed)
        raise DataError(f"{len(failed)} of {count} could not be transcribed:{names}")


if __name__ == "__main__":
    main()
