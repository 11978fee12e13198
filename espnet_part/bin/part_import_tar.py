"""Make a data directory of tar shards in WebDataset's layout."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_part.command import HelpFormatter, command, str2bool


def get_parser() -> argparse.ArgumentParser:
    from espnet_part.corpora.records import add_options

    parser = argparse.ArgumentParser(
        prog="part_import_tar",
        description="Makes a data directory of tar shards in WebDataset's layout. The audio stays where it "
        "is: wav.scp says SHARD.tar:OFFSET:SIZE. A sample is one file of audio with a text beside it "
        "(KEY.flac KEY.txt KEY.json ...). A FIELD is the end of such a file's name (txt), or a value in the "
        "JSON (json.text, json.custom.text); of several with commas the first that is there is taken. What "
        "cannot be used is named in OUT/dropped.tsv and counted in OUT/corpus.md. An index beside each "
        "shard (SHARD.idx, of wds2idx) is read, or written where there is none.",
        epilog="examples:\n"
        "  part_import_tar --shards 'shards/train-{000000..000127}.tar' --lang de --out data/train\n"
        "  part_import_tar --shards 's3://bucket/train-{000..127}.tar' --out data/train --task asr,s2tt \\\n"
        "      --text_from json.text --lang_from json.lang --translation en=json.english\n",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--shards",
        required=True,
        nargs="+",
        metavar="TAR",
        help="tars, not compressed: paths, patterns with * or {000..127}; s3://, gs://, http(s)://",
    )
    add_options(
        parser,
        text="txt,json.text",
        lang="json.language,json.lang",
        spk="json.speaker,json.spk",
    )
    parser.add_argument(
        "--shard_prefix",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="ids begin with the shard's name; for samples whose keys come again in other shards",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.corpora.records import read_options, write_records
    from espnet_part.corpora.webdataset import find_shards, read_shards

    fields, shards = read_options(args), find_shards(args.shards)
    records = read_shards(shards, args.shard_prefix)
    print(write_records(f"{len(shards)} tar shards", records, fields, args.out).summary())


if __name__ == "__main__":
    main()
