"""The stages of baseline.sh: stock ESPnet models on the data that part.sh has formatted."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from espnet_part.baseline.directories import ESPNET_TASKS
from espnet_part.errors import ConfigError, UserError
from espnet_part.files import atomic_write
from espnet_part.kaldi import read_table
from espnet_part.recipe import keys, locks
from espnet_part.recipe.jobs import JobFailed, Jobs
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.options import RecipeOptions, read_options, split_words
from espnet_part.recipe.preflight import Findings, check_scoring
from espnet_part.recipe.program import run_program
from espnet_part.recipe.report import is_report_old, show_written, update_report
from espnet_part.recipe.stages import (
    Piece,
    Runner,
    Stage,
    deal_out,
    move_aside,
    read_product,
    write_run_script,
)

_ERROR_RATES = ("report_cer", "report_wer")
#: Libraries that ESPnet 202611 leaves to extras (Python 3.13 has no wheel of editdistance), and the
#: settings of the model that need them: each is only a figure in the log of a training.
_LOGGED: dict[str, dict[str, tuple[str, ...]]] = {
    "asr": {"editdistance": _ERROR_RATES},
    "st": {"editdistance": _ERROR_RATES, "nltk": ("report_bleu",)},
}


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(RecipeOptions):
    """The options of baseline.sh; its --help explains them."""

    last_stage = 7

    tasks: str
    data_command: str
    extra_asr_dirs: str
    nbpe: int
    bpe_char_cover: float
    asr_config: str
    st_config: str
    asr_args: str
    st_args: str
    feats_normalize: str
    asr_tag: str
    st_tag: str
    st_init: str
    asr_decode_config: str
    st_decode_config: str
    inference_model: str
    force_language: bool

    @property
    def initial_parts(self) -> list[str]:
        """The parts of the ASR model that the ST model starts from."""
        return [] if self.st_init == "none" else self.st_init.split()


class BaselineRecipe:
    """The directories of the stock models, and the seven stages."""

    def __init__(self, options: BaselineOptions) -> None:
        self.o = o = options
        self.train_set, self.valid_set, self.tests = _sets(o)
        self.raw = o.dumpdir / "raw"
        self.data = o.dumpdir / "espnet"  # what the stock tasks read
        self.tokens = self.data / f"tokens_bpe{o.nbpe}"
        self.score_config = o.found_score_config()
        self.configs = {"asr": o.asr_config, "st": o.st_config}
        self.args = {"asr": o.asr_args, "st": o.st_args}
        self.decode_configs = {"asr": o.asr_decode_config, "st": o.st_decode_config}
        self.exp = {"asr": o.expdir / o.asr_tag, "st": o.expdir / o.st_tag}
        self.init = o.initial_parts
        self.available, self.asked = self._tasks()
        check_files(o, self.asked)
        self.jobs = Jobs(o)
        self.runner = Runner("baseline.sh", o, self.jobs, self.data / "stage_times.jsonl")
        lock = partial(
            locks.reading, o.dumpdir / ".lock", f"{o.dumpdir} (stages 1-3)", self.runner.log
        )
        self.read_data = [lock]

    # -------------------------------------------------------------------------------- before all

    def _tasks(self) -> tuple[list[str], list[str]]:
        """The baselines that the training set has data for, and those asked for."""
        for dset in (self.train_set, self.valid_set, *self.tests):
            if not (self.raw / dset / "utt2task").is_file():
                raise ConfigError(
                    f"{self.raw / dset} is missing; run stages 1 to 3 of the recipe first (./run.sh "
                    "--stop_stage 3), or name the sets by --train_set, --valid_set, --test_sets"
                )
        there = set(read_table(self.raw / self.train_set / "utt2task").values())
        available = [task for task, kind in ESPNET_TASKS.items() if kind.name in there]
        asked = self.o.tasks.split() or available
        directory = self.raw / self.train_set
        if not asked:
            raise ConfigError(f"{directory} has examples neither of asr nor of s2tt")
        for task in asked:
            if task not in available:
                raise ConfigError(
                    f"--tasks {task}: {directory} has no example of the task {ESPNET_TASKS[task].name}"
                )
        return available, [task for task in ESPNET_TASKS if task in asked]

    # --------------------------------------------------------------------------------- the stages

    def stages(self) -> list[Stage]:
        """All stages in their order; some are one for each task."""
        stages = [
            Stage(
                number=1,
                name=f"examples for {task}",
                pieces=partial(self._select, task),
                locks=self.read_data,
            )
            for task in self.available
        ]
        locked = partial(Stage, locks=self.read_data)  # audio stays in dump/raw
        stages.append(locked(number=2, name="subwords", pieces=self._subwords))
        for task in self.asked:
            stages.append(
                locked(
                    number=3, name=f"statistics for {task}", pieces=partial(self._statistics, task)
                )
            )
        for task in self.asked:
            number = 4 if task == "asr" else 5
            stages.append(
                locked(
                    number=number,
                    name=f"{task.upper()} training",
                    pieces=partial(self._train, task),
                )
            )
        for task in self.asked:
            stages.append(
                locked(number=6, name=f"decoding for {task}", pieces=partial(self._decode, task))
            )
            stages.append(
                locked(number=7, name=f"scoring for {task}", pieces=partial(self._score, task))
            )
        return stages

    def run(self) -> None:
        """Run what is asked for.

        Raises:
            UserError: a stage failed.
        """
        for stage in self.stages():
            self.runner.run(stage)
        if self.o.stop_stage >= 7 and self._report_is_old():
            log = self.data / "report.log"
            try:
                update_report(self.jobs, self.o.python, self.o.expdir, log, self.runner.log)
            except JobFailed:
                raise ConfigError("stage 7 (report) failed") from None
            show_written(log, self.runner.log)

    def _report_is_old(self) -> bool:
        scored = [(task, dset) for task in self.asked for dset in self._test_sets(task)]
        return is_report_old(self.o.expdir, (self._marker(7, *piece) for piece in scored))

    def _marker(self, number: int, task: str = "", dset: str = "") -> Marker:
        if number == 1:
            return Marker(self.data / task / ".done")
        if number == 2:
            return Marker(self.tokens / ".done")
        if number == 3:
            return Marker(self.exp[task] / "stats/.done")
        if number in (4, 5):
            return Marker(self.exp[task] / ".done_training")
        return Marker(self._decode_dir(task) / f".done_stage{number}_{dset}")

    def _training(self, task: str) -> tuple[int, Marker]:
        number = 4 if task == "asr" else 5
        return number, self._marker(number, task)

    def _decode_dir(self, task: str) -> Path:
        tag = Path(self.decode_configs[task]).stem
        tag = tag if tag.startswith("decode") else f"decode_{tag}"
        if self.o.inference_model != "valid.acc.ave.pth":
            tag += f"_{self.o.inference_model.removesuffix('.pth')}"
        return self.exp[task] / tag

    def _test_sets(self, task: str) -> list[str]:
        return [dset for dset in self.tests if (self.data / task / "test" / dset).is_dir()]

    # ----------------------------------------------------------------------------- stages 1 and 2

    def _selected(self, task: str) -> dict[str, str]:
        """Identity of what stage 1 has made of each set, by its directory."""
        made = [path.parent for path in sorted((self.data / task).glob("**/text"))]
        return {str(path.relative_to(self.data)): keys.data_digest(path) for path in made}

    def _select(self, task: str) -> list[Piece]:
        extra = split_words(self.o.extra_asr_dirs, "--extra_asr_dirs") if task == "asr" else []
        sets = dict.fromkeys([self.train_set, self.valid_set, *self.tests])
        data = {dset: keys.data_digest(self.raw / dset) for dset in sets}

        def select(name: str, directories: Sequence[str | Path], *more: str) -> None:
            out = self.data / task / name
            words: list[str | Path] = ["--task", task, "--in_dir", *directories, "--out_dir", out]
            words += ["--formatted_dir", self.data / "audio", "--nj", str(self.o.nj), *more]
            log = self.data / f"logs/select_{task}_{name.replace('/', '_')}.log"
            self.jobs.launch(log, "espnet_part.baseline.directories", *words)
            self.runner.log(f"{out}: {_read(out / 'summary.txt')}")

        def run() -> None:
            select(self.train_set, [self.raw / self.train_set, *extra])
            select(self.valid_set, [self.raw / self.valid_set])
            for dset in self.tests:
                if ESPNET_TASKS[task].name in read_table(self.raw / dset / "utt2task").values():
                    select(f"test/{dset}", [self.raw / dset], "--decoding")
                else:
                    _remove(self.data / task / "test" / dset)
                    self.runner.log(f"{dset} has nothing for {task}")

        roles = [self.train_set, self.valid_set, self.tests]
        return [
            Piece(
                marker=self._marker(1, task),
                key=keys.digest(
                    "select", task, roles, data, [keys.data_digest(Path(d)) for d in extra]
                ),
                makes=[self.data / task / dset for dset in (self.train_set, self.valid_set)],
                run=run,
                product=partial(self._selected, task),
            )
        ]

    def _subwords(self) -> list[Piece]:
        def run() -> None:
            texts = [self.data / task / self.train_set / "text" for task in self.available]
            words: list[str | Path] = ["--nbpe", str(self.o.nbpe), "--out_dir", self.tokens]
            words += ["--bpe_char_cover", str(self.o.bpe_char_cover), *texts]
            self.jobs.run_python("espnet_part.baseline.tokens", *words)

        texts = [
            keys.file_digest(self.data / task / self.train_set / "text") for task in self.available
        ]
        return [
            Piece(
                marker=self._marker(2),
                key=keys.digest("tokens", self.o.nbpe, self.o.bpe_char_cover, texts),
                makes=[self.tokens / "bpe.model", self.tokens / "tokens.txt"],
                run=run,
                product=lambda: keys.file_digest(self.tokens / "bpe.model"),
            )
        ]

    # ----------------------------------------------------------------------------- stages 3 to 5

    def _inputs(self, task: str) -> dict[str, Any]:
        """What statistics and training depend on."""
        words = split_words(self.args[task], f"--{task}_args")
        selected = read_product(self._marker(1, task), 1, partial(self._selected, task))
        selected = {name: made for name, made in selected.items() if "/test/" not in name}
        return {
            "options": keys.training_digest(self.configs[task], words, f"--{task}_args"),
            "seed": self.o.seed,
            "data": selected,
            "tokens": read_product(self._marker(2), 2),
        }

    def _task_options(self, task: str) -> list[str]:
        """Options of espnet2.bin.{asr,st}_train: what is read and how it is tokenised."""
        options = ["--config", self.configs[task], "--seed", str(self.o.seed)]
        prefixes, tables = [""], ["wav.scp,speech,sound", "text,text,text"]
        if task == "st":
            prefixes.append("src_")
            tables.append("src_text,src_text,text")
        for prefix in prefixes:
            options += [f"--{prefix}token_type", "bpe"]
            options += [f"--{prefix}bpemodel", f"{self.tokens}/bpe.model"]
            options += [f"--{prefix}token_list", f"{self.tokens}/tokens.txt"]
        for kind, dset in (("train", self.train_set), ("valid", self.valid_set)):
            for table in tables:
                options += [f"--{kind}_data_path_and_name_and_type"]
                options += [f"{self.data}/{task}/{dset}/{table}"]
        for library, switches in _LOGGED[task].items():
            if importlib.util.find_spec(library) is None:
                options += [word for s in switches for word in ("--model_conf", f"{s}=false")]
        return options

    def _statistics(self, task: str) -> list[Piece]:
        stats = self.exp[task] / "stats"
        logdir = stats / "logdir"

        def run() -> None:
            texts = {
                kind: list(read_table(self.data / task / dset / "text"))
                for kind, dset in (("train", self.train_set), ("valid", self.valid_set))
            }
            count = max(1, min(self.o.nj, len(texts["valid"])))
            for kind, utterances in texts.items():
                for n, shard in enumerate(deal_out(utterances, count), 1):
                    with atomic_write(logdir / f"{kind}.{n}.scp") as file:
                        file.writelines(f"{utterance}\n" for utterance in shard)
            command: list[str | Path] = [self.o.python, "-m", f"espnet2.bin.{task}_train"]
            command += ["--collect_stats", "true", *self._task_options(task)]
            for kind in texts:
                command += [f"--{kind}_shape_file", logdir / f"{kind}.JOB.scp"]
            command += ["--ngpu", "0", "--output_dir", logdir / "stats.JOB"]
            command += split_words(self.args[task])
            launcher = self.o.launchers["train_cmd"]
            self.jobs.launch_array(launcher, logdir / "stats.JOB.log", count, command)
            command = [self.o.python, "-m", "espnet2.bin.aggregate_stats_dirs"]
            for n in range(1, count + 1):
                command += ["--input_dir", logdir / f"stats.{n}"]
            command += ["--output_dir", stats]
            self.jobs.run(command, logdir / "aggregate.log", both=True)
            # batch_type numel counts a text's elements as length x vocabulary, as in ESPnet's recipes
            vocabulary = len(_read(self.tokens / "tokens.txt").split("\n"))
            for shapes in stats.glob("*/*text_shape"):
                with atomic_write(shapes.with_name(f"{shapes.name}.bpe")) as file:
                    for utterance, shape in read_table(shapes).items():
                        file.write(f"{utterance} {shape},{vocabulary}\n")

        return [
            Piece(
                marker=self._marker(3, task),
                key=keys.digest("statistics", task, self._inputs(task)),
                makes=[stats / "train/feats_stats.npz"],
                run=run,
                clear=partial(_remove, logdir),
            )
        ]

    def _train(self, task: str) -> list[Piece]:
        o, directory, stats = self.o, self.exp[task], self.exp[task] / "stats"
        number, marker = self._training(task)
        parts = self.init if task == "st" else []
        inputs: dict[str, Any] = {
            **self._inputs(task),
            "normalize": o.feats_normalize,
            "initial": parts,
        }
        if parts:
            if self._marker(4, "asr").read() is None:
                raise ConfigError(
                    "the ST model starts from the ASR model, which has not been trained; run with "
                    '--tasks "asr st", or with --st_init none'
                )
            inputs["initial"] = [o.inference_model, parts, read_product(self._marker(4, "asr"), 4)]

        def run() -> None:
            if self._marker(3, task).read() is None:
                raise ConfigError(f"{stats} is missing; run stage 3 first")
            if (directory / "config.yaml").exists():
                self.runner.log(f"going on with the interrupted training in {directory}")
                self._drop_damaged(directory / "checkpoint.pth")
            write_run_script(directory, o, number)
            words = self._task_options(task)
            for kind in ("train", "valid"):
                for shape in ("speech_shape", "text_shape.bpe", "src_text_shape.bpe"):
                    if (stats / kind / shape).is_file():
                        words += [f"--{kind}_shape_file", f"{stats}/{kind}/{shape}"]
            words += ["--normalize", o.feats_normalize]
            if o.feats_normalize == "global_mvn":
                words += ["--normalize_conf", f"stats_file={stats}/train/feats_stats.npz"]
            # of use with batch_type folded: samples of speech, tokens of each text
            for length in ("80000", "150", "150")[: 3 if task == "st" else 2]:
                words += ["--fold_length", length]
            words += ["--resume", "true", "--output_dir", str(directory)]
            if parts:  # one option with several values: of several options ESPnet takes the last
                model = self.exp["asr"] / o.inference_model
                words += ["--init_param", *(f"{model}:{part}:{part}" for part in parts)]
            words += split_words(self.args[task])
            self.runner.log(f"training started; log: {directory}/train.log")
            self.jobs.train(directory, directory.name, f"espnet2.bin.{task}_train", words)

        return [
            Piece(
                marker=marker,
                key=keys.digest("train", task, inputs),
                makes=[directory / "config.yaml"],
                run=run,
                clear=partial(move_aside, directory, self.runner.log, keep=["stats"]),
                product=lambda: keys.file_digest(directory / "valid.acc.ave.pth"),
            )
        ]

    def _drop_damaged(self, checkpoint: Path) -> None:
        """ESPnet writes its checkpoint in place: one that a kill left unfinished cannot be used."""
        if not checkpoint.is_file():
            return
        try:
            with zipfile.ZipFile(checkpoint) as file:
                if file.testzip() is None:
                    return
        except (zipfile.BadZipFile, OSError):
            pass
        self.runner.log(f"{checkpoint} is damaged: the training begins anew")
        checkpoint.unlink()

    # ---------------------------------------------------------------------------- stages 6 and 7

    def _decode(self, task: str) -> list[Piece]:
        o, model, config = (
            self.o,
            self.exp[task] / self.o.inference_model,
            self.decode_configs[task],
        )
        if not model.exists():
            raise ConfigError(f"{model} is missing; run the training first")
        number, trained = self._training(task)
        inputs = [
            *(
                o.inference_model,
                o.force_language,
                read_product(trained, number, partial(keys.file_digest, model)),
            ),
            keys.decoding_digest(config, [], keys.NEUTRAL_DECODING),
            read_product(self._marker(2), 2),
        ]
        launcher, device = self.jobs.decoder()

        def run(dset: str) -> None:
            data, directory = self.data / task / "test" / dset, self._decode_dir(task) / dset
            logdir = directory / "logdir"
            jobs_of = logdir / "jobs"
            if not jobs_of.is_file() or _read(jobs_of).split() != [str(o.inference_nj)]:
                _remove(logdir)
            guess = [] if o.force_language else ["--let_it_guess"]
            words: list[str | Path] = ["--data_dir", data, "--logdir", logdir]
            words += ["--nj", str(o.inference_nj), *guess]
            log = self.data / f"logs/jobs_{task}_{dset}.log"
            self.jobs.run_python("espnet_part.baseline.jobs", *words, output=log)
            count = int(_read(log))
            with atomic_write(jobs_of) as file:
                file.write(f"{o.inference_nj}\n")
            utterances = len(read_table(data / "wav.scp"))
            self.runner.log(
                f"decoding {dset} ({utterances} utterances) for {task} in {count} jobs; log: "
                f"{logdir}/inference.*.log"
            )
            # a job that an interrupted decoding has finished is not done again
            done = f"{logdir}/output.JOB/.done"
            command: list[str | Path] = ["test", "-e", done, "||", o.python, "-m"]
            command += ["espnet_part.baseline.inference", task, f"@{logdir}/language.JOB"]
            command += ["--config", config, "--data_path_and_name_and_type"]
            command += [f"{data}/wav.scp,speech,sound", "--key_file", logdir / "keys.JOB.scp"]
            command += [f"--{task}_train_config", self.exp[task] / "config.yaml"]
            command += [f"--{task}_model_file", model, "--output_dir", logdir / "output.JOB"]
            command += [*device, "&&", "touch", done]
            self.jobs.launch_array(
                launcher, logdir / "inference.JOB.log", count, command, at_once=o.inference_nj
            )
            self.jobs.run_python(
                "espnet_part.baseline.hypotheses",
                *("--data_dir", data, "--token_dir", self.tokens, "--decode_dir", directory),
                *("--decode_config", config, "--told", str(o.force_language).lower()),
            )

        selected = read_product(self._marker(1, task), 1, partial(self._selected, task))
        return [
            Piece(
                marker=self._marker(6, task, dset),
                key=keys.digest("decode", inputs, selected.get(f"{task}/test/{dset}")),
                makes=[self._decode_dir(task) / dset / "text"],
                run=partial(run, dset),
                clear=partial(_remove, self._decode_dir(task) / dset / "logdir"),
                product=partial(keys.file_digest, self._decode_dir(task) / dset / "text"),
            )
            for dset in self._test_sets(task)
        ]

    def _score(self, task: str) -> list[Piece]:
        o = self.o
        settings = keys.decoding_digest(self.score_config, [], frozenset())

        def run(dset: str) -> None:
            directory = self._decode_dir(task) / dset
            if not (directory / "text").is_file():
                raise ConfigError(f"{directory}/text is missing; run stage 6 first")
            words = ["--ref_dir", f"data/{dset}", "--tasks", ESPNET_TASKS[task].name]
            words += ["--checkpoint", str(self.exp[task] / o.inference_model)]
            if self.score_config:
                words += ["--config", self.score_config]
            lengths = self.raw / dset / "utt2num_samples"
            if lengths.is_file():
                words += ["--utt2num_samples", str(lengths)]
            words += ["--hyp_text", str(directory / "text"), "--out_dir", str(directory)]
            words += ["--name", self.exp[task].name]
            log = directory / "score.log"
            self.jobs.run(
                [o.python, "-m", "espnet_part.bin.part_score", *words],
                log,
                what=f"scoring of {dset}",
            )
            print(_read(log), flush=True)
            with atomic_write(self.exp[task] / "note.md") as file:
                file.write(f"{self._note(task)}\n")

        return [
            Piece(
                marker=self._marker(7, task, dset),
                key=keys.digest(
                    "score",
                    settings,
                    read_product(self._marker(6, task, dset), 6),
                    keys.data_digest(Path("data", dset)),
                ),
                makes=[self._decode_dir(task) / dset / "score.json", self.exp[task] / "note.md"],
                run=partial(run, dset),
            )
            for dset in self._test_sets(task)
        ]

    def _note(self, task: str) -> str:
        """What the model has seen, for the report."""
        start = "from scratch"
        if task == "st" and self.init:
            start = f"starting from {self.o.asr_tag}'s {', '.join(self.init)}"
        told = "It is told the language to write, as PART is."
        if not self.o.force_language:
            told = "It guesses the language to write."
        summary = _read(self.data / task / self.train_set / "summary.txt")
        return (
            f"`{self.exp[task].name}` is stock ESPnet (`espnet2.bin.{task}_train`, "
            f"`{self.configs[task]}`), trained {start} on {summary}. {told}"
        )


def _sets(o: BaselineOptions) -> tuple[str, str, list[str]]:
    """Training, validation and test sets: those asked for, or those of part.sh's last run."""
    noted = o.dumpdir / ".done/sets"
    lines = noted.read_text(encoding="utf-8").split("\n") if noted.is_file() else []
    train, valid, tests = lines[:3] if len(lines) >= 3 else ("train", "valid", "test")
    tests = o.test_sets or tests
    return o.train_set or train, o.valid_set or valid, list(dict.fromkeys(tests.split()))


def check_files(o: BaselineOptions, tasks: Sequence[str]) -> None:
    """Find out what is wrong with the options of ``tasks``, which needs no data.

    Raises:
        ConfigError: a line for everything that is wrong.
    """
    found = Findings()
    for task in tasks:
        if task not in ESPNET_TASKS:
            found.add([f"--tasks must be of asr, st: {task}"])
            continue
        for option in (f"{task}_config", f"{task}_decode_config"):
            path = getattr(o, option)
            if found.check_file(option, path or "(empty)"):
                found.attempt(partial(keys.decoding_digest, path, [], frozenset()))
    for part in o.initial_parts:
        if part not in ("encoder", "ctc", "decoder"):
            found.add([f"--st_init must be of encoder, ctc, decoder: {part}"])
    if o.feats_normalize not in ("global_mvn", "utterance_mvn"):
        found.add([f"--feats_normalize must be global_mvn or utterance_mvn: {o.feats_normalize}"])
    check_scoring(found, o.found_score_config())
    found.raise_all()


def make_data(o: BaselineOptions) -> None:
    """Run the command that makes the sets.

    Raises:
        UserError: it failed; it has said why.
    """
    try:
        Jobs(o).run(split_words(o.data_command, "--data_command"))
    except JobFailed:
        raise UserError(f"the data could not be made: {o.data_command}") from None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip("\n")


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)


def main(words: Sequence[str]) -> None:
    def work(running: Callable[[Runner], None]) -> None:
        options = read_options(BaselineOptions, words)
        options.check()
        check_files(options, options.tasks.split())
        if options.data_command:
            make_data(options)
        recipe = BaselineRecipe(options)
        running(recipe.runner)
        with locks.experiment_lock(recipe.data / ".lock", str(recipe.data)) as descriptor:
            recipe.jobs.held.append(descriptor)
            recipe.run()

    run_program("baseline.sh", work)


if __name__ == "__main__":
    main(sys.argv[1:])
