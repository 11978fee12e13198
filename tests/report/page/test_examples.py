"""Which utterances are shown, and what is said of them."""

from espnet_part.document import Heading
from espnet_part.kaldi import iter_table
from espnet_part.report.page import examples, player, scored_set
from espnet_part.report.page.examples import choose, example_parts
from espnet_part.report.page.parts import Utterance
from espnet_part.report.page.scored_set import read_scored_set
from espnet_part.report.page.worst import worst_parts
from espnet_part.report.systems import read_system
from tests.report.page.make import AR, FIRST, MT, ST, ZH, make_recipe


def _set(root, names=("part", "other")):
    systems = [read_system(name, root / f"exp/{name}/decode") for name in names]
    return read_scored_set(systems, "test")


def _utterances(parts):
    return {part.name: part for part in parts if isinstance(part, Utterance)}


def test_each_group_in_turn_and_no_utterance_twice(recipe):
    chosen = choose([_set(recipe)], 8)
    assert sorted(name for _, _, name in chosen) == sorted([FIRST, ZH, AR, ST, MT])
    assert [name for _, _, name in choose([_set(recipe)], 2)] == [AR, FIRST]


def test_outputs_of_all_systems_with_their_differences(recipe):
    shown = _utterances(example_parts([_set(recipe)], {}))
    assert shown[FIRST].player.startswith("data:audio/ogg;base64,")
    part, other = shown[ZH].outputs
    assert (part.system, part.figure, part.between) == ("part", "2 errors", "")
    assert part.marked == [
        ("same", "你"),
        ("missing", "好"),
        ("same", "世界"),
        ("added", "们"),
    ]
    assert (other.figure, other.marked) == ("right", [("same", "你好世界")])
    assert (shown[AR].outputs[0].figure, shown[AR].outputs[0].marked) == ("no output", [])
    assert shown[ST].said.startswith("eins") and shown[ST].outputs[1].figure == "chrF 100"
    assert (shown[MT].player, shown[MT].silent) == ("", "")  # it reads text


def test_audio_has_a_limit_and_its_lack_a_reason(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MOST_BYTES", 10)
    assert _utterances(example_parts([_set(recipe)], {}))[ZH].silent == "the page has enough audio"
    make_recipe(tmp_path)
    (tmp_path / "data/test/tone.wav").unlink()
    shown = _utterances(example_parts([_set(tmp_path)], {}))
    assert shown[ZH].player == "" and shown[ZH].silent.startswith("no audio: ")
    (tmp_path / "data/test/wav.scp").unlink()
    shown = _utterances(example_parts([_set(tmp_path)], {}))
    assert shown[ZH].silent == "no audio: its wav.scp is not there"


def test_the_directory_that_is_used_comes_first(recipe, tmp_path):
    make_recipe(tmp_path)
    (tmp_path / "data/test/tone.wav").unlink()
    data = {"test": [tmp_path / "data/test", recipe / "data/train"]}
    text = (recipe / "data/train/wav.scp").read_text().replace("data/", f"{recipe}/data/")
    used = tmp_path / "dump/test"
    used.mkdir(parents=True)
    (used / "wav.scp").write_text(text)
    data["test"].append(used)
    assert _utterances(example_parts([_set(tmp_path)], data))[ZH].player


def test_a_system_without_readable_outputs_is_named(tmp_path):
    make_recipe(tmp_path)
    (tmp_path / "exp/other/decode/test/text").unlink()
    test_set = _set(tmp_path)
    assert list(test_set.hypotheses) == ["part"]
    assert len(test_set.notes) == 1 and test_set.notes[0].startswith("no outputs of other on test")


def test_the_worst_of_each_task_come_first(recipe):
    parts = worst_parts([_set(recipe)], "part")
    names = [part.name for part in parts if isinstance(part, Utterance)]
    assert names == [AR, ZH, FIRST, ST]  # 2 errors in 2 words, in 4 characters and in 5 words
    headings = [part.text for part in parts if isinstance(part, Heading)]
    assert headings == [
        "Speech recognition: most errors first",
        "Speech-to-text translation: lowest chrF first",
        "Text translation: lowest chrF first",
    ]
    limited = worst_parts([_set(recipe)], "part", most=1)
    assert [part.name for part in limited if isinstance(part, Utterance)] == [AR, ST]
    only = [part for part in worst_parts([_set(recipe)], "part") if isinstance(part, Utterance)]
    assert [output.system for output in only[0].outputs] == ["part"]


def test_a_table_is_read_once_for_all_utterances_of_a_set(recipe, monkeypatch):
    read = []

    def counting(path, *rest):
        read.append(path.name)
        return iter_table(path, *rest)

    monkeypatch.setattr(player, "iter_table", counting)
    monkeypatch.setattr(scored_set, "iter_table", counting)
    test_set = _set(recipe)
    example_parts([test_set], {})
    assert read.count("wav.scp") == 1 and read.count("src_text") == 1
    read.clear()
    worst_parts([test_set], "part")
    assert read == ["src_text"]
