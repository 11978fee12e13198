"""FLEURS as it lies on disk: its languages, tables and clips.

    <code>/{train,dev,test}.tsv          no header, seven columns, no quoting
    <code>/audio/{train,dev,test}/*.wav  or audio/{train,dev,test}.tar.gz

The id of a row is that of its *sentence*: several recordings share it, and so do all languages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_part.archive import unpack
from espnet_part.corpora.lengths import header_seconds
from espnet_part.corpora.tsv import read_tsv
from espnet_part.data.parallel import run_jobs
from espnet_part.data.text import clean_spaces
from espnet_part.errors import DataError
from espnet_part.kaldi import parse_count
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR

SPLITS = ("train", "dev", "test")
#: What the columns of the tables are, which have no header.
COLUMNS = (
    "id", "file_name", "raw_transcription", "transcription", "characters", "num_samples", "gender",
)  # fmt: skip
TEXT_COLUMNS = {"raw": "raw_transcription", "transcription": "transcription"}

_NAMES = """
    af_za am_et ar_eg as_in ast_es az_az be_by bg_bg bn_in bs_ba ca_es ceb_ph ckb_iq cmn_hans_cn
    cs_cz cy_gb da_dk de_de el_gr en_us es_419 et_ee fa_ir ff_sn fi_fi fil_ph fr_fr ga_ie gl_es
    gu_in ha_ng he_il hi_in hr_hr hu_hu hy_am id_id ig_ng is_is it_it ja_jp jv_id ka_ge kam_ke
    kea_cv kk_kz km_kh kn_in ko_kr ky_kg lb_lu lg_ug ln_cd lo_la lt_lt luo_ke lv_lv mi_nz mk_mk
    ml_in mn_mn mr_in ms_my mt_mt my_mm nb_no ne_np nl_nl nso_za ny_mw oc_fr om_et or_in pa_in
    pl_pl ps_af pt_br ro_ro ru_ru sd_in sk_sk sl_si sn_zw so_so sr_rs sv_se sw_ke ta_in te_in
    tg_tj th_th tr_tr uk_ua umb_ao ur_pk uz_uz vi_vn wo_sn xh_za yo_ng yue_hant_hk zu_za
"""
#: FLEURS' names of its languages; the part before the underscore is our code, but for Mandarin.
CODES: tuple[str, ...] = tuple(_NAMES.split())
CODE_OF = {("zh" if code[:3] == "cmn" else code.split("_")[0]): code for code in CODES}

# Recordings of train, dev and test in the published tables.
_OFFICIAL = {
    "zh": (3246, 409, 945),
    "en": (2602, 394, 647),
    "ja": (2292, 266, 650),
    "ko": (2307, 226, 382),
    "yue": (1939, 362, 819),
    "de": (2987, 363, 862),
    "fr": (3193, 289, 676),
    "ru": (2562, 356, 775),
    "es": (2796, 408, 908),
    "it": (3030, 391, 865),
}
OFFICIAL = {
    (split, lang, ASR.name): count
    for lang, counts in _OFFICIAL.items()
    for split, count in zip(SPLITS, counts, strict=True)
}

_TOLERANCE = 0.1  # seconds by which a clip may differ from its table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a recording.

    Attributes:
        clip: the file's name, or the place of a line that cannot be read.
        sentence: the id that all recordings of a sentence share, in all languages.
        text: cleaned of odd spaces; ``cleaned`` says whether it had any.
        wav: path of the clip; empty where the language is only written.
        samples: length at 16 kHz, as the table says.
        fault: why the recording cannot be used, and what was found.
        mismatch: how the clip's length differs from the table's; empty where it does not.
    """

    clip: str
    sentence: str = ""
    text: str = ""
    cleaned: bool = False
    wav: str = ""
    samples: int | None = None
    fault: tuple[str, str] | None = None
    mismatch: str = ""


@dataclass
class Language:
    """One language in one split.

    Attributes:
        rows: its recordings.
        sentences: sentence id -> text, the first of the table.
        disputed: ids of sentences whose recordings have different texts.
    """

    rows: list[Row] = field(default_factory=list)
    sentences: dict[str, str] = field(default_factory=dict)
    disputed: set[str] = field(default_factory=set)


def find_languages(corpus_dir: Path, langs: Iterable[str]) -> dict[str, Path]:
    """The directories of languages.

    Raises:
        DataError: one or more are missing; the message names them all and says what there is.
    """
    parents = (corpus_dir, corpus_dir / "data")
    places: dict[str, Path] = {}
    missing = []
    for lang in langs:
        found = [parent / CODE_OF[lang] for parent in parents if (parent / CODE_OF[lang]).is_dir()]
        if found:
            places[lang] = found[0]
        else:
            missing.append(f"{CODE_OF[lang]} ({lang})")
    if missing:
        names = {path.name for parent in parents for path in parent.glob("*/")}
        there = sorted(name for name in names if name in CODES)
        raise DataError(
            f"{corpus_dir}: no directory {', '.join(missing)};"
            f" languages there: {' '.join(there) or 'none, so this is not FLEURS'}"
            " (choose with --langs and --directions)"
        )
    return places


def find_audio(place: Path, split: str, unpack_dir: Path | None) -> Path:
    """The directory of a split's clips; its archive is unpacked where there is only that.

    Raises:
        DataError: neither is there, the archive is not sound, or there is no place to unpack it.
    """
    directory = place / "audio" / split
    archive = directory.with_name(f"{split}.tar.gz")
    if not directory.is_dir():
        if unpack_dir is not None:
            directory = unpack_dir / place.name / split
        if not directory.is_dir():
            if not archive.is_file():
                raise DataError(f"{place}/audio: neither a directory {split} nor {split}.tar.gz")
            above = unpack_dir or archive.parent
            if above.is_dir() and not os.access(above, os.W_OK):
                raise DataError(
                    f"{above}: no permission to unpack {archive.name}; see --unpack_dir"
                )
            unpack(archive, directory)
    inner = directory / split  # the published archives hold a directory
    return inner if inner.is_dir() else directory


def read_language(place: Path, split: str, audio: Path | None, column: str) -> Language:
    """Read one table; rows that cannot be used carry their fault.

    Args:
        place: the language's directory.
        audio: directory of the split's clips; None where only the text is wanted.
        column: the column of `COLUMNS` that is the text.

    Raises:
        DataError: the table is missing or cannot be read.
    """
    table = place / f"{split}.tsv"
    language = Language()
    clips = {entry.name for entry in os.scandir(audio)} if audio is not None else set()
    seen: set[str] = set()

    def bad_line(number: int, reason: str, detail: str) -> None:
        language.rows.append(Row(f"{table.name}:{number}", fault=(reason, detail)))

    needed = ("id", "file_name", column, "num_samples")
    for sentence, clip, written, samples in read_tsv(table, COLUMNS, needed, bad_line):
        text = clean_spaces(written)
        fault = None
        if not sentence:
            fault = ("empty sentence id", "")
        elif not text:
            fault = ("empty text", "")
        elif language.sentences.setdefault(sentence, text) != text:
            language.disputed.add(sentence)
        if clip in seen:
            fault = ("duplicate clip", "")
        elif audio is not None and clip not in clips:
            fault = fault or ("missing clip", "")
        seen.add(clip)
        count = parse_count(samples)
        wav = str(audio / clip) if audio is not None else ""
        row = Row(clip, sentence, text, text != written, wav, count, fault)
        language.rows.append(row)
    return language


def compare_lengths(languages: Mapping[str, Language], nj: int, label: str) -> None:
    """Set ``mismatch`` of the recordings whose clip is not as long as the table says.

    Only headers are read. A clip that cannot be opened is left to the formatting of the audio,
    which names it.
    """
    rows = [
        (language.rows, number)
        for language in languages.values()
        for number, row in enumerate(language.rows)
        if row.wav and row.samples and not row.fault
    ]
    found = run_jobs(header_seconds, [rows_[n].wav for rows_, n in rows], nj, label)
    for (rows_, number), seconds in zip(rows, found, strict=True):
        said = (rows_[number].samples or 0) / SAMPLE_RATE
        if seconds is not None and abs(seconds - said) > _TOLERANCE:
            mismatch = f"{seconds:.2f} s, the table says {said:.2f} s"
            rows_[number] = replace(rows_[number], mismatch=mismatch)
