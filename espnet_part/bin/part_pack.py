"""Pack a trained model into one archive."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import command
from espnet_part.pack.arguments import get_parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
    from espnet_part.errors import DataError

    optional = (args.results, args.score_config, args.decode_config)
    for path in (*filter(None, optional), *(args.corpus_info or [])):
        if not Path(path).is_file():
            raise DataError(f"{path}: no such file")

    if args.hf_repo:
        from espnet_part.pack.hub import check_repo

        check_repo(args.hf_repo)
    from espnet_part.pack.package import Extras, pack
    from espnet_part.pack.stored import choose_model

    # absolute, so that it is never a name of the hub
    own = Path(args.model).absolute() if args.model else None
    model = choose_model(own, args.part_train_config, args.part_model_file)
    archive = Path(args.outpath)
    names = pack(
        model.config,
        model.weights,
        archive,
        args.with_base_models,
        Extras(
            results=_path(args.results),
            result_dir=_path(args.result_dir),
            score_config=_path(args.score_config),
            decode_config=_path(args.decode_config),
            corpora=[Path(path) for path in args.corpus_info] if args.corpus_info else None,
            licence=args.license,
            title=args.title,
            repo=args.hf_repo,
        ),
    )
    print(f"{archive}: {len(names)} files, {archive.stat().st_size / 1e6:.1f} MB")
    for name in names:
        print(f"  {name}")
    if args.hf_repo:
        from espnet_part.pack.hub import upload

        address = upload(archive, args.hf_repo, args.hf_private)
        if address:
            print(f"uploaded: {address}")


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


if __name__ == "__main__":
    main()
