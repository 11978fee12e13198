"""The stages of part.sh: what each reads, where its marker is, and what it runs.

A key says what a result depends on; what an earlier stage made stands in it by content, so that data
made again and alike leave trainings as they are, and a training goes on with any number of GPUs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from espnet_part.data import formatting
from espnet_part.data.augmentation import read_factors
from espnet_part.data.text import TEXT_NORMALIZERS
from espnet_part.errors import ConfigError, UserError
from espnet_part.files import atomic_write
from espnet_part.model.config import ModelConfig
from espnet_part.recipe import keys, locks
from espnet_part.recipe.base_models import identify_base_models, identify_local, made_here
from espnet_part.recipe.decoding import join_shards, write_shards
from espnet_part.recipe.detached import Detached
from espnet_part.recipe.jobs import JobFailed, Jobs
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.mixtures import expected_mixtures
from espnet_part.recipe.options import RecipeOptions, read_options, split_words
from espnet_part.recipe.preflight import (
    Findings,
    check_data,
    check_decoding,
    check_packing,
    check_scoring,
    check_training,
)
from espnet_part.recipe.program import run_program
from espnet_part.recipe.report import is_report_old, show_written, update_report
from espnet_part.recipe.stages import (
    Piece,
    Runner,
    Stage,
    move_aside,
    read_product,
    write_run_script,
)

BEST = "valid.acc.ave.safetensors"


@dataclass(frozen=True, kw_only=True)
class PartOptions(RecipeOptions):
    """The options of part.sh; its --help explains them."""

    last_stage = 12

    detach: bool
    skip_data_prep: bool
    skip_train: bool
    skip_eval: bool
    skip_packing: bool
    local_data_opts: str
    local_base_models_opts: str
    audio_format: str
    max_bad_share: float
    min_wav_duration: float
    max_wav_duration: float
    max_text_chars: int
    train_text_normalizer: str
    speed_perturb_factors: str
    join_seconds: float
    filter_args: str
    model_config: str
    part_config: str
    part_tag: str
    part_args: str
    cache_features: bool
    extract_args: str
    decode_config: str
    inference_model: str
    inference_batch_size: str
    inference_args: str
    main_tag: str
    report_title: str
    with_base_models: bool
    hf_repo: str
    pack_args: str


class PartRecipe:
    """The directories of a recipe and its twelve stages."""

    def __init__(self, options: PartOptions) -> None:
        self.o = o = options
        self.stage_files = find_stage_files(o)
        self.tag = o.part_tag or _tag(o.part_config)
        self.main_tag = o.main_tag or self.tag
        self.exp = o.expdir / self.tag
        self.raw = o.dumpdir / "raw"
        self.org = self.raw / "org"
        self.model_name = Path(o.model_config).stem
        # token counts are those of the model's tokenizer
        self.stats = o.expdir / f"part_stats_{self.model_name}"
        self.features = o.dumpdir / f"encoder_{self.model_name}"
        self.decode_tag = decode_tag(o.decode_config, o.inference_model)
        self.decode_dir = self.exp / self.decode_tag
        self.last = self.exp / f"stage{max(self.stage_files)}"
        self.score_config = o.found_score_config()
        self.training_sets = list(dict.fromkeys([o.train_set, o.valid_set]))
        self.sets = list(dict.fromkeys([*self.training_sets, *o.tests]))
        self.local_bases: dict[str, str] | None = None  # see `_base_identity`
        self.jobs = Jobs(o)
        self.runner = Runner("part.sh", o, self.jobs, self.exp / "stage_times.jsonl")

        data, base = o.dumpdir / ".lock", o.expdir / f".{self.model_name}.lock"
        log = self.runner.log
        base_name = f"base models, statistics and features of {self.model_name}"
        self.write_data = partial(locks.writing, data, f"{o.dumpdir} (stages 1-3)", log)
        self.read_data = partial(locks.reading, data, f"{o.dumpdir} (stages 1-3)", log)
        self.write_base = partial(locks.writing, base, f"{base_name} (stages 4-6)", log)
        self.read_base = partial(locks.reading, base, f"{base_name} (stages 4-6)", log)

    def check(self) -> None:
        """Find out what is wrong with options and files, before anything is done.

        Raises:
            ConfigError: a line for everything that is wrong.
        """
        o, found = self.o, Findings()
        words = split_words(o.part_args, "--part_args")
        self.selectors_checked = check_training(found, self.stage_files, o.model_config, words)
        words = split_words(o.inference_args, "--inference_args")
        check_decoding(found, o.decode_config, words, o.model_config)
        check_scoring(found, self.score_config)
        check_packing(found, split_words(o.pack_args, "--pack_args"))
        found.add(self._limit_errors())
        found.add(self._augmentation_errors())
        found.raise_all()
        if self._data_stay():
            self._check_data()

    def _augmentation_errors(self) -> list[str]:
        try:
            read_factors(self.o.speed_perturb_factors)
        except ConfigError as error:
            return [f"--{error}"]
        if not 0 <= self.o.join_seconds <= self.o.max_wav_duration:
            return [
                f"--join_seconds {self.o.join_seconds:g}: must be between 0 and --max_wav_duration"
            ]
        return []

    def _data_stay(self) -> bool:
        """Whether this call leaves the data of stage 3 as they are."""
        if self.o.skip_data_prep or (self.o.stage or 0) > 3:
            return True
        if self.o.stage is not None:
            return False
        try:
            return all(p.is_done for stage in self.data_stages()[:3] for p in stage.pieces())
        except UserError:  # told when the stage's turn has come
            return False

    def _limit_errors(self) -> list[str]:
        o, errors = self.o, []
        if o.audio_format not in ("flac", "wav", "copy"):
            errors.append(f"--audio_format must be flac, wav or copy: {o.audio_format}")
        if o.train_text_normalizer not in TEXT_NORMALIZERS:
            known = ", ".join(TEXT_NORMALIZERS)
            errors.append(f"--train_text_normalizer must be {known}: {o.train_text_normalizer}")
        if not 0 <= o.max_bad_share <= 1:
            errors.append(f"--max_bad_share must lie between 0 and 1: {o.max_bad_share}")
        if not 0 <= o.min_wav_duration < o.max_wav_duration:
            errors.append(
                f"--min_wav_duration {o.min_wav_duration} must lie below --max_wav_duration "
                f"{o.max_wav_duration}"
            )
        if o.max_text_chars < 1:
            errors.append(f"--max_text_chars must be at least 1: {o.max_text_chars}")
        size = o.inference_batch_size
        if size and not (size.isascii() and size.isdigit() and int(size) > 0):
            errors.append(f"--inference_batch_size must be a number above 0: {size}")
        if Path(o.inference_model).suffix != ".safetensors":
            errors.append(f"--inference_model must be a .safetensors file: {o.inference_model}")
        if not o.tests:
            errors.append("--test_sets must name at least one set")
        return errors

    def _check_data(self) -> None:
        train, valid = self.raw / self.o.train_set, self.raw / self.o.valid_set
        if train.is_dir() and valid.is_dir():
            check_data(self.stage_files.values(), train, valid, self.runner.log)

    # ------------------------------------------------------------------------------- the stages

    def data_stages(self) -> list[Stage]:
        """Stages 1 to 6, which serve all experiments."""
        write_data = [self.write_data]
        write_base = [self.read_data, self.write_base]
        stages = [
            Stage(number=1, name="data preparation", pieces=self._prepare, locks=write_data),
            Stage(number=2, name="format audio", pieces=self._format, locks=write_data),
            Stage(
                number=3,
                name="filter",
                pieces=self._filter,
                locks=write_data,
                finish=self._check_data,
            ),
            Stage(number=4, name="base models", pieces=self._base_models, locks=write_base),
            Stage(
                number=5,
                name="statistics and mixture table",
                pieces=self._statistics,
                locks=write_base,
                finish=self._show_mixture,
            ),
        ]
        if self.o.cache_features:
            stages.append(
                Stage(number=6, name="encoder features", pieces=self._extract, locks=write_base)
            )
        return stages

    def training_stages(self) -> list[Stage]:
        """Stages 7 to 9: a stage of the schedule each."""
        return [
            Stage(
                number=n + 6,
                name=f"PART stage {n}",
                pieces=partial(self._train, n),
                locks=[self.read_data, self.read_base],
            )
            for n in self.stage_files
        ]

    def evaluation_stages(self) -> list[Stage]:
        """Stages 10 and 11."""
        return [
            Stage(
                number=10,
                name="decoding",
                pieces=self._decode,
                locks=[self.read_data, self.read_base],
            ),
            Stage(number=11, name="scoring", pieces=self._score, locks=[self.read_data]),
        ]

    def packing_stages(self) -> list[Stage]:
        """Stage 12."""
        locks = [self.read_data, self.read_base]
        return [Stage(number=12, name="packing", pieces=self._pack, locks=locks)]

    def run(self) -> None:
        """Run what is asked for.

        Raises:
            UserError: a stage failed.
        """
        o, log = self.o, self.runner.log
        if o.skip_data_prep:
            log("Skip data preparation (stages 1-6)")
        else:
            self._note_sets()
            for stage in self.data_stages():
                self.runner.run(stage)
                if stage.number == 4:
                    self._describe()
            if not o.cache_features and self.runner.selects(6):
                log("Stage 6: encoder features: not asked for (--cache_features true does)")
        if o.skip_train:
            log("Skip training (stages 7-9)")
        else:
            stages = {stage.number: stage for stage in self.training_stages()}
            for number in (7, 8, 9):
                if number in stages:
                    self.runner.run(stages[number])
                elif self.runner.selects(number):
                    log(f"Stage {number}: PART stage {number - 6}: not part of {o.part_config}")
        if o.skip_eval:
            log("Skip evaluation (stages 10-11)")
        else:
            for stage in self.evaluation_stages():
                self.runner.run(stage)
            scored = [self._marker(11, dset) for dset in o.tests]
            if self.runner.selects(11) and is_report_old(o.expdir, scored):
                self._report()
        if not o.skip_packing:
            for stage in self.packing_stages():
                self.runner.run(stage)
        elif o.stop_stage >= 12:
            log("Skip packing (stage 12; --skip_packing false makes one file that others can load)")
        if self.runner.done:
            done = " ".join(map(str, self.runner.done))
            log(f"stages that were done already: {done} (--stage N runs them again)")
        if (o.expdir / "RESULTS.md").is_file():
            log(f"results: {o.expdir}/RESULTS.md, {o.expdir}/results.json, {o.expdir}/figures")

    def _describe(self) -> None:
        """Check selectors that `check` could not, for a model that stage 4 has made or fetched."""
        trains = any(self.runner.selects(n + 6) for n in self.stage_files) and not self.o.skip_train
        if self.selectors_checked or not trains:
            return
        words = ["--config", *self.stage_files.values(), "--model_config", self.o.model_config]
        try:
            self.jobs.run_python(
                "espnet_part.bin.part_describe", *words, output=self.exp / "schedule.txt"
            )
        except JobFailed:  # it has said in a line what is wrong
            raise ConfigError(
                f"{self.o.part_config}: the schedule does not fit the model"
            ) from None
        self.selectors_checked = True

    # ------------------------------------------------------------------ what earlier stages made

    def _marker(self, number: int, name: str = "") -> Marker:
        """The marker of a stage, or of its piece ``name``."""
        if number <= 3:
            directory = self.o.dumpdir / ".done"
        elif number == 4:
            return Marker(self.o.expdir / ".done" / f"stage4_{self.model_name}")
        elif number == 5:
            directory = self.stats / ".done"
        elif number == 6:
            directory = self.features / ".done"
        elif number >= 10:
            directory = self.decode_dir / ".done"
        else:
            directory = self.exp / ".done"
        return Marker(directory / (f"stage{number}_{name}" if name else f"stage{number}"))

    def _prepared(self, dset: str) -> Any:
        """Identity of a set of stage 1."""
        made = read_product(self._marker(1), 1, lambda: _data_products(Path("data")))
        return made.get(dset, "missing")

    @property
    def _augments(self) -> bool:
        return bool(self.o.speed_perturb_factors.strip() or self.o.join_seconds)

    def _formatted(self, dset: str) -> Any:
        """Identity of a set of stage 2."""
        tested_alone = dset in self.sets and dset not in self.training_sets
        directory = (self.raw if tested_alone else self.org) / dset
        return read_product(self._marker(2, dset), 2, partial(_product_of, directory))

    def _filtered(self, dset: str) -> Any:
        """Identity of a set of stage 3."""
        return read_product(self._marker(3, dset), 3, partial(_product_of, self.raw / dset))

    def _base_identity(self) -> dict[str, str]:
        """Identity of the base models by the names that the model file has for them.

        Those of the hub are what stage 4 fetched; what lies here may have been made anew since.
        """
        fetched = read_product(
            self._marker(4), 4, lambda: identify_base_models(self.o.model_config)
        )
        if self.local_bases is None:
            self.local_bases = identify_local(self.o.model_config)
        return {**fetched, **self.local_bases}

    def _model_key(self) -> str:
        return keys.model_digest(self.o.model_config, self._base_identity())

    # ------------------------------------------------------------------------------ stages 1 to 6

    def _note_sets(self) -> None:
        """For baseline.sh, which takes the same sets."""
        path = self.o.dumpdir / ".done/sets"
        content = f"{self.o.train_set}\n{self.o.valid_set}\n{self.o.test_sets}\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            with atomic_write(path) as file:
                file.write(content)

    def _prepare(self) -> list[Piece]:
        script = Path("local/data.sh")

        def run() -> None:
            if not script.is_file() or not script.stat().st_mode & 0o100:
                raise ConfigError(f"{script} is missing or cannot be executed")
            words = split_words(self.o.local_data_opts, "--local_data_opts")
            log = self.o.dumpdir / "logs/data.log"
            self.jobs.run_or_launch(log, [script, *words], "prep_cmd", str(script))
            for dset in self.sets:
                if not Path("data", dset).is_dir():
                    raise ConfigError(f"stage 1: {script} did not make data/{dset}")

        return [
            Piece(
                marker=self._marker(1),
                key=keys.digest("data", self.o.local_data_opts, keys.file_digest(script)),
                makes=[Path("data", dset) for dset in self.sets],
                run=run,
                product=lambda: _data_products(Path("data")),
            )
        ]

    def _format(self) -> list[Piece]:
        o = self.o

        def run(dset: str, directory: Path) -> None:
            self.jobs.launch_split(
                directory.parent / f"logs/format_{dset}.log",
                "espnet_part.bin.part_format_data",
                Path("data", dset),
                *("--in_dir", f"data/{dset}", "--out_dir", directory),
                *("--audio_format", o.audio_format, "--max_bad_share", str(o.max_bad_share)),
                least=formatting.LEAST,
            )

        # training and validation sets are filtered next; test sets are used whole
        directories = {
            dset: (self.org if dset in self.training_sets else self.raw) / dset
            for dset in self.sets
        }
        pieces = [
            Piece(
                marker=self._marker(2, dset),
                key=keys.digest("format", *self._format_inputs(dset)),
                makes=[directory],
                run=partial(run, dset, directory),
                product=partial(_product_of, directory),
            )
            for dset, directory in directories.items()
        ]
        return pieces + ([self._augment()] if self._augments else [])

    def _format_inputs(self, dset: str) -> tuple[Any, ...]:
        return self.o.audio_format, self.o.max_bad_share, self._prepared(dset)

    def _augment(self) -> Piece:
        """More of the training set's speech, in org/<train_set>_sp.

        Its key has what formatting starts from: when this stage begins, its result is not there yet.
        """
        o, directory = self.o, self.org / f"{self.o.train_set}_sp"

        def run() -> None:
            self.jobs.launch(
                self.raw / f"logs/augment_{o.train_set}.log",
                "espnet_part.bin.part_augment_data",
                *("--in_dir", self.org / o.train_set, "--out_dir", directory, "--nj", str(o.nj)),
                *("--speed_perturb_factors", o.speed_perturb_factors),
                *("--join_seconds", str(o.join_seconds)),
            )

        how = (o.speed_perturb_factors.split(), o.join_seconds)
        return Piece(
            marker=self._marker(2, directory.name),
            key=keys.digest("augment", how, *self._format_inputs(o.train_set)),
            makes=[directory],
            run=run,
            product=partial(_product_of, directory),
        )

    def _filter(self) -> list[Piece]:
        o = self.o
        sources = {dset: dset for dset in self.training_sets}
        if self._augments:
            sources[o.train_set] = f"{o.train_set}_sp"
        limits = {
            "min_wav_duration": o.min_wav_duration,
            "max_wav_duration": o.max_wav_duration,
            "max_text_chars": o.max_text_chars,
            "text_normalizer": o.train_text_normalizer,
        }

        def run(dset: str) -> None:
            options = [word for name, value in limits.items() for word in (f"--{name}", str(value))]
            self.jobs.launch_split(
                self.raw / f"logs/filter_{dset}.log",
                "espnet_part.bin.part_filter_data",
                self.org / sources[dset],
                *("--in_dir", self.org / sources[dset], "--out_dir", self.raw / dset),
                *options,
                *split_words(o.filter_args, "--filter_args"),
            )
            kept, before = (_count(d / "text") for d in (self.raw / dset, self.org / sources[dset]))
            self.runner.log(f"{dset}: {kept} of {before} examples are kept")

        return [
            Piece(
                marker=self._marker(3, dset),
                key=keys.digest("filter", limits, o.filter_args, self._formatted(sources[dset])),
                makes=[self.raw / dset],
                run=partial(run, dset),
                product=partial(_product_of, self.raw / dset),
            )
            for dset in self.training_sets
        ]

    def _base_models(self) -> list[Piece]:
        o = self.o
        script = Path("local/base_models.sh")

        def run() -> None:
            words = [o.python, "-m", "espnet_part.recipe.base_models", o.model_config]
            if script.exists():
                given = split_words(o.local_base_models_opts, "--local_base_models_opts")
                words = [str(script), *given]
            log = o.expdir / f"logs/base_models_{self.model_name}.log"
            what = str(script) if script.exists() else ""
            self.jobs.run_or_launch(log, words, "prep_cmd", what)
            self.local_bases = None

        inputs: list[Any] = [keys.model_digest(o.model_config, {})]
        if script.exists():
            inputs += [o.local_base_models_opts, keys.file_digest(script)]
            inputs += [keys.file_digest(Path("conf/base_models.yaml"))]
            inputs += [read_product(self._marker(1), 1, lambda: _data_products(Path("data")))]
        made = self._marker(4).read()
        identities = made.product if made is not None else {}
        return [
            Piece(
                marker=self._marker(4),
                key=keys.digest("base models", *inputs),
                makes=made_here(o.model_config, identities),
                run=run,
                product=lambda: identify_base_models(o.model_config),
            )
        ]

    def _statistics(self) -> list[Piece]:
        def run(dset: str) -> None:
            self.jobs.launch_split(
                self.stats / f"logs/{dset}.log",
                "espnet_part.bin.part_collect_stats",
                self.raw / dset,
                *("--data_dir", self.raw / dset, "--model_config", self.o.model_config),
                *("--out_dir", self.stats / dset),
            )

        return [
            Piece(
                marker=self._marker(5, dset),
                # the index has where the audio lies, which `_filtered` leaves out
                key=keys.digest(
                    "statistics",
                    *(self._model_key(), self._filtered(dset)),
                    keys.file_digest(self.raw / dset / "wav.scp"),
                ),
                makes=[self.stats / dset / "text_tokens"],
                run=partial(run, dset),
            )
            for dset in self.training_sets
        ]

    def _show_mixture(self) -> None:
        o, directory = self.o, self.stats / self.o.train_set
        print((directory / "mixture.md").read_text(encoding="utf-8"))
        if not o.skip_train:
            words = split_words(o.part_args, "--part_args")
            files = self.stage_files.values()
            stats = directory / "mixture.json"
            print(expected_mixtures(stats, files, o.model_config, words), flush=True)

    def _extract(self) -> list[Piece]:
        o = self.o
        words = split_words(o.extract_args, "--extract_args")
        how = keys.decoding_digest("", words, keys.NEUTRAL_EXTRACTION)

        def run(dset: str) -> None:
            self.jobs.launch_on_gpus(
                self.features / f"logs/{dset}.log",
                "espnet_part.bin.part_extract_features",
                *("--data_dir", self.raw / dset, "--model_config", o.model_config),
                *("--out_dir", self.features / dset),
                *words,
            )

        def clear(dset: str) -> None:
            # features of other audio under the same names would be taken for this one's
            for path in (self.features / dset).glob("*"):
                if path.is_file():
                    path.unlink()

        return [
            Piece(
                marker=self._marker(6, dset),
                key=keys.digest("features", self._model_key(), how, self._filtered(dset)),
                makes=[self.features / dset / "feats.scp"],
                run=partial(run, dset),
                clear=partial(clear, dset),
                product=lambda: keys.digest("features", self._model_key(), how),
            )
            for dset in self.training_sets
        ]

    # ------------------------------------------------------------------------------ stages 7 to 9

    def _before(self, n: int) -> int | None:
        """The stage of the schedule that stage ``n`` starts from."""
        return max((m for m in self.stage_files if m < n), default=None)

    def _train(self, n: int) -> list[Piece]:
        o, stage_file, directory = self.o, self.stage_files[n], self.exp / f"stage{n}"
        words = split_words(o.part_args, "--part_args")
        before = self._before(n)
        cached = o.cache_features and n == 1
        for dset in self.training_sets:
            if not (self.raw / dset).is_dir():
                raise ConfigError(f"{self.raw / dset} is missing; run stages 1-3 first")
        inputs = {
            "stage": n,
            "schedule": keys.training_digest(stage_file, words),
            "model": self._model_key(),
            "seed": o.seed,
            "train": self._filtered(o.train_set),
            "valid": self._filtered(o.valid_set),
        }
        if before is not None:
            initial = self.exp / f"stage{before}" / BEST
            compute = partial(keys.file_digest, initial)
            inputs["initial"] = read_product(self._marker(before + 6), before + 6, compute)
        if cached:
            inputs["features"] = [
                read_product(self._marker(6, dset), 6) for dset in self.training_sets
            ]
            for piece in self._extract():
                if piece.marker.read() is not None and not piece.is_done:
                    raise ConfigError(
                        f"{piece.makes[0].parent}: features of other audio or of another encoder; run "
                        "stage 6 first (--stage 6 --stop_stage 6)"
                    )

        def ready() -> None:
            if before is not None:
                check_initial(initial, o.model_config)

        def run() -> None:
            statistics = zip(self.training_sets, self._statistics(), strict=True)
            counted = {dset for dset, piece in statistics if piece.is_done}
            options = ["--config", stage_file, "--model_config", o.model_config]
            for split, dset in (("train", o.train_set), ("valid", o.valid_set)):
                options += [f"--{split}_data_dir", str(self.raw / dset)]
            options += ["--seed", str(o.seed), "--resume", "true", "--output_dir", str(directory)]
            if before is not None:
                options += ["--part_init", str(initial)]
            for split, dset in (("train", o.train_set), ("valid", o.valid_set)):
                # without stage 5 of these data, the training counts the tokens itself
                if dset in counted:
                    options += [f"--{split}_shape_file", str(self.stats / dset / "text_tokens")]
                    if (self.stats / dset / "index").is_dir():  # else of an earlier version
                        options += [f"--{split}_index_dir", str(self.stats / dset / "index")]
                if cached:
                    options += [f"--{split}_feats_dir", str(self.features / dset)]
            if directory.exists():
                self.runner.log(f"going on with the interrupted training in {directory}")
            write_run_script(directory, o, n + 6)
            self.runner.log(f"training started; log: {directory}/train.log")
            title = f"{self.tag}_stage{n}"
            self.jobs.train(directory, title, "espnet_part.bin.part_train", [*options, *words])

        return [
            Piece(
                marker=self._marker(n + 6),
                key=keys.digest("train", inputs),
                makes=[directory / BEST],
                run=run,
                ready=ready,
                clear=partial(move_aside, directory, self.runner.log),
                product=lambda: keys.file_digest(directory / BEST),
            )
        ]

    # ---------------------------------------------------------------------------- stages 10 to 12

    def _weights(self) -> Any:
        """Identity of the trained weights."""
        number = max(self.stage_files) + 6
        compute = partial(keys.file_digest, self.last / self.o.inference_model)
        return read_product(self._marker(number), number, compute)

    def _decode(self) -> list[Piece]:
        o, model = self.o, self.last / self.o.inference_model
        words = split_words(o.inference_args, "--inference_args")
        if not model.exists():
            raise ConfigError(f"{model} is missing; run the training first")
        inputs = {
            "search": keys.decoding_digest(o.decode_config, words, keys.NEUTRAL_DECODING),
            "weights": [o.inference_model, self._weights()],
            "model": self._model_key(),
        }
        options = ["--config", o.decode_config] if o.decode_config else []
        if o.inference_batch_size:
            options += ["--batch_size", o.inference_batch_size]
        launcher, device = self.jobs.decoder()

        def run(dset: str) -> None:
            data, directory = self.raw / dset, self.decode_dir / dset
            logdir = directory / "logdir"
            count = write_shards(data / "text", logdir, o.inference_nj)
            total = _count(data / "text")
            self.runner.log(
                f"decoding {dset} ({total} examples) in {count} jobs; log: {logdir}/inference.*.log"
            )
            command = [o.python, "-m", "espnet_part.bin.part_inference"]
            command += ["--part_train_config", str(self.last / "config.yaml")]
            command += ["--part_model_file", str(model), "--data_dir", str(data)]
            command += ["--key_file", str(logdir / "keys.JOB.scp")]
            command += ["--output_dir", str(logdir / "output.JOB"), "--num_threads", "1"]
            command += [*options, *words, *device]
            self.jobs.launch_array(launcher, logdir / "inference.JOB.log", count, command)
            missing = join_shards(directory)
            if missing:
                self.runner.log(
                    f"warning: {dset}: {len(missing)} of {total} examples could not be decoded; "
                    f"they are named in {logdir}/output.*/failed.tsv"
                )

        pieces = []
        for dset in o.tests:
            if not (self.raw / dset / "text").is_file():
                raise ConfigError(f"{self.raw / dset}/text is missing; run stages 1-3 first")
            directory = self.decode_dir / dset
            pieces.append(
                Piece(
                    marker=self._marker(10, dset),
                    key=keys.digest("decode", inputs, self._formatted(dset)),
                    makes=[directory / "text"],
                    run=partial(run, dset),
                    clear=partial(_remove_tree, directory / "logdir"),
                    product=partial(keys.file_digest, directory / "text"),
                )
            )
        return pieces

    def _score(self) -> list[Piece]:
        o = self.o
        settings = keys.decoding_digest(self.score_config, [], frozenset())

        def run(dset: str) -> None:
            directory = self.decode_dir / dset
            # The references of stage 1: an utterance whose audio stage 2 could not use counts as
            # missing.
            options = ["--ref_dir", f"data/{dset}", "--hyp_dir", str(directory), "--name", self.tag]
            options += ["--checkpoint", str(self.last / o.inference_model)]
            if self.score_config:
                options += ["--config", self.score_config]
            # lengths of the formatted audio show outputs that are longer than the speech
            lengths = self.raw / dset / "utt2num_samples"
            if lengths.is_file():
                options += ["--utt2num_samples", str(lengths)]
            self.jobs.launch(directory / "score.log", "espnet_part.bin.part_score", *options)

        pieces = []
        for dset in o.tests:
            if not (self.decode_dir / dset / "logdir").is_dir():
                raise ConfigError(f"{self.decode_dir / dset} is missing; run stage 10 first")
            decoded = read_product(self._marker(10, dset), 10)
            inputs = [settings, self.main_tag, o.report_title, self.tag, decoded]
            pieces.append(
                Piece(
                    marker=self._marker(11, dset),
                    key=keys.digest("score", *inputs, self._prepared(dset)),
                    makes=[self.decode_dir / dset / "score.json"],
                    run=partial(run, dset),
                    product=partial(keys.file_digest, self.decode_dir / dset / "score.json"),
                )
            )
        return pieces

    def _report(self) -> None:
        o = self.o
        with atomic_write(o.expdir / ".done/report") as file:
            lines = [self.main_tag, self.decode_tag, o.report_title, *self._report_data()]
            file.writelines(f"{line}\n" for line in lines)
        log = self.exp / "report.log"
        try:
            update_report(self.jobs, o.python, o.expdir, log, self.runner.log)
        except JobFailed as failure:
            raise self.runner.failure(11, "report", failure) from None
        print((o.expdir / "RESULTS.md").read_text(encoding="utf-8"), end="", flush=True)
        show_written(log, self.runner.log)

    def _report_data(self) -> Iterator[str]:
        """Each data set with its directories, from the prepared to the one that is used."""
        for dset in self.sets:
            directories = [Path("data", dset), self.org / dset, self.raw / dset]
            there = [str(directory) for directory in directories if directory.is_dir()]
            if there:
                yield f"{dset}={','.join(there)}"

    def _pack(self) -> list[Piece]:
        o, model = self.o, self.last / self.o.inference_model
        archive = self.exp / f"{self.tag}_{Path(o.inference_model).stem}.zip"

        def run() -> None:
            if not model.exists():
                raise ConfigError(f"{model} is missing; run the training first")
            options = ["--part_train_config", str(self.last / "config.yaml")]
            options += ["--part_model_file", str(model), "--outpath", str(archive)]
            options += ["--with_base_models", str(o.with_base_models).lower()]
            optional: list[tuple[str, str | Path, Callable[[Path], bool]]] = [
                ("results", o.expdir / "RESULTS.md", Path.is_file),
                ("result_dir", self.decode_dir, Path.is_dir),
                ("decode_config", o.decode_config, Path.is_file),
                ("score_config", self.score_config, Path.is_file),
                ("corpus_info", f"data/{o.train_set}/corpus.json", Path.is_file),
            ]
            for name, path, is_there in optional:
                if path and is_there(Path(path)):
                    options += [f"--{name}", str(path)]
            if o.hf_repo:
                options += ["--hf_repo", o.hf_repo]
            options += split_words(o.pack_args, "--pack_args")
            command = [o.python, "-m", "espnet_part.bin.part_pack", *options]
            self.jobs.run_or_launch(self.exp / "pack.log", command, "train_cmd", "packing")
            self.runner.log(f'packed: {archive}; Speech2Text.from_pretrained("{archive}") loads it')

        inputs = {
            "options": [o.with_base_models, o.inference_model, o.hf_repo, o.pack_args],
            "weights": self._weights(),
            "scores": [read_product(self._marker(11, dset), 11) for dset in o.tests],
        }
        return [
            Piece(
                marker=self._marker(12),
                key=keys.digest("pack", inputs),
                makes=[archive],
                run=run,
            )
        ]


def check_initial(weights: Path, model_file: str) -> None:
    """Refuse weights of the stage before that the model cannot start from.

    Raises:
        UserError: they are missing or damaged, or were trained in a model with other settings.
    """
    from espnet_part.model.function import function_digests  # these load PyTorch
    from espnet_part.train.checkpoint import check_function
    from espnet_part.weights import read_header

    if not weights.exists():
        raise ConfigError(f"{weights} is missing; run the stage before first")
    model = ModelConfig.load(model_file)
    metadata, names = read_header(weights)
    check_function(function_digests(model), metadata.get("function", {}), names, weights)


def find_stage_files(options: PartOptions) -> dict[int, str]:
    """The stage files of the schedule by their numbers.

    Raises:
        ConfigError: no such directory, or none in it.
    """
    directory = Path(options.part_config)
    if not options.part_config or not directory.is_dir():
        raise ConfigError(f"--part_config {options.part_config}: no such directory")
    files = {n: directory / f"stage{n}.yaml" for n in (1, 2, 3)}
    found = {
        n: f"{options.part_config.rstrip('/')}/{p.name}" for n, p in files.items() if p.is_file()
    }
    if not found:
        raise ConfigError(
            f"--part_config {options.part_config}: has none of stage1.yaml, stage2.yaml, stage3.yaml"
        )
    return found


def _tag(part_config: str) -> str:
    """conf/two_stage: two_stage."""
    return Path(part_config).absolute().name


def decode_tag(config: str, model: str) -> str:
    """The name of a decoding's directory: that of its options, and of weights that are not the usual ones."""
    tag = "decode_greedy"
    if config:
        tag = Path(config).stem
        tag = tag if tag.startswith("decode") else f"decode_{tag}"
    return tag if model == BEST else f"{tag}_{model.removesuffix('.safetensors')}"


def _data_products(root: Path) -> dict[str, str]:
    """Identity of every data directory below ``root``."""
    if not root.is_dir():
        return {}
    directories = sorted({path.parent for path in root.glob("*/*") if path.is_file()})
    return {path.name: keys.data_digest(path) for path in directories}


def _product_of(directory: Path) -> str:
    return keys.data_digest(directory) if directory.is_dir() else "missing"


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _remove_tree(path: Path) -> None:
    import shutil

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def main(words: Sequence[str]) -> None:
    def work(running: Callable[[Runner], None]) -> None:
        options = read_options(PartOptions, words)
        options.check()
        recipe = PartRecipe(options)
        recipe.check()
        detached = Detached(recipe.exp, options.launchers["cuda_cmd"])
        if options.detach:
            detached.start(options.command, recipe.tag)
            return
        if detached.is_another():
            sys.exit(detached.follow())
        running(recipe.runner)
        lock = recipe.exp / ".lock"
        with locks.experiment_lock(lock, str(recipe.exp)) as descriptor:
            recipe.jobs.held.append(descriptor)
            recipe.run()

    run_program("part.sh", work)


if __name__ == "__main__":
    main(sys.argv[1:])
