"""Chat templates: rendered as transformers renders them, the same every day, within limits."""

from __future__ import annotations

import datetime
import resource

import pytest

from espnet_part.data.chat import ChatFormat
from espnet_part.errors import ConfigError
from espnet_part.model.chat_template import DATE, read_chat_template
from tests.data.conftest import CHAT_TEMPLATE, make_tokenizer

# in the manner of Llama 3.2: a system prompt with the date, and tools where there are any
DATED = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "no date" %}
    {%- endif %}
{%- endif %}
<|im_start|>system
Today: {{ date_string }}
{%- if tools is not none %} Tools: {{ tools | tojson(indent=4) }}{% endif %}
{%- if documents is defined and documents %} Documents{% endif %}
<|im_end|>
{%- for message in messages %}
    {%- if message.role not in ["user", "assistant"] %}{{ raise_exception("what a role") }}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
# in the manner of SmolLM3 and Granite: marks for training, namespaces, loop control
MARKED = """\
{%- set ns = namespace(first=true, seen=dict(user=0)) -%}
{% for message in messages %}
  {% if message.role == "user" %}{% set ns.first = false %}
<|im_start|>user {{ message.content }}<|im_end|>
  {% else %}
<|im_start|>assistant {% generation %}{{ message.content }}<|im_end|>{% endgeneration %}
  {% break %}
  {% endif %}
{% endfor %}
{{ ns.first | tojson }} {{ {"ü": [1, none]} | tojson }} {{ enable_thinking }}
{%- if add_generation_prompt %}<|im_start|>assistant {% endif %}
"""


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, DATED, MARKED], ids=["qwen", "llama", "marks"])
def test_the_text_is_transformers_own(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import chat_template_utils

    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Then:
            return cls(*DATE)

    monkeypatch.setattr(chat_template_utils, "datetime", Then)
    tokenizer = make_tokenizer(template)
    tokenizer.bos_token = "<|endoftext|>"
    head, tail, end = read_chat_template(tokenizer)
    user = {"role": "user", "content": "Wie geht es?"}
    answer = {"role": "assistant", "content": "Gut."}
    options = {"tokenize": False, "enable_thinking": False}
    prompt = tokenizer.apply_chat_template([user], add_generation_prompt=True, **options)
    assert f"{head}Wie geht es?{tail}" == prompt
    whole = tokenizer.apply_chat_template([user, answer], **options)
    assert whole.endswith(f"Gut.{end}")


def test_the_date_does_not_change() -> None:
    head, _, _ = read_chat_template(make_tokenizer(DATED))
    assert "Today: 26 Jul 2024" in head


def test_another_format_has_another_digest() -> None:
    formats = [
        ChatFormat(make_tokenizer(template))
        for template in (
            CHAT_TEMPLATE,
            CHAT_TEMPLATE,
            DATED,
            CHAT_TEMPLATE.replace("\n", " "),
            None,
        )
    ]
    digests = [chat.digest() for chat in formats]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


HOSTILE = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "repeated": "{{ 'a' * 8000000000 }}",
    "doubled": "{% set n = namespace(x='a') %}{% for a in range(40) %}{% set n.x = n.x + n.x %}"
    "{% endfor %}{{ n.x }}",
    "formatted": "{{ '%8000000000d' % 1 }}",
    "centred": "{{ 'x' | center(8000000000) }}",
    "power": "{{ 7 ** 7 ** 77 }}",
    "long": "{{ 'a' * 3000000 }}",
    "recursive": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "nested": "{{" + "(" * 50000 + ")" * 50000 + "}}",
    "underscores": "{{ ''.__class__.__mro__ }}",
    "type": "{{ dict.mro() }}",
    "namespace": "{{ namespace(__class__=1) }}",
    "random": "{{ [1, 2] | random }}",
    "lipsum": "{{ lipsum() }}",
    "syntax": "{% if",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_stopped(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(ConfigError, match="chat template") as error:
        read_chat_template(make_tokenizer(HOSTILE[name]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "\n" not in str(error.value)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # CPU time
    # a child begins as a copy of this process, which other tests may have made big
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after.ru_maxrss <= max(before.ru_maxrss, own, 260 << 10)


def test_none_of_several_templates_is_the_default() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"tool_use": "x", "rag": "y"}
    with pytest.raises(ConfigError, match="multiple chat templates"):
        read_chat_template(tokenizer)


#: How families write a conversation: the template, and what stands before, between and behind the texts.
MANNERS = {
    "chatml": (  # Qwen, SmolLM2, LFM2
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"),
    ),
    "llama": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        (
            "<s><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|eot_id|>",
        ),
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        (
            "<s><start_of_turn>user\n",
            "<end_of_turn>\n<start_of_turn>model\n",
            "<end_of_turn>\n",
        ),
    ),
    "mistral": (  # the space before an answer is a part of its first token
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        ("<s>[INST] ", " [/INST]", "</s>"),
    ),
    "phi": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>\n"),
    ),
    "granite": (
        "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
        "<|end_of_text|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
        (
            "<|start_of_role|>user<|end_of_role|>",
            "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
            "<|end_of_text|>\n",
        ),
    ),
    "olmo": (
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
        "{{ eos_token if m.role == 'assistant' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<s><|user|>\n", "\n<|assistant|>\n", "</s>\n"),
    ),
    "gpt-oss": (  # the answers' channel stands in the conversation, not in the prompt
        "{% for m in messages %}<|start|>{{ m.role }}"
        "{{ '<|channel|>final' if m.role == 'assistant' }}<|message|>{{ m.content }}"
        "{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        (
            "<|start|>user<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
            "<|return|>",
        ),
    ),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_what_families_write_around_a_question_and_its_answer(manner: str) -> None:
    template, expected = MANNERS[manner]
    tokenizer = make_tokenizer(template)
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    assert read_chat_template(tokenizer) == expected
