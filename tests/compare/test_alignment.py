"""Which hypothesis belongs to which reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.compare.alignment import IdRules, align
from espnet_part.errors import ConfigError, DataError


def test_exact_ids_come_first():
    found = align(["a", "b"], {"a": "x", "c": "y"})
    assert (found.texts, found.matched) == ({"a": "x"}, {"exact": 1})
    assert (found.missing, found.unexpected) == (["b"], ["c"])


def test_task_suffixes_by_rule():
    references = ["u1-asr-de", "u2-asr-de"]
    found = align(references, {"u1": "x", "u2-asr-de": "y"}, IdRules(strip_suffix="-asr-[a-z]+"))
    assert found.texts == {"u1-asr-de": "x", "u2-asr-de": "y"}
    assert found.matched == {"--strip_suffix=-asr-[a-z]+": 1, "exact": 1}


def test_prefixes_by_rule():
    found = align(["u1"], {"spk7_u1": "x"}, IdRules(strip_prefix="spk[0-9]+_"))
    assert found.texts == {"u1": "x"}


def test_trn_keys_by_utt2spk():
    found = align(["s-1-u"], {"s-1-s-1-u": "x"}, speakers={"s-1-u": "s-1"})
    assert (found.texts, found.matched) == ({"s-1-u": "x"}, {"speaker prefix of trn files": 1})


def test_two_candidates_are_an_error():
    rules = IdRules(strip_suffix="-(asr|s2tt)")
    with pytest.raises(DataError, match="u fits u-asr, u-s2tt; choose one task"):
        align(["u-asr", "u-s2tt"], {"u": "x"}, rules)
    with pytest.raises(DataError, match="u and u-asr both fit u-asr"):
        align(["u-asr"], {"u": "x", "u-asr": "y"}, rules)


@pytest.mark.parametrize(
    ("reference", "key", "mend"),
    [
        ("u1-asr-de", "u1", "--strip_suffix='-asr-de'"),
        ("u1", "spk_u1", "--strip_prefix='spk_'"),
        ("u1", "u1.wav", r"--strip_suffix='\\.wav'"),
    ],
)
def test_no_match_tells_a_rule_and_takes_none(reference, key, mend):
    with pytest.raises(DataError, match="no id is a reference's") as error:
        align([reference], {key: "x"})
    assert mend.replace("\\\\", "\\") in str(error.value)


def test_bad_rules_are_refused():
    with pytest.raises(ConfigError, match="strip_suffix"):
        IdRules(strip_suffix="(")


ids = st.text(alphabet="ab-", min_size=1, max_size=4)


@given(st.sets(ids, min_size=1), st.dictionaries(ids, st.text(max_size=3), min_size=1))
def test_nothing_is_lost_or_invented(references, texts):
    try:
        found = align(sorted(references), texts)
    except DataError:
        assert not references & texts.keys()
        return
    assert found.texts == {key: texts[key] for key in references & texts.keys()}
    assert set(found.missing) == references - texts.keys()
    assert set(found.unexpected) == texts.keys() - references
