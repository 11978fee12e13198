"""Make a data directory of lhotse's manifests."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_part.command import HelpFormatter, command


def get_parser() -> argparse.ArgumentParser:
    from espnet_part.corpora.records import add_options

    parser = argparse.ArgumentParser(
        prog="part_import_lhotse",
        description="Makes a data directory of lhotse's manifests: of cuts (Shar's, too: recording.N.tar is "
        "read where it is), or of supervisions and recordings. lhotse need not be installed. A supervision "
        "is an utterance. A FIELD is one of its values (text, language, custom.english), or one of the "
        "cut's (cut.custom.english); of several with commas the first that is there is taken. What a data "
        "directory cannot say (mixes, padding, several channels, audio that is changed when it is read, "
        "commands as sources) is named in OUT/dropped.tsv and counted in OUT/corpus.md.",
        epilog="examples:\n"
        "  part_import_lhotse --cuts cuts_train.jsonl.gz --out data/train\n"
        "  part_import_lhotse --cuts 'shar/cuts.{000000..000127}.jsonl.gz' --out data/train --lang de \\\n"
        "      --task asr,s2tt --translation en=custom.english\n"
        "  part_import_lhotse --supervisions supervisions.jsonl.gz --recordings recordings.jsonl.gz \\\n"
        "      --audio_root /corpora/x --out data/train\n",
        formatter_class=HelpFormatter,
    )
    for option, said in [
        ("--cuts", "manifests of cuts: paths, patterns with * or {000..127}"),
        ("--supervisions", "manifests of supervisions, in place of --cuts"),
        ("--recordings", "manifests of recordings, for --supervisions and for cuts that hold none"),
    ]:
        parser.add_argument(option, nargs="+", default=[], metavar="JSONL", help=said)
    parser.add_argument(
        "--audio_root", default="", metavar="DIR", help="what relative paths are relative to"
    )
    add_options(parser, text="text", lang="language", spk="speaker")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    if bool(args.cuts) == bool(args.supervisions):
        parser.error("give either --cuts or --supervisions")
    if args.supervisions and not args.recordings:
        parser.error("--supervisions needs --recordings")
    from espnet_part.corpora.lhotse import read_cuts, read_supervisions
    from espnet_part.corpora.patterns import find_files
    from espnet_part.corpora.records import read_options, write_records

    fields = read_options(args)
    recordings = find_files("--recordings", args.recordings)
    if args.cuts:
        records = read_cuts(find_files("--cuts", args.cuts), recordings, args.audio_root)
    else:
        manifests = find_files("--supervisions", args.supervisions)
        records = read_supervisions(manifests, recordings, args.audio_root)
    print(write_records("lhotse's manifests", records, fields, args.out).summary())


if __name__ == "__main__":
    main()
