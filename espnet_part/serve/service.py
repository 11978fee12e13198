"""What the routes share: one model, one scheduler, one spool, and who may use them."""

from __future__ import annotations

from dataclasses import dataclass, field

from espnet_part.decode.detect import candidates
from espnet_part.decode.direction import Direction
from espnet_part.decode.language import check_language
from espnet_part.decode.word_times import check_hears, check_spoken
from espnet_part.errors import ConfigError
from espnet_part.serve.errors import ApiError
from espnet_part.serve.keys import Keys
from espnet_part.serve.metrics import Metrics
from espnet_part.serve.model import ServedModel
from espnet_part.serve.scheduler import Scheduler
from espnet_part.serve.settings import Settings
from espnet_part.serve.spool import Spool
from espnet_part.tasks import TASKS


@dataclass
class Service:
    """A server's parts.

    Attributes:
        name: of the model.
        model: None while it is loaded.
    """

    name: str
    settings: Settings
    keys: Keys
    spool: Spool
    metrics: Metrics = field(default_factory=Metrics)
    model: ServedModel | None = None
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.settings, self.metrics)
        self.metrics.watch(self.scheduler.waiting, self.scheduler.clients)

    def loaded(self) -> ServedModel:
        """The model, for those who were admitted."""
        assert self.model is not None
        return self.model

    def check_model(self, name: str) -> None:
        """A request may leave the model's name out.

        Raises:
            ApiError: 404, it names another.
        """
        if name not in ("", self.name):
            message = f"no model {name!r} here; there is {self.name!r}"
            raise ApiError(404, message, "model_not_found", "model")

    def direction(self, task: str, language: str, target: str, context: str = "") -> Direction:
        """What is asked for; a language that is left out is to be detected, unless it is the only one.

        Args:
            task: as training data name it.
            context: what the LLM is told beforehand.

        Raises:
            ApiError: 400, a language is unknown, or cannot be detected, or was not trained.
        """
        model = self.loaded()
        tgt = self._language(target, "to_language")
        if not tgt and TASKS[task].writes == "other":
            tgt = "en"  # what OpenAI's translations write
        lang = self._language(language, "language")
        if not lang:
            try:
                langs = candidates(model.trained_on, Direction(task, "", tgt))
            except ConfigError:
                message = "language: give the language that is spoken (such as de)"
                raise ApiError(400, message, "missing_language", "language") from None
            if len(langs) > 1 and not all(
                model.why_strange(Direction(task, one, tgt or one)) for one in langs
            ):
                return Direction(task, "", tgt, context=context)
            lang = langs[0]
        tgt = tgt or lang
        if TASKS[task].why_not(lang, tgt):
            other = "transcriptions" if TASKS[task].writes == "other" else "translations"
            message = f"to_language: {TASKS[task].why_not(lang, tgt)}; see /v1/audio/{other}"
            raise ApiError(400, message, "invalid_value", "to_language")
        direction = Direction(task, lang, tgt, context=context)
        if strange := model.why_strange(direction):
            raise ApiError(400, strange, "unsupported_language", "language")
        return direction

    def with_words(self, direction: Direction) -> Direction:
        """The same with the times of words.

        Raises:
            ApiError: 400, the model or the task has none.
        """
        try:
            check_spoken(direction.task)
            check_hears(self.loaded().model)
        except ConfigError as error:
            field = "timestamp_granularities[]"
            raise ApiError(400, f"{field}: {error}", "unsupported", field) from None
        return direction._replace(words=True)

    def _language(self, code: str, field: str) -> str:
        try:
            return check_language(code, f"{field}:") if code else ""
        except ConfigError as error:
            raise ApiError(400, str(error), "unknown_language", field) from None
