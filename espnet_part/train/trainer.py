"""The loop: for each phase of the schedule, for each step of the phase, one update."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from espnet_part.data.dataset import DataPosition, PhaseData
from espnet_part.data.heard import Heard
from espnet_part.data.stage_data import (
    SpeechSide,
    StageData,
    log_dropped,
    log_mixture,
    log_mixtures,
    log_sizes,
)
from espnet_part.errors import AGAIN, DataError
from espnet_part.model.base import json_sha256
from espnet_part.schedule.activation import activate, set_modes
from espnet_part.schedule.schedule import Phase
from espnet_part.train import learning_rate
from espnet_part.train.arguments import add_trainer_arguments
from espnet_part.train.averaging import average_best, average_last, model_file, update_links
from espnet_part.train.checkpoint import (
    Checkpoint,
    bases_of,
    find_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    read_heard,
    remove_old,
    restore_weights,
    trained_state,
    write_checkpoint,
    write_heard,
)
from espnet_part.train.nested import map_tensors
from espnet_part.train.notice import Notice, Stopped
from espnet_part.train.options import TrainerOptions
from espnet_part.train.outliers import Outliers
from espnet_part.train.parallel import Parallel
from espnet_part.train.position import Position, check_same_schedule
from espnet_part.train.reporting import Report, peak_memory
from espnet_part.train.sharding import Sharded
from espnet_part.train.step import Batch, StepResult, seed_step, train_step, validate
from espnet_part.train.stragglers import Stragglers
from espnet_part.train.watch import Watch
from espnet_part.train.writer import Writer
from espnet_part.weights import read_header, write_weights


class PARTTrainer:
    """ESPnet's front of the trainer; an AbsTask calls these three methods."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_trainer_arguments(parser)

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> TrainerOptions:
        return TrainerOptions.from_args(args)

    @classmethod
    def run(
        cls,
        model: Any,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        train_iter_factory: Any,
        valid_iter_factory: Any,
        plot_attention_iter_factory: Any,
        trainer_options: TrainerOptions,
        distributed_option: Any,
    ) -> None:
        """Train ``model`` through all phases; see `Run`."""
        parallel = Parallel()
        if distributed_option.distributed:
            sharded = trainer_options.parallel == "fsdp2" and distributed_option.dist_world_size > 1
            parallel = (Sharded if sharded else Parallel)(
                distributed_option.dist_rank,
                distributed_option.dist_world_size,
                next(model.parameters()).device,
                {
                    "find_unused_parameters": trainer_options.unused_parameters,
                    "gradient_as_bucket_view": trainer_options.gradient_as_bucket_view,
                },
                trainer_options.ddp_comm_hook,
            )
        elif distributed_option.ngpu:
            parallel = Parallel(device=next(model.parameters()).device)
        scheduler_class = type(schedulers[0]) if schedulers[0] is not None else None
        run = Run(
            model,
            optimizers[0],
            scheduler_class,
            train_iter_factory,
            valid_iter_factory,
            trainer_options,
            parallel,
        )
        if trainer_options.dist_timeout is not None:
            parallel.wait_at_most(trainer_options.dist_timeout)
        naming = parallel.naming_lost(lambda: run.position.total_step)
        with naming, run.notice.awaited(), run.writer, run.watch.ended():
            run.run()


#: Options by which processes decide alike, each on its own, what they do together.
_COMMON = (
    *("resume", "use_amp", "parallel", "num_iters_per_epoch", "log_interval", "save_interval"),
    *("max_nonfinite_steps", "spike_deviations", "max_rewinds", "max_bad_share"),
)


class Rewind(Exception):
    """Too many steps in a row were bad: the run is to go on from its last checkpoint."""


class Run:
    """The training of one stage.

    Args:
        model: A SpeechLLM on its device.
        optimizer: Over all that ever trains in the stage; its groups are named.
        scheduler_class: An ESPnet scheduler, made anew by phase; None for constant rates.
        train_data, valid_data: This rank's share of the data.
    """

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        scheduler_class: type | None,
        train_data: StageData,
        valid_data: StageData,
        options: TrainerOptions,
        parallel: Parallel,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler_class = scheduler_class
        self.rates: Any = None  # learning_rate.Rates, from the first phase on
        self.train_data = train_data
        self.valid_data = valid_data
        self.options = options
        self.parallel = parallel
        self.output_dir = Path(options.output_dir)
        self.checkpoints = self.output_dir / "checkpoints"
        self.schedule = options.schedule
        self.trainable = self.schedule.resolve(
            [name for name, _ in model.named_parameters()], model.protected
        )
        self.schedule.check_losses(hasattr(model.adapter, "read_llm"))
        self.speech = _speech_side(model)
        self.names = {parameter: name for name, parameter in model.named_parameters()}
        self.position = Position()
        self.heard = Heard.nothing(len(train_data.examples))  # when the phase began
        self.ever_trained: set[str] = set()
        self.saved: Checkpoint | None = None  # until the first phase has taken it over
        self.notice = Notice()
        self.watch = Watch(options.hang_minutes)
        self.outliers = Outliers(options.spike_deviations)
        self.stragglers = Stragglers(parallel)
        self.writer = Writer()
        self.saved_at = time.monotonic()
        self.first_step = 0  # that this process has found done
        self.report = Report(options, parallel.is_main)

    def run(self) -> None:
        """Start or resume, go through the phases, and average the best models."""
        self.parallel.check_same(self._sections(), "runs with another")
        self.saved = self._resume() if self.options.resume else None
        if self.saved is None:
            self.parallel.together(self._refuse_earlier_run)
            self.parallel.together(self._start)
        self._forget_bad(anew=self.saved is None)
        data = self.parallel.together(self._plan)
        self.first_step, self.saved_at = self.position.total_step, time.monotonic()
        while self.position.phase < len(self.schedule.phases):
            try:
                self._run_phase(data)
            except Rewind:
                self._rewind(data[self.position.phase])
                continue
            self.heard = data[self.position.phase].heard_after(self.heard, self.position.data)
            self.position.next_phase(self.heard.pools)
        self._finish()

    def _sections(self) -> dict[str, str]:
        """What must be the same on all processes, as digests."""
        bases = bases_of(self.model)
        return {
            **{f"model ({part})": digest for part, digest in bases["function"].items()},
            "base models": json_sha256(bases["base_models"]),
            "phases": json_sha256(self.schedule.to_list()),
            "options": json_sha256([getattr(self.options, name) for name in _COMMON]),
            **{f"training: {name}": d for name, d in self.train_data.digests().items()},
            **{f"validation: {name}": d for name, d in self.valid_data.digests().items()},
        }

    def _start(self) -> None:
        """Take over from an earlier stage what it trained and what it heard."""
        if self.options.part_init:
            self.ever_trained.update(read_header(self.options.part_init)[1])
            before = read_heard(Path(self.options.part_init), self.train_data.streams)
            if before is not None:
                self.heard = before
        self.position.data = DataPosition(self.heard.pools)

    @cached_property
    def _trained_on(self) -> list[list[str]]:
        """(task, language, target language) of all that the model is trained on, by this stage's end."""
        before = read_header(self.options.part_init)[0] if self.options.part_init else {}
        own = [s for s in self.train_data.examples.strata if s[0] in self.schedule.tasks]
        return sorted(map(list, {*own, *map(tuple, before.get("strata", []))}))

    def _plan(self) -> list[PhaseData]:
        """The data of all phases and of the validation, so that what they lack is said at once."""
        ever_trained, data = set(self.ever_trained), []
        for phase, trainable in zip(self.schedule.phases, self.trainable, strict=True):
            ever_trained |= trainable.names
            where = f"{self.schedule.where}: phase {phase.name}"
            untouched = _is_encoder_untouched(ever_trained)
            data.append(self.train_data.phase(phase, self.speech, untouched, where))
        names = [phase.name for phase in self.schedule.phases]
        log_mixtures(dict(zip(names, data, strict=True)), self.schedule.where)
        validation = self._validation()
        log_dropped(validation, "validation")
        lacking = set(self.schedule.tasks) - {stratum[0] for stratum in validation.counts()}
        if lacking:
            logging.warning(
                "validation: no example of %s, which the stage trains: how well it learns that is "
                "not measured",
                " and ".join(sorted(lacking)),
            )
        return data

    def _validation(self) -> PhaseData:
        untouched = _is_encoder_untouched(self.ever_trained)
        return self.valid_data.validation(self.schedule.tasks, self.speech, untouched)

    def _run_phase(self, planned: Sequence[PhaseData]) -> None:
        """Train one phase from ``self.position`` to its end."""
        phase, data = self.schedule.phases[self.position.phase], planned[self.position.phase]
        trainable = self.trainable[self.position.phase]
        activate(self.model, trainable.names)
        self.model.answers = phase.loss == "answer"
        learning_rate.forget_frozen(self.optimizer)
        self.ever_trained |= trainable.names
        module = self.parallel.wrap(self.model)  # anew: the trainable set has changed
        # a phase may have been cut to fewer steps than it has done by now
        steps = max(self._length(phase, data), self.position.step)
        self._start_rates(phase, planned, steps)
        if self.position.step == 0:
            self.outliers.forget()
            if self.options.max_rewinds:
                self._save(data)  # with what begins to train here as it is now
        log_mixture(data, phase.name)
        log_sizes(data, self.heard, self.position.data, phase.name)
        interval = self.options.num_iters_per_epoch or steps
        logging.info("phase %s: %d steps, trains %s", phase.name, steps, ", ".join(phase.train))
        self.report.start_phase(phase.name, self.position, steps)
        if self.position.step < steps:
            if self.report.train is not None and self.position.step % interval == 0:
                self._finish_epoch(phase, data, False)  # it was stopped before its validation
            self.report.start_epoch(self.position.epoch + 1)
        self.watch.begin()
        clock = time.perf_counter()
        left = steps - self.position.step
        for data_position, batches in data.loader(self.heard, self.position.data, left):
            loaded = time.perf_counter()
            seed_step(self.options.seed, self.position.total_step, self.parallel)
            result = train_step(
                module,
                batches,
                self.optimizer,
                self.schedule.tasks,
                self.parallel,
                amp=self.options.use_amp,
                grad_clip=self.options.grad_clip,
                grad_clip_type=self.options.grad_clip_type,
                fault=self.outliers.fault,
            )
            self.watch.end()  # what follows may take its time
            if result.updated:
                self.rates.after_step()
            self.position.after_step(data_position)
            now = time.perf_counter()
            self.position.seconds += now - clock
            self.report.after_step(result, self.optimizer.param_groups, loaded - clock, now - clock)
            self.report.tick(result.counts.means()["loss"])
            self.stragglers.after_step(loaded - clock, result.forward_time, now - clock)
            clock = now
            self._note_bad(result, batches)
            is_end = self.position.step == steps
            is_epoch_end = is_end or self.position.step % interval == 0
            log_interval = self.options.log_interval or _log_interval(steps)
            if is_epoch_end or self.position.step % log_interval == 0:
                self.report.progress(phase.name, self.position, steps, self.optimizer.param_groups)
                self.stragglers.compare()
            is_over, is_save_due, is_lost = self.parallel.any(
                self.notice.came, self._is_save_due(), self.writer.has_failed
            )
            if is_lost:
                self.parallel.together(self.writer.wait)
            if is_over:
                self._stop(data)
            if is_epoch_end:
                self._finish_epoch(phase, data, is_end)
                if not is_end:
                    self.report.start_epoch(self.position.epoch + 1)
            elif is_save_due:
                self._save(data)
            self.watch.begin()
            clock = time.perf_counter()
        self.watch.end()
        if self.report.train is not None:  # the phase was cut inside an interval
            self._finish_epoch(phase, data, True)
        self.report.finish_phase()

    def _length(self, phase: Phase, data: PhaseData) -> int:
        """The phase's number of steps; an epoch may differ from the next in its last batches."""
        if phase.steps is not None:
            return phase.steps
        assert phase.epochs is not None
        return data.steps_in_epochs(self.heard, phase.epochs)

    def _start_rates(self, phase: Phase, planned: Sequence[PhaseData], steps: int) -> None:
        """Start the learning rates anew, or let them go on over the phases that are joined."""
        phases, number = self.schedule.phases, self.position.phase
        first, last = self.schedule.joined(number)
        self.position.lengths[number:] = [steps]
        after = range(number + 1, last + 1)
        length = sum(self.position.lengths[first:])
        length += sum(self._length(phases[n], planned[n]) for n in after)
        if number == first or self.rates is None:
            conf = {**self.options.scheduler_conf, **phases[first].scheduler_conf}
            option = self.options.scheduler_length
            self.rates = learning_rate.Rates(
                self.optimizer, self.scheduler_class, conf, option, length
            )
        self.rates.start_phase(phase, length)
        logging.info(
            "phase %s: scheduler %s over %d steps%s, peak learning rates %s",
            *(phase.name, self.options.scheduler, length),
            f" ({phases[first].name} to {phases[last].name})" if last > first else "",
            ", ".join(f"{group} {rate:g}" for group, rate in phase.lr.items()),
        )
        if self.saved is not None:
            # Loading puts back the rates, so it comes after the scheduler has set its own.
            saved = self.saved.optimizer
            learning_rate.load_optimizer_state(self.optimizer, self.names, saved["optimizer"])
            self.rates.load_state_dict(saved["rates"])
            self.saved = None  # gigabytes of weights and moments

    # --- the end of a validation interval -------------------------------------------------------

    def _finish_epoch(self, phase: Phase, data: PhaseData, is_phase_end: bool) -> None:
        """Validate, report, keep the model, and write a checkpoint."""
        counts, bad = validate(
            self.model,
            (batch for step in self._validation().fixed_pass() for batch in step),
            self.schedule.tasks,
            self.parallel,
            amp=self.options.use_amp,
            is_over=lambda: self.notice.came,
        )
        if any(self.parallel.any(self.notice.came)):
            self._stop(data)
        self.position.epoch += 1
        set_modes(self.model)
        self._name_bad(bad, "valid", "w")
        self._stop_if_too_bad(counts["bad"], counts["bad"] + counts["examples"])
        peaks = self.parallel.gather(peak_memory())
        memory = {kind: max(peak[kind] for peak in peaks) for kind in peaks[0]}
        self.report.finish_epoch(
            phase.name, self.position, counts.means(), memory, is_phase_end=is_phase_end
        )
        self.rates.after_epoch(self.report.value(*self.options.val_scheduler_criterion))
        self._save(data, phase)

    def _update_links(self, history: Sequence[dict[str, Any]]) -> None:
        if self.parallel.is_main and history:
            improved = update_links(
                self.output_dir,
                history,
                self.options.best_model_criterion,
                max(self.options.nbest),
                self.options.average_last,
            )
            if improved:
                logging.info("The best model has been updated: %s", ", ".join(improved))
            else:
                logging.info("There are no improvements in this epoch")

    def _finish(self) -> None:
        """Average the best models; typed again, this is all that a finished stage does."""
        self.report.close()
        self.parallel.together(self.writer.wait)
        if self.parallel.is_main:
            write_heard(self.output_dir, self.train_data.streams, self.heard)
            average_best(
                self.output_dir,
                self.report.history,
                self.options.best_model_criterion,
                self.options.nbest,
            )
            average_last(self.output_dir, self.report.history, self.options.average_last)
            logging.info("The training was finished at %d steps", self.position.total_step)
        self.parallel.barrier()

    # --- bad steps and bad data ---------------------------------------------------------------

    def _note_bad(self, result: StepResult, batches: Sequence[Batch]) -> None:
        """Count what went wrong, name it, and stop when it is too much."""
        position = self.position
        self._name_bad([item for batch in batches for item in batch["bad"]], "train", "a")
        position.examples += int(result.counts["examples"] + result.counts["bad"])
        position.bad += int(result.counts["bad"])
        self._stop_if_too_bad(position.bad, position.examples)
        if result.updated:
            position.nonfinite = 0
        if result.fault is None:
            return  # or all its utterances were bad, and are named
        position.nonfinite += 1
        position.skipped += 1
        logging.warning(
            "step %d: %s; skipped (utterances: %s …)",
            position.total_step,
            result.fault,
            " ".join(batches[0]["utt_ids"][:3]),
        )
        if position.nonfinite < self.options.max_nonfinite_steps:
            return
        if position.rewinds < self.options.max_rewinds:
            raise Rewind
        raise DataError(
            f"{position.nonfinite} steps in a row were skipped, the last one since {result.fault}; lower the "
            f"learning rate, or look at the utterances named in the log ({self.output_dir})"
        )

    def _rewind(self, data: PhaseData) -> None:
        """Go back to the last checkpoint, but in the data go on, as PaLM's training did.

        Chowdhery et al., 2022, section 5.1: the same data from another state of the model did no harm.
        """
        self.watch.end()
        self.report.finish_phase()
        before, heard = self.position, data.heard_after(self.heard, self.position.data)
        self.parallel.together(self.writer.wait)
        self.optimizer.state.clear()  # there may be no room for two of it
        self.saved = self._resume()
        self.heard = heard
        self.position = dataclasses.replace(
            self.position,
            data=DataPosition(heard.pools),
            rewinds=before.rewinds + 1,
            nonfinite=0,  # the checkpoint may lie among the bad steps
            skipped=before.skipped,
            seconds=before.seconds,
        )
        logging.warning(
            "back at step %d, and on with the data that come after step %d (--max_rewinds: %d of %d)",
            *(self.position.total_step, before.total_step),
            *(self.position.rewinds, self.options.max_rewinds),
        )

    def _forget_bad(self, anew: bool) -> None:
        """Take away the names that an earlier run has left, also of processes that are no more."""
        if not self.parallel.is_main:
            return
        for split in ("valid", "train") if anew else ("valid",):
            for file in self.output_dir.glob(f"bad_utterances.{split}.*.tsv"):
                file.unlink(missing_ok=True)

    def _name_bad(self, bad: Sequence[tuple[str, str]], split: str, mode: str) -> None:
        file = self.output_dir / f"bad_utterances.{split}.{self.parallel.rank}.tsv"
        if not bad:
            if mode == "w":
                file.unlink(missing_ok=True)  # of an earlier validation
            return
        with file.open(mode, encoding="utf-8") as out:
            out.writelines(f"{utt}\t{reason}\n" for utt, reason in bad)
        logging.warning("%s: left out %d bad utterances, see %s", split, len(bad), file)

    def _stop_if_too_bad(self, bad: float, of: float) -> None:
        # a few may be bad in the first steps, whatever their share
        if bad > max(self.options.max_bad_share * of, 10):
            raise DataError(
                f"{bad:.0f} of {of:.0f} utterances were bad, more than --max_bad_share "
                f"{self.options.max_bad_share}; see {self.output_dir}/bad_utterances.*"
            )

    # --- checkpoints -----------------------------------------------------------------------------

    def _is_save_due(self) -> bool:
        if self.position.nonfinite:
            return False  # what made these steps bad may be in the weights: it is not to go back to
        steps, minutes = self.options.save_interval, self.options.save_minutes
        if steps and self.position.step % steps == 0:
            return True
        return minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes

    def _stop(self, data: PhaseData) -> NoReturn:
        """End before the schedule has, to go on from here.

        Raises:
            Stopped: always, but
            DataError: nothing was done, and would be the next time.
        """
        step = self.position.total_step
        if step == self.first_step:
            raise DataError(
                f"the time was over before one more step was done and validated (after step {step}): "
                "give it more time, or less to validate"
            )
        self._save(data)
        self.report.close()
        # all wait: a launcher may end the main process when another one ends
        self.parallel.together(self.writer.wait)
        if not self.parallel.is_main:
            sys.exit(AGAIN)  # one process says it
        raise Stopped(
            f"stopped by SIGUSR1 after step {step}, with a checkpoint: started again, it goes on"
        )

    def _save(self, data: PhaseData, ended: Phase | None = None) -> None:
        """Copy what a checkpoint holds, and let it be written while the training goes on.

        Args:
            ended: the phase of an epoch that has ended, whose model is written, too.
        """
        began = time.perf_counter()
        self.parallel.together(self.writer.get_ready)
        weights = trained_state(self.model, self.ever_trained)
        moments = learning_rate.optimizer_state(self.optimizer, self.names)
        if self.parallel.is_main:
            checkpoint = self._copy(weights, moments, data)
            header = None
            if ended is not None:
                header = {
                    "phase": ended.name,
                    "step": self.position.total_step,
                    "data": checkpoint.state["data"],
                    "strata": self._trained_on,
                    **bases_of(self.model),
                }
            waited = time.perf_counter() - began
            self.writer.start(lambda: self._write(checkpoint, header, waited))
        else:  # take part in what `_copy` gathers, and keep nothing
            map_tensors(lambda tensor: self.parallel.whole(tensor).shape, [weights, moments])
        self.saved_at = time.monotonic()

    def _copy(
        self, weights: dict[str, torch.Tensor], moments: dict[str, Any], data: PhaseData
    ) -> Checkpoint:
        """A checkpoint of the run as it is, which does not change with it."""
        now = data.heard_after(self.heard, self.position.data)
        streams = self.train_data.streams
        state = {
            "position": dataclasses.asdict(self.position),
            "ever_trained": sorted(self.ever_trained),
            "phases": self.schedule.to_list(),
            "data": self.train_data.digests(),
            "heard": {
                "at_phase_start": streams.to_json(self.heard),
                "now": streams.to_json(now),
            },
            "report": self.report.state_dict(),
            "ordinary": self.outliers.state_dict(),
            **bases_of(self.model),
        }
        optimizer = {"optimizer": moments, "rates": self.rates.state_dict()}
        checkpoint = Checkpoint(weights, _without_numpy(optimizer), state)
        return self.writer.copy(checkpoint, self.parallel.whole)

    def _write(self, checkpoint: Checkpoint, header: dict[str, Any] | None, waited: float) -> None:
        """Write a checkpoint, and with a header the model's file, too; it runs beside the training."""
        began = time.perf_counter()
        position = checkpoint.state["position"]
        # the model's file before the checkpoint that counts on it, the removals after it
        if header is not None:
            write_weights(
                model_file(self.output_dir, position["epoch"]), checkpoint.weights, header
            )
        directory = self.checkpoints / f"{position['total_step']:08d}"
        write_checkpoint(directory, checkpoint)
        remove_old(directory, self.options.keep_checkpoints, self.options.keep_checkpoint_hours)
        if header is not None:
            self._update_links(checkpoint.state["report"]["history"])
        logging.info(
            "%s: written in %.1f s beside the training, which waited %.2f s",
            *(directory, time.perf_counter() - began, waited),
        )

    def _refuse_earlier_run(self) -> None:
        if find_checkpoints(self.checkpoints):
            raise DataError(
                f"{self.checkpoints} holds an earlier run: go on with it (--resume true), or choose "
                "another --output_dir"
            )

    def _resume(self) -> Checkpoint | None:
        newest = self.parallel.read_once(lambda: newest_checkpoint(self.checkpoints))
        if newest is None:
            return None
        saved = self.parallel.read_once(lambda: read_checkpoint(newest))
        return self.parallel.together(lambda: self._restore(saved))

    def _restore(self, saved: Checkpoint) -> Checkpoint:
        """Put everything back that the next phase does not (see `_start_rates`)."""
        position = Position.from_json(saved.state["position"], str(self.checkpoints))
        check_same_schedule(saved.state["phases"], self.schedule, position.phase)
        restore_weights(self.model, saved, str(self.checkpoints))
        self.ever_trained.update(saved.state["ever_trained"])
        self.report.load_state_dict(saved.state["report"])
        self.outliers.load_state_dict(saved.state.get("ordinary", []))  # of 0.2.0: none
        self.position = position
        digests = self.train_data.digests()
        changed = [name for name, digest in digests.items() if saved.state["data"][name] != digest]
        heard = saved.state["heard"]["now" if changed else "at_phase_start"]
        self.heard, anew = self.train_data.streams.from_json(heard, str(self.checkpoints))
        if changed:
            logging.warning(
                "changed since the checkpoint was written: %s; going on with what has been heard "
                "least%s",
                " and ".join(changed),
                f"; heard anew from the start: {', '.join(anew)}" if anew else "",
            )
            position.data = DataPosition(self.heard.pools)
        if self.report.train is None:
            self._update_links(self.report.history)  # killed between a checkpoint and its links
        return saved


def _speech_side(model: Any) -> SpeechSide:
    """How long speech becomes in ``model``, and what its encoder was loaded from."""

    def lengths(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = model.encoder.output_lengths(samples)
        return frames, model.adapter.output_lengths(frames)

    bases: list[dict[str, Any]] = model.base_models()
    base = next((b for b in bases if b["part"] == "encoder"), {})
    fingerprint = {key: base.get(key) for key in ("config_sha256", "fingerprint")}
    return SpeechSide(lengths, fingerprint, model.llm.max_length)


def _is_encoder_untouched(ever_trained: Collection[str]) -> bool:
    return not any(name.startswith("encoder.") for name in ever_trained)


def _log_interval(steps: int) -> int:
    """As often as ESPnet: twenty times a phase, but no more than every tenth step."""
    return max(steps // 20, 10)


def _without_numpy(value: Any) -> Any:
    """Turn numpy scalars, which some schedulers leave behind, into plain numbers.

    A file with them could not be loaded with ``weights_only=True``.
    """
    if isinstance(value, dict):
        return {key: _without_numpy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_numpy(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
