"""The loop: for each phase of the schedule, for each step of the phase, one update."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from espnet_part.data.dataset import DataPosition, PhaseData
from espnet_part.data.heard import Heard
from espnet_part.data.stage_data import StageData, log_mixture, log_sizes
from espnet_part.errors import AGAIN, DataError
from espnet_part.model.base import json_sha256
from espnet_part.schedule.activation import activate, set_modes
from espnet_part.schedule.schedule import Phase
from espnet_part.train import learning_rate
from espnet_part.train.arguments import add_trainer_arguments
from espnet_part.train.averaging import average_best, average_last
from espnet_part.train.bad_utterances import BadUtterances
from espnet_part.train.checkpoint import bases_of, read_heard, write_heard
from espnet_part.train.notice import Notice, Stopped
from espnet_part.train.options import TrainerOptions
from espnet_part.train.outliers import Outliers
from espnet_part.train.parallel import Parallel
from espnet_part.train.planning import Planning
from espnet_part.train.position import Position
from espnet_part.train.reporting import Report, peak_memory
from espnet_part.train.saving import Saver, State
from espnet_part.train.sharding import Sharded
from espnet_part.train.step import Batch, StepResult, seed_step, train_step, validate
from espnet_part.train.stragglers import Stragglers
from espnet_part.train.watch import Watch
from espnet_part.weights import read_header


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
        # srun, too, notices that a process is gone, and tells the others to end while they name it
        with run.notice.awaited(), naming, run.saver.writer, run.watch.ended():
            run.run()


#: Options by which processes decide alike, each on its own, what they do together.
_COMMON = (
    *("resume", "use_amp", "parallel", "num_iters_per_epoch", "log_interval", "save_interval"),
    *("max_nonfinite_steps", "spike_deviations", "max_rewinds", "max_bad_share"),
)


class Rewind(Exception):
    """Too many steps in a row were bad: the run is to go on from an earlier checkpoint."""


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
        self.train_data = train_data
        self.valid_data = valid_data
        self.options = options
        self.parallel = parallel
        self.output_dir = Path(options.output_dir)
        self.schedule = options.schedule
        self.trainable = self.schedule.resolve(
            [name for name, _ in model.named_parameters()], model.protected
        )
        self.schedule.check_losses(getattr(model.adapter, "own_loss", False))
        self.planning = Planning(model, self.schedule, self.trainable, train_data, valid_data)
        self.report = Report(options, parallel.is_main)
        self.outliers = Outliers(options.spike_deviations)
        nothing = Heard.nothing(len(train_data.examples))
        self.state = State(self.report, self.outliers, nothing)
        self.saver = Saver(self.state, model, optimizer, train_data, options, parallel)
        self.bad = BadUtterances(self.output_dir, parallel.rank, options.max_bad_share)
        self.notice = Notice()
        self.watch = Watch(options.hang_minutes)
        self.stragglers = Stragglers(parallel)
        self.first_step = 0  # that this process has found done

    @property
    def position(self) -> Position:
        return self.state.position

    def run(self) -> None:
        """Start or resume, go through the phases, and average the best models."""
        self.parallel.check_same(self._sections(), "runs with another")
        is_resumed = self.options.resume and self.saver.resume()
        if not is_resumed:
            self.parallel.together(self.saver.refuse_earlier_run)
            self.parallel.together(self._start)
        if self.parallel.is_main:
            self.bad.forget("valid", *(() if is_resumed else ("train",)))
        data = self.parallel.together(lambda: self.planning.phases(self.state.ever_trained))
        self.first_step = self.position.total_step
        while self.position.phase < len(self.schedule.phases):
            try:
                self._run_phase(data)
            except Rewind:
                self._rewind(data[self.position.phase])
                continue
            heard = data[self.position.phase].heard_after(self.state.heard, self.position.data)
            self.state.heard = heard
            self.position.next_phase(heard.pools)
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
            self.state.ever_trained.update(read_header(self.options.part_init)[1])
            before = read_heard(Path(self.options.part_init), self.train_data.streams)
            if before is not None:
                self.state.heard = before
        self.position.data = DataPosition(self.state.heard.pools)

    # --- a phase -----------------------------------------------------------------------------

    def _run_phase(self, planned: Sequence[PhaseData]) -> None:
        """Train one phase from ``self.position`` to its end."""
        phase, data = self.schedule.phases[self.position.phase], planned[self.position.phase]
        module = self._thaw(phase)
        # a phase may have been cut to fewer steps than it has done by now
        steps = max(self._length(phase, data), self.position.step)
        self._start_rates(phase, planned, steps)
        if self.position.step == 0:
            self.outliers.forget()
            if self.options.max_rewinds:
                self.saver.save(data)  # with what begins to train here as it is now
        self._announce(phase, data, steps)
        interval = self.options.num_iters_per_epoch or steps
        log_interval = self.options.log_interval or _log_interval(steps)
        if self.position.step < steps:
            if self.report.train is not None and self.position.step % interval == 0:
                self._finish_epoch(phase, data, False)  # it was stopped before its validation
            self.report.start_epoch(self.position.epoch + 1)
        self.watch.begin()
        began = time.perf_counter()
        left = steps - self.position.step
        for after, batches in data.loader(self.state.heard, self.position.data, left):
            self._step(module, batches, after, began)
            is_end = self.position.step == steps
            is_epoch_end = is_end or self.position.step % interval == 0
            if is_epoch_end or self.position.step % log_interval == 0:
                self.report.progress(phase.name, self.position, steps, self.optimizer.param_groups)
                self.stragglers.compare()
            is_save_due = self._heed(data)
            if is_epoch_end:
                self._finish_epoch(phase, data, is_end)
                if not is_end:
                    self.report.start_epoch(self.position.epoch + 1)
            elif is_save_due:
                self.saver.save(data)
            self.watch.begin()
            began = time.perf_counter()
        self.watch.end()
        if self.report.train is not None:  # the phase was cut inside an interval
            self._finish_epoch(phase, data, True)
        self.report.finish_phase()

    def _step(
        self, module: Any, batches: Sequence[Batch], after: DataPosition, began: float
    ) -> None:
        """One update, and what is counted of it.

        Args:
            module: the model as it is wrapped.
            after: where the data are after the step.
            began: by time.perf_counter, when its batches were asked for.
        """
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
        if result.updated:
            self.state.rates.after_step()
        self.position.after_step(after)
        reading, in_all = loaded - began, time.perf_counter() - began
        self.position.seconds += in_all
        self.report.after_step(result, self.optimizer.param_groups, reading, in_all)
        self.report.tick(result.counts.means()["loss"])
        self.stragglers.after_step(reading, result.forward_time, in_all)
        self._note_bad(result, batches)

    def _heed(self, data: PhaseData) -> bool:
        """End where a process has a reason to; return whether a checkpoint is due, for all alike."""
        is_over, is_save_due, is_lost = self.parallel.any(
            self.notice.came, self.saver.is_due(), self.saver.writer.has_failed
        )
        if is_lost:
            self.saver.wait()
        if is_over:
            self._stop(data)
        return is_save_due

    def _thaw(self, phase: Phase) -> Any:
        """Let train what the phase trains, and nothing else; return the model as processes share it."""
        names = self.trainable[self.position.phase].names
        activate(self.model, names)
        self.model.answers = phase.loss == "answer"
        learning_rate.forget_frozen(self.optimizer)
        self.state.ever_trained |= names
        return self.parallel.wrap(self.model)  # anew: the trainable set has changed

    def _announce(self, phase: Phase, data: PhaseData, steps: int) -> None:
        log_mixture(data, phase.name)
        log_sizes(data, self.state.heard, self.position.data, phase.name)
        logging.info("phase %s: %d steps, trains %s", phase.name, steps, ", ".join(phase.train))
        self.report.start_phase(phase.name, self.position, steps)

    def _length(self, phase: Phase, data: PhaseData) -> int:
        """The phase's number of steps; an epoch may differ from the next in its last batches."""
        if phase.steps is not None:
            return phase.steps
        assert phase.epochs is not None
        return data.steps_in_epochs(self.state.heard, phase.epochs)

    def _start_rates(self, phase: Phase, planned: Sequence[PhaseData], steps: int) -> None:
        """Start the learning rates anew, or let them go on over the phases that are joined."""
        phases, number = self.schedule.phases, self.position.phase
        first, last = self.schedule.joined(number)
        self.position.lengths[number:] = [steps]
        after = range(number + 1, last + 1)
        length = sum(self.position.lengths[first:])
        length += sum(self._length(phases[n], planned[n]) for n in after)
        if number == first or self.state.rates is None:
            conf = {**self.options.scheduler_conf, **phases[first].scheduler_conf}
            option = self.options.scheduler_length
            self.state.rates = learning_rate.Rates(
                self.optimizer, self.scheduler_class, conf, option, length
            )
        self.state.rates.start_phase(phase, length)
        logging.info(
            "phase %s: scheduler %s over %d steps%s, peak learning rates %s",
            *(phase.name, self.options.scheduler, length),
            f" ({phases[first].name} to {phases[last].name})" if last > first else "",
            ", ".join(f"{group} {rate:g}" for group, rate in phase.lr.items()),
        )
        self.saver.resume_rates()

    # --- ends: of a validation interval, of the time, of the stage ------------------------------

    def _finish_epoch(self, phase: Phase, data: PhaseData, is_phase_end: bool) -> None:
        """Validate, report, keep the model, and write a checkpoint."""
        self.watch.end()  # to make ready for a validation may take its time

        def is_over() -> bool:
            self.watch.begin()  # a batch of it may not
            return self.notice.came

        validation = self.planning.validation(self.state.ever_trained)
        counts, bad = validate(
            self.model,
            (batch for step in validation.fixed_pass() for batch in step),
            self.schedule.tasks,
            self.parallel,
            amp=self.options.use_amp,
            is_over=is_over,
        )
        self.watch.end()
        if any(self.parallel.any(self.notice.came)):
            self._stop(data)
        self.position.epoch += 1
        set_modes(self.model)
        self.bad.name(bad, "valid", "w")
        self.bad.check(counts["bad"], counts["bad"] + counts["examples"])
        peaks = self.parallel.gather(peak_memory())
        memory = {kind: max(peak[kind] for peak in peaks) for kind in peaks[0]}
        self.report.finish_epoch(
            phase.name, self.position, counts.means(), memory, is_phase_end=is_phase_end
        )
        self.state.rates.after_epoch(self.report.value(*self.options.val_scheduler_criterion))
        self.saver.save(data, phase)

    def _stop(self, data: PhaseData) -> NoReturn:
        """End before the schedule has, to go on from here.

        Raises:
            Stopped: always, but
            DataError: the time was too short to do anything, and would be the next time.
        """
        step = self.position.total_step
        signals = [number for number in self.parallel.gather(self.notice.signal) if number]
        if step == self.first_step and signal.SIGUSR1 in signals:
            raise DataError(
                f"the time was over before one more step was done and validated (after step {step}): "
                "give it more time, or less to validate"
            )
        self.saver.save(data)
        self.report.close()
        # all wait: a launcher may end the main process when another one ends
        self.saver.wait()
        if not self.parallel.is_main:
            sys.exit(AGAIN)  # one process says it
        raise Stopped(
            f"stopped by {signals[0].name} after step {step}, with a checkpoint: started again, it goes on"
        )

    def _finish(self) -> None:
        """Average the best models; typed again, this is all that a finished stage does."""
        self.report.close()
        self.saver.wait()
        if self.parallel.is_main:
            write_heard(self.output_dir, self.train_data.streams, self.state.heard)
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
        self.bad.name([item for batch in batches for item in batch["bad"]], "train", "a")
        position.examples += int(result.counts["examples"] + result.counts["bad"])
        position.bad += int(result.counts["bad"])
        self.bad.check(position.bad, position.examples)
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
        """Go back to an earlier checkpoint, but in the data go on, as PaLM's training did.

        Chowdhery et al., 2022, section 5.1: the same data from another state of the model did no harm.
        """
        self.watch.end()
        self.report.finish_phase()
        before, heard = self.position, data.heard_after(self.state.heard, self.position.data)
        self.saver.go_back()
        self.state.heard = heard
        self.state.position = dataclasses.replace(
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


def _log_interval(steps: int) -> int:
    """As often as ESPnet: twenty times a phase, but no more than every tenth step."""
    return max(steps // 20, 10)
