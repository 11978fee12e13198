"""Report all faults of data directories at once."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

from espnet_part.command import HelpFormatter, command, count, str2bool


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_validate_data",
        description="Checks data directories and reports everything that is wrong in them at once: "
        "a count and the first cases of each kind of fault. Exit status 1 if there is any.",
        epilog="files of a data directory: utt2task (asr, s2tt or t2tt), utt2lang (language heard "
        "or read), utt2tgt (language written), text (the target), wav.scp [segments] for speech, "
        "src_text for text tasks; optional utt2spk, utt2num_samples. One line an utterance: "
        "`id value`. Several directories are checked as one data set: ids must be unique over "
        "them.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("data_dir", nargs="+", metavar="DIR", help="data directory")
    parser.add_argument(
        "--check_audio",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="also read every audio file (slow)",
    )
    parser.add_argument(
        "--need_text",
        type=str2bool,
        default=True,
        metavar="true|false",
        help="false for test sets without references",
    )
    parser.add_argument("--nj", type=count, default=4, help="processes for --check_audio")
    parser.add_argument("--shown", type=int, default=5, help="cases shown of each kind of fault")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.data.datadir import DataDir, report_faults
    from espnet_part.errors import DataError

    examples, faults = DataDir.combine(args.data_dir, need_text=args.need_text)
    if args.check_audio:
        from espnet_part.data.audio_jobs import check_audio

        faults += check_audio(examples, args.nj)
    where = " ".join(args.data_dir)
    bad = {fault.utt_id for fault in faults if fault.utt_id}
    good = [example for example in examples if example.utt_id not in bad]
    tasks = Counter(example.task for example in good)
    by_task = ", ".join(f"{task} {count}" for task, count in sorted(tasks.items()))
    print(f"{where}: {len(good)} usable examples" + (f" ({by_task})" if by_task else ""))
    if not examples and not faults:
        raise DataError(f"{where}: no example")
    if faults:
        print(report_faults(faults, args.shown))
        raise DataError(f"{where}: {len(faults)} faults, {len(bad)} utterances are unusable")


if __name__ == "__main__":
    main()
