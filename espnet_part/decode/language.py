"""Languages and tasks as a person names them on the command line."""

from __future__ import annotations

import difflib

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.tasks import ASR, S2TT, TASKS

# countries' codes taken for languages', and another code of a language
_CONFUSED = {
    **{"jp": "ja", "cn": "zh", "kr": "ko", "cz": "cs", "gr": "el", "dk": "da", "ua": "uk"},
    "cmn": "zh",
}
# whose misspelt names are recognised
_COMMON = (
    "af am ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is "
    "it ja jv ka kk km kn ko lo lt lv mi mk ml mn mr ms mt my nb ne nl nn no pa pl ps pt ro ru sd "
    "si sk sl so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh"
)

_LONGEST = 60  # characters of a code or a name; searching takes long of what is much longer


def check_language(code: str, option: str) -> str:
    """The code of a language, as training data have it.

    Args:
        code: as given: ISO 639-1, or 639-3 where there is no 639-1.
        option: named in errors.

    Raises:
        ConfigError: unknown; says what was probably meant.
    """
    import langcodes

    if len(code) > _LONGEST or not code.isprintable():
        raise _unknown(code, option, None)
    if code in _CONFUSED:
        raise _unknown(code, option, _CONFUSED[code])
    if langcodes.tag_is_valid(code):
        short = langcodes.Language.get(code).language
        if short == code:
            return code
        if short is not None:  # de-DE, DE, deu
            raise _unknown(code, option, short)
    raise _unknown(code, option, _guess(code))


def language_pair(task: str, lang: str | None, to: str | None) -> tuple[str, str]:
    """Check the languages heard and written against the task.

    Returns:
        Both; "" for a language that is to be detected.

    Raises:
        ConfigError: the one written is missing, or one is unknown or makes no sense for the task.
    """
    lang = "" if lang is None else check_language(lang, "--lang")
    if TASKS[task].writes == "other":
        if to is None:
            raise ConfigError(f"--to is missing: --task {task} needs the language to be written")
        to = check_language(to, "--to")
        if to == lang:
            raise ConfigError(f"--to {to} is the language spoken; --task {ASR.name} transcribes it")
        return lang, to
    to = lang if to is None else check_language(to, "--to")
    if lang != to and not lang:
        lang = to  # what is written is what is spoken
    if TASKS[task].why_not(lang, to):
        raise ConfigError(f"--to {to}: to translate, use --task {S2TT.name}")
    return lang, to


def _unknown(code: str, option: str, meant: str | None) -> ConfigError:
    from espnet_part.data.prompts import language_name

    mend = f"; did you mean {meant} ({language_name(meant)})?" if meant else ""
    return ConfigError(
        f"{option} {plain(code, _LONGEST)}: not the code of a language (ISO 639, such as de, yue){mend}"
    )


def _guess(code: str) -> str | None:
    import langcodes

    from espnet_part.data.prompts import language_name

    try:
        return langcodes.find(code).language  # a name, in any language: German, deutsch, 中文
    except LookupError:
        pass
    names = {language_name(known).lower(): known for known in _COMMON.split()}
    close = difflib.get_close_matches(code.lower(), names, n=1)
    return names[close[0]] if close else None
