"""Saving a run while it goes on, and putting it back: checkpoints, models of epochs, links to them."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_part.data.dataset import DataPosition, PhaseData
from espnet_part.data.heard import Heard
from espnet_part.data.stage_data import StageData
from espnet_part.errors import DataError
from espnet_part.schedule.schedule import Phase
from espnet_part.train import learning_rate
from espnet_part.train.averaging import model_file, update_links
from espnet_part.train.checkpoint import (
    Checkpoint,
    bases_of,
    before_bad_steps,
    find_checkpoints,
    first_whole,
    put_back_replaced,
    read_checkpoint,
    remove_old,
    restore_weights,
    trained_state,
    write_checkpoint,
)
from espnet_part.train.nested import map_tensors
from espnet_part.train.options import TrainerOptions
from espnet_part.train.outliers import Outliers
from espnet_part.train.parallel import Parallel
from espnet_part.train.position import Position, check_same_schedule
from espnet_part.train.reporting import Report
from espnet_part.train.writer import Writer
from espnet_part.weights import read_header, write_weights


@dataclasses.dataclass
class State:
    """What a run has come to, beside its weights and their moments: a checkpoint holds it.

    Attributes:
        heard: When the phase began.
        rates: A learning_rate.Rates, from the first phase on.
    """

    report: Report
    outliers: Outliers
    heard: Heard
    position: Position = dataclasses.field(default_factory=Position)
    ever_trained: set[str] = dataclasses.field(default_factory=set)
    rates: Any = None


class Saver:
    """Saves a run at the borders of its steps, and resumes it.

    Args:
        state: Read when the run is saved, changed when it is resumed.
        model, optimizer: Likewise.
    """

    def __init__(
        self,
        state: State,
        model: Any,
        optimizer: torch.optim.Optimizer,
        train_data: StageData,
        options: TrainerOptions,
        parallel: Parallel,
    ) -> None:
        self.writer = Writer()
        self._state = state
        self._model = model
        self._optimizer = optimizer
        self._data = train_data
        self._options = options
        self._schedule = options.schedule
        self._parallel = parallel
        self._output_dir = Path(options.output_dir)
        self._checkpoints = self._output_dir / "checkpoints"
        if parallel.is_main:
            put_back_replaced(self._checkpoints)
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._resumed: dict[str, Any] | None = None  # moments and rates that wait for their phase
        self._saved_at = time.monotonic()

    # --- saving ----------------------------------------------------------------------------------

    def is_due(self) -> bool:
        """Whether a checkpoint is due inside an epoch."""
        if self._state.position.nonfinite:
            return False  # what made these steps bad may be in the weights: it is not to go back to
        steps, minutes = self._options.save_interval, self._options.save_minutes
        if steps and self._state.position.step % steps == 0:
            return True
        return minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes

    def save(self, data: PhaseData, ended: Phase | None = None) -> None:
        """Copy what a checkpoint holds, and let it be written while the training goes on.

        Args:
            data: of the phase under way.
            ended: the phase of an epoch that has ended, whose model is written, too.
        """
        began = time.perf_counter()
        self._parallel.together(self.writer.get_ready)
        weights = trained_state(self._model, self._state.ever_trained)
        moments = learning_rate.optimizer_state(self._optimizer, self._names)
        if self._parallel.is_main:
            checkpoint = self._copy(weights, moments)
            before = self._state.heard
            now = data.account(before, self._state.position.data)
            header = None
            if ended is not None:
                header = {
                    "phase": ended.name,
                    "step": self._state.position.total_step,
                    "data": checkpoint.state["data"],
                    "strata": self._trained_on,
                    **bases_of(self._model),
                }
            waited = time.perf_counter() - began
            self.writer.start(lambda: self._write(checkpoint, before, now, header, waited))
        else:  # take part in what `_copy` gathers, and keep nothing
            map_tensors(lambda tensor: self._parallel.whole(tensor).shape, [weights, moments])
        self._saved_at = time.monotonic()

    def wait(self) -> None:
        """Wait, on all processes, until all is written; raises what has failed."""
        self._parallel.together(self.writer.wait)

    @cached_property
    def _trained_on(self) -> list[list[str]]:
        """(task, language, target language) of all that the model is trained on, by this stage's end."""
        init = self._options.part_init
        before = read_header(init)[0] if init else {}
        own = [s for s in self._data.examples.strata if s[0] in self._schedule.tasks]
        return sorted(map(list, {*own, *map(tuple, before.get("strata", []))}))

    def _copy(self, weights: dict[str, torch.Tensor], moments: dict[str, Any]) -> Checkpoint:
        """A checkpoint of the run as it is, which does not change with it; but for what was heard."""
        run = self._state
        state = {
            "position": dataclasses.asdict(run.position),
            "ever_trained": sorted(run.ever_trained),
            "phases": self._schedule.to_list(),
            "data": self._data.digests(),
            "report": run.report.state_dict(),
            "ordinary": run.outliers.state_dict(),
            **bases_of(self._model),
        }
        optimizer = {"optimizer": moments, "rates": run.rates.state_dict()}
        checkpoint = Checkpoint(weights, _without_numpy(optimizer), state)
        return self.writer.copy(checkpoint, self._parallel.whole)

    def _write(
        self,
        checkpoint: Checkpoint,
        before: Heard,
        now: Callable[[], Heard],
        header: dict[str, Any] | None,
        waited: float,
    ) -> None:
        """Write a checkpoint, and with a header the model's file, too; it runs beside the training."""
        began = time.perf_counter()
        to_json = self._data.streams.to_json
        checkpoint.state["heard"] = {"at_phase_start": to_json(before), "now": to_json(now())}
        position = checkpoint.state["position"]
        # the model's file before the checkpoint that counts on it, the removals after it
        if header is not None:
            write_weights(
                model_file(self._output_dir, position["epoch"]), checkpoint.weights, header
            )
        directory = self._checkpoints / f"{position['total_step']:08d}"
        write_checkpoint(directory, checkpoint)
        remove_old(directory, self._options.keep_checkpoints, self._options.keep_checkpoint_hours)
        if header is not None:
            self._update_links(checkpoint.state["report"]["history"])
        logging.info(
            "%s: written in %.1f s beside the training, which waited %.2f s",
            *(directory, time.perf_counter() - began, waited),
        )

    def _update_links(self, history: Sequence[dict[str, Any]]) -> None:
        if self._parallel.is_main and history:
            improved = update_links(
                self._output_dir,
                history,
                self._options.best_model_criterion,
                max(self._options.nbest),
                self._options.average_last,
            )
            if improved:
                logging.info("The best model has been updated: %s", ", ".join(improved))
            else:
                logging.info("There are no improvements in this epoch")

    # --- resuming --------------------------------------------------------------------------------

    def refuse_earlier_run(self) -> None:
        """Raise a DataError where there are checkpoints."""
        if find_checkpoints(self._checkpoints):
            raise DataError(
                f"{self._checkpoints} holds an earlier run: go on with it (--resume true), or choose "
                "another --output_dir"
            )

    def resume(self) -> bool:
        """Put the model and the state back to the newest checkpoint; return whether there is one.

        The optimizer follows with `resume_rates`.
        """
        return self._resume(find_checkpoints(self._checkpoints))

    def go_back(self) -> None:
        """Put the model and the state back to a checkpoint well before the last steps, which were bad."""
        self.wait()
        self._optimizer.state.clear()  # there may be no room for two of it
        now = self._state.position
        kept = find_checkpoints(self._checkpoints)
        phase, good = now.total_step - now.step, now.total_step - now.nonfinite
        self._resume(before_bad_steps(kept, phase, good))

    def _resume(self, checkpoints: Sequence[Path]) -> bool:
        chosen = self._parallel.read_once(lambda: first_whole(checkpoints))
        if chosen is None:
            return False
        saved = self._parallel.read_once(lambda: read_checkpoint(chosen))
        self._parallel.together(lambda: self._restore(saved))
        return True

    def resume_rates(self) -> None:
        """Put back moments and rates, once, when the phase has made its learning rates."""
        if self._resumed is not None:
            saved = self._resumed["optimizer"]
            # loading puts back the rates, so it comes after the scheduler has set its own
            learning_rate.load_optimizer_state(self._optimizer, self._names, saved)
            self._state.rates.load_state_dict(self._resumed["rates"])
            self._resumed = None  # gigabytes

    def _restore(self, saved: Checkpoint) -> None:
        """Put everything back that the next phase does not (see `resume_rates`)."""
        run, where = self._state, str(self._checkpoints)
        position = Position.from_json(saved.state["position"], where)
        check_same_schedule(saved.state["phases"], self._schedule, position.phase)
        restore_weights(self._model, saved, where)
        run.ever_trained.update(saved.state["ever_trained"])
        run.report.load_state_dict(saved.state["report"])
        run.outliers.load_state_dict(saved.state.get("ordinary", []))  # of 0.2.0: none
        run.position = position
        digests = self._data.digests()
        changed = [name for name, digest in digests.items() if saved.state["data"][name] != digest]
        heard = saved.state["heard"]["now" if changed else "at_phase_start"]
        run.heard, anew = self._data.streams.from_json(heard, where)
        if changed:
            logging.warning(
                "changed since the checkpoint was written: %s; going on with what has been heard "
                "least%s",
                " and ".join(changed),
                f"; heard anew from the start: {', '.join(anew)}" if anew else "",
            )
            position.data = DataPosition(run.heard.pools)
        if run.report.train is None:
            self._update_links(run.report.history)  # killed between a checkpoint and its links
        self._resumed = saved.optimizer


def _without_numpy(value: Any) -> Any:
    """Turn numpy scalars, which some schedulers leave behind, into plain numbers.

    A file with them could not be loaded with ``weights_only=True``.
    """
    if isinstance(value, dict):
        return {key: _without_numpy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_numpy(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
